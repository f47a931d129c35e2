//! Sessions in this process: nothing to set up, gone with the process.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use moka::{
    ops::compute::{CompResult, Op},
    policy::EvictionPolicy,
    sync::Cache,
};

use super::{Found, Id, Record, Store, StoreError};
use crate::{clock::Timestamp, provider::BoxFuture, session::Lifetimes};

/// Bounded by a number of sessions; beyond it, those that were not used for longest end.
pub struct Memory {
    entries: Cache<Id, Arc<Entry>>,
    lifetimes: Lifetimes,
}

struct Entry {
    record: Record,
    end: Timestamp,
    seen_at: AtomicU64,
}

impl Memory {
    /// Room for `capacity` sessions of these lifetimes.
    pub fn new(capacity: u64, lifetimes: Lifetimes) -> Self {
        let entries = Cache::builder()
            .max_capacity(capacity)
            // Sessions end on their own clock; this only takes out what nobody asks for any more.
            .time_to_idle(lifetimes.idle_timeout * 2)
            // Frequency would keep yesterday's busy session rather than a login of just now.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { entries, lifetimes }
    }

    fn find(&self, id: &Id, now: Timestamp) -> Option<Found> {
        let entry = self.entries.get(id)?;
        let seen_at = Timestamp(entry.seen_at.load(Ordering::Relaxed));
        if now >= entry.end || now >= seen_at.after(self.lifetimes.idle_timeout) {
            self.entries.invalidate(id);
            return None;
        }
        if seen_at < now {
            entry.seen_at.fetch_max(now.0, Ordering::Relaxed);
        }
        Some(Found {
            record: entry.record.clone(),
            seen_at,
        })
    }
}

impl Store for Memory {
    fn at_hand(&self, id: &Id, now: Timestamp) -> Option<Found> {
        self.find(id, now)
    }

    fn load<'a>(
        &'a self,
        id: &'a Id,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Found>, StoreError>> {
        Box::pin(async move { Ok(self.find(id, now)) })
    }

    fn reload<'a>(
        &'a self,
        id: &'a Id,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Found>, StoreError>> {
        self.load(id, now)
    }

    fn create<'a>(
        &'a self,
        id: &'a Id,
        record: Record,
        end: Timestamp,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let seen_at = AtomicU64::new(now.0);
        let entry = Entry {
            record,
            end,
            seen_at,
        };
        self.entries.insert(*id, Arc::new(entry));
        Box::pin(async { Ok(()) })
    }

    fn replace<'a>(
        &'a self,
        id: &'a Id,
        record: Record,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let outcome = self.entries.entry(*id).and_compute_with(|entry| {
            let old = entry.map(moka::Entry::into_value);
            match old.filter(|old| old.record.generation < record.generation) {
                None => Op::Nop,
                Some(old) => Op::Put(Arc::new(Entry {
                    record,
                    end: old.end,
                    seen_at: AtomicU64::new(old.seen_at.load(Ordering::Relaxed).max(now.0)),
                })),
            }
        });
        let is_replaced = matches!(outcome, CompResult::ReplacedWith(_));
        Box::pin(async move { Ok(is_replaced) })
    }

    fn remove<'a>(&'a self, id: &'a Id) -> BoxFuture<'a, Result<(), StoreError>> {
        self.entries.invalidate(id);
        Box::pin(async { Ok(()) })
    }

    /// One process needs none: a renewal runs once in it anyway.
    fn lease<'a>(&'a self, _: &'a Id, _: &'a Id) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async { Ok(true) })
    }

    fn release<'a>(&'a self, _: &'a Id, _: &'a Id) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn count(&self) -> Option<u64> {
        self.entries.run_pending_tasks();
        Some(self.entries.entry_count())
    }
}
