//! The whole gate, built from a configuration, run until it is told to stop.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin,
    clean::{Cleaning, identity::ReservedNames, origin::PublicOrigin},
    clock,
    config::{Config, ListenAddress, SessionConfig, StoreConfig},
    forward::{IdentityHeaders, UpstreamTarget},
    gate::Gate,
    listen::{self, Acceptor, Admission, Capacity, Listener, Recipe, WorkerHandle},
    login::{Logins, return_to::ReturnRules},
    observe::{self, metrics::Metrics},
    provider::{HttpClient, Providers},
    route::Routes,
    session::{
        KeepTokens, Keeping, Lifetimes, Sessions,
        cookie::Cookies,
        directory::{Directory, InProcess, Knowledge, Presence},
        farewell::Farewell,
        refresh::Refresher,
        revocation::Revocations,
        seal::KeyRing,
        store::{Memory, Redis, Store},
    },
    site::{ProviderFace, Site},
    trust,
};

/// Serves until SIGTERM, SIGINT or SIGQUIT, then finishes what runs, within the grace. A second signal ends at
/// once.
///
/// # Errors
/// When a socket cannot be bound, a certificate cannot be read, or a worker cannot be started.
pub async fn run(config: Config) -> io::Result<()> {
    let stop = stop_on_signal()?;
    let open_files = listen::allow_open_files();
    let listeners = bind("listen", &config.listen)?;
    let admin_listener = bind("admin_listen", &config.admin_listen)?.pop();
    let tls = config.tls.as_ref().map(listen::tls::acceptor).transpose()?;
    let outbound_tls = trust::client_config();
    let metrics = Metrics::default();
    let http = HttpClient::new(
        Arc::clone(&outbound_tls),
        config.proxies.clone(),
        config.limits.provider_response,
        metrics.limits.clone(),
    );
    let providers = Arc::new(Providers::new(&config.providers, &config.headers, &http));
    for upkeep in providers.upkeep() {
        tokio::spawn(upkeep);
    }

    let admission = admission(&config, open_files, &metrics);
    let upstream = Arc::new(upstream(&config, &outbound_tls, &metrics)?);
    let (workers, upstream_timeout, limits, grace) = (
        config.workers,
        config.upstream_timeout,
        Arc::new(config.limits.clone()),
        config.shutdown_grace,
    );
    let revocations = Arc::new(Revocations::new(config.session.lifetime));
    let farewell = Arc::new(Farewell::new(Arc::clone(&providers), Handle::current()));
    let refresher = Arc::new(Refresher::new(
        Arc::clone(&providers),
        Arc::clone(&revocations),
        Arc::clone(&farewell),
        KeepTokens::of(&config.headers),
        config.session.provider_grace,
        Handle::current(),
    ));
    let redis = start_redis(&config, &revocations);
    let gate = build(
        config,
        providers,
        revocations,
        Arc::clone(&refresher),
        Arc::clone(&farewell),
        redis.clone(),
        metrics,
    );
    let gate = Arc::new(gate);
    let recipe = Recipe {
        gate: Arc::clone(&gate),
        upstream,
        upstream_timeout,
        limits,
        tls,
        grace,
    };
    let workers = (0..workers)
        .map(|number| WorkerHandle::start(number, recipe.clone()))
        .collect::<io::Result<Vec<_>>>()?;
    let workers = Arc::new(workers);

    if let Some(listener) = admin_listener {
        tokio::spawn(admin::serve(listener, gate, stop.clone()));
    }
    let acceptor = Acceptor {
        admission,
        workers: Arc::clone(&workers),
        is_tls: recipe.tls.is_some(),
        stop,
    };
    accept(acceptor, listeners).await;

    tracing::info!("stopping: finishing what runs");
    if let Some(workers) = Arc::into_inner(workers) {
        let _ = tokio::task::spawn_blocking(|| WorkerHandle::finish_all(workers)).await;
    }
    finish(&refresher, &farewell, grace).await;
    if let Some(redis) = redis {
        redis.finish().await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Accepts on every listener until the stop.
async fn accept(acceptor: Acceptor, listeners: Vec<Listener>) {
    let acceptor = Arc::new(acceptor);
    let mut acceptors = tokio::task::JoinSet::new();
    for listener in listeners {
        tracing::info!(address = listener.place(), "listening");
        let acceptor = Arc::clone(&acceptor);
        acceptors.spawn(async move { acceptor.accept(listener).await });
    }
    while acceptors.join_next().await.is_some() {}
}

/// Room for as many connections as are configured, or as there are files and memory for.
fn admission(config: &Config, open_files: u64, metrics: &Metrics) -> Arc<Admission> {
    let capacity = Capacity::new(&config.limits, open_files, listen::memory_limit());
    tracing::info!(
        connections = capacity.connections,
        per_client = capacity.per_client,
        "room for connections"
    );
    let requests_per_client = usize::try_from(config.limits.requests_per_client);
    Admission::new(
        capacity,
        config.trusted_proxies.clone(),
        requests_per_client.unwrap_or(usize::MAX),
        metrics.connections.clone(),
    )
}

/// Finishes what runs in the background, within `grace`; a second signal does not wait.
async fn finish(refresher: &Refresher, farewell: &Farewell, grace: Duration) {
    // One after the other: a renewal may bring tokens that are to be taken back.
    let finished = async {
        refresher.finish().await;
        farewell.finish().await;
    };
    if timeout(grace, finished).await.is_err() {
        tracing::warn!("the grace is over; renewals and token revocations that still ran are lost");
    }
}

/// Where the app is. `tls` is the system's trust, for where the app has no authority of its own.
fn upstream(
    config: &Config,
    tls: &Arc<rustls::ClientConfig>,
    metrics: &Metrics,
) -> io::Result<UpstreamTarget> {
    let own = match &config.upstream_ca {
        Some(file) => Some(trust::client_config_with(trust::roots_from(file)?)),
        None => None,
    };
    UpstreamTarget::new(
        &config.upstream,
        own.as_ref().unwrap_or(tls),
        config.upstream_reuse,
        config.upstream_timeout,
        metrics.upstream.clone(),
    )
}

/// Puts the gate together. Nothing here can fail: the configuration was checked.
fn build(
    config: Config,
    providers: Arc<Providers>,
    revocations: Arc<Revocations>,
    refresher: Arc<Refresher>,
    farewell: Arc<Farewell>,
    redis: Option<Arc<Redis>>,
    metrics: Metrics,
) -> Gate {
    let keys = Arc::new(KeyRing::new(&config.session.secrets, &config.gate_name()));
    let faces: Vec<_> = config.providers.iter().map(ProviderFace::from).collect();
    let return_rules = ReturnRules::new(&config.public_url, &config.redirect_hosts, &config.prefix)
        .without(faces.iter().map(|face| face.callback_path.clone()));
    let cookies = Cookies::new(&config.session, &config.public_url, &config.prefix);
    let lifetimes = lifetimes(&config.session);
    let directory: Arc<dyn Directory> = match &redis {
        Some(redis) => Arc::new(redis.directory(Arc::clone(&keys))),
        None => Arc::new(InProcess::new(config.session.max_sessions, lifetimes)),
    };
    let revoked = Arc::clone(&revocations);
    let knowledge = knowledge(&config.session);
    let presence = Presence::new(directory, revoked, lifetimes, knowledge);
    let keeping = keeping(&config.session, lifetimes, redis);
    let reserved = ReservedNames::new(&config.headers.names());
    let site = Site {
        providers: faces,
        public_url: config.public_url,
        prefix: config.prefix,
        root_health: config.root_health,
        return_rules,
    };
    Gate {
        logins: Logins::new(
            Arc::clone(&providers),
            Arc::clone(&keys),
            site.return_rules.clone(),
            &site.public_url,
            KeepTokens::of(&config.headers),
        ),
        cleaning: Cleaning {
            reserved: Arc::new(reserved),
            trusted_proxies: config.trusted_proxies,
            public_origin: PublicOrigin::new(&site.public_url),
        },
        routes: Routes::new(config.routes),
        presence,
        sessions: Sessions {
            keys,
            cookies,
            lifetimes,
            keeping,
            revocations,
            refresher,
            farewell,
        },
        identity_headers: IdentityHeaders::new(config.headers),
        metrics,
        providers,
        site,
    }
}

fn lifetimes(config: &SessionConfig) -> Lifetimes {
    Lifetimes {
        lifetime: config.lifetime,
        idle_timeout: config.idle_timeout,
    }
}

/// Redis, where replicas share one. Gates share it with their own replicas only, however many use it.
fn start_redis(config: &Config, revocations: &Arc<Revocations>) -> Option<Arc<Redis>> {
    let session = &config.session;
    let address = match &session.store {
        StoreConfig::Redis(address) => address,
        StoreConfig::Cookie => session.shared.as_ref()?,
        StoreConfig::Memory => return None,
    };
    let gate = config.gate_name();
    let lifetimes = lifetimes(session);
    let secrets = KeyRing::new(&session.secrets, &gate).fingerprints();
    let redis = Redis::start(address, &gate, lifetimes, revocations, secrets);
    Some(redis)
}

fn keeping(config: &SessionConfig, lifetimes: Lifetimes, redis: Option<Arc<Redis>>) -> Keeping {
    let redis = redis.map(|redis| -> Arc<dyn Store> { redis });
    match (&config.store, redis) {
        (StoreConfig::Redis(_), Some(redis)) => Keeping::Store(redis),
        (StoreConfig::Memory, _) => {
            Keeping::Store(Arc::new(Memory::new(config.max_sessions, lifetimes)))
        }
        (_, shared) => Keeping::Cookie { shared },
    }
}

/// What the list of who is signed in where is worth. Notes on their way to Redis may get lost, and what is in a
/// cookie may never have been seen; but a store that ends with the process holds nothing that it has not seen.
fn knowledge(config: &SessionConfig) -> Knowledge {
    match &config.store {
        StoreConfig::Memory => Knowledge::WholeStore,
        StoreConfig::Cookie => Knowledge::CookiesSince(clock::now()),
        StoreConfig::Redis(_) => Knowledge::PartOfStore,
    }
}

fn bind<'c>(
    key: &str,
    addresses: impl IntoIterator<Item = &'c ListenAddress>,
) -> io::Result<Vec<Listener>> {
    let bind = |address: &ListenAddress| {
        Listener::bind(address)
            .map_err(|error| io::Error::new(error.kind(), listen::refusal(key, address, &error)))
    };
    addresses.into_iter().map(bind).collect()
}

/// A token that SIGTERM, SIGINT and SIGQUIT cancel. Signals that have no meaning here are told of; by default they
/// would end the process at once.
fn stop_on_signal() -> io::Result<CancellationToken> {
    let (mut terminate, mut interrupt, mut quit) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::quit())?,
    );
    let others = [
        (SignalKind::hangup(), "SIGHUP"),
        (SignalKind::user_defined1(), "SIGUSR1"),
        (SignalKind::user_defined2(), "SIGUSR2"),
        (SignalKind::alarm(), "SIGALRM"),
    ];
    for (kind, name) in others {
        let mut other = signal(kind)?;
        tokio::spawn(async move {
            while other.recv().await.is_some() {
                tracing::warn!("{name} changes nothing; restart to read the configuration again");
            }
        });
    }
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = quit.recv() => {}
            }
            if again {
                observe::log::finish();
                #[expect(clippy::exit, reason = "whoever signals twice does not want to wait")]
                std::process::exit(130);
            }
            cancel.cancel();
        }
    });
    Ok(stop)
}
