//! Which addresses the demo's parts have, and what each must know of the others.

use std::{
    fmt::Write,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderName, Uri};
use url::Url;

use super::users::{PICK, PickerSettings, TOKEN, USERINFO};
use crate::{
    access::Allow,
    clean::client::ForwardingHeaders,
    config::Config,
    forward::settings::{DEFAULT_UPSTREAM, UpstreamAddress, UpstreamSettings},
    identity_headers::{HeaderSettings, HeaderSource},
    issuer::{
        client::sha256,
        settings::{ClientSettings, IssuerSettings},
    },
    limits::Limits,
    listen::settings::{Listen, ListenAddress},
    provider::{
        catalog,
        http::Proxies,
        settings::{ClaimPaths, ProviderSettings, Room},
    },
    public_url::PublicUrl,
    route::{Access, PathPattern, Resource, Route},
    secret::Secret,
    session::settings::{SessionSettings, StoreSettings},
};

/// Everything that was decided before anything serves.
pub(super) struct Plan {
    at: Addresses,
    issuer: String,
    origin: String,
    client_secret: Secret,
    session_secret: Secret,
    /// Whether clients of the Model Context Protocol log in.
    mcp: bool,
}

/// Where the demo's parts listen.
pub(super) struct Addresses {
    /// The gate.
    pub(super) gate: Vec<SocketAddr>,
    /// The app behind it.
    pub(super) app: SocketAddr,
    /// The gate that signs people in.
    pub(super) provider: SocketAddr,
    /// The users, and the page to pick one.
    pub(super) users: SocketAddr,
}

impl Plan {
    /// A plan for addresses that are known to be good; both secrets are made of the given bytes.
    pub(super) fn new(
        at: Addresses,
        client_secret: [u8; 32],
        session_secret: [u8; 32],
        mcp: bool,
    ) -> Self {
        let secret = |bytes| Secret::new(BASE64_URL_SAFE_NO_PAD.encode(bytes));
        let port = at.gate.first().map_or(FIRST_PORT, SocketAddr::port);
        Self {
            issuer: format!("http://{}", at.provider),
            origin: format!("http://localhost:{port}"),
            at,
            client_secret: secret(client_secret),
            session_secret: secret(session_secret),
            mcp,
        }
    }

    /// The page with the users.
    pub(super) fn picker(&self) -> PickerSettings {
        let callback = format!("{}/oauth2/callback/users", self.issuer);
        PickerSettings {
            client_id: CLIENT_ID,
            app_origin: self.origin.clone(),
            callback: url(&callback),
        }
    }

    /// The gate that signs people in: an authorization server, whose app is the page with the users.
    pub(super) fn provider_config(&self) -> Config {
        let page = Route {
            access: Access::Public,
            ..Route::login()
        };
        Config {
            issuer: Some(IssuerSettings {
                clients: vec![self.client()],
                ..IssuerSettings::default()
            }),
            providers: vec![self.users()],
            routes: vec![page],
            ..self.gate(
                (&[self.at.provider], &self.issuer),
                self.at.users,
                "sidegate_demo_provider",
            )
        }
    }

    /// The gate of the demo, as that server knows it.
    fn client(&self) -> ClientSettings {
        let here = |path: &str| vec![format!("{}{path}", self.origin)];
        ClientSettings {
            id: CLIENT_ID.to_owned(),
            name: "sidegate demo".to_owned(),
            secrets: vec![sha256(self.client_secret.expose().as_bytes())],
            keys: None,
            redirect_uris: here("/oauth2/callback/demo"),
            post_logout_redirect_uris: here("/oauth2/sign_out"),
            first_party: true,
            machine: None,
            device_flow: false,
            introspect: false,
            token_exchange: false,
            require_pushed_authorization_requests: false,
        }
    }

    /// The gate in front of the app.
    pub(super) fn gate_config(&self) -> Config {
        Config {
            issuer: self.mcp.then(IssuerSettings::default),
            providers: vec![self.provider()],
            headers: identity_headers(),
            routes: self.routes(),
            ..self.gate((&self.at.gate, &self.origin), self.at.app, "sidegate_demo")
        }
    }

