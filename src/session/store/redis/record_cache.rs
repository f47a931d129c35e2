//! A cache of records in this process, so that a busy session costs no round trip. It holds ciphertext, like the records.
//!
//! A copy is as good as the record while this replica is sure to receive changes; otherwise only for a moment. While Redis does not answer, a
//! copy that was compared a short while ago still serves. Pure, except for the cache.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::layout::{Name, Stored};
use crate::{
    clock::Timestamp,
    lru_map::{LruMap, Used},
    session::{Id, store::Record},
};

/// The copies.
pub(super) struct RecordCache {
    entries: LruMap<Id, Copy>,
    idle_timeout: Duration,
    /// How often something changed, by the beginnings of names. Whoever shares a beginning is asked for anew as well.
    changes: Box<[AtomicU64]>,
}

struct Copy {
    record: Record,
    end: Timestamp,
    seen_at: AtomicU64,
    /// When it was last compared with the record.
    verified_at: AtomicU64,
    /// Before Redis was asked.
    before: Epoch,
}

impl Used for Copy {
    fn used_at(&self) -> Timestamp {
        Timestamp(self.seen_at.load(Ordering::Relaxed))
    }

    fn weight(&self) -> usize {
        self.record.sealed.len() + OVERHEAD
    }
}

/// What copies are worth now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Changes are heard of, all since then: a copy that was compared later is good.
    Subscribed(Timestamp),
    /// Changes may be missed: a copy is good for a moment.
    Polling,
    /// Nothing better is to be had.
    Offline,
}

/// How often a session had changed, or one that shares the count with it.
#[derive(Clone, Copy)]
pub(super) struct Epoch {
    place: usize,
    changes: u64,
}

