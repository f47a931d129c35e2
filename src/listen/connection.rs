//! One connection: it waits for the client's first byte, does TLS if configured, and then serves HTTP/1.1 or HTTP/2 until it ends.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};
use tokio_rustls::TlsAcceptor;

use super::{
    NO_ROOM,
    admission::{Full, Place},
    client_io::ClientSocket,
    connection_guard::ConnectionGuard,
    context::Worker,
    ended::Ended,
    http1::{self, Served},
    http2,
    idle::IdleConnection,
    proxied,
    service::Requests,
    socket::Stream,
};
use crate::{
    certificate::{Certified, Rules},
    clean::Peer,
    credential::Proof,
    limits::Limits,
    net::{send_queue::QueuedSocket, tcp_socket::TcpSocket},
    observe::{
        audit::{Entry, Event},
        metrics::Limit,
    },
};

/// What an HTTP/2 connection begins with (RFC 9113 §3.4); no HTTP/1.1 request does.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Room for the first bytes of a client.
const FIRST_READ: usize = 4 * 1024;

/// What serves a connection that has said what it speaks.
type Serving = Pin<Box<dyn Future<Output = Served> + Send>>;

/// Serves one connection until it ends or is idle. In two boxes, one after the other: what is needed before the first request
/// is gone with it, so that a connection over TLS which is idle later holds a few hundred bytes.
pub(super) async fn serve(
    worker: Arc<Worker>,
    stream: Stream,
    address: Option<SocketAddr>,
    is_proxied: bool,
    guard: ConnectionGuard,
) {
    let mut client = address.map(|address| address.ip().to_canonical());
    let place = guard.place.clone();
    let opening = open(Arc::clone(&worker), stream, &mut client, is_proxied, place);
    let served = match Box::pin(opening).await {
        Ok(serving) => serving.await,
        Err(served) => served,
    };
    park_or_report(&worker, served, client, is_proxied, guard);
}

/// Serves on a connection that was idle, until it ends or is idle again.
pub(super) async fn resume(worker: Arc<Worker>, idle: IdleConnection) {
    let IdleConnection {
        socket,
        client,
        is_proxied,
        is_new,
        guard,
    } = idle;
    let place = guard.place.clone();
    let peer = (client, is_proxied);
    let serving = match socket.into_stream() {
        Err(error) => Err(Ended::Lost(error).into()),
        Ok(stream) if is_new => {
            Box::pin(open_stream(Arc::clone(&worker), stream, peer, place)).await
        }
        Ok(stream) => Ok(serve_http1(&worker, stream, peer, place)),
    };
    let served = match serving {
        Ok(serving) => serving.await,
        Err(served) => served,
    };
    park_or_report(&worker, served, client, is_proxied, guard);
}

/// Serves on a connection that has had a request. It is no TLS.
fn serve_http1(
    worker: &Arc<Worker>,
    stream: Stream,
    (client, is_proxied): (Option<IpAddr>, bool),
    place: Place,
) -> Serving {
    let peer = Peer::new(client, false).behind_proxy(is_proxied);
    let requests = Requests::new(Arc::clone(worker), peer, place.requests());
    let first = (Bytes::new(), tokio::time::Instant::now());
    match stream {
        Stream::Tcp(stream) => {
            Box::pin(http1::serve(requests, queued(worker, stream), first, place))
        }
        Stream::Unix(stream) => Box::pin(http1::serve(requests, stream, first, place)),
    }
}

/// What is sent on it waits for what else the worker sends.
fn queued(worker: &Worker, stream: TcpStream) -> QueuedSocket {
    QueuedSocket::new(TcpSocket::new(stream), worker.sends.clone())
}

/// Has a connection wait for its next request, or its first, or says how it ended.
fn park_or_report(
    worker: &Worker,
    served: Served,
    client: Option<IpAddr>,
    is_proxied: bool,
    guard: ConnectionGuard,
) {
    let limits = worker.limits();
    let (socket, is_new, limit) = match served {
        Served::Ended(ended) => return report(&ended, client, worker),
        Served::Idle(socket) => (socket, false, limits.keep_alive_timeout),
        Served::Silent(socket) => (
            socket,
            true,
            limits.header_timeout.saturating_sub(with_task(&limits)),
        ),
    };
    let idle = IdleConnection {
        socket,
        client,
        is_proxied,
        is_new,
        guard,
    };
    if let Err((_, error)) = worker.idle.park(idle, limit) {
        report(&Ended::Lost(error), client, worker);
    }
}

