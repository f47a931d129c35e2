//! A client's socket as hyper sees it, and what the connection's timer needs to know about it.
//!
//! hyper itself answers what it cannot parse, with a status line and no body. Such an answer can be recognised by its time: it
//! comes after the last answer was flushed and before a request. A sentence is added to it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::server::TlsStream;

use super::{admission::Place, socket::Unbound};
use crate::{body_error::BodyError, net::send_queue::QueuedSocket};

/// Gathered writes up to this size are copied into one piece: copying a few hundred bytes costs less than gathering them in the
/// kernel.
const SMALL: usize = 1024;

/// A socket that can be waited for without a buffer.
pub(super) trait ClientSocket:
    AsyncRead + AsyncWrite + Unpin + Send + Sized + 'static
{
    /// Ready when a read may give something: bytes, the end or an error.
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready when everything is sent: for whoever does not come back to ask.
    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_flush(context)
    }

    /// Takes it out of the runtime. Given back as it is where there is more to it than a socket of the system.
    fn unbind(self) -> Result<io::Result<Unbound>, Self> {
        Err(self)
    }
}

impl ClientSocket for TcpStream {
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(context)
    }
}

impl ClientSocket for QueuedSocket {
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().stream().poll_read_ready(context)
    }

    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_sent(self, context)
    }

    fn unbind(self) -> Result<io::Result<Unbound>, Self> {
        self.into_stream()
            .map(|stream| stream.into_std().map(Unbound::Tcp))
    }
}

impl ClientSocket for UnixStream {
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(context)
    }

    fn unbind(self) -> Result<io::Result<Unbound>, Self> {
        Ok(self.into_std().map(Unbound::Unix))
    }
}

impl<S: ClientSocket> ClientSocket for TlsStream<S> {
    /// What was decrypted with the last record is not in the socket any more.
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (socket, session) = self.get_mut();
        match io::BufRead::fill_buf(&mut session.reader()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.poll_readable(context)
            }
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut *self).poll_flush(context))?;
        self.get_mut().0.poll_sent(context)
    }
}

/// What the clock of a connection looks at.
#[derive(Default)]
pub(super) struct IoState {
    /// Something has come since this was last taken.
    received: AtomicBool,
    /// The client does not take what was last written.
    is_write_blocked: AtomicBool,
    /// Something was written since this was last taken.
    written: AtomicBool,
    /// The last answer has left whole, and no request has come since.
    is_settled: AtomicBool,
    /// An answer is under way.
    is_busy: AtomicBool,
    /// A request has begun since this was last taken.
    has_begun: AtomicBool,
    /// hyper speaks here no more: what is written is a tunnel's.
    is_left: AtomicBool,
    /// The connection is closed because its client takes nothing.
    is_given_up: AtomicBool,
    /// What is written begins a message where nothing else is under way. Over HTTP/2 a write can begin within a frame.
    is_http1: bool,
}

impl IoState {
    /// Of a connection over HTTP/1.1; the default is one over HTTP/2.
    pub(super) fn http1() -> Self {
        Self {
            is_settled: AtomicBool::new(true),
            is_http1: true,
            ..Self::default()
        }
    }

    /// A request has come.
    pub(super) fn begin_request(&self) {
        self.is_busy.store(true, Ordering::Relaxed);
        self.has_begun.store(true, Ordering::Relaxed);
        self.is_settled.store(false, Ordering::Relaxed);
        self.received.store(false, Ordering::Relaxed);
    }

    /// Its answer's body is at its end, though it may not have left yet. What came until now was its own body.
    pub(super) fn end_request(&self) {
        self.received.store(false, Ordering::Relaxed);
        self.is_busy.store(false, Ordering::Relaxed);
    }

    /// hyper has let go of the socket. If it goes on, it is as a tunnel, whose bytes are nobody's to change.
    pub(super) fn leave(&self) {
        self.is_left.store(true, Ordering::Relaxed);
    }

