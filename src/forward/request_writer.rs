//! A request on its way out: its head, then its body as it comes.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Method;
use http_body::{Body as _, Frame};
use tokio::io::{AsyncWrite, WriteHalf};

use super::{
    http1::{RequestBodyLength, chunked, field_line::CRLF},
    request_body::RequestBody,
    stream::Stream,
};
use crate::body_error::BodyError;

/// A request, as far as it is not sent.
pub(super) struct RequestWriter {
    /// The head, or what frames a piece of the body.
    before: Vec<u8>,
    /// A piece of the body.
    piece: Bytes,
    /// What is to follow the piece.
    after: &'static [u8],
    /// How much of these three is written.
    written: usize,
    /// None after its end.
    body: Option<RequestBody>,
    /// How many bytes of the body are left, where that was promised.
    left: Option<u64>,
    /// Whether the upstream may have seen some of it.
    has_begun: bool,
    /// Whether it may be sent again although the upstream may have seen it.
    is_repeatable: bool,
    /// Whether all there is was sent, and the client is to send more.
    waits_for_client: bool,
    /// How many bytes were sent.
    sent: u64,
    /// Whether the answer has no body.
    pub(super) is_head: bool,
}

/// Why a request was not sent to its end.
#[derive(Debug)]
pub(super) enum SendError {
    /// The upstream does not take it. It may have answered before.
    Upstream(io::Error),
    /// Its body broke off: what was sent is no request.
    Body(BodyError),
}

/// A body that is not as long as was promised.
const BROKEN_OFF: SendError = SendError::Body(BodyError::Length);

/// Whether a request may be sent twice although its upstream may have seen it (RFC 9110 §9.2.2). What else an app
/// can take twice is not for a proxy to know.
pub(super) fn is_repeatable(method: &Method, length: RequestBodyLength) -> bool {
    length == RequestBodyLength::None
        && [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

impl RequestWriter {
    /// `head` is the whole head, which says that `length` is that of `body`.
    pub(super) fn new(
        method: &Method,
        head: Vec<u8>,
        length: RequestBodyLength,
        body: RequestBody,
    ) -> Self {
        let left = match length {
            RequestBodyLength::Exactly(left) => Some(left),
            RequestBodyLength::None | RequestBodyLength::Unknown => None,
        };
        let has_body = length != RequestBodyLength::None;
        Self {
            before: head,
            piece: Bytes::new(),
            after: b"",
            written: 0,
            body: has_body.then_some(body),
            left,
            has_begun: false,
            is_repeatable: is_repeatable(method, length),
            waits_for_client: false,
            sent: 0,
            is_head: *method == Method::HEAD,
        }
    }

    /// Makes it ready to be sent again on another connection, where that does no harm.
    pub(super) fn rewind(&mut self) -> bool {
        let may = self.is_repeatable || !self.has_begun;
        if may {
            self.written = 0;
        }
        may
    }

    /// Whether it may be sent again although an app may have seen it.
    pub(super) fn is_repeatable(&self) -> bool {
        self.is_repeatable
    }

    /// Whether the client is to send more before anything can go on.
    pub(super) fn waits_for_client(&self) -> bool {
        self.waits_for_client
    }

    /// How many bytes were sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// The buffer that the head was in.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.before
    }

    /// The whole request, where it has no body and may be sent twice: it may wait for others. What an app may see once only is sent at
    /// once, so that it is known whether it was.
    pub(super) fn queueable(&self) -> Option<&[u8]> {
        let is_whole = self.body.is_none() && self.is_repeatable && self.written == 0;
        is_whole.then_some(&self.before)
    }

    /// All of it was queued.
    pub(super) fn set_queued(&mut self) {
        self.has_begun = true;
        self.written = self.before.len();
        self.sent += self.before.len() as u64;
    }

    /// Sends what is left. Called again after an end it does nothing.
    pub(super) fn poll_send(
        &mut self,
        writer: &mut WriteHalf<Stream>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        self.waits_for_client = false;
        loop {
            let more = self.poll_piece(context)?;
            ready!(self.poll_write(writer, context)).map_err(SendError::Upstream)?;
            if self.body.is_none() && self.is_written() {
                return Poll::Ready(Ok(()));
            }
            if more.is_pending() {
                self.waits_for_client = true;
                return Poll::Pending;
            }
        }
    }

    /// Asks the body for its next piece, unless there is one that waits.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let waits = !self.piece.is_empty() || self.has_begun && !self.is_written();
        let Some(body) = self.body.as_mut().filter(|_| !waits) else {
            return Poll::Ready(Ok(()));
        };
        let frame = ready!(Pin::new(body).poll_frame(context)).transpose();
        if self.is_written() {
            self.before.clear();
            self.written = 0;
        }
        match frame.map_err(SendError::Body)?.map(Frame::into_data) {
            // An empty chunk would be the last one.
            Some(Ok(piece)) if piece.is_empty() => {}
            Some(Ok(piece)) => {
                if let Some(left) = &mut self.left {
                    *left = left.checked_sub(piece.len() as u64).ok_or(BROKEN_OFF)?;
                } else {
                    chunked::begin_chunk(piece.len(), &mut self.before);
                    self.after = CRLF;
                }
                self.piece = piece;
            }
            Some(Err(frame)) => {
                if let (Ok(trailers), None) = (frame.into_trailers(), self.left) {
                    chunked::end_with_trailers(&trailers, &mut self.before);
                    self.body = None;
                }
            }
            None => {
                match self.left {
                    None => self.before.extend_from_slice(chunked::LAST_CHUNK),
                    Some(0) => {}
                    Some(_) => return Poll::Ready(Err(BROKEN_OFF)),
                }
                self.body = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes all there is to write.
    fn poll_write(
        &mut self,
        writer: &mut WriteHalf<Stream>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut writer = Pin::new(writer);
        while !self.is_written() {
            let length = if self.piece.is_empty() {
                ready!(
                    writer
                        .as_mut()
                        .poll_write(context, &self.before[self.written..])
                )?
            } else {
                let mut skipped = self.written;
                let slices = [&self.before[..], &self.piece, self.after].map(|part| {
                    let cut = skipped.min(part.len());
                    skipped -= cut;
                    IoSlice::new(&part[cut..])
                });
                ready!(writer.as_mut().poll_write_vectored(context, &slices))?
            };
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.has_begun = true;
            self.written += length;
            self.sent += length as u64;
            if self.is_written() && !self.piece.is_empty() {
                self.before.clear();
                self.piece = Bytes::new();
                self.after = b"";
                self.written = 0;
            }
        }
        writer.poll_flush(context)
    }

    fn is_written(&self) -> bool {
        self.written == self.before.len() + self.piece.len() + self.after.len()
    }
}
