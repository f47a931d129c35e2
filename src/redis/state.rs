//! What is stored beside sessions, in Redis, for all replicas.
//!
//! Each value has a key of its own, which Redis expires. The names of a group are in a sorted set by their expiry, on the same node of a cluster.
//! Expired names leave the set with the next change.

use std::sync::Arc;

use bytes::Bytes;
use redis::Value as Reply;

use super::{
    Unanswered,
    link::Link,
    script::{Known, known},
};
use crate::{
    clock,
    hex::hex,
    kv::{Answer, Entries, Error, Key, Store, Value, check_size},
};

/// Values that replicas share.
pub(crate) struct RedisState {
    pub(crate) link: Arc<Link>,
    /// Tells one gate's values from another's.
    pub(crate) gate: String,
}

impl From<Unanswered> for Error {
    fn from(error: Unanswered) -> Self {
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
            self.run(&PUT, &key, &arguments).await.map(drop)
        })
    }

    /// Where the answer gets lost nobody gets the value.
    fn take(&self, key: Key) -> Answer<'_, Option<Bytes>> {
        Box::pin(async move { bytes(self.run(&TAKE, &key, &[]).await?) })
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
            let swapped = self.run(&SWAP, &key, &arguments).await?;
            Ok(swapped == Reply::Int(1))
        })
    }

    fn scan(&self, group: String, at_most: usize) -> Answer<'_, Entries> {
        Box::pin(async move {
            let at_most = at_most.to_string();
            let key = self.group_key(&group);
            let arguments: [&[u8]; 1] = [at_most.as_bytes()];
            let names = self.link.run(&NAMES, &key, &arguments).await?;
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

/// Puts a name on its group's list, which lasts as long as the last of its values, and takes what has ended off it. The
/// list is on the node of the values: the braces in both names say so.
macro_rules! state_index {
    () => {
        r"
local add = function(group, name, lasts)
    local whole = function(number) return string.format('%.0f', number) end
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    redis.call('ZREMRANGEBYSCORE', group, '-inf', whole(now))
    redis.call('ZADD', group, whole(now + tonumber(lasts)), name)
    local last = redis.call('ZREVRANGE', group, 0, 0, 'WITHSCORES')
    redis.call('PEXPIREAT', group, whole(tonumber(last[2])))
end
"
    };
}

/// value key; group's key, name, value, milliseconds to live.
static PUT: Known = known!(concat!(
    state_index!(),
    r"
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
add(ARGV[1], ARGV[2], ARGV[4])
return 1
"
));

/// value key; group's key, name. The value that was there.
static TAKE: Known = known!(
    r"
local old = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
redis.call('ZREM', ARGV[1], ARGV[2])
return old
"
);

/// value key; group's key, name, whether one is expected, which, whether there is a new one, which, milliseconds to
/// live. Whether the new one is there now.
static SWAP: Known = known!(concat!(
    state_index!(),
    r"
local old = redis.call('GET', KEYS[1])
local expected = ARGV[3] == '1' and ARGV[4]
local new = ARGV[5] == '1' and ARGV[6]
if old == new then
    return 1
end
if old ~= expected then
    return 0
end
if new then
    redis.call('SET', KEYS[1], new, 'PX', ARGV[7])
    add(ARGV[1], ARGV[2], ARGV[7])
else
    redis.call('DEL', KEYS[1])
    redis.call('ZREM', ARGV[1], ARGV[2])
end
return 1
"
));

/// group's key; how many at most. Names of values that have not ended.
static NAMES: Known = known!(
    r"
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf', 'LIMIT', 0, ARGV[1])
"
);
