use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use rustls::RootCertStore;

use std::io;

use super::*;
use crate::provider::scripted::{Answer, Scripted};

fn quick(roots: RootCertStore) -> HttpClient {
    let limits = Limits {
        connect: Duration::from_millis(300),
        total: Duration::from_millis(600),
        body: 1000,
    };
    HttpClient::with(trust::client_config_with(roots), limits)
}

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

async fn fetch(address: &str) -> Result<serde_json::Value, HttpError> {
    quick(RootCertStore::empty())
        .fetch_json(&url(address), None)
        .await
}

#[tokio::test]
async fn sends_its_own_headers_and_the_token() {
    let server = Scripted::start().await;
    server.answer("/who", Answer::json(r#"{"a":1}"#));
    let client = quick(RootCertStore::empty());
    let document = client
        .fetch_json(&server.url("/who?x=1"), Some("tok"))
        .await;
    assert_eq!(document.unwrap()["a"], 1);
    let seen = server.requests("/who").remove(0);
    assert_eq!(seen.headers["user-agent"], AGENT);
    assert_eq!(seen.headers["accept"], "application/json");
    assert_eq!(seen.headers["authorization"], "Bearer tok");
    assert_eq!(seen.headers["host"], server.authority());
    assert_eq!(seen.query.as_deref(), Some("x=1"));
}

#[tokio::test]
async fn tells_failures_apart() {
    let server = Scripted::start().await;
    server.answer("/moved", Answer::status(302).header("location", "/ok"));
    server.answer("/ok", Answer::json("{}"));
    server.answer("/text", Answer::text("hello"));
    server.answer("/large", Answer::json(&format!("\"{}\"", "x".repeat(1000))));
    server.answer("/hangs", Answer::Hang);
    let at = |path: &str| server.url(path).to_string();
    let status = |code| HttpError::Status(StatusCode::from_u16(code).unwrap());
    assert_eq!(fetch(&at("/moved")).await, Err(status(302)));
    assert!(server.requests("/ok").is_empty());
    assert_eq!(fetch(&at("/none")).await, Err(status(404)));
    assert_eq!(fetch(&at("/text")).await, Err(HttpError::NotJson));
    assert_eq!(
        fetch(&at("/large")).await,
        Err(HttpError::TooLarge { limit: 1000 })
    );
    assert_eq!(fetch(&at("/hangs")).await, Err(HttpError::Timeout));
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", closed.local_addr().unwrap());
    drop(closed);
    assert!(matches!(
        fetch(&address).await,
        Err(HttpError::Connect {
            kind: io::ErrorKind::ConnectionRefused,
            ..
        })
    ));
    assert_eq!(
        fetch("http://example.com/").await,
        Err(HttpError::ForbiddenUrl)
    );
}

#[tokio::test]
async fn a_silent_tls_peer_is_a_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}/", listener.local_addr().unwrap());
    assert_eq!(fetch(&address).await, Err(HttpError::ConnectTimeout));
}

#[tokio::test]
async fn tls_is_verified() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            PrivateKeyDer::Pkcs8(signing_key.serialize_der().into()),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            if let Ok(mut tls) = acceptor.accept(tcp).await {
                let mut head = [0; 1024];
                let _ = tls.read(&mut head).await.unwrap();
                tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ntrue")
                    .await
                    .unwrap();
            }
        }
    });
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let trusting = quick(roots);
    let named = url(&format!("https://localhost:{port}/"));
    assert_eq!(trusting.fetch_json(&named, None).await.unwrap(), true);
    let misnamed = url(&format!("https://127.0.0.1:{port}/"));
    let refused = |result| matches!(result, Err(HttpError::Tls { .. }));
    assert!(refused(trusting.fetch_json(&misnamed, None).await));
    let distrusting = HttpClient::for_test();
    assert!(refused(distrusting.fetch_json(&named, None).await));
    server.abort();
}

#[tokio::test]
async fn a_large_head_is_read_and_a_larger_one_is_told() {
    let server = Scripted::start().await;
    let fields = |count, length| {
        let value = "x".repeat(length);
        (0..count).fold(Answer::json("{}"), |answer, _| {
            answer.header("x-many", &value)
        })
    };
    for (answer, fits) in [
        (fields(200, 10), true),
        (fields(1, 100_000), true),
        (fields(300, 10), false),
        (fields(1, 200_000), false),
    ] {
        server.answer("/", answer);
        let fetched = fetch(server.url("/").as_str()).await;
        if fits {
            assert!(fetched.is_ok(), "{fetched:?}");
        } else {
            assert_eq!(fetched, Err(HttpError::HeadTooLarge));
        }
    }
}
