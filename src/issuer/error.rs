//! The errors of RFC 6749 §5.2 and §4.1.2.1, RFC 8707 §2, RFC 8628 §3.5 and RFC 7591 §3.2.2.

use std::borrow::Cow;

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthError {
    /// Which.
    pub code: Code,
    /// For whoever writes the client: printable ASCII without quotes and backslashes.
    pub description: Cow<'static, str>,
}

/// The registered codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are those of the RFCs")]
pub enum Code {
    InvalidRequest,
    InvalidClient,
    InvalidGrant,
    UnauthorizedClient,
    UnsupportedGrantType,
    UnsupportedResponseType,
    InvalidScope,
    InvalidTarget,
    AccessDenied,
    LoginRequired,
    InteractionRequired,
    InvalidRedirectUri,
    InvalidClientMetadata,
    TemporarilyUnavailable,
    SlowDown,
    AuthorizationPending,
    ExpiredToken,
}

impl Code {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::AccessDenied => "access_denied",
            Self::LoginRequired => "login_required",
            Self::InteractionRequired => "interaction_required",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::SlowDown => "slow_down",
            Self::AuthorizationPending => "authorization_pending",
            Self::ExpiredToken => "expired_token",
        }
    }
}

impl OAuthError {
    /// With these words.
    pub fn new(code: Code, description: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            description: description.into(),
        }
    }
}

/// `invalid_request`, with these words.
pub fn invalid_request(description: &'static str) -> OAuthError {
    OAuthError::new(Code::InvalidRequest, description)
}

/// `invalid_grant`, with these words.
pub fn invalid_grant(description: &'static str) -> OAuthError {
    OAuthError::new(Code::InvalidGrant, description)
}
