//! The tree becomes a [`Config`], or problems: all of them.
//!
//! Each check adds what it finds to the list and goes on; it gives `None` only after it has added a
//! problem. So a configuration comes out exactly when the list is empty.

mod address;
mod allow;
mod endpoint;
mod header;
mod limits;
mod outbound;
mod provider;
mod read;
mod regex;
mod request;
mod route;
mod secret;
mod session;

use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::{
    Config,
    env::Environment,
    keys,
    raw::{Node, Origin},
    report::{Problem, Problems},
};
use crate::{
    forward::settings::UpstreamAddress,
    identity_headers::{HeaderSettings, HeaderSource},
    listen::{
        settings::{ListenAddress, TlsFiles},
        tls,
    },
    observe::filter::{self, Flaw, LEVELS},
    provider::settings::{ProviderSettings, Room},
    public_url::PublicUrl,
    secret::Secret,
    session::settings::StoreSettings,
    spelling, trust,
};

/// What a check may look at besides the tree, and where it puts what it finds.
pub(super) struct Checker<'a> {
    environment: &'a Environment,
    /// Stands in for a secret that is not on this machine, where one may be missing.
    stand_in: Option<&'a Secret>,
    /// Relative paths of the file are taken from here.
    folder: &'a Path,
    pub(super) problems: Problems,
    pub(super) warnings: Vec<String>,
    /// What was missing and is not checked, each a sentence.
    pub(super) absent: Vec<String>,
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

