//! One connection: TLS where it is ours, HTTP/1.1 or HTTP/2, until it ends.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Version;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{Request, Response, body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{flat::Flat, socket::Stream, worker::Worker};
use crate::{
    body::{Body, BodyError},
    clean::Peer,
    deadline::{Busy, Wait},
    forward::{ClientConnection, Downstream},
    timer::TimerHome,
};

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take to send a request's head, the idle time before it included. Longer than
/// the minute that load balancers keep idle connections, so that theirs, not ours, ends first.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// A request's head in bytes. Its lines are left at hyper's own limit (100): any limit that is set makes it
/// allocate room for so many, twice, on each request.
const MAX_HEAD_BYTES: u16 = u16::MAX;
/// HTTP/2: streams at once on one connection, and bytes in flight of one stream and of all.
const MAX_STREAMS: u32 = 256;
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// How HTTP is spoken; the same for every connection.
pub fn protocol() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // The head's timeout is the worker's: see `until_silent`.
    builder.http1().max_buf_size(MAX_HEAD_BYTES.into());
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES.into())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    builder
}

/// Serves one connection to its end.
pub async fn serve(worker: Arc<Worker>, stream: Stream, address: Option<std::net::SocketAddr>) {
    let address = address.map(|address| address.ip());
    match (stream, worker.tls.clone()) {
        // Boxed, so that a connection without TLS does not keep its size.
        (Stream::Tcp(stream), Some(tls)) => {
            Box::pin(serve_tls(worker, &tls, stream, address)).await;
        }
        (Stream::Unix(stream), Some(tls)) => {
            Box::pin(serve_tls(worker, &tls, stream, address)).await;
        }
        (Stream::Tcp(stream), None) => serve_http(worker, stream, address, false).await,
        (Stream::Unix(stream), None) => serve_http(worker, stream, address, false).await,
    }
}

async fn serve_tls<S>(
    worker: Arc<Worker>,
    tls: &TlsAcceptor,
    stream: S,
    address: Option<std::net::IpAddr>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => serve_http(worker, stream, address, true).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake took too long"),
    }
}

async fn serve_http<S>(worker: Arc<Worker>, stream: S, address: Option<std::net::IpAddr>, tls: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let wait = worker.deadlines.wait(HEAD_TIMEOUT).await;
    let service = Requests {
        worker: Arc::clone(&worker),
        peer: Peer::new(address, tls),
        wait: Arc::clone(&wait),
        timers: Arc::default(),
        client: Arc::default(),
        is_http2: OnceLock::new(),
    };
    let connection = worker
        .protocol
        .serve_connection_with_upgrades(TokioIo::new(Flat(stream)), service);
    let watched = worker
        .drain
        .watch(connection, auto::UpgradeableConnection::graceful_shutdown);
    match until_silent(watched, &wait).await {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "connection ended"),
        None => tracing::debug!("connection without a request for too long"),
    }
}

/// Drives a connection to its end, or ends it where the head of a request does not come in time.
async fn until_silent<C: Future>(connection: C, wait: &Wait) -> Option<C::Output> {
    let mut connection = std::pin::pin!(connection);
    std::future::poll_fn(|context| match connection.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if wait.is_over() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// The gate as hyper calls it.
struct Requests {
    worker: Arc<Worker>,
    peer: Peer,
    wait: Arc<Wait>,
    timers: Arc<TimerHome>,
    client: Arc<ClientConnection>,
    /// Set by the first request over HTTP/2, whose connections rest as long as they answer pings.
    is_http2: OnceLock<Busy>,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

    /// The future lives in a box of its own, so that an idle connection does not keep its size.
    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let busy = if request.version() == Version::HTTP_2 {
            self.is_http2.get_or_init(|| self.wait.busy());
            None
        } else {
            Some(self.wait.busy())
        };
        let worker = Arc::clone(&self.worker);
        let begun = worker.gate.begin(request, &self.peer, &worker.ids);
        let timer = self.timers.take();
        let downstream = if busy.is_some() {
            Downstream::http1(timer, Arc::clone(&self.client))
        } else {
            Downstream::http2(timer)
        };
        Box::pin(async move {
            let response = worker
                .gate
                .finish(begun, &worker.forwarder, downstream)
                .await;
            Ok(response.map(|body| Answer { body, _busy: busy }))
        })
    }
}

/// An answer's body; until it is gone, its connection does not rest.
struct Answer {
    body: Body,
    _busy: Option<Busy>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
