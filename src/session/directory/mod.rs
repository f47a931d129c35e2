//! Who is signed in where: the list that users see of their own sessions and operators of everybody's, and the public name by which a session
//! can be ended. It decides nothing: no check of a session asks it.
//!
//! A [`SessionIndex`] stores the entries. [`ActiveSessions`] adds sessions as they begin and are used, rarely enough not to slow requests down,
//! and lists those that have not ended.

pub mod device;
mod in_process;

use std::{fmt, net::IpAddr, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::BoxFuture;
use http::{HeaderMap, header::USER_AGENT};
use serde::{Deserialize, Serialize};

pub use self::in_process::InProcess;
use super::{
    Lifetimes, Session, TOUCH_INTERVAL,
    revocation::{Mark, Revocations},
};
use crate::{
    clock::Timestamp,
    identity::Identity,
    session::{Id, StoreError},
};

/// Keeps entries by user.
///
/// A directory in a store that replicas share has to seal what it writes under the gate's own keys: the store's
/// owner is not to read who is where.
pub trait SessionIndex: Send + Sync {
    /// Takes note of a session that is there: new, or seen again. Waits for nothing; what has to be sent is
    /// sent behind the request's back, and may get lost.
    fn note(&self, sighting: &Activity<'_>);

    /// The sessions of a user, some that have ended among them.
    fn list<'a>(&'a self, user: &'a UserKey) -> BoxFuture<'a, Result<Vec<Entry>, StoreError>>;

    /// Forgets a session. That alone does not end it.
    fn forget<'a>(&'a self, name: &'a SessionName) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// A session, seen.
pub struct Activity<'a> {
    /// Which.
    pub session: &'a Session,
    /// `User-Agent`, as it came.
    pub user_agent: Option<&'a str>,
    /// Whose address it comes from.
    pub address: Option<IpAddr>,
    /// When.
    pub now: Timestamp,
}

impl<'a> Activity<'a> {
    /// What a request's headers and the address it comes from say.
    pub fn of(
        session: &'a Session,
        headers: &'a HeaderMap,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Self {
        let user_agent = headers.get(USER_AGENT);
        Self {
            session,
            user_agent: user_agent.and_then(|value| value.to_str().ok()),
            address,
            now,
        }
    }
}

/// What is known of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which, and when it began.
    pub mark: Mark,
    /// In a few words: see [`device::label`].
    pub device: Box<str>,
    /// Where it was seen last.
    pub address: Option<IpAddr>,
    /// When it was seen last, give or take a minute.
    pub seen_at: Timestamp,
}

impl Entry {
    /// What a sighting says.
    pub fn of(sighting: &Activity<'_>) -> Self {
        Self {
            mark: Mark::of(sighting.session),
            device: device::label(sighting.user_agent),
            address: sighting.address,
            seen_at: sighting.now,
        }
    }

    /// Its name for people and operators.
    pub fn name(&self) -> SessionName {
        SessionName::new(UserKey(*self.mark.user()), self.mark.session())
    }
}

/// A user, by a hash of provider and subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserKey([u8; 16]);

impl UserKey {
    /// Of a provider's user.
    pub fn new(provider: &str, subject: &str) -> Self {
        Self(super::revocation::user_hash(provider, subject))
    }

    /// The hash.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Of whoever that is.
    pub fn of(identity: &Identity) -> Self {
        Self::new(&identity.provider, &identity.subject)
    }
}

/// Names a session to people and operators: hashes of user and session, no credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionName {
    user: UserKey,
    session: [u8; 16],
}

impl SessionName {
    /// Of a session.
    pub fn of(session: &Session) -> Self {
        Self::new(UserKey::of(&session.identity), &session.id)
    }

    fn new(user: UserKey, id: &Id) -> Self {
        let framed = [&b"session name "[..], id].concat();
        let digest = digest(&SHA256, &framed);
        let session = digest.as_ref().first_chunk();
        Self {
            user,
            session: *session.expect("SHA-256 has 32 bytes"),
        }
    }

    /// What [`Display`](fmt::Display) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 32] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (user, session) = bytes.split_first_chunk()?;
        Some(Self {
            user: UserKey(*user),
            session: session.try_into().ok()?,
        })
    }

    /// Names the session alone.
    pub fn session(&self) -> &[u8; 16] {
        &self.session
    }

    /// Whose session it is.
    pub fn user(&self) -> &UserKey {
        &self.user
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.user.0, self.session];
        formatter.write_str(&URL_SAFE_NO_PAD.encode(bytes.as_flattened()))
    }
}

