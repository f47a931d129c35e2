//! Turns the tree into a [`Config`], or into the list of all problems.
//!
//! Each check adds its problems to the list and continues. It returns `None` only after it has added a problem. So there is a
//! configuration exactly when the list is empty.

mod address;
mod allow;
mod app;
mod audit;
mod bearer;
mod certificate;
pub(super) mod cookie_domain;
mod endpoint;
mod forward_auth;
pub(super) mod header;
mod issuer;
mod issuer_client;
mod issuer_relation;
mod limits;
mod outbound;
mod provider;
mod provider_type;
mod rate;
mod read;
mod regex;
mod request;
mod route;
pub(super) mod secret;
mod session;
mod token;
mod token_exchange;
mod upstream;
mod users;

use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::{
    Config, credentials,
    env::Environment,
    problem::{Origin, Problem, Problems},
    schema::{Keys, Kind},
    tree::Node,
};
use crate::{
    forward::settings::{UpstreamAddress, UpstreamSettings},
    identity_headers::{HeaderSettings, HeaderSource},
    listen::{
        settings::{Listen, ListenAddress, TlsFiles},
        tls,
    },
    observe::filter::{self, Flaw, LEVELS},
    provider::settings::{ProviderSettings, Room},
    public_url::PublicUrl,
    secret::Secret,
    session::settings::StoreSettings,
    spelling,
};

/// What a check may look at besides the tree, and where it puts what it finds.
pub(super) struct Reader<'a> {
    environment: &'a Environment,
    /// Stands in for a secret that is not on this machine, where one may be missing.
    stand_in: Option<&'a Secret>,
    /// Relative paths of the file are taken from here.
    folder: &'a Path,
    /// Whether the keys alone are wanted: then each table that the operator names is there once.
    describes: bool,
    pub(super) problems: Problems,
    pub(super) warnings: Vec<String>,
    /// The files that were read, so that they can be watched.
    pub(super) files: Vec<PathBuf>,
    /// What was missing and is not checked, each a sentence.
    pub(super) absent: Vec<String>,
}

/// A table that is read: what is written in it, and what is asked of it. It is asked for every key in every run, whatever
/// stands there: so it becomes known which keys there are.
pub(super) struct Table<'n> {
    node: &'n Node,
    keys: Keys,
    /// Its name as a header shows it; empty at the top.
    place: String,
}

/// Which paths are the gate's own.
#[derive(Clone, Copy, Default)]
struct OwnPaths<'a> {
    /// Where own endpoints live, if that much is known.
    prefix: Option<&'a str>,
    root_health: bool,
}

impl<'a> OwnPaths<'a> {
    /// The own path that `path` is, or lies below.
    fn find(self, path: &str) -> Option<&'a str> {
        let below = self.prefix.filter(|prefix| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        let mut bare = ["/ping", "/ready"].into_iter();
        below.or_else(|| bare.find(|own| self.root_health && *own == path))
    }
}

/// The problem is on the list already.
struct Reported;

/// What is there for sure.
fn flat<T>(checked: &Result<Option<T>, Reported>) -> Option<&T> {
    checked.as_ref().ok()?.as_ref()
}

impl<'a> Reader<'a> {
    /// Begins with the problems found so far.
    pub(super) fn new(
        environment: &'a Environment,
        stand_in: Option<&'a Secret>,
        folder: &'a Path,
        problems: Problems,
    ) -> Self {
        Self {
            environment,
            stand_in,
            folder,
            describes: false,
            problems,
            warnings: Vec::new(),
            files: Vec::new(),
            absent: Vec::new(),
        }
    }

    /// The keys that are asked for, and what may stand at each.
    pub(super) fn describe() -> Keys {
        let environment = Environment::new();
        let mut reader = Reader {
            describes: true,
            ..Reader::new(&environment, None, Path::new(""), Problems::default())
        };
        let keys = Keys::default();
        let nothing = Node::empty_table(Origin::Nowhere);
        reader.all(&nothing, keys.clone(), &[0; 32]);
        keys
    }

