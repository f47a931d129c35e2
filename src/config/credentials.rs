//! Which credentials a route accepts, and whether anybody can pass it. Pure.

use super::Config;
use crate::{
    access::Requirement,
    api_token::settings::SERVICE,
    certificate::CERTIFICATE,
    credential::Proof,
    issuer::settings::CLIENT,
    provider::{kind::Id, settings::ProviderSettings},
    route::{Access, Route},
    users::settings::USERS,
};

/// Why `route` does not accept credentials of this kind; none where it does.
pub fn not_accepted(config: &Config, route: &Route, proof: Proof) -> Option<&'static str> {
    if !route.takes_sessions() && !proof.is_own_token() {
        return Some("an mcp route accepts access tokens, API tokens and service tokens only");
    }
    if proof == Proof::AccessToken && route.resource.is_none() {
        return Some("the route accepts no access tokens: it has neither `mcp` nor `tokens`");
    }
    let (is_there, why) = match proof {
        Proof::Session => (
            config.providers.iter().any(|provider| provider.login),
            "nobody can sign in: all providers have login = false",
        ),
        Proof::Bearer => (
            config.providers.iter().any(|one| one.bearer.is_some()),
            "no tokens of providers are accepted: no provider has `bearer`",
        ),
        Proof::ApiToken => (
            config.api_tokens.is_some(),
            "no API tokens are accepted: there is no [api_tokens]",
        ),
        Proof::AccessToken => (
            config.issuer.is_some(),
            "no access tokens are accepted: there is no [issuer]",
        ),
        Proof::ServiceToken => (
            !config.service_tokens.is_empty(),
            "no service tokens are accepted: there are no [[service_tokens]]",
        ),
        Proof::Password => (
            config.users.is_some(),
            "no passwords are accepted: there is no [users]",
        ),
        Proof::Certificate => (
            config.tls.as_ref().is_some_and(|tls| tls.clients.is_some()),
            "no client certificates are accepted: there is no tls.client_ca",
        ),
    };
    (!is_there).then_some(why)
}

/// Whether the gate reads the header in which such a credential comes. Else the app gets it, and nobody is known.
pub fn reads_header_of(config: &Config, proof: Proof) -> bool {
    let has_tokens = config.api_tokens.is_some() || !config.service_tokens.is_empty();
    let has_bearer = config.providers.iter().any(|one| one.bearer.is_some());
    match proof {
        Proof::Session | Proof::Certificate => false,
        Proof::Password => has_tokens || config.users.is_some(),
        Proof::Bearer | Proof::ApiToken | Proof::AccessToken | Proof::ServiceToken => {
            has_tokens || has_bearer || config.issuer.is_some()
        }
    }
}

/// A warning for each route that nobody can ever pass, and for each rule or provider whose tokens nobody can have.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings: Vec<String> = config.providers.iter().filter_map(useless_bearer).collect();
    for route in &config.routes {
        if route.dry_run || !matches!(route.access, Access::Login | Access::Api) {
            continue;
        }
        let all = &route.requirements.all;
        let closed: Option<Vec<String>> = match &route.requirements.any[..] {
            [] => why_nobody(config, route, &[all]).map(|why| vec![why]),
            any => any
                .iter()
                .map(|one| why_nobody(config, route, &[all, one]))
                .collect(),
        };
        warnings.extend(closed.and_then(|whys| whys.into_iter().next()));
    }
    warnings
}

/// Google signs ID tokens alone, and its access tokens are opaque.
fn useless_bearer(provider: &ProviderSettings) -> Option<String> {
    let bearer = provider.bearer.as_ref()?;
    let is_useless =
        provider.kind.id == Id::Google && !bearer.accept_id_tokens && !bearer.introspect;
    is_useless.then(|| {
        format!(
            "providers.{}.bearer accepts no token: Google's access tokens are opaque, and what it signs are ID tokens. Set \
             accept_id_tokens = true, or introspect = true",
            provider.name
        )
    })
}

