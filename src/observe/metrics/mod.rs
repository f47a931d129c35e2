//! The metrics, as Prometheus names them.
//!
//! The counters of a request are in arrays, by verdict and class of status, and each worker has its own arrays. So a count is one relaxed
//! addition that no other core touches, without a map or a lock. A scrape adds the workers up.

mod connections;
mod duration;
mod label;
mod limits;
mod rate_limited;
mod reloads;
mod requests;
mod tally;
mod tokens;
mod upstream;

use std::sync::{Arc, Mutex, PoisonError, atomic::AtomicBool};

use prometheus_client::registry::Registry;

use self::requests::Exported;
pub(super) use self::requests::{Counted, Requests};
pub use self::{
    connections::{Connections, Shortage},
    limits::{Limit, LimitHits},
    rate_limited::RateLimited,
    reloads::{LastReload, Reloads},
    tally::Tally,
    tokens::IssuedTokens,
    upstream::{DialFailure, OpenConnection, Upstream, Upstreams},
};
use super::Recorder;

/// The counts of one gate. Cheap to share; each field is a handle that may be cloned and kept where it is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Connections of clients.
    pub connections: Connections,
    /// Connections to apps.
    pub upstreams: Upstreams,
    /// Limits that were hit.
    pub limits: LimitHits,
    /// Requests that routes' limits have refused.
    pub rate_limited: RateLimited,
    /// Tokens of the gate's own that were given.
    pub tokens: IssuedTokens,
    /// Readings of the configuration.
    pub reloads: Reloads,
    workers: Arc<Mutex<Vec<Arc<Requests>>>>,
    /// Whether the grace of a stop is over.
    is_over: Arc<AtomicBool>,
}

impl Metrics {
    /// What one worker records its requests with.
    pub fn recorder(&self) -> Recorder {
        let requests = Arc::<Requests>::default();
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(Arc::clone(&requests));
        Recorder::new(requests, Arc::clone(&self.is_over))
    }

    /// Adds every metric to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let requests = Exported::new(Arc::clone(&self.workers));
        registry.register_collector(Box::new(requests));
        self.connections.register(registry);
        self.upstreams.register(registry);
        self.limits.register(registry);
        self.rate_limited.register(registry);
        self.tokens.register(registry);
        self.reloads.register(registry);
    }
}
