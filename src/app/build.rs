//! Builds a snapshot from a configuration.

use std::{io, sync::Arc};

use futures_util::{FutureExt as _, future::BoxFuture};
use http::{HeaderName, header::AUTHORIZATION};
use tokio_util::task::AbortOnDropHandle;

use super::services::{self, Services};
use crate::{
    api_token::{self, ApiTokenAuthenticator, ServiceTokens},
    app_secret::AppSecret,
    assertion::Assertions,
    bearer::Bearers,
    certificate,
    clean::{Normalizer, identity::ReservedNames},
    config::Config,
    credential::{Authenticator, Authenticators},
    forward::{IdentityHeaders, UpstreamTarget, settings::UpstreamSettings},
    identity_headers::HeaderSource,
    issuer::{
        AccessTokens, Issuer, id_token,
        signing::{DEFAULT_AGE, Signing},
    },
    jose::sign::SigningKey,
    login::{Logins, return_to::ReturnRules},
    origin::PublicOrigin,
    provider::{HttpClient, Providers},
    route::{HostPattern, Routes},
    session::{
        Sessions, cookie::Cookies, directory::ActiveSessions, refresh::RefreshPolicy,
        seal::KeyRing, settings::StoreSettings,
    },
    site::{ProviderButton, Site},
    snapshot::Snapshot,
    token_exchange::TokenExchanges,
    tokens::KeepTokens,
    trust,
    users::Users,
};

/// Makes a snapshot of `config`. What `earlier` has learnt of providers, and its connections to the app, go over to it
/// where they are the same.
///
/// # Errors
/// When a certificate cannot be read.
pub(super) fn snapshot(
    config: &Config,
    services: &Services,
    earlier: Option<&Snapshot>,
) -> io::Result<Snapshot> {
    let outbound_tls = trust::client_config();
    let http = HttpClient::new(
        Arc::clone(&outbound_tls),
        config.proxies.clone(),
        config.limits.provider_response,
        services.metrics.limits.clone(),
    );
    let upstreams = upstreams(config, &outbound_tls, services, earlier)?;
    let providers = providers(config, &http, earlier);
    let mut upkeep = providers.upkeep();
    upkeep.extend(fresh_keys(config, services));
    let upkeep = upkeep
        .into_iter()
        .map(|work| AbortOnDropHandle::new(tokio::spawn(work)));

    let keys = Arc::new(services::keys(config));
    let site = site(config);
    let signing = signing(config, services);
    let headers = config.headers.names();
    let audiences = config.upstreams.iter().map(|app| app.audience.clone());
    Ok(Snapshot {
        assertions: Assertions::new(
            &keys,
            &config.gate_name(),
            site.origin(),
            audiences.collect(),
            config.headers.max_bytes,
        ),
        logins: Logins::new(
            Arc::clone(&providers),
            Arc::clone(&keys),
            site.return_rules.clone(),
            &site.public_url,
            keep_tokens(config),
            Arc::clone(&services.logins),
        ),
        normalizer: normalizer(config, &headers, &site),
        routes: Routes::new(config.routes.clone()),
        forward_auth: config.forward_auth,
        presence: ActiveSessions::new(
            Arc::clone(&services.directory),
            Arc::clone(&services.revocations),
            services.lifetimes,
            services.knowledge,
        ),
        sessions: Sessions {
            keys: Arc::clone(&keys),
            cookies: Cookies::new(&config.session, &config.public_url, &config.prefix),
            lifetimes: services.lifetimes,
            storage: services.storage.clone(),
            revocations: Arc::clone(&services.revocations),
            refresher: Arc::clone(&services.refresher),
            token_revoker: Arc::clone(&services.token_revoker),
        },
        client_certificates: client_certificates(config),
        authenticators: authenticators(config, services, &providers, &keys, &signing),
        api_tokens: config
            .api_tokens
            .clone()
            .map(|settings| api_token::Enabled {
                tokens: Arc::clone(&services.api_tokens),
                settings,
            }),
        kept_api_tokens: Arc::clone(&services.api_tokens),
        writes_authorization: headers.contains(&AUTHORIZATION),
        kept_grants: Arc::clone(&services.grants),
        issuer: issuer(config, services, &site, signing),
        exchanges: TokenExchanges::new(Arc::clone(&providers)),
        app: config.app.as_ref().map(|app| AppSecret::new(&app.secret)),
        has_own_tokens: config.api_tokens.is_some() || !config.service_tokens.is_empty(),
        refuse_cross_site: config.refuse_cross_site,
        identity_headers: Arc::new(IdentityHeaders::new(config.headers.clone())),
        upstreams,
        limits: Arc::new(config.limits.clone()),
        metrics: Arc::clone(&services.metrics),
        audit: services.audit.clone(),
        limiter: Arc::clone(&services.limiter),
        upkeep: upkeep.collect(),
        providers,
        site,
    })
}

