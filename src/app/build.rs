//! A configuration becomes a snapshot.

use std::{io, sync::Arc};

use tokio_util::task::AbortOnDropHandle;

use super::services::{self, Services};
use crate::{
    clean::{Cleaning, identity::ReservedNames, origin::PublicOrigin},
    config::Config,
    forward::{IdentityHeaders, UpstreamTarget},
    identity_headers::{HeaderSettings, HeaderSource},
    login::{Logins, return_to::ReturnRules},
    provider::{HttpClient, Providers},
    route::Routes,
    session::{Sessions, cookie::Cookies, directory::Presence, refresh::RefreshPolicy},
    site::{ProviderFace, Site},
    snapshot::Snapshot,
    tokens::KeepTokens,
    trust,
};

/// What ran before, and by which configuration.
#[derive(Clone, Copy)]
pub(super) struct Earlier<'a> {
    pub(super) config: &'a Config,
    pub(super) snapshot: &'a Snapshot,
}

/// Makes a snapshot of `config`. What `earlier` has learnt of providers, and its connections to the app, go over to it
/// where they are the same.
///
/// # Errors
/// When a certificate cannot be read.
pub(super) fn snapshot(
    config: &Config,
    services: &Services,
    earlier: Option<Earlier<'_>>,
) -> io::Result<Snapshot> {
    let outbound_tls = trust::client_config();
    let http = HttpClient::new(
        Arc::clone(&outbound_tls),
        config.proxies.clone(),
        config.limits.provider_response,
        services.metrics.limits.clone(),
    );
    let upstream = upstream(config, &outbound_tls, services, earlier)?;
    let providers = Providers::new(&config.providers, &config.headers, &http);
    if let Some(earlier) = earlier {
        providers.resume(&earlier.snapshot.providers);
    }
    let providers = Arc::new(providers);
    let upkeep = providers.upkeep().into_iter();
    let upkeep = upkeep.map(|work| AbortOnDropHandle::new(tokio::spawn(work)));

    let keys = Arc::new(services::keys(config));
    let site = site(config);
    Ok(Snapshot {
        logins: Logins::new(
            Arc::clone(&providers),
            Arc::clone(&keys),
            site.return_rules.clone(),
            &site.public_url,
            keep_tokens(&config.headers),
            Arc::clone(&services.logins),
        ),
        cleaning: Cleaning {
            reserved: Arc::new(ReservedNames::new(&config.headers.names())),
            trusted_proxies: config.trusted_proxies.clone(),
            public_origin: PublicOrigin::new(&site.public_url),
        },
        routes: Routes::new(config.routes.clone()),
        presence: Presence::new(
            Arc::clone(&services.directory),
            Arc::clone(&services.revocations),
            services.lifetimes,
            services.knowledge,
        ),
        sessions: Sessions {
            keys,
            cookies: Cookies::new(&config.session, &config.public_url, &config.prefix),
            lifetimes: services.lifetimes,
            keeping: services.keeping.clone(),
            revocations: Arc::clone(&services.revocations),
            refresher: Arc::clone(&services.refresher),
            farewell: Arc::clone(&services.farewell),
        },
        refuse_cross_site: config.refuse_cross_site,
        identity_headers: IdentityHeaders::new(config.headers.clone()),
        upstream,
        upstream_timeout: config.upstream_timeout,
        limits: Arc::new(config.limits.clone()),
        metrics: Arc::clone(&services.metrics),
        upkeep: upkeep.collect(),
        providers,
        site,
    })
}

/// The gate as users see it.
pub(crate) fn site(config: &Config) -> Site {
    let faces: Vec<_> = config.providers.iter().map(ProviderFace::from).collect();
    let return_rules = ReturnRules::new(&config.public_url, &config.redirect_hosts, &config.prefix)
        .without(faces.iter().map(|face| face.callback_path.clone()));
    Site {
        providers: faces,
        public_url: config.public_url.clone(),
        prefix: config.prefix.clone(),
        root_health: config.root_health,
        return_rules,
    }
}

/// Has the services work by `config`, of which `snapshot` was made, from here on.
pub(super) fn adopt(config: &Config, snapshot: &Snapshot, services: &Services) {
    services.farewell.adopt(Arc::clone(&snapshot.providers));
    services.refresher.adopt(RefreshPolicy {
        providers: Arc::clone(&snapshot.providers),
        keep: keep_tokens(&config.headers),
        provider_grace: config.session.provider_grace,
    });
    services.adopt_keys(&snapshot.sessions.keys);
}

/// Where the app is: the same target as before where nothing about it has changed, so that its connections stay.
fn upstream(
    config: &Config,
    tls: &Arc<rustls::ClientConfig>,
    services: &Services,
    earlier: Option<Earlier<'_>>,
) -> io::Result<Arc<UpstreamTarget>> {
    let is_same = |earlier: &Earlier<'_>| {
        let (old, new) = (earlier.config, config);
        // The file of an authority may hold another one by now.
        new.upstream_ca.is_none()
            && old.upstream_ca.is_none()
            && old.upstream == new.upstream
            && old.upstream_reuse == new.upstream_reuse
            && old.upstream_timeout == new.upstream_timeout
    };
    if let Some(earlier) = earlier.filter(is_same) {
        return Ok(Arc::clone(&earlier.snapshot.upstream));
    }
    let own = match &config.upstream_ca {
        Some(file) => Some(trust::client_config_with(trust::roots_from(file)?)),
        None => None,
    };
    let target = UpstreamTarget::new(
        &config.upstream,
        own.as_ref().unwrap_or(tls),
        config.upstream_reuse,
        config.upstream_timeout,
        services.metrics.upstream.clone(),
    )?;
    Ok(Arc::new(target))
}

/// The tokens that a header carries.
fn keep_tokens(headers: &HeaderSettings) -> KeepTokens {
    let carries = |wanted| headers.identity.iter().any(|(_, source)| *source == wanted);
    KeepTokens {
        access: carries(HeaderSource::AccessToken),
        id: carries(HeaderSource::IdToken),
    }
}
