//! The CAs that the gate trusts when it connects by TLS: to providers, an `https` upstream, and Redis.

use std::{fs, io, path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore,
    client::WantsClientCert,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// HTTP/1.1 over TLS, trusting the system's certificate authorities; where it has none (an empty
/// container), Mozilla's as compiled in.
pub fn client_config() -> Arc<ClientConfig> {
    client_config_trusting(&[])
}

/// As [`client_config`], trusting `further` authorities beside those.
pub fn client_config_trusting(further: &[CertificateDer<'static>]) -> Arc<ClientConfig> {
    let mut roots = usual_roots();
    roots.add_parsable_certificates(further.iter().cloned());
    client_config_with(roots)
}

/// The system's certificate authorities, or Mozilla's.
fn usual_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// How an app is spoken to within TLS: the authorities in `ca` are trusted, or else the system's; `certificate`, a chain and its key,
/// says who the gate is, and HTTP/2 alone is offered where `http2`.
///
/// # Errors
/// When a file cannot be read, or is not what it should be.
pub fn app_config(
    ca: Option<&Path>,
    certificate: Option<(&Path, &Path)>,
    http2: bool,
) -> io::Result<Arc<ClientConfig>> {
    let roots = match ca {
        Some(file) => roots_from(file)?,
        None => usual_roots(),
    };
    let builder = trusting(roots);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let refused = |what: &dyn std::fmt::Display| {
                let text = format!("no client certificate in {}: {what}", cert.display());
                io::Error::new(io::ErrorKind::InvalidInput, text)
            };
            let chain = CertificateDer::pem_file_iter(cert)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| refused(&error))?;
            let key = PrivateKeyDer::from_pem_file(key);
            let key = key.map_err(|error| refused(&format!("the key: {error}")))?;
            let built = builder.with_client_auth_cert(chain, key);
            built.map_err(|error| refused(&error))?
        }
    };
    config.alpn_protocols = vec![if http2 {
        b"h2".to_vec()
    } else {
        HTTP1.to_vec()
    }];
    Ok(Arc::new(config))
}

const HTTP1: &[u8] = b"http/1.1";

/// The certificates of a file that names authorities, as PEM (RFC 7468). The error says what is wrong with it.
pub fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|_| "it is not PEM")?;
    if certificates.is_empty() {
        return Err("there is no certificate in it");
    }
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots
            .add(certificate.clone())
            .map_err(|_| "a certificate in it cannot be read")?;
    }
    Ok(certificates)
}

/// HTTP/1.1 over TLS, trusting `roots`.
pub fn client_config_with(roots: RootCertStore) -> Arc<ClientConfig> {
    let mut config = trusting(roots).with_no_client_auth();
    config.alpn_protocols = vec![HTTP1.to_vec()];
    Arc::new(config)
}

fn trusting(roots: RootCertStore) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports rustls' default TLS versions")
        .with_root_certificates(roots)
}

/// The certificate authorities in a PEM file (RFC 7468), and no others.
///
/// # Errors
/// When the file cannot be read, or holds no certificate that can be one of an authority.
pub fn roots_from(file: &Path) -> io::Result<RootCertStore> {
    let refused = |what: &dyn std::fmt::Display| {
        let text = format!("no certificate authority in {}: {what}", file.display());
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    let pem = fs::read(file).map_err(|error| refused(&error))?;
    let certificates = authorities(&pem).map_err(|what| refused(&what))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    Ok(roots)
}

/// The system's certificate authorities as PEM (RFC 7468), for a library that makes its own configuration; none where
/// the system has none.
pub fn system_roots_as_pem() -> Option<Vec<u8>> {
    let certificates = rustls_native_certs::load_native_certs().certs;
    let mut pem = String::new();
    for certificate in certificates {
        // Systems carry some that cannot be read; they are no reason to trust none.
        if RootCertStore::empty().add(certificate.clone()).is_err() {
            continue;
        }
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        STANDARD.encode_string(certificate, &mut pem);
        pem.push_str("\n-----END CERTIFICATE-----\n");
    }
    (!pem.is_empty()).then(|| pem.into_bytes())
}

/// Makes aws-lc the cryptography of libraries that do not ask which: there is no other in this process.
pub fn install_cryptography() {
    // Only the first call counts.
    let _ = aws_lc_rs::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_authorities_is_one_or_says_why_not() {
        let own = rcgen::generate_simple_self_signed(["app".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let pem = own.cert.pem();
        for (text, count) in [
            (pem.clone(), Some(1)),
            (pem.repeat(2), Some(2)),
            (String::new(), None),
            ("no PEM".to_owned(), None),
            (own.signing_key.serialize_pem(), None),
            (pem.replace("MII", "AAA"), None),
        ] {
            fs::write(&path, &text).unwrap();
            let roots = roots_from(&path).map(|roots| roots.len());
            match (roots, count) {
                (Ok(roots), Some(count)) => assert_eq!(roots, count),
                (Err(error), None) => assert!(error.to_string().contains("ca.pem"), "{error}"),
                (roots, _) => panic!("{roots:?} of {text}"),
            }
        }
        assert!(roots_from(&folder.path().join("nothing")).is_err());
    }
}
