//! Which keys there are, and what shape each has. Pure.
//!
//! One table serves three readers: the file's keys are held against it, environment names are found
//! through it, and whoever mistypes a key learns from it which one was meant.

use std::sync::LazyLock;

use super::{
    raw::{Node, Value},
    report::{Problem, Problems},
};
use crate::{provider::catalog::KINDS, spelling};

/// A key of a table.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
}

/// What may stand at a key.
pub(super) enum Shape {
    /// Text, a number or a list; the check of that key knows which.
    Value,
    /// Text, `{ env = … }` or `{ file = … }`. Never shown.
    Secret,
    /// A secret, or a list of them.
    Secrets,
    /// What a header carries. A literal, which is refused, may be a secret: it is never shown.
    HeaderSource,
    /// As a secret, but most of it may be shown: a word, or an address that may hold a password.
    Address,
    /// A table with these keys.
    Table(&'static [Key]),
    /// Text, or a table with these keys.
    TextOrTable(&'static [Key]),
    /// A table whose keys the operator names.
    Named(Names, &'static Self),
    /// A list of tables with these keys.
    Tables(&'static [Key]),
    /// Promised, but not in this version.
    Later,
}

/// How the environment spells a name that the operator chose, where the file does not have it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// As it is, in lower case.
    Plain,
    /// A header's: `_` stands for `-`.
    Header,
    /// A path to a claim: each level joined by a dot.
    Path,
}

/// The keys of a secret's table.
pub(super) const SECRET_SOURCE: &[Key] = &[value("env"), value("file")];

/// The keys at the top of the file.
pub(super) static ROOT: LazyLock<Vec<Key>> = LazyLock::new(|| {
    vec![
        value("listen"),
        key("tls", Shape::Table(TLS)),
        value("admin_listen"),
        value("public_url"),
        value("upstream"),
        value("upstream_timeout"),
        value("upstream_ca"),
        value("upstream_reuse"),
        value("trusted_proxies"),
        key("proxy_url", Shape::Address),
        value("prefix"),
        value("root_health"),
        value("redirect_hosts"),
        value("workers"),
        value("log"),
        value("shutdown_grace"),
        key("session", Shape::Table(SESSION)),
        key("providers", Shape::Named(Names::Plain, &PROVIDER_TABLE)),
        key("headers", Shape::Table(HEADERS)),
        key("routes", Shape::Tables(ROUTE)),
        key("limits", Shape::Table(LIMITS)),
    ]
});

const TLS: &[Key] = &[value("cert"), value("key")];

const SESSION: &[Key] = &[
    key("secret", Shape::Secrets),
    key("store", Shape::Address),
    value("lifetime"),
    value("idle_timeout"),
    value("cookie_name"),
    value("max_sessions"),
    key("shared", Shape::Address),
    value("provider_grace"),
];

static PROVIDER_TABLE: LazyLock<Shape> = LazyLock::new(|| Shape::Table(&PROVIDER));

/// What every kind of provider takes, and the addresses that any of them does. Whether a key is one of
/// the kind at hand is for the check of that table, which knows the kind.
static PROVIDER: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let mut keys = vec![
        value("type"),
        value("label"),
        value("base_url"),
        value("internal_url"),
        value("insecure_http"),
        value("ca"),
        value("client_id"),
        key("client_secret", Shape::Secrets),
        value("client_auth"),
        value("scopes"),
        key(
            "authorize_params",
            Shape::Named(Names::Plain, &Shape::Value),
        ),
        value("callback_path"),
        key("claims", Shape::Table(CLAIMS)),
        key("allow", Shape::TextOrTable(&ALLOW)),
        value("deny_message"),
        value("refresh"),
        value("revoke"),
        value("frontchannel_logout"),
        value("userinfo"),
        value("claims_from"),
    ];
    let endpoints = KINDS.iter().flat_map(|kind| kind.endpoints);
    add_values(&mut keys, endpoints.map(|endpoint| endpoint.key));
    keys
});

const CLAIMS: &[Key] = &[
    value("subject"),
    value("user"),
    value("email"),
    value("email_verified"),
    value("name"),
    value("picture"),
    value("groups"),
];

static ALLOW: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let mut keys = vec![
        value("emails"),
        value("domains"),
        value("users"),
        key("claims", Shape::Named(Names::Path, &Shape::Value)),
    ];
    add_values(
        &mut keys,
        KINDS.iter().flat_map(|kind| kind.allow.iter().copied()),
    );
    keys
});

