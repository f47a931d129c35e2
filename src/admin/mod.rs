//! The admin listener: health, metrics, and everybody's sessions, apart from the public port. Whoever reaches it may
//! use it.

mod guard;
mod metrics;
mod sessions;

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, Response, StatusCode, header::ALLOW};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use self::sessions::Problem;
use crate::{
    answer::reply,
    body::Body,
    endpoint::health,
    gate::Gate,
    listen::{Listener, Stream},
};

/// Health checks at once. A scrape takes a millisecond; more than this is no scrape.
const CONNECTIONS: usize = 64;
/// How long a connection may take to send a request's head, the idle time before it included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves `/ping`, `/ready`, `/metrics` and `/sessions` on `listener`, until `stop`.
pub async fn serve(listener: Listener, gate: Arc<Gate>, stop: CancellationToken) {
    tracing::info!(address = listener.place(), "admin listening");
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted.and_then(crate::listen::Accepted::into_stream) else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let gate = Arc::clone(&gate);
        tokio::spawn(async move {
            match stream {
                Stream::Tcp(stream) => connection(stream, Door::Network, gate).await,
                Stream::Unix(stream) => connection(stream, Door::File, gate).await,
            }
            drop(place);
        });
    }
}

/// How a request got here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Network,
    /// A Unix socket, which no browser opens.
    File,
}

async fn connection<S>(stream: S, door: Door, gate: Arc<Gate>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let gate = Arc::clone(&gate);
        async move { Ok::<_, Infallible>(answer(&request, door, &gate).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "admin connection ended");
    }
}

async fn answer(request: &Request<Incoming>, door: Door, gate: &Gate) -> Response<Body> {
    let (headers, uri) = (request.headers(), request.uri());
    let path = uri.path();
    match path {
        "/ping" => return health::ping(),
        "/ready" => return health::ready_in_detail(gate),
        _ => {}
    }
    let name = match path.strip_prefix("/sessions") {
        Some("") => Some(None),
        Some(rest) => rest.strip_prefix('/').map(Some),
        None => None,
    };
    if path != "/metrics" && name.is_none() {
        let text = "there is /ping, /ready, /metrics and /sessions\n";
        return reply::text(StatusCode::NOT_FOUND, text);
    }
    // Scrapers ask by whatever name they have been given, and numbers are no secret worth more than that.
    let is_named = name.is_some() && door == Door::Network;
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
    match name {
        Some(name) => sessions::serve(request.method(), name, uri.query(), gate).await,
        None if matches!(*request.method(), Method::GET | Method::HEAD) => metrics::serve(gate),
        None => {
            let mut answer = reply::text(StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD\n");
            let allow = HeaderValue::from_static("GET, HEAD");
            answer.headers_mut().insert(ALLOW, allow);
            answer
        }
    }
}