    /// Checks everything. `fresh_secret` seals sessions where none is configured.
    pub(super) fn check(
        &mut self,
        root: &Node,
        keys: &Keys,
        fresh_secret: &[u8; 32],
    ) -> Option<Config> {
        keys.check(root, "", keys, &mut self.problems);
        let read = Keys::default();
        let config = self.all(root, read.clone(), fresh_secret);
        let unknown = read.beyond(keys);
        debug_assert_eq!(unknown, None, "is asked for in some runs alone");
        config
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one line for each section, and one for each field"
    )]
    fn all(&mut self, root: &Node, keys: Keys, fresh_secret: &[u8; 32]) -> Option<Config> {
        let root = &Table {
            node: root,
            keys,
            place: String::new(),
        };
        let listen = self.listen(root);
        let tls = self.tls(root);
        let admin_listen = self.admin_listen(root);
        let ext_authz_listen = self.ext_authz_listen(root);
        let public_url = self.public_url(root);
        let upstreams = self.upstreams(root);
        let trusted_proxies = self.trusted_proxies(root);
        let forwarding_headers = self.forwarding_headers(root);
        let forward_auth = self.forward_auth(root, trusted_proxies.as_deref());
        let prefix = self.read(root, "prefix", "/oauth2", prefix);
        let root_health = self.flag(root, "root_health", false);
        let redirect_hosts = self.redirect_hosts(root);
        let refuse_cross_site = self.cross_site(root);
        let workers = self.workers(root);
        let log = self.read(root, "log", "info", log_filter);
        let shutdown_grace = self.duration(root, "shutdown_grace", "30s");
        let session = self.session(root, fresh_secret);
        let state = self.state(root);
        let api_tokens = self.api_tokens(root);
        let service_tokens = self.service_tokens(root);
        let issuer = self.issuer(root);
        let own = OwnPaths {
            prefix: prefix.as_deref(),
            root_health: root_health.unwrap_or_default(),
        };
        let mut providers = self.providers(root, own);
        let users = self.users(root, providers.as_deref());
        let mut headers = self.headers(root);
        let app = self.app(root, headers.as_mut());
        let routes = self.routes(root, own);
        self.check_hosts(root, flat(&forward_auth), routes.as_deref());
        let limits = self.limits(root);
        let audit = self.audit(root);
        let proxies = self.proxies(root);
        self.check_addresses(
            root,
            listen.as_deref(),
            flat(&admin_listen),
            flat(&ext_authz_listen),
            upstreams.as_deref().unwrap_or_default(),
        );
        self.check_scheme(
            root,
            flat(&tls),
            public_url.as_ref(),
            trusted_proxies.as_deref(),
        );
        if let Some(routes) = &routes {
            let domain = session.as_ref();
            let domain = domain.and_then(|session| session.cookie_domain.as_deref());
            self.relate(
                root,
                routes,
                providers.as_mut(),
                public_url.as_ref(),
                domain,
            );
            self.check_token_exchange(root, routes, headers.as_ref(), providers.as_deref());
        }
        if let (Some(providers), Some(headers)) = (&providers, &headers) {
            self.check_names(providers, headers);
        }
        self.check_certificate_name(root, flat(&tls), providers.as_deref());
        if let (Some(session), Some(headers)) = (&session, &headers) {
            set_rooms(providers.iter_mut().flatten(), &session.store, headers);
        }
        self.check_tokens(
            root,
            (session.as_ref(), &state),
            flat(&api_tokens).is_some(),
            (providers.as_deref(), service_tokens.as_deref()),
        );
        if let Some(app) = flat(&app) {
            let public = listen.iter().flatten();
            let others: Vec<_> = public
                .map(|public| ("listen", &public.address))
                .chain(flat(&admin_listen).map(|admin| ("admin_listen", admin)))
                .chain(flat(&ext_authz_listen).map(|envoy| ("ext_authz_listen", envoy)))
                .collect();
            self.check_app(root, app, &others, providers.as_deref());
        }
        self.check_issuer(
            root,
            flat(&issuer),
            (session.as_ref(), &state),
            (routes.as_deref(), providers.as_deref()),
        );
        if let (Some(issuer), Some(headers), Some(routes)) = (flat(&issuer), &headers, &routes) {
            if let (Some(upstreams), Some(public_url)) = (&upstreams, &public_url) {
                let own = public_url.url.origin().ascii_serialization();
                self.check_audiences(root, issuer, upstreams, headers, (routes, &own));
            }
            self.warn_of_exchangeable_tokens(issuer, flat(&app).is_some(), (routes, headers));
        }
        self.warn_of_ways_around_tools(routes.as_deref().unwrap_or_default());
        if !self.problems.is_empty() {
            return None;
        }
        let config = Config {
            listen: listen?,
            tls: tls.ok()?,
            admin_listen: admin_listen.ok()?,
            ext_authz_listen: ext_authz_listen.ok()?,
            public_url: public_url?,
            upstreams: upstreams?,
            trusted_proxies: trusted_proxies?,
            forwarding_headers: forwarding_headers.ok().flatten()?,
            forward_auth: forward_auth.ok()?,
            prefix: prefix?,
            root_health: root_health?,
            redirect_hosts: redirect_hosts?,
            workers: workers?,
            log: log?,
            shutdown_grace: shutdown_grace?,
            session: session?,
            state: state.ok()?,
            api_tokens: api_tokens.ok()?,
            service_tokens: service_tokens?,
            issuer: issuer.ok()?,
            app: app.ok()?,
            users: users.ok()?,
            providers: providers?,
            headers: headers?,
            routes: routes?,
            refuse_cross_site: refuse_cross_site.ok().flatten()?,
            limits: limits?,
            audit: audit.ok()?,
            proxies: proxies?,
        };
        self.warnings.extend(credentials::warnings(&config));
        Some(config)
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.add(problem);
    }

    /// Turns a result into an option, its problem put on the list.
    fn found<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.problem(problem)).ok()
    }

    fn tls(&mut self, root: &Table<'_>) -> Result<Option<TlsFiles>, Reported> {
        let table = root.table("tls");
        let cert = table.get("cert", Kind::Text);
        let key = table.get("key", Kind::Text);
        let clients = self.client_certificates(&table);
        if root.node.get("tls").is_none() {
            return Ok(None);
        }
        let example = "tls = { cert = \"/etc/sidegate/tls.crt\", key = \"/etc/sidegate/tls.key\" }";
        let mut file = |key, node: Option<&Node>| {
            if node.is_none() {
                self.missing(&table, key, example);
            }
            self.readable_file(&table, key, node?)
        };
        let (Some(cert), Some(key)) = (file("cert", cert), file("key", key)) else {
            return Err(Reported);
        };
        let clients = clients?;
        let files = TlsFiles { cert, key, clients };
        // Where they need not be here, they are not looked at.
        let are_here = files.cert.exists() && files.key.exists();
        if let (true, Err(flaw)) = (are_here, tls::acceptor(&files)) {
            self.problem(Problem::new(&table.origin(flaw.key), flaw.what).hint(flaw.hint));
            return Err(Reported);
        }
        Ok(Some(files))
    }

    fn cross_site(&mut self, root: &Table<'_>) -> Result<Option<bool>, Reported> {
        let meanings = [("allow", false), ("refuse", true)];
        self.word(root, "cross_site", &meanings, Some("allow"), |text| {
            let message = format!("there is no cross_site \"{text}\"");
            (message, "\"refuse\" or \"allow\"")
        })
    }

    fn workers(&mut self, root: &Table<'_>) -> Option<usize> {
        let why = "from 1 to 1024; leave the key out for one per core";
        let workers = self.optional_number::<u32>(root, "workers", 1..=1024, why);
        let each_core = || std::thread::available_parallelism().map_or(1, usize::from);
        let workers = workers.ok()?;
        Some(workers.map_or_else(each_core, |workers| workers as usize))
    }

    /// Contradictions between the places to listen on and to forward to.
    fn check_addresses(
        &mut self,
        root: &Table<'_>,
        listen: Option<&[Listen]>,
        admin: Option<&ListenAddress>,
        ext_authz: Option<&ListenAddress>,
        upstreams: &[UpstreamSettings],
    ) {
        if let Some(ListenAddress::Tcp(address)) = admin
            && !address.ip().is_loopback()
        {
            self.warnings.push(
                "admin_listen is open to other machines: anybody who reaches it can see and end all sessions"
                    .to_owned(),
            );
        }
        if let Some(ListenAddress::Tcp(address)) = ext_authz
            && !address.ip().is_loopback()
        {
            self.warnings.push(
                "ext_authz_listen is open to other machines: the gate believes what anybody there says about a request, the \
                 client's address included; let nobody but Envoy reach it"
                    .to_owned(),
            );
        }
        if let (Some(admin), Some(ext_authz)) = (admin, ext_authz)
            && address::collide(admin, ext_authz)
        {
            let origin = root.origin("ext_authz_listen");
            self.problem(
                Problem::new(&origin, "`ext_authz_listen` is also `admin_listen`")
                    .hint("give it a port of its own, such as \"127.0.0.1:4182\""),
            );
        }
        let Some(listen) = listen else { return };
        if let Some(ext_authz) = ext_authz
            && listen
                .iter()
                .any(|public| address::collide(&public.address, ext_authz))
        {
            let origin = root.origin("ext_authz_listen");
            self.problem(
                Problem::new(&origin, "`ext_authz_listen` is also a public address").hint(
                    "it is only for Envoy: give it a port of its own, such as \"127.0.0.1:4182\", that nobody else reaches",
                ),
            );
        }
        if let Some(admin) = admin
            && listen
                .iter()
                .any(|public| address::collide(&public.address, admin))
        {
            let origin = root.origin("admin_listen");
            self.problem(
                Problem::new(&origin, "`admin_listen` is also a public address")
                    .hint("give it a port of its own, such as \"127.0.0.1:4181\""),
            );
        }
        for upstream in upstreams {
            let leads_here = |address: &UpstreamAddress| {
                let mut listen = listen.iter();
                listen.any(|public| address::leads_to(address, &public.address))
            };
            if upstream.addresses.iter().any(leads_here) {
                let table = root.node.get("upstreams");
                let table = table.and_then(|tables| tables.get(&upstream.name));
                let node =
                    table.map_or_else(|| root.node.get("upstream"), |table| table.get("url"));
                let origin = node.map_or(Origin::Nowhere, |node| node.origin.clone());
                self.problem(
                    Problem::new(&origin, "the upstream is the gate's own address")
                        .hint("requests would go round in circles; name the app's address"),
                );
            }
        }
    }

    /// Login names are each provider's own: `ann` of one and `ann` of another are two people.
    fn check_names(&mut self, providers: &[ProviderSettings], headers: &HeaderSettings) {
        let ambiguous = headers.name_of(&HeaderSource::User);
        let ambiguous = ambiguous.or_else(|| headers.name_of(&HeaderSource::Subject));
        if let (Some(user), [_, _, ..]) = (ambiguous, providers) {
            let instead = match headers.name_of(&HeaderSource::UserId) {
                Some(id) => format!("know people by {id}"),
                None => "know people by a header whose source is \"user_id\"".to_owned(),
            };
            self.warnings.push(format!(
                "{user} can be the same for two people of two providers: show it, and {instead}"
            ));
        }
    }

    fn check_scheme(
        &mut self,
        root: &Table<'_>,
        tls: Option<&TlsFiles>,
        public_url: Option<&PublicUrl>,
        trusted_proxies: Option<&[IpNet]>,
    ) {
        let Some(public_url) = public_url else {
            return;
        };
        if public_url.is_https() {
            let in_front = trusted_proxies.is_some_and(<[_]>::is_empty);
            if root.node.get("tls").is_none() && in_front {
                self.warnings.push(
                    "public_url begins with https, and neither tls nor trusted_proxies is set: name the proxy that ends \
                     TLS in trusted_proxies, or all its clients count as one and have its address in the log"
                        .to_owned(),
                );
            }
            return;
        }
        if tls.is_some() {
            let origin = root.origin("public_url");
            self.problem(
                Problem::new(&origin, "`tls` is set, but `public_url` begins with http")
                    .hint("browsers come over TLS, so write https://"),
            );
        } else if !address::is_loopback(public_url.url.host().as_ref()) {
            self.warnings.push(
                "public_url begins with http: sessions travel in the clear; use https outside of tests"
                    .to_owned(),
            );
        }
    }
}

