//! One refresh, from the lease to the stored result.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::OwnedSemaphorePermit,
    time::{interval, sleep, timeout},
};

use super::{Progress, RefreshPolicy, Shared, breaker::backoff};
use crate::{
    clock,
    clock::Timestamp,
    identity::Identity,
    observe::audit::{Entry, Event},
    provider::{Call, Provider, ProviderError, RefreshedTokens, http::HttpError},
    random,
    session::{
        Id, Session, StoreError,
        directory::SessionName,
        missing_headers,
        place::{Place, RemoteState},
        revocation::{Revocation, Target},
        store::{LEASE, Record},
    },
    tokens::{GrantTokens, Tokens},
};

/// A refresh under way; owns all it needs.
pub(super) struct Refresh {
    pub(super) shared: Arc<Shared>,
    /// The one it began under.
    pub(super) policy: Arc<RefreshPolicy>,
    pub(super) session: Session,
    pub(super) place: Place,
    /// Counts from 1.
    pub(super) attempt: u32,
}

/// Why the provider's answer is not waited for.
enum Held {
    /// Somebody else has done it.
    Outcome(Progress),
    /// The right to ask is ours.
    Ours,
}

impl Refresh {
    /// Runs to its end; never longer than [`LONGEST_RUN`].
    pub(super) async fn run(self) -> Progress {
        let holder: Id = random::bytes();
        // What has sent nothing yet holds no stop up.
        let stop = &self.shared.stop;
        let progress = match stop.run_until_cancelled(self.hold(&holder)).await {
            None => Ok(self.later()),
            Some(Ok(Held::Outcome(progress))) => return progress,
            Some(Ok(Held::Ours)) => self.refresh_holding(&holder).await,
            Some(Err(error)) => Err(error),
        };
        let progress = progress.unwrap_or_else(|error| {
            tracing::warn!(%error, "a session cannot be refreshed now");
            self.later()
        });
        let outcome = match &progress {
            Progress::Refreshed(_) => "renewed",
            Progress::Ended => "ended",
            Progress::Failed(_) | Progress::Unanswered(_) | Progress::Running => "failed",
        };
        let provider = &self.session.identity.provider;
        self.shared.tally.count(provider, outcome);
        self.shared.audit.record(&Entry {
            outcome: Some(outcome),
            credential: Some("session"),
            object: Some(SessionName::of(&self.session).to_string().into()),
            ..Entry::of(Event::Renewal).about(&self.session.identity)
        });
        progress
    }

    /// Waits for the right to ask the provider, or for somebody else's outcome.
    async fn hold(&self, holder: &Id) -> Result<Held, StoreError> {
        let waiting = async {
            let mut pause = FIRST_LOOK;
            while !self.place.lease(&self.session.id, holder, LEASE).await? {
                sleep(pause).await;
                // A provider that stalls is waited for by every replica, and Redis asked by each of them.
                pause = (pause * 2).min(LONGEST_LOOK);
                if let Some(progress) = self.settled_elsewhere().await? {
                    return Ok(Held::Outcome(progress));
                }
            }
            // Whoever had the lease before may have been done with it.
            if let Some(progress) = self.settled_elsewhere().await? {
                self.place.release(&self.session.id, holder).await;
                return Ok(Held::Outcome(progress));
            }
            Ok(Held::Ours)
        };
        let late = || StoreError("another replica holds the refresh".to_owned());
        timeout(LONGEST_HOLD, waiting).await.map_err(|_| late())?
    }

    async fn settled_elsewhere(&self) -> Result<Option<Progress>, StoreError> {
        let latest = self.place.latest(&self.session, clock::now()).await?;
        Ok(match latest {
            RemoteState::Same => None,
            RemoteState::Newer(newer) => Some(Progress::Refreshed(Arc::from(newer))),
            RemoteState::Gone => Some(Progress::Ended),
        })
    }