/// The providers, with what the earlier ones had learned.
fn providers(config: &Config, http: &HttpClient, earlier: Option<&Snapshot>) -> Arc<Providers> {
    let providers = Providers::new(&config.providers, &config.headers, http);
    if let Some(earlier) = earlier {
        providers.resume(&earlier.providers);
    }
    Arc::new(providers)
}

/// The authorization server, where the gate is one.
fn issuer(
    config: &Config,
    services: &Services,
    site: &Site,
    signing: Arc<Signing>,
) -> Option<Issuer> {
    let settings = config.issuer.clone()?;
    let marked = config.routes.iter().filter_map(|route| route.resource);
    let mut scopes: Vec<String> = marked.map(|resource| resource.scope().to_owned()).collect();
    scopes.extend(settings.scopes.iter().cloned());
    scopes.sort_unstable();
    scopes.dedup();
    // The operator may have named them, too.
    scopes.retain(|scope| !id_token::SCOPES.contains(&&**scope));
    scopes.extend(id_token::SCOPES.map(str::to_owned));
    let state = (
        Arc::clone(&services.grants),
        Arc::clone(&services.issuer),
        signing,
    );
    let lasts = config.session.lifetime;
    Some(Issuer::new(
        (site.origin(), &site.prefix),
        settings,
        scopes,
        lasts,
        state,
    ))
}

/// What signs tokens.
fn signing(config: &Config, services: &Services) -> Arc<Signing> {
    let files = config.issuer.iter().flat_map(|issuer| &issuer.signing_keys);
    // Each was read when the configuration was.
    let files = files.filter_map(|key| SigningKey::from_pem(key.expose()).ok());
    let lifetime = config
        .issuer
        .as_ref()
        .map_or(DEFAULT_AGE, |issuer| issuer.signing_key_lifetime);
    Arc::new(Signing::new(
        files.collect(),
        &services.signing_keys,
        lifetime,
    ))
}

/// Looks after the keys that sign tokens, where the gate makes them.
fn fresh_keys(config: &Config, services: &Services) -> Option<BoxFuture<'static, ()>> {
    let issuer = config.issuer.as_ref()?;
    let keys = Arc::clone(&services.signing_keys);
    let lifetime = issuer.signing_key_lifetime;
    let is_own = issuer.signing_keys.is_empty();
    is_own.then(|| keys.keep_fresh(lifetime).boxed())
}

fn client_certificates(config: &Config) -> Option<certificate::Rules> {
    let clients = config.tls.as_ref()?.clients.as_ref()?;
    Some(clients.into())
}

fn normalizer(config: &Config, headers: &[HeaderName], site: &Site) -> Normalizer {
    // `Authorization` is read first, for it may be a credential.
    let reserved = headers.iter().filter(|name| **name != AUTHORIZATION);
    Normalizer {
        reserved: Arc::new(ReservedNames::new(reserved)),
        trusted_proxies: config.trusted_proxies.clone(),
        forwarding_headers: config.forwarding_headers,
        public_origin: PublicOrigin::new(&site.public_url),
        apps: site.apps.clone(),
    }
}

/// What proves who sends a request, beside a session: the gate's own tokens, passwords, and tokens of providers.
fn authenticators(
    config: &Config,
    services: &Services,
    providers: &Arc<Providers>,
    keys: &Arc<KeyRing>,
    signing: &Arc<Signing>,
) -> Authenticators {
    let mut all: Vec<Arc<dyn Authenticator>> = Vec::new();
    if let Some(issuer) = &config.issuer {
        all.push(Arc::new(AccessTokens::new(
            Arc::clone(keys),
            Arc::clone(providers),
            Arc::clone(&services.revocations),
            (
                Arc::clone(signing),
                config.public_url.url.origin().ascii_serialization(),
            ),
            &issuer.clients,
        )));
    }
    if !config.service_tokens.is_empty() {
        let guesses = Arc::clone(&services.guesses);
        let is_last = config.api_tokens.is_none();
        let service = ServiceTokens::new(&config.service_tokens, guesses, is_last);
        all.push(Arc::new(service));
    }
    if let Some(settings) = &config.api_tokens {
        let tokens = Arc::clone(&services.api_tokens);
        let providers = Arc::clone(providers);
        all.push(Arc::new(ApiTokenAuthenticator::new(
            tokens,
            settings.clone(),
            providers,
        )));
    }
    if let Some(settings) = &config.users {
        let guesses = Arc::clone(&services.passwords);
        all.push(Arc::new(Users::new(settings.clone(), guesses)));
    }
    let bearers = Bearers::new(
        providers,
        Arc::clone(&services.guesses),
        keep_tokens(config),
    );
    all.extend(bearers.map(|bearers| Arc::new(bearers) as _));
    Authenticators::new(all)
}

