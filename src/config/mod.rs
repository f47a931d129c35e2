//! The configuration: text becomes [`Config`], and after that nothing in it can be invalid.
//!
//! [`load`] is the only way in. It reads the file and the environment and reports every problem at
//! once; nothing is validated on a request.

mod check;
mod duration;
mod env;
mod keys;
mod load;
mod mask;
mod raw;
mod report;
mod secret;
#[cfg(test)]
mod tests;

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use http::{HeaderName, Method, Uri};
use ipnet::IpNet;
use url::Url;

pub use env::Environment;
pub use load::{DEFAULT_FILE, Loaded, load};
pub use report::Report;
pub use secret::Secret;

use crate::route::PathPattern;

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
    /// The peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where own endpoints live: begins with `/`, does not end with one.
    pub prefix: String,
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
}

/// `[providers.NAME]`
#[derive(Debug)]
pub struct ProviderConfig {
    /// The table's name: part of the user's id and of the callback's path.
    pub name: String,
    /// What the sign-in button says.
    pub label: String,
    /// What kind of provider, with what only that kind knows.
    pub kind: ProviderKind,
    /// The client identifier (RFC 6749 §2.2).
    pub client_id: String,
    /// None for a public client.
    pub client_secret: Option<Secret>,
    /// What is asked for, `openid` included.
    pub scopes: Vec<String>,
    /// Who may pass.
    pub allow: Allow,
    /// Where the groups stand in the claims: keys joined by dots, `realm_access.roles`.
    pub groups_claim: String,
}

/// The kinds of provider.
#[derive(Debug)]
pub enum ProviderKind {
    /// Any OpenID Connect provider.
    Oidc {
        /// Exactly as the provider writes it, trailing slash included.
        issuer: String,
    },
}

/// `allow`: who of a provider's users may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// `allow = "anyone"`: whoever the provider lets sign in.
    Anyone,
    /// Whoever fits each kind of list that is given; an identity fits a list by one entry.
    Lists(AllowLists),
}

/// The lists of `allow`. An empty list is one that was not given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowLists {
    /// Verified addresses, compared without regard to ASCII case.
    pub emails: Vec<String>,
    /// Domains of verified addresses: `example.com` is that alone, `.example.com` what is below it.
    pub domains: Vec<String>,
    /// Group names, exact.
    pub groups: Vec<String>,
}

/// `[headers]`
#[derive(Debug, Default)]
pub struct HeadersConfig {
    /// What `preset` and `set` come to: each header once, its value's source beside it.
    pub identity: Vec<(HeaderName, HeaderSource)>,
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
