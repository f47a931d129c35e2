//! Why a body broke off.

use crate::observe::{Ended, metrics::Limit};

/// Why a body breaks off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client went away in the middle of it.
    #[error("the client went away: {0}")]
    ClientGone(hyper::Error),
    /// The client sent what is none.
    #[error(transparent)]
    Client(hyper::Error),
    /// The client did not send enough of it in time.
    #[error("the client did not send its body as fast as `limits.{}` asks", .0.name())]
    TooSlow(Limit),
    /// The upstream broke it off.
    #[error(transparent)]
    Upstream(#[from] std::io::Error),
    /// The upstream did not continue it in time.
    #[error("the upstream did not continue its answer within `limits.response_body_timeout`")]
    Silent,
    /// It is longer than the upstream's `max_body`.
    #[error("the body is longer than the upstream's `max_body`")]
    TooLarge,
    /// It is not as long as was said.
    #[error("the body is not as long as was said")]
    Length,
    /// The client took nothing of it for too long.
    #[error("the client took nothing for `limits.write_timeout`")]
    Stalled,
    /// The gate stops, and it would have no end.
    #[error("the gate stops")]
    Stopping,
    /// The session that it was for has ended.
    #[error("the session has ended")]
    SessionOver,
}

impl BodyError {
    /// Who broke it off.
    pub fn ended(&self) -> Ended {
        match self {
            // An answer's length is checked where it is read. What is too short here is the request that it answers.
            Self::Client(_) | Self::ClientGone(_) | Self::Length => Ended::Client,
            Self::Upstream(_) => Ended::App,
            Self::SessionOver => Ended::Session,
            Self::Stalled | Self::TooSlow(_) | Self::TooLarge | Self::Silent => Ended::Limit,
            Self::Stopping => Ended::Stop,
        }
    }

    /// What `error` means, which reading a client's body gave.
    pub fn of_client(error: hyper::Error) -> Self {
        use std::error::Error as _;

        let io = error
            .source()
            .and_then(|source| source.downcast_ref::<std::io::Error>());
        let is_malformed = io.is_some_and(|io| {
            matches!(
                io.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput
            )
        });
        if is_malformed || error.is_parse() {
            Self::Client(error)
        } else {
            Self::ClientGone(error)
        }
    }
}
