//! Counts of many callers, in bounded memory.

use std::{
    array,
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Key, Quota, Taken};

/// Counts, as many as there is room for. One that is in use is never thrown out: a flood of callers would have each of them
/// begin anew. When all are in use, newcomers share a count with their range, so that a flood out of one range holds up the
/// newcomers of that range and nobody else.
pub struct Table {
    began: Instant,
    shards: [Mutex<Shard>; SHARDS],
    /// Nobody outside can foresee who shares a count.
    hasher: RandomState,
}

struct Shard {
    /// When everything that was taken will have come back.
    full_at: HashMap<Key, u64>,
    shared: Box<[u64; SHARED]>,
    swept_at: u64,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            shards: array::from_fn(|_| {
                Mutex::new(Shard {
                    full_at: HashMap::new(),
                    shared: Box::new([0; SHARED]),
                    swept_at: 0,
                })
            }),
            hasher: RandomState::new(),
        }
    }
}

impl Table {
    /// Takes one of `key`'s `quota`. `range` is what it shares a count with while there is no room.
    pub fn take(&self, key: Key, range: u64, quota: Quota, now: Instant) -> Taken {
        let now = now.saturating_duration_since(self.began).as_micros();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let mut shard = self.shard(key);
        let known = shard.full_at.get(&key).copied();
        if known.is_none() && !shard.has_room(now) {
            // Of one quota alone: what one counts in hours would lock out another that counts in seconds.
            let place = self.hasher.hash_one((range, quota)) % SHARED as u64;
            let place = &mut shard.shared[usize::try_from(place).unwrap_or_default()];
            let taken = quota.times(MANY).take(Some(*place), now);
            *place = taken.outcome.unwrap_or(*place);
            return taken;
        }
        let taken = quota.take(known, now);
        if let Ok(full_at) = taken.outcome {
            shard.full_at.insert(key, full_at);
        }
        taken
    }

    /// Gives one back that led to something. What a shared count has given is not known any more, and comes back by itself.
    pub fn give_back(&self, key: Key, quota: Quota) {
        if let Some(full_at) = self.shard(key).full_at.get_mut(&key) {
            *full_at = full_at.saturating_sub(quota.interval());
        }
    }

    fn shard(&self, key: Key) -> std::sync::MutexGuard<'_, Shard> {
        let shard = &self.shards[usize::from(key.0[0]) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Whether there is room for one more, once what has come back is thrown out: at most once a second, for it is a walk
    /// through all of them.
    fn has_room(&mut self, now: u64) -> bool {
        if self.full_at.len() < CAPACITY {
            return true;
        }
        if u128::from(now.saturating_sub(self.swept_at)) >= SWEEP.as_micros() {
            self.swept_at = now;
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        self.full_at.len() < CAPACITY
    }
}

/// Parts with a lock each, so that workers hardly wait for each other.
const SHARDS: usize = 16;
/// Counts of a part: 100,000 in all, some 5 MB.
const CAPACITY: usize = 6_250;
/// Counts of a part for ranges, 8 bytes each.
const SHARED: usize = 256;
/// How many times one caller's quota those have.
const MANY: u32 = 4;
/// Between two looks for what has come back.
const SWEEP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn spend(table: &Table, key: Key, range: u64, quota: Quota, now: Instant) -> usize {
        (0..1_000)
            .take_while(|_| table.take(key, range, quota, now).outcome.is_ok())
            .count()
    }

    #[test]
    fn each_caller_has_a_count_and_what_is_given_back_is_there_again() {
        let (table, now) = (Table::default(), Instant::now());
        let quota = Quota::new(3, Duration::from_mins(1));
        let (one, other) = (Key::of(&[b"1"]), Key::of(&[b"2"]));
        assert_eq!(spend(&table, one, 0, quota, now), 3);
        assert_eq!(spend(&table, other, 0, quota, now), 3);
        table.give_back(one, quota);
        assert_eq!(spend(&table, one, 0, quota, now), 1);
        assert_eq!(
            spend(&table, one, 0, quota, now + Duration::from_mins(1)),
            3
        );
    }

    #[test]
    fn a_flood_takes_nobodys_count_away_and_holds_up_its_own_range_alone() {
        let (table, now) = (Table::default(), Instant::now());
        let quota = Quota::new(2, Duration::from_hours(1));
        let early = Key::of(&[b"early"]);
        assert_eq!(spend(&table, early, 1, quota, now), 2);
        for number in 0..120_000_u32 {
            table.take(Key::of(&[&number.to_be_bytes()]), 7, quota, now);
        }
        let kept = |table: &Table| -> usize {
            let shards = table.shards.iter();
            shards
                .map(|shard| shard.lock().unwrap().full_at.len())
                .sum()
        };
        assert!(kept(&table) <= SHARDS * CAPACITY);
        assert_eq!(spend(&table, early, 1, quota, now), 0);
        // All parts are full by now. Of many ranges nearly all are let in.
        let others = (100..200_u64).filter(|range| {
            let key = Key::of(&[b"late", &range.to_be_bytes()]);
            spend(&table, key, *range, quota, now) > 0
        });
        assert!(others.count() > 80);
        // Another part has another count of that range.
        let same: usize = (0..1_000_u32)
            .map(|number| {
                spend(
                    &table,
                    Key::of(&[b"same", &number.to_be_bytes()]),
                    7,
                    quota,
                    now,
                )
            })
            .sum();
        assert_eq!(same, 0);
        // Once everything has come back there is room.
        let later = now + Duration::from_hours(3);
        assert_eq!(spend(&table, Key::of(&[b"new"]), 7, quota, later), 2);
    }
}
