//! Refreshes a session's tokens and identity before the old ones end.
//!
//! A provider may rotate refresh tokens, take a second use of one for theft, and end the whole grant. So each session is refreshed once at a
//! time, however many requests, tabs and replicas ask: within a process by a single flight, across replicas under a lease. The
//! refresh runs apart from the requests that need it, so a client that leaves loses nothing. While enough is left of
//! the old token ([`KeepTokens::margin`](crate::tokens::KeepTokens::margin)), nobody waits.
//!
//! A browser with the old cookie gets the new one with each answer, for a while. Only the provider's `invalid_grant` ends a session, and
//! only if nobody else has refreshed it. Every other failure is tried again at growing intervals. Meanwhile the session continues, until its
//! access token has been over for longer than the grace. New tokens count only when the provider has said whose they are. Until then the old
//! tokens and the old identity apply; only the refresh token, which may be valid once, is the new one.

mod breaker;
mod flight;
mod run;

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    breaker::Breakers,
    flight::{Flight, Flights, Known, Progress},
    run::{LONGEST_RUN, Refresh},
};
use super::{
    Session,
    missing_headers::MissingHeaders,
    place::{Place, SUCCESSOR_KEPT},
    revocation::Revocations,
    token_revoker::TokenRevoker,
};
use crate::{
    clock::{self, Timestamp},
    observe::{audit::Audit, metrics::Tally},
    provider::Providers,
    tokens::{KeepTokens, Tokens},
};

/// Refreshes sessions.
pub struct Refresher {
    shared: Arc<Shared>,
    flights: Flights,
    runtime: Handle,
    running: TaskTracker,
}

/// What one configuration says of refreshes.
pub struct RefreshPolicy {
    /// Who refreshes.
    pub providers: Arc<Providers>,
    /// The tokens that sessions keep.
    pub keep: KeepTokens,
    /// How long a session outlives its access token while the provider cannot be asked.
    pub provider_grace: Duration,
    /// What the app is not told of a session.
    pub missing: MissingHeaders,
}

/// What every refresh needs.
struct Shared {
    policy: ArcSwap<RefreshPolicy>,
    breakers: Breakers,
    revocations: Arc<Revocations>,
    token_revoker: Arc<TokenRevoker>,
    tally: Tally<3>,
    audit: Audit,
    /// Takes what refreshes say of people.
    feed: OnceLock<mpsc::Sender<(Session, Timestamp)>>,
    /// Ends the waiting of what has sent nothing yet.
    stop: CancellationToken,
}

impl Shared {
    /// Until when a session that is refreshed can do without: its access token serves, or the grace does.
    fn serves_until(&self, session: &Session) -> Option<Timestamp> {
        let tokens = &session.tokens;
        tokens.refresh.as_ref()?;
        let grace = self.policy.load().provider_grace;
        tokens.expires_at.map(|end| end.after(grace))
    }

    /// Somebody was refreshed. Where too many wait to be noted, the next refresh says it again.
    fn note(&self, refreshed: &Session) {
        if let Some(feed) = self.feed.get() {
            let noted = Session {
                tokens: Tokens::default(),
                ..refreshed.clone()
            };
            if feed.try_send((noted, clock::now())).is_err() {
                tracing::warn!("too many refreshes wait to be noted for their users' API tokens");
            }
        }
    }

    /// Whether that is over.
    fn is_stale(&self, session: &Session, now: Timestamp) -> bool {
        self.serves_until(session).is_some_and(|last| now >= last)
    }
}

/// What is to be done with a session before it is believed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RefreshOutcome {
    /// It stands as it is.
    Stands(Session),
    /// It was refreshed; the browser has to be told where the cookie is all there is.
    Refreshed(Session),
    /// It has ended.
    Ended,
    /// It cannot be said: its token is over for longer than the grace, and the provider cannot be asked.
    Unknown,
}

