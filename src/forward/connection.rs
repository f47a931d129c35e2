//! One connection to the upstream: what is written, what was read and not yet taken.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead as _, ReadBuf, ReadHalf, WriteHalf, split},
    task::unconstrained,
};
use tokio_util::io::poll_read_buf;

use super::{
    http1::{self, BodyReader, MalformedResponse, Piece, ResponseHead},
    stream::{Rewound, Stream},
};
use crate::observe::metrics::OpenConnection;

/// What is read at first at one go; more where that is not enough.
const FIRST_READ: usize = 8 * 1024;
/// What is read at most at one go.
const LARGEST_READ: usize = 256 * 1024;
/// What an idle connection keeps of its buffers.
const KEPT_ROOM: usize = 16 * 1024;
/// Interim answers before the final one (RFC 9110 §15.2).
const MAX_INTERIM: u8 = 16;

/// A connection. Reading and writing are apart, since an answer may begin before its request has ended.
pub(super) struct Connection {
    reader: ReadHalf<Stream>,
    /// None while somebody else still writes.
    pub(super) writer: Option<WriteHalf<Stream>>,
    input: BytesMut,
    next_read: usize,
    interim: u8,
    /// Room for a request's head.
    output: Vec<u8>,
    /// Whether it can serve no other request.
    is_last: bool,
    /// Counts it as open.
    _open: OpenConnection,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The upstream closed without one.
    #[error("the upstream closed the connection")]
    Closed,
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is no answer.
    #[error("the upstream's answer cannot be read: {0}")]
    Malformed(#[from] MalformedResponse),
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => error,
            ReadError::Closed => Self::new(io::ErrorKind::UnexpectedEof, error),
            ReadError::Malformed(_) => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

impl Connection {
    /// `open` counts it while it lasts.
    pub(super) fn new(stream: Stream, open: OpenConnection) -> Self {
        let (reader, writer) = split(stream);
        Self {
            reader,
            writer: Some(writer),
            input: BytesMut::new(),
            next_read: FIRST_READ,
            interim: 0,
            output: Vec::new(),
            is_last: false,
            _open: open,
        }
    }

    /// Whether more has come than was asked for.
    pub(super) fn has_unasked_bytes(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether it is open and says nothing, as an idle connection must. Bytes that nobody asked for would be
    /// taken for the next answer. Forgets, too, which task waited last.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut byte = ReadBuf::new(&mut byte);
        let read = poll_fn(|context| Pin::new(&mut self.reader).poll_read(context, &mut byte));
        // A task that has used up its turn would be told "nothing yet" of any connection.
        let read = pin!(unconstrained(read));
        read.poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    }

    /// Makes it ready for another request; none where it cannot serve one.
    pub(super) fn settle(mut self: Box<Self>) -> Option<Box<Self>> {
        if self.is_last || !self.input.is_empty() || self.writer.is_none() {
            return None;
        }
        if self.input.capacity() > KEPT_ROOM {
            self.input = BytesMut::new();
        }
        self.next_read = FIRST_READ;
        self.interim = 0;
        Some(self)
    }

    /// An empty buffer, with the room of the last one that was left here.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Leaves a buffer for the next request.
    pub(super) fn leave_output(&mut self, mut output: Vec<u8>) {
        if output.capacity() <= KEPT_ROOM {
            output.clear();
            self.output = output;
        }
    }

    /// Reads the head of the final answer, or of a `101`.
    pub(super) fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        is_head: bool,
    ) -> Poll<Result<ResponseHead, ReadError>> {
        loop {
            if !self.input.is_empty()
                && let Some(head) = http1::parse(&mut self.input, is_head)?
            {
                if !head.status.is_informational()
                    || head.status == http::StatusCode::SWITCHING_PROTOCOLS
                {
                    self.is_last = !head.is_persistent;
                    return Poll::Ready(Ok(head));
                }
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    let endless = MalformedResponse::Head("interim answers without end");
                    return Poll::Ready(Err(endless.into()));
                }
                continue;
            }
            if ready!(self.poll_fill(context))? == 0 {
                return Poll::Ready(Err(if self.input.is_empty() {
                    ReadError::Closed
                } else {
                    MalformedResponse::Truncated.into()
                }));
            }
        }
    }

    /// Reads the next piece of a body.
    pub(super) fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        body: &mut BodyReader,
    ) -> Poll<Result<Piece, ReadError>> {
        loop {
            match body.next(&mut self.input)? {
                Piece::NeedsMore => {}
                piece => return Poll::Ready(Ok(piece)),
            }
            if ready!(self.poll_fill(context))? == 0 {
                body.close()?;
            }
        }
    }

    /// A body of which all has come already.
    pub(super) fn take_whole(&mut self, body: &BodyReader) -> Option<bytes::Bytes> {
        let length = usize::try_from(body.left()?).ok()?;
        (length <= self.input.len()).then(|| self.input.split_to(length).freeze())
    }

    /// The bytes themselves, for another protocol; none while somebody else still writes.
    pub(super) fn into_stream(self) -> Option<Rewound> {
        let writer = self.writer?;
        Some(Rewound::new(self.input, self.reader.unsplit(writer)))
    }

    /// Reads some bytes; none at the end.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // From the beginning of the buffer, where it is free: what was just used is in the processor's cache.
        let at_beginning = self.input.is_empty() && self.input.try_reclaim(self.next_read);
        if !at_beginning && self.input.capacity() - self.input.len() < self.next_read / 2 {
            self.input.reserve(self.next_read);
        }
        let room = self.input.capacity() - self.input.len();
        let reader = pin!(&mut self.reader);
        let length = ready!(poll_read_buf(reader, context, &mut self.input))?;
        if length == room {
            self.next_read = (self.next_read * 2).min(LARGEST_READ);
        }
        Poll::Ready(Ok(length))
    }
}
