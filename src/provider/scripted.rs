//! For tests: a provider on a loopback port that says what it is told to say, and keys to sign with.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use crate::jose::TestKey;

/// What a path answers.
#[derive(Clone)]
pub(crate) enum Answer {
    /// This, at once.
    Now {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// This, after a while.
    After(Duration, Box<Self>),
    /// Nothing, ever.
    Hang,
}

impl Answer {
    pub(crate) fn json(body: &str) -> Self {
        Self::text(body).header("content-type", "application/json")
    }

    pub(crate) fn text(body: &str) -> Self {
        Self::Now {
            status: 200,
            headers: Vec::new(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn status(code: u16) -> Self {
        Self::text("").with_status(code)
    }

    pub(crate) fn with_status(mut self, code: u16) -> Self {
        if let Self::Now { status, .. } = &mut self {
            *status = code;
        }
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Now { headers, .. } = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }
}

/// A request that came.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

#[derive(Default)]
struct Script {
    answers: HashMap<String, VecDeque<Answer>>,
    seen: Vec<Seen>,
}

/// The server; it ends when dropped.
pub(crate) struct Scripted {
    origin: String,
    script: Arc<Mutex<Script>>,
    _task: AbortOnDropHandle<()>,
}

impl Scripted {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script::default()));
        let shared = script.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = shared.clone();
                let service = service_fn(move |request| serve(request, shared.clone()));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self {
            origin,
            script,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// From now on `path` answers this.
    pub(crate) fn answer(&self, path: &str, answer: Answer) {
        self.answer_in_turn(path, [answer]);
    }

    /// From now on `path` answers these, one after the other, and the last one ever after.
    pub(crate) fn answer_in_turn(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        let mut script = self.script.lock().unwrap();
        let answers = answers.into_iter().collect();
        script.answers.insert(path.to_owned(), answers);
    }

    /// Discovery and one key, as a good provider has them.
    pub(crate) fn publish(&self, keys: &[&TestKey]) {
        self.answer(
            "/.well-known/openid-configuration",
            Answer::json(&self.metadata().to_string()),
        );
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.answer("/keys", Answer::json(&json!({ "keys": keys }).to_string()));
    }

    pub(crate) fn metadata(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.origin);
        json!({
            "issuer": self.origin,
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "jwks_uri": at("/keys"),
            "userinfo_endpoint": at("/userinfo"),
            "end_session_endpoint": at("/logout"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA", "HS256", "none"],
            "authorization_response_iss_parameter_supported": true,
        })
    }

    pub(crate) fn requests(&self, path: &str) -> Vec<Seen> {
        let script = self.script.lock().unwrap();
        script
            .seen
            .iter()
            .filter(|seen| seen.path == path)
            .cloned()
            .collect()
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("{}{path}", self.origin)).unwrap()
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    pub(crate) fn authority(&self) -> &str {
        self.origin.strip_prefix("http://").unwrap()
    }
}

async fn serve(
    request: Request<Incoming>,
    script: Arc<Mutex<Script>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = head.uri.path().to_owned();
    let mut answer = {
        let mut script = script.lock().unwrap();
        script.seen.push(Seen {
            path: path.clone(),
            query: head.uri.query().map(str::to_owned),
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        });
        let answer = script.answers.get_mut(&path).and_then(|answers| {
            if answers.len() > 1 {
                answers.pop_front()
            } else {
                answers.front().cloned()
            }
        });
        answer.unwrap_or_else(|| Answer::status(404))
    };
    loop {
        match answer {
            Answer::Now {
                status,
                headers,
                body,
            } => {
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                return Ok(response.body(Full::from(body)).unwrap());
            }
            Answer::After(delay, then) => {
                tokio::time::sleep(delay).await;
                answer = *then;
            }
            Answer::Hang => std::future::pending().await,
        }
    }
}
