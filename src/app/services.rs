//! What lives as long as the process, whatever the configuration becomes.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use crate::{
    clock,
    config::Config,
    limiter::Limiter,
    login::LoginState,
    observe::{audit::Audit, metrics::Metrics},
    provider::Providers,
    session::{
        Keeping, Lifetimes,
        directory::{Directory, InProcess, Knowledge},
        farewell::Farewell,
        refresh::{RefreshPolicy, Refresher},
        revocation::Revocations,
        seal::KeyRing,
        settings::{SessionSettings, StoreSettings},
        store::{Memory, Redis, Store},
    },
    tokens::KeepTokens,
};

/// The services that snapshots share.
pub(super) struct Services {
    pub(super) metrics: Arc<Metrics>,
    pub(super) audit: Audit,
    pub(super) revocations: Arc<Revocations>,
    pub(super) refresher: Arc<Refresher>,
    pub(super) farewell: Arc<Farewell>,
    pub(super) keeping: Keeping,
    pub(super) lifetimes: Lifetimes,
    pub(super) redis: Option<Arc<Redis>>,
    pub(super) directory: Arc<dyn Directory>,
    /// Seals what the directory writes.
    pub(super) directory_keys: Arc<ArcSwap<KeyRing>>,
    pub(super) knowledge: Knowledge,
    pub(super) logins: Arc<LoginState>,
    pub(super) limiter: Arc<Limiter>,
}

impl Services {
    /// Starts them, on the runtime at hand. Redis is connected to in the background.
    pub(super) fn start(config: &Config, metrics: Arc<Metrics>) -> Self {
        let session = &config.session;
        let lifetimes = lifetimes(session);
        let revocations = Arc::new(Revocations::new(session.lifetime));
        // Nobody asks them before the first snapshot says which there are.
        let nobody = Arc::new(Providers::none());
        let farewell = Arc::new(Farewell::new(Arc::clone(&nobody), Handle::current()));
        let policy = RefreshPolicy {
            providers: nobody,
            keep: KeepTokens::default(),
            provider_grace: Duration::ZERO,
        };
        let audit = Audit::default();
        let refresher = Refresher::new(
            policy,
            audit.clone(),
            Arc::clone(&revocations),
            Arc::clone(&farewell),
            Handle::current(),
        );
        let keys = Arc::new(keys(config));
        let redis = redis(config, &keys, lifetimes, &revocations);
        let hits = metrics.rate_limited.clone();
        let limiter = Arc::new(Limiter::new(redis.clone(), hits));
        let directory_keys = Arc::new(ArcSwap::new(keys));
        let directory: Arc<dyn Directory> = match &redis {
            Some(redis) => Arc::new(redis.directory(Arc::clone(&directory_keys))),
            None => Arc::new(InProcess::new(session.max_sessions, lifetimes)),
        };
        Self {
            metrics,
            audit,
            revocations,
            refresher: Arc::new(refresher),
            farewell,
            limiter,
            keeping: keeping(session, lifetimes, redis.clone()),
            lifetimes,
            redis,
            directory,
            directory_keys,
            knowledge: knowledge(session),
            logins: Arc::default(),
        }
    }

    /// Works by the secrets of another configuration from here on.
    pub(super) fn adopt_keys(&self, keys: &Arc<KeyRing>) {
        self.directory_keys.store(Arc::clone(keys));
        if let Some(redis) = &self.redis {
            redis.adopt_secrets(keys.fingerprints());
        }
    }
}

/// What seals.
pub(super) fn keys(config: &Config) -> KeyRing {
    KeyRing::new(&config.session.secrets, &config.gate_name())
}

fn lifetimes(session: &SessionSettings) -> Lifetimes {
    Lifetimes {
        lifetime: session.lifetime,
        idle_timeout: session.idle_timeout,
    }
}

/// Redis, where replicas share one. Gates share it with their own replicas only, however many use it.
fn redis(
    config: &Config,
    keys: &KeyRing,
    lifetimes: Lifetimes,
    revocations: &Arc<Revocations>,
) -> Option<Arc<Redis>> {
    let session = &config.session;
    let address = match &session.store {
        StoreSettings::Redis(address) => address,
        StoreSettings::Cookie => session.shared.as_ref()?,
        StoreSettings::Memory => return None,
    };
    let gate = config.gate_name();
    let redis = Redis::start(address, &gate, lifetimes, revocations, keys.fingerprints());
    Some(redis)
}

fn keeping(session: &SessionSettings, lifetimes: Lifetimes, redis: Option<Arc<Redis>>) -> Keeping {
    let redis = redis.map(|redis| -> Arc<dyn Store> { redis });
    match (&session.store, redis) {
        (StoreSettings::Redis(_), Some(redis)) => Keeping::Store(redis),
        (StoreSettings::Memory, _) => {
            Keeping::Store(Arc::new(Memory::new(session.max_sessions, lifetimes)))
        }
        (_, shared) => Keeping::Cookie { shared },
    }
}

/// What the list of who is signed in where is worth. Notes on their way to Redis may get lost, and what is in a
/// cookie may never have been seen; but a store that ends with the process holds nothing that it has not seen.
fn knowledge(session: &SessionSettings) -> Knowledge {
    match &session.store {
        StoreSettings::Memory => Knowledge::WholeStore,
        StoreSettings::Cookie => Knowledge::CookiesSince(clock::now()),
        StoreSettings::Redis(_) => Knowledge::PartOfStore,
    }
}
