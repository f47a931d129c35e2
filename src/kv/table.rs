//! Values of one type in one group.

use std::{marker::PhantomData, sync::Arc};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{Error, Key, Store, Value};
use crate::clock::Timestamp;

/// A group whose values are all a `T`. How a `T` is written may change: its version stands before it, and what another
/// version wrote is not there.
pub struct Table<T> {
    store: Arc<dyn Store>,
    group: String,
    version: u8,
    of: PhantomData<fn(T) -> T>,
}

impl<T: Serialize + DeserializeOwned> Table<T> {
    /// The group of that name, see [`Key::new`].
    pub fn new(store: Arc<dyn Store>, group: impl Into<String>, version: u8) -> Self {
        Self {
            store,
            group: group.into(),
            version,
            of: PhantomData,
        }
    }

    /// What is there.
    pub async fn get(&self, name: &[u8]) -> Result<Option<T>, Error> {
        let found = self.store.get(self.key(name)).await?;
        Ok(found.and_then(|bytes| self.read(&bytes)))
    }

    /// Puts a value there until `end`.
    pub async fn put(&self, name: &[u8], value: &T, end: Timestamp) -> Result<(), Error> {
        let bytes = self.write(value)?;
        self.store.put(self.key(name), Value { bytes, end }).await
    }

    /// Takes what is there away. Of all that take it one gets it.
    pub async fn take(&self, name: &[u8]) -> Result<Option<T>, Error> {
        let taken = self.store.take(self.key(name)).await?;
        Ok(taken.and_then(|bytes| self.read(&bytes)))
    }

    /// Puts a value there until `end` where there is none. Whether there was none; true also where this very value is
    /// there already.
    pub async fn add(&self, name: &[u8], value: &T, end: Timestamp) -> Result<bool, Error> {
        let bytes = self.write(value)?;
        let new = Some(Value { bytes, end });
        self.store.swap(self.key(name), None, new).await
    }

    /// Puts what `change` makes of what is there, until the end that it says, over again where somebody else was faster. Nothing is
    /// changed where it makes nothing. What it says beside. Of two who make the same of the same at once, both are told that it was
    /// they: what is counted needs a mark of each change.
    pub async fn update<R>(
        &self,
        name: &[u8],
        mut change: impl FnMut(Option<T>) -> (Option<(T, Timestamp)>, R),
    ) -> Result<R, Error> {
        for _ in 0..TRIES {
            let there = self.store.get(self.key(name)).await?;
            let (changed, answer) = change(there.as_ref().and_then(|bytes| self.read(bytes)));
            let Some((value, end)) = changed else {
                return Ok(answer);
            };
            let bytes = self.write(&value)?;
            let new = Some(Value { bytes, end });
            if self.store.swap(self.key(name), there, new).await? {
                return Ok(answer);
            }
        }
        Err(Error("too many changes of one value at once".to_owned()))
    }

    /// Names and values, `at_most` so many.
    pub async fn scan(&self, at_most: usize) -> Result<Vec<(Vec<u8>, T)>, Error> {
        let found = self.store.scan(self.group.clone(), at_most).await?;
        let read = |(name, bytes): (Vec<u8>, Bytes)| Some((name, self.read(&bytes)?));
        Ok(found.into_iter().filter_map(read).collect())
    }

    fn key(&self, name: &[u8]) -> Key {
        Key::new(self.group.clone(), name)
    }

    fn write(&self, value: &T) -> Result<Bytes, Error> {
        let written = postcard::to_extend(value, vec![self.version]);
        written
            .map(Bytes::from)
            .map_err(|error| Error(error.to_string()))
    }

    fn read(&self, bytes: &[u8]) -> Option<T> {
        let (version, rest) = bytes.split_first()?;
        (*version == self.version)
            .then(|| postcard::from_bytes(rest).ok())
            .flatten()
    }
}

/// How often a change is tried that others were faster with.
const TRIES: usize = 50;
