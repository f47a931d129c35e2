//! Serves a listener apart from the public ones: few connections, small requests, HTTP/1.1 without TLS.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::IpAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Accepted, Listener, Stream, unread_body, write_timeout::WriteTimeout};
use crate::{observe::Throttled, response::Body};

/// What answers on such a listener.
pub trait SideService: Send + Sync + 'static {
    /// The key of the configuration that names the listener.
    const KEY: &'static str;

    /// Answers a request of `peer`; none at a Unix socket.
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: Option<IpAddr>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// How such a listener ends.
#[derive(Clone)]
pub struct SideEnd {
    /// Nothing is accepted any more.
    pub stop: CancellationToken,
    /// The configuration does not name it any more. This comes before [`stop`](Self::stop).
    pub removal: CancellationToken,
}

/// Serves on `listener`, until the stop, `most` connections at once: the oldest makes room for one more. Connections that are
/// open then are answered until the process ends. If the listener is removed, they end with it: those with an answer under way
/// when that is sent, the others at once.
pub async fn serve<S: SideService>(listener: Listener, most: usize, service: S, end: SideEnd) {
    let SideEnd { stop, removal } = end;
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
                let removal = removal.clone();
                let served = async move {
                    match stream {
                        Stream::Tcp(stream) => connection(service, stream, peer, removal).await,
                        Stream::Unix(stream) => connection(service, stream, None, removal).await,
                    }
                };
                open.add(connections.spawn(served), most);
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

async fn connection<S, T>(
    service: Arc<S>,
    stream: T,
    peer: Option<IpAddr>,
    removal: CancellationToken,
) where
    S: SideService,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let is_used = Arc::new(AtomicBool::new(false));
    let uses = Arc::clone(&is_used);
    let service = service_fn(move |request: Request<Incoming>| {
        uses.store(true, Ordering::Relaxed);
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
    let mut served = pin!(served);
    let ended = tokio::select! {
        // What has come by then is under way.
        biased;
        ended = served.as_mut() => ended,
        () = removal.cancelled() => {
            // hyper takes one without any request for busy.
            if !is_used.load(Ordering::Relaxed) {
                return;
            }
            served.as_mut().graceful_shutdown();
            match timeout(CLOSE_GRACE, served).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to {} ended", S::KEY);
    }
}

/// How long a connection may take to send a request's head, the idle time before it included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take to read the next piece of its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take to end once its listener is removed.
const CLOSE_GRACE: Duration = Duration::from_secs(10);
/// How long accepting pauses when the system has no more file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// How often that is told.
const TELL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
        sync::Notify,
    };

    use super::*;
    use crate::{answer::reply, listen::settings::ListenAddress};

    /// Thinks about an answer until it is told to give it.
    #[derive(Clone, Default)]
    struct Slow {
        asked: Arc<Notify>,
        given: Arc<Notify>,
    }

    impl SideService for Slow {
        const KEY: &'static str = "test";

        async fn answer(&self, _: Request<Incoming>, _: Option<IpAddr>) -> Response<Body> {
            self.asked.notify_one();
            self.given.notified().await;
            reply::text(StatusCode::OK, "fine")
        }
    }

    /// What a client gets whose question is thought about when the listener ends, and whether its connection is open after that.
    async fn asked_at_the_end(is_removed: bool) -> (String, bool) {
        let listener = Listener::bind(&ListenAddress::Tcp(([127, 0, 0, 1], 0).into())).unwrap();
        let address = listener.place();
        let end = SideEnd {
            stop: CancellationToken::new(),
            removal: CancellationToken::new(),
        };
        let slow = Slow::default();
        let serving = tokio::spawn(serve(listener, 4, slow.clone(), end.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        let ask = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        client.write_all(ask).await.unwrap();
        slow.asked.notified().await;
        if is_removed {
            end.removal.cancel();
        }
        end.stop.cancel();
        serving.await.unwrap();
        slow.given.notify_one();
        let mut answer = Vec::new();
        while !answer.ends_with(b"fine") {
            client.read_buf(&mut answer).await.unwrap();
        }
        client.write_all(ask).await.unwrap();
        slow.given.notify_one();
        let is_open = client.read(&mut [0; 64]).await.is_ok_and(|read| read > 0);
        (String::from_utf8(answer).unwrap(), is_open)
    }

    #[tokio::test]
    async fn an_answer_under_way_outlasts_its_listener() {
        let (answer, is_open) = asked_at_the_end(true).await;
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(!is_open);
    }

    /// Whoever asks whether the gate stops is answered until it has.
    #[tokio::test]
    async fn at_a_stop_connections_go_on() {
        let (answer, is_open) = asked_at_the_end(false).await;
        assert!(!answer.contains("connection:"), "{answer}");
        assert!(is_open);
    }
}
