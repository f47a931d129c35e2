//! What is stored beside sessions, in Redis, for all replicas.
//!
//! Each value has a key of its own, which Redis expires. The names of a group are in a sorted set by their expiry, on the same node of a cluster.
//! Expired names leave the set with the next change.

use std::sync::Arc;

use bytes::Bytes;
use redis::Value as Reply;

use super::{
    layout::hex,
    link::Link,
    script::{self, Known},
};
use crate::{
    clock,
    kv::{Answer, Entries, Error, Key, Store, Value, check_size},
    session::StoreError,
};

/// Values that replicas share.
pub(super) struct RedisState {
    pub(super) link: Arc<Link>,
    /// Tells one gate's values from another's.
    pub(super) gate: String,
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self(error.0)
    }
}

impl RedisState {
    /// The braces keep a group on one node.
    fn group_key(&self, group: &str) -> String {
        format!("sidegate:{{{}:{group}}}:state", self.gate)
    }

    fn value_key(&self, key: &Key) -> String {
        format!("{}:{}", self.group_key(key.group()), hex(key.name()))
    }

    async fn run(&self, script: &Known, key: &Key, arguments: &[&[u8]]) -> Result<Reply, Error> {
        let group = self.group_key(key.group());
        let arguments = [&[group.as_bytes(), key.name()], arguments].concat();
        let value_key = self.value_key(key);
        Ok(self.link.run(script, &value_key, &arguments).await?)
    }
}

/// Milliseconds until it ends; at least one, which Redis asks for.
fn rest(value: &Value) -> String {
    let rest = value.end.since(clock::now()).as_millis();
    rest.max(1).to_string()
}

fn bytes(reply: Reply) -> Result<Option<Bytes>, Error> {
    match reply {
        Reply::BulkString(bytes) => Ok(Some(bytes.into())),
        Reply::Nil => Ok(None),
        _ => Err(Error("no value where a value should be".to_owned())),
    }
}

impl Store for RedisState {
    fn get(&self, key: Key) -> Answer<'_, Option<Bytes>> {
        Box::pin(async move {
            let mut command = redis::cmd("GET");
            command.arg(self.value_key(&key));
            bytes(self.link.send(&command).await?)
        })
    }

    fn put(&self, key: Key, value: Value) -> Answer<'_, ()> {
        Box::pin(async move {
            check_size(&value)?;
            let rest = rest(&value);
            let arguments: [&[u8]; 2] = [&value.bytes, rest.as_bytes()];
            self.run(&script::STATE_PUT, &key, &arguments)
                .await
                .map(drop)
        })
    }

    /// Where the answer gets lost nobody gets the value.
    fn take(&self, key: Key) -> Answer<'_, Option<Bytes>> {
        Box::pin(async move { bytes(self.run(&script::STATE_TAKE, &key, &[]).await?) })
    }

    fn swap(&self, key: Key, expected: Option<Bytes>, new: Option<Value>) -> Answer<'_, bool> {
        Box::pin(async move {
            if let Some(new) = &new {
                check_size(new)?;
            }
            let said = |is_there: bool| -> &[u8] { if is_there { b"1" } else { b"0" } };
            let rest = new.as_ref().map_or_else(String::new, rest);
            let arguments: [&[u8]; 5] = [
                said(expected.is_some()),
                expected.as_deref().unwrap_or_default(),
                said(new.is_some()),
                new.as_ref().map_or(&b""[..], |new| &new.bytes),
                rest.as_bytes(),
            ];
            let swapped = self.run(&script::STATE_SWAP, &key, &arguments).await?;
            Ok(swapped == Reply::Int(1))
        })
    }

    fn scan(&self, group: String, at_most: usize) -> Answer<'_, Entries> {
        Box::pin(async move {
            let at_most = at_most.to_string();
            let key = self.group_key(&group);
            let arguments: [&[u8]; 1] = [at_most.as_bytes()];
            let names = self
                .link
                .run(&script::STATE_NAMES, &key, &arguments)
                .await?;
            let names: Vec<Vec<u8>> = redis::from_redis_value(names)
                .map_err(|_| Error("no list where a list should be".to_owned()))?;
            if names.is_empty() {
                return Ok(Vec::new());
            }
            let mut command = redis::cmd("MGET");
            for name in &names {
                command.arg(self.value_key(&Key::new(group.clone(), name.clone())));
            }
            let values: Vec<Option<Vec<u8>>> =
                redis::from_redis_value(self.link.send(&command).await?)
                    .map_err(|_| Error("no list where a list should be".to_owned()))?;
            let found = names.into_iter().zip(values);
            Ok(found
                .filter_map(|(name, value)| Some((name, value?.into())))
                .collect())
        })
    }

    fn is_ready(&self) -> bool {
        self.link.is_up()
    }
}
