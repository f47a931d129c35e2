//! The headers that tell the app who the user is, and the sources of their values. A leaf.

use http::HeaderName;

use crate::secret::Secret;

/// `[headers]`
#[derive(Clone, Debug)]
pub struct HeaderSettings {
    /// What `preset` and `set` come to: each header once, its value's source beside it.
    pub identity: Vec<(HeaderName, HeaderSource)>,
    /// The longest value of any of them, in bytes as it is sent.
    pub max_bytes: usize,
}

impl Default for HeaderSettings {
    /// No headers. What fits into one header: most servers take 8 KiB for a line.
    fn default() -> Self {
        Self {
            identity: Vec::new(),
            max_bytes: 8_192,
        }
    }
}

impl HeaderSettings {
    /// Every name that these headers write: their own, and those that say what is missing from them.
    pub fn names(&self) -> Vec<HeaderName> {
        let own = self.identity.iter().map(|(name, _)| name.clone());
        let counts = self
            .identity
            .iter()
            .filter_map(|(name, _)| missing_name(name));
        own.chain(counts).collect()
    }
}

/// The header that says how much is missing from the header `name`: `X-User-Groups-Missing`.
pub fn missing_name(name: &HeaderName) -> Option<HeaderName> {
    HeaderName::from_bytes(format!("{name}-missing").as_bytes()).ok()
}

/// Where a header's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderSource {
    /// The name an app shows: login, else email, else subject.
    User,
    /// `PROVIDER:SUBJECT`
    UserId,
    /// The provider's own id of somebody, which two providers may give to two people.
    Subject,
    /// The address, only when verified.
    Email,
    /// The full name.
    Name,
    /// Joined by commas; commas inside escaped.
    Groups,
    /// The provider's name in the configuration.
    Provider,
    /// The picture's address.
    Picture,
    /// `claims.a.b.0`: keys and indices below the claims, as written without `claims.`.
    Claim(String),
    /// The access token.
    AccessToken,
    /// The ID token as the provider signed it.
    IdToken,
    /// What the credential may be used for, joined by spaces as in `scope` (RFC 6749 §3.3); nothing where it is not bound
    /// to scopes.
    Scopes,
    /// The OAuth client that the credential was given to, or what names the credential itself.
    Client,
    /// How it was proven who it is: `session`, `bearer`, `api_token`, …
    Credential,
    /// The gate's own signed word on who somebody is: a short JWT.
    Assertion,
    /// A handle by which the app asks for the session's access token; nothing without a session.
    SessionHandle,
    /// Another source behind this text, as the app's former proxy wrote it.
    Prefixed(&'static str, Box<Self>),
    /// What the operator wrote, whoever asks: a secret that the app shares with the gate.
    Constant(Secret),
    /// `Basic` credentials (RFC 7617): this source as the name, and a password that everybody shares.
    Basic(Box<Self>, Secret),
}

impl HeaderSource {
    /// What of a person it takes; nothing where it is the same for all.
    pub fn of_person(&self) -> Option<&Self> {
        match self {
            // It says what the others make known.
            Self::Constant(_) | Self::Assertion | Self::SessionHandle => None,
            Self::Prefixed(_, source) | Self::Basic(source, _) => source.of_person(),
            source => Some(source),
        }
    }
}
