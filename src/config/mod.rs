//! The configuration: text becomes [`Config`], and after that nothing in it can be invalid.
//!
//! [`load`](fn@load) is the only entry. It reads the file and the environment and reports every problem at once. Nothing is validated on a
//! request.
//!
//! A key is named once, where `check` reads it: `self.duration(table, "idle_timeout", "12h")`. That call makes the key known to the file,
//! the environment, reports and the JSON Schema. The key is explained in `config.example.toml`, in a block of comments that ends with its
//! environment name. The schema takes the text from there, and a test fails for a key that is not explained. `table` reads a table, `named`
//! reads tables that the operator names, and `tables` reads a list of tables. Each key must be read in every run, whatever the others
//! say: a run over an empty file collects the keys.

#[cfg(test)]
mod bearer_tests;
mod check;
pub mod credentials;
#[cfg(test)]
mod credentials_tests;
mod differing;
mod duration;
mod env;
#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod issuer_tests;
mod json_schema;
mod load;
mod manual;
#[cfg(test)]
mod manual_tests;
mod mask;
mod problem;
#[cfg(test)]
mod provider_tests;
mod report;
mod schema;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod tests;
mod tree;

use std::time::Duration;

use ipnet::IpNet;

pub use duration::parse as duration;
pub use env::Environment;
pub use json_schema::json_schema;
pub use load::{DEFAULT_FILE, Loaded, differing_keys, load, load_without_secrets};
pub use report::Report;

use crate::{
    api_token::settings::{ApiTokenSettings, ServiceToken},
    clean::client::ForwardingHeaders,
    door::Proxy,
    forward::settings::UpstreamSettings,
    identity_headers::HeaderSettings,
    issuer::settings::IssuerSettings,
    kv::settings::StateSettings,
    limits::Limits,
    listen::settings::{AppSettings, Listen, ListenAddress, TlsFiles},
    login::return_to::HostPattern,
    observe::audit::AuditSettings,
    provider::{http::Proxies, settings::ProviderSettings},
    public_url::PublicUrl,
    route::Route,
    session::settings::SessionSettings,
    users::settings::UsersSettings,
};

/// Why somebody could guess a secret that sessions are sealed with, if they could.
pub fn weakness_of_secret(secret: &str) -> Option<&'static str> {
    check::secret::weakness(secret)
}

/// Whether `headers.set` takes a name, which is in lower case.
pub fn may_set_header(name: &str) -> bool {
    !check::header::is_refused(name)
}

/// What `session.cookie_domain` takes of `text`, where a login in that domain reaches `host`.
pub fn cookie_domain(text: &str, host: &str) -> Option<String> {
    check::cookie_domain::covering(text, host)
}

/// Everything an operator can decide, checked.
#[derive(Debug)]
pub struct Config {
    /// Where the gate listens.
    pub listen: Vec<Listen>,
    /// TLS for `listen`; none where something in front ends TLS.
    pub tls: Option<TlsFiles>,
    /// Where health answers are given apart from the public port.
    pub admin_listen: Option<ListenAddress>,
    /// Where Envoy asks over gRPC.
    pub ext_authz_listen: Option<ListenAddress>,
    /// The address users type: scheme, host and port; no path.
    pub public_url: PublicUrl,
    /// The apps behind the gate; the first is the top-level `upstream`, and a route names the others by their places.
    pub upstreams: Vec<UpstreamSettings>,
    /// The peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// In which headers they tell what they saw.
    pub forwarding_headers: ForwardingHeaders,
    /// The proxy that asks at the forward-auth doors; none where it is not known.
    pub forward_auth: Option<Proxy>,
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
    pub session: SessionSettings,
    /// Where what has to be remembered beside sessions is kept; none where it is with them in Redis, or in this process.
    pub state: Option<StateSettings>,
    /// `[api_tokens]`: the tokens that people make for their programs; none where they may not.
    pub api_tokens: Option<ApiTokenSettings>,
    /// `[app]`: what the app proves itself with; none where it gets no tokens.
    pub app: Option<AppSettings>,
    /// `[users]`: names and passwords; none where nobody has one here.
    pub users: Option<UsersSettings>,
    /// `[[service_tokens]]`: machines.
    pub service_tokens: Vec<ServiceToken>,
    /// `[issuer]`: the gate as an authorization server; none where it gives no tokens.
    pub issuer: Option<IssuerSettings>,
    /// `[providers.NAME]`, in the file's order.
    pub providers: Vec<ProviderSettings>,
    /// `[headers]`
    pub headers: HeaderSettings,
    /// `[[routes]]`, in order; the first that matches wins.
    pub routes: Vec<Route>,
    /// Whether requests that other sites make browsers send, and that may change something, are refused.
    pub refuse_cross_site: bool,
    /// `[limits]`
    pub limits: Limits,
    /// `[audit]`; none where no trail is written.
    pub audit: Option<AuditSettings>,
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