/// Whether a refresh is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    No,
    /// The old token lasts still.
    Soon,
    /// The old token is over, or will be before the app has used it.
    Overdue,
}

/// `margin` is what must be left of the old token.
fn due(session: &Session, margin: Duration, now: Timestamp) -> Due {
    let tokens = &session.tokens;
    if tokens.refresh.is_none() || tokens.refresh_at.is_none_or(|due| now < due) {
        return Due::No;
    }
    match tokens.expires_at {
        Some(end) if now.after(margin) < end => Due::Soon,
        _ => Due::Overdue,
    }
}

impl Refresher {
    /// Refreshes run on `runtime`, which outlives the workers.
    pub fn new(
        policy: RefreshPolicy,
        audit: Audit,
        revocations: Arc<Revocations>,
        token_revoker: Arc<TokenRevoker>,
        runtime: Handle,
    ) -> Self {
        let tally = Tally::new(["renewed", "ended", "failed"]);
        tally.add(policy.providers.names());
        Self {
            shared: Arc::new(Shared {
                breakers: Breakers::default(),
                tally,
                audit,
                policy: ArcSwap::from_pointee(policy),
                revocations,
                token_revoker,
                feed: OnceLock::new(),
                stop: CancellationToken::new(),
            }),
            flights: Flights::new(FLIGHTS),
            runtime,
            running: TaskTracker::new(),
        }
    }

    /// Tells of each refresh that says who somebody is, by the session without its tokens. Only the first call counts.
    pub fn tell(&self, feed: mpsc::Sender<(Session, Timestamp)>) {
        let _ = self.shared.feed.set(feed);
    }

    /// Refreshes begin under `policy` from here on. Those that run end under the one they began with.
    pub fn adopt(&self, policy: RefreshPolicy) {
        self.shared.tally.add(policy.providers.names());
        self.shared.policy.store(Arc::new(policy));
    }