impl RecordCache {
    pub(super) fn new(idle_timeout: Duration) -> Self {
        Self {
            entries: LruMap::new(CAPACITY, UNUSED.min(idle_timeout)),
            idle_timeout,
            changes: (0..CHANGES).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// What `read` makes of a copy, where it is worth that much. One of which nothing can be made was not used.
    pub(super) fn find<T>(
        &self,
        id: &Id,
        worth: Freshness,
        now: Timestamp,
        read: impl FnOnce(&Record, Timestamp) -> Option<T>,
    ) -> Option<T> {
        self.entries.read(id, |copy| {
            let verified_at = Timestamp(copy.verified_at.load(Ordering::Relaxed));
            let is_good = match worth {
                Freshness::Subscribed(since) if verified_at > since => {
                    is_within(now, verified_at, BACKSTOP)
                }
                Freshness::Subscribed(_) | Freshness::Polling => {
                    is_within(now, verified_at, MOMENT)
                }
                Freshness::Offline => is_within(now, verified_at, VOUCHES),
            };
            let seen_at = copy.used_at();
            // That it was not used for long is what this replica saw; others may have seen more.
            if !is_good
                || self.has_changed(copy.before)
                || has_ended(copy.end, seen_at, self.idle_timeout, now)
            {
                return None;
            }
            let read = read(&copy.record, seen_at)?;
            if seen_at < now {
                copy.seen_at.fetch_max(now.0, Ordering::Relaxed);
            }
            Some(read)
        })?
    }

    /// To be called before Redis is asked for what is then [kept](Self::keep).
    pub(super) fn before(&self, name: Name) -> Epoch {
        let place = place_of(name);
        Epoch {
            place,
            changes: self.changes[place].load(Ordering::SeqCst),
        }
    }

    /// Keeps a copy of what Redis said. One that changed on the way here, or changes later, is never found.
    pub(super) fn keep(&self, id: &Id, stored: &Stored, now: Timestamp, before: Epoch) {
        if self.has_changed(before) {
            return;
        }
        let copy = Copy {
            record: stored.record.clone(),
            end: stored.end,
            seen_at: AtomicU64::new(stored.seen_at.max(now).0),
            verified_at: AtomicU64::new(now.0),
            before,
        };
        self.entries.insert(*id, copy, now);
    }

    /// The record has changed or is gone.
    pub(super) fn forget(&self, name: Name) {
        self.changes[place_of(name)].fetch_add(1, Ordering::SeqCst);
    }

    /// Redis has no record of that id.
    pub(super) fn remove(&self, id: &Id) {
        self.entries.remove(id);
    }

    /// At `asked_at` Redis had this generation, or nothing.
    pub(super) fn compare(&self, id: &Id, generation: Option<u64>, asked_at: Timestamp) {
        let is_same = self.entries.read(id, |copy| {
            let is_same = Some(copy.record.generation) == generation;
            if is_same {
                copy.verified_at.fetch_max(asked_at.0, Ordering::Relaxed);
            }
            is_same
        });
        if is_same == Some(false) {
            self.forget(Name::of(id));
            self.entries.remove(id);
        }
    }

    fn has_changed(&self, before: Epoch) -> bool {
        self.changes[before.place].load(Ordering::SeqCst) != before.changes
    }
}

fn place_of(name: Name) -> usize {
    usize::from(u16::from_be_bytes([name.0[0], name.0[1]])) % CHANGES
}

/// To the second, as a session's own stamps say it.
pub(super) fn has_ended(
    end: Timestamp,
    seen_at: Timestamp,
    idle_timeout: Duration,
    now: Timestamp,
) -> bool {
    now >= end || now >= seen_at.after(idle_timeout)
}

/// Whether `then` was at most that long ago. What lies in the future is no news but a clock that was set back; threads
/// that read it at different moments differ by a second.
pub(super) fn is_within(now: Timestamp, then: Timestamp, span: Duration) -> bool {
    then.0 <= now.0 + 1 && now.since(then) <= span
}

/// How long a copy is valid if no change was received.
const BACKSTOP: Duration = Duration::from_mins(1);
/// How long a copy is valid if changes may be missed. With everything else that takes time it is less than five seconds.
const MOMENT: Duration = Duration::from_secs(2);
/// How long a copy is used while Redis does not answer.
const VOUCHES: Duration = Duration::from_mins(1);
/// Bytes of cached copies, of tens of thousands of sessions.
const CAPACITY: usize = 64 << 20;
/// Bytes of a copy beside the sealed session.
const OVERHEAD: usize = 256;
/// How long a copy is kept without use.
const UNUSED: Duration = Duration::from_mins(5);
/// Counters of changes. A change causes one extra read for one in so many of the other sessions.
const CHANGES: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Id = [7; 16];
    const SURE: Freshness = Freshness::Subscribed(Timestamp(0));

    fn stored(generation: u64) -> Stored {
        Stored {
            record: Record {
                generation,
                sealed: "sealed".into(),
            },
            end: Timestamp(10_000),
            seen_at: Timestamp(1_000),
        }
    }

    fn kept() -> RecordCache {
        let record_cache = RecordCache::new(Duration::from_mins(30));
        let before = record_cache.before(Name::of(&ID));
        record_cache.keep(&ID, &stored(1), Timestamp(1_000), before);
        record_cache
    }

    fn is_found(record_cache: &RecordCache, worth: Freshness, now: u64) -> bool {
        record_cache
            .find(&ID, worth, Timestamp(now), |_, _| Some(()))
            .is_some()
    }

    #[test]
    fn a_copy_is_good_for_as_long_as_it_is_worth() {
        for (worth, last) in [
            (SURE, 1_060),
            (Freshness::Subscribed(Timestamp(1_000)), 1_002),
            (Freshness::Polling, 1_002),
            (Freshness::Offline, 1_060),
        ] {
            let record_cache = kept();
            assert!(is_found(&record_cache, worth, last), "{worth:?}");
            assert!(!is_found(&record_cache, worth, last + 1), "{worth:?}");
        }
        // A clock that was set back.
        assert!(!is_found(&kept(), SURE, 998));
    }

    #[test]
    fn comparing_prolongs_it_and_finds_what_is_no_more() {
        let record_cache = kept();
        record_cache.compare(&ID, Some(1), Timestamp(1_050));
        assert!(is_found(&record_cache, SURE, 1_110));
        record_cache.compare(&ID, Some(2), Timestamp(1_110));
        assert!(!is_found(&record_cache, SURE, 1_110));
        let record_cache = kept();
        record_cache.compare(&ID, None, Timestamp(1_000));
        assert!(!is_found(&record_cache, SURE, 1_000));
    }

    #[test]
    fn what_changes_on_the_way_is_not_kept() {
        let record_cache = kept();
        let before = record_cache.before(Name::of(&ID));
        record_cache.forget(Name::of(&ID));
        record_cache.keep(&ID, &stored(1), Timestamp(1_000), before);
        assert!(!is_found(&record_cache, SURE, 1_000));
    }

    #[test]
    fn what_changes_later_is_found_no_more() {
        let record_cache = kept();
        record_cache.forget(Name::of(&[8; 16]));
        assert!(is_found(&record_cache, SURE, 1_000));
        record_cache.forget(Name::of(&ID));
        assert!(!is_found(&record_cache, SURE, 1_000));
    }

    #[test]
    fn an_end_is_for_redis_to_say() {
        let record_cache = RecordCache::new(Duration::from_secs(30));
        let before = record_cache.before(Name::of(&ID));
        record_cache.keep(&ID, &stored(1), Timestamp(1_000), before);
        assert!(is_found(&record_cache, SURE, 1_029));
        // Used at 1029: so the idle end moved.
        assert!(is_found(&record_cache, SURE, 1_058));
        record_cache.compare(&ID, Some(1), Timestamp(1_088));
        assert!(!is_found(&record_cache, SURE, 1_088));

        let record_cache = kept();
        record_cache.compare(&ID, Some(1), Timestamp(9_999));
        assert!(!is_found(&record_cache, SURE, 10_000));
    }
}
