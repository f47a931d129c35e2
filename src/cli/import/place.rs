//! The addresses of the gate: listeners, the public address, and proxies in front.

use url::Url;

use super::{draft::Draft, duration, given::Given, notes::Notes, toml_text};

/// What other parts need to know.
pub(super) struct Place {
    pub(super) prefix: String,
    pub(super) root_health: bool,
    /// The path of the callback that is registered, where it is outside of `prefix`.
    pub(super) callback_path: Option<String>,
    pub(super) public_url: String,
}

/// The name that stands where oauth2-proxy was told none.
const EXAMPLE: &str = "https://app.example.com";

pub(super) fn translate(given: &Given, draft: &mut Draft, notes: &mut Notes, alpha: bool) -> Place {
    let prefix = prefix(given, draft, notes);
    let (public_url, path) = public_url(given, notes);
    draft.top.set("public_url", &toml_text::text(&public_url));
    listen(given, draft, notes, alpha);
    admin_listen(given, draft, notes);
    let root_health = health(given, draft, notes, &prefix);
    proxies(given, draft, notes);
    redirect_hosts(given, draft, notes);
    log(given, draft);
    let is_below = |path: &str| {
        path.strip_prefix(&prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let callback_path = path.filter(|path| path != "/" && !is_below(path));
    Place {
        prefix,
        root_health,
        callback_path,
        public_url,
    }
}

fn prefix(given: &Given, draft: &mut Draft, notes: &mut Notes) -> String {
    let Some(written) = given.text("proxy_prefix") else {
        return "/oauth2".to_owned();
    };
    let prefix = format!("/{}", written.trim_matches('/'));
    let is_plain = prefix.len() > 1
        && prefix
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte));
    if is_plain {
        draft.top.set("prefix", &toml_text::text(&prefix));
        return prefix;
    }
    notes.absent(
        &given.label("proxy_prefix"),
        "`prefix` is a path of plain letters, and stays /oauth2 here",
    );
    "/oauth2".to_owned()
}

/// The origin, and the path of `redirect_url`.
fn public_url(given: &Given, notes: &mut Notes) -> (String, Option<String>) {
    let written = given.text("redirect_url");
    let url = written.and_then(|written| Url::parse(written).ok());
    let url = url.filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some_and(|host| !host.is_empty())
    });
    let label = given.label("redirect_url");
    let Some(url) = url else {
        let words = "public_url has to be said, where oauth2-proxy takes the address from each request: write in its place the one \
                     that users type";
        notes.absent(&label, words);
        return (EXAMPLE.to_owned(), None);
    };
    let public_url = url.origin().ascii_serialization();
    if given.is_given("cookie_secure") {
        let secure = given.flag("cookie_secure") == Some(true);
        let label = given.label("cookie_secure");
        if secure == (url.scheme() == "https") {
            notes.needless(&label, "the cookie is Secure where public_url is https");
        } else if secure {
            notes.remind(&label, "public_url is http, and its cookie cannot be Secure: write https where the app has it");
        } else {
            notes.needless(&label, "public_url is https, and its cookie is Secure");
        }
    }
    (public_url, Some(url.path().to_owned()))
}

