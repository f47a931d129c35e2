//! TLS on the listener.

use std::{fmt::Display, io, path::Path, sync::Arc};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        Error, RootCertStore, ServerConfig,
        crypto::{CryptoProvider, aws_lc_rs},
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject},
        },
        server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    },
};

use crate::{certificate::ClientCertificates, listen::settings::TlsFiles};

/// Why TLS cannot be spoken with these files.
#[derive(Debug)]
pub struct Flaw {
    /// The key of `tls` whose file it is.
    pub key: &'static str,
    /// What is wrong, and where.
    pub what: String,
    /// What to do.
    pub hint: &'static str,
}

/// Reads certificate and key.
///
/// # Errors
/// When one of them cannot be read, or they do not belong together.
pub fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, Flaw> {
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| Flaw::of_certificate(&files.cert, &error))?;
    if chain.is_empty() {
        return Err(Flaw::of_certificate(&files.cert, &pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| Flaw::of_key(&files.key, &error))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = match &files.clients {
        Some(clients) => verifier(clients, &provider)?,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_client_cert_verifier(verifier)
                .with_single_cert(chain, key)
        });
    let mut config = config.map_err(|error| match error {
        Error::InconsistentKeys(_) => Flaw {
            key: "key",
            what: format!(
                "the key in {} does not belong to the certificate in {}",
                files.key.display(),
                files.cert.display()
            ),
            hint: "take both from the same issuance; where there is a chain, the server's own certificate comes first",
        },
        error => Flaw::of_certificate(&files.cert, &error),
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Who has no certificate may still come with something else; who has one that is not verified gets no connection.
fn verifier(
    clients: &ClientCertificates,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Flaw> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&clients.authorities) {
        let authority = authority.map_err(|error| Flaw::of_authority(&error))?;
        roots
            .add(authority)
            .map_err(|error| Flaw::of_authority(&error))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let verifier = builder.allow_unauthenticated().build();
    verifier.map_err(|error| Flaw::of_authority(&error))
}

impl Flaw {
    fn of_authority(error: &dyn Display) -> Self {
        Self {
            key: "client_ca",
            what: format!("no certificate authority in the file: {error}"),
            hint: "it is PEM, one or more certificates of authorities",
        }
    }

    fn of_certificate(path: &Path, error: &dyn Display) -> Self {
        Self {
            key: "cert",
            what: format!("no certificate in {}: {error}", path.display()),
            hint: "it is PEM, and begins with -----BEGIN CERTIFICATE-----",
        }
    }

    fn of_key(path: &Path, error: &dyn Display) -> Self {
        Self {
            key: "key",
            what: format!("no private key in {}: {error}", path.display()),
            hint: "it is PEM without a password, and begins with -----BEGIN PRIVATE KEY-----, or RSA or EC before PRIVATE",
        }
    }
}

impl From<Flaw> for io::Error {
    fn from(flaw: Flaw) -> Self {
        Self::other(flaw.what)
    }
}