/// Tells a directory of sessions, and shows what it knows of those that have not ended.
pub struct ActiveSessions {
    directory: Arc<dyn SessionIndex>,
    revocations: Arc<Revocations>,
    lifetimes: Lifetimes,
    knowledge: Completeness,
}

/// Which sessions a directory hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// Sessions live in cookies, and it hears of those that began or were seen here since then, the process's
    /// start.
    CookiesSince(Timestamp),
    /// Sessions live in a store that outlives or exceeds the directory.
    PartOfStore,
    /// Sessions live in a store that holds none that it has not heard of.
    WholeStore,
}

impl ActiveSessions {
    /// Of sessions that end by `lifetimes` and `revocations`.
    pub fn new(
        directory: Arc<dyn SessionIndex>,
        revocations: Arc<Revocations>,
        lifetimes: Lifetimes,
        knowledge: Completeness,
    ) -> Self {
        Self {
            directory,
            revocations,
            lifetimes,
            knowledge,
        }
    }

    /// Whether a session that is not listed has ended.
    pub fn is_complete(&self) -> bool {
        self.knowledge == Completeness::WholeStore
    }

    /// A session has begun, in the place of an earlier one of the same browser.
    pub async fn begin(&self, sighting: &Activity<'_>, earlier: Option<&Session>) {
        self.directory.note(sighting);
        if let Some(earlier) = earlier {
            self.forget(&SessionName::of(earlier)).await;
        }
    }

    /// A session was used. Usually nothing but a comparison: the directory is told about once a minute.
    pub fn see(
        &self,
        session: &Session,
        headers: &HeaderMap,
        address: Option<IpAddr>,
        now: Timestamp,
    ) {
        if self.is_due(session, now) {
            self.note(&Activity::of(session, headers, address, now));
        }
    }

    /// A session is there, whenever it was seen before.
    pub fn note(&self, sighting: &Activity<'_>) {
        self.directory.note(sighting);
    }

    /// A cookie is sealed anew once a minute and says when it was; what was sealed by a process before this one is
    /// news. A store keeps the time of each use: the first of each minute counts.
    fn is_due(&self, session: &Session, now: Timestamp) -> bool {
        match self.knowledge {
            Completeness::CookiesSince(start) => {
                session.seen_at <= start || session.wants_touch(self.lifetimes, now)
            }
            Completeness::PartOfStore | Completeness::WholeStore => {
                session.seen_at.0 / MINUTE != now.0 / MINUTE
            }
        }
    }

    /// The sessions of a user that have not ended, as far as is known; the one seen last comes first.
    pub async fn list(&self, user: &UserKey, now: Timestamp) -> Result<Vec<Entry>, StoreError> {
        let mut entries = self.directory.list(user).await?;
        entries.retain(|entry| {
            !has_ended(entry, self.lifetimes, now)
                && !self.revocations.has_revoked_mark(&entry.mark)
        });
        entries.sort_by_key(|entry| std::cmp::Reverse((entry.seen_at, entry.mark.created_at())));
        Ok(entries)
    }

    /// The session of that name, if it has not ended.
    pub async fn find(
        &self,
        name: &SessionName,
        now: Timestamp,
    ) -> Result<Option<Entry>, StoreError> {
        let entries = self.list(name.user(), now).await?;
        Ok(entries.into_iter().find(|entry| entry.name() == *name))
    }

    /// Lists a session no more. One that ended is not listed anyway.
    pub async fn forget(&self, name: &SessionName) {
        if let Err(error) = self.directory.forget(name).await {
            tracing::debug!(%error, "a session stays listed until its end");
        }
    }
}

/// By the clock alone. Last seen is known to the minute only, so the idle end is given that much.
fn has_ended(entry: &Entry, lifetimes: Lifetimes, now: Timestamp) -> bool {
    now >= entry.mark.created_at().after(lifetimes.lifetime)
        || now >= entry.seen_at.after(lifetimes.idle_timeout + TOUCH_INTERVAL)
}

const MINUTE: u64 = TOUCH_INTERVAL.as_secs();

#[cfg(test)]
mod tests;
