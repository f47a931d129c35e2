//! One connection to the upstream: bytes to write, and bytes that were read but not yet used.

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
    time::Instant,
};
use tokio_util::io::poll_read_buf;

use super::{
    condition::InUse,
    http1::{self, BodyDecoder, BodyEvent, MalformedResponse, ResponseHead},
    stream::{PrefixedStream, Stream},
};
use crate::{net::send_queue::QueuedSocket, observe::metrics::OpenConnection};

/// The size of the first read; later reads may be larger.
const FIRST_READ: usize = 8 * 1024;
/// Buffer space that a connection keeps for its next request, until it has idled for some seconds.
const KEPT_ROOM: usize = 16 * 1024;
/// Interim answers before the final one (RFC 9110 §15.2).
const MAX_INTERIM: u8 = 16;

/// A connection. Reading and writing are apart, since an answer may begin before its request has ended.
pub(super) struct Connection {
    reader: ReadHalf<Stream>,
    /// None while somebody else still writes.
    pub(super) writer: Option<WriteHalf<Stream>>,
    /// The same socket, for requests that are sent with those of others.
    queued: Option<QueuedSocket>,
    input: BytesMut,
    /// How much of the input was no whole head when it was read last.
    seen: usize,
    next_read: usize,
    /// What is read at most at one go, and so the largest piece of a body: as whoever the answer is for has it.
    pub(super) largest_read: usize,
    interim: u8,
    /// Room for a request's head.
    output: Vec<u8>,
    /// Whether it can serve no other request.
    is_last: bool,
    /// Counts it as open.
    _open: OpenConnection,
    /// Counts as a request under way.
    pub(super) in_use: Option<InUse>,
    /// Whether it belongs to one client: who that is may have been said once for all of its requests.
    pub(super) is_private: bool,
    /// When it is too old for another request, so that the app's name is resolved anew now and then.
    expires: Instant,
}

/// What an idle connection is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idleness {
    /// It is open and says nothing, as it must.
    Quiet,
    /// The upstream has closed it, or says that it is about to: `408` (RFC 9110 §15.5.9) is how some servers do.
    Closed,
    /// There are bytes that nobody asked for. They would be taken for the next answer.
    Unsolicited,
}

impl Idleness {
    /// By the first bytes that are there.
    fn of(bytes: &[u8]) -> Self {
        let says_timeout = bytes.starts_with(b"HTTP/1.") && bytes.get(8..12) == Some(b" 408");
        match bytes {
            [] => Self::Closed,
            _ if says_timeout => Self::Closed,
            _ => Self::Unsolicited,
        }
    }
}

