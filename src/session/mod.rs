//! A session: the user's identity, their tokens, and when it ends.

pub mod codec;
pub mod cookie;
pub mod directory;
pub mod live;
pub mod missing_headers;
mod opened;
mod place;
pub mod refresh;
pub mod revocation;
pub mod seal;
mod sessions;
pub mod settings;
pub mod store;
pub mod ticket;
pub mod token_revoker;

use std::time::Duration;

use bytes::Bytes;

pub use self::sessions::{
    KeepError, LogoutHint, Pending, SessionLookup, SessionStorage, Sessions, Unavailable,
    open_handle,
};

use crate::{
    access::Principal, clock::Timestamp, credential::Grant, identity::Identity, text::Text,
    tokens::Tokens,
};

/// How exactly the idle end is kept when the time of the last request is in the cookie.
const TOUCH_INTERVAL: Duration = Duration::from_mins(1);

/// The longest that a session may last: RFC 6265bis §5.6 lets browsers keep a cookie no longer.
pub const LONGEST_LIFETIME: Duration = Duration::from_hours(400 * 24);

/// The id of a session.
pub type Id = [u8; 16];

/// Why a store did not answer. The text is for the log and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("session store: {0}")]
pub struct StoreError(pub String);

/// A login and what became of it: sealed into the browser's cookie, or into a record of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// New at each login; names the session in logs by a hash only.
    pub id: [u8; 16],
    /// The login that made it, so that a reloaded callback is known.
    pub login_id: [u8; 16],
    /// Whose word it rests on: see [`Profile::fingerprint`](crate::provider::Profile::fingerprint).
    pub provider_fingerprint: [u8; 8],
    /// When the login ended. The absolute end counts from here.
    pub created_at: Timestamp,
    /// The latest absolute end that was ever sealed into it, so that a longer `lifetime` brings back nothing that has
    /// ended, or was signed out and forgotten since. None before it is kept.
    pub ends_at: Option<Timestamp>,
    /// The same of the idle end, where the cookie is all there is: a store ends what is idle by itself.
    pub idle_timeout: Option<Duration>,
    /// When the session was last used, as far as is known. The idle end counts from here.
    pub seen_at: Timestamp,
    /// How often its tokens were refreshed: of two copies of a session, the higher one is in force.
    pub generation: u64,
    /// Who.
    pub identity: Identity,
    /// With what.
    pub tokens: Tokens,
    /// The provider's own name for its session (`sid`, OpenID Connect Front-Channel Logout 1.0 §3), by which it
    /// says that it has ended.
    pub provider_session: Option<Text>,
    /// What a newer version of the gate has written beside; kept as it is, so that it is there when that
    /// version reads the session again.
    pub further: Bytes,
}

/// In the place of the login of what no login has made.
pub const NO_LOGIN: [u8; 16] = [0; 16];

impl Session {
    /// A session that begins `now`, with a login.
    pub fn begin(id: [u8; 16], login_id: [u8; 16], now: Timestamp, identity: Identity) -> Self {
        Self {
            id,
            login_id,
            provider_fingerprint: [0; 8],
            created_at: now,
            ends_at: None,
            idle_timeout: None,
            seen_at: now,
            generation: 0,
            identity,
            tokens: Tokens::default(),
            provider_session: None,
            further: Bytes::new(),
        }
    }
}

impl Session {
    /// A grant as a session of `identity`: it ends as one does.
    pub fn of_grant(grant: &Grant, identity: Identity) -> Self {
        Self {
            ends_at: grant.ends_at,
            provider_session: grant.provider_session.clone(),
            ..Self::begin(grant.id, NO_LOGIN, grant.created_at, identity)
        }
    }
}

/// The two ends of a session, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// From login to the absolute end.
    pub lifetime: Duration,
    /// From the last sealing to the idle end.
    pub idle_timeout: Duration,
}

impl Session {
    /// Whom it proves.
    pub fn principal(&self) -> Principal<'_> {
        Principal::of_session(&self.identity, &self.tokens)
    }

    /// Its absolute end: the sealed one or today's configuration's, whichever comes first.
    pub fn end(&self, lifetimes: Lifetimes) -> Timestamp {
        let end = self.created_at.after(lifetimes.lifetime);
        self.ends_at.map_or(end, |sealed| sealed.min(end))
    }

    /// Whether it has reached either of its ends at `now`.
    pub fn has_ended(&self, lifetimes: Lifetimes, now: Timestamp) -> bool {
        let idle = lifetimes.idle_timeout;
        let idle = self.idle_timeout.map_or(idle, |sealed| sealed.min(idle));
        now >= self.end(lifetimes) || now >= self.seen_at.after(idle)
    }

    /// Whether the cookie should be sealed anew at `now` to move the idle end: after a tenth of the idle
    /// time or a minute, whichever is shorter, so that a busy session costs a `Set-Cookie` once in a while
    /// and an idle one ends at most that much early.
    pub fn wants_touch(&self, lifetimes: Lifetimes, now: Timestamp) -> bool {
        now.since(self.seen_at) >= (lifetimes.idle_timeout / 10).min(TOUCH_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetimes(lifetime: u64, idle_timeout: u64) -> Lifetimes {
        Lifetimes {
            lifetime: Duration::from_secs(lifetime),
            idle_timeout: Duration::from_secs(idle_timeout),
        }
    }

    #[test]
    fn of_the_sealed_end_and_todays_the_earlier_counts() {
        let mut session =
            Session::begin([1; 16], [2; 16], Timestamp(1_000), Identity::of("c", "1"));
        assert_eq!(session.end(lifetimes(100, 100)), Timestamp(1_100));
        session.ends_at = Some(Timestamp(1_050));
        assert_eq!(session.end(lifetimes(100, 100)), Timestamp(1_050));
        assert_eq!(session.end(lifetimes(20, 20)), Timestamp(1_020));
        let has_ended = |session: &Session, lifetimes, after: u64| {
            session.has_ended(lifetimes, Timestamp(1_000 + after))
        };
        assert!(!has_ended(&session, lifetimes(100, 100), 49));
        assert!(has_ended(&session, lifetimes(100, 100), 50));
        session.idle_timeout = Some(Duration::from_secs(10));
        assert!(!has_ended(&session, lifetimes(100, 100), 9));
        assert!(has_ended(&session, lifetimes(100, 100), 10));
        assert!(has_ended(&session, lifetimes(100, 5), 5));
    }
}
