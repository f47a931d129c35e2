//! The part of finding a session that has to wait: for the store, or for a refresh.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{CookiePayload, SessionLookup, SessionStorage, Sessions, Unavailable};
use crate::{
    clock::Timestamp,
    session::{Session, StoreError, place::Place, refresh::RefreshOutcome},
};

/// A visit of which more has to be found out.
pub struct Pending<'a> {
    sessions: &'a Sessions,
    visit: SessionLookup,
    /// Not yet read from the store where there is none.
    session: Option<Arc<Session>>,
    now: Timestamp,
}

impl<'a> Pending<'a> {
    pub(super) fn new(
        sessions: &'a Sessions,
        visit: SessionLookup,
        session: Option<Arc<Session>>,
        now: Timestamp,
    ) -> Self {
        Self {
            sessions,
            visit,
            session,
            now,
        }
    }

    /// Finds it out: asks the store, and waits for a refresh where the access token is over.
    ///
    /// # Errors
    /// When there may be a session, and whether there is cannot be found out now. That is not nobody: signing
    /// in anew would not help.
    pub fn wait(self: Box<Self>) -> BoxFuture<'a, Result<SessionLookup, Unavailable>> {
        Box::pin(self.find_out())
    }

    async fn find_out(self: Box<Self>) -> Result<SessionLookup, Unavailable> {
        let Self {
            sessions,
            mut visit,
            mut session,
            now,
        } = *self;
        if session.is_none() {
            session = sessions.load(&visit, now).await?;
        }
        let place = match (&sessions.storage, &visit.carried) {
            (SessionStorage::Store(store), Some(CookiePayload::Ticket(ticket))) => Place::Record {
                store: Arc::clone(store),
                ticket: ticket.clone(),
            },
            (
                SessionStorage::Cookie {
                    shared: Some(store),
                },
                _,
            ) => Place::Shared {
                store: Arc::clone(store),
                keys: Arc::clone(&sessions.keys),
            },
            _ => Place::Cookie,
        };
        let Some(session) = session.filter(|session| !sessions.is_over(session, now)) else {
            return Ok(visit);
        };
        if !sessions.revocations.is_known() {
            return Err(
                StoreError("what was revoked elsewhere is not known yet".to_owned()).into(),
            );
        }
        let session = Arc::unwrap_or_clone(session);
        let session = match sessions.refresher.settle(session, &place, now).await {
            RefreshOutcome::Stands(session) => session,
            RefreshOutcome::Refreshed(session) => {
                visit.is_outdated |= matches!(sessions.storage, SessionStorage::Cookie { .. });
                session
            }
            RefreshOutcome::Ended => return Ok(visit),
            RefreshOutcome::Unknown => return Err(Unavailable::Provider),
        };
        // It may have taken a while, and somebody may have signed out meanwhile.
        visit.session = Some(Arc::new(session)).filter(|session| !sessions.is_over(session, now));
        Ok(visit)
    }
}