    /// The connection is closed because its client has taken nothing for `limits.write_timeout`.
    pub(super) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }

    /// Why an answer under way is let go of, where that is the gate's doing.
    pub(super) fn given_up(&self) -> Option<BodyError> {
        let is_given_up = self.is_given_up.load(Ordering::Relaxed);
        is_given_up.then_some(BodyError::Stalled)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Relaxed)
    }

    /// Whether a request has begun since the last call.
    pub(super) fn take_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed) && self.has_begun.swap(false, Ordering::Relaxed)
    }

    /// Whether the last answer has left whole, and no request has come since.
    pub(super) fn is_settled(&self) -> bool {
        self.is_settled.load(Ordering::Relaxed)
    }

    pub(super) fn is_write_blocked(&self) -> bool {
        self.is_write_blocked.load(Ordering::Relaxed)
    }

    /// Whether bytes came since the last request ended.
    pub(super) fn has_received(&self) -> bool {
        self.received.load(Ordering::Relaxed)
    }

    /// Whether the client took something since the last call.
    pub(super) fn take_written(&self) -> bool {
        self.written.swap(false, Ordering::Relaxed)
    }
}

/// A client's socket. `first` was read from it already.
pub(super) struct ClientIo<S> {
    stream: S,
    first: Bytes,
    state: Arc<IoState>,
    /// Held for as long as the socket is open, by whomever it is used.
    _place: Option<Place>,
    /// An own answer on its way, in the place of so many bytes of hyper's.
    refusal: Option<(Bytes, usize)>,
}

impl<S> ClientIo<S> {
    pub(super) fn new(stream: S, first: Bytes, state: Arc<IoState>, place: Option<Place>) -> Self {
        Self {
            stream,
            first,
            state,
            _place: place,
            refusal: None,
        }
    }

    /// The socket, and what was read from it and not yet given to anybody.
    pub(super) fn into_parts(self) -> (S, Bytes) {
        (self.stream, self.first)
    }

