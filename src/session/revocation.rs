//! What has ended before its time: a session, all of a user's, all of a session at the provider, everybody's.
//!
//! A revocation is a not-before: sessions that began at or before it are over, whoever holds a copy. It works for
//! sessions in cookies, of which no list exists, as well as for those in a store. It is needed for as long as a session
//! may last, and then forgotten. This is what one process knows, looked at on each request without waiting;
//! replicas tell each other through a [`Feed`].

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::digest;
use moka::{
    ops::compute::{CompResult, Op},
    policy::EvictionPolicy,
    sync::Cache,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use super::Session;
use crate::clock::Timestamp;

/// Whose sessions have ended. Names are hashes: a list of them says nothing of anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// One session, by its id.
    Session([u8; 16]),
    /// All sessions of a user, by provider and subject.
    User([u8; 16]),
    /// All sessions of one session at the provider, by provider and `sid`.
    ProviderSession([u8; 16]),
    /// All sessions.
    Everybody,
}

impl Target {
    /// All sessions of a provider's user.
    pub fn user(provider: &str, subject: &str) -> Self {
        Self::User(user_hash(provider, subject))
    }

    /// All sessions of a provider's user that do not name the session at the provider on which they rest.
    pub fn unnamed_provider_session(provider: &str, subject: &str) -> Self {
        Self::ProviderSession(unnamed_hash(provider, subject))
    }

    /// All sessions that rest on a session at the provider.
    pub fn provider_session(provider: &str, sid: &str) -> Self {
        Self::ProviderSession(sid_hash(provider, sid))
    }
}

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

/// What this process knows to be over.
pub struct Revocations {
    /// Nothing ever was: the usual case, and one look.
    any: AtomicBool,
    everybody: AtomicU64,
    targets: Cache<Target, Timestamp>,
    /// Apart, because a front-channel logout may bring made-up ones without number.
    provider_sessions: Cache<Target, Timestamp>,
    feed: OnceLock<Feed>,
    /// What other replicas revoked before this one began is known as well.
    is_known: AtomicBool,
    count: watch::Sender<u64>,
}

impl Revocations {
    /// Remembers each for `lifetime`, the longest that a session can last.
    pub fn new(lifetime: Duration) -> Self {
        let cache = |capacity| {
            Cache::builder()
                .max_capacity(capacity)
                .time_to_live(lifetime + Duration::from_mins(1))
                .eviction_policy(EvictionPolicy::lru())
                .build()
        };
        Self {
            any: AtomicBool::new(false),
            everybody: AtomicU64::new(0),
            targets: cache(CAPACITY),
            provider_sessions: cache(PROVIDER_SESSIONS),
            feed: OnceLock::new(),
            is_known: AtomicBool::new(true),
            count: watch::Sender::new(0),
        }
    }

    /// Tells other replicas through `feed` from now on. Only the first call counts.
    pub fn tell(&self, feed: Feed) {
        let _ = self.feed.set(feed);
    }

    /// What other replicas revoked is still to be [learnt](Self::learn). Until it is, nobody can say that a session
    /// stands: a replica that has just started must not open what the others closed.
    pub fn await_news(&self) {
        self.is_known.store(false, Ordering::Release);
    }

    /// Everything that is to be known has been learnt.
    pub fn caught_up(&self) {
        self.is_known.store(true, Ordering::Release);
    }

    /// Whether what was revoked is known, here and elsewhere.
    pub fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Acquire)
    }

    /// Ends sessions, here at once and elsewhere as soon as the feed gets there.
    pub fn revoke(&self, revocation: Revocation) {
        self.learn(revocation);
        if let Some(feed) = self.feed.get()
            && feed.try_send(revocation).is_err()
        {
            tracing::error!("a revocation cannot be told to the other replicas: too many wait");
        }
    }

    /// Takes note of what another replica revoked. Old news change nothing.
    pub fn learn(&self, Revocation { target, not_before }: Revocation) {
        let is_new = match target {
            Target::Everybody => {
                self.everybody.fetch_max(not_before.0, Ordering::Relaxed) < not_before.0
            }
            target => {
                let outcome = self.known(&target).entry(target).and_compute_with(|known| {
                    let known = known.map(moka::Entry::into_value);
                    if known.is_none_or(|known| known < not_before) {
                        Op::Put(not_before)
                    } else {
                        Op::Nop
                    }
                });
                matches!(
                    outcome,
                    CompResult::Inserted(_) | CompResult::ReplacedWith(_)
                )
            }
        };
        if is_new {
            self.any.store(true, Ordering::Release);
            self.count.send_modify(|count| *count += 1);
        }
    }

    fn known(&self, target: &Target) -> &Cache<Target, Timestamp> {
        match target {
            Target::ProviderSession(_) => &self.provider_sessions,
            _ => &self.targets,
        }
    }

    /// Whether `session` is over.
    pub fn has_revoked(&self, session: &Session) -> bool {
        self.any.load(Ordering::Acquire) && Mark::of(session).is_revoked(self)
    }

    /// Changes whenever something was revoked.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }
}

/// What is needed to know later whether a session was revoked, without the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    created_at: Timestamp,
    session: [u8; 16],
    user: [u8; 16],
    /// By its name, or what stands for it.
    provider_session: [u8; 16],
}

impl Mark {
    /// Of a session.
    pub fn of(session: &Session) -> Self {
        Self::new(
            session.created_at,
            session.id,
            &session.identity.provider,
            &session.identity.subject,
            session.provider_session.as_deref(),
        )
    }

