//! The one connection for commands, and its reconnection.
//!
//! A task opens it, checks each second that it is alive, and opens another if not, with growing pauses. A command waits a moment for a
//! connection that is just being opened, but not for one that has been missing for a while: it is better to refuse a request at once than
//! late. Every command may run twice: one whose connection broke is sent again on the next one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::{interval, sleep, timeout},
};

use super::{
    Unanswered,
    dial::{Connection, Dialer, IN_FLIGHT},
    failure::RedisFailure,
    risk::{Risk, risks},
    script::Known,
};

/// Sends commands.
pub(crate) struct Link {
    state: watch::Receiver<State>,
    complaints: mpsc::Sender<Complaint>,
    permits: Semaphore,
    refuses: Arc<AtomicBool>,
}

/// Keeps a link's connection.
pub(crate) struct Keeper {
    dialer: Arc<Dialer>,
    state: watch::Sender<State>,
    complaints: mpsc::Receiver<Complaint>,
    refuses: Arc<AtomicBool>,
}

#[derive(Clone)]
enum State {
    /// Counts connections, so that a complaint about an earlier one is known for what it is.
    Up(u64, Connection),
    DownSince(Instant),
}

/// Reports of commands that met a broken link, or a silent one, and that wait for whoever looks after it. More would say the same.
const WAITING_COMPLAINTS: usize = 16;

/// What a command met.
struct Complaint {
    number: u64,
    /// It is broken; otherwise only silent, which may be the command's fault.
    is_broken: bool,
}

/// A link that is down, and what brings it up.
pub(crate) fn link(dialer: Arc<Dialer>) -> (Link, Keeper) {
    let (sender, state) = watch::channel(State::DownSince(Instant::now()));
    let (complaints, receiver) = mpsc::channel(WAITING_COMPLAINTS);
    let link = Link {
        state,
        complaints,
        permits: Semaphore::new(IN_FLIGHT),
        refuses: Arc::default(),
    };
    let keeper = Keeper {
        dialer,
        state: sender,
        complaints: receiver,
        refuses: Arc::clone(&link.refuses),
    };
    (link, keeper)
}

impl Link {
    /// Whether there is a connection that answers.
    pub(crate) fn is_up(&self) -> bool {
        matches!(&*self.state.borrow(), State::Up(..))
    }

    /// Whether there has been none for so long that it is no matter of a moment.
    pub(crate) fn is_away(&self) -> bool {
        matches!(&*self.state.borrow(), State::DownSince(since) if since.elapsed() >= AWAY)
    }

    /// Whether it was Redis itself that refused the last time: who asks, or what was asked.
    pub(crate) fn refuses(&self) -> bool {
        self.refuses.load(Ordering::Relaxed)
    }

    /// Runs a script, over again where its answer was lost.
    pub(crate) async fn run(
        &self,
        script: &Known,
        key: &str,
        arguments: &[&[u8]],
    ) -> Result<Value, Unanswered> {
        let fill = |mut command: Cmd| {
            command.arg(1).arg(key);
            for argument in arguments {
                command.arg(*argument);
            }
            command
        };
        match self.try_send(&fill(script.by_hash())).await {
            Err(Failure::Unknown) => self.send(&fill(script.whole())).await,
            outcome => outcome.map_err(Unanswered::from),
        }
    }

    /// Sends a command, over again where its answer was lost.
    pub(crate) async fn send(&self, command: &Cmd) -> Result<Value, Unanswered> {
        self.try_send(command).await.map_err(Unanswered::from)
    }

    async fn try_send(&self, command: &Cmd) -> Result<Value, Failure> {
        let Ok(_permit) = self.permits.try_acquire() else {
            return Err(Failure::LastLogged(
                "too many commands wait for Redis".to_owned(),
            ));
        };
        timeout(OVERALL, self.send_until_answered(command))
            .await
            .unwrap_or_else(|_| Err(Failure::LastLogged(RedisFailure::NoAnswer.to_string())))
    }

    async fn send_until_answered(&self, command: &Cmd) -> Result<Value, Failure> {
        let mut failed = 0;
        let mut why = None;
        loop {
            let Some((number, mut connection)) = self.connection_after(failed).await else {
                return Err(Failure::LastLogged(
                    why.unwrap_or_else(|| "not connected".to_owned()),
                ));
            };
            match timeout(COMMAND, connection.send(command)).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) if is_unknown_script(&error) => return Err(Failure::Unknown),
                Ok(Err(error)) if !is_about_connection(&error) => {
                    let redis_failure = RedisFailure::from(&error);
                    self.note(&redis_failure);
                    return Err(Failure::LastLogged(redis_failure.to_string()));
                }
                Ok(Err(error)) => {
                    self.complain(number, true);
                    why = Some(RedisFailure::from(&error).to_string());
                    failed = number;
                }
                Err(_) => {
                    self.complain(number, false);
                    return Err(Failure::LastLogged(RedisFailure::NoAnswer.to_string()));
                }
            }
        }
    }

    /// A connection that is not the one that failed, or an earlier one.
    async fn connection_after(&self, failed: u64) -> Option<(u64, Connection)> {
        let mut state = self.state.clone();
        let is_settled = |state: &State| match state {
            State::Up(number, _) => *number > failed,
            State::DownSince(since) => since.elapsed() >= YOUNG,
        };
        let settled = timeout(OVERALL, state.wait_for(is_settled)).await.ok()?;
        match &*settled.ok()? {
            State::Up(number, connection) => Some((*number, connection.clone())),
            State::DownSince(_) => None,
        }
    }

    /// Once for each connection is enough: a user with too few rights is refused at every command.
    fn note(&self, redis_failure: &RedisFailure) {
        if redis_failure.is_refusal() && !self.refuses.swap(true, Ordering::Relaxed) {
            tracing::warn!(error = %redis_failure, "Redis refuses a command, see session.store (or session.shared)");
        }
    }

    fn complain(&self, number: u64, is_broken: bool) {
        // Where many wait, one more says nothing new.
        let _ = self.complaints.try_send(Complaint { number, is_broken });
    }
}

