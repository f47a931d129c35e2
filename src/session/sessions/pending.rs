//! What could not be said at once of a visit: found out, with waiting.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Carried, Keeping, Sessions, Unavailable, Visit};
use crate::{
    clock::Timestamp,
    session::{Session, StoreError, place::Place, refresh::Settled},
};

/// A visit of which more has to be found out.
pub struct Pending<'a> {
    sessions: &'a Sessions,
    visit: Visit,
    /// Not yet read from the store where there is none.
    session: Option<Arc<Session>>,
    now: Timestamp,
}

impl<'a> Pending<'a> {
    pub(super) fn new(
        sessions: &'a Sessions,
        visit: Visit,
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

    /// Finds it out: asks the store, and waits for a renewal where the access token is over.
    ///
    /// # Errors
    /// When there may be a session, and whether there is cannot be found out now. That is not nobody: signing
    /// in anew would not help.
    pub fn wait(self: Box<Self>) -> BoxFuture<'a, Result<Visit, Unavailable>> {
        Box::pin(self.find_out())
    }

    async fn find_out(self: Box<Self>) -> Result<Visit, Unavailable> {
        let Self {
            sessions,
            mut visit,
            mut session,
            now,
        } = *self;
        if session.is_none() {
            session = sessions.load(&visit, now).await?;
        }
        let place = match (&sessions.keeping, &visit.carried) {
            (Keeping::Store(store), Some(Carried::Ticket(ticket))) => Place::Record {
                store: Arc::clone(store),
                ticket: ticket.clone(),
            },
            (
                Keeping::Cookie {
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
            Settled::Stands(session) => session,
            Settled::Renewed(session) => {
                visit.is_outdated |= matches!(sessions.keeping, Keeping::Cookie { .. });
                session
            }
            Settled::Ended => return Ok(visit),
            Settled::Unknown => return Err(Unavailable::Provider),
        };
        // It may have taken a while, and somebody may have signed out meanwhile.
        visit.session = Some(Arc::new(session)).filter(|session| !sessions.is_over(session, now));
        Ok(visit)
    }
}
