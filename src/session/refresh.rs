//! Renewal: a session's tokens and identity, asked for again before the old ones end.
//!
//! A provider may rotate refresh tokens, and take a second use of one for theft and end everything. So each
//! session is renewed once at a time, however many requests, tabs and replicas ask: in one process by a single
//! flight, across replicas under a lease. The renewal runs apart from the requests that want it; one that goes away
//! loses nothing. While the old token lasts nobody waits.
//!
//! A browser that has the old cookie is given the new one with each answer, for a while. Only the provider's word that
//! the grant is no more ends a session, and only when nobody else has renewed it; whatever else goes wrong is tried
//! again, later and later, and meanwhile the session goes on: until its access token is over for longer than the
//! grace. New tokens are worth nothing until the provider has said whose they are; until then the old ones and the old
//! identity stand, and only the refresh token, which may be good once, is the new one.

mod breaker;
mod run;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use moka::{
    Expiry,
    ops::compute::{CompResult, Op},
    policy::EvictionPolicy,
    sync::Cache,
};
use tokio::{runtime::Handle, sync::watch, time::timeout};
use tokio_util::task::TaskTracker;

use self::{breaker::Breakers, run::Renewal};
use super::{
    KeepTokens, Session,
    farewell::Farewell,
    place::{Place, SUCCESSOR_KEPT},
    revocation::Revocations,
    store::Id,
};
use crate::{clock::Timestamp, observe::metrics::Tally, provider::Providers};

/// Renews sessions.
pub struct Refresher {
    shared: Arc<Shared>,
    flights: Cache<(Id, u64), Flight>,
    runtime: Handle,
    running: TaskTracker,
}

/// What every renewal needs.
struct Shared {
    providers: Arc<Providers>,
    breakers: Breakers,
    revocations: Arc<Revocations>,
    farewell: Arc<Farewell>,
    keep: KeepTokens,
    /// How long a session outlives its access token while the provider cannot be asked.
    provider_grace: Duration,
    tally: Tally<3>,
}

impl Shared {
    /// Whether the access token of a session that is renewed is over for longer than the grace.
    fn is_stale(&self, session: &Session, now: Timestamp) -> bool {
        let tokens = &session.tokens;
        let last = tokens.expires_at.map(|end| end.after(self.provider_grace));
        tokens.refresh.is_some() && last.is_some_and(|last| now >= last)
    }
}

/// What is to be done with a session before it is believed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// It stands as it is.
    Stands(Session),
    /// It was renewed; the browser has to be told where the cookie is all there is.
    Renewed(Session),
    /// It has ended.
    Ended,
    /// It cannot be said: its token is over for longer than the grace, and the provider cannot be asked.
    Unknown,
}

/// One renewal of one generation of a session, and how often it was tried.
#[derive(Clone)]
struct Flight {
    attempt: u32,
    kept: Duration,
    progress: watch::Receiver<Progress>,
}

#[derive(Clone, Debug)]
enum Progress {
    Running,
    Renewed(Arc<Session>),
    Ended,
    /// Not now; again at the earliest then.
    Failed(Timestamp),
}

/// Whether a renewal is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    No,
    /// The old token lasts still.
    Soon,
    /// The old token is over.
    Overdue,
}

fn due(session: &Session, now: Timestamp) -> Due {
    let tokens = &session.tokens;
    if tokens.refresh.is_none() || tokens.refresh_at.is_none_or(|due| now < due) {
        return Due::No;
    }
    match tokens.expires_at {
        Some(end) if now < end => Due::Soon,
        _ => Due::Overdue,
    }
}

