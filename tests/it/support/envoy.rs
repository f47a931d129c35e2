//! Envoy's side of `ext_authz` over gRPC: it asks, and changes the request as it is told.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Either, Full};
use hyper::{body::Frame, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use sidegate::ext_authz::message::{
    Address, AttributeContext, CheckRequest, CheckResponse, HeaderMap, HeaderValue,
    HeaderValueOption, HttpRequest, HttpResponse, Peer, Request as Attributes, SocketAddress,
};

use super::Stream;

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// A request that Envoy holds back.
#[derive(Clone, Debug)]
pub struct Held {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The authority.
    pub host: String,
    /// `https` or `http`.
    pub scheme: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The client's address.
    pub source: String,
    /// What Envoy's route says beside.
    pub extensions: Vec<(String, String)>,
}

impl Held {
    /// A request over http from loopback.
    pub fn new(method: &str, host: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            host: host.to_owned(),
            scheme: "http".to_owned(),
            headers: Vec::new(),
            source: "127.0.0.1".to_owned(),
            extensions: Vec::new(),
        }
    }

    /// With a further header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn message(&self) -> CheckRequest {
        let line = |(key, value): &(String, String)| HeaderValue {
            key: key.clone(),
            value: String::new(),
            raw_value: value.clone().into_bytes(),
        };
        CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(Peer {
                    address: Some(Address {
                        socket_address: Some(SocketAddress {
                            address: self.source.clone(),
                        }),
                    }),
                }),
                request: Some(Attributes {
                    http: Some(HttpRequest {
                        method: self.method.clone(),
                        path: self.path.clone(),
                        host: self.host.clone(),
                        scheme: self.scheme.clone(),
                        header_map: Some(HeaderMap {
                            headers: self.headers.iter().map(line).collect(),
                        }),
                        ..HttpRequest::default()
                    }),
                }),
                context_extensions: self.extensions.iter().cloned().collect(),
            }),
        }
    }
}

/// What Envoy is told to do.
#[derive(Debug)]
pub enum Told {
    /// The app gets these headers; the browser these beside.
    Pass {
        /// The request's headers once they are changed.
        app: Vec<(String, String)>,
        /// Added to the answer.
        browser: Vec<(String, String)>,
    },
    /// The client gets this.
    Refuse {
        /// The status.
        status: u16,
        /// The headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// The call failed with this status of gRPC.
    Failed(String),
}

impl Told {
    /// The value of a header of what the app, or the refused client, gets; empty without.
    pub fn header(&self, name: &str) -> &str {
        let lines = match self {
            Self::Pass { app, .. } => app,
            Self::Refuse { headers, .. } => headers,
            Self::Failed(code) => panic!("status {code}"),
        };
        let mut found = lines.iter().filter(|(key, _)| key == name);
        let value = found.next().map_or("", |(_, value)| value);
        assert!(found.next().is_none(), "{name} comes twice: {lines:?}");
        value
    }

    /// 200 for a yes, else the refusal's.
    pub fn status(&self) -> u16 {
        match self {
            Self::Pass { .. } => 200,
            Self::Refuse { status, .. } => *status,
            Self::Failed(code) => panic!("status {code}"),
        }
    }
}

/// A connection to `ext_authz_listen`.
pub struct Envoy(SendRequest<Body>);

/// A call's body: a message, or one that never comes to its end.
type Body = Either<Full<Bytes>, Pending>;

/// Says nothing, for ever.
pub struct Pending;

impl http_body::Body for Pending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

impl Envoy {
    /// Connects by TCP.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(super::connect(address, false).await).await
    }

    /// Speaks HTTP/2 over `stream`.
    pub async fn over(stream: Stream) -> Self {
        let handshake =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.expect("an HTTP/2 connection");
        tokio::spawn(connection);
        Self(sender)
    }

    /// Asks about a request.
    pub async fn ask(&mut self, held: &Held) -> Told {
        match self
            .call(CHECK, &framed(&held.message().encode_to_vec()))
            .await
        {
            Ok(answer) => told(held, answer),
            Err(code) => Told::Failed(code),
        }
    }

    /// Begins a question and does not end it; the status of gRPC.
    pub async fn begin(&mut self) -> String {
        self.send(CHECK, Either::Right(Pending))
            .await
            .expect_err("what has no end has no answer")
    }

    /// Calls a method with a body; the status where it fails.
    pub async fn call(&mut self, method: &str, body: &[u8]) -> Result<CheckResponse, String> {
        let body = Full::new(Bytes::copy_from_slice(body));
        self.send(method, Either::Left(body)).await
    }

    async fn send(&mut self, method: &str, body: Body) -> Result<CheckResponse, String> {
        let request = Request::post(format!("http://sidegate{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(body)
            .expect("a request");
        let response = self.0.send_request(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/grpc");
        let early = response.headers().get("grpc-status").cloned();
        let whole = response.into_body().collect().await.expect("all of it");
        let late = whole.trailers().and_then(|map| map.get("grpc-status"));
        let status = early.as_ref().or(late).expect("a status");
        if status != "0" {
            return Err(status.to_str().expect("a number").to_owned());
        }
        let bytes = whole.to_bytes();
        let (prefix, message) = bytes.split_at(5);
        let length = u32::try_from(message.len()).expect("short");
        assert_eq!(prefix, [&[0], &length.to_be_bytes()[..]].concat());
        Ok(CheckResponse::decode(message).expect("an answer's message"))
    }
}

/// A message as a call has it.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short");
    [&[0], &length.to_be_bytes()[..], message].concat()
}

/// What comes of an answer: Envoy sets, then removes.
fn told(held: &Held, answer: CheckResponse) -> Told {
    let is_ok = answer.status.expect("a status").code == 0;
    let line = |option: HeaderValueOption| {
        let header = option.header.expect("a header");
        (header.key, header.value)
    };
    match answer.http_response.expect("what to do") {
        HttpResponse::Ok(ok) => {
            assert!(is_ok);
            let mut app = held.headers.clone();
            for (name, value) in ok.headers.into_iter().map(line) {
                app.retain(|(key, _)| *key != name);
                app.push((name, value));
            }
            app.retain(|(key, _)| !ok.headers_to_remove.contains(key));
            Told::Pass {
                app,
                browser: ok.response_headers_to_add.into_iter().map(line).collect(),
            }
        }
        HttpResponse::Denied(denied) => {
            assert!(!is_ok);
            let status = denied.status.expect("a status").code;
            Told::Refuse {
                status: u16::try_from(status).expect("a status of HTTP"),
                headers: denied.headers.into_iter().map(line).collect(),
                body: denied.body,
            }
        }
    }
}