    /// A gate that listens at these addresses, in front of `upstream`; nobody may sign in yet.
    fn gate(
        &self,
        (listen, origin): (&[SocketAddr], &str),
        upstream: SocketAddr,
        cookie_name: &str,
    ) -> Config {
        let upstream = Uri::try_from(format!("http://{upstream}"));
        Config {
            listen: listen
                .iter()
                .copied()
                .map(|address| Listen {
                    address: ListenAddress::Tcp(address),
                    is_proxied: false,
                })
                .collect(),
            tls: None,
            admin_listen: None,
            ext_authz_listen: None,
            app: None,
            public_url: PublicUrl { url: url(origin) },
            upstreams: vec![UpstreamSettings::new(
                DEFAULT_UPSTREAM,
                vec![UpstreamAddress::Network(
                    upstream.expect("a socket address is an authority"),
                )],
            )],
            trusted_proxies: Vec::new(),
            forwarding_headers: ForwardingHeaders::Either,
            forward_auth: None,
            prefix: "/oauth2".to_owned(),
            root_health: false,
            redirect_hosts: Vec::new(),
            workers: 1,
            log: "info".to_owned(),
            shutdown_grace: Duration::from_secs(2),
            session: SessionSettings {
                secrets: vec![self.session_secret.clone()],
                ephemeral: true,
                lifetime: Duration::from_hours(7 * 24),
                idle_timeout: Duration::from_hours(12),
                cookie_name: cookie_name.to_owned(),
                cookie_domain: None,
                store: StoreSettings::Cookie,
                max_sessions: 1,
                shared: None,
                provider_grace: Duration::from_hours(1),
            },
            state: None,
            api_tokens: None,
            users: None,
            service_tokens: Vec::new(),
            issuer: None,
            providers: Vec::new(),
            headers: HeaderSettings::default(),
            routes: Vec::new(),
            refuse_cross_site: false,
            audit: None,
            limits: Limits::default(),
            proxies: Proxies::default(),
        }
    }

    fn routes(&self) -> Vec<Route> {
        let route = |number: usize, path: &str| Route {
            name: format!("routes[{number}]"),
            path: Some(PathPattern::parse(path).expect("the pattern is a good one")),
            ..Route::login()
        };
        let public = Route {
            access: Access::Public,
            ..route(0, "/public/**")
        };
        let mcp = self.mcp.then(|| Route {
            resource: Some(Resource::Mcp),
            ..route(1, "/mcp/**")
        });
        [public].into_iter().chain(mcp).collect()
    }

    /// The gate that signs people in, as the gate in front of the app knows it.
    fn provider(&self) -> ProviderSettings {
        ProviderSettings {
            name: "demo".to_owned(),
            label: "Demo provider".to_owned(),
            kind: &catalog::OIDC,
            endpoints: [("issuer", self.issuer.clone())].into(),
            internal_url: None,
            insecure_http: false,
            authorities: Vec::new(),
            client_id: CLIENT_ID.to_owned(),
            client_secrets: vec![self.client_secret.clone()],
            client_authentication: None,
            scopes: ["openid", "profile", "email", "groups"]
                .map(str::to_owned)
                .to_vec(),
            authorize_params: Vec::new(),
            callback_path: "/oauth2/callback/demo".to_owned(),
            claims: ClaimPaths::default(),
            userinfo: true,
            claims_from_access_token: false,
            room: Room::default(),
            allow: Allow::Anyone,
            route_lists: Vec::new(),
            deny_message: None,
            login: true,
            bearer: None,
            refresh: true,
            revoke: true,
            frontchannel_logout: false,
        }
    }

    /// The users, as the gate that signs people in knows them.
    fn users(&self) -> ProviderSettings {
        let users = format!("http://{}", self.at.users);
        let claim = |name: &str| Some(name.to_owned());
        ProviderSettings {
            name: "users".to_owned(),
            label: "Demo users".to_owned(),
            kind: &catalog::OAUTH2,
            endpoints: [
                ("authorize_url", format!("{}{PICK}", self.issuer)),
                ("token_url", format!("{users}{TOKEN}")),
                ("userinfo_url", format!("{users}{USERINFO}")),
            ]
            .into(),
            scopes: Vec::new(),
            callback_path: "/oauth2/callback/users".to_owned(),
            claims: ClaimPaths {
                subject: claim("sub"),
                user: claim("preferred_username"),
                email: claim("email"),
                email_verified: claim("email_verified"),
                name: claim("name"),
                picture: None,
                groups: claim("groups"),
            },
            userinfo: false,
            refresh: false,
            revoke: false,
            ..self.provider()
        }
    }

