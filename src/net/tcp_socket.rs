//! A TCP socket that can be sent on from two places: by whoever holds the connection, and by a queue.

use std::{
    io::{self, IoSlice},
    net::Shutdown,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

/// A TCP socket. Its clones are the same socket.
#[derive(Clone)]
pub struct TcpSocket(Arc<Inner>);

struct Inner {
    stream: TcpStream,
    /// Whether something of it is in a queue.
    is_queued: AtomicBool,
    /// Whether `unsent` holds something: looked at in its place.
    is_blocked: AtomicBool,
    unsent: Mutex<Unsent>,
}

/// What was to be sent, and counts as sent, and the kernel has not taken.
#[derive(Default)]
struct Unsent {
    bytes: BytesMut,
    /// Why it will not be sent.
    error: Option<io::Error>,
}

impl TcpSocket {
    /// `stream`, of which nothing is queued.
    pub fn new(stream: TcpStream) -> Self {
        Self(Arc::new(Inner {
            stream,
            is_queued: AtomicBool::new(false),
            is_blocked: AtomicBool::new(false),
            unsent: Mutex::default(),
        }))
    }

    /// The socket as the runtime has it.
    pub fn stream(&self) -> &TcpStream {
        &self.0.stream
    }

    /// Gives up the socket, where nothing waits to be sent on it and nobody else holds it.
    ///
    /// # Errors
    /// Gives it back otherwise.
    pub fn into_stream(self) -> Result<TcpStream, Self> {
        if self.is_queued() || self.is_blocked() {
            return Err(self);
        }
        Arc::try_unwrap(self.0)
            .map(|inner| inner.stream)
            .map_err(Self)
    }

    /// Whether `other` is the same socket.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn is_queued(&self) -> bool {
        self.0.is_queued.load(Ordering::Relaxed)
    }

    pub(super) fn set_queued(&self, is_queued: bool) {
        self.0.is_queued.store(is_queued, Ordering::Relaxed);
    }

    fn is_blocked(&self) -> bool {
        self.0.is_blocked.load(Ordering::Relaxed)
    }

    /// Sends `bytes` as far as the kernel takes them at once, behind what it has not taken before. What it does not take is kept, or
    /// why: [`Self::poll_unblocked`] sends it, or says so. Whether it took all.
    pub(super) fn send_now(&self, bytes: &[u8]) -> bool {
        let sent = if self.is_blocked() {
            Ok(0)
        } else {
            match self.0.stream.try_write(bytes) {
                Ok(length) if length == bytes.len() => return true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                sent => sent,
            }
        };
        let mut unsent = self.unsent();
        match sent {
            Ok(length) => unsent.bytes.extend_from_slice(&bytes[length..]),
            Err(error) => unsent.error = Some(error),
        }
        self.0.is_blocked.store(true, Ordering::Relaxed);
        false
    }

    /// Sends what the kernel has not taken before.
    ///
    /// # Errors
    /// When it refuses that.
    pub fn poll_unblocked(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_blocked() {
            return Poll::Ready(Ok(()));
        }
        let mut unsent = self.unsent();
        if let Some(error) = &unsent.error {
            // Nothing more can be sent, and every later attempt is told so.
            return Poll::Ready(Err(error.kind().into()));
        }
        while !unsent.bytes.is_empty() {
            let sent = self.poll_send(context, |stream| stream.try_write(&unsent.bytes));
            match ready!(sent) {
                Ok(length) => unsent.bytes.advance(length),
                Err(error) => {
                    let kind = error.kind();
                    unsent.error = Some(error);
                    return Poll::Ready(Err(kind.into()));
                }
            }
        }
        self.0.is_blocked.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_send(
        &self,
        context: &mut Context<'_>,
        send: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.stream.poll_write_ready(context))?;
            match send(&self.0.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn unsent(&self) -> MutexGuard<'_, Unsent> {
        self.0.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for TcpSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = &self.0.stream;
        loop {
            ready!(stream.poll_read_ready(context))?;
            let (room, mut is_read) = (buffer.remaining(), false);
            // Less than there was room for is all there is: the socket counts as drained then, which spares the next read a call to the
            // kernel. Both in one, so that what comes meanwhile is not forgotten.
            let tried = stream.try_io(Interest::READABLE, || {
                let length = stream.try_read_buf(buffer)?;
                is_read = true;
                if length > 0 && length < room {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(())
            });
            match tried {
                _ if is_read => return Poll::Ready(Ok(())),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                _ => {}
            }
        }
    }
}

/// What is written is sent at once.
impl AsyncWrite for TcpSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_unblocked(context))?;
        self.poll_send(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_unblocked(context))?;
        self.poll_send(context, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_unblocked(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unblocked(context))?;
        Poll::Ready(SockRef::from(&self.0.stream).shutdown(Shutdown::Write))
    }
}
