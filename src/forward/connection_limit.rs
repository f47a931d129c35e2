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
    sync::{Notify, watch},
    time::timeout,
};

use crate::observe::Throttled;

/// How long a request waits for another connection to close, where there are as many as there may be.
const PATIENCE: Duration = Duration::from_secs(1);
/// The interval between two log lines about that.
const TELL: Duration = Duration::from_secs(10);

/// Bounds the connections of the process to apps.
pub struct ConnectionLimit {
    most: AtomicUsize,
    open: AtomicUsize,
    freed: Notify,
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
            open: AtomicUsize::new(0),
            freed: Notify::new(),
            waiting: AtomicUsize::new(0),
            wanted: watch::Sender::new(0),
            told: Throttled::new(TELL),
        })
    }

    /// There may be `most` from here on. None is closed for that.
    pub fn adopt(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Tells how often a slot was wanted when there was none: whoever has idle connections closes some.
    pub fn wanted(&self) -> Wanted {
        let told = self.wanted.subscribe();
        let seen = *told.borrow();
        Wanted { told, seen }
    }

    /// A slot for one more. Where there is none, one is waited for, but not for long.
    pub(super) async fn acquire(self: &Arc<Self>) -> Option<ConnectionSlot> {
        if let Some(slot) = self.take() {
            return Some(slot);
        }
        let _waiting = Waiting::begin(&self.waiting);
        self.wanted.send_modify(|wanted| *wanted += 1);
        let freed = async {
            loop {
                self.freed.notified().await;
                if let Some(slot) = self.take() {
                    return slot;
                }
            }
        };
        let slot = timeout(PATIENCE, freed).await.ok();
        if slot.is_none()
            && let Some(held_back) = self.told.turn(Instant::now())
        {
            tracing::warn!(
                connections = self.most.load(Ordering::Relaxed),
                held_back,
                "no other connection to an app was opened: there are as many as the limit on open files allows; raise that \
                 limit (ulimit -n, LimitNOFILE)"
            );
        }
        slot
    }

    /// Whether a slot is waited for: then no connection idles.
    pub(super) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn take(self: &Arc<Self>) -> Option<ConnectionSlot> {
        let most = self.most.load(Ordering::Relaxed);
        let one_more = |open| (open < most).then_some(open + 1);
        let taken = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| ConnectionSlot(Arc::clone(self)))
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
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.freed.notify_one();
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
        let first = limit.acquire().await.unwrap();
        let second = limit.acquire().await.unwrap();
        assert!(limit.acquire().await.is_none());
        drop(first);
        let third = limit.acquire().await.unwrap();
        limit.adopt(1);
        drop(second);
        assert!(limit.acquire().await.is_none());
        drop(third);
        assert!(limit.acquire().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_told_of_and_gets_the_next_slot() {
        let limit = ConnectionLimit::new(1);
        let mut wanted = limit.wanted();
        let slot = limit.acquire().await.unwrap();
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let limit = Arc::clone(&limit);
                tokio::spawn(async move { limit.acquire().await.is_some() })
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