enum Failure {
    /// The server has not seen the script.
    Unknown,
    LastLogged(String),
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unknown => Self("Redis forgets scripts".to_owned()),
            Failure::LastLogged(why) => Self(why),
        }
    }
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Whether another connection may do better: this one is lost, or leads to a server that is not, or no longer, the
/// right one.
fn is_about_connection(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound | ErrorKind::AuthenticationFailed => {
            true
        }
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
        ),
        _ => error.is_unrecoverable_error() || error.is_connection_dropped(),
    }
}

impl Keeper {
    /// Keeps the connection for as long as somebody may use it.
    pub(crate) async fn run(mut self) {
        let mut number = 0;
        let mut pause = FIRST_PAUSE;
        let mut logged = LastLogged::Nothing;
        while !self.state.is_closed() {
            let why = match self.dialer.connect().await {
                Ok(connection) => {
                    if logged != LastLogged::Up {
                        tracing::info!("connected to Redis");
                        logged = LastLogged::Up;
                    }
                    self.refuses.store(false, Ordering::Relaxed);
                    number += 1;
                    let begun = Instant::now();
                    self.state
                        .send_replace(State::Up(number, connection.clone()));
                    if number == 1 {
                        self.look_at_eviction(connection.clone()).await;
                    }
                    let why = self.watch_over(number, connection).await;
                    if begun.elapsed() >= STEADY {
                        pause = FIRST_PAUSE;
                    }
                    why
                }
                Err(why) => why,
            };
            self.state.send_if_modified(|state| {
                let was_up = matches!(state, State::Up(..));
                if was_up {
                    *state = State::DownSince(Instant::now());
                }
                was_up
            });
            let is_refusal = why.is_refusal();
            self.refuses.store(is_refusal, Ordering::Relaxed);
            let outage = if is_refusal {
                LastLogged::Refused
            } else {
                LastLogged::Down
            };
            if logged != outage {
                if is_refusal {
                    tracing::warn!(error = %why, "Redis refuses the gate, see session.store (or session.shared); trying again until it does not");
                } else {
                    tracing::warn!(error = %why, "Redis is away; trying again until it answers");
                }
                logged = outage;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            // Those who wait look at how long it has been down.
            self.state.send_modify(|_| {});
        }
    }

    /// Says at the first connection what will log people out one day, without any crash.
    async fn look_at_eviction(&self, mut connection: Connection) {
        let risks = timeout(BEAT, risks(&mut connection)).await;
        for risk in risks.unwrap_or_default() {
            if let Risk::Evicts(_) = risk {
                tracing::warn!("{risk}");
            }
        }
    }

    /// Returns, with the reason, when the connection is of no use any more.
    async fn watch_over(&mut self, number: u64, mut connection: Connection) -> RedisFailure {
        let mut beat = interval(BEAT);
        loop {
            tokio::select! {
                complaint = self.complaints.recv() => match complaint {
                    None => return RedisFailure::Other("nobody uses it".to_owned()),
                    Some(complaint) if complaint.number < number => continue,
                    // In a cluster any of many servers may be meant: they are all looked up anew.
                    Some(complaint) if complaint.is_broken || connection.is_cluster() => {
                        return RedisFailure::Other("a command met a broken connection".to_owned());
                    }
                    Some(_) => {}
                },
                _ = beat.tick() => {}
            }
            match timeout(BEAT, connection.send(&redis::cmd("PING"))).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return RedisFailure::from(&error),
                Err(_) => return RedisFailure::NoAnswer,
            }
        }
    }
}

/// What the log was told last, so that an outage is two lines.
#[derive(PartialEq, Eq)]
enum LastLogged {
    Nothing,
    Up,
    Down,
    Refused,
}

/// How long one command may take.
const COMMAND: Duration = Duration::from_millis(500);
/// How long a command may take with waiting for a connection and being sent again.
const OVERALL: Duration = Duration::from_secs(1);
/// How long an outage counts as short.
const YOUNG: Duration = Duration::from_millis(500);
/// The age at which an outage will probably outlast a login at the provider. A restart or failover is shorter.
const AWAY: Duration = Duration::from_secs(3);
/// How often the connection is checked, and how long it may take to answer.
const BEAT: Duration = Duration::from_secs(1);
/// The pause before the first attempt to connect again. Each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The age at which a connection counts as stable.
const STEADY: Duration = Duration::from_secs(5);
