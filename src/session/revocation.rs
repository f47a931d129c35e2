//! Revocations: a session, all of a user's, all of a session at the provider, or everybody's.
//!
//! A revocation is a not-before: sessions that began at or before it are invalid, whoever has a copy. So it works for sessions in cookies,
//! of which there is no list, as well as for those in a store. It is kept as long as a session may last, and then dropped. This
//! is what one process knows. Each request checks it without waiting. Replicas exchange revocations through a [`Feed`].
//!
//! The number of revocations is bounded. Authenticated ones (from the user, an operator, or a provider's signature) are never dropped without
//! their sessions: beyond the bound the oldest are dropped, and every session from before them ends too. A front-channel logout is
//! not signed, so strangers can forge any number. These are stored apart, and refused beyond their bound. So an accepted revocation is never
//! undone, and no flood can end the session of somebody else.
//!
//! Anybody who may sign in can begin and end grants without end. Revocations of grants are stored apart, too, as long as an access token
//! lasts: nothing else of the grant is left. Beyond their bound the oldest are dropped, and every access token given by then ends, with
//! what it has opened. Clients renew theirs, and no session ends.

mod delivery_counter;
mod target;

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::{
    notification::RemovalCause,
    ops::compute::{CompResult, Op},
    policy::EvictionPolicy,
    sync::Cache,
};
use tokio::sync::{mpsc, watch};

use self::delivery_counter::DeliveryCounter;
pub(super) use self::target::user_hash;
pub use self::target::{Mark, Target};
use super::Session;
use crate::{clock, clock::Timestamp, jose::LEEWAY};

/// Sessions of `target` that began at `not_before` or earlier are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Whose.
    pub target: Target,
    /// Up to when.
    pub not_before: Timestamp,
}

/// Carries revocations to other replicas; what is taken is delivered, however long it takes.
pub type Feed = mpsc::Sender<Revocation>;

/// Which revocations: each kind has a store, a bound and a feed of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of sessions, that somebody vouches for.
    Vouched,
    /// Of sessions, that nobody signed.
    Unsigned,
    /// Of access tokens.
    Grants,
}

/// Takes revocations of each kind to other replicas.
pub struct Feeds {
    /// Those that somebody vouches for.
    pub vouched: Feed,
    /// Those that nobody signed.
    pub unsigned: Feed,
    /// Those of access tokens.
    pub grants: Feed,
}

/// Too many revocations that nobody vouches for are remembered; this one is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Revocations that somebody vouches for, about a hundred bytes each: the sign-outs of a session's lifetime.
const MOST_AUTHENTICATED: u64 = 1_000_000;
/// Those that nobody signed. A tenth more may slip in from other replicas.
const MOST_UNAUTHENTICATED: u64 = 250_000;
/// Those of access tokens, as long as such a token lasts.
const MOST_GRANTS: u64 = 100_000;

/// How many revocations are remembered, about a hundred bytes each.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Those that somebody vouches for: the sign-outs of a lifetime.
    pub authenticated: u64,
    /// Those that nobody signed. A tenth more may slip in from other replicas.
    pub unauthenticated: u64,
    /// Those of access tokens, as long as such a token lasts.
    pub grants: u64,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            authenticated: MOST_AUTHENTICATED,
            unauthenticated: MOST_UNAUTHENTICATED,
            grants: MOST_GRANTS,
        }
    }
}

impl Capacity {
    /// What is refused beyond the bound is counted a little late.
    pub(super) fn unsigned_at_most(self) -> u64 {
        self.unauthenticated + self.unauthenticated / 10
    }
}