    /// What somebody who just typed the command needs to read.
    pub(super) fn banner(&self) -> String {
        let Self {
            at, origin, issuer, ..
        } = self;
        let app = at.app;
        let hosts: Vec<_> = at
            .gate
            .iter()
            .map(|address| address.ip().to_string())
            .collect();
        let hosts = hosts.join(", ");
        let mcp = if self.mcp {
            format!(
                "   Add the app's MCP server to a client, which then logs in by itself
     claude mcp add --transport http demo {origin}/mcp
     codex mcp add demo --url {origin}/mcp
     VS Code: code --add-mcp '{{\"name\":\"demo\",\"url\":\"{origin}/mcp\"}}'
   and have it call the tool whoami.

"
            )
        } else {
            String::new()
        };
        let mut banner = String::new();
        let _ = write!(
            banner,
            "
  ==============================================================================
   sidegate DEMO: for looking around, never for use.
   It listens on loopback alone ({hosts}); nothing leaves this machine.
  ==============================================================================

   Open   {origin}

   Sign in as Ada or Grace, two made-up users. No file, account or network needed.

   Try
     - pick Ada: the app greets her by name and shows the headers it got
     - {origin}/public/  passes without a login
     - curl -i {origin}/headers  a program gets 401, not a login page
     - sign out, and come back as Grace

{mcp}   sidegate  {origin}
   app       http://{app}  (what it protects)
   provider  {issuer}  (who signs people in)

   Ctrl-C stops it, and everything is forgotten.
"
        );
        banner
    }
}

/// The preset `sidegate`.
fn identity_headers() -> HeaderSettings {
    let identity = [
        ("x-user", HeaderSource::User),
        ("x-user-id", HeaderSource::UserId),
        ("x-user-email", HeaderSource::Email),
        ("x-user-name", HeaderSource::Name),
        ("x-user-groups", HeaderSource::Groups),
        ("x-user-provider", HeaderSource::Provider),
        ("x-user-auth", HeaderSource::Credential),
        ("x-user-scopes", HeaderSource::Scopes),
        ("x-user-client", HeaderSource::Client),
        ("x-user-assertion", HeaderSource::Assertion),
    ];
    HeaderSettings {
        identity: identity
            .map(|(name, source)| (HeaderName::from_static(name), source))
            .to_vec(),
        ..HeaderSettings::default()
    }
}

/// Where the gate is to listen: on 127.0.0.1, and on `::1` where that exists, because `localhost` is
/// both and browsers try the latter first. The port must be free on both.
pub(super) fn gate_addresses(port: Option<u16>) -> io::Result<Vec<SocketAddr>> {
    if let Some(port) = port {
        return free_addresses(port).map_err(|error| {
            io::Error::new(error.kind(), format!("port {port} cannot be used: {error}"))
        });
    }
    let mut last = None;
    for port in FIRST_PORT..FIRST_PORT + PORTS_TRIED {
        match free_addresses(port) {
            Ok(addresses) => return Ok(addresses),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

/// A free port of 127.0.0.1.
pub(super) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn url(text: &str) -> Url {
    Url::parse(text).expect("a host of this machine and a port make a URL")
}

fn free_addresses(port: u16) -> io::Result<Vec<SocketAddr>> {
    let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let mut addresses = vec![v4.local_addr()?];
    match TcpListener::bind((Ipv6Addr::LOCALHOST, addresses[0].port())) {
        Ok(v6) => addresses.push(v6.local_addr()?),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        // A machine without IPv6.
        Err(_) => {}
    }
    Ok(addresses)
}

const CLIENT_ID: &str = "sidegate-demo";

const FIRST_PORT: u16 = 4180;

const PORTS_TRIED: u16 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_refused_when_named_and_passed_over_when_not() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = gate_addresses(Some(port)).unwrap_err();
        assert!(error.to_string().contains(&port.to_string()));
        let free = gate_addresses(None).unwrap();
        assert!(free.iter().all(|address| address.ip().is_loopback()));
        assert!(free.iter().all(|address| address.port() == free[0].port()));
    }

    #[test]
    fn gate_and_provider_agree() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let addresses = Addresses {
            gate: vec![at(4180)],
            app: at(1),
            provider: at(2),
            users: at(3),
        };
        let plan = Plan::new(addresses, [1; 32], [2; 32], true);
        let (theirs, ours) = (plan.client(), plan.provider());
        assert_eq!(ours.endpoints["issuer"], "http://127.0.0.1:2");
        assert_eq!(theirs.id, ours.client_id);
        let secret = &ours.client_secrets[0];
        assert_eq!(theirs.secrets, [sha256(secret.expose().as_bytes())]);
        assert_eq!(plan.picker().callback.path(), plan.users().callback_path,);
        assert!(
            plan.banner()
                .contains("--transport http demo http://localhost:4180/mcp")
        );
        assert!(!plan.banner().contains(secret.expose()));
    }
}
