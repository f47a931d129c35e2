//! Reloads of the configuration, and their outcome.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::clock::{self, Timestamp};

/// How readings of the configuration ended.
#[derive(Clone, Debug, Default)]
pub struct Reloads {
    outcomes: Family<[(&'static str, &'static str); 1], Counter>,
    is_current: Gauge<u64, AtomicU64>,
    last: Arc<Mutex<LastReload>>,
}

/// The last reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastReload {
    /// When; none where the configuration of the start is in force and none was read since.
    pub at: Option<Timestamp>,
    /// Why it changed nothing, where it did not: the whole report. No secret is in it.
    pub refused: Option<String>,
    /// Keys that have changed and wait for a restart.
    pub waiting: Vec<&'static str>,
}

impl Reloads {
    /// The configuration was read again and is in force, but for the keys that are `waiting` for a restart.
    pub fn applied(&self, waiting: Vec<&'static str>) {
        self.count("applied");
        self.is_current.set(1);
        *self.lock() = LastReload {
            at: Some(clock::now()),
            refused: None,
            waiting,
        };
    }

    /// The configuration has errors, and the earlier one is in force.
    pub fn refused(&self, why: String) {
        self.count("refused");
        self.is_current.set(0);
        let mut last = self.lock();
        last.at = Some(clock::now());
        last.refused = Some(why);
    }

    /// What came of the last reading.
    pub fn last(&self) -> LastReload {
        self.lock().clone()
    }

    fn count(&self, outcome: &'static str) {
        self.outcomes.get_or_create(&[("outcome", outcome)]).inc();
    }

    fn lock(&self) -> MutexGuard<'_, LastReload> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        for outcome in ["applied", "refused"] {
            let _ = self.outcomes.get_or_create(&[("outcome", outcome)]);
        }
        if self.lock().refused.is_none() {
            self.is_current.set(1);
        }
        registry.register(
            "sidegate_config_reloads",
            "Reloads of the configuration, by outcome",
            self.outcomes.clone(),
        );
        registry.register(
            "sidegate_config_current",
            "1 if the configuration in force is the one that was read last, 0 while its files have errors",
            self.is_current.clone(),
        );
    }
}
