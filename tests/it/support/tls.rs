//! A certificate for `localhost`, made once per run, and a client that trusts it alone.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
};
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

/// Puts another certificate, which no client here trusts, in the place of the one in `directory`: by a moved link, as
/// Kubernetes does. Gives the certificate as clients see it.
pub fn swap_files(directory: &Path) -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let fresh = directory.join("fresh");
    std::fs::create_dir(&fresh).expect("a folder");
    for (name, text) in [
        ("key.pem", made.signing_key.serialize_pem()),
        ("cert.pem", made.cert.pem()),
    ] {
        std::fs::write(fresh.join(name), text).expect("written");
        let link = directory.join("link");
        std::os::unix::fs::symlink(fresh.join(name), &link).expect("a link");
        std::fs::rename(&link, directory.join(name)).expect("moved over");
    }
    made.cert.der().to_vec()
}

/// The certificate that a server at `stream` shows, whoever signed it.
pub async fn certificate(stream: TcpStream) -> Option<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let connected = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .ok()?;
    let (_, session) = connected.get_ref();
    Some(session.peer_certificates()?.first()?.to_vec())
}

/// Takes any certificate, to look at it.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
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

/// The same, showing a certificate where there is one to show.
pub async fn showing(
    stream: TcpStream,
    shown: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the default versions")
        .with_root_certificates(Arc::clone(&CERTIFICATE.roots));
    let config = match shown {
        Some((chain, key)) => config.with_client_auth_cert(chain, key).expect("a pair"),
        None => config.with_no_client_auth(),
    };
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}
