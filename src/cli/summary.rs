//! The summary that `check` prints for a correct configuration.

use std::fmt::Write as _;

use crate::{
    access::Allow,
    config::Config,
    forward::settings::DEFAULT_UPSTREAM,
    redis::{address as redis_address, address::RedisAddress},
    session::settings::{SessionSettings, StoreSettings},
};

/// What the configuration comes to, and what is left to do: register the callbacks. `name` is the configuration's.
pub(super) fn summary(name: &str, config: &Config) -> String {
    let mut text = format!("ok: {name}\n");
    let mut line = |key: &str, value: &str| {
        _ = writeln!(text, "  {key:<10} {value}");
    };
    let listen: Vec<_> = config.listen.iter().map(ToString::to_string).collect();
    line("listen", &listen.join(", "));
    if let Some(admin) = &config.admin_listen {
        line("admin", &admin.to_string());
    }
    if let Some(app) = config.app.as_ref().and_then(|app| app.listen.as_ref()) {
        line("app", &app.to_string());
    }
    if let Some(envoy) = &config.ext_authz_listen {
        line("ext_authz", &envoy.to_string());
    }
    let origin = config.public_url.url.origin().ascii_serialization();
    line("public", &origin);
    for (key, value) in in_front(config) {
        line(key, &value);
    }
    for upstream in &config.upstreams {
        let addresses = upstream.written_addresses();
        match upstream.name.as_str() {
            DEFAULT_UPSTREAM => line("upstream", &addresses),
            name => line("upstream", &format!("{name}: {addresses}")),
        }
    }
    line("sessions", &sessions_are(&config.session));
    if let Some(domain) = &config.session.cookie_domain {
        line("login", &login_is_shared(domain, config));
    }
    for provider in &config.providers {
        if !provider.login {
            line(
                "provider",
                &format!(
                    "{} ({}, for tokens only)",
                    provider.name, provider.kind.name
                ),
            );
            continue;
        }
        let who = match provider.allow {
            Allow::Anyone => ", open to anyone who can sign in there",
            Allow::Lists(_) => "",
        };
        line(
            "provider",
            &format!("{} ({}{who})", provider.name, provider.kind.name),
        );
    }
    line(
        "routes",
        &match config.routes.len() {
            0 => "none: every path asks for a session".to_owned(),
            many => format!("{many}, then every path asks for a session"),
        },
    );
    let logins = || config.providers.iter().filter(|provider| provider.login);
    if logins().next().is_some() {
        text.push_str("register as redirect URI:\n");
    }
    for provider in logins() {
        let callback = format!("{origin}{}", provider.callback_path);
        _ = writeln!(text, "  {:<10} {callback}", provider.name);
    }
    let mut comes_back = logins().filter(|provider| {
        provider.kind.offers_logout || provider.endpoint("end_session_url").is_some()
    });
    if let Some(first) = comes_back.next() {
        text.push_str("register as post-logout redirect URI, where the provider has that:\n");
        for provider in std::iter::once(first).chain(comes_back) {
            let sign_out = format!("{origin}{}/sign_out", config.prefix);
            _ = writeln!(text, "  {:<10} {sign_out}", provider.name);
        }
    }
    text
}

/// Which proxies are believed, and which of them asks.
fn in_front(config: &Config) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if !config.trusted_proxies.is_empty() {
        let proxies: Vec<_> = config
            .trusted_proxies
            .iter()
            .map(ToString::to_string)
            .collect();
        lines.push((
            "believes",
            format!("{} (trusted_proxies)", proxies.join(", ")),
        ));
    }
    if let Some(proxy) = config.forward_auth {
        lines.push(("asked by", format!("{} (forward_auth)", proxy.name())));
    }
    lines
}

/// What `session.cookie_domain` shares, and with whom.
fn login_is_shared(domain: &str, config: &Config) -> String {
    let mut hosts = vec![config.public_url.authority().to_owned()];
    for host in config.routes.iter().filter_map(|route| route.host.as_ref()) {
        let host = host.to_string();
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    format!(
        "shared by {}\n             browsers send its cookie to {domain} and every host below it, whoever serves \
         that. Whoever runs\n             one of these hosts can use a user's cookie here, or replace it. Let no stranger run one.",
        hosts.join(", ")
    )
}

/// Where sessions are kept.
fn sessions_are(session: &SessionSettings) -> String {
    let at = |redis: &RedisAddress| redis_address::names(&redis.nodes);
    match (&session.store, &session.shared) {
        (StoreSettings::Cookie, None) => "in the cookie".to_owned(),
        (StoreSettings::Cookie, Some(redis)) => {
            format!("in the cookie, shared through Redis at {}", at(redis))
        }
        (StoreSettings::Memory, _) => "in memory".to_owned(),
        (StoreSettings::Redis(redis), _) => format!("in Redis at {}", at(redis)),
    }
}