/// What this process knows to be over.
pub struct Revocations {
    /// Whether a session was ever ended by itself.
    any_session: AtomicBool,
    /// Whether a grant was.
    any_grant: AtomicBool,
    /// The newest not-before of all that end a user's sessions: no session that began later needs a look.
    newest_of_users: AtomicU64,
    /// The same of those that end what rests on a session at the provider.
    newest_of_provider_sessions: AtomicU64,
    everybody: Arc<GlobalCutoff>,
    access_tokens: Arc<GlobalCutoff>,
    authenticated: Cache<Target, Timestamp>,
    grants: Cache<Target, Timestamp>,
    unauthenticated: Cache<Target, Timestamp>,
    /// How many of the latter the replicas' common memory holds, as far as is known.
    unsigned_elsewhere: AtomicU64,
    capacity: Capacity,
    feeds: OnceLock<Feeds>,
    /// How far other replicas know of what is vouched for.
    delivery_counter: DeliveryCounter,
    /// Some of those found no place in the queue.
    overflowed: AtomicBool,
    /// Some of those of access tokens found none.
    grants_overflowed: AtomicBool,
    /// What other replicas revoked before this one began is known as well.
    is_known: AtomicBool,
    said: LogThrottle,
}

/// Up to when everybody's sessions, or access tokens, are over; and how often anybody's were ended.
struct GlobalCutoff {
    /// What is over, as the log says it.
    what: &'static str,
    not_before: AtomicU64,
    /// As far as that stands for revocations that were forgotten.
    forgotten: AtomicU64,
    said: LogThrottle,
    count: watch::Sender<u64>,
}

/// What would be said too often otherwise, in a flood.
#[derive(Default)]
struct LogThrottle(AtomicU64);

impl LogThrottle {
    fn is_due(&self, now: Timestamp) -> bool {
        let said_at = Timestamp(self.0.load(Ordering::Relaxed));
        let is_due = now.since(said_at) >= Duration::from_mins(1);
        if is_due {
            self.0.store(now.0, Ordering::Relaxed);
        }
        is_due
    }
}

impl GlobalCutoff {
    fn of(what: &'static str, count: watch::Sender<u64>) -> Arc<Self> {
        Arc::new(Self {
            what,
            not_before: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
            said: LogThrottle::default(),
            count,
        })
    }

    /// Whether that is news.
    fn end(&self, not_before: Timestamp) -> bool {
        self.not_before.fetch_max(not_before.0, Ordering::Relaxed) < not_before.0
    }

    fn changed(&self) {
        self.count.send_modify(|count| *count += 1);
    }

    /// Makes room without letting anybody in again: what is forgotten ended a session that began by then.
    fn end_in_place_of(&self, forgotten: Timestamp) {
        // A replica whose clock is ahead must not end what is yet to begin.
        let now = clock::now();
        let forgotten = forgotten.min(now);
        self.forgotten.fetch_max(forgotten.0, Ordering::Relaxed);
        if self.end(forgotten) {
            self.changed();
        }
        if self.said.is_due(now) {
            tracing::error!(
                "too many revocations: the oldest are dropped, and every {} from before them has ended",
                self.what
            );
        }
    }

    /// Whether what this would end has ended for that. Heard of again, it must not drive out a newer one.
    fn covers(&self, not_before: Timestamp) -> bool {
        not_before.0 <= self.forgotten.load(Ordering::Relaxed)
    }
}

impl Revocations {
    /// Remembers each for `lifetime`, the longest that a session can last.
    pub fn new(lifetime: Duration) -> Self {
        Self::bounded(lifetime, Capacity::default())
    }

