//! Remembers what was found out about tokens, for a while: what the provider says of a bearer token, and what it gave for one.
//!
//! Its memory is bounded in bytes, and so in number. A token is known by a hash. If many requests need the same thing at once, it is
//! found out once, and all of them get the outcome.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{Context, SHA256};
use futures_util::FutureExt as _;
use moka::{Expiry, future::Cache};

use crate::clock::Timestamp;

/// What it is known by.
pub type Key = [u8; 32];

/// The key of these parts. None of them is read as part of another, whatever they hold.
pub fn key(parts: &[&[u8]]) -> Key {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let hash = context.finish();
    *hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

/// What is remembered.
pub trait Entry: Clone + Send + Sync + 'static {
    /// For how long.
    fn kept(&self) -> Duration;

    /// Whether it stands at `now`. What is kept beyond its end, because a clock was set, is not taken for an answer.
    fn stands(&self, now: Timestamp) -> bool;

    /// About what it takes up, in bytes.
    fn bytes(&self) -> usize;
}

/// Entries by their keys.
pub struct TokenCache<E>(Cache<Key, E>);

impl<E: Entry> TokenCache<E> {
    /// With room for so many bytes.
    pub fn new(bytes: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(bytes)
            .weigher(|_, entry: &E| {
                u32::try_from(entry.bytes().max(LEAST_WEIGHT)).unwrap_or(u32::MAX)
            })
            .expire_after(Kept)
            .build();
        Self(cache)
    }

    /// What is known without waiting.
    pub fn at_hand(&self, key: &Key, now: Timestamp) -> Option<E> {
        // It is there at once, or not at all.
        let known = self.0.get(key).now_or_never().flatten();
        known.filter(|known| known.stands(now))
    }

    /// What is known, or what `find` finds out; once, whoever asks meanwhile. An error is for all who wait, and is not kept.
    ///
    /// # Errors
    /// That of `find`.
    pub async fn obtain<X: Send + Sync + 'static>(
        &self,
        key: Key,
        now: Timestamp,
        find: impl Future<Output = Result<E, X>>,
    ) -> Result<E, Arc<X>> {
        let known = self.0.get(&key).await;
        if known.is_some_and(|known| !known.stands(now)) {
            self.0.invalidate(&key).await;
        }
        self.0.try_get_with(key, find).await
    }
}

/// Keeps each as long as it says.
struct Kept;

impl<E: Entry> Expiry<Key, E> for Kept {
    fn expire_after_create(&self, _: &Key, entry: &E, _: Instant) -> Option<Duration> {
        Some(entry.kept())
    }

    fn expire_after_update(
        &self,
        _: &Key,
        entry: &E,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.kept())
    }
}

/// Bytes that each entry counts for at least, so that their number has a bound, too.
pub const LEAST_WEIGHT: usize = 1_024;
/// How long a refusal by the provider is cached.
pub const REFUSAL_KEPT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Known(u64, Duration);

    impl Entry for Known {
        fn kept(&self) -> Duration {
            self.1
        }

        fn stands(&self, now: Timestamp) -> bool {
            now < Timestamp(self.0)
        }

        fn bytes(&self) -> usize {
            0
        }
    }

    const NOW: Timestamp = Timestamp(1_000);

    #[test]
    fn no_part_of_a_key_is_read_as_another() {
        assert_eq!(key(&[b"a", b"b"]), key(&[b"a", b"b"]));
        assert_ne!(key(&[b"a", b"b"]), key(&[b"ab", b""]));
        assert_ne!(key(&[b"a", b"b"]), key(&[b"a", b"b", b""]));
    }

    #[tokio::test]
    async fn what_many_need_is_found_out_once() {
        let cache = TokenCache::new(1024 * 1024);
        let calls = AtomicUsize::new(0);
        let find = || async {
            calls.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok::<_, ()>(Known(2_000, Duration::from_mins(1)))
        };
        let one = key(&[b"one"]);
        let all = (0..50).map(|_| cache.obtain(one, NOW, find()));
        let all = futures_util::future::join_all(all).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        assert!(cache.at_hand(&one, NOW).is_some());
        // It is over, by a clock that was set.
        assert!(cache.at_hand(&one, Timestamp(2_000)).is_none());
        let again = cache.obtain(one, Timestamp(2_000), find()).await;
        assert!(again.is_ok());
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn an_error_is_for_those_who_wait_and_is_not_kept() {
        let cache = TokenCache::<Known>::new(1024 * 1024);
        let one = key(&[b"one"]);
        let failed = cache.obtain(one, NOW, async { Err("no") }).await;
        assert_eq!(*failed.unwrap_err(), "no");
        let found = async { Ok::<_, &str>(Known(2_000, Duration::from_mins(1))) };
        assert!(cache.obtain(one, NOW, found).await.is_ok());
    }
}
