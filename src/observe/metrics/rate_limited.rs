//! Requests that a route's `limit` refused.

use prometheus_client::registry::Registry;

use super::label::ByLabel;
use crate::rate_limit::Per;

/// Counts them. A call is one atomic addition.
#[derive(Clone, Debug)]
pub struct RateLimited(ByLabel<{ Per::ALL.len() }>);

impl Default for RateLimited {
    fn default() -> Self {
        Self(ByLabel::new("per", Per::ALL.map(Per::name)))
    }
}

impl RateLimited {
    /// Counts a request that a limit of this kind has refused.
    pub fn hit(&self, per: Per) {
        self.0.inc(per as usize);
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "sidegate_rate_limited",
            "Requests that the limit of a route refused, by what the limit counts",
            self.0.clone(),
        );
    }
}
