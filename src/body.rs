//! The one body type of every answer.

mod recorded;

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

pub use self::recorded::Recorded;
use crate::{
    forward::{Http2Body, UpstreamBody},
    observe::{Ended, metrics::Limit},
};

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

/// An answer's body: our own few bytes, or what streams from the upstream.
#[derive(Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// Our own text, all of it at once.
    Full(Bytes),
    /// The upstream's answer, as it comes.
    Upstream(UpstreamBody),
    /// The same over HTTP/2.
    Http2(Box<Http2Body>),
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Full(text.into())
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::Full(Bytes::from_static(text.as_bytes()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Upstream(body) => Pin::new(body).poll_frame(context),
            Self::Http2(body) => Pin::new(body).poll_frame(context),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                let frame = (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)));
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Upstream(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Upstream(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
