//! Describes in words what a new configuration changes, for review. Pure.

use std::fmt::Write as _;

use crate::{
    access::{Allow, AllowList, Requirement},
    config::Config,
    forward::settings::DEFAULT_UPSTREAM,
    provider::settings::ProviderSettings,
    route::{Access, PathPattern, Route},
};

/// Each difference that matters to somebody, a sentence. Empty where none does.
pub(super) fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut said = Vec::new();
    sessions(old, new, &mut said);
    providers(&old.providers, &new.providers, &mut said);
    routes(old, new, &mut said);
    let mut moved = |what: &str, old: String, new: String| {
        if old != new {
            said.push(format!("{what}: {old}, now {new}"));
        }
    };
    moved("upstreams", upstreams(old), upstreams(new));
    moved("listen", listed(&old.listen), listed(&new.listen));
    moved(
        "trusted_proxies",
        listed(&old.trusted_proxies),
        listed(&new.trusted_proxies),
    );
    moved("prefix", old.prefix.clone(), new.prefix.clone());
    moved("headers", headers(old), headers(new));
    said
}

/// What of `differing` keys no sentence of [`changes`] is about.
pub(super) fn unsaid(differing: Vec<String>) -> Vec<String> {
    let is_said = |key: &String| {
        let last = key.rsplit('.').next().unwrap_or(key);
        match key.split('.').next().unwrap_or(key) {
            "routes" | "listen" | "trusted_proxies" | "prefix" | "upstream" | "public_url" => true,
            "upstreams" => last == "url",
            "providers" => {
                key.contains(".allow.") || matches!(last, "allow" | "type" | "issuer" | "client_id")
            }
            "headers" => key == "headers.preset" || key.starts_with("headers.set."),
            "session" => matches!(
                last,
                "secret" | "store" | "cookie_name" | "cookie_domain" | "lifetime" | "idle_timeout"
            ),
            _ => false,
        }
    };
    differing.into_iter().filter(|key| !is_said(key)).collect()
}

/// Where the apps are.
fn upstreams(config: &Config) -> String {
    let apps = config.upstreams.iter().map(|app| match app.name.as_str() {
        DEFAULT_UPSTREAM => listed(&app.addresses),
        name => format!("{name} at {}", listed(&app.addresses)),
    });
    apps.collect::<Vec<_>>().join("; ")
}

fn sessions(old: &Config, new: &Config, said: &mut Vec<String>) {
    let (before, after) = (&old.session, &new.session);
    let mut everybody = |why: &str| said.push(format!("everybody is signed out: {why}"));
    if old.gate_name() != new.gate_name() {
        everybody("public_url or session.cookie_name has changed");
    } else if before.cookie_domain != after.cookie_domain {
        everybody("their cookies are for other hosts (session.cookie_domain)");
    } else if before.store != after.store {
        everybody("session.store has changed");
    } else if before.ephemeral != after.ephemeral
        || before
            .secrets
            .first()
            .is_some_and(|seals| !before.ephemeral && !after.secrets.contains(seals))
    {
        everybody("session.secret no longer has the secret of their sessions");
    }
    for (key, before, after) in [
        ("session.lifetime", before.lifetime, after.lifetime),
        (
            "session.idle_timeout",
            before.idle_timeout,
            after.idle_timeout,
        ),
    ] {
        if after < before {
            said.push(format!(
                "sessions end sooner: {key} was {before:?}, now {after:?}"
            ));
        } else if after > before {
            said.push(format!(
                "new sessions last longer: {key} was {before:?}, now {after:?}"
            ));
        }
    }
}

fn providers(old: &[ProviderSettings], new: &[ProviderSettings], said: &mut Vec<String>) {
    let find = |in_: &[ProviderSettings], name: &str| {
        in_.iter().position(|provider| provider.name == name)
    };
    for before in old {
        let name = &before.name;
        let Some(after) = find(new, name).map(|place| &new[place]) else {
            said.push(format!(
                "providers.{name} is removed: its users are signed out"
            ));
            continue;
        };
        if before.fingerprint() != after.fingerprint() {
            said.push(format!(
                "providers.{name} means another server, client or subject: its users are signed out"
            ));
        }
        let (was, is) = (allowed(&before.allow), allowed(&after.allow));
        if was != is {
            said.push(format!("providers.{name} lets in {is}; before, {was}"));
        }
    }
    for after in new.iter().filter(|after| find(old, &after.name).is_none()) {
        said.push(format!(
            "providers.{} is new, and lets in {}",
            after.name,
            allowed(&after.allow)
        ));
    }
}

