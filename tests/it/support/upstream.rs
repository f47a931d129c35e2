//! The app behind the gate: it answers with what it saw, and does the odd things that apps do below `/_/`.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    server::{self, Answer, Frames, Server},
    websocket,
};

/// One request as the upstream saw it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The request target, byte for byte.
    pub target: String,
    /// `HTTP/1.1`
    pub version: String,
    /// Every header in order.
    pub headers: Vec<(String, String)>,
    /// How long the body was.
    pub body_length: u64,
    /// The body's beginning.
    pub body: String,
    /// What came after the body.
    pub trailers: Vec<(String, String)>,
}

impl Seen {
    /// The values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The one value of a header, where there is exactly one.
    pub fn header(&self, name: &str) -> Option<&str> {
        match self.all(name)[..] {
            [value] => Some(value),
            [] => None,
            ref several => panic!("{name} comes {} times: {several:?}", several.len()),
        }
    }
}

/// What is counted.
#[derive(Default)]
pub struct Record {
    seen: Mutex<Vec<Seen>>,
    aborted: AtomicUsize,
    sent: AtomicUsize,
}

/// A running upstream.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    /// To take it down and up.
    pub server: Server,
    record: Arc<Record>,
}

impl Upstream {
    /// Starts one.
    pub async fn start() -> Self {
        let record = Arc::new(Record::default());
        let shared = Arc::clone(&record);
        let server = Server::start(move |request| answer(Arc::clone(&shared), request)).await;
        Self {
            address: server.address,
            server,
            record,
        }
    }

    /// Every request so far, headers only for those whose body is still coming.
    pub fn seen(&self) -> Vec<Seen> {
        self.record.seen.lock().expect("no panic inside").clone()
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.seen().len()
    }

    /// How many answers were given up by whoever asked.
    pub fn aborted(&self) -> usize {
        self.record.aborted.load(Ordering::SeqCst)
    }

    /// How many bytes of `/_/big` and `/_/drip` were handed over.
    pub fn sent(&self) -> usize {
        self.record.sent.load(Ordering::SeqCst)
    }

    /// Waits until `condition` holds.
    pub async fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        for _ in 0..500 {
            if condition(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the upstream never saw: {what}");
    }
}

async fn answer(record: Arc<Record>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    let number = |name: &str| -> u64 {
        query
            .get(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or_default()
    };
    let position = note(&record, &request);
    match path.as_str() {
        "/ws" => websocket::accept(request, move || {
            record.aborted.fetch_add(1, Ordering::SeqCst);
        }),
        "/_/refuse-upgrade" => server::json(StatusCode::FORBIDDEN, &json!({"refused": true})),
        "/_/upgrade-ignored" => server::full(StatusCode::OK, "text/plain", "not a tunnel"),
        "/_/hang" => hang(&record).await,
        "/_/big" => big(&record, number("bytes")),
        "/_/drip" => big(&record, u64::MAX),
        "/_/events" => events(&record),
        "/_/stream" => stream(
            query.get("type").map(String::as_str).unwrap_or_default(),
            number("every"),
            number("length"),
        ),
        "/_/trailers" => with_trailers(),
        "/_/mirror" => mirror(request),
        "/_/headers" => odd_headers(),
        "/_/cookie" => {
            let mut answer = server::full(StatusCode::OK, "text/plain", "here");
            let cookie = "seen=1; Path=/".parse().expect("a header value");
            answer.headers_mut().insert("set-cookie", cookie);
            answer
        }
        "/_/cached" => cached(query.get("as").map(String::as_str).unwrap_or_default()),
        "/_/status" => {
            let code = u16::try_from(number("code")).expect("a status");
            let status = StatusCode::from_u16(code).expect("a status");
            server::full(status, "text/plain", format!("status {code}"))
        }
        _ => {
            if path == "/_/slow" {
                tokio::time::sleep(Duration::from_millis(number("ms"))).await;
            }
            echo(&record, position, request).await
        }
    }
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect()
}

/// Notes the request at its arrival, and says at which place.
fn note(record: &Record, request: &Request<Incoming>) -> usize {
    let seen = Seen {
        method: request.method().to_string(),
        target: request.uri().to_string(),
        version: format!("{:?}", request.version()),
        headers: pairs(request.headers()),
        body_length: 0,
        body: String::new(),
        trailers: Vec::new(),
    };
    let mut all = record.seen.lock().expect("no panic inside");
    all.push(seen);
    all.len() - 1
}

async fn echo(record: &Record, position: usize, request: Request<Incoming>) -> Answer {
    let mut body = request.into_body();
    let mut begin = Vec::new();
    let mut length = 0_u64;
    let mut trailers = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            record.aborted.fetch_add(1, Ordering::SeqCst);
            break;
        };
        match frame.into_data() {
            Ok(data) => {
                length += data.len() as u64;
                let room = 4096_usize.saturating_sub(begin.len()).min(data.len());
                begin.extend_from_slice(&data[..room]);
            }
            Err(frame) => {
                if let Ok(fields) = frame.into_trailers() {
                    trailers = pairs(&fields);
                }
            }
        }
    }
    let mut all = record.seen.lock().expect("no panic inside");
    let seen = &mut all[position];
    seen.body_length = length;
    seen.body = String::from_utf8_lossy(&begin).into_owned();
    seen.trailers = trailers;
    let text = serde_json::to_vec(seen).expect("JSON");
    server::full(StatusCode::OK, "application/json", text)
}