    /// The same, with room for so many bytes of refreshes.
    #[cfg(test)]
    fn remembering(&self, bytes: u64) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            flights: Flights::new(bytes),
            runtime: self.runtime.clone(),
            running: TaskTracker::new(),
        }
    }

    /// How refreshes ended: "renewed"; "ended", at the provider's word; "failed", to be tried again.
    pub fn tally(&self) -> &Tally<3> {
        &self.shared.tally
    }

    /// Waits until what runs has ended, so that no token that was just given is lost with the process. What has sent
    /// nothing yet is not begun any more.
    pub async fn finish(&self) {
        self.shared.stop.cancel();
        self.running.close();
        self.running.wait().await;
    }

    /// Whether [`settle`](Self::settle) has something to say of `session`; otherwise it stands.
    pub(super) fn concerns(&self, session: &Session, now: Timestamp) -> bool {
        due(session, Duration::ZERO, now) != Due::No || self.shared.is_stale(session, now)
    }

    /// What `session` was refreshed to, as far as it is known here: a browser that signs out may do so with an older
    /// cookie.
    pub(super) fn newest(&self, session: &Session) -> Option<Arc<Session>> {
        let flight = self.flights.get(&session.id)?;
        let refreshed = match &*flight.progress.borrow() {
            Progress::Refreshed(refreshed) => Arc::clone(refreshed),
            _ => Arc::clone(&flight.session),
        };
        (refreshed.generation > session.generation).then_some(refreshed)
    }

    /// What a session that was opened is worth now. Waits only where its access token is over or nearly, and then for
    /// [`PATIENCE`] at most, however long the provider thinks: the refresh goes on without whoever asked for it.
    pub(super) async fn settle(
        &self,
        session: Session,
        place: &Place,
        now: Timestamp,
    ) -> RefreshOutcome {
        let deadline = Instant::now() + PATIENCE;
        let mut session = session;
        let (mut is_refreshed, mut is_spent) = (false, false);
        let margin = self.shared.policy.load().keep.margin();
        // An old cookie leads to what was refreshed last, and that may be due.
        for _ in 0..LONGEST_CHAIN {
            let due = due(&session, margin, now);
            if due == Due::No {
                break;
            }
            let start = |earlier| self.start(&session, place, earlier, now);
            let Known::Flight(flight) = self.flights.obtain(&session, place, now, start) else {
                is_spent = true;
                break;
            };
            if flight.session.generation > session.generation {
                session = Session::clone(&flight.session);
                is_refreshed = true;
                continue;
            }
            let progress = match due {
                Due::Overdue if self.shared.is_stale(&session, now) => {
                    flight.outcome(deadline).await
                }
                Due::Overdue => {
                    // It can do without: only the first to ask wait, hardly where the provider has failed once.
                    let courtesy = if flight.attempt > 1 {
                        SECOND_COURTESY
                    } else {
                        PATIENCE
                    };
                    let deadline = deadline.min(flight.begun + courtesy);
                    flight.outcome(deadline).await
                }
                _ => flight.progress.borrow().clone(),
            };
            match progress {
                Progress::Refreshed(newer) => {
                    session = Session::clone(&newer);
                    is_refreshed = true;
                }
                Progress::Ended => return RefreshOutcome::Ended,
                Progress::Running | Progress::Failed(_) | Progress::Unanswered(_) => break,
            }
        }
        if self.shared.is_stale(&session, now) {
            // Nobody can say any more what its token was refreshed to.
            if is_spent {
                RefreshOutcome::Ended
            } else {
                RefreshOutcome::Unknown
            }
        } else if is_refreshed {
            RefreshOutcome::Refreshed(session)
        } else {
            RefreshOutcome::Stands(session)
        }
    }

    fn start(&self, session: &Session, place: &Place, earlier: u32, now: Timestamp) -> Flight {
        let (sender, progress) = watch::channel(Progress::Running);
        let attempt = earlier + 1;
        let refresh = Refresh {
            policy: self.shared.policy.load_full(),
            shared: Arc::clone(&self.shared),
            session: session.clone(),
            place: place.clone(),
            attempt,
        };
        let shared = Arc::clone(&self.shared);
        self.running.spawn_on(
            async move {
                let progress = refresh.run().await;
                let refreshed = match &progress {
                    Progress::Refreshed(refreshed) => Some(Arc::clone(refreshed)),
                    _ => None,
                };
                sender.send_replace(progress);
                // The result is published before revocations are looked at, and a sign-out revokes before it looks for results. So
                // one of the two finds the new tokens.
                if let Some(refreshed) = refreshed
                    && shared.revocations.has_revoked(&refreshed)
                {
                    shared.token_revoker.to(&refreshed);
                }
            },
            &self.runtime,
        );
        let kept = match place {
            Place::Cookie | Place::Shared { .. } => SUCCESSOR_KEPT,
            Place::Record { .. } => FLIGHT_KEPT,
        };
        // As long as its token must not be sent again.
        let needed = self.shared.serves_until(session).unwrap_or(now).since(now) + LONGEST_RUN;
        Flight {
            session: Arc::new(session.clone()),
            attempt,
            begun: Instant::now(),
            kept: kept.max(needed),
            progress,
        }
    }
}

/// The longest time that a request waits for a refresh.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same if the request can continue without, and the provider has failed once.
const SECOND_COURTESY: Duration = Duration::from_millis(250);
/// How long a refresh is remembered whose result is in a store.
const FLIGHT_KEPT: Duration = Duration::from_mins(5);
/// Bytes of remembered refreshes, so that old cookies get the new one: some twenty thousand sessions.
const FLIGHTS: u64 = 32 * 1024 * 1024;
/// Steps of one lookup: from an old cookie to the session that was refreshed last, to its successor, and one more.
const LONGEST_CHAIN: usize = 4;

#[cfg(test)]
mod tests;
