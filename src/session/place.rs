//! Where one session is stored, for the code that refreshes it.

use std::{sync::Arc, time::Duration};

use super::{
    Session, codec,
    seal::{KeyRing, Purpose},
    store::{Record, Store},
    ticket::Ticket,
};
use crate::{
    clock::Timestamp,
    random,
    session::{Id, StoreError},
};

/// A session's place.
#[derive(Clone)]
pub(super) enum Place {
    /// In the browser's cookie alone.
    Cookie,
    /// In the browser's cookie; what it was refreshed to is shared with other replicas for a while.
    Shared {
        store: Arc<dyn Store>,
        keys: Arc<KeyRing>,
    },
    /// In a store.
    Record {
        store: Arc<dyn Store>,
        ticket: Ticket,
    },
}

/// What has become of a session at its place.
pub(super) enum RemoteState {
    /// Nothing, as far as the place knows.
    Same,
    /// It was refreshed.
    Newer(Box<Session>),
    /// It was removed.
    Gone,
}

impl Place {
    /// What has become of `session` by now, whatever was known a moment ago.
    pub(super) async fn latest(
        &self,
        session: &Session,
        now: Timestamp,
    ) -> Result<RemoteState, StoreError> {
        let Some(store) = self.store() else {
            return Ok(RemoteState::Same);
        };
        let found = store.reload(&session.id, now).await?;
        let newer = match &found {
            None if matches!(self, Self::Record { .. }) => return Ok(RemoteState::Gone),
            None => None,
            Some(found) => self.open(&session.id, &found.record),
        };
        let newer = newer.filter(|newer| newer.generation > session.generation);
        Ok(newer.map_or(RemoteState::Same, |newer| {
            RemoteState::Newer(Box::new(newer))
        }))
    }

    /// A refreshed session as its place keeps it; none where the cookie is all there is.
    pub(super) fn seal(&self, session: &Session) -> Option<Record> {
        let plain = codec::encode(session);
        let sealed = match self {
            Self::Cookie => return None,
            Self::Shared { keys, .. } => keys
                .seal(Purpose::Successor, &session.id, &plain, random::bytes())
                .into(),
            Self::Record { ticket, .. } => ticket.seal(&plain, random::bytes()),
        };
        Some(Record {
            generation: session.generation,
            sealed,
        })
    }

    /// Keeps a refreshed session. False where it was removed meanwhile, or one as new or newer is there. It can be said again
    /// where the answer was lost.
    pub(super) async fn keep(
        &self,
        id: &Id,
        record: &Record,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let record = record.clone();
        match self {
            Self::Cookie => Ok(true),
            Self::Shared { store, .. } => {
                let end = now.after(SUCCESSOR_KEPT);
                store.create(id, record, end, now).await?;
                Ok(true)
            }
            Self::Record { store, .. } => store.replace(id, record, now).await,
        }
    }

    /// Removes the session.
    pub(super) async fn remove(&self, id: &Id) -> Result<(), StoreError> {
        match self.store() {
            Some(store) => store.remove(id).await,
            None => Ok(()),
        }
    }

    /// Grants the right to refresh the session for so long, or prolongs it. Alone, nobody contests it.
    pub(super) async fn lease(
        &self,
        id: &Id,
        holder: &Id,
        lasts: Duration,
    ) -> Result<bool, StoreError> {
        match self.store() {
            Some(store) => store.lease(id, holder, lasts).await,
            None => Ok(true),
        }
    }

    /// Gives that right back.
    pub(super) async fn release(&self, id: &Id, holder: &Id) {
        if let Some(store) = self.store() {
            store.release(id, holder).await;
        }
    }

    fn store(&self) -> Option<&Arc<dyn Store>> {
        match self {
            Self::Cookie => None,
            Self::Shared { store, .. } | Self::Record { store, .. } => Some(store),
        }
    }

    fn open(&self, id: &Id, record: &Record) -> Option<Session> {
        let plain = match self {
            Self::Cookie => return None,
            Self::Shared { keys, .. } => {
                let sealed = std::str::from_utf8(&record.sealed).ok()?;
                keys.open(Purpose::Successor, id, sealed)?
            }
            Self::Record { ticket, .. } => ticket.open(&record.sealed)?,
        };
        codec::decode(&plain)
    }
}

/// How long a replaced cookie is still accepted. Each answer to it brings the new one, so it only has to outlast lost answers.
pub(super) const SUCCESSOR_KEPT: Duration = Duration::from_hours(1);
