//! The session of a visitor: found in a request, and written into an answer.

mod ending;
mod handle;
mod logout_hint;
mod opening;
mod pending;

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue};

pub use self::{handle::open_handle, logout_hint::LogoutHint, pending::Pending};
use super::{
    Lifetimes, Session, codec,
    cookie::{Cookies, Found, SessionCookies, Span},
    live::Ends,
    refresh::Refresher,
    revocation::{Revocation, Revocations, Target},
    seal::{KeyRing, Purpose},
    store::{Record, Store},
    ticket::Ticket,
    token_revoker::TokenRevoker,
};
use crate::{
    clock::Timestamp,
    observe::metrics::Tally,
    random,
    session::{Id, StoreError},
};

/// Opens, keeps, refreshes and ends sessions.
pub struct Sessions {
    /// Seal and open what a cookie holds.
    pub keys: Arc<KeyRing>,
    /// Own cookies: names, and how they are stripped.
    pub cookies: Cookies,
    /// When sessions end by themselves.
    pub lifetimes: Lifetimes,
    /// Where they are kept.
    pub storage: SessionStorage,
    /// What has ended before its time.
    pub revocations: Arc<Revocations>,
    /// Has their tokens refreshed.
    pub refresher: Arc<Refresher>,
    /// Has the tokens of those that end taken back.
    pub token_revoker: Arc<TokenRevoker>,
}

/// Where sessions are kept.
#[derive(Clone)]
pub enum SessionStorage {
    /// In the cookie, sealed.
    Cookie {
        /// Through which replicas learn of refreshes.
        shared: Option<Arc<dyn Store>>,
    },
    /// In a store; the cookie is a ticket.
    Store(Arc<dyn Store>),
}

/// What a request's cookies say.
#[derive(Default)]
pub struct SessionLookup {
    /// The session, when there is one that opens and has not ended. Shared, since it is large, and what outlasts its request
    /// keeps it.
    pub session: Option<Arc<Session>>,
    /// The session cookies that came, so that an answer can expire what it does not write.
    pub present: SessionCookies,
    /// Where the only own cookie stands.
    pub only: Option<Span>,
    /// Whatever its session is worth.
    carried: Option<CookiePayload>,
    /// What the browser holds is not what it should hold.
    is_outdated: bool,
    /// The store did not say whether there is a session.
    is_unread: bool,
}

/// What a session cookie that opened was.
enum CookiePayload {
    Session(Id),
    Ticket(Ticket),
}

impl CookiePayload {
    fn id(&self) -> &Id {
        match self {
            Self::Session(id) => id,
            Self::Ticket(ticket) => ticket.id(),
        }
    }
}

/// Why it cannot be said now who visits. The text is for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The session is due for a refresh for too long.
    #[error("the session's token is over, and its provider cannot be asked for another")]
    Provider,
}

/// Why a session cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// It does not fit into five cookies.
    #[error("the session does not fit into cookies")]
    TooLarge,
    /// The store does not answer.
    #[error(transparent)]
    Store(StoreError),
}

impl Sessions {
    /// How refreshes ended.
    pub fn refreshes(&self) -> &Tally<3> {
        self.refresher.tally()
    }

    /// How many sessions the store holds, where there is one that can say so.
    pub fn count(&self) -> Option<u64> {
        match &self.storage {
            SessionStorage::Cookie { .. } => None,
            SessionStorage::Store(store) => store.count(),
        }
    }

    /// Knows when they end.
    pub fn ends(&self) -> Ends {
        Ends::new(Arc::clone(&self.revocations), self.lifetimes.lifetime)
    }

    /// Whether sessions can be found and kept.
    pub fn is_ready(&self) -> bool {
        self.revocations.is_known()
            && match &self.storage {
                // Shared or not, a cookie opens by itself.
                SessionStorage::Cookie { .. } => true,
                SessionStorage::Store(store) => store.is_ready(),
            }
    }

