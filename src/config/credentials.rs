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
        let ways: Vec<Requirement> = match &route.requirements.any[..] {
            [] => vec![all.clone()],
            any => any.iter().map(|one| both(all, one)).collect(),
        };
        let closed: Option<Vec<String>> = ways
            .iter()
            .map(|way| why_nobody(config, route, way))
            .collect();
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

/// What two requirements ask together, of credentials, providers and scopes.
fn both(one: &Requirement, other: &Requirement) -> Requirement {
    Requirement {
        providers: common(&one.providers, &other.providers),
        credentials: common(&one.credentials, &other.credentials),
        scopes: [&one.scopes[..], &other.scopes[..]].concat(),
        ..Requirement::default()
    }
}

/// What is on both lists; an empty one asks for nothing. Lists without a common entry are left as one of them is: that is for the eye.
fn common<T: Clone + PartialEq>(one: &[T], other: &[T]) -> Vec<T> {
    if one.is_empty() || other.is_empty() {
        return [one, other].concat();
    }
    let both = one.iter().filter(|entry| other.contains(entry));
    let both: Vec<T> = both.cloned().collect();
    if both.is_empty() { one.to_vec() } else { both }
}

/// Why no credential of this configuration can fit; none where one can.
fn why_nobody(config: &Config, route: &Route, way: &Requirement) -> Option<String> {
    let accepted = |proof: &Proof| not_accepted(config, route, *proof).is_none();
    let named = |proof: &Proof| way.credentials.is_empty() || way.credentials.contains(proof);
    let mut fitting: Vec<Proof> = Proof::ALL.into_iter().filter(accepted).collect();
    fitting.retain(named);
    let name = &route.name;
    if fitting.is_empty() {
        let why = way.credentials.first();
        let why = why.and_then(|proof| not_accepted(config, route, *proof));
        return Some(match why {
            Some(why) => format!(
                "{name} lets nobody pass: it asks for the credential {}, and {why}",
                written(way.credentials.iter().map(|proof| proof.name()))
            ),
            None => format!("{name} lets nobody pass: this configuration has no credential for it"),
        });
    }
    fitting.retain(|proof| {
        let of = sources(config, *proof);
        way.providers.is_empty() || way.providers.iter().any(|name| of.contains(&&**name))
    });
    if fitting.is_empty() {
        return Some(format!(
            "{name} lets nobody pass: it asks for the provider {}, and no credential of this configuration is from there",
            written(way.providers.iter().map(String::as_str))
        ));
    }
    fitting.retain(|proof| can_have(config, route, *proof, &way.scopes));
    if !fitting.is_empty() {
        return None;
    }
    let scopes = written(way.scopes.iter().map(String::as_str));
    let (what, one) = match way.scopes.len() {
        1 => ("scope", "it"),
        _ => ("scopes", "them"),
    };
    let hint = if route.resource.is_some() && config.issuer.is_some() {
        "add to scopes of [issuer] what clients may ask for"
    } else {
        "set bearer, [api_tokens], [[service_tokens]] or [issuer]"
    };
    Some(format!(
        "{name} asks for the {what} {scopes}, and no credential of this configuration can have {one}: {hint}"
    ))
}

fn written<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
    quoted.join(", ")
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