/// Adds each name that is not there yet.
fn add_values(keys: &mut Vec<Key>, names: impl Iterator<Item = &'static str>) {
    for name in names {
        if keys.iter().all(|key| key.name != name) {
            keys.push(value(name));
        }
    }
}

const HEADERS: &[Key] = &[
    value("preset"),
    value("max_bytes"),
    key("set", Shape::Named(Names::Header, &Shape::HeaderSource)),
];

const ROUTE: &[Key] = &[
    value("path"),
    value("methods"),
    value("access"),
    later("allow"),
    later("upstream"),
];

const LIMITS: &[Key] = &[
    value("connections"),
    value("connections_per_client"),
    value("requests_per_client"),
    value("handshake_timeout"),
    value("header_timeout"),
    value("keep_alive_timeout"),
    value("request_body_timeout"),
    value("request_body_rate"),
    value("response_body_timeout"),
    value("write_timeout"),
    value("tunnel_close_timeout"),
    value("http2_streams"),
    value("http2_buffer"),
    value("http2_resets"),
    value("http2_idle_timeout"),
    value("http2_max_age"),
    value("provider_response"),
];

const fn value(name: &'static str) -> Key {
    key(name, Shape::Value)
}

const fn later(name: &'static str) -> Key {
    key(name, Shape::Later)
}

const fn key(name: &'static str, shape: Shape) -> Key {
    Key { name, shape }
}

/// Holds the tree against the keys: unknown ones, ones of a later version, and tables that are none.
pub(super) fn check(root: &Node, problems: &mut Problems) {
    check_table(root, &ROOT, "", problems);
}

/// `place` is the table's name as a header shows it; empty at the top.
fn check_table(table: &Node, keys: &'static [Key], place: &str, problems: &mut Problems) {
    for (name, node) in table.entries() {
        match keys.iter().find(|key| key.name == name) {
            None => problems.add(unknown(name, node, keys, place)),
            Some(key) => check_shape(node, &key.shape, &below(place, name), problems),
        }
    }
}

fn check_shape(node: &Node, shape: &'static Shape, place: &str, problems: &mut Problems) {
    match shape {
        Shape::Value | Shape::HeaderSource => {}
        Shape::Later => problems.add(
            Problem::new(
                &node.key_origin,
                format!("`{place}` is not available in this version"),
            )
            .hint("take it out"),
        ),
        Shape::Secret | Shape::Secrets => match &node.value {
            Value::Table(_) => check_table(node, SECRET_SOURCE, place, problems),
            Value::List(items) if matches!(shape, Shape::Secrets) => {
                for item in items {
                    check_shape(item, &Shape::Secret, place, problems);
                }
            }
            _ => {}
        },
        Shape::Address => check_table(node, SECRET_SOURCE, place, problems),
        Shape::TextOrTable(keys) => check_table(node, keys, place, problems),
        Shape::Table(keys) => match node.value {
            Value::Table(_) => check_table(node, keys, place, problems),
            _ => problems.add(not_a_table(node, place, &format!("[{place}]"))),
        },
        Shape::Named(_, inner) => {
            if let Value::Table(entries) = &node.value {
                for (name, entry) in entries {
                    check_shape(entry, inner, &below(place, name), problems);
                }
            } else {
                let header = match inner {
                    Shape::Value | Shape::HeaderSource => format!("[{place}]"),
                    _ => format!("[{place}.NAME]"),
                };
                problems.add(not_a_table(node, place, &header));
            }
        }
        Shape::Tables(keys) => match &node.value {
            Value::List(items) => {
                for item in items {
                    match item.value {
                        Value::Table(_) => check_table(item, keys, place, problems),
                        _ => problems.add(not_a_table(item, place, &format!("[[{place}]]"))),
                    }
                }
            }
            _ => problems.add(
                Problem::new(&node.key_origin, format!("`{place}` is a list of tables"))
                    .hint(format!("each begins with [[{place}]], in double brackets")),
            ),
        },
    }
}