fn listen(given: &Given, draft: &mut Draft, notes: &mut Notes, alpha: bool) {
    let cert = given.text("tls_cert_file");
    let key = given.text("tls_key_file");
    let tls = cert.zip(key);
    if let Some((cert, key)) = tls {
        let files = [
            ("cert".to_owned(), toml_text::text(cert)),
            ("key".to_owned(), toml_text::text(key)),
        ];
        draft.top.set("tls", &toml_text::inline(&files));
    } else if cert.is_some() || key.is_some() {
        let label = given.label(if cert.is_some() {
            "tls_cert_file"
        } else {
            "tls_key_file"
        });
        notes.absent(&label, "`tls` wants both: { cert = \"…\", key = \"…\" }");
    }
    // Outside of an alpha configuration one of the two is served, and each has a default.
    let defaults = |key: &str, default: &'static str| match given.text(key) {
        Some("-") => None,
        Some(text) => Some(text.to_owned()),
        None if alpha => None,
        None => Some(default.to_owned()),
    };
    let http = defaults("http_address", "127.0.0.1:4180");
    let https = defaults("https_address", ":443");
    let (key, address, other) = match (tls, https, http) {
        (Some(_), Some(https), http) => {
            let both = alpha && http.is_some();
            if given.is_given("http_address") && !both {
                notes.needless(
                    &given.label("http_address"),
                    "with a certificate oauth2-proxy serves https alone",
                );
            }
            ("https_address", https, both.then_some("http_address"))
        }
        (_, _, Some(http)) => {
            if given.is_given("https_address") {
                notes.needless(
                    &given.label("https_address"),
                    "without a certificate nothing is served there",
                );
            }
            ("http_address", http, None)
        }
        (_, https, None) => {
            notes.absent(
                "bindAddress",
                "no address is given that could be served: write `listen`",
            );
            (
                "https_address",
                https.unwrap_or_else(|| "127.0.0.1:4180".to_owned()),
                None,
            )
        }
    };
    if let Some(other) = other {
        notes.absent(
            &given.label(other),
            "`tls` is for all of `listen`: let the server in front redirect from plain HTTP",
        );
    }
    match socket(&address) {
        Ok(Listen { address, mode }) => {
            draft.top.set("listen", &toml_text::text(&address));
            if mode {
                notes.absent(
                    &given.label(key),
                    "the socket's mode follows from the umask of whoever starts the gate",
                );
            }
        }
        Err(words) => notes.absent(&given.label(key), words),
    }
}

struct Listen {
    address: String,
    mode: bool,
}

/// An address as the gate writes it.
fn socket(address: &str) -> Result<Listen, &'static str> {
    let lower = address.to_ascii_lowercase();
    if lower.starts_with("fd:") {
        return Err("sockets of systemd are not taken over: write an address into `listen`");
    }
    if let Some(path) = address.strip_prefix("unix:") {
        let (path, mode) = match path.split_once(',') {
            Some((path, _)) => (path, true),
            None => (path, false),
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') {
            return Err("a socket's path is absolute: write listen = \"unix:/run/…\"");
        }
        return Ok(Listen {
            address: format!("unix:{path}"),
            mode,
        });
    }
    let bare = address
        .strip_prefix("http://")
        .or_else(|| address.strip_prefix("https://"))
        .or_else(|| address.strip_prefix("tcp://"))
        .unwrap_or(address);
    let address = match bare.rsplit_once(':') {
        Some(("" | "*", port)) => format!("0.0.0.0:{port}"),
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        _ => bare.to_owned(),
    };
    if address.parse::<std::net::SocketAddr>().is_err() {
        return Err("`listen` is an IP address and a port, or unix:/PATH: write which one");
    }
    Ok(Listen {
        address,
        mode: false,
    })
}

fn admin_listen(given: &Given, draft: &mut Draft, notes: &mut Notes) {
    let Some(address) = given.text("metrics_address").filter(|text| *text != "-") else {
        return;
    };
    let label = given.label("metrics_address");
    match socket(address) {
        Ok(Listen { address, .. }) => {
            let is_open = !address.starts_with("unix:") && !address.starts_with("127.");
            draft.top.set("admin_listen", &toml_text::text(&address));
            if is_open {
                notes.remind(
                    &label,
                    "whoever reaches admin_listen reads the metrics and can sign people out, too: keep it to a network of operators",
                );
            }
        }
        Err(words) => notes.absent(&label, words),
    }
}

fn health(given: &Given, draft: &mut Draft, notes: &mut Notes, prefix: &str) -> bool {
    let mut at_root = false;
    for (key, bare) in [("ping_path", "/ping"), ("ready_path", "/ready")] {
        match given.text(key) {
            None if given.is_given(key) => {
                notes.needless(
                    &given.label(key),
                    "an empty path turns nothing off: the gate's own are below `prefix`",
                );
            }
            None => at_root = true,
            Some(path) if path == bare => at_root = true,
            Some(path) if path == format!("{prefix}{bare}") => {
                notes.needless(&given.label(key), "the gate answers there without a key");
            }
            Some(_) => {
                let words = format!(
                    "the gate answers at {prefix}{bare}, and with root_health = true at {bare}: let probes ask there"
                );
                notes.absent(&given.label(key), &words);
            }
        }
    }
    if at_root {
        draft.top.set("root_health", "true");
    }
    at_root
}

