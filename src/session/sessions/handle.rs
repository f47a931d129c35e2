//! Handles: by which an app names the session that a request came with.
//!
//! An app never sees the cookie, which would let it be the user everywhere. A handle holds the same ticket, sealed for another
//! use: no cookie, soon over, and worth nothing to whoever does not know the app's secret.

use std::time::Duration;

use super::{
    CookiePayload, SessionLookup, SessionStorage, Sessions, Unavailable, pending::Pending,
};
use crate::{
    clock::Timestamp,
    random,
    session::{cookie::SessionCookies, ticket::Ticket},
};

impl Sessions {
    /// A handle of the session that `visit` found; none where it is in the cookie, for what it is renewed to must reach the
    /// browser then.
    pub fn handle(&self, visit: &SessionLookup, now: Timestamp) -> Option<String> {
        visit.session.as_ref()?;
        match (&self.keeping, &visit.carried) {
            (SessionStorage::Store(_), Some(CookiePayload::Ticket(ticket))) => {
                Some(ticket.to_handle(&self.keys, now.after(HANDLE_LASTS), random::bytes()))
            }
            _ => None,
        }
    }

    /// The session that a handle names, renewed if it is due, as [`visit`](Self::visit) finds that of a cookie.
    ///
    /// # Errors
    /// See [`Pending::wait`].
    pub async fn by_handle(
        &self,
        handle: &[u8],
        now: Timestamp,
    ) -> Result<SessionLookup, Unavailable> {
        let mut visit = SessionLookup {
            session: None,
            present: SessionCookies::default(),
            only: None,
            carried: None,
            is_outdated: false,
            is_unread: false,
        };
        let ticket = Ticket::of_handle(handle, &self.keys);
        let Some((ticket, _)) = ticket.filter(|(_, ends_at)| now < *ends_at) else {
            return Ok(visit);
        };
        visit.carried = Some(CookiePayload::Ticket(ticket));
        Box::new(Pending::new(self, visit, None, now)).wait().await
    }
}

/// How long an app may ask for the access token of the session that a request came with.
const HANDLE_LASTS: Duration = Duration::from_mins(10);