fn not_a_table(node: &Node, place: &str, header: &str) -> Problem {
    Problem::new(
        &node.origin,
        format!("`{place}` is a table, and this is {}", node.kind()),
    )
    .hint(format!("begin it with {header} on a line of its own"))
}

fn unknown(name: &str, node: &Node, keys: &'static [Key], place: &str) -> Problem {
    let label = if place.is_empty() {
        "not a key of this file".to_owned()
    } else {
        format!("not a key of [{place}]")
    };
    let problem = Problem::new(&node.key_origin, format!("unknown key `{name}`")).label(label);
    let names = || {
        keys.iter()
            .filter(|key| !matches!(key.shape, Shape::Later))
            .map(|key| key.name)
    };
    if let Some(nearest) = spelling::nearest(name, names()) {
        return problem.hint(format!("did you mean `{nearest}`?"));
    }
    if let Some(home) = home_of(name) {
        return problem.hint(format!("`{name}` belongs {home}"));
    }
    let known: Vec<_> = names().collect();
    problem.hint(format!("the keys here are {}", known.join(", ")))
}

/// Where a key of this name does belong. TOML gives every key below a header to that header's table,
/// which surprises people.
fn home_of(name: &str) -> Option<&'static str> {
    let has = |keys: &[Key]| keys.iter().any(|key| key.name == name);
    if has(&ROOT) {
        Some("at the top of the file, above the first [table]")
    } else if has(SESSION) {
        Some("under [session]")
    } else if has(&PROVIDER) {
        Some("under [providers.NAME]")
    } else if has(&ALLOW) {
        Some("in a provider's `allow`")
    } else if has(HEADERS) {
        Some("under [headers]")
    } else if has(ROUTE) {
        Some("under [[routes]]")
    } else if has(LIMITS) {
        Some("under [limits]")
    } else {
        None
    }
}

/// Whether there is a key of this name anywhere; of a dotted one, the last part counts. Whoever reads a text that is no
/// TOML knows from it that the word is no part of a value.
pub(super) fn is_known(name: &str) -> bool {
    let name = last_part(name);
    any_key(&ROOT, &mut |key| key.name == name)
}

/// Whether what such a key holds may be shown, wherever it stands.
pub(super) fn is_open(name: &str) -> bool {
    let name = last_part(name);
    let is_closed = |key: &Key| !matches!(key.shape, Shape::Value) && key.name == name;
    is_known(name) && !any_key(&ROOT, &mut |key| is_closed(key))
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name).trim()
}

fn any_key(keys: &'static [Key], is_it: &mut dyn FnMut(&Key) -> bool) -> bool {
    keys.iter()
        .any(|key| is_it(key) || any_key(keys_below(&key.shape), is_it))
}

fn keys_below(shape: &'static Shape) -> &'static [Key] {
    match shape {
        Shape::Table(keys) | Shape::TextOrTable(keys) | Shape::Tables(keys) => keys,
        Shape::Named(_, inner) => keys_below(inner),
        Shape::Secret | Shape::Secrets | Shape::Address => SECRET_SOURCE,
        Shape::Value | Shape::HeaderSource | Shape::Later => &[],
    }
}

/// The table's name with one more level.
pub(super) fn below(place: &str, name: &str) -> String {
    if place.is_empty() {
        name.to_owned()
    } else {
        format!("{place}.{name}")
    }
}
