//! Opens what a session cookie holds: the session itself, or the ticket to a record that does.

use super::{Carried, Keeping, Sessions, Visit};
use crate::{
    clock::Timestamp,
    session::{
        Session, codec,
        seal::Purpose,
        store::{Found, Store, StoreError},
        ticket::Ticket,
    },
};

/// The ticket is good, and whether there is a record to it the store has to be asked.
pub(super) struct NotAtHand;

impl Sessions {
    /// The session that a cookie leads to, ended or not, as far as it can be said without waiting. `visit` learns what
    /// the cookie was.
    pub(super) fn open(
        &self,
        sealed: &[u8],
        visit: &mut Visit,
        now: Timestamp,
    ) -> Result<Option<Session>, NotAtHand> {
        match &self.keeping {
            Keeping::Cookie { .. } => Ok(self.open_cookie(sealed, visit)),
            Keeping::Store(store) => {
                let known = self.recognize(&**store, sealed, visit, now);
                if known.is_some() {
                    return Ok(known);
                }
                self.open_record_at_hand(&**store, sealed, visit, now)
            }
        }
    }

    /// The session of the ticket that `visit` came with, asked of the store.
    pub(super) async fn load(
        &self,
        visit: &Visit,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        let (Keeping::Store(store), Some(Carried::Ticket(ticket))) =
            (&self.keeping, &visit.carried)
        else {
            return Ok(None);
        };
        let found = store.load(ticket.id(), now).await?;
        Ok(found.and_then(|found| open_record(ticket, &found)))
    }

    fn open_cookie(&self, sealed: &[u8], visit: &mut Visit) -> Option<Session> {
        let opened = self.keys.open_with_key(Purpose::Session, b"", sealed)?;
        visit.is_outdated = !opened.key.is_first();
        let session = codec::decode(&opened.plain)?;
        visit.carried = Some(Carried::Session(session.id));
        Some(session)
    }

    fn open_record_at_hand(
        &self,
        store: &dyn Store,
        sealed: &[u8],
        visit: &mut Visit,
        now: Timestamp,
    ) -> Result<Option<Session>, NotAtHand> {
        let Some(ticket) = self.open_ticket(sealed, visit) else {
            return Ok(None);
        };
        let found = store.at_hand(ticket.id(), now);
        let session = found.map(|found| open_record(&ticket, &found));
        if !visit.is_outdated {
            self.tickets.remember(sealed, &ticket, now);
        }
        visit.carried = Some(Carried::Ticket(ticket));
        session.ok_or(NotAtHand)
    }

    /// A busy session's, without opening the ticket again. Whoever is not known, or not at hand, is looked at closely.
    fn recognize(
        &self,
        store: &dyn Store,
        sealed: &[u8],
        visit: &mut Visit,
        now: Timestamp,
    ) -> Option<Session> {
        let ticket = self.tickets.presume(sealed, now)?;
        let found = store.at_hand(ticket.id(), now)?;
        let session = open_record(&ticket, &found)?;
        visit.carried = Some(Carried::Ticket(ticket));
        Some(session)
    }

    fn open_ticket(&self, sealed: &[u8], visit: &mut Visit) -> Option<Ticket> {
        let opened = self.keys.open_with_key(Purpose::Ticket, b"", sealed)?;
        visit.is_outdated = !opened.key.is_first();
        Ticket::from_bytes(&opened.plain)
    }
}

/// The session in a record; none where the ticket does not open it.
fn open_record(ticket: &Ticket, found: &Found) -> Option<Session> {
    let plain = ticket.open(&found.record.sealed)?;
    let mut session = codec::decode(&plain)?;
    session.seen_at = session.seen_at.max(found.seen_at);
    Some(session)
}
