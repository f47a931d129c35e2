//! Handles: by which an app names the session that a request came with.
//!
//! An app never sees the cookie, which would let it be the user everywhere. A handle is sealed for another use: it is no cookie, it
//! ends soon, and it is worth nothing to whoever does not know the app's secret.
//!
//! If sessions are in a store, a handle holds the same ticket as the cookie. If they are in cookies, there is nothing that a ticket
//! could lead to: then the handle holds the session itself, without what refreshes it. A refresh for the app could not reach the
//! browser's cookie, and would spend the refresh token that is in there. So the token is refreshed with the user's requests, early enough
//! to last ([`KeepTokens::lasting`](crate::tokens::KeepTokens)).

use std::time::{Duration, Instant};

use bytes::Buf as _;

use super::{
    CookiePayload, SessionLookup, SessionStorage, Sessions, Unavailable, pending::Pending,
};
use crate::{
    clock::Timestamp,
    observe::Throttled,
    random,
    session::{
        Session, StoreError, codec,
        seal::{KeyRing, Purpose},
        ticket::Ticket,
    },
    tokens::{APP_ASKS, Tokens},
};

impl Sessions {
    /// A handle of the session that `visit` found. None without a session, and where one does not fit.
    pub fn handle(&self, visit: &SessionLookup, now: Timestamp) -> Option<String> {
        let session = visit.session.as_deref()?;
        let ends_at = now.after(APP_ASKS);
        match (&self.storage, &visit.carried) {
            (SessionStorage::Store(_), Some(CookiePayload::Ticket(ticket))) => {
                Some(ticket.to_handle(&self.keys, ends_at, random::bytes()))
            }
            (SessionStorage::Store(_), _) => None,
            (SessionStorage::Cookie { .. }, _) => self.seal_handle(session, ends_at, now),
        }
    }

    fn seal_handle(&self, session: &Session, ends_at: Timestamp, now: Timestamp) -> Option<String> {
        let session = Session {
            seen_at: now,
            ends_at: Some(session.end(self.lifetimes)),
            tokens: Tokens {
                access: session.tokens.access.clone(),
                expires_at: session.tokens.expires_at,
                // Tells that there will be another.
                refresh_at: session.tokens.refresh_at,
                ..Tokens::default()
            },
            ..session.clone()
        };
        let plain = [&ends_at.0.to_be_bytes()[..], &codec::encode(&session)].concat();
        let handle = self
            .keys
            .seal(Purpose::SessionHandle, b"", &plain, random::bytes());
        if handle.len() <= LONGEST_HANDLE {
            return Some(handle);
        }
        if let Some(held_back) = TOO_LONG.turn(Instant::now()) {
            tracing::warn!(
                bytes = handle.len(),
                held_back,
                "the app gets no handle of a session: it would be too long for a header; keep sessions in a store (session.store)"
            );
        }
        None
    }

    /// The session that a handle names. One in a store is refreshed if that is due, as [`visit`](Self::visit) does with that of
    /// a cookie.
    ///
    /// # Errors
    /// See [`Pending::wait`].
    pub async fn by_handle(
        &self,
        handle: &[u8],
        now: Timestamp,
    ) -> Result<SessionLookup, Unavailable> {
        let mut visit = SessionLookup::default();
        if matches!(self.storage, SessionStorage::Cookie { .. }) {
            let Some(session) = open_handle(handle, &self.keys, now) else {
                return Ok(visit);
            };
            if !self.revocations.is_known() {
                return Err(
                    StoreError("what was revoked elsewhere is not known yet".to_owned()).into(),
                );
            }
            // The browser may have come again since, and the session may have been refreshed then.
            let newest = self.refresher.newest(&session);
            let newest = newest.unwrap_or_else(|| session.into());
            visit.session = Some(newest).filter(|session| !self.is_over(session, now));
            return Ok(visit);
        }
        let ticket = Ticket::of_handle(handle, &self.keys);
        let Some((ticket, _)) = ticket.filter(|(_, ends_at)| now < *ends_at) else {
            return Ok(visit);
        };
        visit.carried = Some(CookiePayload::Ticket(ticket));
        Box::new(Pending::new(self, visit, None, now)).wait().await
    }
}

/// The session in a handle that has not ended; none where none of `keys` has sealed it. Pure.
pub fn open_handle(handle: &[u8], keys: &KeyRing, now: Timestamp) -> Option<Session> {
    let mut plain = keys.open(Purpose::SessionHandle, b"", handle)?;
    let ends_at = Timestamp(plain.try_get_u64().ok()?);
    (now < ends_at).then(|| codec::decode(&plain))?
}

static TOO_LONG: Throttled = Throttled::new(TELL);

/// Characters of the longest handle. Many servers refuse a header of more than eight thousand.
const LONGEST_HANDLE: usize = 6 * 1024;
/// How often it is told that a handle was too long.
const TELL: Duration = Duration::from_mins(5);