impl Refresher {
    /// Renewals run on `runtime`, which outlives the workers.
    pub fn new(
        providers: Arc<Providers>,
        revocations: Arc<Revocations>,
        farewell: Arc<Farewell>,
        keep: KeepTokens,
        provider_grace: Duration,
        runtime: Handle,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                breakers: Breakers::new(&providers),
                tally: Tally::new(providers.names(), ["renewed", "ended", "failed"]),
                providers,
                revocations,
                farewell,
                keep,
                provider_grace,
            }),
            flights: Cache::builder()
                .max_capacity(FLIGHTS)
                .expire_after(Kept)
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            runtime,
            running: TaskTracker::new(),
        }
    }

    /// How renewals ended: "renewed"; "ended", at the provider's word; "failed", to be tried again.
    pub fn tally(&self) -> &Tally<3> {
        &self.shared.tally
    }

    /// Waits until what runs has ended, so that no token that was just given is lost with the process.
    pub async fn finish(&self) {
        self.running.close();
        self.running.wait().await;
    }

    /// Whether [`settle`](Self::settle) has something to say of `session`; otherwise it stands.
    pub(super) fn concerns(&self, session: &Session, now: Timestamp) -> bool {
        due(session, now) != Due::No || self.shared.is_stale(session, now)
    }

    /// What `session` was renewed to, as far as it is known here: a browser that signs out may do so with an older
    /// cookie.
    pub(super) fn newest(&self, session: &Session) -> Option<Arc<Session>> {
        let mut newest = None;
        let mut generation = session.generation;
        for _ in 0..LONGEST_CHAIN {
            let Some(flight) = self.flights.get(&(session.id, generation)) else {
                break;
            };
            let Progress::Renewed(renewed) = &*flight.progress.borrow() else {
                break;
            };
            generation = renewed.generation;
            newest = Some(Arc::clone(renewed));
        }
        newest
    }

    /// What a session that was opened is worth now. Waits only where its access token is over.
    pub(super) async fn settle(&self, session: Session, place: &Place, now: Timestamp) -> Settled {
        let mut session = session;
        let mut is_renewed = false;
        // An old cookie may be several renewals behind.
        for _ in 0..LONGEST_CHAIN {
            let due = due(&session, now);
            if due == Due::No {
                break;
            }
            let flight = self.flight(&session, place, now);
            let progress = match due {
                Due::Overdue => flight.outcome(self.shared.is_stale(&session, now)).await,
                _ => flight.progress.borrow().clone(),
            };
            match progress {
                Progress::Renewed(newer) => {
                    session = Session::clone(&newer);
                    is_renewed = true;
                }
                Progress::Ended => return Settled::Ended,
                Progress::Running | Progress::Failed(_) => break,
            }
        }
        if self.shared.is_stale(&session, now) {
            Settled::Unknown
        } else if is_renewed {
            Settled::Renewed(session)
        } else {
            Settled::Stands(session)
        }
    }

    /// The renewal of this generation: the one that runs or ran, else one that begins now.
    fn flight(&self, session: &Session, place: &Place, now: Timestamp) -> Flight {
        let key = (session.id, session.generation);
        if let Some(flight) = self.flights.get(&key)
            && !flight.may_try_again(now)
        {
            return flight;
        }
        let outcome = self.flights.entry(key).and_compute_with(|entry| {
            let earlier = entry.map(moka::Entry::into_value);
            match earlier {
                Some(flight) if !flight.may_try_again(now) => Op::Nop,
                earlier => {
                    Op::Put(self.start(session, place, earlier.map_or(0, |old| old.attempt)))
                }
            }
        });
        match outcome {
            CompResult::Unchanged(entry)
            | CompResult::Inserted(entry)
            | CompResult::ReplacedWith(entry) => entry.into_value(),
            // Nothing is ever removed by hand.
            CompResult::StillNone(_) | CompResult::Removed(_) => Flight {
                attempt: 0,
                kept: Duration::ZERO,
                progress: watch::channel(Progress::Ended).1,
            },
        }
    }

    fn start(&self, session: &Session, place: &Place, earlier: u32) -> Flight {
        let (sender, progress) = watch::channel(Progress::Running);
        let attempt = earlier + 1;
        let renewal = Renewal {
            shared: Arc::clone(&self.shared),
            session: session.clone(),
            place: place.clone(),
            attempt,
        };
        let shared = Arc::clone(&self.shared);
        self.running.spawn_on(
            async move {
                let progress = renewal.run().await;
                let renewed = match &progress {
                    Progress::Renewed(renewed) => Some(Arc::clone(renewed)),
                    _ => None,
                };
                sender.send_replace(progress);
                // Told before it is looked: whoever signs out looks for what was told after they have revoked. So one
                // of both finds the tokens that came meanwhile.
                if let Some(renewed) = renewed
                    && shared.revocations.has_revoked(&renewed)
                {
                    shared.farewell.to(&renewed);
                }
            },
            &self.runtime,
        );
        Flight {
            attempt,
            kept: match place {
                Place::Cookie | Place::Shared { .. } => SUCCESSOR_KEPT,
                Place::Record { .. } => FLIGHT_KEPT,
            },
            progress,
        }
    }
}

/// A flight is remembered for as long as somebody may ask for its outcome: those who hold the old cookie, or,
/// where the record is what counts, those who read it just before.
struct Kept;

impl Expiry<(Id, u64), Flight> for Kept {
    fn expire_after_create(&self, _: &(Id, u64), flight: &Flight, _: Instant) -> Option<Duration> {
        Some(flight.kept)
    }

    /// One that is tried again is a new one.
    fn expire_after_update(
        &self,
        _: &(Id, u64),
        flight: &Flight,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(flight.kept)
    }
}

impl Flight {
    fn may_try_again(&self, now: Timestamp) -> bool {
        match &*self.progress.borrow() {
            Progress::Failed(retry_at) => now >= *retry_at,
            // Its task is gone without a word: it cannot be waited for.
            Progress::Running => self.progress.has_changed().is_err(),
            _ => false,
        }
    }

    /// What became of it, waited for. A session that cannot go on without waits long; the others wait a little, and
    /// hardly for a provider that has failed once: its outage must not be everybody's delay.
    async fn outcome(mut self, is_needed: bool) -> Progress {
        let patience = match (is_needed, self.attempt) {
            (true, _) => PATIENCE,
            (false, ..=1) => COURTESY,
            (false, _) => SECOND_COURTESY,
        };
        let has_ended = |progress: &Progress| !matches!(progress, Progress::Running);
        match timeout(patience, self.progress.wait_for(has_ended)).await {
            Ok(Ok(progress)) => progress.clone(),
            _ => Progress::Running,
        }
    }
}

/// How long a request waits for a renewal without which it cannot go on.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long it waits where it can.
const COURTESY: Duration = Duration::from_secs(5);
/// The same, when the provider has failed once.
const SECOND_COURTESY: Duration = Duration::from_millis(250);
/// How long a renewal is known whose outcome is in a store. Longer than it can take: while it runs, another one must
/// not begin.
const FLIGHT_KEPT: Duration = Duration::from_mins(5);
/// Renewals remembered, so that old cookies get the new one: a kilobyte or two each. A bound, not a target.
const FLIGHTS: u64 = 50_000;
/// Renewals that one look follows: more than fit into the time that they are remembered.
const LONGEST_CHAIN: usize = 128;

#[cfg(test)]
mod tests;
