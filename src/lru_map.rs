//! A bounded map of recently used values. It is read on each request, so reading is nearly free. At the bound the values
//! that were unused for longest are removed.
//!
//! A read writes nothing, neither a position in a queue nor a time: the values themselves know when they were used. Only when room is needed
//! they are ordered, for many removals at once. Pure.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hash, Hasher},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use crate::clock::Timestamp;

/// What a value is found under.
pub trait Key: Copy + Eq + Ord {
    /// As good as a hash of it. Nobody outside can choose keys that are alike in it.
    fn bits(&self) -> u64;
}

/// An id is random, so that its first bytes are as good as a hash.
impl Key for [u8; 16] {
    fn bits(&self) -> u64 {
        let [bits @ .., _, _, _, _, _, _, _, _] = *self;
        u64::from_ne_bytes(bits)
    }
}

/// What can be kept.
pub trait Used {
    /// When it was used last; where use prolongs nothing, when it was made.
    fn used_at(&self) -> Timestamp;

    /// How much of the room it takes.
    fn weight(&self) -> usize {
        1
    }
}

/// The values.
pub struct LruMap<K, V> {
    /// Threads that look up different keys rarely meet.
    shards: Box<[RwLock<Shard<K, V>>]>,
    /// In each shard.
    room: usize,
    unused: Duration,
}

struct Shard<K, V> {
    values: HashMap<ByBits<K>, V, BuildHasherDefault<IdentityHasher>>,
    weight: usize,
    swept_at: Timestamp,
}

impl<K: Key, V: Used> LruMap<K, V> {
    /// Room for about `room` by weight. What was not used for as long as `unused` goes anyway, some time.
    pub fn new(room: usize, unused: Duration) -> Self {
        let shards = (room / LEAST_ROOM).clamp(1, MOST_SHARDS);
        // A power of two, for the mask.
        let shards = 1 << shards.ilog2();
        let shard = || Shard {
            values: HashMap::default(),
            weight: 0,
            swept_at: Timestamp(0),
        };
        Self {
            shards: (0..shards).map(|_| RwLock::new(shard())).collect(),
            room: room.div_ceil(shards),
            unused,
        }
    }

    /// Reads the value of `key`, where there is one.
    pub fn read<T>(&self, key: &K, read: impl FnOnce(&V) -> T) -> Option<T> {
        read_lock(self.shard(key))
            .values
            .get(&ByBits(*key))
            .map(read)
    }

    /// Changes the value of `key` in its place, where there is one.
    pub fn alter<T>(&self, key: &K, alter: impl FnOnce(&mut V) -> T) -> Option<T> {
        let mut shard = write_lock(self.shard(key));
        let value = shard.values.get_mut(&ByBits(*key))?;
        let before = value.weight();
        let outcome = alter(value);
        let after = value.weight();
        shard.weight = shard.weight + after - before;
        Some(outcome)
    }

    /// Keeps a value, in the place of an earlier one, unless it is larger than all of the room.
    pub fn insert(&self, key: K, value: V, now: Timestamp) {
        let mut shard = write_lock(self.shard(&key));
        shard.remove(&key);
        let weight = value.weight();
        if shard.weight + weight > self.room || now.since(shard.swept_at) >= BETWEEN_SWEEPS {
            shard.sweep(self.unused, now);
        }
        if shard.weight + weight > self.room {
            shard.shrink_to((self.room - self.room / 32).saturating_sub(weight));
        }
        // Alone it would take more than all of the room.
        if weight <= self.room {
            shard.weight += weight;
            shard.values.insert(ByBits(key), value);
        }
    }

    /// Removes a value.
    pub fn remove(&self, key: &K) {
        write_lock(self.shard(key)).remove(key);
    }

    /// How many values there are that were used lately.
    pub fn count(&self, now: Timestamp) -> usize {
        self.shards
            .iter()
            .map(|shard| {
                let mut shard = write_lock(shard);
                shard.sweep(self.unused, now);
                shard.values.len()
            })
            .sum()
    }

    fn shard(&self, key: &K) -> &RwLock<Shard<K, V>> {
        // Other bits than those that find the place in the shard.
        let [_, _, _, _, place @ .., _, _] = key.bits().to_ne_bytes();
        &self.shards[usize::from(u16::from_ne_bytes(place)) & (self.shards.len() - 1)]
    }
}

impl<K: Key, V: Used> Shard<K, V> {
    fn remove(&mut self, key: &K) {
        if let Some(value) = self.values.remove(&ByBits(*key)) {
            self.weight -= value.weight();
        }
    }

    /// Removes what was not used lately.
    fn sweep(&mut self, unused: Duration, now: Timestamp) {
        self.swept_at = now;
        let weight = &mut self.weight;
        self.values.retain(|_, value| {
            let is_kept = now < value.used_at().after(unused);
            if !is_kept {
                *weight -= value.weight();
            }
            is_kept
        });
    }

