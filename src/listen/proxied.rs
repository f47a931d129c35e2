//! Reads the PROXY protocol header at the start of a connection, and not one byte more: what follows may be a TLS handshake.

use std::{io, net::IpAddr};

use rustix::net::{RecvFlags, recv};
use tokio::{
    io::{AsyncReadExt as _, Interest},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::{
    admission::Place,
    client_io::ClientSocket,
    ended::Ended,
    http1,
    proxy_protocol::{ProxyHeader, parse},
};
use crate::limits::Limits;

/// Bytes that are read at once to find the header. Most headers are shorter.
const LOOK: usize = 512;

/// A socket whose bytes can be looked at before they are taken.
pub(super) trait Peek: ClientSocket {
    /// What can be read now, or the end. Nothing is taken.
    fn peek(&mut self, into: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;
}

impl Peek for TcpStream {
    async fn peek(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Self::peek(self, into).await
    }
}

impl Peek for UnixStream {
    async fn peek(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            self.readable().await?;
            let looked = self.try_io(Interest::READABLE, || {
                let (_, length) = recv(&*self, &mut *into, RecvFlags::PEEK)?;
                Ok(length)
            });
            match looked {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                looked => return looked,
            }
        }
    }
}

/// Whom the header tells: none where it tells of the connection alone. It has as long as a request's head.
pub(super) async fn client<S: Peek>(
    socket: &mut S,
    place: &Place,
    limits: &Limits,
) -> Result<Option<IpAddr>, Ended> {
    if !http1::park(socket, place, limits.header_timeout, &mut false).await? {
        return Err(Ended::Silent);
    }
    let header = timeout(limits.header_timeout, header(socket));
    match place.control().unless_evicted(header).await? {
        Ok(Ok(ProxyHeader::Client(client))) => Ok(Some(client)),
        Ok(Ok(ProxyHeader::Connection)) => Ok(None),
        Ok(Err(ended)) => Err(ended),
        Err(_) => Err(Ended::HeaderTimeout),
    }
}

async fn header<S: Peek>(socket: &mut S) -> Result<ProxyHeader, Ended> {
    let mut header = Vec::with_capacity(LOOK);
    let mut chunk = [0; LOOK];
    loop {
        let before = header.len();
        let seen = socket.peek(&mut chunk).await.map_err(Ended::Lost)?;
        if seen == 0 {
            // Balancers try by connecting whether anybody is there.
            return Err(match before {
                0 => Ended::Closed,
                _ => Ended::Misread("it ends before it is whole"),
            });
        }
        header.extend_from_slice(&chunk[..seen]);
        let parsed = parse(&header).map_err(|malformed| Ended::Misread(malformed.0))?;
        let own = parsed.map_or(seen, |(_, length)| length - before);
        socket
            .read_exact(&mut chunk[..own])
            .await
            .map_err(Ended::Lost)?;
        if let Some((client, _)) = parsed {
            return Ok(client);
        }
    }
}
