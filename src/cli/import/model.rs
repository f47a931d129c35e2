//! Apps and headers, as any of oauth2-proxy's configurations describes them.

use super::given::{Given, SecretSource};

/// An entry of `upstreams`.
#[derive(Clone, Debug)]
pub(super) struct App {
    /// How the operator knows it.
    pub label: String,
    /// A path; one that ends in a slash is for all below it.
    pub path: String,
    /// What a path that is a regular expression becomes.
    pub rewrite: Option<String>,
    /// Where it is; none for an answer that is always the same.
    pub uri: Option<String>,
    pub skip_tls_verification: bool,
    pub pass_host: bool,
    pub websockets: bool,
    pub timeout: Option<u64>,
    pub keep_alive: bool,
}

/// A header, and what it is made of.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub label: String,
    pub name: String,
    pub source: Source,
    /// Whether the client's own is kept.
    pub preserve: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Source {
    Claim {
        claim: String,
        prefix: String,
    },
    Basic {
        claim: String,
        password: SecretSource,
    },
    Constant(SecretSource),
    /// Several values in one header.
    Several,
}

/// The apps of a configuration that is not alpha.
pub(super) fn apps(given: &Given) -> Vec<App> {
    let app = |(number, written): (usize, &String)| {
        let written = written.trim();
        let (uri, fragment) = match written.split_once('#') {
            Some((uri, fragment)) => (uri, Some(fragment)),
            None => (written, None),
        };
        let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
        let path = match scheme {
            "unix" | "static" => "/",
            "file" => fragment.unwrap_or_else(|| path(rest)),
            _ => path(rest),
        };
        App {
            // Not the address: it may hold a password.
            label: format!("{}[{number}]", given.label("upstreams")),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            rewrite: None,
            uri: (scheme != "static").then(|| uri.to_owned()),
            skip_tls_verification: given.flag("ssl_upstream_insecure_skip_verify") == Some(true),
            pass_host: given.flag("pass_host_header") != Some(false),
            websockets: given.flag("proxy_websockets") != Some(false),
            timeout: given.seconds("upstream_timeout"),
            keep_alive: given.flag("disable_keep_alives") != Some(true),
        }
    };
    given
        .texts("upstreams")
        .iter()
        .enumerate()
        .map(app)
        .collect()
}

/// The path of what stands behind a scheme.
fn path(rest: &str) -> &str {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    rest.find('/').map_or("", |at| &rest[at..])
}

/// The headers of a configuration that is not alpha: of requests, and of answers.
pub(super) fn headers(given: &Given) -> (Vec<Header>, Vec<Header>) {
    let is = |key: &str, default: bool| given.flag(key).unwrap_or(default);
    let preserve = !is("skip_auth_strip_headers", true);
    let claim = |key: &'static str, name: &str, claim: &str, prefix: &str| Header {
        label: given.label(key),
        name: name.to_owned(),
        source: Source::Claim {
            claim: claim.to_owned(),
            prefix: prefix.to_owned(),
        },
        preserve: false,
    };
    let prefers_email = is("prefer_email_to_user", false);
    let user = if prefers_email { "email" } else { "user" };
    let basic = |key: &'static str| {
        let password = given.secret("basic_auth_password", "")?;
        Some(Header {
            label: given.label(key),
            name: "Authorization".to_owned(),
            source: Source::Basic {
                claim: user.to_owned(),
                password,
            },
            preserve: false,
        })
    };
    let mut requests = Vec::new();
    if is("pass_basic_auth", true) {
        requests.extend(basic("basic_auth_password"));
    }
    if is("pass_basic_auth", true) || is("pass_user_headers", true) {
        let key = "pass_user_headers";
        requests.push(claim(key, "X-Forwarded-Groups", "groups", ""));
        requests.push(claim(key, "X-Forwarded-User", user, ""));
        if !prefers_email {
            requests.push(claim(key, "X-Forwarded-Email", "email", ""));
        }
        requests.push(claim(
            key,
            "X-Forwarded-Preferred-Username",
            "preferred_username",
            "",
        ));
    }
    if is("pass_access_token", false) {
        let key = "pass_access_token";
        requests.push(claim(key, "X-Forwarded-Access-Token", "access_token", ""));
    }
    if is("pass_authorization_header", false) {
        let key = "pass_authorization_header";
        requests.push(claim(key, "Authorization", "id_token", "Bearer "));
    }
    for header in &mut requests {
        header.preserve = preserve;
    }
    let mut answers = Vec::new();
    if is("set_xauthrequest", false) {
        for (name, of) in [
            ("User", "user"),
            ("Email", "email"),
            ("Preferred-Username", "preferred_username"),
            ("Groups", "groups"),
        ] {
            let name = format!("X-Auth-Request-{name}");
            answers.push(claim("set_xauthrequest", &name, of, ""));
        }
        if is("pass_access_token", false) {
            let name = "X-Auth-Request-Access-Token";
            answers.push(claim("pass_access_token", name, "access_token", ""));
        }
    }
    if is("set_basic_auth", false) {
        answers.extend(basic("set_basic_auth"));
    }
    if is("set_authorization_header", false) {
        let key = "set_authorization_header";
        answers.push(claim(key, "Authorization", "id_token", "Bearer "));
    }
    (requests, answers)
}
