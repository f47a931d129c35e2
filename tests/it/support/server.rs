//! An HTTP/1.1 server that a test can take down and bring up again on the same address.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    body::{Body, Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};

use super::ports;

/// What a handler answers.
pub type Answer = Response<BoxBody<Bytes, Infallible>>;

type Handler =
    Arc<dyn Fn(Request<Incoming>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// A server on the test's own runtime.
pub struct Server {
    /// Where it listens, or would.
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    handler: Handler,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Serves `handler` on a free address.
    pub async fn start<Answering>(
        handler: impl Fn(Request<Incoming>) -> Answering + Send + Sync + 'static,
    ) -> Self
    where
        Answering: Future<Output = Answer> + Send + 'static,
    {
        let server = Self::prepare(handler);
        server.up().await;
        server
    }

    /// As [`Server::start`], but nothing listens yet.
    pub fn prepare<Answering>(
        handler: impl Fn(Request<Incoming>) -> Answering + Send + Sync + 'static,
    ) -> Self
    where
        Answering: Future<Output = Answer> + Send + 'static,
    {
        Self {
            address: ports::free_address(),
            connections: Arc::default(),
            handler: Arc::new(move |request| Box::pin(handler(request))),
            task: Mutex::default(),
        }
    }

    /// Listens.
    pub async fn up(&self) {
        let listener = TcpListener::bind(self.address)
            .await
            .expect("the address is the test's own");
        let handler = Arc::clone(&self.handler);
        let connections = Arc::clone(&self.connections);
        let task = tokio::spawn(accept(listener, handler, connections));
        self.replace(Some(task));
    }

    /// Refuses connections from now on and breaks those that are open.
    pub fn down(&self) {
        self.replace(None);
    }

    /// Breaks the connections that are open, and goes on listening.
    pub async fn restart(&self) {
        let old = self.task.lock().expect("no panic inside").take();
        if let Some(old) = old {
            old.abort();
            // Its socket is closed by then.
            let _ = old.await;
        }
        self.up().await;
    }

    fn replace(&self, task: Option<JoinHandle<()>>) {
        let old = std::mem::replace(&mut *self.task.lock().expect("no panic inside"), task);
        if let Some(old) = old {
            old.abort();
        }
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, handler: Handler, connections: Arc<AtomicUsize>) {
    let mut open = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        // A test counts on small writes leaving at once.
        let _ = stream.set_nodelay(true);
        connections.fetch_add(1, Ordering::SeqCst);
        let handler = Arc::clone(&handler);
        open.spawn(async move {
            let service = service_fn(move |request| {
                let answer = handler(request);
                async move {
                    let answer = answer.await;
                    match answer.extensions().get::<BreaksOff>() {
                        Some(BreaksOff) => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
                        None => Ok(answer),
                    }
                }
            });
            // Tests break connections on purpose.
            let _ = hyper::server::conn::http1::Builder::new()
                .max_headers(1000)
                .half_close(false)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

/// A whole body.
pub fn full(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Answer {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(Full::new(body.into()).boxed())
        .expect("a response")
}

/// A JSON body.
pub fn json(status: StatusCode, value: &Value) -> Answer {
    full(status, "application/json", value.to_string())
}

/// No answer: the connection ends.
pub fn break_off() -> Answer {
    let mut answer = full(StatusCode::OK, "text/plain", "");
    answer.extensions_mut().insert(BreaksOff);
    answer
}

#[derive(Clone, Copy)]
struct BreaksOff;

/// A redirect.
pub fn redirect(location: &str) -> Answer {
    let mut answer = full(StatusCode::FOUND, "text/plain", "");
    let location = location.parse().expect("a header value");
    answer.headers_mut().insert("location", location);
    answer
}

/// A body that is sent frame by frame, one waiting at most.
pub struct Frames {
    receiver: mpsc::Receiver<Frame<Bytes>>,
    on_drop: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Frames {
    /// The sending side, and the body.
    pub fn channel() -> (mpsc::Sender<Frame<Bytes>>, Self) {
        let (sender, receiver) = mpsc::channel(1);
        let body = Self {
            receiver,
            on_drop: None,
        };
        (sender, body)
    }

    /// Calls `notice` when the body is given up or done.
    pub fn on_drop(mut self, notice: impl FnOnce() + Send + Sync + 'static) -> Self {
        self.on_drop = Some(Box::new(notice));
        self
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        if let Some(notice) = self.on_drop.take() {
            notice();
        }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.receiver.poll_recv(context).map(|frame| frame.map(Ok))
    }
}
