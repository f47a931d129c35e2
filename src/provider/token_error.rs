//! Why a logout token is refused.

use crate::jose::JwtError;

/// Why a logout token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogoutTokenError {
    /// The provider has none to give.
    #[error("not offered")]
    NotOffered,
    /// It is not a good token of the provider's at all.
    #[error(transparent)]
    Token(#[from] JwtError),
    /// `events` does not say that it is about a logout: an ID token, perhaps.
    #[error("events does not tell of a logout")]
    Events,
    /// It has a `nonce`, as ID tokens do.
    #[error("nonce must not be there")]
    Nonce,
    /// No `jti`.
    #[error("jti is missing")]
    Id,
    /// Neither `sub` nor `sid`.
    #[error("it names nobody")]
    Nobody,
    /// It came before.
    #[error("it came before")]
    Replayed,
}
