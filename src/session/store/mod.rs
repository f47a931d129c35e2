//! Where sessions are stored, if not only in the cookie.
//!
//! A store holds records under ids and cannot read them. A record is sealed, under a key in the browser's cookie (see
//! [`ticket`](super::ticket)) or under the gate's own key. A store also grants leases, so that only one of several replicas does something.

mod memory;
mod redis;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub use self::{
    memory::Memory,
    redis::{Redis, RedisDirectory},
};
use super::{Id, StoreError};
use crate::clock::Timestamp;

/// A sealed session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// How often the session was refreshed; of two records the higher one is in force.
    pub generation: u64,
    /// The sealed session.
    pub sealed: Bytes,
}

/// A record, and when its session was last used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The record.
    pub record: Record,
    /// Before the look-up that found it.
    pub seen_at: Timestamp,
}

impl Found {
    fn of(record: &Record, seen_at: Timestamp) -> Self {
        Self {
            record: record.clone(),
            seen_at,
        }
    }
}

/// Keeps sealed sessions. Every method answers in bounded time. A look-up counts as use: the idle end moves.
pub trait Store: Send + Sync {
    /// Lets `read` see the record's sealed session, and when it was last used before, where the record is at hand without
    /// waiting and as good as the truth. Whether it was and `read` took it: what it does not take was not used. `read` should be
    /// quick, for it holds up changes.
    fn at_hand(
        &self,
        id: &Id,
        now: Timestamp,
        read: &mut dyn FnMut(&[u8], Timestamp) -> bool,
    ) -> bool;

    /// The record, asked for wherever it is. What a recent answer said counts.
    fn load<'a>(
        &'a self,
        id: &'a Id,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Found>, StoreError>>;

    /// The record as it is now, whatever was said before.
    fn reload<'a>(
        &'a self,
        id: &'a Id,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Found>, StoreError>>;

    /// Keeps a new record, until `end` or until it was not used for the idle time.
    fn create<'a>(
        &'a self,
        id: &'a Id,
        record: Record,
        end: Timestamp,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Puts a record of a higher generation in the place of one that is there. Whether it was: one that was
    /// removed meanwhile must not come back.
    fn replace<'a>(
        &'a self,
        id: &'a Id,
        record: Record,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Removes a record.
    fn remove<'a>(&'a self, id: &'a Id) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Grants `holder` a lease on `id`, or sets anew how long the one it has lasts. Whether it has it now.
    fn lease<'a>(
        &'a self,
        id: &'a Id,
        holder: &'a Id,
        lasts: Duration,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Gives a lease back; one that somebody else has by now stays.
    fn release<'a>(&'a self, id: &'a Id, holder: &'a Id) -> BoxFuture<'a, ()>;

    /// Whether it answers.
    fn is_ready(&self) -> bool;

    /// Whether it has not answered for some seconds: what needs it in the end is better not begun.
    fn is_away(&self) -> bool {
        false
    }

    /// Whether it is there and refuses the gate: a password that is wrong does not become right by waiting.
    fn refuses(&self) -> bool {
        false
    }

    /// Whether a replica that shares it is known to seal with a secret that this one does not have.
    fn secrets_differ(&self) -> bool {
        false
    }

    /// How many records it holds, about, where that can be said at once.
    fn count(&self) -> Option<u64> {
        None
    }
}

/// How long a lease lasts without extension: the delay for other replicas if one dies before it has sent anything.
pub const LEASE: Duration = Duration::from_secs(10);