    /// Whether whoever begins to sign in now could be kept signed in, as far as one knows.
    ///
    /// # Errors
    /// When the store has not answered for some seconds. In a shorter outage the login goes on: it takes a while, too.
    pub fn expect_to_keep(&self) -> Result<(), KeepError> {
        let needed = match &self.storage {
            // A session that nobody can say was not revoked is of no use.
            SessionStorage::Cookie { shared } => {
                shared.as_ref().filter(|_| !self.revocations.is_known())
            }
            SessionStorage::Store(store) => Some(store),
        };
        match needed {
            Some(store) if store.is_away() => {
                let why = "no session can be kept for now".to_owned();
                Err(KeepError::Store(StoreError(why)))
            }
            _ => Ok(()),
        }
    }

    /// Whether the store is there and refuses the gate.
    pub fn is_refused(&self) -> bool {
        match &self.storage {
            SessionStorage::Cookie { shared } => {
                shared.as_ref().is_some_and(|store| store.refuses())
            }
            SessionStorage::Store(store) => store.refuses(),
        }
    }

    /// Whether another replica seals sessions with a secret that this one does not have: who signs in there is nobody here.
    pub fn secrets_differ(&self) -> bool {
        match &self.storage {
            SessionStorage::Cookie { shared } => {
                shared.as_ref().is_some_and(|store| store.secrets_differ())
            }
            SessionStorage::Store(store) => store.secrets_differ(),
        }
    }

