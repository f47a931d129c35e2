//! How many connections to apps there may be at once: what the limit on open files leaves beside those of clients.
//!
//! A client's connection is no measure for it: over HTTP/2 each of its streams may have a connection to an app. Without a bound
//! of their own these would take the descriptors of everybody else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::timeout,
};

use crate::observe::Throttled;

/// How long a request waits for another connection to close, where there are as many as there may be. At most half of
/// `upstream_timeout`.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// The interval between two log lines about that.
const TELL: Duration = Duration::from_secs(10);

/// Bounds the connections of the process to apps.
pub struct ConnectionLimit {
    most: AtomicUsize,
    /// Slots that nobody has. Whoever waits for one gets them in turn.
    free: Semaphore,
    /// Slots in use that go with their connections: there may be fewer than there are.
    excess: AtomicUsize,
    /// How many wait for one to close.
    waiting: AtomicUsize,
    /// How many have waited for one to close.
    wanted: watch::Sender<usize>,
    told: Throttled,
}

/// One connection counts as long as it has this.
pub(super) struct ConnectionSlot(Arc<ConnectionLimit>);

impl ConnectionLimit {
    /// To `most` connections.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: AtomicUsize::new(most),
            free: Semaphore::new(most),
            excess: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            wanted: watch::Sender::new(0),
            told: Throttled::new(TELL),
        })
    }

    /// There may be `most` from here on. None is closed for that. Called by one task alone.
    pub fn adopt(&self, most: usize) {
        let before = self.most.swap(most, Ordering::Relaxed);
        if most < before {
            let forgotten = self.free.forget_permits(before - most);
            let excess = before - most - forgotten;
            self.excess.fetch_add(excess, Ordering::Relaxed);
        }
        for _ in before..most {
            self.release();
        }
    }

    /// Tells how often a slot was wanted when there was none: whoever has idle connections closes some.
    pub fn wanted(&self) -> Wanted {
        let told = self.wanted.subscribe();
        let seen = *told.borrow();
        Wanted { told, seen }
    }

    /// A slot for one more. Where there is none, one is waited for, but not for longer than `patience`.
    pub(super) async fn acquire(self: &Arc<Self>, patience: Duration) -> Option<ConnectionSlot> {
        let slot = |permit: SemaphorePermit<'_>| {
            permit.forget();
            ConnectionSlot(Arc::clone(self))
        };
        if let Ok(permit) = self.free.try_acquire() {
            return Some(slot(permit));
        }
        let _waiting = Waiting::begin(&self.waiting);
        self.wanted.send_modify(|wanted| *wanted += 1);
        // It is closed by nobody.
        let acquired = timeout(patience, self.free.acquire()).await;
        if let Ok(Ok(permit)) = acquired {
            return Some(slot(permit));
        }
        if let Some(held_back) = self.told.turn(Instant::now()) {
            tracing::warn!(
                connections = self.most.load(Ordering::Relaxed),
                held_back,
                "no other connection to an app was opened: there are as many as the limit on open files allows; raise that \
                 limit (ulimit -n, LimitNOFILE)"
            );
        }
        None
    }

    /// Whether a slot is waited for: then no connection idles.
    pub(super) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// A slot is free, unless there are more than there may be.
    fn release(&self) {
        let one_less = |excess: usize| excess.checked_sub(1);
        let excess = self
            .excess
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        if excess.is_err() {
            self.free.add_permits(1);
        }
    }
}

/// One request that waits for a slot.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Hears of slots that are wanted.
pub struct Wanted {
    told: watch::Receiver<usize>,
    seen: usize,
}

impl Wanted {
    /// How many more than when this was asked last; waits until there is one.
    pub async fn next(&mut self) -> usize {
        if self.told.changed().await.is_err() {
            // The limit lives as long as the process.
            std::future::pending::<()>().await;
        }
        let before = std::mem::replace(&mut self.seen, *self.told.borrow_and_update());
        self.seen - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn there_are_no_more_than_may_be() {
        let limit = ConnectionLimit::new(2);
        let first = limit.acquire(PATIENCE).await.unwrap();
        let second = limit.acquire(PATIENCE).await.unwrap();
        assert!(limit.acquire(PATIENCE).await.is_none());
        drop(first);
        let third = limit.acquire(PATIENCE).await.unwrap();
        limit.adopt(1);
        drop(second);
        assert!(limit.acquire(PATIENCE).await.is_none());
        drop(third);
        assert!(limit.acquire(PATIENCE).await.is_some());
        limit.adopt(0);
        assert!(limit.acquire(PATIENCE).await.is_none());
    }

    /// Also where it was lowered meanwhile, and not all of the rest has closed since.
    #[tokio::test(start_paused = true)]
    async fn where_there_may_be_more_whoever_waits_gets_one() {
        let limit = ConnectionLimit::new(3);
        let _two = [limit.acquire(PATIENCE).await, limit.acquire(PATIENCE).await];
        limit.adopt(1);
        let (waits, raised) = tokio::join!(limit.acquire(PATIENCE), async {
            tokio::task::yield_now().await;
            limit.adopt(2);
            limit.adopt(3);
            tokio::time::Instant::now()
        });
        assert!(waits.is_some());
        assert_eq!(raised.elapsed(), Duration::ZERO);
        assert!(limit.acquire(PATIENCE).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_later_waits_behind_those_who_wait() {
        let limit = ConnectionLimit::new(1);
        let slot = limit.acquire(PATIENCE).await.unwrap();
        let mut waits = Box::pin(limit.acquire(PATIENCE));
        assert!(futures_util::poll!(&mut waits).is_pending());
        drop(slot);
        let later = limit.acquire(Duration::ZERO).await;
        assert!(later.is_none());
        assert!(waits.await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_told_of_and_gets_the_next_slot() {
        let limit = ConnectionLimit::new(1);
        let mut wanted = limit.wanted();
        let slot = limit.acquire(PATIENCE).await.unwrap();
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let limit = Arc::clone(&limit);
                tokio::spawn(async move { limit.acquire(PATIENCE).await.is_some() })
            })
            .collect();
        assert_eq!(wanted.next().await, 2);
        assert!(limit.is_wanted());
        drop(slot);
        for waiting in waiting {
            assert!(waiting.await.unwrap());
        }
        assert!(!limit.is_wanted());
    }
}
