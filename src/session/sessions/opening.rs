//! Opens a session cookie: the session itself, or the ticket to a stored record.

use std::sync::Arc;

use super::{CookiePayload, SessionLookup, SessionStorage, Sessions};
use crate::{
    clock::Timestamp,
    session::{Session, StoreError, codec, seal::Purpose, store::Store, ticket::Ticket},
};

/// The ticket is good, and whether there is a record to it the store has to be asked.
pub(super) struct NotAtHand;

impl Sessions {
    /// The session that a cookie leads to, ended or not, as far as it can be said without waiting. `visit` learns what
    /// the cookie was.
    pub(super) fn open(
        &self,
        sealed: &[u8],
        visit: &mut SessionLookup,
        now: Timestamp,
    ) -> Result<Option<Arc<Session>>, NotAtHand> {
        match &self.storage {
            SessionStorage::Cookie { .. } => Ok(self.open_cookie(sealed, visit)),
            SessionStorage::Store(store) => {
                let Some((ticket, key)) = Ticket::of_cookie(sealed, &self.keys) else {
                    return Ok(None);
                };
                visit.is_outdated = !key.is_first();
                let session = open_at_hand(&**store, &ticket, now);
                visit.carried = Some(CookiePayload::Ticket(ticket));
                session.map(Some).ok_or(NotAtHand)
            }
        }
    }

    /// The session of the ticket that `visit` came with, asked of the store.
    pub(super) async fn load(
        &self,
        visit: &SessionLookup,
        now: Timestamp,
    ) -> Result<Option<Arc<Session>>, StoreError> {
        let (SessionStorage::Store(store), Some(CookiePayload::Ticket(ticket))) =
            (&self.storage, &visit.carried)
        else {
            return Ok(None);
        };
        // Known without asking, and so without a way to have Redis asked again and again.
        if self.revocations.has_revoked_id(ticket.id()) {
            return Ok(None);
        }
        let found = store.load(ticket.id(), now).await?;
        Ok(found.and_then(|found| open_record(ticket, &found.record.sealed, found.seen_at)))
    }

    fn open_cookie(&self, sealed: &[u8], visit: &mut SessionLookup) -> Option<Arc<Session>> {
        let opened = self.keys.open_with_key(Purpose::Session, b"", sealed)?;
        visit.is_outdated = !opened.key.is_first();
        let session = Arc::new(codec::decode(&opened.plain)?);
        visit.carried = Some(CookiePayload::Session(session.id));
        Some(session)
    }
}

/// The session in the record that a ticket names, opened where it lies. Of one that does not open the store has the last word.
fn open_at_hand(store: &dyn Store, ticket: &Ticket, now: Timestamp) -> Option<Arc<Session>> {
    let mut session = None;
    store.at_hand(ticket.id(), now, &mut |sealed, seen_at| {
        session = open_record(ticket, sealed, seen_at);
        session.is_some()
    });
    session
}

/// The session in a record; none where the ticket does not open it.
pub(super) fn open_record(
    ticket: &Ticket,
    sealed: &[u8],
    seen_at: Timestamp,
) -> Option<Arc<Session>> {
    let plain = ticket.open(sealed)?;
    let mut session = codec::decode(&plain)?;
    session.seen_at = session.seen_at.max(seen_at);
    Some(Arc::new(session))
}