/// The gate as users see it.
pub(crate) fn site(config: &Config) -> Site {
    // Who only vouches for tokens has no face.
    let faces = config.providers.iter().filter(|provider| provider.login);
    let faces: Vec<_> = faces.map(ProviderButton::from).collect();
    let apps = apps(config);
    let mut return_rules =
        ReturnRules::new(&config.public_url, &config.redirect_hosts, &config.prefix)
            .with_apps(&apps)
            .without(faces.iter().map(|face| face.callback_path.clone()));
    if config.issuer.is_some() {
        return_rules = return_rules
            .with_own_page("/authorize")
            .with_own_page("/device")
            .with_own_page("/end_session");
    }
    Site {
        has_issuer: config.issuer.is_some(),
        has_app: config.app.as_ref().is_some_and(|app| app.listen.is_none()),
        providers: faces,
        public_url: config.public_url.clone(),
        prefix: config.prefix.clone(),
        root_health: config.root_health,
        return_rules,
        apps,
    }
}

/// The hosts of the apps that share the login.
fn apps(config: &Config) -> Vec<HostPattern> {
    if config.session.cookie_domain.is_none() {
        return Vec::new();
    }
    let mut apps = Vec::new();
    for host in config.routes.iter().filter_map(|route| route.host.as_ref()) {
        if !apps.contains(host) {
            apps.push(host.clone());
        }
    }
    apps
}

/// Has the services work by `config`, of which `snapshot` was made, from here on.
pub(super) fn adopt(config: &Config, snapshot: &Snapshot, services: &Services) {
    services
        .token_revoker
        .adopt(Arc::clone(&snapshot.providers));
    let headers = Arc::clone(&snapshot.identity_headers);
    services.refresher.adopt(RefreshPolicy {
        providers: Arc::clone(&snapshot.providers),
        keep: keep_tokens(config),
        provider_grace: config.session.provider_grace,
        missing: Arc::new(move |session| headers.missing(session.principal())),
    });
    services.adopt_keys(&snapshot.sessions.keys);
    services.audit.adopt(config.audit.as_ref());
}

/// The apps: the same targets as before where nothing about them has changed, so that their connections stay, and what
/// is known of their addresses.
fn upstreams(
    config: &Config,
    tls: &Arc<rustls::ClientConfig>,
    services: &Services,
    earlier: Option<&Snapshot>,
) -> io::Result<Vec<Arc<UpstreamTarget>>> {
    let known = earlier.map_or(&[][..], |earlier| &earlier.upstreams);
    let target = |settings: &UpstreamSettings| {
        if let Some(target) = known.iter().find(|target| target.is_of(settings)) {
            return Ok(Arc::clone(target));
        }
        let metrics = services.metrics.upstreams.of(&settings.name);
        UpstreamTarget::new(settings.clone(), tls, &metrics, &services.connection_limit)
            .map(Arc::new)
    };
    config.upstreams.iter().map(target).collect()
}

/// The tokens that a header carries, that the app may ask for, or that are exchanged for others.
fn keep_tokens(config: &Config) -> KeepTokens {
    let headers = &config.headers;
    let carried = |wanted| headers.identity.iter().any(|(_, source)| *source == wanted);
    let mut routes = config.routes.iter();
    let exchanges = routes.any(|route| route.token_exchange.is_some());
    let needs_any = exchanges || config.app.is_some();
    KeepTokens {
        access: needs_any || carried(HeaderSource::AccessToken),
        id: carried(HeaderSource::IdToken).then_some(headers.max_bytes),
        // What is refreshed for the app could not reach the browser's cookie.
        lasting: config.app.is_some() && config.session.store == StoreSettings::Cookie,
    }
}
