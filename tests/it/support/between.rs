//! What stands between the gate and a provider: a relay, TLS before it, a proxy.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// A listener that ends with its owner.
pub struct Between {
    /// Where it listens.
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Between {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Between {
    /// The heads that came, where it reads them; else an empty line for each connection.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic inside").clone()
    }

    /// Forgets those that came so far.
    pub fn forget(&self) {
        self.heads.lock().expect("no panic inside").clear();
    }

    async fn start<Serving>(
        serve: impl Fn(TcpStream, Arc<Mutex<Vec<String>>>) -> Serving + Send + 'static,
    ) -> Self
    where
        Serving: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&seen)));
            }
        });
        Self {
            address,
            heads,
            task,
        }
    }

    /// Passes every connection on to `target` that begins with one of `beginnings`, and drops the others.
    pub async fn relay(target: SocketAddr, beginnings: &'static [&'static str]) -> Self {
        Self::start(move |mut stream, heads| async move {
            let head = read_head(&mut stream).await;
            heads.lock().expect("no panic inside").push(head.clone());
            let passes = beginnings.iter().any(|start| head.starts_with(start));
            let Ok(mut onward) = TcpStream::connect(target).await else {
                return;
            };
            if passes && onward.write_all(head.as_bytes()).await.is_ok() {
                let _ = copy_bidirectional(&mut stream, &mut onward).await;
            }
        })
        .await
    }

    /// Speaks TLS as `name`, and passes what is within on to `target`. The second is the authority, as a file in
    /// `folder`.
    pub async fn tls(name: &str, target: SocketAddr, folder: &Path) -> (Self, PathBuf) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let file = folder.join("authority.pem");
        std::fs::write(&file, cert.pem()).expect("the certificate is written");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the default versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![cert.der().clone()],
                PrivateKeyDer::Pkcs8(signing_key.serialize_der().into()),
            )
            .expect("a certificate with its key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let front = Self::start(move |stream, heads| {
            let acceptor = acceptor.clone();
            async move {
                heads.lock().expect("no panic inside").push(String::new());
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                if let Ok(mut onward) = TcpStream::connect(target).await {
                    let _ = copy_bidirectional(&mut stream, &mut onward).await;
                }
            }
        });
        (front.await, file)
    }

    /// A proxy that connects to `target`, whomever it is asked for, where user and password are `credentials`.
    pub async fn proxy(target: SocketAddr, credentials: &'static str) -> Self {
        Self::start(move |mut stream, heads| async move {
            let head = read_head(&mut stream).await;
            heads.lock().expect("no panic inside").push(head.clone());
            let expected = format!("Basic {}", STANDARD.encode(credentials));
            let given = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("proxy-authorization")
                    .then_some(value)
            });
            if given != Some(expected.as_str()) {
                let refusal = b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n";
                let _ = stream.write_all(refusal).await;
                return;
            }
            let Ok(mut onward) = TcpStream::connect(target).await else {
                return;
            };
            let begun = if head.starts_with("CONNECT ") {
                stream.write_all(b"HTTP/1.1 200 Go on\r\n\r\n").await
            } else {
                // The target of an absolute-form request, as the origin server takes it.
                let (method, rest) = head.split_once(' ').expect("a request line");
                let (_, rest) = rest.split_once("://").expect("an absolute target");
                let path = rest.find('/').expect("a path");
                let request = format!("{method} {}", &rest[path..]);
                onward.write_all(request.as_bytes()).await
            };
            if begun.is_ok() {
                let _ = copy_bidirectional(&mut stream, &mut onward).await;
            }
        })
        .await
    }
}

/// What comes first, up to the empty line, and whatever came with it.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece).await {
            Ok(length) if length > 0 => head.extend_from_slice(&piece[..length]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}
