//! Why a body broke off.

use crate::observe::{Ended, Record, metrics::Limit};

/// What to do about clients whose bodies come too slowly.
pub const SLOW_UPLOAD: &str = "if clients may be so slow, raise the limit that the detail names";

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
    #[error("{0} did not continue its answer within `limits.response_body_timeout`")]
    Silent(String),
    /// It is longer than the upstream's `max_body`.
    #[error("the body is longer than the upstream's `max_body`")]
    TooLarge,
    /// It is not as long as was said.
    #[error("the body is not as long as was said")]
    Length,
    /// The client took nothing of it for too long.
    #[error("the client took nothing for `limits.write_timeout`")]
    Stalled,
    /// The client reset more of its streams than it may, and its connection was closed.
    #[error("the client reset more streams than `limits.http2_resets`")]
    TooManyResets,
    /// One side of a tunnel closed, and the other did not.
    #[error(
        "one side closed the tunnel, and the other did not within `limits.tunnel_close_timeout`"
    )]
    HalfClosed,
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
            Self::Stalled
            | Self::TooSlow(_)
            | Self::TooLarge
            | Self::Silent(_)
            | Self::TooManyResets
            | Self::HalfClosed => Ended::Limit,
            Self::Stopping => Ended::Stop,
        }
    }

    /// What an operator can do about it.
    fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::TooSlow(_) => SLOW_UPLOAD,
            Self::TooLarge => "if it may be so large, raise the upstream's max_body",
            Self::Silent(_) => {
                "see why the app stops within its answer; if it may pause so long, raise limits.response_body_timeout (idle_timeout of its upstream)"
            }
            Self::Stalled => {
                "the client, or the network to it, takes nothing; if clients may pause so long, raise limits.write_timeout"
            }
            Self::TooManyResets => "if nobody attacks, raise limits.http2_resets",
            Self::HalfClosed => {
                "see why the other side does not close too; if it may take so long, raise limits.tunnel_close_timeout"
            }
            Self::Upstream(_) => "see the app's own log: it broke its answer off",
            Self::Client(_)
            | Self::ClientGone(_)
            | Self::Length
            | Self::Stopping
            | Self::SessionOver => return None,
        })
    }

    /// Says in the `record` of an answer that it breaks off by this.
    pub fn note(&self, record: &mut Record) {
        if matches!(self, Self::Upstream(_) | Self::Silent(_)) {
            record.note_broken_by_app(self.ended(), self, self.remedy());
        } else {
            record.note_break(self.ended(), self, self.remedy());
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
