//! Serves a listener apart from the public ones: few connections, small requests, HTTP/1.1 without TLS.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Request, Response};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{Accepted, Listener, Stream, unread_body, write_timeout::WriteTimeout};
use crate::{observe::Throttled, response::Body};

/// What answers on such a listener.
pub trait SideService: Send + Sync + 'static {
    /// The key of the configuration that names the listener.
    const KEY: &'static str;
    /// Connections at once. The oldest makes room for one more.
    const CONNECTIONS: usize;

    /// Answers a request of `peer`; none at a Unix socket.
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: Option<IpAddr>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Serves on `listener`, until `stop`. Connections that are open then are answered until the process ends.
pub async fn serve<S: SideService>(listener: Listener, service: S, stop: CancellationToken) {
    let service = Arc::new(service);
    let refusals = Throttled::new(TELL);
    let mut connections = JoinSet::new();
    let mut open = Open::default();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted.and_then(Accepted::into_stream) {
            Ok((stream, peer)) => {
                let service = Arc::clone(&service);
                let peer = peer.map(|peer| peer.ip());
                let served = async move {
                    match stream {
                        Stream::Tcp(stream) => connection(service, stream, peer).await,
                        Stream::Unix(stream) => connection(service, stream, None).await,
                    }
                };
                open.add(connections.spawn(served), S::CONNECTIONS);
            }
            Err(error) => {
                if let Some(held_back) = refusals.turn(Instant::now()) {
                    tracing::warn!(
                        %error,
                        held_back,
                        "{} cannot accept connections for the moment; raise the limit on open files if it was reached",
                        S::KEY
                    );
                }
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
    connections.detach_all();
}

/// The open connections, the oldest first.
#[derive(Default)]
struct Open(VecDeque<AbortHandle>);

impl Open {
    /// Adds one. The oldest makes room for it where there are too many: whoever is new gets an answer, however many others
    /// say nothing or read nothing.
    fn add(&mut self, connection: AbortHandle, most: usize) {
        if self.0.len() >= most {
            self.0.retain(|open| !open.is_finished());
        }
        if self.0.len() >= most
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back(connection);
    }
}

async fn connection<S, T>(service: Arc<S>, stream: T, peer: Option<IpAddr>)
where
    S: SideService,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let service = Arc::clone(&service);
        async move {
            let has_body = !request.body().is_end_stream();
            let answer = service.answer(request, peer).await;
            if has_body {
                unread_body::settle().await;
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let stream = WriteTimeout::new(stream, WRITE_TIMEOUT);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection to {} ended", S::KEY);
    }
}

/// How long a connection may take to send a request's head, the idle time before it included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take to read the next piece of its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long accepting pauses when the system has no more file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// How often that is told.
const TELL: Duration = Duration::from_secs(10);
