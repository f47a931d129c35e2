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
#[cfg(test)]
mod provider_tests;
mod raw;
pub mod redis_address;
mod report;
mod secret;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod tests;
mod twice;
mod unquoted;

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use aws_lc_rs::digest;
use http::{HeaderName, Method, Uri};
use ipnet::IpNet;
use url::Url;

pub use env::Environment;
pub use load::{DEFAULT_FILE, Loaded, load, load_without_secrets};
pub use redis_address::{RedisAddress, Topology};
pub use report::Report;
pub use secret::Secret;

use crate::{provider::kind::Kind, route::PathPattern};

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

/// `[providers.NAME]`
#[derive(Debug)]
pub struct ProviderConfig {
    /// The table's name: part of the user's id and, unless set otherwise, of the callback's path.
    pub name: String,
    /// What the sign-in button says.
    pub label: String,
    /// What kind of provider.
    pub kind: &'static Kind,
    /// The kind's addresses by their keys, as configured, moved by `base_url`, or by default. `issuer` is
    /// kept exactly as the provider writes it, trailing slash included.
    pub endpoints: BTreeMap<&'static str, String>,
    /// The client identifier (RFC 6749 §2.2).
    pub client_id: String,
    /// None for a public client; two while a secret is being replaced, tried in order.
    pub client_secrets: Vec<Secret>,
    /// How the client proves itself, where the operator says so.
    pub client_authentication: Option<ClientAuthentication>,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// Further parameters of the authorization request.
    pub authorize_params: Vec<(String, String)>,
    /// The path that the provider sends browsers back to, below the public origin: `PREFIX/callback/NAME`,
    /// or what the operator has registered.
    pub callback_path: String,
    /// Where things stand in the provider's answer, where the operator says so.
    pub claims: ClaimPaths,
    /// Whether sessions are renewed at the provider while they last, where it gives a refresh token.
    pub refresh: bool,
    /// Whether the provider is asked to take tokens back at sign-out.
    pub revoke: bool,
    /// Whether the provider's word through browsers (OpenID Connect Front-Channel Logout 1.0) ends sessions here.
    pub frontchannel_logout: bool,
    /// Who may pass.
    pub allow: Allow,
    /// What somebody who may not pass reads, in the operator's words.
    pub deny_message: Option<String>,
}

impl ProviderConfig {
    /// The address of one of the kind's endpoints.
    pub fn endpoint(&self, key: &str) -> Option<&str> {
        self.endpoints.get(key).map(String::as_str)
    }

    /// Names what this table means beside its name: the kind, its addresses, the client and where the subject
    /// stands. A session that was made under another meaning is of somebody else who happens to have the
    /// same name.
    pub fn fingerprint(&self) -> [u8; 8] {
        let mut context = digest::Context::new(&digest::SHA256);
        // Where tokens are taken back says nothing of who somebody is.
        let mut endpoints = self.endpoints.clone();
        endpoints.remove("revocation_url");
        let endpoints = endpoints.iter();
        let endpoints = endpoints.flat_map(|(key, address)| [*key, address.as_str()]);
        let parts = [self.kind.name, self.client_id.as_str()];
        let subject = self.claims.subject.as_deref();
        for part in parts.into_iter().chain(endpoints).chain(subject) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let digest = context.finish();
        let first = digest.as_ref().first_chunk();
        *first.expect("SHA-256 has 32 bytes")
    }
}

#[cfg(test)]
impl ProviderConfig {
    /// An OpenID provider that anyone may use; tests change what they are about.
    pub(crate) fn for_test(name: &str, issuer: &str) -> Self {
        Self {
            name: name.to_owned(),
            label: name.to_owned(),
            kind: crate::provider::kind::find("oidc").expect("a kind"),
            endpoints: [("issuer", issuer.to_owned())].into(),
            client_id: "us".to_owned(),
            client_secrets: Vec::new(),
            client_authentication: None,
            scopes: vec!["openid".to_owned()],
            authorize_params: Vec::new(),
            callback_path: format!("/oauth2/callback/{name}"),
            claims: ClaimPaths::default(),
            allow: Allow::Anyone,
            deny_message: None,
            refresh: true,
            revoke: true,
            frontchannel_logout: false,
        }
    }
}

#[cfg(test)]
impl Allow {
    /// `allow = { KEY = [ENTRY, …], … }`
    pub(crate) fn for_test(lists: &[(&str, &[&str])]) -> Self {
        let list = |(key, entries): &(&str, &[&str])| AllowList {
            key: (*key).to_owned(),
            entries: entries.iter().map(ToString::to_string).collect(),
            ignores_case: AllowList::always_ignores_case(key),
        };
        Self::Lists(lists.iter().map(list).collect())
    }

    /// The same as a provider of `kind` has them.
    pub(crate) fn for_kind(kind: &Kind, lists: &[(&str, &[&str])]) -> Self {
        let allow = Self::for_test(lists);
        if kind.logins_ignore_case {
            allow.with_caseless("users")
        } else {
            allow
        }
    }

    /// The same, but the list `key` is compared without regard to case.
    pub(crate) fn with_caseless(mut self, key: &str) -> Self {
        if let Self::Lists(lists) = &mut self {
            for list in lists.iter_mut().filter(|list| list.key == key) {
                list.ignores_case = true;
            }
        }
        self
    }
}

/// How a client proves itself to the token endpoint (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// The `Authorization` header.
    Basic,
    /// Parameters of the body, for providers that do not decode the header as the standard says.
    Post,
}

/// `claims = { subject, user, email, email_verified, name, picture, groups }`: where these stand in the
/// provider's answer, keys and list indices joined by dots. What is not said is where the kind has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimPaths {
    /// The stable id.
    pub subject: Option<String>,
    /// The login name.
    pub user: Option<String>,
    /// The address.
    pub email: Option<String>,
    /// Whether the provider vouches for the address.
    pub email_verified: Option<String>,
    /// The full name.
    pub name: Option<String>,
    /// The picture's address.
    pub picture: Option<String>,
    /// The groups.
    pub groups: Option<String>,
}

/// `allow`: who of a provider's users may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// `allow = "anyone"`: whoever the provider lets sign in.
    Anyone,
    /// Whoever fits each list that is given; an identity fits a list by one entry. Never empty.
    Lists(Vec<AllowList>),
}

impl Allow {
    /// The lists; none where anyone may pass.
    pub fn lists(&self) -> &[AllowList] {
        match self {
            Self::Anyone => &[],
            Self::Lists(lists) => lists,
        }
    }
}

/// One list of `allow`. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowList {
    /// `emails`, `domains`, `users`, `groups`, `orgs`, …, or `claims.` and a path.
    pub key: String,
    /// What one of must fit. In lower case where the list ignores case.
    pub entries: Vec<String>,
    /// Whether names that differ by case alone are one name.
    pub ignores_case: bool,
}

impl AllowList {
    /// Whether the list of that key names what ignores case wherever it comes from. Login names are not
    /// among it: that is for each kind to say.
    fn always_ignores_case(key: &str) -> bool {
        matches!(
            key,
            "domains" | "hosted_domains" | "orgs" | "teams" | "tenants"
        )
    }
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
