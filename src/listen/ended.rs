//! How a connection ended.

use std::io;

use http::StatusCode;
use tokio_rustls::rustls::{self, CertificateError};

use crate::observe::metrics::Limit;

/// How a connection came to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// By HTTP, or by the client between two requests.
    #[error("closed")]
    Closed,
    /// It was idle, and its place was needed.
    #[error("closed for another connection: the limit is reached")]
    Evicted,
    /// The gate stops.
    #[error("closed because the gate stops")]
    Drained,
    #[error("no TLS handshake within `limits.handshake_timeout`")]
    HandshakeTimeout,
    #[error("no whole request head within `limits.header_timeout`")]
    HeaderTimeout,
    /// As what browsers open in advance and do not need.
    #[error("it asked nothing within `limits.header_timeout`")]
    Silent,
    #[error("no request within `limits.keep_alive_timeout`")]
    KeepAliveTimeout,
    /// What GOAWAY was sent for has been told of.
    #[error("the client did not close it after GOAWAY")]
    GoneAway,
    #[error("the client took nothing of its answer for `limits.write_timeout`")]
    WriteTimeout,
    #[error("the client reset more streams than `limits.http2_resets`")]
    TooManyResets,
    /// What came is no request.
    #[error("{reason}")]
    Malformed {
        /// What it was answered with.
        status: StatusCode,
        /// What hyper says of it.
        reason: String,
    },
    #[error("no header of the PROXY protocol: {0}")]
    Misread(&'static str),
    #[error("its client has as many connections as it may, and none of them is idle")]
    Crowded,
    #[error("TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("lost: {0}")]
    Lost(io::Error),
    #[error("{0}")]
    Http(String),
}

impl Ended {
    /// What hyper says of an end.
    pub(super) fn of_hyper(error: &hyper::Error) -> Self {
        if error.is_parse() || error.is_parse_too_large() {
            let mut reason = error.to_string();
            if let Some(source) = std::error::Error::source(error) {
                reason = format!("{reason}: {source}");
            }
            let status = if error.is_parse_too_large() {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            } else {
                StatusCode::BAD_REQUEST
            };
            return Self::Malformed { status, reason };
        }
        let source = std::error::Error::source(error);
        let http2 = source.and_then(|source| source.downcast_ref::<h2::Error>());
        match http2 {
            // The client broke the protocol: what h2 itself ends is told to it by GOAWAY.
            Some(error) if error.is_go_away() && error.is_library() => Self::Malformed {
                status: StatusCode::BAD_REQUEST,
                reason: format!("HTTP/2: {error}"),
            },
            Some(source) => Self::Http(format!("{error}: {source}")),
            None => Self::Http(error.to_string()),
        }
    }

    /// Why a client's certificate was refused, where that ended it: of a client TLS verifies nothing else.
    pub(super) fn refused_certificate(&self) -> Option<String> {
        let Self::Handshake(error) = self else {
            return None;
        };
        match error.get_ref()?.downcast_ref()? {
            rustls::Error::InvalidCertificate(CertificateError::Other(why)) => {
                Some(format!("{:?}", why.0))
            }
            rustls::Error::InvalidCertificate(why) => Some(why.to_string()),
            _ => None,
        }
    }

    /// What an operator can do about a limit that ended it; none where it ends connections every day.
    pub(super) fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::HandshakeTimeout => {
                Some("if clients may be so slow, raise limits.handshake_timeout")
            }
            Self::HeaderTimeout => Some("if clients may be so slow, raise limits.header_timeout"),
            Self::WriteTimeout => Some("if clients may pause so long, raise limits.write_timeout"),
            Self::TooManyResets => Some("if nobody attacks, raise limits.http2_resets"),
            _ => None,
        }
    }

    /// The limit that was reached.
    pub(super) fn limit(&self) -> Option<Limit> {
        match self {
            Self::HandshakeTimeout => Some(Limit::HandshakeTimeout),
            Self::HeaderTimeout | Self::Silent => Some(Limit::HeaderTimeout),
            Self::KeepAliveTimeout => Some(Limit::KeepAliveTimeout),
            Self::WriteTimeout => Some(Limit::WriteTimeout),
            Self::TooManyResets => Some(Limit::Http2Resets),
            _ => None,
        }
    }
}
