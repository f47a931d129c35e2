//! The addresses of apps and how to speak with them, as configured.

use std::{fmt, path::PathBuf, time::Duration};

use http::{HeaderValue, Uri};

/// Where an app listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// `http://HOST:PORT` or `https://HOST:PORT`; no path.
    Network(Uri),
    /// `unix:/run/app.sock`, spoken to without TLS.
    Unix(PathBuf),
}

impl UpstreamAddress {
    /// Whether it is reached over TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Network(uri) if uri.scheme_str() == Some("https"))
    }
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(uri) => formatter.write_str(uri.to_string().trim_end_matches('/')),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// The name of the top-level `upstream` in metrics and logs.
pub const DEFAULT_UPSTREAM: &str = "default";

/// One app: the top-level `upstream`, or `[upstreams.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// What operators call it.
    pub name: String,
    /// What it calls itself in what is signed for it (`aud`).
    pub audience: String,
    /// Where it is; one or more.
    pub addresses: Vec<UpstreamAddress>,
    /// How long a connection may take to be made, TLS included.
    pub connect_timeout: Duration,
    /// How long it may take to begin its answer.
    pub head_timeout: Duration,
    /// How long it may be silent within an answer; `limits.response_body_timeout` where there is none.
    pub idle_timeout: Option<Duration>,
    /// The authorities that sign its certificate; the system's where there is none.
    pub ca: Option<PathBuf>,
    /// The name that its certificate has; its address's where there is none.
    pub server_name: Option<String>,
    /// Who the gate is to it: a certificate and its key.
    pub client_certificate: Option<ClientCertificate>,
    /// What `Host` says.
    pub host: HostRule,
    /// What its paths do not begin with, though the gate's do.
    pub strip_prefix: Option<String>,
    /// The longest body of a request, in bytes.
    pub max_body: Option<u64>,
    /// Whether a connection may serve more than one request.
    pub reuse: bool,
    /// Whether HTTP/2 is spoken with it, with prior knowledge or chosen within TLS.
    pub http2: bool,
    /// How it is asked whether it is well.
    pub health: Option<HealthSettings>,
}

impl UpstreamSettings {
    /// An app with everything else as it is where nothing is said of it.
    pub fn new(name: &str, addresses: Vec<UpstreamAddress>) -> Self {
        Self {
            name: name.to_owned(),
            audience: name.to_owned(),
            addresses,
            connect_timeout: CONNECT_TIMEOUT,
            head_timeout: HEAD_TIMEOUT,
            idle_timeout: None,
            ca: None,
            server_name: None,
            client_certificate: None,
            host: HostRule::Pass,
            strip_prefix: None,
            max_body: None,
            reuse: true,
            http2: false,
            health: None,
        }
    }

    /// Its addresses, for people.
    pub fn written_addresses(&self) -> String {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        addresses.join(", ")
    }

    /// Whether it hangs on files, which may hold something else by now.
    pub fn has_files(&self) -> bool {
        self.ca.is_some() || self.client_certificate.is_some()
    }
}

/// How long a connection to an app may take, TLS included, unless `connect_timeout` says otherwise.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an app may take to begin its answer, unless `upstream_timeout` or its `head_timeout` says otherwise.
pub const HEAD_TIMEOUT: Duration = Duration::from_mins(1);
/// How often an app with `health` is probed, unless `interval` says otherwise.
pub const HEALTH_INTERVAL: Duration = Duration::from_secs(10);

/// A certificate that the gate shows to an app (RFC 8446 §4.4.2), and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain, its own first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// What `Host` (HTTP/2: `:authority`) says to an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRule {
    /// What the client asked for.
    Pass,
    /// This name, whatever the client asked for.
    Name(HeaderValue),
}

/// `health`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// What is asked for, with GET: path, and perhaps a query.
    pub path: String,
    /// How often.
    pub interval: Duration,
}
