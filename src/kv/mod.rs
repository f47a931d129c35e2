//! Stores what is not a session: values under keys, each with an expiry.
//!
//! There are three stores: this process ([`Memory`]), a file ([`File`]), and Redis, for several replicas (beside the session store). Each
//! operation is atomic: if two take the same value, or replace it, one succeeds. Acknowledged changes last as long as the store does; a
//! file survives a crash of the process.

mod file;
mod memory;
pub mod settings;
mod table;

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub use self::{
    file::{File, OpenError},
    memory::Memory,
    table::Table,
};
use crate::clock::Timestamp;

/// Why a store did not answer. The text is for the log and holds no value. Whether a change was made is not known then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("state: {0}")]
pub struct Error(pub String);

/// The name of a value: a name in a group, which can be looked through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    group: String,
    name: Vec<u8>,
}

impl Key {
    /// `group` is printable ASCII, chosen by the program and not by a client.
    pub fn new(group: impl Into<String>, name: impl Into<Vec<u8>>) -> Self {
        let (group, name) = (group.into(), name.into());
        debug_assert!(group.bytes().all(|byte| byte.is_ascii_graphic()), "{group}");
        Self { group, name }
    }

    /// Which group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The name in it.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Both in one, so that a group is a range: no group has a zero in it.
    fn bytes(&self) -> Vec<u8> {
        [&*prefix(&self.group), &self.name].concat()
    }
}

/// What the keys of a group begin with.
fn prefix(group: &str) -> Vec<u8> {
    [group.as_bytes(), &[0]].concat()
}

/// A value, and when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// What is kept.
    pub bytes: Bytes,
    /// From when on it is as if it were not there.
    pub end: Timestamp,
}

/// What a store says.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// Names and values of a group.
pub type Entries = Vec<(Vec<u8>, Bytes)>;

/// Keeps values. Every method answers in bounded time, and never blocks the thread that asks.
pub trait Store: Send + Sync {
    /// What is there.
    fn get(&self, key: Key) -> Answer<'_, Option<Bytes>>;

    /// Puts a value there, in the place of one that is.
    fn put(&self, key: Key, value: Value) -> Answer<'_, ()>;

    /// Takes what is there away. Of all that take it one gets it.
    fn take(&self, key: Key) -> Answer<'_, Option<Bytes>>;

    /// Puts `new` there, or nothing, if `expected`, or nothing, is what is there. Whether it was; true also where `new` is
    /// there already, for an answer may get lost on its way.
    fn swap(&self, key: Key, expected: Option<Bytes>, new: Option<Value>) -> Answer<'_, bool>;

    /// Names and values of a group, `at_most` so many.
    fn scan(&self, group: String, at_most: usize) -> Answer<'_, Entries>;

    /// Whether it answers.
    fn is_ready(&self) -> bool;
}

/// Bytes of one value, at most.
pub const LARGEST_VALUE: usize = 256 * 1024;

pub(crate) fn check_size(value: &Value) -> Result<(), Error> {
    if value.bytes.len() > LARGEST_VALUE {
        return Err(Error("a value is too large".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