impl<'a> Checker<'a> {
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
            problems,
            warnings: Vec::new(),
            absent: Vec::new(),
        }
    }

    /// Checks everything. `fresh_secret` seals sessions where none is configured.
    pub(super) fn check(&mut self, root: &Node, fresh_secret: &[u8; 32]) -> Option<Config> {
        keys::check(root, &mut self.problems);
        let listen = self.listen(root);
        let tls = self.tls(root);
        let admin_listen = self.admin_listen(root);
        let public_url = self.public_url(root);
        let upstream = self.upstream(root);
        let upstream_timeout = self.duration(root, "upstream_timeout", "60s");
        let upstream_ca = self.upstream_ca(root, upstream.as_ref());
        let upstream_reuse = self.flag(root, "upstream_reuse", true);
        let trusted_proxies = self.trusted_proxies(root);
        let prefix = self.prefix(root);
        let root_health = self.flag(root, "root_health", false);
        let redirect_hosts = self.redirect_hosts(root);
        let workers = self.workers(root);
        let log = self.log(root);
        let shutdown_grace = self.duration(root, "shutdown_grace", "30s");
        let session = self.session(root, fresh_secret);
        let own = OwnPaths {
            prefix: prefix.as_deref(),
            root_health: root_health.unwrap_or_default(),
        };
        let mut providers = self.providers(root, own);
        let headers = self.headers(root);
        let routes = self.routes(root, own);
        let limits = self.limits(root);
        let proxies = self.proxies(root);
        self.check_addresses(
            root,
            listen.as_deref(),
            flat(&admin_listen),
            upstream.as_ref(),
        );
        self.check_scheme(
            root,
            flat(&tls),
            public_url.as_ref(),
            trusted_proxies.as_deref(),
        );
        if let (Some(providers), Some(headers)) = (&providers, &headers) {
            self.check_names(providers, headers);
        }
        if let (Some(session), Some(headers)) = (&session, &headers) {
            for provider in providers.iter_mut().flatten() {
                provider.room = match session.store {
                    StoreSettings::Cookie => Room::in_cookie(headers.max_bytes),
                    StoreSettings::Memory | StoreSettings::Redis(_) => {
                        Room::in_store(headers.max_bytes)
                    }
                };
            }
        }
        if !self.problems.is_empty() {
            return None;
        }
        Some(Config {
            listen: listen?,
            tls: tls.ok()?,
            admin_listen: admin_listen.ok()?,
            public_url: public_url?,
            upstream: upstream?,
            upstream_timeout: upstream_timeout?,
            upstream_ca: upstream_ca.ok()?,
            upstream_reuse: upstream_reuse?,
            trusted_proxies: trusted_proxies?,
            prefix: prefix?,
            root_health: root_health?,
            redirect_hosts: redirect_hosts?,
            workers: workers?,
            log: log?,
            shutdown_grace: shutdown_grace?,
            session: session?,
            providers: providers?,
            headers: headers?,
            routes: routes?,
            limits: limits?,
            proxies: proxies?,
        })
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.add(problem);
    }

    /// Turns a result into an option, its problem put on the list.
    fn found<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.problem(problem)).ok()
    }

    fn tls(&mut self, root: &Node) -> Result<Option<TlsFiles>, Reported> {
        let Some(table) = root.get("tls") else {
            return Ok(None);
        };
        let hint = "tls = { cert = \"/etc/sidegate/tls.crt\", key = \"/etc/sidegate/tls.key\" }";
        let cert = self.readable_file(table, "tls", "cert", hint);
        let key = self.readable_file(table, "tls", "key", hint);
        let (Some(cert), Some(key)) = (cert, key) else {
            return Err(Reported);
        };
        let files = TlsFiles { cert, key };
        // Where they need not be here, they are not looked at.
        let are_here = files.cert.exists() && files.key.exists();
        if let (true, Err(flaw)) = (are_here, tls::acceptor(&files)) {
            let which = if flaw.is_of_key { "key" } else { "cert" };
            let origin = &table.get(which).unwrap_or(table).origin;
            self.problem(Problem::new(origin, flaw.what).hint(flaw.hint));
            return Err(Reported);
        }
        Ok(Some(files))
    }

    fn upstream_ca(
        &mut self,
        root: &Node,
        upstream: Option<&UpstreamAddress>,
    ) -> Result<Option<PathBuf>, Reported> {
        let Some(node) = root.get("upstream_ca") else {
            return Ok(None);
        };
        let hint = "upstream_ca = \"/etc/sidegate/app-ca.pem\"";
        let file = self.readable_file(root, "", "upstream_ca", hint);
        let file = file.ok_or(Reported)?;
        let problem = match upstream {
            Some(UpstreamAddress::Network(uri)) if uri.scheme_str() == Some("https") => {
                // Where it need not be here, it is not looked at.
                let read = file.exists().then(|| trust::roots_from(&file));
                let error = read.and_then(Result::err);
                error.map(|error| {
                    Problem::new(&node.origin, error.to_string())
                        .hint("it is PEM, and holds the certificate of the authority that signed the app's")
                })
            }
            Some(_) => {
                self.warnings.push(
                    "upstream_ca is not used: `upstream` is reached without TLS; write it with https://".to_owned(),
                );
                None
            }
            // Its own problem was told.
            None => None,
        };
        match problem {
            Some(problem) => {
                self.problem(problem);
                Err(Reported)
            }
            None => Ok(Some(file)),
        }
    }

    fn prefix(&mut self, root: &Node) -> Option<String> {
        let Some(node) = root.get("prefix") else {
            return Some("/oauth2".to_owned());
        };
        let text = self.text(node, "prefix")?;
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
            return Some(text.to_owned());
        }
        self.problem(
            Problem::new(&node.origin, format!("`{text}` cannot be the prefix")).hint(
                "it begins with / and does not end with one; between the slashes stand letters, \
                 digits and -._~, as in \"/oauth2\"",
            ),
        );
        None
    }

    fn workers(&mut self, root: &Node) -> Option<usize> {
        let Some(node) = root.get("workers") else {
            return Some(std::thread::available_parallelism().map_or(1, usize::from));
        };
        let number = self.integer(node, "workers")?;
        let workers = usize::try_from(number)
            .ok()
            .filter(|workers| (1..=1024).contains(workers));
        if workers.is_none() {
            self.problem(
                Problem::new(&node.origin, format!("{number} workers cannot be"))
                    .hint("from 1 to 1024; leave the key out for one per core"),
            );
        }
        workers
    }

    fn log(&mut self, root: &Node) -> Option<String> {
        let Some(node) = root.get("log") else {
            return Some("info".to_owned());
        };
        let text = self.text(node, "log")?;
        let problem = match filter::read(text) {
            Ok(_) => return Some(text.to_owned()),
            Err(Flaw::Syntax(error)) => {
                Problem::new(&node.origin, format!("`{text}` is no log filter: {error}"))
                    .hint("a level such as \"info\", or \"warn,sidegate=debug\"")
            }
            Err(Flaw::Word(word)) => {
                let hint = match spelling::nearest(&word, LEVELS) {
                    Some(level) => format!("did you mean \"{level}\"?"),
                    None => format!(
                        "one of {}; or pairs like \"warn,sidegate=debug\"",
                        LEVELS.join(", ")
                    ),
                };
                Problem::new(&node.origin, format!("`{word}` is no log level")).hint(hint)
            }
        };
        self.problem(problem);
        None
    }

    /// Contradictions between the places to listen on and to forward to.
    fn check_addresses(
        &mut self,
        root: &Node,
        listen: Option<&[ListenAddress]>,
        admin: Option<&ListenAddress>,
        upstream: Option<&UpstreamAddress>,
    ) {
        if let Some(ListenAddress::Tcp(address)) = admin
            && !address.ip().is_loopback()
        {
            self.warnings.push(
                "admin_listen is open to other machines: whoever reaches it can see and end everybody's sessions"
                    .to_owned(),
            );
        }
        let Some(listen) = listen else { return };
        if let Some(admin) = admin
            && listen.iter().any(|public| address::collide(public, admin))
        {
            let origin = root
                .get("admin_listen")
                .map_or(Origin::Nowhere, |node| node.origin.clone());
            self.problem(
                Problem::new(&origin, "`admin_listen` is also a public address")
                    .hint("give it a port of its own, such as \"127.0.0.1:4181\""),
            );
        }
        if let Some(upstream) = upstream
            && listen
                .iter()
                .any(|public| address::leads_to(upstream, public))
        {
            let origin = root
                .get("upstream")
                .map_or(Origin::Nowhere, |node| node.origin.clone());
            self.problem(
                Problem::new(&origin, "the upstream is the gate's own address")
                    .hint("requests would go round in circles; name the app's address"),
            );
        }
    }

    /// Login names are each provider's own: `ann` of one and `ann` of another are two people.
    fn check_names(&mut self, providers: &[ProviderSettings], headers: &HeaderSettings) {
        if let (Some(user), [_, _, ..]) = (headers.name_of(&HeaderSource::User), providers) {
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
        root: &Node,
        tls: Option<&TlsFiles>,
        public_url: Option<&PublicUrl>,
        trusted_proxies: Option<&[IpNet]>,
    ) {
        let Some(public_url) = public_url else {
            return;
        };
        if public_url.is_https() {
            let in_front = trusted_proxies.is_some_and(<[_]>::is_empty);
            if root.get("tls").is_none() && in_front {
                self.warnings.push(
                    "public_url begins with https, and neither tls nor trusted_proxies is set: name the proxy that ends \
                     TLS in trusted_proxies, or all its clients count as one and have its address in the log"
                        .to_owned(),
                );
            }
            return;
        }
        if tls.is_some() {
            let origin = root
                .get("public_url")
                .map_or(Origin::Nowhere, |node| node.origin.clone());
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
