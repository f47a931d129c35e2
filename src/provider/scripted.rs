//! For tests: a provider on a loopback port that says what it is told to say, and keys to sign with.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

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
    answers: HashMap<String, Answer>,
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
        let mut script = self.script.lock().unwrap();
        script.answers.insert(path.to_owned(), answer);
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
        let answer = script.answers.get(&path).cloned();
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

/// A signing key with an id.
pub(crate) struct TestKey {
    pub(crate) kid: &'static str,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl TestKey {
    pub(crate) fn rsa(kid: &'static str) -> Self {
        let pair = Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
        Self { kid, pair }
    }

    pub(crate) fn ec(kid: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let pair = Pair::Ec(pair);
        Self { kid, pair }
    }

    pub(crate) fn ed(kid: &'static str) -> Self {
        let pair = Pair::Ed(Ed25519KeyPair::generate().unwrap());
        Self { kid, pair }
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::Ec(_) => "ES256",
            Pair::Ed(_) => "EdDSA",
        }
    }

    pub(crate) fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                json!({
                    "kty": "RSA",
                    "n": text(public.modulus().big_endian_without_leading_zero()),
                    "e": text(public.exponent().big_endian_without_leading_zero()),
                })
            }
            Pair::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..]) })
            }
            Pair::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()) })
            }
        };
        jwk["kid"] = self.kid.into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// A token with the usual header.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.algorithm(), "kid": self.kid, "typ": "JWT" });
        self.sign_with(&header, claims)
    }

    /// A token with this header, truthfully signed whatever the header says.
    pub(crate) fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &random,
                    message.as_bytes(),
                    &mut signature,
                )
                .unwrap();
                signature
            }
            Pair::Ec(pair) => {
                let signature = pair.sign(&random, message.as_bytes()).unwrap();
                signature.as_ref().to_vec()
            }
            Pair::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