    /// Asks the provider, and prolongs the lease meanwhile.
    async fn refresh_holding(&self, holder: &Id) -> Result<Progress, StoreError> {
        let is_sent = AtomicBool::new(false);
        let mut refreshing = pin!(self.refresh(holder, &is_sent));
        let mut beat = interval(LEASE / 3);
        let outcome = loop {
            tokio::select! {
                outcome = &mut refreshing => break outcome,
                _ = beat.tick() => {
                    let lasts = if is_sent.load(Ordering::Relaxed) { self.reserved() } else { LEASE };
                    // Lost or not, the token is on its way: the answer is worth more than the lease.
                    let _ = self.place.lease(&self.session.id, holder, lasts).await;
                }
            }
        };
        // Unanswered, the lease stays, so that no other replica sends the token either.
        if !matches!(outcome, Ok(Progress::Unanswered(_))) {
            self.place.release(&self.session.id, holder).await;
        }
        outcome
    }

    /// How long the lease lasts of which the token was sent: while the session can do without, nobody is to send it
    /// again, not even when this process dies.
    fn reserved(&self) -> Duration {
        let serves_until = self.shared.serves_until(&self.session);
        let rest = serves_until.map(|last| last.since(clock::now()));
        rest.unwrap_or_default().max(LEASE)
    }

    async fn refresh(&self, holder: &Id, is_sent: &AtomicBool) -> Result<Progress, StoreError> {
        let session = &self.session;
        let name = &*session.identity.provider;
        // The same name may mean another server by now, which is to see no token of this one.
        let provider = self.policy.providers.find(name);
        let provider = provider
            .filter(|provider| provider.profile().fingerprint == session.provider_fingerprint);
        let (Some(provider), Some(refresh_token)) = (provider, session.tokens.refresh.as_deref())
        else {
            return Ok(Progress::Ended);
        };
        if self.shared.revocations.has_revoked(session) {
            return Ok(Progress::Ended);
        }
        let Some(_line) = self.line(name).await else {
            return Ok(self.later());
        };
        if let Err(retry_at) = self.shared.breakers.admit(name, clock::now()) {
            return Ok(Progress::Failed(retry_at));
        }
        is_sent.store(true, Ordering::Relaxed);
        if !(self.place.lease(&session.id, holder, self.reserved())).await? {
            return Err(StoreError("another replica refreshes it".to_owned()));
        }
        let answer = timeout(
            LONGEST_REFRESH,
            provider.refresh(refresh_token, clock::now()),
        )
        .await;
        match answer.unwrap_or(Err(timed_out())) {
            Ok(tokens) => {
                let kept = self.keep(&**provider, tokens).await;
                Ok(kept.unwrap_or_else(|error| {
                    tracing::error!(provider = name, %error, "refreshed tokens are lost: they cannot be stored");
                    self.unanswered()
                }))
            }
            Err(error) if error.ends_grant() => {
                self.shared.breakers.succeeded(name);
                self.refused(&error).await
            }
            Err(error) => {
                self.note_failure(&error);
                let may_be_spent = error.may_have_spent();
                tracing::warn!(
                    provider = name,
                    %error,
                    attempt = self.attempt,
                    may_be_spent,
                    remedy = error.remedy(),
                    "refresh failed"
                );
                Ok(if may_be_spent {
                    self.unanswered()
                } else {
                    self.later()
                })
            }
        }
    }

    /// One of the few calls that a provider gets at once; none where they are all taken for long, or the gate stops.
    async fn line(&self, provider: &str) -> Option<OwnedSemaphorePermit> {
        let lines = self.shared.breakers.lines(provider);
        let free = self.shared.stop.run_until_cancelled(lines.acquire_owned());
        timeout(LONGEST_QUEUE, free).await.ok()??.ok()
    }

