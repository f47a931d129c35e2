//! The app over TLS and over a Unix socket: everything that works over TCP works there.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener},
};
use tokio_rustls::TlsAcceptor;

use crate::support::{House, raw};

const LARGE: usize = 8 * 1024 * 1024;

/// An app that answers by path, on whatever carries its bytes.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).expect("ASCII");
        let path = head.split(' ').nth(1).expect("a path");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse::<usize>().expect("a number"));
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let large = vec![b'x'; LARGE];
        let (answer, ends_rudely): (Vec<u8>, Option<bool>) = match path {
            "/large" => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
                ([head.as_bytes(), &large].concat(), None)
            }
            "/cut" => (
                b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this".into(),
                Some(true),
            ),
            "/cut-open" => (b"HTTP/1.1 200 OK\r\n\r\nonly this".into(), Some(true)),
            "/open" => (b"HTTP/1.1 200 OK\r\n\r\nall of it".into(), Some(false)),
            "/ws" => (
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
                    .into(),
                None,
            ),
            _ => {
                let text = format!("{length} bytes");
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
                (head.into_bytes(), None)
            }
        };
        if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        match ends_rudely {
            // Without a farewell, where there is such a thing.
            Some(true) => return,
            Some(false) => {
                let _ = stream.shutdown().await;
                return;
            }
            None => {}
        }
        if path == "/ws" {
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..length]).await.is_err()
                    || stream.flush().await.is_err()
                {
                    return;
                }
            }
            return;
        }
    }
}

/// An authority, and a TLS app whose certificate it signed.
struct TlsApp {
    /// The authority's own certificate, as PEM.
    ca: PathBuf,
    port: u16,
    connections: Arc<AtomicUsize>,
    _directory: TempDir,
}

impl TlsApp {
    /// Its certificate is for `names`.
    async fn start(names: &[&str]) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
            .expect("an authority");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(names)
            .and_then(|params| params.signed_by(&key, &issuer))
            .expect("a certificate");
        let directory = tempfile::tempdir().expect("a directory");
        let ca = directory.path().join("ca.pem");
        std::fs::write(&ca, issuer.pem()).expect("written");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(vec![certificate.der().clone()], key)
            })
            .expect("a configuration");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let connections = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        count.fetch_add(1, Ordering::SeqCst);
                        serve(stream).await;
                    }
                });
            }
        });
        Self {
            ca,
            port,
            connections,
            _directory: directory,
        }
    }

    /// A house before it that knows its authority.
    async fn house(&self) -> House {
        let ca = format!("upstream_ca = \"{}\"", self.ca.display());
        before(&format!("https://localhost:{}", self.port), &ca).await
    }
}

async fn before(upstream: &str, top: &str) -> House {
    let plan = House::plan()
        .upstream_at(upstream)
        .top("workers = 1")
        .top(top);
    plan.route("/**", "public").start().await
}

/// What every transport carries.
async fn expect_all(house: &House) {
    let browser = house.browser();
    assert_eq!(browser.get("/small").await.text(), "0 bytes");
    let sent = browser
        .bare(Method::POST, "/up")
        .body(vec![b'z'; 3_000_000]);
    assert_eq!(sent.send().await.text(), "3000000 bytes");
    assert_eq!(browser.get("/large").await.text().len(), LARGE);
    let ask = "GET /ws HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut stream = house.connect().await;
    stream.write_all(ask.as_bytes()).await.expect("sent");
    let answer = raw::read_until(&mut stream, "\r\n\r\n", Duration::from_secs(10)).await;
    assert_eq!(raw::status(&answer), 101, "{answer}");
    let frame = [b"\x82\x7e\x03\xe8".to_vec(), vec![b'w'; 1000]].concat();
    stream.write_all(&frame).await.expect("sent");
    let mut echo = vec![0; frame.len()];
    stream.read_exact(&mut echo).await.expect("the echo");
    assert_eq!(echo, frame);
}

#[tokio::test]
async fn an_app_is_reached_over_tls_by_its_own_authority() {
    let app = TlsApp::start(&["localhost"]).await;
    let house = app.house().await;
    expect_all(&house).await;
    // One for the tunnel, and the others kept.
    assert!(app.connections.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn an_app_is_reached_over_a_unix_socket() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).expect("a listener");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    let house = before(&format!("unix:{}", path.display()), "").await;
    expect_all(&house).await;
    let answer = get(&house, "/cut").await;
    assert!(answer.ends_with("only this"), "{answer}");
    let answer = get(&house, "/open").await;
    assert!(answer.contains("all of it"), "{answer}");
}

#[tokio::test]
async fn a_unix_socket_that_is_not_there_is_told() {
    let house = before("unix:/nowhere/app.sock", "").await;
    let reply = house.browser().get("/small").await;
    assert_eq!(reply.status, StatusCode::BAD_GATEWAY);
    let line = house.access_line("/small").await;
    let detail = line["detail"].as_str().expect("a detail");
    assert!(detail.contains("unix:/nowhere/app.sock"), "{detail}");
}

async fn get(house: &House, path: &str) -> String {
    let ask = format!("GET {path} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
    raw::exchange(house, ask.as_bytes()).await
}

/// An attacker on the way can end a connection, but not say farewell for the app (RFC 9112 §9.8).
#[tokio::test]
async fn what_is_cut_within_tls_is_not_taken_for_whole() {
    let app = TlsApp::start(&["localhost"]).await;
    let house = app.house().await;
    // In chunks to the client: the last one never comes.
    let answer = get(&house, "/open").await;
    assert!(
        answer.contains("all of it") && answer.ends_with("0\r\n\r\n"),
        "{answer}"
    );
    let answer = get(&house, "/cut-open").await;
    assert!(
        answer.contains("only this") && !answer.ends_with("0\r\n\r\n"),
        "{answer}"
    );
    let answer = get(&house, "/cut").await;
    assert!(answer.ends_with("only this"), "{answer}");
}

#[tokio::test]
async fn a_tls_app_that_cannot_be_believed_is_refused_and_the_log_says_what_to_do() {
    let app = TlsApp::start(&["other.example"]).await;
    let plain = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let plain_at = plain.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = plain.accept().await {
            tokio::spawn(async move {
                let mut stream = stream;
                let mut hello = [0; 4096];
                let _ = stream.read(&mut hello).await;
                let _ = stream
                    .write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
                    .await;
            });
        }
    });
    let known = format!("upstream_ca = \"{}\"", app.ca.display());
    let at_app = format!("https://localhost:{}", app.port);
    for (upstream, top, remedy) in [
        (
            at_app.as_str(),
            known.as_str(),
            "with a name that the app's certificate has",
        ),
        (at_app.as_str(), "", "`upstream_ca`"),
        (
            &format!("https://localhost:{}", plain_at.port()),
            "",
            "with http://",
        ),
    ] {
        let house = before(upstream, top).await;
        let reply = house.browser().get("/small").await;
        assert_eq!(reply.status, StatusCode::BAD_GATEWAY, "{remedy}");
        assert!(!reply.text().contains("certificate"));
        let line = house.access_line("/small").await;
        let detail = line["detail"].as_str().expect("a detail");
        assert!(detail.contains(remedy), "{detail}");
    }
    assert_eq!(app.connections.load(Ordering::SeqCst), 0);
}