fn proxies(given: &Given, draft: &mut Draft, notes: &mut Notes) {
    let is_behind = given.flag("reverse_proxy") == Some(true);
    let networks = given.texts("trusted_proxy_ips");
    if is_behind && !networks.is_empty() {
        let networks: Vec<String> = networks.iter().map(|network| truncated(network)).collect();
        draft
            .top
            .set("trusted_proxies", &toml_text::texts(&networks));
    } else if is_behind {
        notes.absent(
            &given.label("reverse_proxy"),
            "oauth2-proxy believes what anybody says of where a request came from: name the proxies in front in trusted_proxies",
        );
    } else {
        for key in ["reverse_proxy", "trusted_proxy_ips"] {
            if given.is_given(key) {
                notes.needless(&given.label(key), "without reverse_proxy nobody's forwarding headers are believed, as here without trusted_proxies");
            }
        }
    }
    if !given.is_given("real_client_ip_header") {
        return;
    }
    let label = given.label("real_client_ip_header");
    let is_ours = given.is_harmless("real_client_ip_header", "X-Forwarded-For");
    if is_ours || !is_behind {
        notes.needless(&label, "X-Forwarded-For is read, from the right up to the first address that is no trusted proxy");
    } else {
        notes.absent(&label, "the client's address is read from X-Forwarded-For: let the proxy in front write that one");
    }
}

/// A network's first address: the gate takes no other for it.
fn truncated(network: &str) -> String {
    match network.trim().parse::<ipnet::IpNet>() {
        Ok(network) => network.trunc().to_string(),
        Err(_) => network.trim().to_owned(),
    }
}

fn redirect_hosts(given: &Given, draft: &mut Draft, notes: &mut Notes) {
    let mut hosts: Vec<String> = Vec::new();
    for domain in given.texts("whitelist_domains") {
        let written = domain.trim().to_ascii_lowercase();
        let label = format!("{} {written}", given.label("whitelist_domains"));
        let (below, name) = match written
            .strip_prefix("*.")
            .or_else(|| written.strip_prefix('.'))
        {
            Some(name) => (true, name),
            None => (false, &*written),
        };
        let (name, port) = match name.rsplit_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (name, None),
        };
        let host = match port {
            None | Some("443") => name.to_owned(),
            Some("*") => {
                notes.absent(&label, "redirect_hosts has each port by itself: write HOST:PORT for those that are used");
                continue;
            }
            Some(_) if below => {
                notes.absent(&label, "subdomains in redirect_hosts have the scheme's own port: write HOST:PORT for each");
                continue;
            }
            Some(port) => format!("{name}:{port}"),
        };
        let is_host = Url::parse(&format!("https://{host}/")).is_ok_and(|url| url.path() == "/")
            && !name.is_empty();
        if !is_host || (below && !name.contains('.')) {
            notes.absent(&label, "it is no host that redirect_hosts could name");
            continue;
        }
        if below {
            push(&mut hosts, format!(".{host}"));
        }
        // Both of oauth2-proxy's spellings of subdomains mean the domain itself, too.
        push(&mut hosts, host);
    }
    if !hosts.is_empty() {
        draft.top.set("redirect_hosts", &toml_text::texts(&hosts));
    }
}

fn push(hosts: &mut Vec<String>, host: String) {
    if !hosts.contains(&host) {
        hosts.push(host);
    }
}

fn log(given: &Given, draft: &mut Draft) {
    if given.flag("request_logging") == Some(false) {
        draft.top.set("log", "\"info,sidegate::access=off\"");
    }
}

/// A duration as the configuration has it.
pub(super) fn lasting(seconds: u64) -> String {
    toml_text::text(&duration::written(seconds))
}
