//! Reports the use of sessions to Redis in the background. No request waits for it, and a busy session is reported once in a while.
//!
//! Use after a pause is reported at once, and then no more often than [`pause`] allows. The last use is always reported. So Redis lags behind by
//! one pause while a session is busy, and no longer when its idle end comes near. The answer also says whether the cached copy is still
//! current.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use redis::Value;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::{layout::Name, record_cache::RecordCache, script};
use crate::{clock, clock::Timestamp, redis::link::Link, session::Id};

/// Sessions that were used, and when. In shards by their ids, which are random: each has a lock of its own, so that no
/// request waits for one that walks all of them.
pub(super) struct LastSeenWriter {
    shards: [Mutex<HashMap<Id, Uses>>; SHARDS],
    pause: Duration,
}

#[derive(Clone, Copy)]
struct Uses {
    latest: Timestamp,
    /// The latest that Redis was told of.
    reported: Option<Timestamp>,
}

impl LastSeenWriter {
    pub(super) fn new(idle_timeout: Duration) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            pause: pause(idle_timeout),
        }
    }

    /// The session was used.
    pub(super) fn add(&self, id: &Id, now: Timestamp) {
        let mut uses = self.shard_of(id);
        if let Some(uses) = uses.get_mut(id) {
            uses.latest = now.max(uses.latest);
        } else if uses.len() < MOST / SHARDS {
            let unknown = Uses {
                latest: now,
                reported: None,
            };
            uses.insert(*id, unknown);
        }
    }

    /// Uses that it is time to tell. What is not used any more is forgotten.
    fn due(&self, now: Timestamp) -> Vec<(Id, Timestamp)> {
        let mut due = Vec::new();
        for shard in &self.shards {
            lock(shard).retain(|id, uses| {
                let is_early = uses
                    .reported
                    .is_some_and(|reported| now < reported.after(self.pause));
                let is_reported = Some(uses.latest) == uses.reported;
                if !is_early && !is_reported {
                    due.push((*id, uses.latest));
                }
                is_early || !is_reported
            });
        }
        due
    }

    /// Uses that were not told yet, due or not.
    fn unreported(&self) -> Vec<(Id, Timestamp)> {
        let unreported = |(id, uses): (&Id, &Uses)| {
            (Some(uses.latest) != uses.reported).then_some((*id, uses.latest))
        };
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(lock(shard).iter().filter_map(unreported));
        }
        all
    }

    fn reported(&self, id: &Id, seen_at: Timestamp) {
        if let Some(uses) = self.shard_of(id).get_mut(id) {
            uses.reported = Some(seen_at);
        }
    }

    fn shard_of(&self, id: &Id) -> MutexGuard<'_, HashMap<Id, Uses>> {
        lock(&self.shards[usize::from(id[0]) % SHARDS])
    }
}

fn lock(shard: &Mutex<HashMap<Id, Uses>>) -> MutexGuard<'_, HashMap<Id, Uses>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How far what Redis knows of a busy session may lag behind: what an outage of this replica can cost of the idle time.
fn pause(idle_timeout: Duration) -> Duration {
    (idle_timeout / 8).clamp(BEAT, LONGEST_PAUSE)
}

/// Tells Redis, until stopped; then once more.
pub(super) async fn run(
    last_seen: Arc<LastSeenWriter>,
    link: Arc<Link>,
    record_cache: Arc<RecordCache>,
    idle_timeout: Duration,
    stop: CancellationToken,
) {
    let mut beat = interval(BEAT);
    let mut is_over = false;
    while !is_over {
        tokio::select! {
            _ = beat.tick() => {}
            () = stop.cancelled() => is_over = true,
        }
        // While it is down they gather; each session once.
        if !link.is_up() {
            continue;
        }
        let uses = if is_over {
            last_seen.unreported()
        } else {
            last_seen.due(clock::now())
        };
        for some in uses.chunks(AT_ONCE) {
            join_all(some.iter().map(|(id, seen_at)| async {
                if let Some((asked_at, generation)) =
                    touch(&link, Name::of(id), *seen_at, idle_timeout).await
                {
                    last_seen.reported(id, *seen_at);
                    record_cache.compare(id, generation, asked_at);
                }
            }))
            .await;
        }
    }
}

