//! `session.store`: the cookie, or Redis in any of its shapes.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    draft::Draft,
    given::{Given, SecretSource},
    notes::Notes,
    toml_text,
};

/// What stands in a user or a password of an address as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

const KEYS: [&str; 9] = [
    "redis_connection_url",
    "redis_username",
    "redis_password",
    "redis_use_sentinel",
    "redis_sentinel_password",
    "redis_sentinel_master_name",
    "redis_sentinel_connection_urls",
    "redis_use_cluster",
    "redis_cluster_connection_urls",
];

pub(super) fn store(given: &Given, draft: &mut Draft, notes: &mut Notes) {
    match given.text("session_store_type") {
        Some("redis") => match address(given, notes) {
            Ok(store) => draft.session.set("store", &store),
            Err((key, words)) => notes.absent(&given.label(key), words),
        },
        None | Some("cookie") => {
            draft.session.set("store", "\"cookie\"");
            for key in KEYS.into_iter().filter(|key| given.is_given(key)) {
                notes.needless(&given.label(key), "sessions are in the cookie");
            }
        }
        Some(_) => notes.absent(
            &given.label("session_store_type"),
            "sessions are kept in the cookie, in memory or in Redis: see session.store",
        ),
    }
}

/// What may hold a password, and is spelled into the address.
const SECRETS: [&str; 2] = ["redis_password", "redis_connection_url"];

/// Which servers there are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    One,
    Cluster,
    Sentinel,
}

/// An option, and what to do instead.
type Refusal = (&'static str, &'static str);

/// `session.store`, as TOML.
fn address(given: &Given, notes: &mut Notes) -> Result<String, Refusal> {
    let shape = if given.flag("redis_use_cluster") == Some(true) {
        Shape::Cluster
    } else if given.flag("redis_use_sentinel") == Some(true) {
        Shape::Sentinel
    } else {
        Shape::One
    };
    explain(given, shape, notes);
    // One address that a variable holds stays there.
    let has_login =
        given.text("redis_username").is_some() || given.text("redis_password").is_some();
    if shape == Shape::One
        && !has_login
        && let Some(source @ SecretSource::Variable(_)) = given.secret("redis_connection_url", "")
    {
        return Ok(source.toml());
    }
    for key in SECRETS {
        if let Some(SecretSource::Variable(_)) = given.secret(key, "") {
            return Err((
                key,
                "the address is made of several options, of which a variable holds this one: put the whole address into one variable, and write \
                 session.store = { env = \"NAME\" }",
            ));
        }
    }
    let Servers {
        hosts,
        login,
        tls,
        database,
    } = servers(given, shape, notes)?;
    let credentials = credentials(given, &login);
    let scheme = if tls { "rediss" } else { "redis" };
    let store = match shape {
        Shape::Cluster => format!("{scheme}-cluster://{credentials}{hosts}"),
        Shape::Sentinel => {
            let master = given.text("redis_sentinel_master_name").ok_or((
                "redis_sentinel_master_name",
                "the master's name is missing in session.store",
            ))?;
            let database = if database.is_empty() { "0" } else { &database };
            format!("{scheme}-sentinel://{credentials}{hosts}/{master}/{database}")
        }
        Shape::One if database.is_empty() => format!("{scheme}://{credentials}{hosts}"),
        Shape::One => format!("{scheme}://{credentials}{hosts}/{database}"),
    };
    Ok(toml_text::text(&store))
}

/// Options that do not count beside the others.
fn explain(given: &Given, shape: Shape, notes: &mut Notes) {
    for (counts, key) in [
        (shape == Shape::Cluster, "redis_use_cluster"),
        (shape == Shape::Cluster, "redis_cluster_connection_urls"),
        (shape == Shape::Sentinel, "redis_use_sentinel"),
        (shape == Shape::Sentinel, "redis_sentinel_connection_urls"),
        (shape == Shape::Sentinel, "redis_sentinel_master_name"),
        (shape == Shape::One, "redis_connection_url"),
    ] {
        if !counts && given.is_given(key) {
            notes.needless(
                &given.label(key),
                "oauth2-proxy does not read it beside the others",
            );
        }
    }
    if let Some(password) = given.text("redis_sentinel_password") {
        let label = given.label("redis_sentinel_password");
        if shape == Shape::Sentinel && Some(password) != given.text("redis_password") {
            notes.absent(&label, "sentinels have the servers' password or none");
        } else {
            notes.needless(&label, "sentinels are asked with the servers' password");
        }
    }
}

/// What the addresses come to.
struct Servers {
    hosts: String,
    login: String,
    tls: bool,
    database: String,
}

fn servers(given: &Given, shape: Shape, notes: &mut Notes) -> Result<Servers, Refusal> {
    let key = match shape {
        Shape::Cluster => "redis_cluster_connection_urls",
        Shape::Sentinel => "redis_sentinel_connection_urls",
        Shape::One => "redis_connection_url",
    };
    let listed = given.texts(key).iter().map(String::as_str);
    let urls: Vec<&str> = listed.chain(given.text(key)).collect();
    if urls.is_empty() {
        return Err((key, "no address of Redis is given: write session.store"));
    }
    let (mut hosts, mut login) = (Vec::new(), String::new());
    let (mut tls, mut database) = (false, String::new());
    for url in urls {
        let refusal = (
            key,
            "Redis is reached over TCP: write session.store = \"redis://HOST:6379\"",
        );
        let (scheme, rest) = url.split_once("://").ok_or(refusal)?;
        tls |= match scheme {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(refusal),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !query.is_empty() {
            notes.absent(
                &given.label(key),
                "session.store takes no parameters behind a `?`; they are left out",
            );
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = if let Some((before, host)) = authority.rsplit_once('@') {
            before.clone_into(&mut login);
            host
        } else {
            authority
        };
        if !path.is_empty() {
            path.clone_into(&mut database);
        }
        hosts.push(host);
    }
    Ok(Servers {
        hosts: hosts.join(","),
        login,
        tls,
        database,
    })
}

/// `USER:PASSWORD@`: those of their own options before those of an address.
fn credentials(given: &Given, login: &str) -> String {
    let user = given.text("redis_username");
    let password = given.text("redis_password");
    if user.is_none() && password.is_none() {
        return if login.is_empty() {
            String::new()
        } else {
            format!("{login}@")
        };
    }
    let (old_user, old_password) = login.split_once(':').unwrap_or((login, ""));
    let encoded = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
    let user = user.map_or_else(|| old_user.to_owned(), encoded);
    let password = password.map_or_else(|| old_password.to_owned(), encoded);
    format!("{user}:{password}@")
}
