//! Signals: each has a meaning. Only a second stop signal ends the process at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::observe;

/// The signals of this process.
pub(super) struct Signals {
    stop: CancellationToken,
    hangup: Signal,
}

impl Signals {
    /// Takes them from the system: SIGTERM, SIGINT and SIGQUIT stop the gate, SIGHUP has the configuration read again.
    /// Others would end the process by default; they are logged and passed over.
    ///
    /// # Errors
    /// When the system does not give them.
    pub(super) fn take() -> io::Result<Self> {
        let (mut terminate, mut interrupt, mut quit) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::quit())?,
        );
        let others = [
            (SignalKind::user_defined1(), "SIGUSR1"),
            (SignalKind::user_defined2(), "SIGUSR2"),
            (SignalKind::alarm(), "SIGALRM"),
        ];
        for (kind, name) in others {
            let mut other = signal(kind)?;
            tokio::spawn(async move {
                while other.recv().await.is_some() {
                    tracing::warn!("{name} changes nothing; SIGHUP reads the configuration again");
                }
            });
        }
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
        let hangup = signal(SignalKind::hangup())?;
        Ok(Self { stop, hangup })
    }

    /// Cancelled by the first signal that asks for the end.
    pub(super) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Comes with the next SIGHUP.
    pub(super) async fn hangup(&mut self) {
        self.hangup.recv().await;
    }
}
