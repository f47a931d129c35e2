//! The admin listener: health answers apart from the public port.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use crate::{
    body::Body,
    endpoint::health,
    gate::Gate,
    listen::{Listener, Stream},
};

/// Health checks at once. A scrape takes a millisecond; more than this is no scrape.
const CONNECTIONS: usize = 64;
/// How long a connection may take to send a request's head, the idle time before it included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves `/ping` and `/ready` on `listener`, until `stop`.
pub async fn serve(listener: Listener, gate: Arc<Gate>, stop: CancellationToken) {
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
                Stream::Tcp(stream) => connection(stream, gate).await,
                Stream::Unix(stream) => connection(stream, gate).await,
            }
            drop(place);
        });
    }
}

async fn connection<S>(stream: S, gate: Arc<Gate>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = answer(&request, &gate);
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "admin connection ended");
    }
}

fn answer(request: &Request<Incoming>, gate: &Gate) -> Response<Body> {
    match request.uri().path() {
        "/ping" => health::ping(),
        "/ready" => health::ready(gate),
        _ => {
            let mut response = Response::new(Body::from("there is /ping and /ready\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}