    /// Removes what was not used for longest.
    fn shrink_to(&mut self, weight: usize) {
        let uses = self.values.iter();
        let mut uses: Vec<(Timestamp, K)> = uses
            .map(|(ByBits(key), value)| (value.used_at(), *key))
            .collect();
        uses.sort_unstable();
        for (_, key) in uses {
            if self.weight <= weight {
                break;
            }
            self.remove(&key);
        }
    }
}

#[derive(PartialEq, Eq)]
struct ByBits<K>(K);

impl<K: Key> Hash for ByBits<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.bits());
    }
}

/// Takes [`Key::bits`] for the hash.
#[derive(Default)]
struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn write(&mut self, _: &[u8]) {
        unreachable!("`ByBits` writes one number");
    }

    fn write_u64(&mut self, bits: u64) {
        self.0 = bits;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Nothing panics in the middle of a change.
fn read_lock<K, V>(shard: &RwLock<Shard<K, V>>) -> RwLockReadGuard<'_, Shard<K, V>> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

fn write_lock<K, V>(shard: &RwLock<Shard<K, V>>) -> RwLockWriteGuard<'_, Shard<K, V>> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}

/// Parts of a map, each with a lock of its own.
const MOST_SHARDS: usize = 64;
/// The least room of a part: smaller ones would be full before all of them are.
const LEAST_ROOM: usize = 1_024;
/// How often unused values are removed at most, where there is room.
const BETWEEN_SWEEPS: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Value {
        used_at: u64,
        weight: usize,
    }

    impl Used for Value {
        fn used_at(&self) -> Timestamp {
            Timestamp(self.used_at)
        }

        fn weight(&self) -> usize {
            self.weight
        }
    }

    fn id(number: u8) -> [u8; 16] {
        [number; 16]
    }

    fn insert(lru_map: &LruMap<[u8; 16], Value>, number: u8, used_at: u64, weight: usize) {
        let value = Value { used_at, weight };
        lru_map.insert(id(number), value, Timestamp(used_at));
    }

    fn present(lru_map: &LruMap<[u8; 16], Value>) -> Vec<u8> {
        let is_there = |number: &u8| lru_map.read(&id(*number), |_| ()).is_some();
        (0..=u8::MAX).filter(is_there).collect()
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let lru_map = LruMap::new(3, Duration::from_mins(5));
        for number in 0..3 {
            insert(&lru_map, number, 100 + u64::from(number), 1);
        }
        lru_map.alter(&id(0), |value| value.used_at = 110);
        insert(&lru_map, 3, 110, 1);
        assert_eq!(present(&lru_map), [0, 2, 3]);
        // In its own place.
        insert(&lru_map, 3, 111, 1);
        assert_eq!(present(&lru_map), [0, 2, 3]);
        insert(&lru_map, 4, 111, 2);
        assert_eq!(present(&lru_map), [3, 4]);
    }

    #[test]
    fn what_is_larger_than_the_room_is_not_kept() {
        let lru_map = LruMap::new(10, Duration::from_mins(5));
        insert(&lru_map, 1, 1, 4);
        insert(&lru_map, 2, 2, 11);
        assert!(present(&lru_map).is_empty());
        insert(&lru_map, 3, 3, 10);
        assert_eq!(present(&lru_map), [3]);
    }

    #[test]
    fn what_is_not_used_goes() {
        let lru_map = LruMap::new(100, Duration::from_mins(5));
        insert(&lru_map, 1, 1_000, 1);
        insert(&lru_map, 2, 1_299, 1);
        assert_eq!(lru_map.count(Timestamp(1_299)), 2);
        assert_eq!(lru_map.count(Timestamp(1_300)), 1);
        insert(&lru_map, 3, 1_700, 1);
        assert_eq!(present(&lru_map), [3]);
    }

    #[test]
    fn the_weight_follows_changes() {
        let lru_map = LruMap::new(10, Duration::from_mins(5));
        insert(&lru_map, 1, 1, 4);
        lru_map.alter(&id(1), |value| value.weight = 8);
        insert(&lru_map, 2, 2, 3);
        assert_eq!(present(&lru_map), [2]);
        lru_map.remove(&id(2));
        insert(&lru_map, 3, 3, 10);
        assert_eq!(present(&lru_map), [3]);
    }

    proptest! {
        #[test]
        fn what_was_put_in_is_found_and_the_room_is_kept(ids: std::collections::HashSet<[u8; 16]>, room in 1..200_usize) {
            let lru_map = LruMap::new(room, Duration::from_mins(5));
            for id in &ids {
                lru_map.insert(*id, Value { used_at: 1, weight: 1 }, Timestamp(1));
                prop_assert!(lru_map.read(id, |_| ()).is_some());
            }
            let count = lru_map.count(Timestamp(1));
            prop_assert!(count <= room);
            if ids.len() <= room {
                prop_assert_eq!(count, ids.len());
            }
        }
    }
}