/// Why no credential of this configuration can fit all of `requirements`; none where one can.
fn why_nobody(config: &Config, route: &Route, requirements: &[&Requirement]) -> Option<String> {
    let lets_nobody_pass = |why: &str| Some(format!("{} lets nobody pass: {why}", route.name));
    let credentials = in_common(requirements, |one| &one.credentials);
    let providers = in_common(requirements, |one| &one.providers);
    if matches!(credentials.as_deref(), Some([])) {
        return lets_nobody_pass("`allow` and `any` have no credential in common");
    }
    if matches!(providers.as_deref(), Some([])) {
        return lets_nobody_pass("`allow` and `any` have no provider in common");
    }
    let mut fitting = credentials.clone().unwrap_or_else(|| Proof::ALL.to_vec());
    fitting.retain(|proof| not_accepted(config, route, *proof).is_none());
    if fitting.is_empty() {
        let asked = credentials.unwrap_or_default();
        let why = asked
            .first()
            .and_then(|proof| not_accepted(config, route, *proof));
        return lets_nobody_pass(&match why {
            Some(why) => format!(
                "it asks for the credential {}, and {why}",
                written(asked.iter().map(|proof| proof.name()), " or ")
            ),
            None => "this configuration has no credential for it".to_owned(),
        });
    }
    if let Some(providers) = providers {
        fitting.retain(|proof| {
            let sources = sources(config, *proof);
            providers.iter().any(|name| sources.contains(&&**name))
        });
        if fitting.is_empty() {
            return lets_nobody_pass(&format!(
                "it asks for the provider {}, and no credential of this configuration is from there",
                written(providers.iter().map(String::as_str), " or ")
            ));
        }
    }
    let scopes: Vec<String> = requirements
        .iter()
        .flat_map(|one| one.scopes.clone())
        .collect();
    fitting.retain(|proof| can_have(config, route, *proof, &scopes));
    if !fitting.is_empty() {
        return None;
    }
    let (what, one) = match scopes.len() {
        1 => ("scope", "it"),
        _ => ("scopes", "them"),
    };
    let hint = if route.resource.is_some() && config.issuer.is_some() {
        "add to scopes of [issuer] what clients may ask for"
    } else {
        "set bearer, [api_tokens], [[service_tokens]] or [issuer]"
    };
    Some(format!(
        "{} asks for the {what} {}, and no credential of this configuration can have {one}: {hint}",
        route.name,
        written(scopes.iter().map(String::as_str), ", ")
    ))
}

/// What is on the lists of all `requirements`; none where all lists are empty, which ask for nothing.
fn in_common<T: Clone + PartialEq>(
    requirements: &[&Requirement],
    list: fn(&Requirement) -> &Vec<T>,
) -> Option<Vec<T>> {
    let mut lists = requirements
        .iter()
        .map(|one| list(one))
        .filter(|list| !list.is_empty());
    let mut common = lists.next()?.clone();
    for list in lists {
        common.retain(|entry| list.contains(entry));
    }
    Some(common)
}

fn written<'a>(names: impl Iterator<Item = &'a str>, separator: &str) -> String {
    let quoted: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
    quoted.join(separator)
}

/// What may stand as the provider of somebody with such a credential.
fn sources(config: &Config, proof: Proof) -> Vec<&str> {
    let providers = config.providers.iter();
    let names = |is_it: fn(&ProviderSettings) -> bool| {
        let its = providers.clone().filter(move |provider| is_it(provider));
        its.map(|provider| provider.name.as_str())
            .collect::<Vec<_>>()
    };
    match proof {
        Proof::Session | Proof::ApiToken => names(|provider| provider.login),
        Proof::AccessToken => {
            let mut all = names(|_| true);
            all.push(CLIENT);
            all
        }
        Proof::Bearer => names(|provider| provider.bearer.is_some()),
        Proof::ServiceToken => vec![SERVICE],
        Proof::Password => vec![USERS],
        Proof::Certificate => vec![CERTIFICATE],
    }
}

/// Whether one such credential can have all of these scopes.
fn can_have(config: &Config, route: &Route, proof: Proof, scopes: &[String]) -> bool {
    let all_in = |held: &[String]| scopes.iter().all(|scope| held.contains(scope));
    match proof {
        Proof::Session | Proof::Password | Proof::Certificate => scopes.is_empty(),
        // Nobody knows what a provider writes into them.
        Proof::Bearer => true,
        Proof::ApiToken => {
            let settings = config.api_tokens.as_ref();
            settings.is_some_and(|settings| all_in(&settings.scopes))
        }
        Proof::ServiceToken => config
            .service_tokens
            .iter()
            .any(|token| all_in(&token.scopes)),
        Proof::AccessToken => config.issuer.as_ref().is_some_and(|issuer| {
            let base = route.resource.map(|resource| resource.scope().to_owned());
            let with_base = |held: &[String]| {
                let base = base.iter().cloned();
                held.iter().cloned().chain(base).collect::<Vec<_>>()
            };
            let machines = issuer
                .clients
                .iter()
                .filter_map(|client| client.machine.as_ref());
            let mut machines = machines.map(|machine| with_base(&machine.scopes));
            let openid = ["openid", "profile", "email", "groups"].map(str::to_owned);
            let mut of_users = with_base(&issuer.scopes);
            of_users.extend(openid);
            all_in(&of_users) || machines.any(|held| all_in(&held))
        }),
    }
}