/// How long a new connection that says nothing has a task.
fn with_task(limits: &Limits) -> Duration {
    http1::PARK_AFTER.min(limits.header_timeout / 4)
}

/// Waits for what comes before the first request. `client` becomes whom a proxy speaks for.
async fn open(
    worker: Arc<Worker>,
    mut stream: Stream,
    client: &mut Option<IpAddr>,
    is_proxied: bool,
    place: Place,
) -> Result<Serving, Served> {
    if is_proxied {
        // Boxed: other connections have no need of it.
        let limits = worker.limits();
        let named = proxied(&mut stream, client, &place, &limits);
        if let Err(ended) = Box::pin(named).await {
            if matches!(ended, Ended::Crowded)
                && worker.current().tls.is_none()
                && let Ok(socket) = stream.unbind()
            {
                socket.refuse(NO_ROOM);
            }
            return Err(ended.into());
        }
    }
    open_stream(worker, stream, (*client, is_proxied), place).await
}

/// The same where it is known who the client is, or nobody speaks for it.
async fn open_stream(
    worker: Arc<Worker>,
    mut stream: Stream,
    (client, is_proxied): (Option<IpAddr>, bool),
    place: Place,
) -> Result<Serving, Served> {
    let limit = with_task(&worker.limits());
    let speaks = match &mut stream {
        Stream::Tcp(stream) => http1::park(stream, &place, limit, &mut false).await,
        Stream::Unix(stream) => http1::park(stream, &place, limit, &mut false).await,
    };
    if !speaks? {
        let socket = stream.unbind().map_err(Ended::Lost)?;
        return Err(Served::Silent(socket));
    }
    let (tls, rules) = worker.current().tls();
    let peer = Peer::new(client, tls.is_some()).behind_proxy(is_proxied);
    // Boxed, so that a connection without TLS does not keep its size.
    match (stream, tls) {
        (Stream::Tcp(stream), Some(tls)) => {
            let socket = queued(&worker, stream);
            Box::pin(open_tls(worker, (&tls, rules), socket, peer, place)).await
        }
        (Stream::Unix(stream), Some(tls)) => {
            Box::pin(open_tls(worker, (&tls, rules), stream, peer, place)).await
        }
        (Stream::Tcp(stream), None) => {
            let socket = queued(&worker, stream);
            open_http(worker, socket, peer, place).await
        }
        (Stream::Unix(stream), None) => open_http(worker, stream, peer, place).await,
    }
    .map_err(Served::Ended)
}

/// Takes the header off a connection that a proxy speaks for; `client`, the proxy until then, becomes whom it names. Its
/// client is the peer for all that follows: it counts as theirs, too.
async fn proxied(
    stream: &mut Stream,
    client: &mut Option<IpAddr>,
    place: &Place,
    limits: &Limits,
) -> Result<(), Ended> {
    let named = match stream {
        Stream::Tcp(socket) => proxied::client(socket, place, limits).await?,
        Stream::Unix(socket) => proxied::client(socket, place, limits).await?,
    };
    *client = named.or(*client);
    client.map_or(Ok(()), |client| place.count_as(client))
}

/// Says how a connection ended, to whom it concerns.
pub(super) fn report(ended: &Ended, client: Option<IpAddr>, worker: &Worker) {
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
                    client = client.map(tracing::field::display),
                    why,
                    held_back,
                    "a connection was closed: its listener requires a header of the PROXY protocol; have the proxy send \
                     one, or take proxy_protocol out of `listen`"
                );
            }
        }
        Ended::Crowded => {
            if let Some(held_back) = worker.crowded.turn(Instant::now()) {
                let limit = Full::Client.key();
                tracing::warn!(
                    client = client.map(tracing::field::display),
                    held_back,
                    limit,
                    "a connection was refused: {ended}; raise {limit}"
                );
            }
        }
        Ended::Handshake(_) if let Some(why) = ended.refused_certificate() => {
            refused_certificate(&why, client, worker);
        }
        ended if let (Some(limit), Some(remedy)) = (ended.limit(), ended.remedy()) => {
            closed_by_limit(ended, (limit, remedy), client, worker);
        }
        ended => tracing::debug!(
            client = client.map(tracing::field::display),
            "connection ended: {ended}"
        ),
    }
}

