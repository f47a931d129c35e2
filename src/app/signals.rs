//! Signals: each has a meaning. Only a second stop signal ends the process at once.

use std::io;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::observe;

/// Signals that would end the process by default, and mean nothing here. Those that tell of a crash keep their meaning.
const MEANINGLESS: [(Number, &str); 9] = [
    (Number::USR1, "SIGUSR1"),
    (Number::USR2, "SIGUSR2"),
    (Number::ALARM, "SIGALRM"),
    (Number::VTALARM, "SIGVTALRM"),
    (Number::PROF, "SIGPROF"),
    (Number::IO, "SIGIO"),
    (Number::STKFLT, "SIGSTKFLT"),
    (Number::POWER, "SIGPWR"),
    (Number::XCPU, "SIGXCPU"),
];
/// Real-time signals. The C library keeps the first of them for itself, and gives it to nobody.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// The signals of this process.
pub struct Signals {
    stop: CancellationToken,
    hangup: Signal,
}

impl Signals {
    /// Takes them from the system, within a runtime: SIGTERM, SIGINT and SIGQUIT stop the gate, SIGHUP has the configuration
    /// read again. Others would end the process by default; they are logged and passed over. Call it first of all: until
    /// then each of them ends the process.
    ///
    /// # Errors
    /// When the system does not give them.
    pub fn take() -> io::Result<Self> {
        let (mut terminate, mut interrupt, mut quit) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::quit())?,
        );
        let hangup = signal(SignalKind::hangup())?;
        for (number, name) in MEANINGLESS {
            let taken = signal(SignalKind::from_raw(number.as_raw()))?;
            tokio::spawn(tell(taken, name.to_owned()));
        }
        for number in REAL_TIME {
            if let Ok(taken) = signal(SignalKind::from_raw(number)) {
                tokio::spawn(tell(taken, format!("signal {number}")));
            }
        }
        // Comes with a write beyond the limit on a file's size, which then fails as any other may. A line about it would be
        // such a write again.
        drop(signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?);
        let stop = CancellationToken::new();
        let cancel = stop.clone();
        tokio::spawn(async move {
            for again in [false, true] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    _ = quit.recv() => {}
                }
                if again {
                    observe::log::finish();
                    // Whoever signals twice does not want to wait.
                    std::process::exit(130);
                }
                cancel.cancel();
            }
        });
        Ok(Self { stop, hangup })
    }

    /// Cancelled by the first signal that asks for the end.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Comes with the next SIGHUP.
    pub(super) async fn hangup(&mut self) {
        self.hangup.recv().await;
    }
}

/// Logs a signal whenever it comes.
async fn tell(mut taken: Signal, name: String) {
    while taken.recv().await.is_some() {
        tracing::warn!("{name} changes nothing; SIGHUP reads the configuration again");
    }
}
