//! What lives as long as the process, whatever the configuration becomes.

use std::{io, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{runtime::Handle, sync::mpsc};

use crate::{
    api_token::{ApiTokens, Facts, Guesses},
    clock::{self, Timestamp},
    config::Config,
    forward::ConnectionLimit,
    issuer::{
        Grants, IssuerState, Throttles, UsedAssertions, device::Devices, fetch::Documents,
        pushed::PushedRequests, signing::KeptKeys,
    },
    kv::{self, settings::StateSettings},
    limiter::Limiter,
    login::LoginState,
    observe::{audit::Audit, metrics::Metrics},
    provider::Providers,
    rate_limit,
    session::{
        Lifetimes, Session, SessionStorage,
        directory::{Completeness, InProcess, SessionIndex},
        refresh::{RefreshPolicy, Refresher},
        revocation::Revocations,
        seal::KeyRing,
        settings::{SessionSettings, StoreSettings},
        store::{Memory, Redis, Store},
        token_revoker::TokenRevoker,
    },
    tokens::KeepTokens,
    trust, users,
};

/// The services that snapshots share.
pub(super) struct Services {
    pub(super) metrics: Arc<Metrics>,
    /// For connections to apps.
    pub(super) connection_limit: Arc<ConnectionLimit>,
    pub(super) audit: Audit,
    pub(super) revocations: Arc<Revocations>,
    pub(super) refresher: Arc<Refresher>,
    pub(super) token_revoker: Arc<TokenRevoker>,
    pub(super) storage: SessionStorage,
    pub(super) lifetimes: Lifetimes,
    pub(super) redis: Option<Arc<Redis>>,
    pub(super) directory: Arc<dyn SessionIndex>,
    /// Seals what the directory writes.
    pub(super) directory_keys: Arc<ArcSwap<KeyRing>>,
    pub(super) knowledge: Completeness,
    pub(super) logins: Arc<LoginState>,
    pub(super) api_tokens: Arc<ApiTokens>,
    pub(super) guesses: Arc<Guesses>,
    pub(super) grants: Arc<Grants>,
    pub(super) issuer: Arc<IssuerState>,
    /// The keys that sign tokens, where no file has them.
    pub(super) signing_keys: Arc<KeptKeys>,
    pub(super) limiter: Arc<Limiter>,
    /// Guesses at passwords.
    pub(super) passwords: Arc<users::Guesses>,
}

impl Services {
    /// Starts them, on the runtime at hand. Redis is connected to in the background.
    ///
    /// # Errors
    /// When the file of the state cannot be opened.
    pub(super) fn start(
        config: &Config,
        metrics: Arc<Metrics>,
        connection_limit: Arc<ConnectionLimit>,
    ) -> io::Result<Self> {
        let session = &config.session;
        let lifetimes = lifetimes(session);
        let revocations = Arc::new(Revocations::new(session.lifetime));
        // Nobody asks them before the first snapshot says which there are.
        let nobody = Arc::new(Providers::none());
        let token_revoker = Arc::new(TokenRevoker::new(Arc::clone(&nobody), Handle::current()));
        let policy = RefreshPolicy {
            providers: nobody,
            keep: KeepTokens::default(),
            provider_grace: Duration::ZERO,
            missing: Arc::new(|_| Vec::new()),
        };
        let audit = Audit::default();
        let refresher = Refresher::new(
            policy,
            audit.clone(),
            Arc::clone(&revocations),
            Arc::clone(&token_revoker),
            Handle::current(),
        );
        let keys = Arc::new(keys(config));
        let redis = redis(config, &keys, lifetimes, &revocations);
        let hits = metrics.rate_limited.clone();
        let limiter = Arc::new(Limiter::new(redis.as_deref().map(Redis::counts), hits));
        let directory_keys = Arc::new(ArcSwap::new(keys));
        let directory: Arc<dyn SessionIndex> = match &redis {
            Some(redis) => Arc::new(redis.directory(Arc::clone(&directory_keys))),
            None => Arc::new(InProcess::new(session.max_sessions, lifetimes)),
        };
        let state = state(config, redis.as_deref())?;
        let guesses = Arc::<Guesses>::default();
        let keys = Arc::clone(&directory_keys);
        // Anybody may have programs wait, and must not take the place of what was agreed upon.
        let redis_state = redis.as_deref().map(Redis::state);
        let grants = Arc::new(grants(config, &state, &keys, &revocations, redis.as_ref()));
        let assertions = UsedAssertions::new(Arc::clone(&state));
        let signing_keys = Arc::new(KeptKeys::new(Arc::clone(&state), Arc::clone(&keys)));
        let logouts = shared_or_own(redis_state.clone(), LOGOUTS, LOGOUT_BYTES);
        let waiting = shared_or_own(redis_state.clone(), WAITING_REQUESTS, REQUEST_BYTES);
        let pushed_requests = PushedRequests::new(waiting, Arc::clone(&keys));
        let api_tokens =
            ApiTokens::start(state, keys, Arc::clone(&revocations), Arc::clone(&guesses));
        let api_tokens = Arc::new(api_tokens);
        let waiting_devices = shared_or_own(redis_state, WAITING_DEVICES, DEVICE_BYTES);
        let devices = Devices::new(&waiting_devices, Arc::clone(&directory_keys));
        let (refreshed, queue) = mpsc::channel(WAITING_REFRESHES);
        refresher.tell(refreshed);
        tokio::spawn(note_refreshes(
            Arc::clone(&api_tokens),
            Arc::clone(&grants),
            queue,
        ));
        Ok(Self {
            metrics,
            connection_limit,
            audit,
            revocations,
            refresher: Arc::new(refresher),
            token_revoker,
            limiter,
            storage: session_storage(session, lifetimes, redis.clone()),
            lifetimes,
            redis,
            directory,
            directory_keys,
            knowledge: knowledge(session),
            logins: Arc::new(LoginState::new(logouts)),
            api_tokens,
            guesses,
            grants,
            signing_keys,
            issuer: Arc::new(IssuerState {
                documents: Documents::new(trust::client_config()),
                devices,
                assertions,
                pushed: pushed_requests,
                machines: rate_limit::Table::default(),
                throttles: Throttles::default(),
            }),
            passwords: Arc::default(),
        })
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

/// What has to be remembered beside sessions: where the configuration says, else in Redis, where there is one.
fn state(config: &Config, redis: Option<&Redis>) -> io::Result<Arc<dyn kv::Store>> {
    Ok(match (&config.state, redis) {
        (Some(StateSettings::File(path)), _) => {
            Arc::new(kv::File::open(path).map_err(io::Error::other)?)
        }
        (None, Some(redis)) => redis.state(),
        (Some(StateSettings::Memory), _) | (None, None) => Arc::new(kv::Memory::default()),
    })
}

/// What users have let clients do. Where replicas share it, one of them may open what this one cannot.
fn grants(
    config: &Config,
    state: &Arc<dyn kv::Store>,
    keys: &Arc<ArcSwap<KeyRing>>,
    revocations: &Arc<Revocations>,
    redis: Option<&Arc<Redis>>,
) -> Grants {
    let grants = Grants::new(Arc::clone(state), Arc::clone(keys), Arc::clone(revocations));
    match redis {
        Some(redis) if config.state.is_none() => {
            let redis = Arc::clone(redis);
            grants.beside(move || redis.others_may_open())
        }
        _ => grants,
    }
}

/// What lasts for minutes and is no loss: with the replicas, or in this process, where it has a bound.
fn shared_or_own(
    redis: Option<Arc<dyn kv::Store>>,
    most: usize,
    bytes: usize,
) -> Arc<dyn kv::Store> {
    redis.unwrap_or_else(|| Arc::new(kv::Memory::new(most, bytes)))
}

/// What a refresh says of somebody counts for their API tokens, and for what they have let clients do, too.
async fn note_refreshes(
    tokens: Arc<ApiTokens>,
    grants: Arc<Grants>,
    mut queue: mpsc::Receiver<(Session, Timestamp)>,
) {
    while let Some((session, at)) = queue.recv().await {
        let facts = Facts::of(session);
        tokens.note_owner(&facts, at).await;
        grants.note_owner(&facts, at).await;
    }
}

/// Codes of programs that wait for their users, two for each.
const WAITING_DEVICES: usize = 20_000;
/// Bytes of these codes and of what they hold.
const DEVICE_BYTES: usize = 10_000_000;
/// Requests that clients pushed ahead, and that wait for their users.
const WAITING_REQUESTS: usize = 10_000;
/// Bytes of these.
const REQUEST_BYTES: usize = 10_000_000;
/// Logout tokens that a process remembers where it shares no Redis.
const LOGOUTS: usize = 100_000;
/// Bytes of these.
const LOGOUT_BYTES: usize = 20_000_000;
/// Refreshes whose word is still to be noted.
const WAITING_REFRESHES: usize = 1_024;

fn session_storage(
    session: &SessionSettings,
    lifetimes: Lifetimes,
    redis: Option<Arc<Redis>>,
) -> SessionStorage {
    let redis = redis.map(|redis| -> Arc<dyn Store> { redis });
    match (&session.store, redis) {
        (StoreSettings::Redis(_), Some(redis)) => SessionStorage::Store(redis),
        (StoreSettings::Memory, _) => {
            SessionStorage::Store(Arc::new(Memory::new(session.max_sessions, lifetimes)))
        }
        (_, shared) => SessionStorage::Cookie { shared },
    }
}

/// What the list of who is signed in where is worth. Notes on their way to Redis may get lost, and what is in a
/// cookie may never have been seen; but a store that ends with the process holds nothing that it has not seen.
fn knowledge(session: &SessionSettings) -> Completeness {
    match &session.store {
        StoreSettings::Memory => Completeness::WholeStore,
        StoreSettings::Cookie => Completeness::CookiesSince(clock::now()),
        StoreSettings::Redis(_) => Completeness::PartOfStore,
    }
}
