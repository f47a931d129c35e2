//! One HTTP/2 connection to an app (RFC 9113), through hyper.

use std::{
    error::Error as _,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::Instant;

use super::{request_body::RequestBody, stream::Stream};
use crate::body_error::BodyError;

/// An answer's header list in bytes (RFC 9113 §6.5.2), as much as over HTTP/1.1.
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// Bytes of an answer's body in flight.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes of the bodies of all answers in flight.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Bytes of one request's body that wait for the app.
const STREAM_SEND_BUFFER: usize = 64 * 1024;
/// How often an app with running requests is pinged, and how long it may take to answer.
const PING: Duration = Duration::from_secs(30);

/// A connection that several requests share.
pub(super) struct Shared {
    pub(super) sender: SendRequest<Sent>,
    pub(super) expires: Instant,
}

/// Why a request's body broke off, once it has.
pub(super) type Broken = Arc<Mutex<Option<BodyError>>>;

/// A request's body as it is sent. Why it breaks off is kept here: hyper does not say it.
pub(super) struct Sent {
    pub(super) body: RequestBody,
    pub(super) broken: Broken,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|error| {
                let text = error.to_string();
                *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                io::Error::other(text)
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Begins to speak HTTP/2 on `stream`. What comes beside the sender has to be polled for as long as it lives.
///
/// # Errors
/// When the app does not answer as HTTP/2 begins.
pub(super) async fn handshake(
    stream: Stream,
) -> io::Result<(
    SendRequest<Sent>,
    Connection<TokioIo<Stream>, Sent, TokioExecutor>,
)> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(PING))
        .keep_alive_timeout(PING)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buf_size(STREAM_SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let handshake = builder.handshake(TokioIo::new(stream)).await;
    handshake.map_err(broken)
}

/// What ended a connection: `InvalidData` where what the app sent is no HTTP/2.
pub(super) fn broken(error: hyper::Error) -> io::Error {
    let http2 = error.source();
    let http2 = http2.and_then(|source| source.downcast_ref::<h2::Error>());
    let kind = match http2 {
        Some(error) if error.is_library() => io::ErrorKind::InvalidData,
        Some(error) => error.get_io().map_or(io::ErrorKind::Other, io::Error::kind),
        None => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
