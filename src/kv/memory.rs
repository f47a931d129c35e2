//! Values in this process: gone with it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::future::ready;

use super::{Answer, Entries, Error, Key, Store, Value, check_size, prefix};
use crate::clock::{self, Timestamp};

/// Bounded by a number of values. Where there is no room, newcomers are refused: what was acknowledged stays.
pub struct Memory {
    values: Mutex<BTreeMap<Vec<u8>, Value>>,
    capacity: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(CAPACITY)
    }
}

impl Memory {
    /// Room for so many values.
    pub fn new(capacity: usize) -> Self {
        Self {
            values: Mutex::default(),
            capacity,
        }
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Value>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(
        &self,
        values: &mut BTreeMap<Vec<u8>, Value>,
        key: Vec<u8>,
        value: Value,
        now: Timestamp,
    ) -> Result<(), Error> {
        check_size(&value)?;
        if values.len() >= self.capacity && !values.contains_key(&key) {
            values.retain(|_, value| now < value.end);
            if values.len() >= self.capacity {
                return Err(Error("no room for more values in memory".to_owned()));
            }
        }
        values.insert(key, value);
        Ok(())
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
        let found = current(values.get(&key.bytes()), clock::now()).cloned();
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
        let found = current(values.get(&key), now);
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

/// Values of some hundred bytes each: some 50 MB at most.
const CAPACITY: usize = 100_000;
