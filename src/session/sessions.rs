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

/// What signing out at the provider needs, kept apart from the session because nothing else needs it.
pub struct LogoutHint {
    /// The provider's name in the configuration.
    pub provider: String,
    /// The ID token, for `id_token_hint` (RP-Initiated Logout 1.0 §2).
    pub id_token: String,
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

    /// `Set-Cookie` that keeps `id_token` for signing out, or that forgets an earlier one where the
    /// token is too long to stand in an address.
    pub fn write_logout_hint(&self, provider: &str, id_token: Option<&str>) -> HeaderValue {
        id_token
            .filter(|token| token.len() <= LONGEST_HINT)
            .and_then(|token| {
                let plain = format!("{provider}\n{token}");
                let sealed =
                    self.keys
                        .seal(Purpose::LogoutHint, b"", plain.as_bytes(), random::bytes());
                self.cookies
                    .write_logout_hint(&sealed, self.lifetimes.lifetime)
            })
            .unwrap_or_else(|| self.cookies.expire_logout_hint())
    }

    /// The hint that came with a request to sign out.
    pub fn logout_hint(&self, headers: &HeaderMap) -> Option<LogoutHint> {
        let found = self.cookies.find(headers);
        let plain = self
            .keys
            .open(Purpose::LogoutHint, b"", found.logout_hint?)?;
        let (provider, id_token) = std::str::from_utf8(&plain).ok()?.split_once('\n')?;
        Some(LogoutHint {
            provider: provider.to_owned(),
            id_token: id_token.to_owned(),
        })
    }
}

/// The bytes of the longest ID token that is put into an address: some servers refuse longer ones.
const LONGEST_HINT: usize = 2_048;
