//! The accept loop that the demo app and the demo users share: plain HTTP/1.1 on loopback.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(super) type Body = BoxBody<Bytes, BoxError>;
pub(super) type Request = http::Request<Incoming>;
pub(super) type Response = http::Response<Body>;

/// Answers requests with `handler` until `shutdown`, then lets what runs end within [`DRAIN`].
pub(super) async fn serve<Handler, Answer>(
    listener: TcpListener,
    shutdown: CancellationToken,
    handler: Handler,
) where
    Handler: Fn(Request) -> Answer + Clone + Send + Sync + 'static,
    Answer: Future<Output = Response> + Send + 'static,
{
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, place) = accepted;
        let handler = handler.clone();
        let shutdown = shutdown.clone();
        connections.spawn(async move {
            connection(stream, shutdown, handler).await;
            drop(place);
        });
    }
    connections.close();
    // What is still open then is an endless stream; the end of the runtime closes it.
    let _ = tokio::time::timeout(DRAIN, connections.wait()).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
    loop {
        let place = Arc::clone(places)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            // Out of file descriptors, mostly: waiting is the only thing that helps.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection<Handler, Answer>(
    stream: TcpStream,
    shutdown: CancellationToken,
    handler: Handler,
) where
    Handler: Fn(Request) -> Answer,
    Answer: Future<Output = Response>,
{
    // Small frames of an echo must not wait for an acknowledgement (Nagle's algorithm).
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let answer = handler(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    // A broken connection is the peer's affair in a demo, so errors end here.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// A body that is all there.
pub(super) fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into())
        .map_err(|never| match never {})
        .boxed()
}

/// A body of nothing.
pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// Loopback needs few; the bound is there because everything has one.
const MOST_CONNECTIONS: usize = 1024;

/// How long a stop waits for what runs.
pub(super) const DRAIN: Duration = Duration::from_secs(1);