/// A limit has closed it, and its client is told nothing of why.
fn closed_by_limit(
    ended: &Ended,
    (limit, remedy): (Limit, &str),
    client: Option<IpAddr>,
    worker: &Worker,
) {
    let Some(held_back) = worker.limit_lines[limit as usize].turn(Instant::now()) else {
        return;
    };
    let client = client.map(tracing::field::display);
    let key = limit.name();
    if limit == Limit::Http2Resets {
        tracing::warn!(
            client,
            held_back,
            limit = key,
            remedy,
            "a connection was closed: {ended}"
        );
    } else {
        tracing::info!(
            client,
            held_back,
            limit = key,
            remedy,
            "a connection was closed: {ended}"
        );
    }
}

/// Its owner learns nothing but that there is no connection.
fn refused_certificate(why: &str, client: Option<IpAddr>, worker: &Worker) {
    let entry = Entry {
        credential: Some(Proof::Certificate.name()),
        client,
        detail: Some(why.into()),
        ..Entry::of(Event::CredentialRefused)
    };
    worker.current().gate.snapshot.audit.record(&entry);
    if let Some(held_back) = worker.refused_certificate.turn(Instant::now()) {
        let hint = if why.contains("UnsupportedCertVersion") {
            "; the certificate must be of version 3: sign it with an extension, as docs/client-certificates.md shows"
        } else {
            ""
        };
        tracing::warn!(
            client = client.map(tracing::field::display),
            held_back,
            "a client certificate was refused: {why}{hint}"
        );
    }
}

/// TLS has verified it; only nobody knows whose it is.
fn nameless_certificate(rules: Rules, client: Option<IpAddr>, worker: &Worker) {
    if let Some(held_back) = worker.nameless_certificate.turn(Instant::now()) {
        let name = rules.name();
        tracing::warn!(
            client = client.map(tracing::field::display),
            held_back,
            "a client certificate gives no identity: it has no name, or several, for tls.client_name = \"{name}\""
        );
    }
}

async fn open_tls<S: ClientSocket>(
    worker: Arc<Worker>,
    (tls, rules): (&TlsAcceptor, Option<Rules>),
    socket: S,
    peer: Peer,
    place: Place,
) -> Result<Serving, Ended> {
    let limits = worker.limits();
    let handshake = timeout(limits.handshake_timeout, tls.accept(socket));
    match place.control().unless_evicted(handshake).await? {
        Ok(Ok(mut socket)) => {
            if !http1::park(&mut socket, &place, limits.header_timeout, &mut false).await? {
                return Err(Ended::Silent);
            }
            let certificate = rules.and_then(|rules| {
                let shown = socket.get_ref().1.peer_certificates()?.first()?;
                let certified = Certified::read(shown, rules);
                if certified.is_none() {
                    nameless_certificate(rules, peer.address(), &worker);
                }
                certified
            });
            open_http(worker, socket, peer.with_certificate(certificate), place).await
        }
        Ok(Err(error)) => Err(Ended::Handshake(error)),
        Err(_) => Err(Ended::HandshakeTimeout),
    }
}

async fn open_http<S: ClientSocket>(
    worker: Arc<Worker>,
    socket: S,
    peer: Peer,
    place: Place,
) -> Result<Serving, Ended> {
    let since = tokio::time::Instant::now();
    let (socket, first, is_http2) = begin(socket, &place, &worker.limits()).await?;
    let requests = Requests::new(worker, peer, place.requests());
    Ok(if is_http2 {
        let serving = http2::serve(&requests, socket, first, place);
        Box::pin(async move { Served::Ended(serving.await) })
    } else {
        Box::pin(http1::serve(requests, socket, (first, since), place))
    })
}

/// Reads what the client says first. Whether that is HTTP/2.
async fn begin<S: ClientSocket>(
    mut socket: S,
    place: &Place,
    limits: &Limits,
) -> Result<(S, Bytes, bool), Ended> {
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
