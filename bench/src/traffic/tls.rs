//! TLS as all setups speak it here: one certificate, and a client that knows it.

use std::{
    error::Error,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    client::Resumption,
    pki_types::{InvalidDnsNameError, ServerName},
};

use crate::{
    request::{HOST, get},
    setup::Workplace,
};

/// The files of a certificate for [`HOST`] and its key.
pub struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
    roots: RootCertStore,
}

impl Certificate {
    /// A fresh one: ECDSA with P-256, as most servers have.
    pub fn new(workplace: &Workplace) -> Result<Self, Box<dyn Error>> {
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone())?;
        let chain = workplace.write("tls.crt", &made.cert.pem())?;
        let key = workplace.write("tls.key", &made.signing_key.serialize_pem())?;
        // sidegate refuses a key that others can read.
        fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(Self { chain, key, roots })
    }

    /// A client that resumes no session, so that each connection is a whole handshake. It offers `protocols`.
    pub fn client(&self, protocols: &[&[u8]]) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder().with_root_certificates(self.roots.clone());
        let mut config = builder.with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }
}

/// The name in the certificate.
pub fn name() -> Result<ServerName<'static>, InvalidDnsNameError> {
    ServerName::try_from(HOST)
}

/// Connects `count` times, one after another, each time with a handshake, one request and a close.
pub fn connect_often(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    cookie: &str,
    count: usize,
) -> Result<(), Box<dyn Error>> {
    let request = get("/projects/7", Some(cookie));
    let mut buffer = [0; 16 * 1024];
    for _ in 0..count {
        let stream = TcpStream::connect_timeout(&address, LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let session = ClientConnection::new(Arc::clone(config), name()?)?;
        let mut stream = StreamOwned::new(session, stream);
        stream.write_all(&request)?;
        let length = stream.read(&mut buffer)?;
        if !buffer[..length].starts_with(b"HTTP/1.1 200 ") {
            return Err("a request over TLS was not answered".into());
        }
    }
    Ok(())
}

const LIMIT: Duration = Duration::from_secs(5);
