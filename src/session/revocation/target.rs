//! How revocations name sessions, and whether a session matches. Names are hashes: a list of them reveals nobody.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::Kind;
use crate::{
    clock::Timestamp,
    hex::hex,
    identity::Identity,
    session::{
        Session,
        opened::{API_TOKEN, CONFIGURED, EVERYBODYS},
    },
};

/// Whose sessions have ended. Names are hashes: a list of them says nothing of anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// One session, by its id.
    Session([u8; 16]),
    /// All sessions of a user, by provider and subject.
    User([u8; 16]),
    /// All sessions of one session at the provider, by provider and `sid`.
    ProviderSession([u8; 16]),
    /// All sessions.
    Everybody,
    /// All access tokens of one grant; or those of one that a client has for itself; or what one API token has opened.
    Grant([u8; 16]),
    /// All access tokens.
    AccessTokens,
}

impl Target {
    /// With which it is kept, where somebody vouches for it.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Session(_) | Self::User(_) | Self::ProviderSession(_) | Self::Everybody => {
                Kind::Vouched
            }
            Self::Grant(_) | Self::AccessTokens => Kind::Grants,
        }
    }

    /// Whether it names one session, or one grant, whenever that began.
    pub(super) fn is_by_id(&self) -> bool {
        matches!(self, Self::Session(_) | Self::Grant(_))
    }

    /// All sessions of a provider's user.
    pub fn user(provider: &str, subject: &str) -> Self {
        Self::User(user_hash(provider, subject))
    }

    /// All sessions of a provider's user, by the `sub` of its tokens, where another claim is the subject.
    pub fn token_subject(provider: &str, sub: &str) -> Self {
        Self::User(token_subject_hash(provider, sub))
    }

    /// All sessions of a provider's user, by the `sub` of its tokens, that do not name the session at the provider on
    /// which they rest.
    pub fn unnamed_provider_session(provider: &str, subject: &str) -> Self {
        Self::ProviderSession(unnamed_hash(provider, subject))
    }

    /// All sessions that rest on the same session at the provider as `session` does; or, where it names none, those of
    /// its user that name none.
    pub(super) fn provider_session_of(session: &Session) -> Self {
        let identity = &session.identity;
        if let Some(sid) = session.provider_session.as_deref() {
            return Self::provider_session(&identity.provider, sid);
        }
        let sub = identity.notes.token_subject.as_deref();
        let sub = sub.unwrap_or(&identity.subject);
        Self::unnamed_provider_session(&identity.provider, sub)
    }

    /// All sessions of the user of `session`, by the `sub` of its tokens, where another claim is the subject.
    pub(super) fn token_subject_of(session: &Session) -> Option<Self> {
        let identity = &session.identity;
        let sub = identity.notes.token_subject.as_deref()?;
        Some(Self::token_subject(&identity.provider, sub))
    }

    /// What all API tokens have opened that were made by then.
    pub fn api_tokens() -> Self {
        Self::provider_session(API_TOKEN, EVERYBODYS)
    }

    /// What a credential of the configuration has opened by then.
    pub fn configured(id: [u8; 16]) -> Self {
        Self::user(CONFIGURED, &hex(&id))
    }

    /// All sessions that rest on a session at the provider.
    pub fn provider_session(provider: &str, sid: &str) -> Self {
        Self::ProviderSession(sid_hash(provider, sid))
    }
}

/// What is needed to know later whether a session was revoked, without the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    created_at: Timestamp,
    session: [u8; 16],
    user: [u8; 16],
    /// The same user as the provider's tokens know them, where another claim is the subject.
    token_subject: Option<[u8; 16]>,
    /// By its name, or what stands for it.
    provider_session: [u8; 16],
}

impl Mark {
    /// Of a session.
    pub fn of(session: &Session) -> Self {
        let Identity {
            provider,
            subject,
            notes,
            ..
        } = &session.identity;
        let token_subject = notes.token_subject.as_deref();
        Self {
            created_at: session.created_at,
            session: session.id,
            user: user_hash(provider, subject),
            token_subject: token_subject.map(|sub| token_subject_hash(provider, sub)),
            provider_session: session.provider_session.as_deref().map_or_else(
                || unnamed_hash(provider, token_subject.unwrap_or(subject)),
                |sid| sid_hash(provider, sid),
            ),
        }
    }

    /// The session's id.
    pub fn session(&self) -> &[u8; 16] {
        &self.session
    }

    /// Names the user: see [`Target::User`].
    pub fn user(&self) -> &[u8; 16] {
        &self.user
    }

    pub(super) fn token_subject(&self) -> Option<Target> {
        self.token_subject.map(Target::User)
    }

    pub(super) fn provider_session(&self) -> Target {
        Target::ProviderSession(self.provider_session)
    }

    /// When it began.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }
}

/// Names a provider's user.
pub(in crate::session) fn user_hash(provider: &str, subject: &str) -> [u8; 16] {
    hash(b"user", provider, subject)
}

/// Names a provider's user by the `sub` of its tokens. Apart from [`user_hash`]: what is a subject for one may be a `sub`
/// for another.
fn token_subject_hash(provider: &str, sub: &str) -> [u8; 16] {
    hash(b"sub", provider, sub)
}

/// Stands for the session at the provider of a user's session that names none.
fn unnamed_hash(provider: &str, subject: &str) -> [u8; 16] {
    hash(b"no sid", provider, subject)
}

fn sid_hash(provider: &str, sid: &str) -> [u8; 16] {
    hash(b"sid", provider, sid)
}

fn hash(kind: &[u8], provider: &str, name: &str) -> [u8; 16] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [kind, provider.as_bytes(), name.as_bytes()] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let digest = context.finish();
    let first = digest.as_ref().first_chunk();
    *first.expect("SHA-256 has 32 bytes")
}
