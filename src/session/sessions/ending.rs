//! Ends sessions: the one of the request, or others.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue};
use tokio::time::sleep;

use super::{CookiePayload, SessionLookup, SessionStorage, Sessions, opening::open_record};
use crate::{
    clock::{self, Timestamp},
    session::{Id, Session, revocation::Target, store::Store, ticket::Ticket},
};

impl Sessions {
    /// Who visits to end their session: refreshing it first would be for nothing. Where it cannot be said who, what
    /// came is enough.
    pub async fn last_visit(&self, headers: &HeaderMap, now: Timestamp) -> SessionLookup {
        let found = self.cookies.find(headers);
        let mut visit = SessionLookup::of(&found);
        let Some(sealed) = found.session.as_deref() else {
            return visit;
        };
        let session = if let Ok(session) = self.open(sealed, &mut visit, now) {
            session
        } else {
            let loaded = self.load(&visit, now).await;
            visit.is_unread = loaded.is_err();
            loaded.unwrap_or_default()
        };
        visit.session = session.filter(|session| !self.is_over(session, now));
        visit
    }

    /// Ends the session that came, in every copy of its cookie, and gives the `Set-Cookie` values that end it in
    /// this browser.
    pub async fn end(&self, visit: &SessionLookup, now: Timestamp) -> Vec<HeaderValue> {
        if let Some(carried) = &visit.carried {
            self.mark(Target::Session(*carried.id()), now);
        }
        if let Some(session) = &visit.session {
            self.dismiss(session);
        }
        match (&self.storage, &visit.carried) {
            (SessionStorage::Store(store), Some(CookiePayload::Ticket(ticket)))
                if visit.is_unread =>
            {
                let left = read_and_remove(Arc::clone(store), ticket.clone());
                self.token_revoker.revoke_when_loaded(left);
            }
            (_, Some(carried)) => self.remove(carried.id()).await,
            (_, None) => {}
        }
        self.cookies.expire_session(visit.present)
    }

    /// Ends sessions, whoever holds their cookies: here at once, and elsewhere as soon as it is told.
    pub async fn revoke(&self, target: Target, now: Timestamp) {
        self.mark(target, now);
        if let Target::Session(id) = &target {
            self.remove(id).await;
        }
    }

    async fn remove(&self, id: &Id) {
        if let SessionStorage::Store(store) = &self.storage
            && let Err(error) = store.remove(id).await
        {
            // The revocation holds without.
            tracing::warn!(%error, "a session has ended, but could not be removed from the store");
        }
    }

    /// Has the tokens of a session that was revoked taken back: the newest, for they may just have been refreshed.
    pub(super) fn dismiss(&self, session: &Session) {
        let newest = self.refresher.newest(session);
        self.token_revoker.to(newest.as_deref().unwrap_or(session));
    }
}

/// The session of a ticket whose store did not answer when it was signed out, and its record with it: as soon as the store
/// does, or not at all where it stays away for long.
async fn read_and_remove(store: Arc<dyn Store>, ticket: Ticket) -> Option<Arc<Session>> {
    let mut pause = Duration::from_secs(1);
    for _ in 0..TRIES {
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        let Ok(found) = store.reload(ticket.id(), clock::now()).await else {
            continue;
        };
        let found = found?;
        if let Err(error) = store.remove(ticket.id()).await {
            tracing::debug!(%error, "a session that has ended ends in the store by itself");
        }
        return open_record(&ticket, &found.record.sealed, found.seen_at);
    }
    tracing::warn!("the store stayed away: the tokens of a signed-out session are not revoked");
    None
}

/// Retries: some twenty minutes in all.
const TRIES: u32 = 25;
/// The longest pause between two of them.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
