//! Why a call to a provider failed.

use std::io;

use http::StatusCode;

/// Why a call came to nothing. Holds no path, no query and nothing of a body: those may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// In plain http where that is not allowed, or not a URL to call at all.
    #[error("the address is neither https nor plain http to loopback")]
    ForbiddenUrl,
    /// The name does not resolve.
    #[error("{0} does not resolve")]
    Resolve(String),
    /// No connection.
    #[error("no connection to {host}: {kind}")]
    Connect {
        /// Whom we called: the provider, or the proxy before it.
        host: String,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// The TLS handshake failed, an untrusted certificate included.
    #[error("TLS with {host}: {reason}")]
    Tls {
        /// Whom we called.
        host: String,
        /// What rustls said.
        reason: String,
    },
    /// The proxy does not let us through (RFC 9110 §9.3.6).
    #[error("the proxy {proxy} answers {} to CONNECT {target}", .status.as_u16())]
    Proxy {
        /// Its host and port.
        proxy: String,
        /// Whom we asked for.
        target: String,
        /// What it said.
        status: StatusCode,
    },
    /// The connection took too long to come about.
    #[error("no connection in time")]
    ConnectTimeout,
    /// Connected, but the answer took too long.
    #[error("no answer in time")]
    Timeout,
    /// The answer's body exceeds the cap.
    #[error("the answer has more than {limit} bytes (limits.provider_response)")]
    TooLarge {
        /// The cap, in bytes.
        limit: usize,
    },
    /// The answer's head is longer than any honest one, or has more fields.
    #[error("the answer's head has more than 128 KiB or 256 fields, which no key changes")]
    HeadTooLarge,
    /// The connection broke, or what came is not HTTP.
    #[error("the exchange broke off")]
    Broken,
    /// An answer, but not with the status that was needed. Redirects end here.
    #[error("the answer has status {}", .0.as_u16())]
    Status(StatusCode),
    /// An answer, but not JSON.
    #[error("the answer is not JSON")]
    NotJson,
    /// Too many who cannot say who they are wait for the same call.
    #[error("too many wait for it already")]
    Crowded,
}

impl HttpError {
    /// Whether trying again later may help: the network's or the server's state, not its opinion.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::ForbiddenUrl | Self::TooLarge { .. } | Self::HeadTooLarge | Self::NotJson => {
                false
            }
            Self::Status(status) | Self::Proxy { status, .. } => is_busy(*status),
            _ => true,
        }
    }

    /// Whether the request may have been heeded all the same: it was sent, and what came of it is not known. A gateway
    /// that has waited in vain, or lost its server, says nothing of what that one did; 503 says that nobody served.
    pub fn may_have_been_heeded(&self) -> bool {
        match self {
            Self::Timeout | Self::Broken | Self::TooLarge { .. } | Self::NotJson => true,
            Self::Status(StatusCode::SERVICE_UNAVAILABLE) => false,
            Self::Status(status) => status.is_success() || status.is_server_error(),
            _ => false,
        }
    }
}

/// Whether a status says "not now" rather than "no".
pub(in crate::provider) fn is_busy(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        )
}