    /// As [`new`](Self::new), and so many of them.
    pub fn bounded(lifetime: Duration, capacity: Capacity) -> Self {
        let count = watch::Sender::new(0);
        let everybody = GlobalCutoff::of("session", count.clone());
        let access_tokens = GlobalCutoff::of("access token", count);
        let cache = |capacity, lasts, cutoff: &Arc<GlobalCutoff>| {
            let cutoff = Arc::clone(cutoff);
            Cache::builder()
                .max_capacity(capacity)
                .time_to_live(lasts)
                .eviction_policy(EvictionPolicy::lru())
                .eviction_listener(move |_, not_before, cause| {
                    if cause == RemovalCause::Size {
                        cutoff.end_in_place_of(not_before);
                    }
                })
                .build()
        };
        let lasts = lifetime + Duration::from_mins(1);
        Self {
            any_session: AtomicBool::new(false),
            any_grant: AtomicBool::new(false),
            newest_of_users: AtomicU64::new(0),
            newest_of_provider_sessions: AtomicU64::new(0),
            authenticated: cache(capacity.authenticated, lasts, &everybody),
            unauthenticated: cache(capacity.unsigned_at_most(), lasts, &everybody),
            grants: cache(capacity.grants, GRANTS_KEPT, &access_tokens),
            everybody,
            access_tokens,
            unsigned_elsewhere: AtomicU64::new(0),
            capacity,
            feeds: OnceLock::new(),
            delivery_counter: DeliveryCounter::new(),
            overflowed: AtomicBool::new(false),
            grants_overflowed: AtomicBool::new(false),
            is_known: AtomicBool::new(true),
            said: LogThrottle::default(),
        }
    }

    /// Tells other replicas from now on, of each kind through a feed of its own, so that none waits for another. Only the first call
    /// counts.
    pub fn tell(&self, feeds: Feeds) {
        let _ = self.feeds.set(feeds);
    }

    /// How many are remembered.
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// What other replicas revoked is still to be [learnt](Self::learn). Until it is, nobody can say that a session
    /// stands: a replica that has just started must not open what the others closed.
    pub fn mark_unsynced(&self) {
        self.is_known.store(false, Ordering::Release);
    }

    /// Everything that is to be known has been learnt.
    pub fn mark_synced(&self) {
        self.is_known.store(true, Ordering::Release);
    }