    /// Of a session of which these are known.
    pub(super) fn new(
        created_at: Timestamp,
        id: [u8; 16],
        provider: &str,
        subject: &str,
        sid: Option<&str>,
    ) -> Self {
        Self {
            created_at,
            session: id,
            user: user_hash(provider, subject),
            provider_session: sid.map_or_else(
                || unnamed_hash(provider, subject),
                |sid| sid_hash(provider, sid),
            ),
        }
    }

    /// The session's id.
    pub fn session(&self) -> &[u8; 16] {
        &self.session
    }

    /// Names the user: see [`Target::User`].
    pub fn user(&self) -> &[u8; 16] {
        &self.user
    }

    /// When it began.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// Whether the session is over.
    pub fn is_revoked(&self, revocations: &Revocations) -> bool {
        let everybody = revocations.everybody.load(Ordering::Relaxed);
        // Zero is nobody: no session began in 1970.
        (everybody > 0 && self.created_at.0 <= everybody)
            // An id is nobody else's, whatever the clocks of the replicas say.
            || revocations.targets.contains_key(&Target::Session(self.session))
            || [
                Target::User(self.user),
                Target::ProviderSession(self.provider_session),
            ]
            .into_iter()
            .filter_map(|target| revocations.known(&target).get(&target))
            .any(|not_before| self.created_at <= not_before)
    }
}

/// Names a provider's user.
pub(super) fn user_hash(provider: &str, subject: &str) -> [u8; 16] {
    hash(b"user", provider, subject)
}

/// Stands for the session at the provider of a user's session that names none.
fn unnamed_hash(provider: &str, subject: &str) -> [u8; 16] {
    hash(b"no sid", provider, subject)
}

fn sid_hash(provider: &str, sid: &str) -> [u8; 16] {
    hash(b"sid", provider, sid)
}

fn hash(kind: &[u8], provider: &str, name: &str) -> [u8; 16] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [kind, provider.as_bytes(), name.as_bytes()] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let digest = context.finish();
    let first = digest.as_ref().first_chunk();
    *first.expect("SHA-256 has 32 bytes")
}

/// Revocations remembered: sign-outs of a lifetime, about a hundred bytes each. Beyond, the oldest are forgotten: a
/// copied cookie of a session that was signed out long ago would count again until its end.
const CAPACITY: u64 = 1_000_000;
/// The same for logouts that providers tell of.
const PROVIDER_SESSIONS: u64 = 250_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Identity;

    fn session(subject: &str, created_at: u64) -> Session {
        let identity = Identity::of("corp", subject);
        Session {
            provider_session: Some("sid-1".into()),
            ..Session::begin([7; 16], [2; 16], Timestamp(created_at), identity)
        }
    }

    fn revoked(target: Target, not_before: u64) -> Revocations {
        let revocations = Revocations::new(Duration::from_hours(1));
        revocations.revoke(Revocation {
            target,
            not_before: Timestamp(not_before),
        });
        revocations
    }

    #[test]
    fn each_target_ends_its_sessions_and_no_others() {
        for target in [
            Target::Session([7; 16]),
            Target::user("corp", "ada"),
            Target::provider_session("corp", "sid-1"),
            Target::Everybody,
        ] {
            let revocations = revoked(target, 100);
            assert!(revocations.has_revoked(&session("ada", 99)), "{target:?}");
            assert!(revocations.has_revoked(&session("ada", 100)), "{target:?}");
            let is_one = target == Target::Session([7; 16]);
            assert_eq!(
                revocations.has_revoked(&session("ada", 101)),
                is_one,
                "{target:?}"
            );
        }
        for target in [
            Target::Session([8; 16]),
            Target::user("corp", "bob"),
            Target::user("corpa", "da"),
            Target::provider_session("other", "sid-1"),
        ] {
            let revocations = revoked(target, 100);
            assert!(!revocations.has_revoked(&session("ada", 1)), "{target:?}");
        }
    }

    #[test]
    fn nothing_revoked_is_nothing_ended() {
        let revocations = Revocations::new(Duration::from_hours(1));
        assert!(!revocations.has_revoked(&session("ada", 0)));
    }

    #[test]
    fn an_older_revocation_does_not_undo_a_newer_one() {
        for target in [Target::Session([7; 16]), Target::Everybody] {
            let revocations = revoked(target, 100);
            let changes = revocations.changes();
            let not_before = Timestamp(50);
            revocations.learn(Revocation { target, not_before });
            assert!(revocations.has_revoked(&session("ada", 100)));
            assert!(!changes.has_changed().unwrap());
        }
    }

    #[tokio::test]
    async fn what_is_revoked_here_goes_out_and_what_is_learnt_does_not() {
        let revocations = Revocations::new(Duration::from_hours(1));
        let (feed, mut out) = mpsc::channel(8);
        revocations.tell(feed);
        let here = Revocation {
            target: Target::Session([1; 16]),
            not_before: Timestamp(1),
        };
        let elsewhere = Revocation {
            target: Target::Session([2; 16]),
            ..here
        };
        let mut changes = revocations.changes();
        revocations.learn(elsewhere);
        revocations.revoke(here);
        assert!(changes.has_changed().unwrap());
        assert_eq!(*changes.borrow_and_update(), 2);
        assert_eq!(out.recv().await, Some(here));
        assert!(out.try_recv().is_err());
    }
}