    fn note_written<T>(&self, written: &Poll<io::Result<T>>) {
        let is_blocked = written.is_pending();
        self.state
            .is_write_blocked
            .store(is_blocked, Ordering::Relaxed);
        if !is_blocked {
            self.state.written.store(true, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncWrite + Unpin> ClientIo<S> {
    /// Writes the refusal that takes the place of hyper's `length` bytes.
    fn poll_refusal(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while let Some((refusal, length)) = &mut self.refusal {
            if refusal.is_empty() {
                let length = *length;
                self.refusal = None;
                return Poll::Ready(Ok(length));
            }
            let written = Pin::new(&mut self.stream).poll_write(context, refusal);
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => refusal.advance(count),
            }
        }
        Poll::Ready(Ok(0))
    }

    fn begins_refusal(&mut self, bytes: &[u8]) -> bool {
        let is_left = self.state.is_left.load(Ordering::Relaxed);
        if !self.state.is_http1 || is_left || !self.state.is_settled() {
            return false;
        }
        let Some(refusal) = refusal(bytes) else {
            return false;
        };
        self.refusal = Some((refusal, bytes.len()));
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let length = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first[..length]);
            self.first.advance(length);
            self.state.received.store(true, Ordering::Relaxed);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.state.received.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: ClientSocket> AsyncWrite for ClientIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = if self.refusal.is_some() || self.begins_refusal(bytes) {
            self.poll_refusal(context)
        } else {
            Pin::new(&mut self.stream).poll_write(context, bytes)
        };
        self.note_written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut small = [0; SMALL];
        let mut length = 0;
        for slice in slices {
            let Some(room) = small.get_mut(length..length + slice.len()) else {
                let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
                self.note_written(&written);
                return written;
            };
            room.copy_from_slice(slice);
            length += slice.len();
        }
        self.poll_write(context, &small[..length])
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A tunnel may write nothing more for long, and hyper flushes whenever its connection is woken.
        let flushed = if self.state.is_left.load(Ordering::Relaxed) {
            self.stream.poll_sent(context)
        } else {
            Pin::new(&mut self.stream).poll_flush(context)
        };
        // What counted as written may turn out not to have left.
        self.note_written(&flushed);
        if flushed.is_pending() {
            self.state.is_settled.store(false, Ordering::Relaxed);
        }
        ready!(flushed)?;
        // hyper flushes when its own buffer is empty.
        if !self.state.is_busy() {
            self.state.is_settled.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The answer that takes the place of hyper's own to a request that cannot be parsed.
fn refusal(bytes: &[u8]) -> Option<Bytes> {
    let line = bytes.strip_prefix(b"HTTP/1.")?;
    let status = line.get(2..5)?;
    let (reason, sentence) = match status {
        b"400" => (
            "Bad Request",
            "The request cannot be read: its first line, a header or its length is malformed.",
        ),
        b"414" => ("URI Too Long", "The address is longer than 65,534 bytes."),
        b"431" => (
            "Request Header Fields Too Large",
            "The request has more than 200 header fields, or more than 64 KiB of them.",
        ),
        b"501" => (
            "Not Implemented",
            "The request's transfer coding is not supported.",
        ),
        b"505" => (
            "HTTP Version Not Supported",
            "HTTP/1.0, HTTP/1.1 and HTTP/2 are supported.",
        ),
        _ => return None,
    };
    let status = String::from_utf8_lossy(status);
    Some(Bytes::from(format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\nconnection: close\r\n\r\n{sentence}\n",
        sentence.len() + 1
    )))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    impl ClientSocket for tokio::io::DuplexStream {
        fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_is_gathered_arrives_in_order_whatever_its_size() {
        for lengths in [
            [0, 0, 0],
            [3, 0, 5],
            [500, 524, 0],
            [500, 525, 0],
            [5, 2000, 9],
        ] {
            let parts = [b'a', b'b', b'c'].map(|letter| vec![letter; 2000]);
            let parts: Vec<_> = lengths
                .iter()
                .zip(&parts)
                .map(|(length, part)| &part[..*length])
                .collect();
            let (near, mut far) = duplex(8192);
            let mut near = ClientIo::new(near, Bytes::new(), Arc::default(), None);
            let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
            let written = near.write_vectored(&slices).await.unwrap();
            drop(near);
            let mut read = Vec::new();
            far.read_to_end(&mut read).await.unwrap();
            let whole = parts.concat();
            // What is not small may take more than one write.
            assert!(written == whole.len() || whole.len() > SMALL && written > 0);
            assert_eq!(read, whole[..written]);
        }
    }

    const BARE: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";

    /// The rest of a frame whose beginning left with the write before.
    #[tokio::test]
    async fn what_http2_writes_is_no_answer_whatever_it_begins_with() {
        let (near, mut far) = duplex(8192);
        let mut near = ClientIo::new(near, Bytes::new(), Arc::default(), None);
        for _ in 0..2 {
            near.write_all(BARE).await.unwrap();
            near.flush().await.unwrap();
        }
        drop(near);
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, BARE.repeat(2));
    }

    #[tokio::test]
    async fn only_an_answer_to_nothing_is_given_words() {
        let state = Arc::new(IoState::http1());
        // Smaller than the sentence, so that it leaves in pieces.
        let (near, mut far) = duplex(16);
        let mut near = ClientIo::new(near, Bytes::new(), Arc::clone(&state), None);
        let reader = tokio::spawn(async move {
            let mut read = Vec::new();
            far.read_to_end(&mut read).await.unwrap();
            String::from_utf8(read).unwrap()
        });
        state.begin_request();
        near.write_all(BARE).await.unwrap();
        // The answer's end is known before its last bytes have left.
        state.end_request();
        near.write_all(BARE).await.unwrap();
        assert!(!state.is_settled(), "not all of it has left");
        near.flush().await.unwrap();
        assert!(state.is_settled());
        near.write_all(BARE).await.unwrap();
        near.flush().await.unwrap();
        state.leave();
        near.write_all(BARE).await.unwrap();
        drop(near);
        let read = reader.await.unwrap();
        let bare = str::from_utf8(BARE).unwrap();
        let answers = read.strip_prefix(&bare.repeat(2)).unwrap();
        let answers = answers.strip_suffix(bare).unwrap();
        assert!(
            answers.starts_with("HTTP/1.1 400 Bad Request\r\n"),
            "{answers}"
        );
        let (head, body) = answers.split_once("\r\n\r\n").unwrap();
        assert!(body.ends_with("malformed.\n"), "{body}");
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{head}"
        );
    }
}