    /// Whether what was revoked is known, here and elsewhere.
    pub fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Acquire)
    }

    /// Ends sessions or access tokens, here at once and elsewhere as soon as the feed gets there.
    pub fn revoke(&self, revocation: Revocation) {
        let is_new = self.learn(revocation);
        let kind = revocation.target.kind();
        // What is covered here need not be elsewhere.
        if !is_new && !self.cutoff(kind).covers(revocation.not_before) {
            return;
        }
        let Some(feeds) = self.feeds.get() else {
            return;
        };
        let is_given = if kind == Kind::Grants {
            feeds.grants.try_send(revocation).is_ok()
        } else {
            let give = || feeds.vouched.try_send(revocation).is_ok();
            self.delivery_counter.give(give)
        };
        if !is_given {
            self.overflow_of(kind).store(true, Ordering::Release);
            tracing::error!(
                "too many revocations wait for Redis: other replicas learn of this one late"
            );
        }
    }

    fn cutoff(&self, kind: Kind) -> &GlobalCutoff {
        match kind {
            Kind::Vouched | Kind::Unsigned => &self.everybody,
            Kind::Grants => &self.access_tokens,
        }
    }

    fn overflow_of(&self, kind: Kind) -> &AtomicBool {
        match kind {
            Kind::Vouched | Kind::Unsigned => &self.overflowed,
            Kind::Grants => &self.grants_overflowed,
        }
    }

    /// What is known here of a kind, and is not among `there`, what the replicas' common memory has: it has lost
    /// that, or was never told. Those older than `lifetime` are needed no more, but for the one that stands for others.
    pub fn lost(
        &self,
        kind: Kind,
        there: &HashMap<Target, Timestamp>,
        lifetime: Duration,
        now: Timestamp,
    ) -> Vec<Revocation> {
        let is_there = |target: &Target, not_before| {
            // Of a session or a grant the first counts, whichever time it says.
            let is_enough = |known: &Timestamp| target.is_by_id() || *known >= not_before;
            there.get(target).is_some_and(is_enough)
        };
        let cutoff = Timestamp(self.cutoff(kind).not_before.load(Ordering::Relaxed));
        let (known, all) = match kind {
            Kind::Vouched => (&self.authenticated, Some(Target::Everybody)),
            Kind::Unsigned => (&self.unauthenticated, None),
            Kind::Grants => (&self.grants, Some(Target::AccessTokens)),
        };
        let known = known
            .iter()
            .map(|(target, not_before)| (*target, not_before));
        // Who is signed out with everybody needs no word of their own.
        let known = known
            .filter(|(_, not_before)| *not_before > cutoff && now.since(*not_before) < lifetime);
        let all = all.filter(|_| cutoff.0 > 0).map(|all| (all, cutoff));
        known
            .chain(all)
            .filter(|(target, not_before)| !is_there(target, *not_before))
            .map(|(target, not_before)| Revocation { target, not_before })
            .collect()
    }

    /// Whether there were some of a kind that could not even wait to be told. Says so once. What nobody signed is refused instead.
    pub fn take_overflow(&self, kind: Kind) -> bool {
        kind != Kind::Unsigned && self.overflow_of(kind).swap(false, Ordering::AcqRel)
    }

    /// One that came through the feed of what is vouched for has got to where every replica learns of it.
    pub fn delivered(&self) {
        self.delivery_counter.take();
    }

    /// How many came through that feed and have not.
    pub fn waiting(&self) -> u64 {
        self.delivery_counter.waiting()
    }

    /// Whether all that were [revoked](Self::revoke) here by now get there `within` a time. True where there are no other
    /// replicas.
    pub async fn are_told(&self, within: Duration) -> bool {
        self.delivery_counter.is_done(within).await
    }

    /// Ends sessions by what nobody signed.
    ///
    /// # Errors
    /// When too many of those are remembered.
    pub fn revoke_unsigned(&self, revocation: Revocation) -> Result<(), Full> {
        // Counted exactly: more than there is room for would have to be paid for by everybody.
        self.unauthenticated.run_pending_tasks();
        let elsewhere = self.unsigned_elsewhere.load(Ordering::Relaxed);
        let count = self.unauthenticated.entry_count().max(elsewhere);
        let feed = self.feeds.get().map(|feeds| feeds.unsigned.try_reserve());
        let (Ok(place), true) = (feed.transpose(), count < self.capacity.unauthenticated) else {
            self.say_full(revocation.not_before);
            return Err(Full);
        };
        if self.learn_unsigned(revocation)
            && let Some(place) = place
        {
            place.send(revocation);
        }
        Ok(())
    }

    fn say_full(&self, now: Timestamp) {
        if self.said.is_due(now) {
            tracing::error!(
                limit = self.capacity.unauthenticated,
                "front-channel logouts are refused: too many are remembered; they may be forged"
            );
        }
    }

    /// So many of what nobody signed are in the replicas' common memory.
    pub fn note_unsigned_elsewhere(&self, count: u64) {
        self.unsigned_elsewhere.store(count, Ordering::Relaxed);
    }

    /// Takes note of what another replica revoked. Old news change nothing, and it is said so.
    pub fn learn(&self, revocation: Revocation) -> bool {
        let is_new = match revocation.target {
            Target::Everybody => self.everybody.end(revocation.not_before),
            Target::AccessTokens => self.access_tokens.end(revocation.not_before),
            Target::Grant(_) => self.learn_in(&self.grants, revocation),
            Target::Session(_) | Target::User(_) | Target::ProviderSession(_) => {
                self.learn_in(&self.authenticated, revocation)
            }
        };
        self.learnt(is_new)
    }

    /// The same for what nobody signed.
    pub fn learn_unsigned(&self, revocation: Revocation) -> bool {
        self.learnt(self.learn_in(&self.unauthenticated, revocation))
    }

    fn learn_in(&self, known: &Cache<Target, Timestamp>, revocation: Revocation) -> bool {
        let Revocation { target, not_before } = revocation;
        if self.cutoff(target.kind()).covers(not_before) {
            return false;
        }
        // Before it is known: who finds it must have been told to look.
        match target {
            Target::Session(_) => self.any_session.store(true, Ordering::Release),
            Target::Grant(_) => self.any_grant.store(true, Ordering::Release),
            Target::User(_) => {
                let newest = &self.newest_of_users;
                newest.fetch_max(not_before.0, Ordering::AcqRel);
            }
            Target::ProviderSession(_) => {
                let newest = &self.newest_of_provider_sessions;
                newest.fetch_max(not_before.0, Ordering::AcqRel);
            }
            Target::Everybody | Target::AccessTokens => {}
        }
        let outcome = known.entry(target).and_compute_with(|known| match known {
            // Whoever signs out again and again ends nothing more.
            Some(_) if target.is_by_id() => Op::Nop,
            Some(known) if *known.value() >= not_before => Op::Nop,
            _ => Op::Put(not_before),
        });
        matches!(
            outcome,
            CompResult::Inserted(_) | CompResult::ReplacedWith(_)
        )
    }

    fn learnt(&self, is_new: bool) -> bool {
        if is_new {
            self.everybody.changed();
        }
        is_new
    }

    /// Whether `session` is over. On each request; nothing is hashed unless something was revoked after it began that
    /// only a hash can name.
    pub fn has_revoked(&self, session: &Session) -> bool {
        let identity = &session.identity;
        self.has_revoked_any(
            session.created_at,
            &session.id,
            || user_hash(&identity.provider, &identity.subject),
            || Target::token_subject_of(session),
            || Target::provider_session_of(session),
        )
    }

    /// Whether the session, or the grant, of this id was ended by itself; whether with others, its record has to say.
    pub fn has_revoked_id(&self, id: &[u8; 16]) -> bool {
        (self.any_session.load(Ordering::Acquire)
            && self.authenticated.contains_key(&Target::Session(*id)))
            || (self.any_grant.load(Ordering::Acquire)
                && self.grants.contains_key(&Target::Grant(*id)))
    }

    /// Whether all access tokens that were given at that time are over.
    pub fn has_revoked_tokens_of(&self, issued_at: Timestamp) -> bool {
        let not_before = self.access_tokens.not_before.load(Ordering::Relaxed);
        not_before > 0 && issued_at.0 <= not_before
    }

    /// Whether the session of this mark is over.
    pub fn has_revoked_mark(&self, mark: &Mark) -> bool {
        self.has_revoked_any(
            mark.created_at(),
            mark.session(),
            || *mark.user(),
            || mark.token_subject(),
            || mark.provider_session(),
        )
    }

    fn has_revoked_any(
        &self,
        created_at: Timestamp,
        id: &[u8; 16],
        user: impl FnOnce() -> [u8; 16],
        token_subject: impl FnOnce() -> Option<Target>,
        provider_session: impl FnOnce() -> Target,
    ) -> bool {
        let everybody = self.everybody.not_before.load(Ordering::Relaxed);
        // Zero is nobody: no session began in 1970.
        let may_be_over = |newest: &AtomicU64| {
            let newest = newest.load(Ordering::Acquire);
            newest > 0 && created_at.0 <= newest
        };
        let began_by =
            |known: Option<Timestamp>| known.is_some_and(|not_before| created_at <= not_before);
        (everybody > 0 && created_at.0 <= everybody)
            // An id is nobody else's, whatever the clocks of the replicas say.
            || self.has_revoked_id(id)
            || (may_be_over(&self.newest_of_users)
                && (began_by(self.authenticated.get(&Target::User(user())))
                    || token_subject()
                        .is_some_and(|target| began_by(self.authenticated.get(&target)))))
            || (may_be_over(&self.newest_of_provider_sessions) && {
                let target = provider_session();
                began_by(self.authenticated.get(&target)) || began_by(self.unauthenticated.get(&target))
            })
    }

    /// Changes whenever something was revoked.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.everybody.count.subscribe()
    }
}

/// How long an access token lasts.
pub const ACCESS_LASTS: Duration = Duration::from_mins(10);
/// How long it is remembered that a grant has ended: no access token of it is good any more then, whatever the replicas' clocks say.
pub const GRANTS_KEPT: Duration = ACCESS_LASTS.saturating_add(LEEWAY);

#[cfg(test)]
mod tests;
