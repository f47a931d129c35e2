//! The configuration: text becomes [`Config`], and after that nothing in it can be invalid.
//!
//! [`load`] is the only way in. It reads the file and the environment and reports every problem at
//! once; nothing is validated on a request.

mod check;
mod duration;
mod env;
#[cfg(test)]
mod file_tests;
mod keys;
mod load;
#[cfg(test)]
mod manual_tests;
mod mask;
mod provider;
#[cfg(test)]
mod provider_tests;
mod raw;
pub mod redis_address;
mod report;
mod secret;
#[cfg(test)]
mod session_tests;
mod spelling;
#[cfg(test)]
mod tests;
mod twice;
mod unquoted;

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use http::{HeaderName, Method, Uri};
use ipnet::IpNet;
use url::Url;

pub use env::Environment;
pub use load::{DEFAULT_FILE, Loaded, load, load_without_secrets};
pub use provider::{Allow, AllowList, ClaimPaths, ClientAuthentication, ProviderConfig, Room};
pub use redis_address::{RedisAddress, Topology};
pub use report::Report;
pub use secret::Secret;

use crate::{limits::Limits, provider::http::Proxies, route::PathPattern};

/// Everything an operator can decide, checked.
#[derive(Debug)]
pub struct Config {
    /// Where the gate listens.
    pub listen: Vec<ListenAddress>,
    /// TLS for `listen`; none where something in front ends TLS.
    pub tls: Option<TlsFiles>,
    /// Where health answers are given apart from the public port.
    pub admin_listen: Option<ListenAddress>,
    /// The address users type: scheme, host and port; no path.
    pub public_url: PublicUrl,
    /// The app behind the gate.
    pub upstream: UpstreamAddress,
    /// How long the upstream may take to begin its answer.
    pub upstream_timeout: Duration,
    /// The authorities that sign the certificate of an `https` upstream; the system's where there is none.
    pub upstream_ca: Option<PathBuf>,
    /// Whether a connection to the upstream may serve more than one request.
    pub upstream_reuse: bool,
    /// The peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where own endpoints live: begins with `/`, does not end with one.
    pub prefix: String,
    /// Whether `/ping` and `/ready` are the gate's on the public port, beside those below the prefix.
    pub root_health: bool,
    /// Hosts beside the public one that a return address may name.
    pub redirect_hosts: Vec<HostPattern>,
    /// Threads that serve requests.
    pub workers: usize,
    /// A `tracing` filter.
    pub log: String,
    /// How long a stop waits for what runs.
    pub shutdown_grace: Duration,
    /// `[session]`
    pub session: SessionConfig,
    /// `[providers.NAME]`, in the file's order.
    pub providers: Vec<ProviderConfig>,
    /// `[headers]`
    pub headers: HeadersConfig,
    /// `[[routes]]`, in order; the first that matches wins.
    pub routes: Vec<RouteConfig>,
    /// `[limits]`
    pub limits: Limits,
    /// The proxies that calls to providers go through: `proxy_url`, or what the environment says.
    pub proxies: Proxies,
}

impl Config {
    /// The gate's name: its replicas have the same public address and the same cookie, and no other gate has both. What is
    /// sealed, or kept in Redis, is for gates of one name.
    pub fn gate_name(&self) -> String {
        // No space stands in either.
        format!(
            "{} {}",
            self.public_url.authority(),
            self.session.cookie_name
        )
    }
}

/// A place to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// `0.0.0.0:4180`
    Tcp(SocketAddr),
    /// `unix:/run/sidegate.sock`
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// `tls = { cert, key }`: PEM files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate chain, leaf first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The origin users see (RFC 6454): redirect URIs, cookies and return addresses hang on it, never on
/// a request's `Host`.
#[derive(Clone, Debug)]
pub struct PublicUrl {
    /// `https` or `http`, host, port; the path is `/`.
    pub url: Url,
}