    /// Keeps what the provider gave: whatever the identity turns out to be, the old refresh token may be spent.
    async fn keep(
        &self,
        provider: &dyn Provider,
        granted: GrantTokens,
    ) -> Result<Progress, StoreError> {
        let name = &*provider.profile().name;
        let refreshed = RefreshedTokens {
            tokens: &granted,
            previous: &self.session.identity,
            now: clock::now(),
        };
        let identity = timeout(LONGEST_CALL, provider.identify(&refreshed)).await;
        let now = clock::now();
        let refreshed = match identity.unwrap_or(Err(timed_out())) {
            Ok(identity) if identity.subject != self.session.identity.subject => {
                tracing::error!(
                    provider = name,
                    "a refresh names another subject: the session ends"
                );
                self.shared
                    .token_revoker
                    .to(&self.unconfirmed(granted, now));
                return self.end(now).await;
            }
            Ok(identity) => {
                self.shared.breakers.succeeded(name);
                let refreshed = self.refreshed(granted, identity, now);
                self.shared.note(&refreshed);
                missing_headers::warn_of_new(&self.session, &refreshed, &self.policy.missing);
                refreshed
            }
            Err(error) => {
                self.note_failure(&error);
                if !error.is_outage() && self.shared.is_stale(&self.session, now) {
                    tracing::warn!(provider = name, %error, remedy = error.remedy(), "the session's user is not known any more");
                    self.shared
                        .token_revoker
                        .to(&self.unconfirmed(granted, now));
                    return self.end(now).await;
                }
                tracing::warn!(provider = name, %error, remedy = error.remedy(), "refreshed, but the provider has not said for which user");
                self.unconfirmed(granted, now)
            }
        };
        let Some(record) = self.place.seal(&refreshed) else {
            return Ok(Progress::Refreshed(Arc::new(refreshed)));
        };
        let refreshed = Arc::new(refreshed);
        // A token that cannot be kept now is lost for good, so this is not given up soon.
        let mut attempt = 0;
        loop {
            match self.put(&refreshed, &record).await {
                Err(_) if attempt < KEEP_ATTEMPTS => sleep(backoff(attempt)).await,
                outcome => return outcome,
            }
            attempt += 1;
        }
    }

    /// Puts the refreshed session in its place.
    async fn put(&self, refreshed: &Arc<Session>, record: &Record) -> Result<Progress, StoreError> {
        let id = &refreshed.id;
        if self.place.keep(id, record, clock::now()).await? {
            return Ok(Progress::Refreshed(Arc::clone(refreshed)));
        }
        // An earlier attempt may have been heard and its answer lost; then what is there is what was to be kept.
        if let Some(newer @ Progress::Refreshed(_)) = self.settled_elsewhere().await? {
            return Ok(newer);
        }
        // Signed out meanwhile, perhaps at another replica: nobody else knows of these tokens.
        self.shared.token_revoker.to(refreshed);
        Ok(Progress::Ended)
    }

    /// The session of `identity`, with what was granted.
    fn refreshed(&self, granted: GrantTokens, mut identity: Identity, now: Timestamp) -> Session {
        let before = &self.session.identity.authentication;
        identity.authentication = before.refreshed_by(identity.authentication, now);
        let old = &self.session.tokens;
        let granted = GrantTokens {
            // RFC 6749 §6: no new one means that the old one stays.
            refresh: granted.refresh.or_else(|| old.refresh.clone()),
            id: granted.id.or_else(|| old.id.clone()),
            ..granted
        };
        // Where no ID token came, the one that was too long for a header is still the newest.
        let id_omitted = granted.id.is_none() && old.id_omitted;
        let [jitter] = random::bytes();
        let mut tokens = self.policy.keep.of_grant(granted, true, now, jitter);
        tokens.id_omitted |= id_omitted;
        Session {
            identity,
            tokens,
            ..self.successor(now)
        }
    }

