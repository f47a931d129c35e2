//! One connection: silence until the client speaks, TLS where it is ours, then HTTP/1.1 or HTTP/2 until it ends.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use tokio::{io::AsyncReadExt as _, time::timeout};
use tokio_rustls::TlsAcceptor;

use super::{
    admission::Place,
    client_io::ClientSocket,
    context::Worker,
    ended::Ended,
    http1::{self, Parked},
    http2, proxied,
    service::Requests,
    socket::Stream,
};
use crate::{
    certificate::{Certified, Rules},
    clean::Peer,
    limits::Limits,
};

/// What an HTTP/2 connection begins with (RFC 9113 §3.4); no HTTP/1.1 request does.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Room for what a client says first.
const FIRST_READ: usize = 4 * 1024;

/// Serves one connection to its end.
pub(super) async fn serve(
    worker: Arc<Worker>,
    stream: Stream,
    address: Option<SocketAddr>,
    is_proxied: bool,
    place: Place,
) {
    let address = address.map(|address| address.ip().to_canonical());
    let observer = Arc::clone(&worker);
    let (stream, address) = if is_proxied {
        // Boxed: other connections have no need of it.
        match Box::pin(proxied(stream, address, &place, &worker.limits())).await {
            Ok(told) => told,
            Err(ended) => return report(&ended, address, &observer),
        }
    } else {
        (stream, address)
    };
    let (tls, rules) = worker.current().tls();
    let ended = match (stream, tls) {
        // Boxed, so that a connection without TLS does not keep its size.
        (Stream::Tcp(stream), Some(tls)) => {
            Box::pin(serve_tls(worker, (&tls, rules), stream, address, place)).await
        }
        (Stream::Unix(stream), Some(tls)) => {
            Box::pin(serve_tls(worker, (&tls, rules), stream, address, place)).await
        }
        (Stream::Tcp(stream), None) => {
            serve_http(worker, stream, Peer::new(address, false), place).await
        }
        (Stream::Unix(stream), None) => {
            serve_http(worker, stream, Peer::new(address, false), place).await
        }
    };
    report(&ended, address, &observer);
}

/// Takes the header off a connection that a proxy speaks for. Its client is the peer for all that follows: it counts as
/// theirs, too.
async fn proxied(
    mut stream: Stream,
    proxy: Option<IpAddr>,
    place: &Place,
    limits: &Limits,
) -> Result<(Stream, Option<IpAddr>), Ended> {
    let told = match &mut stream {
        Stream::Tcp(socket) => proxied::client(socket, place, limits).await?,
        Stream::Unix(socket) => proxied::client(socket, place, limits).await?,
    };
    let client = told.or(proxy);
    if let Some(client) = client {
        place.count_as(client)?;
    }
    Ok((stream, client))
}

fn report(ended: &Ended, client: Option<IpAddr>, worker: &Worker) {
    if let Some(limit) = ended.limit() {
        worker.metrics.limits.hit(limit);
    }
    match ended {
        Ended::Closed => {}
        // It was answered; whoever sent it asks why.
        Ended::Malformed { status, reason } => worker.recorder.refused(client, *status, reason),
        Ended::Misread(why) => {
            if let Some(held_back) = worker.misread.turn(Instant::now()) {
                tracing::warn!(
                    ?client,
                    why,
                    held_back,
                    "a connection was closed: its listener requires a header of the PROXY protocol; have the proxy send \
                     one, or take proxy_protocol out of `listen`"
                );
            }
        }
        Ended::TooManyResets => {
            tracing::warn!(?client, "{ended}; the connection is closed");
        }
        ended => tracing::debug!(?client, "connection ended: {ended}"),
    }
}

async fn serve_tls<S: ClientSocket>(
    worker: Arc<Worker>,
    (tls, rules): (&TlsAcceptor, Option<Rules>),
    mut socket: S,
    address: Option<IpAddr>,
    place: Place,
) -> Ended {
    let limits = worker.limits();
    match http1::park(&mut socket, &place, limits.header_timeout, &mut false).await {
        Parked::Readable => {}
        Parked::Ended(ended) => return ended,
    }
    let handshake = timeout(limits.handshake_timeout, tls.accept(socket));
    match place.control().unless_evicted(handshake).await {
        Ok(Ok(Ok(socket))) => {
            let certificate = rules.and_then(|rules| {
                let shown = socket.get_ref().1.peer_certificates()?.first()?;
                Certified::read(shown, rules)
            });
            let peer = Peer::new(address, true).with_certificate(certificate);
            serve_http(worker, socket, peer, place).await
        }
        Ok(Ok(Err(error))) => Ended::Handshake(error),
        Ok(Err(_)) => Ended::HandshakeTimeout,
        Err(ended) => ended,
    }
}

async fn serve_http<S: ClientSocket>(
    worker: Arc<Worker>,
    socket: S,
    peer: Peer,
    place: Place,
) -> Ended {
    let begun = Box::pin(begin(socket, &place, &worker.limits())).await;
    let (socket, first, is_http2) = match begun {
        Ok(begun) => begun,
        Err(ended) => return ended,
    };
    let requests = Requests::new(worker, peer, place.requests());
    if is_http2 {
        http2::serve(&requests, socket, first, &place).await
    } else {
        http1::serve(requests, socket, first, place).await
    }
}

/// Waits for what the client says first. Whether that is HTTP/2.
async fn begin<S: ClientSocket>(
    mut socket: S,
    place: &Place,
    limits: &Limits,
) -> Result<(S, Bytes, bool), Ended> {
    match http1::park(&mut socket, place, limits.header_timeout, &mut false).await {
        Parked::Readable => {}
        Parked::Ended(ended) => return Err(ended),
    }
    let first = timeout(limits.header_timeout, first_bytes(&mut socket));
    match place.control().unless_evicted(first).await? {
        Ok(Ok((first, is_http2))) => Ok((socket, first, is_http2)),
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Ended::Closed),
        Ok(Err(error)) => Err(Ended::Lost(error)),
        Err(_) => Err(Ended::HeaderTimeout),
    }
}

/// What the client says first, and whether that is HTTP/2.
async fn first_bytes<S: ClientSocket>(socket: &mut S) -> io::Result<(Bytes, bool)> {
    let mut first = BytesMut::with_capacity(FIRST_READ);
    loop {
        if socket.read_buf(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = first.len().min(PREFACE.len());
        if first[..length] != PREFACE[..length] {
            return Ok((first.freeze(), false));
        }
        if length == PREFACE.len() {
            return Ok((first.freeze(), true));
        }
    }
}
