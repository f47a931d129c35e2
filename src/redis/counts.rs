//! Counts that replicas share.

use std::{sync::Arc, time::Duration};

use redis::Value;

use super::{
    Unanswered,
    link::Link,
    script::{Known, known},
};
use crate::{
    hex::hex,
    rate_limit::{Key, Quota, Taken},
};

/// What is counted for all replicas of a gate.
pub struct RedisCounts {
    pub(crate) link: Arc<Link>,
    /// What the names of counts begin with.
    pub(crate) prefix: String,
}

impl RedisCounts {
    /// Takes one of a count that replicas share.
    ///
    /// # Errors
    /// When Redis does not say.
    pub async fn take(&self, key: &Key, quota: Quota) -> Result<Taken, Unanswered> {
        if !self.link.is_up() {
            return Err(Unanswered("there is no connection".to_owned()));
        }
        let name = format!("{}{}", self.prefix, hex(&key.0));
        let (interval, count) = (quota.interval().to_string(), quota.count().to_string());
        let arguments: [&[u8]; 2] = [interval.as_bytes(), count.as_bytes()];
        let answer = self.link.run(&TAKE, &name, &arguments).await?;
        let Value::Array(numbers) = &answer else {
            return Err(Unanswered("no count where a count should be".to_owned()));
        };
        match numbers[..] {
            [Value::Int(1), Value::Int(taken), _] => Ok(quota.taken(micros(taken))),
            [Value::Int(0), Value::Int(wait), Value::Int(reset)] => Ok(Taken {
                outcome: Err(Duration::from_micros(micros(wait))),
                remaining: 0,
                reset: Duration::from_micros(micros(reset)),
            }),
            _ => Err(Unanswered("no count where a count should be".to_owned())),
        }
    }
}

fn micros(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// Keys: the count. Arguments: microseconds until one comes back; how many there are. Answers {1, microseconds until all are back, 0} if
/// one was taken, else {0, microseconds until there is one, microseconds until all are back}. If its answer is lost and it runs again, it
/// takes another one.
static TAKE: Known = known!(
    r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval = tonumber(ARGV[1])
local room = interval * tonumber(ARGV[2])
local before = tonumber(redis.call('GET', KEYS[1]) or now)
before = math.min(math.max(before, now), now + room)
local after = before + interval
if after - now > room then
    return {0, after - now - room, before - now}
end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
return {1, after - now, 0}
"
);
