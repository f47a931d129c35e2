//! How many revocations the other replicas have got: they are delivered one after another, in order.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::timeout};

/// Counts what was given on, and what was taken.
pub(super) struct DeliveryCounter {
    given: Mutex<u64>,
    taken: watch::Sender<u64>,
}

impl DeliveryCounter {
    /// Of nothing yet.
    pub(super) fn new() -> Self {
        Self {
            given: Mutex::default(),
            taken: watch::Sender::new(0),
        }
    }

    /// Counts one if `give` could give it on. Locked, so that the count and the order in the queue are the same.
    pub(super) fn give(&self, give: impl FnOnce() -> bool) -> bool {
        let mut given = self.given();
        let is_given = give();
        *given += u64::from(is_given);
        is_given
    }

    /// The next one was taken.
    pub(super) fn take(&self) {
        self.taken.send_modify(|taken| *taken += 1);
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> u64 {
        let given = *self.given();
        given.saturating_sub(*self.taken.borrow())
    }

    /// Whether all that were given on by now are taken `within` a time.
    pub(super) async fn is_done(&self, within: Duration) -> bool {
        let given = *self.given();
        let mut taken = self.taken.subscribe();
        let done = taken.wait_for(|taken| *taken >= given);
        timeout(within, done).await.is_ok()
    }

    fn given(&self) -> MutexGuard<'_, u64> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    #[tokio::test]
    async fn what_was_given_is_done_when_it_is_taken() {
        let delivery_counter = DeliveryCounter::new();
        assert!(delivery_counter.is_done(AT_ONCE).await);
        assert!(!delivery_counter.give(|| false));
        assert!(delivery_counter.is_done(AT_ONCE).await && delivery_counter.waiting() == 0);
        assert!(delivery_counter.give(|| true) && delivery_counter.give(|| true));
        delivery_counter.take();
        assert!(!delivery_counter.is_done(AT_ONCE).await && delivery_counter.waiting() == 1);
        let soon = async {
            tokio::task::yield_now().await;
            delivery_counter.take();
        };
        let (is_done, ()) = tokio::join!(delivery_counter.is_done(Duration::from_secs(5)), soon);
        assert!(is_done && delivery_counter.waiting() == 0);
    }

    /// One that comes later is not waited for.
    #[tokio::test]
    async fn only_what_was_given_by_then_is_waited_for() {
        let delivery_counter = DeliveryCounter::new();
        assert!(delivery_counter.give(|| true));
        let more = async {
            delivery_counter.give(|| true);
            delivery_counter.take();
        };
        let (is_done, ()) = tokio::join!(delivery_counter.is_done(Duration::from_secs(5)), more);
        assert!(is_done && delivery_counter.waiting() == 1);
    }
}