    /// Who visits. Whatever does not open, or has ended, is nobody.
    ///
    /// # Errors
    /// See [`Pending::wait`].
    pub async fn visit(
        &self,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<SessionLookup, Unavailable> {
        match self.look(headers, now) {
            Ok(visit) => Ok(visit),
            Err(pending) => pending.wait().await,
        }
    }

    /// Who visits, as far as it can be said without waiting: nearly always. It cannot where the store has to be
    /// asked, and where a refresh is due.
    pub fn look(
        &self,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<SessionLookup, Box<Pending<'_>>> {
        let found = self.cookies.find(headers);
        let mut visit = SessionLookup::of(&found);
        let Some(sealed) = found.session.as_deref() else {
            return Ok(visit);
        };
        let Ok(session) = self.open(sealed, &mut visit, now) else {
            return Err(Box::new(Pending::new(self, visit, None, now)));
        };
        match session.filter(|session| !self.is_over(session, now)) {
            Some(session)
                if !self.revocations.is_known() || self.refresher.concerns(&session, now) =>
            {
                Err(Box::new(Pending::new(self, visit, Some(session), now)))
            }
            session => {
                visit.session = session;
                Ok(visit)
            }
        }
    }

    fn is_over(&self, session: &Session, now: Timestamp) -> bool {
        session.has_ended(self.lifetimes, now) || self.revocations.has_revoked(session)
    }

    /// Keeps a session that has just begun, in the place of the one that `visit` came with; where there is a store, in a
    /// record under `record_key`. Gives the `Set-Cookie` values; they expire every stale sibling that came.
    pub async fn begin(
        &self,
        session: &Session,
        record_key: [u8; 16],
        visit: &SessionLookup,
        now: Timestamp,
    ) -> Result<Vec<HeaderValue>, KeepError> {
        self.end_somebody_elses(session, visit, now);
        let SessionStorage::Store(store) = &self.storage else {
            return self
                .write(session, visit.present, now)
                .ok_or(KeepError::TooLarge);
        };
        let ticket = Ticket::new(session.id, record_key);
        let end = session.end(self.lifetimes);
        let sealed = Session {
            ends_at: Some(end),
            ..session.clone()
        };
        let record = Record {
            generation: session.generation,
            sealed: ticket.seal(&codec::encode(&sealed), random::bytes()),
        };
        store
            .create(&session.id, record, end, now)
            .await
            .map_err(KeepError::Store)?;
        if let Some(CookiePayload::Ticket(earlier)) = &visit.carried
            && earlier.id() != ticket.id()
        {
            // It ends by itself otherwise, only later.
            let _ = store.remove(earlier.id()).await;
            if let Some(earlier) = &visit.session
                && rests_on_another_grant(earlier, session)
            {
                self.dismiss(earlier);
            }
        }
        Ok(self.write_ticket(&ticket, session, visit.present, now))
    }

    /// Who signs in as somebody else leaves the earlier session behind for good. One's own is left to end by itself:
    /// other tabs may be under way with it.
    fn end_somebody_elses(&self, session: &Session, visit: &SessionLookup, now: Timestamp) {
        let Some(earlier) = &visit.session else {
            return;
        };
        let of =
            |session: &Session| Target::user(&session.identity.provider, &session.identity.subject);
        if of(earlier) != of(session) {
            self.mark(Target::Session(earlier.id), now);
            self.dismiss(earlier);
        }
    }

    fn mark(&self, target: Target, not_before: Timestamp) {
        self.revocations.revoke(Revocation { target, not_before });
    }

    /// `Set-Cookie` values that bring the browser's cookie up to date, when it is time for that.
    pub fn touch(&self, visit: &SessionLookup, now: Timestamp) -> Vec<HeaderValue> {
        let Some(session) = &visit.session else {
            return Vec::new();
        };
        match (&self.storage, &visit.carried) {
            (SessionStorage::Store(_), Some(CookiePayload::Ticket(ticket)))
                if visit.is_outdated =>
            {
                self.write_ticket(ticket, session, visit.present, now)
            }
            (SessionStorage::Store(_), _) => Vec::new(),
            (SessionStorage::Cookie { .. }, _) => {
                if !visit.is_outdated && !session.wants_touch(self.lifetimes, now) {
                    return Vec::new();
                }
                let touched = Session {
                    seen_at: now,
                    ..Session::clone(session)
                };
                self.write(&touched, visit.present, now).unwrap_or_default()
            }
        }
    }

    /// What a form of a page of ours holds, to show that it is of this session's own page: another site cannot
    /// read it.
    pub fn form_token(&self, session: &Session) -> String {
        let token = self.keys.derive("account form", &session.id);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// `Set-Cookie` values that store `session` in the cookie itself; none when it does not fit.
    fn write(
        &self,
        session: &Session,
        present: SessionCookies,
        now: Timestamp,
    ) -> Option<Vec<HeaderValue>> {
        let end = session.end(self.lifetimes);
        let plain = codec::encode(&Session {
            ends_at: Some(end),
            idle_timeout: Some(self.lifetimes.idle_timeout),
            ..session.clone()
        });
        let sealed = self
            .keys
            .seal(Purpose::Session, b"", &plain, random::bytes());
        let max_age = end.since(now).min(self.lifetimes.idle_timeout);
        self.cookies.write_session(&sealed, max_age, present)
    }

    /// The ticket stays good for the whole lifetime; the idle end is the store's to keep.
    fn write_ticket(
        &self,
        ticket: &Ticket,
        session: &Session,
        present: SessionCookies,
        now: Timestamp,
    ) -> Vec<HeaderValue> {
        let text = ticket.to_cookie(&self.keys, random::bytes());
        let end = session.end(self.lifetimes);
        let cookies = self.cookies.write_session(&text, end.since(now), present);
        cookies.expect("a ticket fits into a cookie")
    }
}

/// Whether the tokens of `earlier`, which nobody holds any more, can be taken back and `session`, of the same user, keeps
/// its own. Many providers take back all that they gave one user for one app: so only where they name two
/// sessions of their own.
fn rests_on_another_grant(earlier: &Session, session: &Session) -> bool {
    let is_same_user = earlier.identity.provider == session.identity.provider
        && earlier.identity.subject == session.identity.subject;
    let sids = earlier
        .provider_session
        .as_ref()
        .zip(session.provider_session.as_ref());
    // Of somebody else's it is done already.
    is_same_user && sids.is_some_and(|(earlier, new)| earlier != new)
}

impl SessionLookup {
    fn of(found: &Found<'_>) -> Self {
        Self {
            present: found.session_cookies,
            only: found.only,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests;