    /// The session as it was, because nobody has said whose the new tokens are: an ID token that does not hold, or a
    /// place that cannot be asked. Nothing of them is believed or shown to anybody; but the refresh token is the new
    /// one, or the family would be revoked at the next attempt. The access token's end stays, and with it the end
    /// of the grace: who cannot be identified any more does not pass for ever.
    fn unconfirmed(&self, granted: GrantTokens, now: Timestamp) -> Session {
        let old = self.session.tokens.clone();
        let end = old.expires_at.unwrap_or(now);
        // Without a count: sooner as the end draws near, and later and later behind it.
        let distance = end.since(now).max(now.since(end));
        let wait = (distance / 2).clamp(SHORTEST_WAIT, LONGEST_WAIT);
        let tokens = Tokens {
            refresh: granted.refresh.or(old.refresh),
            expires_at: Some(end),
            refresh_at: Some(now.after(wait)),
            ..old
        };
        Session {
            tokens,
            ..self.successor(now)
        }
    }

    fn successor(&self, now: Timestamp) -> Session {
        Session {
            generation: self.session.generation + 1,
            seen_at: now.max(self.session.seen_at),
            ..self.session.clone()
        }
    }

    fn note_failure(&self, error: &ProviderError) {
        let provider = &*self.session.identity.provider;
        if error.is_outage() {
            self.shared.breakers.failed(provider, clock::now());
        } else {
            self.shared.breakers.succeeded(provider);
        }
    }

    /// The provider says that the grant is no more. Where somebody else has refreshed it, that is why.
    async fn refused(&self, error: &ProviderError) -> Result<Progress, StoreError> {
        if let Some(progress) = self.settled_elsewhere().await? {
            return Ok(progress);
        }
        let provider = &*self.session.identity.provider;
        tracing::info!(provider, %error, "the provider has ended the session");
        self.end(clock::now()).await
    }

    /// Ends the session everywhere: in its place, and in every copy of its cookie.
    async fn end(&self, now: Timestamp) -> Result<Progress, StoreError> {
        self.shared.revocations.revoke(Revocation {
            target: Target::Session(self.session.id),
            not_before: now,
        });
        self.place.remove(&self.session.id).await?;
        Ok(Progress::Ended)
    }

    /// Nothing was spent: it is tried again soon.
    fn later(&self) -> Progress {
        Progress::Failed(clock::now().after(backoff(self.attempt)))
    }

    /// The refresh token may be spent, and then a second use would end the session at the provider, with all that came of
    /// its login. So it is not sent again for as long as the session can do without; then it is the last hope.
    fn unanswered(&self) -> Progress {
        let soon = clock::now().after(backoff(self.attempt));
        let serves_until = self.shared.serves_until(&self.session);
        Progress::Unanswered(serves_until.map_or(soon, |last| last.max(soon)))
    }
}

fn timed_out() -> ProviderError {
    ProviderError::Http {
        call: Call::Token,
        error: HttpError::Timeout,
    }
}

/// How long the provider may take to refresh, all calls together: its addresses, and the one answer that counts, for
/// which [the call itself](crate::provider::REFRESH_TIMEOUT) waits two minutes.
const LONGEST_REFRESH: Duration = Duration::from_secs(150);
/// How long the provider may take to say whose the new tokens are, all calls and retries together.
const LONGEST_CALL: Duration = Duration::from_secs(20);
/// How long a refresh waits for its turn if the provider is slow.
const LONGEST_QUEUE: Duration = Duration::from_mins(1);
/// How long a refresh by another replica is awaited: as long as our own may take, and one more lease if that replica died.
const LONGEST_HOLD: Duration = Duration::from_mins(5);
/// The shortest interval between two checks for the result of another replica's refresh.
const FIRST_LOOK: Duration = Duration::from_millis(50);
/// The longest of these intervals.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// The longest refresh: all of the above, and the time to store the result.
pub(super) const LONGEST_RUN: Duration = Duration::from_mins(15);
/// The shortest wait until the provider is asked again who the user is.
const SHORTEST_WAIT: Duration = Duration::from_secs(2);
/// The longest of these waits.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How often storing the result is repeated: for about five minutes.
const KEEP_ATTEMPTS: u32 = 10;
