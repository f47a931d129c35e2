//! A certificate for `localhost`, made once per run, and a client that trusts it alone.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

struct Certificate {
    cert_pem: String,
    key_pem: String,
    roots: Arc<RootCertStore>,
}

static CERTIFICATE: LazyLock<Certificate> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
        .expect("a self-signed certificate");
    let mut roots = RootCertStore::empty();
    roots
        .add(made.cert.der().clone())
        .expect("a certificate to trust");
    Certificate {
        cert_pem: made.cert.pem(),
        key_pem: made.signing_key.serialize_pem(),
        roots: Arc::new(roots),
    }
});

/// Writes certificate and key as PEM.
pub fn write_files(directory: &Path) -> (PathBuf, PathBuf) {
    let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    std::fs::write(&cert, &CERTIFICATE.cert_pem).expect("the certificate is written");
    std::fs::write(&key, &CERTIFICATE.key_pem).expect("the key is written");
    (cert, key)
}

/// Begins TLS as `localhost`'s client that offers `protocols` (ALPN).
pub async fn client(stream: TcpStream, protocols: &[&[u8]]) -> TlsStream<TcpStream> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the default versions")
        .with_root_certificates(Arc::clone(&CERTIFICATE.roots))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap_or_else(|error| panic!("TLS does not begin: {error}"))
}
