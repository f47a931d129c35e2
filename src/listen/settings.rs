//! Where the gate listens, as configured.

use std::{fmt, net::SocketAddr, path::PathBuf};

use http::HeaderName;

use crate::{certificate::ClientCertificates, secret::Secret};

/// A place to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// `0.0.0.0:4180`
    Tcp(SocketAddr),
    /// `unix:/run/sidegate.sock`
    Unix(PathBuf),
}

/// A place to listen on for what the gate serves, and what is spoken there first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The place.
    pub address: ListenAddress,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub is_proxied: bool,
}

impl fmt::Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(formatter)?;
        if self.is_proxied {
            write!(formatter, " {PROXY_PROTOCOL}")?;
        }
        Ok(())
    }
}

/// `[app]`: how the app asks for the access tokens of users.
#[derive(Clone, Debug, PartialEq)]
pub struct AppSettings {
    /// What the app and the gate share.
    pub secret: Secret,
    /// The header by which the app gets the handle of a session.
    pub header: HeaderName,
    /// Where it asks; none where it asks at a public address, over loopback.
    pub listen: Option<ListenAddress>,
}

/// What stands behind the address of a listener that requires the PROXY protocol.
pub const PROXY_PROTOCOL: &str = "proxy_protocol";

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// `tls = { cert, key, client_ca }`: PEM files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate chain, leaf first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// Whose certificates let clients in; none where they are not asked for one.
    pub clients: Option<ClientCertificates>,
}