struct Aborted(Arc<Record>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.aborted.fetch_add(1, Ordering::SeqCst);
    }
}

async fn hang(record: &Arc<Record>) -> Answer {
    let _guard = Aborted(Arc::clone(record));
    std::future::pending().await
}

fn big(record: &Arc<Record>, bytes: u64) -> Answer {
    const CHUNK: usize = 256 * 1024;
    let (sender, body) = Frames::channel();
    let at_end = Arc::clone(record);
    let body = body.on_drop(move || {
        at_end.aborted.fetch_add(1, Ordering::SeqCst);
    });
    let record = Arc::clone(record);
    tokio::spawn(async move {
        let chunk = Bytes::from(vec![b'x'; CHUNK]);
        let mut left = bytes;
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            if sender
                .send(Frame::data(chunk.slice(..length)))
                .await
                .is_err()
            {
                return;
            }
            record.sent.fetch_add(length, Ordering::SeqCst);
            left -= length as u64;
        }
    });
    Response::new(body.boxed())
}

/// Server-sent events, ten a second, for ever.
fn events(record: &Arc<Record>) -> Answer {
    let (sender, body) = Frames::channel();
    let at_end = Arc::clone(record);
    let body = body.on_drop(move || {
        at_end.aborted.fetch_add(1, Ordering::SeqCst);
    });
    tokio::spawn(async move {
        for number in 0_u64.. {
            let event = Frame::data(Bytes::from(format!("data: {number}\n\n")));
            if sender.send(event).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    Response::builder()
        .header("content-type", "text/event-stream")
        .header("cache-control", "no-cache")
        .body(body.boxed())
        .expect("a response")
}

/// An answer of the type `kind` that goes on for ever, with a line whenever `every` milliseconds have gone by; with one alone
/// for 0. It tells a `length`, unless that is 0.
fn stream(kind: &str, every: u64, length: u64) -> Answer {
    let (sender, body) = Frames::channel();
    tokio::spawn(async move {
        loop {
            let line = Frame::data(Bytes::from("data\n"));
            if sender.send(line).await.is_err() {
                return;
            }
            match every {
                0 => std::future::pending().await,
                every => tokio::time::sleep(Duration::from_millis(every)).await,
            }
        }
    });
    let mut answer = Response::builder().header("content-type", kind);
    if length > 0 {
        answer = answer.header("content-length", length);
    }
    answer.body(body.boxed()).expect("a response")
}

fn with_trailers() -> Answer {
    let (sender, body) = Frames::channel();
    tokio::spawn(async move {
        let mut fields = HeaderMap::new();
        fields.insert("x-checksum", "abc".parse().expect("a value"));
        // The reader may have gone.
        let _ = sender.send(Frame::data(Bytes::from("hello"))).await;
        let _ = sender.send(Frame::trailers(fields)).await;
    });
    Response::builder()
        .header("trailer", "x-checksum")
        .body(body.boxed())
        .expect("a response")
}

/// Sends the request's body back while it is still coming.
fn mirror(request: Request<Incoming>) -> Answer {
    let (sender, body) = Frames::channel();
    tokio::spawn(async move {
        let mut incoming = request.into_body();
        while let Some(Ok(frame)) = incoming.frame().await {
            if sender.send(frame).await.is_err() {
                return;
            }
        }
    });
    Response::new(body.boxed())
}

/// Says of caches what it is told to; nothing of them without.
fn cached(directives: &str) -> Answer {
    let mut answer = server::full(StatusCode::OK, "text/plain", "here");
    if !directives.is_empty() {
        let directives = directives.parse().expect("a header value");
        answer.headers_mut().insert("cache-control", directives);
    }
    answer
}

/// What a careless or hostile app might answer.
fn odd_headers() -> Answer {
    Response::builder()
        .header("connection", "x-hop")
        .header("x-hop", "between two")
        .header("keep-alive", "timeout=5")
        .header("proxy-authenticate", "Basic")
        .header("x-end-to-end", "kept")
        .header("cache-control", "max-age=7")
        .header("set-cookie", "app=1; Path=/")
        .header("set-cookie", "sidegate=evil; Path=/")
        .header("set-cookie", "__Host-sidegate=evil; Path=/; Secure")
        .header("set-cookie", "sidegate_login=evil; Path=/")
        .header("set-cookie", "other=2; Path=/; HttpOnly")
        .body(http_body_util::Full::from("odd").boxed())
        .expect("a response")
}
