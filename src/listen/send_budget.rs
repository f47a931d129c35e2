//! How many bytes of answers one HTTP/2 connection may hold while its client does not read.
//!
//! Whatever the client's windows allow, hyper takes the next piece of a body before there is room for it, and buffers it for each
//! stream. Here each piece counts from when it leaves the body until it is written, over all streams of the connection, and
//! with what it takes beside its bytes: an app may send them one by one. Beyond the bound bodies wait.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use crate::observe::metrics::{Limit, LimitHits};

/// What a piece takes beside its bytes: its owner, and its frame in h2's buffer, which grows to twice its size.
const PIECE: usize = 512;

/// The bytes in flight of one connection.
pub(super) struct SendBudget {
    limit: usize,
    hits: LimitHits,
    /// Whether somebody has waited since there was room.
    is_hit: AtomicBool,
    used: AtomicUsize,
    /// Counts what has left: it differs where anything has.
    sent: AtomicUsize,
    waiting: Mutex<BTreeMap<u64, Waker>>,
    next: AtomicUsize,
}

/// One stream's share.
pub(super) struct StreamBudget {
    budget: Arc<SendBudget>,
    number: u64,
    progress: Arc<Progress>,
}

/// How far one stream's body has come.
#[derive(Default)]
pub(super) struct Progress {
    /// Its pieces that are not on the wire.
    held: AtomicUsize,
    /// Counts what has left. An app that is faster than the client has the same held at any time.
    sent: AtomicUsize,
}

impl Progress {
    /// Whether a part is not on the wire.
    pub(super) fn has_unsent(&self) -> bool {
        self.held.load(Ordering::Relaxed) > 0
    }

    /// Differs from what it was where a piece has left since.
    pub(super) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }
}

struct Piece {
    bytes: Bytes,
    budget: Arc<SendBudget>,
    progress: Arc<Progress>,
}

impl SendBudget {
    pub(super) fn new(limit: usize, hits: LimitHits) -> Arc<Self> {
        Arc::new(Self {
            limit,
            hits,
            is_hit: AtomicBool::new(false),
            used: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            waiting: Mutex::default(),
            next: AtomicUsize::new(0),
        })
    }

    pub(super) fn stream(self: &Arc<Self>) -> StreamBudget {
        StreamBudget {
            budget: Arc::clone(self),
            number: self.next.fetch_add(1, Ordering::Relaxed) as u64,
            progress: Arc::default(),
        }
    }

    /// Whether a part of any body is not on the wire.
    pub(super) fn has_unsent(&self) -> bool {
        self.used.load(Ordering::Relaxed) > 0
    }

    /// Differs from what it was where a part of any body has left since.
    pub(super) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, cost: usize) {
        self.sent.fetch_add(cost, Ordering::Relaxed);
        let before = self.used.fetch_sub(cost, Ordering::AcqRel);
        if before >= self.limit && before - cost < self.limit {
            self.is_hit.store(false, Ordering::Relaxed);
            for waker in std::mem::take(&mut *self.waiting()).into_values() {
                waker.wake();
            }
        }
    }
}

impl StreamBudget {
    /// Ready when there is room for another piece. The task of `context` is woken when there is.
    pub(super) fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        let is_full = || self.budget.used.load(Ordering::Acquire) >= self.budget.limit;
        if !is_full() {
            return Poll::Ready(());
        }
        self.budget
            .waiting()
            .insert(self.number, context.waker().clone());
        // It may have been released before the waker was there.
        if !is_full() {
            return Poll::Ready(());
        }
        if !self.budget.is_hit.swap(true, Ordering::Relaxed) {
            self.budget.hits.hit(Limit::Http2Buffer);
        }
        Poll::Pending
    }

    /// Counts a piece of the body until it is dropped, which is when it is on the wire.
    pub(super) fn hold(&self, bytes: Bytes) -> Bytes {
        if bytes.is_empty() {
            return bytes;
        }
        let cost = bytes.len() + PIECE;
        self.budget.used.fetch_add(cost, Ordering::AcqRel);
        self.progress.held.fetch_add(cost, Ordering::Relaxed);
        Bytes::from_owner(Piece {
            bytes,
            budget: Arc::clone(&self.budget),
            progress: Arc::clone(&self.progress),
        })
    }

    /// How far this stream's body has come.
    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

impl Drop for StreamBudget {
    fn drop(&mut self) {
        self.budget.waiting().remove(&self.number);
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let cost = self.bytes.len() + PIECE;
        self.progress.held.fetch_sub(cost, Ordering::Relaxed);
        self.progress.sent.fetch_add(cost, Ordering::Relaxed);
        self.budget.release(cost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn streams_share_one_bound_and_wait_for_room() {
        let budget = SendBudget::new(2 * PIECE, LimitHits::default());
        let (one, other) = (budget.stream(), budget.stream());
        let room = |stream: &StreamBudget| stream.poll_room(&Context::from_waker(Waker::noop()));
        let first = one.hold(Bytes::from_static(b"123456"));
        assert!(room(&other).is_ready());
        let second = one.hold(Bytes::from_static(b"123456"));
        let progress = Arc::clone(one.progress());
        assert_eq!((progress.has_unsent(), progress.sent()), (true, 0));
        assert!(room(&one).is_pending() && room(&other).is_pending());
        let waits = tokio::spawn(std::future::poll_fn(move |context| {
            other.poll_room(context)
        }));
        tokio::task::yield_now().await;
        let part = first.slice(1..2);
        drop(first);
        assert!(room(&one).is_pending());
        drop(part);
        waits.await.unwrap();
        assert_eq!((progress.has_unsent(), progress.sent()), (true, PIECE + 6));
        drop(second);
        assert!(!progress.has_unsent());
        drop(one);
        assert!(budget.waiting().is_empty());
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
        assert_eq!(budget.sent(), 2 * (PIECE + 6));
        assert!(!budget.has_unsent());
    }
}
