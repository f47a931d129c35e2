//! The bytes between the gate and the upstream, whatever carries them.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, BytesMut};
use rustix::net::{RecvFlags, recv};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::client::TlsStream;

use super::{condition::InUse, connection_limit::ConnectionSlot};
use crate::net::tcp_socket::TcpSocket;

/// A connection's bytes, and its slot among all connections to apps.
pub struct Stream {
    carrier: Carrier,
    _slot: Option<ConnectionSlot>,
}

/// What carries a connection's bytes.
pub(super) enum Carrier {
    /// TCP.
    Tcp(TcpSocket),
    /// TLS over TCP. Boxed: it is many times as large as the others.
    Tls(Box<TlsStream<TcpStream>>),
    /// A Unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Has a slot for as long as it lasts.
    pub(super) fn new(carrier: Carrier, slot: ConnectionSlot) -> Self {
        Self {
            carrier,
            _slot: Some(slot),
        }
    }

    /// The socket, where it is TCP without TLS.
    pub(super) fn tcp_socket(&self) -> Option<&TcpSocket> {
        match &self.carrier {
            Carrier::Tcp(socket) => Some(socket),
            Carrier::Tls(_) | Carrier::Unix(_) => None,
        }
    }

    /// What lies ready at the socket, and stays there; nothing at the end of the connection. Between two answers
    /// within TLS the one thing to come is a farewell, so whatever lies there is the end, too.
    ///
    /// # Errors
    /// `WouldBlock` where nothing does and the connection is open.
    pub(super) fn peek(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let (length, _) = match &self.carrier {
            Carrier::Tcp(socket) => recv(socket.stream(), bytes, flags)?,
            Carrier::Unix(stream) => recv(stream, bytes, flags)?,
            Carrier::Tls(stream) => {
                recv(stream.get_ref().0, bytes, flags)?;
                (0, 0)
            }
        };
        Ok(length)
    }
}

#[cfg(test)]
impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self {
            carrier: Carrier::Tcp(TcpSocket::new(stream)),
            _slot: None,
        }
    }
}

/// Calls the same method of whatever carries the bytes.
macro_rules! delegate {
    ($this:expr, $method:ident ( $($argument:expr),* )) => {
        match &mut $this.get_mut().carrier {
            Carrier::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Carrier::Tls(stream) => Pin::new(stream).$method($($argument),*),
            Carrier::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.carrier {
            Carrier::Tcp(stream) => stream.is_write_vectored(),
            Carrier::Tls(stream) => stream.is_write_vectored(),
            Carrier::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_shutdown(context))
    }
}

/// A stream of which more was read than was wanted: first that, then the rest.
pub struct PrefixedStream {
    first: BytesMut,
    stream: Stream,
    _in_use: Option<InUse>,
}

impl PrefixedStream {
    /// `first` was read from `stream` already. `in_use` counts it as long as it lasts.
    pub(super) fn new(first: BytesMut, stream: Stream, in_use: Option<InUse>) -> Self {
        Self {
            first,
            stream,
            _in_use: in_use,
        }
    }
}

impl AsyncRead for PrefixedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..length]);
        self.first.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PrefixedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
