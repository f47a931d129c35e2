//! The visitor's session: found in a request, written into an answer.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use super::{
    Lifetimes, Session, codec,
    cookie::{Cookies, SessionCookies},
    seal::{KeyRing, Purpose},
};
use crate::{clock::Timestamp, random};

/// Sessions kept in the cookie itself, sealed.
pub struct Sessions {
    keys: Arc<KeyRing>,
    cookies: Cookies,
    lifetimes: Lifetimes,
}

/// What a request's cookies say.
pub struct Visit {
    /// The session, when there is one that opens and has not ended.
    pub session: Option<Session>,
    /// The session cookies that came, so that an answer can expire what it does not write.
    pub present: SessionCookies,
}

/// The session does not fit into five cookies.
#[derive(Debug)]
pub struct TooLarge;

impl Sessions {
    /// `keys` seal and open, `cookies` name, `lifetimes` end.
    pub fn new(keys: Arc<KeyRing>, cookies: Cookies, lifetimes: Lifetimes) -> Self {
        Self {
            keys,
            cookies,
            lifetimes,
        }
    }

    /// Own cookies: names, and how they are stripped.
    pub fn cookies(&self) -> &Cookies {
        &self.cookies
    }

    /// Who visits. Whatever does not open, or has ended, is nobody.
    pub fn visit(&self, headers: &HeaderMap, now: Timestamp) -> Visit {
        let found = self.cookies.find(headers);
        let session = found
            .session
            .as_deref()
            .and_then(|sealed| self.keys.open(Purpose::Session, b"", sealed))
            .and_then(|plain| codec::decode(&plain))
            .filter(|session| !session.has_ended(self.lifetimes, now));
        Visit {
            session,
            present: found.session_cookies,
        }
    }

    /// `Set-Cookie` values that store `session` and expire every stale sibling that came.
    pub fn write(
        &self,
        session: &Session,
        present: SessionCookies,
        now: Timestamp,
    ) -> Result<Vec<HeaderValue>, TooLarge> {
        let plain = codec::encode(session);
        let sealed = self
            .keys
            .seal(Purpose::Session, b"", &plain, random::bytes());
        let end = session.created_at.after(self.lifetimes.lifetime);
        let max_age = end.since(now).min(self.lifetimes.idle_timeout);
        self.cookies
            .write_session(&sealed, max_age, present)
            .ok_or(TooLarge)
    }

    /// `Set-Cookie` values that move the idle end, when it is time for that.
    pub fn renew(
        &self,
        session: &Session,
        present: SessionCookies,
        now: Timestamp,
    ) -> Vec<HeaderValue> {
        if !session.wants_renewal(self.lifetimes, now) {
            return Vec::new();
        }
        let renewed = Session {
            seen_at: now,
            ..session.clone()
        };
        self.write(&renewed, present, now).unwrap_or_default()
    }

    /// `Set-Cookie` values that end the session in this browser.
    pub fn end(&self, present: SessionCookies) -> Vec<HeaderValue> {
        self.cookies.expire_session(present)
    }
}