/// What a session has room for hangs on where it is kept.
fn set_rooms<'a>(
    providers: impl Iterator<Item = &'a mut ProviderSettings>,
    store: &StoreSettings,
    headers: &HeaderSettings,
) {
    let room = match store {
        StoreSettings::Cookie => Room::in_cookie(headers.max_bytes),
        StoreSettings::Memory | StoreSettings::Redis(_) => Room::in_store(headers.max_bytes),
    };
    for provider in providers {
        provider.room = room;
    }
}

fn prefix(text: &str, origin: &Origin) -> Result<String, Problem> {
    let is_segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    let is_path = text
        .strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(is_segment));
    if is_path {
        return Ok(text.to_owned());
    }
    Err(
        Problem::new(origin, format!("`{text}` cannot be the prefix")).hint(
            "it begins with / and does not end with one; between the slashes stand letters, \
             digits and -._~, as in \"/oauth2\"",
        ),
    )
}

fn log_filter(text: &str, origin: &Origin) -> Result<String, Problem> {
    match filter::read(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(Flaw::Syntax(error)) => Err(Problem::new(
            origin,
            format!("`{text}` is no log filter: {error}"),
        )
        .hint("a level such as \"info\", or \"warn,sidegate=debug\"")),
        Err(Flaw::Word(word)) => {
            let hint = match spelling::nearest(&word, LEVELS) {
                Some(level) => format!("did you mean \"{level}\"?"),
                None => format!(
                    "one of {}; or pairs like \"warn,sidegate=debug\"",
                    LEVELS.join(", ")
                ),
            };
            Err(Problem::new(origin, format!("`{word}` is no log level")).hint(hint))
        }
    }
}