/// Routes are compared by what they match, for their numbers move.
fn routes(old_config: &Config, new_config: &Config, said: &mut Vec<String>) {
    let (old, new) = (&old_config.routes, &new_config.routes);
    let find = |in_: &[Route], route: &Route| {
        in_.iter()
            .position(|other| matched(other) == matched(route))
    };
    for before in old {
        let was = terms(before, old_config);
        match find(new, before).map(|place| terms(&new[place], new_config)) {
            None => said.push(format!(
                "the route for {} is removed; requests that match no other route need a login. It was: {was}",
                matched(before),
            )),
            Some(is) if was != is => said.push(format!(
                "the route for {}: {is}; before, {was}",
                matched(before),
            )),
            Some(_) => {}
        }
    }
    for after in new.iter().filter(|after| find(old, after).is_none()) {
        said.push(format!(
            "a new route for {}: {}",
            matched(after),
            terms(after, new_config)
        ));
    }
    let order = |routes: &[Route], of: &[Route]| -> Vec<String> {
        let common = routes.iter().filter(|route| find(of, route).is_some());
        common.map(matched).collect()
    };
    if order(old, new) != order(new, old) {
        said.push("the order of routes has changed; the first that matches wins".to_owned());
    }
}

fn matched(route: &Route) -> String {
    let mut text = String::new();
    for method in &route.methods {
        _ = write!(text, "{method} ");
    }
    if let Some(host) = &route.host {
        _ = write!(text, "{host}");
    }
    text + route.path.as_ref().map_or("/**", PathPattern::as_str)
}

fn terms(route: &Route, config: &Config) -> String {
    let mut text = match route.access {
        Access::Public => "everybody passes; the app does not get the user",
        Access::Optional => "everybody passes; the app gets the user",
        Access::Login => "signed-in users pass",
        Access::Api => "signed-in users pass; others get 401",
        Access::Deny => "nobody passes",
    }
    .to_owned();
    let requirements = &route.requirements;
    if requirements.all != Requirement::default() {
        _ = write!(text, ", with {}", required(&requirements.all));
    }
    if !requirements.any.is_empty() {
        let any: Vec<_> = requirements.any.iter().map(required).collect();
        _ = write!(text, ", with one of ({})", any.join(") or ("));
    }
    if !route.limits.is_empty() {
        _ = write!(text, ", limited to {}", listed(&route.limits));
    }
    if let Some(step_up) = &route.step_up {
        if let Some(age) = step_up.max_age {
            _ = write!(text, ", signed in at most {age:?} ago");
        }
        if let Some(classes) = step_up.acr_parameter() {
            _ = write!(text, ", by one of ({classes})");
        }
    }
    if route.dry_run {
        text.push_str(", as a dry run");
    }
    if let Some(message) = &route.deny_message {
        _ = write!(text, ", with the message {message:?} for others");
    }
    if route.keeps_slashes {
        text.push_str(", with %2F inside a segment");
    }
    match config.upstreams.get(route.upstream) {
        Some(app) if app.name != DEFAULT_UPSTREAM => _ = write!(text, ", to {}", app.name),
        _ => {}
    }
    text
}

fn required(requirement: &Requirement) -> String {
    let mut parts: Vec<_> = requirement.lists.iter().map(list).collect();
    if !requirement.providers.is_empty() {
        parts.push(format!("providers {}", requirement.providers.join(", ")));
    }
    if !requirement.networks.is_empty() {
        parts.push(format!("networks {}", listed(&requirement.networks)));
    }
    if !requirement.credentials.is_empty() {
        let names = requirement.credentials.iter().map(|proof| proof.name());
        let names: Vec<_> = names.collect();
        parts.push(format!("credentials {}", names.join(", ")));
    }
    if !requirement.scopes.is_empty() {
        parts.push(format!("all scopes of {}", requirement.scopes.join(" ")));
    }
    parts.join(" and ")
}

fn allowed(allow: &Allow) -> String {
    match allow {
        Allow::Anyone => "anyone who can sign in there".to_owned(),
        Allow::Lists(lists) => lists.iter().map(list).collect::<Vec<_>>().join(" and "),
    }
}

fn list(list: &AllowList) -> String {
    format!("{} {}", list.key, list.entries.join(", "))
}

fn headers(config: &Config) -> String {
    let names = config.headers.identity.iter();
    let names: Vec<_> = names
        .map(|(name, source)| format!("{name} = {source:?}"))
        .collect();
    names.join(", ")
}

fn listed(items: &[impl ToString]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}
