//! The admin listener: health, metrics, sessions, tokens and grants, apart from the public port. Whoever reaches it may use it.

mod desk;
mod grants;
mod guard;
mod metrics;
mod reload;
mod sessions;
mod tokens;
mod write_timeout;

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::ALLOW};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use self::{desk::Desk, metrics::Exposition, sessions::Problem, write_timeout::WriteTimeout};
use crate::{
    answer::reply,
    endpoint::health,
    listen::{Listener, Stream},
    observe::Throttled,
    response::Body,
    snapshot::Snapshot,
};

/// Connections at once. A scrape takes a millisecond; more than this is no scrape.
const CONNECTIONS: usize = 64;
/// How long a connection may take to send a request's head, the idle time before it included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take to read the next piece of its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long accepting pauses when the system has no more file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// How often that is told.
const TELL: Duration = Duration::from_secs(10);

/// Serves `/ping`, `/ready`, `/metrics`, `/reload`, `/sessions`, `/tokens` and `/grants` on `listener`, until `stop`.
pub async fn serve(listener: Listener, current: Arc<ArcSwap<Snapshot>>, stop: CancellationToken) {
    tracing::info!(address = listener.place(), "admin listening");
    let exposition = Arc::new(Exposition::new(&current));
    let refusals = Throttled::new(TELL);
    let mut connections = JoinSet::new();
    let mut open = Open::default();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted.and_then(crate::listen::Accepted::into_stream) {
            Ok((stream, peer)) => {
                let service = Service {
                    peer: peer.map(|peer| peer.ip()),
                    current: Arc::clone(&current),
                    exposition: Arc::clone(&exposition),
                };
                open.add(connections.spawn(service.serve(stream)));
            }
            Err(error) => {
                if let Some(held_back) = refusals.turn(Instant::now()) {
                    tracing::warn!(
                        %error,
                        held_back,
                        "admin_listen cannot accept connections for the moment; raise the limit on open files if it was reached"
                    );
                }
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
    // Whoever asks whether the gate stops is answered until it has.
    connections.detach_all();
}

/// The open connections, the oldest first.
#[derive(Default)]
struct Open(VecDeque<AbortHandle>);

impl Open {
    /// Adds one. The oldest makes room for it where there are too many: a health check that is new gets its answer,
    /// however many others say nothing or read nothing.
    fn add(&mut self, connection: AbortHandle) {
        if self.0.len() >= CONNECTIONS {
            self.0.retain(|open| !open.is_finished());
        }
        if self.0.len() >= CONNECTIONS
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back(connection);
    }
}

/// What answers on one connection.
struct Service {
    /// Where the operator is; none at a Unix socket.
    peer: Option<IpAddr>,
    current: Arc<ArcSwap<Snapshot>>,
    exposition: Arc<Exposition>,
}

impl Service {
    async fn serve(self, stream: Stream) {
        match stream {
            Stream::Tcp(stream) => self.connection(stream, Door::Network).await,
            Stream::Unix(stream) => self.connection(stream, Door::File).await,
        }
    }

    async fn connection<S>(self, stream: S, door: Door)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let this = Arc::new(self);
        let service = service_fn(move |request| {
            let this = Arc::clone(&this);
            async move { Ok::<_, Infallible>(this.answer(&request, door).await) }
        });
        let stream = WriteTimeout::new(stream, WRITE_TIMEOUT);
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = served.await {
            tracing::debug!(%error, "admin connection ended");
        }
    }
}

/// How a request got here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Network,
    /// A Unix socket, which no browser opens.
    File,
}

impl Service {
    async fn answer(&self, request: &Request<Incoming>, door: Door) -> Response<Body> {
        let snapshot = self.current.load_full();
        let (headers, uri) = (request.headers(), request.uri());
        let path = uri.path();
        match path {
            "/ping" => return health::ping(),
            "/ready" => return health::ready_in_detail(&snapshot),
            _ => {}
        }
        let below = |place: &str| match path.strip_prefix(place) {
            Some("") => Some(None),
            Some(rest) => rest.strip_prefix('/').map(Some),
            None => None,
        };
        let (session, token, grant) = (below("/sessions"), below("/tokens"), below("/grants"));
        let is_known = session.is_some() || token.is_some() || grant.is_some();
        if !matches!(path, "/metrics" | "/reload") && !is_known {
            let text =
                "there is /ping, /ready, /metrics, /reload, /sessions, /tokens and /grants\n";
            return reply::text(StatusCode::NOT_FOUND, text);
        }
        // Scrapers ask by whatever name they have been given, and numbers are no secret worth more than that.
        let is_named = is_known && door == Door::Network;
        let refused = guard::refuse_pages(headers).and_then(|()| {
            if is_named {
                guard::refuse_names(headers)
            } else {
                Ok(())
            }
        });
        if let Err(message) = refused {
            return Problem::new(StatusCode::FORBIDDEN, "forbidden", message).answer();
        }
        let (method, query) = (request.method(), uri.query());
        if let Some(name) = session {
            return sessions::serve(method, name, query, Desk::new(&snapshot, self.peer)).await;
        }
        if let Some(name) = grant {
            return grants::serve(method, name, query, Desk::new(&snapshot, self.peer)).await;
        }
        match token {
            Some(name) => tokens::serve(method, name, query, Desk::new(&snapshot, self.peer)).await,
            None if matches!(*method, Method::GET | Method::HEAD) => {
                if path == "/reload" {
                    reload::serve(&snapshot.metrics.reloads.last())
                } else {
                    self.exposition.serve()
                }
            }
            None => {
                let mut answer = reply::text(StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD\n");
                let allow = HeaderValue::from_static("GET, HEAD");
                answer.headers_mut().insert(ALLOW, allow);
                answer
            }
        }
    }
}