/// Whether a connection can serve another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// It can.
    Ready,
    /// It cannot, and nothing is wrong with that.
    Spent,
    /// There are bytes behind the answer that belong to none.
    Unsolicited,
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
    /// It serves no new request once it `expires`. `open` counts it while it lasts. `queued` is the same socket, where its sends may
    /// wait for others.
    pub(super) fn new(
        stream: Stream,
        queued: Option<QueuedSocket>,
        expires: Instant,
        open: OpenConnection,
    ) -> Self {
        let (reader, writer) = split(stream);
        Self {
            reader,
            writer: Some(writer),
            queued,
            input: BytesMut::new(),
            seen: 0,
            next_read: FIRST_READ,
            largest_read: FIRST_READ,
            interim: 0,
            output: Vec::new(),
            is_last: false,
            _open: open,
            in_use: None,
            is_private: false,
            expires,
        }
    }

    /// What it is like, as far as the runtime has heard. Forgets, too, which task waited last.
    pub(super) fn idleness(&mut self) -> Idleness {
        let mut bytes = [0; 12];
        let mut bytes = ReadBuf::new(&mut bytes);
        let read = poll_fn(|context| Pin::new(&mut self.reader).poll_read(context, &mut bytes));
        // A task that has used up its turn would be told "nothing yet" of any connection.
        let read = pin!(unconstrained(read));
        match read.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => Idleness::Quiet,
            Poll::Ready(Ok(())) => Idleness::of(bytes.filled()),
            Poll::Ready(Err(_)) => Idleness::Closed,
        }
    }

    /// What it is like by the kernel's word: the runtime may not have heard yet that the upstream has closed it. A
    /// call to the kernel, for requests that cannot be sent again.
    pub(super) fn idleness_now(mut self: Box<Self>) -> (Box<Self>, Idleness) {
        let heard = self.idleness();
        let Some(writer) = self.writer.take() else {
            return (self, Idleness::Closed);
        };
        // Only the whole stream can be asked.
        let stream = self.reader.unsplit(writer);
        let mut bytes = [0; 12];
        let peeked = stream.peek(&mut bytes).map(|length| &bytes[..length]);
        let (reader, writer) = split(stream);
        self.reader = reader;
        self.writer = Some(writer);
        let idleness = match (heard, peeked) {
            (Idleness::Quiet, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                Idleness::Quiet
            }
            (Idleness::Quiet, Err(_)) => Idleness::Closed,
            (Idleness::Quiet, Ok(bytes)) => Idleness::of(bytes),
            (heard, _) => heard,
        };
        (self, idleness)
    }

    /// Whether it is too old for another request.
    pub(super) fn is_expired(&self, now: Instant) -> bool {
        now >= self.expires
    }

    /// Makes it ready for another request.
    pub(super) fn settle(&mut self) -> Settled {
        let has_more = !self.input.is_empty();
        // Also where it ends with this answer: an app that loses count does so on its other connections, too.
        if has_more && Idleness::of(&self.input) == Idleness::Unsolicited {
            return Settled::Unsolicited;
        }
        if has_more || self.is_last || self.writer.is_none() {
            return Settled::Spent;
        }
        if self.input.capacity() > KEPT_ROOM {
            self.input = BytesMut::new();
        }
        self.next_read = FIRST_READ;
        self.interim = 0;
        Settled::Ready
    }

    /// It idles longer than a pause between requests: after a burst there are hundreds, and their buffers would be kept for
    /// nobody.
    pub(super) fn rest(&mut self) {
        self.input = BytesMut::new();
        self.output = Vec::new();
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

    /// Has a small request without a body sent with those of others. Whether it is.
    pub(super) fn queue(&self, request: &[u8], context: &Context<'_>) -> bool {
        let queued = self.queued.as_ref();
        queued.is_some_and(|queued| queued.send(request, context))
    }

    /// Sends what the kernel has not taken of a queued request.
    pub(super) fn poll_queued(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let queued = self.queued.as_ref();
        queued.map_or(Poll::Ready(Ok(())), |queued| {
            queued.socket().poll_unblocked(context)
        })
    }

    /// Reads the head of the final answer, or of a `101`.
    pub(super) fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        is_head: bool,
    ) -> Poll<Result<ResponseHead, ReadError>> {
        loop {
            if !self.input.is_empty()
                && http1::is_worth_reading(&self.input, self.seen)
                && let Some(head) = self.parse(is_head)?
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

    fn parse(&mut self, is_head: bool) -> Result<Option<ResponseHead>, MalformedResponse> {
        let head = http1::parse(&mut self.input, is_head)?;
        self.seen = match head {
            Some(_) => 0,
            None => self.input.len(),
        };
        Ok(head)
    }

    /// Reads the next piece of a body.
    pub(super) fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        body: &mut BodyDecoder,
    ) -> Poll<Result<BodyEvent, ReadError>> {
        loop {
            if let Some(piece) = body.next(&mut self.input)? {
                return Poll::Ready(Ok(piece));
            }
            if ready!(self.poll_fill(context))? == 0 {
                body.close()?;
            }
        }
    }

    /// A body of which all has come already.
    pub(super) fn take_whole(&mut self, body: &BodyDecoder) -> Option<bytes::Bytes> {
        let length = usize::try_from(body.left()?).ok()?;
        (length <= self.input.len()).then(|| self.input.split_to(length).freeze())
    }

    /// The bytes themselves, for another protocol, and what counts them as a request; none while somebody else still
    /// writes.
    pub(super) fn into_stream(self) -> Option<PrefixedStream> {
        let writer = self.writer?;
        Some(PrefixedStream::new(
            self.input,
            self.reader.unsplit(writer),
            self.in_use,
        ))
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
            self.next_read = (self.next_read * 2).min(self.largest_read);
        }
        Poll::Ready(Ok(length))
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener};

    use tokio::{io::AsyncReadExt as _, net::TcpStream};

    use super::*;
    use crate::observe::metrics;

    #[test]
    fn a_farewell_is_no_answer_too_many() {
        for (bytes, idleness) in [
            (&b""[..], Idleness::Closed),
            (b"HTTP/1.1 408 Request Timeout\r\n", Idleness::Closed),
            (b"HTTP/1.0 408", Idleness::Closed),
            (b"HTTP/1.1 200 OK\r\n", Idleness::Unsolicited),
            (b"HTTP/1.1 4", Idleness::Unsolicited),
            (b"0\r\n\r\n", Idleness::Unsolicited),
        ] {
            assert_eq!(Idleness::of(bytes), idleness);
        }
    }

    /// The runtime hears of what comes when its task next waits; until then only the kernel knows.
    #[tokio::test]
    async fn a_connection_that_was_closed_this_very_moment_is_seen_to_be() {
        for last in [&b""[..], b"HTTP/1.1 200 OK\r\n"] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let mut stream = TcpStream::connect(address).await.unwrap();
            let (mut peer, _) = listener.accept().unwrap();
            peer.write_all(b"answer").unwrap();
            let mut answer = [0; 64];
            assert_eq!(stream.read(&mut answer).await.unwrap(), 6);
            let expires = Instant::now();
            let connection = Box::new(Connection::new(
                Stream::from(stream),
                None,
                expires,
                metrics::Upstream::default().open(),
            ));
            let (mut connection, idleness) = connection.idleness_now();
            assert_eq!(idleness, Idleness::Quiet);
            peer.write_all(last).unwrap();
            drop(peer);
            assert_eq!(connection.idleness(), Idleness::Quiet, "not heard yet");
            let (_, idleness) = connection.idleness_now();
            assert_eq!(idleness, Idleness::of(last));
        }
    }

    /// Hundreds idle after a burst.
    #[tokio::test]
    async fn one_that_rests_keeps_no_buffers_and_serves_on() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let open = metrics::Upstream::default().open();
        let stream = Stream::from(stream);
        let mut connection = Connection::new(stream, None, Instant::now(), open);
        for _ in 0..2 {
            peer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            let head = poll_fn(|context| connection.poll_head(context, false)).await;
            assert_eq!(head.unwrap().status, 204);
            connection.leave_output(Vec::with_capacity(64));
            assert_eq!(connection.settle(), Settled::Ready);
            assert!(connection.input.capacity() > 0);
            connection.rest();
            assert_eq!(
                connection.input.capacity() + connection.output.capacity(),
                0
            );
        }
    }
}
