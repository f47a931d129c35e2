//! Values in this process; they end with it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::future::ready;

use super::{Answer, Entries, Error, Key, Store, Value, check_size, prefix};
use crate::clock::{self, Timestamp};

/// Bounded by a number of values and their bytes. Where there is no room, newcomers are refused: what was acknowledged stays.
pub struct Memory {
    values: Mutex<Held>,
    capacity: usize,
    bytes: usize,
}

/// What there is.
#[derive(Default)]
struct Held {
    values: BTreeMap<Vec<u8>, Value>,
    /// Of all keys and values.
    bytes: usize,
}

impl Held {
    fn insert(&mut self, key: Vec<u8>, value: Value) {
        self.bytes += size(&key, &value);
        let len = key.len();
        if let Some(old) = self.values.insert(key, value) {
            self.bytes -= len + old.bytes.len();
        }
    }

    fn remove(&mut self, key: &[u8]) -> Option<Value> {
        let removed = self.values.remove(key)?;
        self.bytes -= size(key, &removed);
        Some(removed)
    }

    fn forget_ended(&mut self, now: Timestamp) {
        let bytes = &mut self.bytes;
        self.values.retain(|key, value| {
            let stays = now < value.end;
            if !stays {
                *bytes -= size(key, value);
            }
            stays
        });
    }
}

fn size(key: &[u8], value: &Value) -> usize {
    key.len() + value.bytes.len()
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(CAPACITY, BYTES)
    }
}

impl Memory {
    /// Room for so many values, and for so many bytes of them and their keys.
    pub fn new(capacity: usize, bytes: usize) -> Self {
        Self {
            values: Mutex::default(),
            capacity,
            bytes,
        }
    }

    fn values(&self) -> MutexGuard<'_, Held> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(
        &self,
        values: &mut Held,
        key: Vec<u8>,
        value: Value,
        now: Timestamp,
    ) -> Result<(), Error> {
        check_size(&value)?;
        if !self.has_room(values, &key, &value) {
            values.forget_ended(now);
            if !self.has_room(values, &key, &value) {
                return Err(Error("no room for more values in memory".to_owned()));
            }
        }
        values.insert(key, value);
        Ok(())
    }

    fn has_room(&self, held: &Held, key: &[u8], value: &Value) -> bool {
        let old = held.values.get(key).map(|old| size(key, old));
        let grows_by = size(key, value).saturating_sub(old.unwrap_or_default());
        (old.is_some() || held.values.len() < self.capacity)
            && (grows_by == 0 || held.bytes + grows_by <= self.bytes)
    }
}

fn current(value: Option<&Value>, now: Timestamp) -> Option<&Bytes> {
    value
        .filter(|value| now < value.end)
        .map(|value| &value.bytes)
}

impl Store for Memory {
    fn get(&self, key: Key) -> Answer<'_, Option<Bytes>> {
        let values = self.values();
        let found = current(values.values.get(&key.bytes()), clock::now()).cloned();
        Box::pin(ready(Ok(found)))
    }

    fn put(&self, key: Key, value: Value) -> Answer<'_, ()> {
        let inserted = self.insert(&mut self.values(), key.bytes(), value, clock::now());
        Box::pin(ready(inserted))
    }

    fn take(&self, key: Key) -> Answer<'_, Option<Bytes>> {
        let taken = self.values().remove(&key.bytes());
        let taken = current(taken.as_ref(), clock::now()).cloned();
        Box::pin(ready(Ok(taken)))
    }

    fn swap(&self, key: Key, expected: Option<Bytes>, new: Option<Value>) -> Answer<'_, bool> {
        let (key, now) = (key.bytes(), clock::now());
        let mut values = self.values();
        let found = current(values.values.get(&key), now);
        let swapped = if found == new.as_ref().map(|new| &new.bytes) {
            Ok(true)
        } else if found != expected.as_ref() {
            Ok(false)
        } else if let Some(new) = new {
            self.insert(&mut values, key, new, now).map(|()| true)
        } else {
            values.remove(&key);
            Ok(true)
        };
        Box::pin(ready(swapped))
    }

    fn scan(&self, group: String, at_most: usize) -> Answer<'_, Entries> {
        let prefix = prefix(&group);
        let now = clock::now();
        let values = self.values();
        let found = values
            .values
            .range(prefix.clone()..)
            .map_while(|(key, value)| Some((key.strip_prefix(&*prefix)?, value)))
            .filter(|(_, value)| now < value.end)
            .take(at_most)
            .map(|(name, value)| (name.to_vec(), value.bytes.clone()))
            .collect();
        Box::pin(ready(Ok(found)))
    }

    fn is_ready(&self) -> bool {
        true
    }
}

/// Values in memory.
const CAPACITY: usize = 100_000;
/// Bytes of these and of their keys.
const BYTES: usize = 50_000_000;
