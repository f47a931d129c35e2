//! Sessions in this process. They need no setup, and end with the process.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures_util::future::BoxFuture;

use super::{Found, Record, Store};
use crate::{
    clock::{self, Timestamp},
    lru_map::{LruMap, Used},
    session::{Id, Lifetimes, StoreError},
};

/// Bounded by a number of sessions; beyond it, those that were not used for longest end.
pub struct Memory {
    entries: LruMap<Id, Entry>,
    lifetimes: Lifetimes,
}

struct Entry {
    record: Record,
    end: Timestamp,
    seen_at: AtomicU64,
}

impl Used for Entry {
    fn used_at(&self) -> Timestamp {
        Timestamp(self.seen_at.load(Ordering::Relaxed))
    }
}

impl Memory {
    /// Room for about `capacity` sessions of these lifetimes.
    pub fn new(capacity: u64, lifetimes: Lifetimes) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        Self {
            entries: LruMap::new(capacity, lifetimes.idle_timeout),
            lifetimes,
        }
    }

    /// What `read` makes of a record that has not ended. One of which nothing can be made was not used.
    fn find<T>(
        &self,
        id: &Id,
        now: Timestamp,
        read: impl FnOnce(&Record, Timestamp) -> Option<T>,
    ) -> Option<T> {
        let found = self.entries.read(id, |entry| {
            let seen_at = entry.used_at();
            if now >= entry.end || now >= seen_at.after(self.lifetimes.idle_timeout) {
                return Err(Ended);
            }
            let read = read(&entry.record, seen_at);
            if read.is_some() && seen_at < now {
                entry.seen_at.fetch_max(now.0, Ordering::Relaxed);
            }
            Ok(read)
        })?;
        if found.is_err() {
            self.entries.remove(id);
        }
        found.ok().flatten()
    }
}

struct Ended;

impl Store for Memory {
    fn at_hand(
        &self,
        id: &Id,
        now: Timestamp,
        read: &mut dyn FnMut(&[u8], Timestamp) -> bool,
    ) -> bool {
        self.find(id, now, |record, seen_at| {
            read(&record.sealed, seen_at).then_some(())
        })
        .is_some()
    }

    fn load<'a>(
        &'a self,
        id: &'a Id,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Found>, StoreError>> {
        Box::pin(async move {
            Ok(self.find(id, now, |record, seen_at| Some(Found::of(record, seen_at))))
        })
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
        let entry = Entry {
            record,
            end,
            seen_at: AtomicU64::new(now.0),
        };
        self.entries.insert(*id, entry, now);
        Box::pin(async { Ok(()) })
    }

    fn replace<'a>(
        &'a self,
        id: &'a Id,
        record: Record,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let is_replaced = self.entries.alter(id, |entry| {
            let is_newer = entry.record.generation < record.generation;
            if is_newer {
                entry.record = record;
                entry.seen_at.fetch_max(now.0, Ordering::Relaxed);
            }
            is_newer
        });
        Box::pin(async move { Ok(is_replaced == Some(true)) })
    }

    fn remove<'a>(&'a self, id: &'a Id) -> BoxFuture<'a, Result<(), StoreError>> {
        self.entries.remove(id);
        Box::pin(async { Ok(()) })
    }

    /// One process needs none: a refresh runs once in it anyway.
    fn lease<'a>(
        &'a self,
        _: &'a Id,
        _: &'a Id,
        _: Duration,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async { Ok(true) })
    }

    fn release<'a>(&'a self, _: &'a Id, _: &'a Id) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn count(&self) -> Option<u64> {
        Some(self.entries.count(clock::now()) as u64)
    }
}