impl PublicUrl {
    /// Whether browsers reach the gate over TLS.
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Host, and port where it is not the scheme's default.
    pub fn authority(&self) -> &str {
        self.url.authority()
    }
}

/// Where the app listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// `http://HOST:PORT` or `https://HOST:PORT`; no path.
    Network(Uri),
    /// `unix:/run/app.sock`, spoken to in plain HTTP/1.1.
    Unix(PathBuf),
}

/// One entry of `redirect_hosts`, lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// `app.example.com` or `app.example.com:8443`: this authority.
    Exact(String),
    /// `.example.com`, dot included: any host below it, with the scheme's default port.
    Subdomains(String),
}

/// `[session]`
#[derive(Debug)]
pub struct SessionConfig {
    /// The first seals, all open. Never empty.
    pub secrets: Vec<Secret>,
    /// The secret was made at start, so that sessions end with the process.
    pub ephemeral: bool,
    /// From login to the absolute end.
    pub lifetime: Duration,
    /// From the last request to the idle end.
    pub idle_timeout: Duration,
    /// The session cookie's name, without prefix; two gates on one host need two names.
    pub cookie_name: String,
    /// Where sessions are kept.
    pub store: StoreConfig,
    /// How many sessions the store "memory" holds; beyond, those that were not used for longest end.
    pub max_sessions: u64,
    /// Through which Redis replicas share what they must where the store is the cookie.
    pub shared: Option<RedisAddress>,
    /// How long a session outlives its access token while the provider cannot be asked.
    pub provider_grace: Duration,
}

/// `session.store`
#[derive(Debug)]
pub enum StoreConfig {
    /// In the browser's cookie, sealed.
    Cookie,
    /// In this process.
    Memory,
    /// In Redis.
    Redis(RedisAddress),
}

/// `[headers]`
#[derive(Debug)]
pub struct HeadersConfig {
    /// What `preset` and `set` come to: each header once, its value's source beside it.
    pub identity: Vec<(HeaderName, HeaderSource)>,
    /// The longest value of any of them, in bytes as it is sent.
    pub max_bytes: usize,
}

impl Default for HeadersConfig {
    /// No headers. What fits into one header: most servers take 8 KiB for a line.
    fn default() -> Self {
        Self {
            identity: Vec::new(),
            max_bytes: 8_192,
        }
    }
}

impl HeadersConfig {
    /// Every name that these headers write: their own, and those that say what is missing from them.
    pub fn names(&self) -> Vec<HeaderName> {
        let own = self.identity.iter().map(|(name, _)| name.clone());
        let counts = self
            .identity
            .iter()
            .filter_map(|(name, _)| missing_name(name));
        own.chain(counts).collect()
    }
}

/// The header that says how much is missing from the header `name`: `X-User-Groups-Missing`.
pub fn missing_name(name: &HeaderName) -> Option<HeaderName> {
    HeaderName::from_bytes(format!("{name}-missing").as_bytes()).ok()
}

/// Where a header's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderSource {
    /// The name an app shows: login, else email, else subject.
    User,
    /// `PROVIDER:SUBJECT`
    UserId,
    /// The address, only when verified.
    Email,
    /// The full name.
    Name,
    /// Joined by commas; commas inside escaped.
    Groups,
    /// The provider's name in the configuration.
    Provider,
    /// The picture's address.
    Picture,
    /// `claims.a.b.0`: keys and indices below the claims, as written without `claims.`.
    Claim(String),
    /// The access token.
    AccessToken,
    /// The ID token as the provider signed it.
    IdToken,
}

/// `[[routes]]`
#[derive(Debug)]
pub struct RouteConfig {
    /// Which paths.
    pub path: PathPattern,
    /// Which methods; all when empty. GET includes HEAD.
    pub methods: Vec<Method>,
    /// What is asked of a visitor.
    pub access: Access,
}

/// What a route asks of a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing. Who is signed in is not told either.
    Public,
    /// A session.
    Login,
    /// Nobody passes.
    Deny,
}
