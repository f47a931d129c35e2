//! Tokens of a provider's that a client brings for one of the gate's own (RFC 8693): what counts, and whom it proves.
//!
//! Any app that somebody signs in to gets a token of theirs. So a token counts only if the provider gave it to this gate's own client. A
//! token of another app, though of the same person, is in that app's hands.

use std::time::Duration;

use super::bearer::BearerSettings;
use crate::{clock::Timestamp, identity::Identity, text::Text};

/// What is brought.
#[derive(Clone, Copy)]
pub enum SubjectToken<'a> {
    /// An access token.
    Access(&'a str),
    /// An ID token.
    Id(&'a str),
}

/// Whom it proves.
#[derive(Debug)]
pub struct Subject {
    /// Who.
    pub identity: Identity,
    /// When it was given, where that is known.
    pub issued_at: Option<Timestamp>,
    /// As of when what is said of them is so: an older word does not take the place of a newer one.
    pub known_at: Timestamp,
    /// The provider's name for the session that the token is from.
    pub provider_session: Option<Text>,
}

/// What an access token must agree with: it was given to this client.
pub(super) fn terms(client_id: &str) -> BearerSettings {
    BearerSettings {
        audience: Vec::new(),
        clients: vec![client_id.to_owned()],
        algorithms: Vec::new(),
        accept_id_tokens: false,
        introspect: true,
        signed_answers: false,
        token_cache: Duration::ZERO,
        kubernetes: false,
    }
}

/// How long ago an ID token may have been given: a client brings it as soon as its user has signed in.
pub const FRESH: Duration = Duration::from_mins(10);