/// When it was asked and what generation was there; nothing where Redis did not answer.
async fn touch(
    link: &Link,
    name: Name,
    seen_at: Timestamp,
    idle_timeout: Duration,
) -> Option<(Timestamp, Option<u64>)> {
    let asked_at = clock::now();
    let (key, idle) = (name.session_key(), idle_timeout.as_secs().to_string());
    let (bytes, text) = (seen_at.0.to_be_bytes(), seen_at.0.to_string());
    let arguments: [&[u8]; 3] = [&bytes, text.as_bytes(), idle.as_bytes()];
    let answer = link.run(&script::TOUCH, &key, &arguments).await.ok()?;
    let generation = match answer {
        Value::BulkString(bytes) => Some(u64::from_be_bytes(bytes.try_into().ok()?)),
        _ => None,
    };
    Some((asked_at, generation))
}

/// The interval between two reports.
const BEAT: Duration = Duration::from_secs(1);
/// The longest interval between two reports of one session. It is well below the time for which a cached copy is valid without
/// comparison, so that busy ones are never read again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Commands sent together.
const AT_ONCE: usize = 64;
/// Sessions whose use is remembered. For others the next use is.
const MOST: usize = 100_000;
/// Parts of these, each with a lock of its own.
const SHARDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Id = [7; 16];

    fn last_seen() -> LastSeenWriter {
        LastSeenWriter::new(Duration::from_mins(30))
    }

    fn due(last_seen: &LastSeenWriter, now: u64) -> Option<u64> {
        last_seen.due(Timestamp(now)).first().map(|(_, at)| at.0)
    }

    #[test]
    fn a_use_after_a_pause_is_told_at_once_and_others_when_it_is_time() {
        let last_seen = last_seen();
        last_seen.add(&ID, Timestamp(1_000));
        assert_eq!(due(&last_seen, 1_000), Some(1_000));
        // Redis did not answer.
        assert_eq!(due(&last_seen, 1_001), Some(1_000));
        last_seen.reported(&ID, Timestamp(1_000));
        for now in 1_001..1_010 {
            last_seen.add(&ID, Timestamp(now));
            assert_eq!(due(&last_seen, now), None, "{now}");
        }
        assert_eq!(due(&last_seen, 1_010), Some(1_009));
        last_seen.reported(&ID, Timestamp(1_009));
        assert_eq!(due(&last_seen, 1_019), None);
        last_seen.add(&ID, Timestamp(1_030));
        assert_eq!(due(&last_seen, 1_030), Some(1_030));
    }

    #[test]
    fn a_use_while_redis_is_told_of_an_earlier_one_is_told_too() {
        let last_seen = last_seen();
        last_seen.add(&ID, Timestamp(1_000));
        assert_eq!(due(&last_seen, 1_000), Some(1_000));
        last_seen.add(&ID, Timestamp(1_001));
        last_seen.reported(&ID, Timestamp(1_000));
        assert_eq!(due(&last_seen, 1_005), None);
        assert_eq!(last_seen.unreported(), [(ID, Timestamp(1_001))]);
        assert_eq!(due(&last_seen, 1_010), Some(1_001));
    }

    #[test]
    fn what_is_told_and_used_no_more_is_forgotten() {
        let last_seen = last_seen();
        last_seen.add(&ID, Timestamp(1_000));
        due(&last_seen, 1_000);
        last_seen.reported(&ID, Timestamp(1_000));
        due(&last_seen, 1_009);
        assert_eq!(last_seen.shard_of(&ID).len(), 1);
        assert!(last_seen.unreported().is_empty());
        due(&last_seen, 1_010);
        assert!(last_seen.shard_of(&ID).is_empty());
    }

    /// A walk over all of them holds up few.
    #[test]
    fn while_some_are_looked_at_others_are_added() {
        let last_seen = last_seen();
        let id = |first: u8| [first; 16];
        let held = last_seen.shard_of(&id(0));
        for first in 1..=63 {
            last_seen.add(&id(first), Timestamp(1_000));
        }
        drop(held);
        last_seen.add(&id(0), Timestamp(1_000));
        assert_eq!(last_seen.due(Timestamp(1_000)).len(), 64);
        assert_eq!(last_seen.unreported().len(), 64);
    }

    #[test]
    fn the_lag_fits_the_idle_timeout() {
        for (idle, lag) in [(3, 1), (40, 5), (1_800, 10)] {
            let idle = Duration::from_secs(idle);
            assert_eq!(pause(idle), Duration::from_secs(lag));
        }
    }
}
