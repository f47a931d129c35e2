//! How long one worker's connections and requests may wait: one coarse clock for all of them.
//!
//! A timer of its own for each wait would be set and taken back with each request and cost more than what it
//! guards. Here a wait is a number that is compared when the worker's clock ticks: it ends at its time or up
//! to a tick and a half later, never before.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    task::{Poll, Waker},
    time::{Duration, Instant},
};

/// How exact a deadline is.
const TICK: Duration = Duration::from_millis(500);
/// The end of what may wait for ever.
const NEVER: u32 = u32::MAX;

/// One worker's clock, and who waits by it.
pub struct Deadlines {
    began: Instant,
    now: AtomicU32,
    next: AtomicU64,
    waits: Mutex<HashMap<u64, Arc<Entry>>>,
}

/// A time on a worker's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u32);

struct Entry {
    end: AtomicU32,
    waker: Waker,
}

/// What may wait until its end: a connection that serves one request after another, or a request. Its task is
/// woken when the end has come.
pub struct Wait {
    deadlines: Arc<Deadlines>,
    entry: Arc<Entry>,
    place: u64,
    /// What is going on and may not be ended by [`Wait::rest`].
    busy: AtomicU32,
    rest: u32,
}

/// Something goes on. While one of them is left, the wait does not rest.
pub struct Busy(Arc<Wait>);

impl Tick {
    /// Whether `duration` may have gone by since `earlier`: true where the clock is too coarse to tell.
    pub fn may_be_after(self, earlier: Self, duration: Duration) -> bool {
        let whole = u32::try_from(duration.as_millis() / TICK.as_millis()).unwrap_or(NEVER);
        self.0.saturating_sub(earlier.0) >= whole.saturating_sub(1).max(1)
    }
}

impl Deadlines {
    /// A clock that begins now.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            now: AtomicU32::new(0),
            next: AtomicU64::new(0),
            waits: Mutex::default(),
        })
    }

    /// The time of the last tick.
    pub fn now(&self) -> Tick {
        Tick(self.now.load(Ordering::Relaxed))
    }

    /// Ticks, for as long as it is polled.
    pub async fn run(&self) {
        loop {
            tokio::time::sleep(TICK).await;
            self.tick();
        }
    }

    fn tick(&self) {
        let ticks = self.began.elapsed().as_millis() / TICK.as_millis();
        let now = u32::try_from(ticks).unwrap_or(NEVER - 1);
        self.now.store(now, Ordering::Relaxed);
        for entry in self.lock().values() {
            if entry.end.load(Ordering::Relaxed) <= now {
                entry.waker.wake_by_ref();
            }
        }
    }

    /// A wait of the task that calls; it has no end yet. Where nothing goes on for `rest`, it is over.
    pub async fn wait(self: &Arc<Self>, rest: Duration) -> Arc<Wait> {
        let waker = std::future::poll_fn(|context| Poll::Ready(context.waker().clone())).await;
        let entry = Arc::new(Entry {
            end: AtomicU32::new(NEVER),
            waker,
        });
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(place, Arc::clone(&entry));
        let wait = Wait {
            deadlines: Arc::clone(self),
            entry,
            place,
            busy: AtomicU32::new(0),
            rest: ticks(rest),
        };
        wait.end_after(wait.rest);
        Arc::new(wait)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Entry>>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wait {
    /// Says that something goes on.
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.entry.end.store(NEVER, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Whether nothing has gone on for too long.
    pub fn is_over(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0 && self.has_ended()
    }

    /// What `future` gives, if it does within `limit`. It may be called again with the same future.
    pub async fn within<F: Future + ?Sized>(
        &self,
        limit: Duration,
        mut future: Pin<&mut F>,
    ) -> Option<F::Output> {
        self.end_after(ticks(limit));
        let output = std::future::poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.has_ended() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await;
        self.entry.end.store(NEVER, Ordering::Relaxed);
        output
    }

    fn has_ended(&self) -> bool {
        self.entry.end.load(Ordering::Relaxed) <= self.deadlines.now().0
    }

    fn end_after(&self, ticks: u32) {
        let end = self.deadlines.now().0.saturating_add(ticks).min(NEVER - 1);
        self.entry.end.store(end, Ordering::Relaxed);
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.deadlines.lock().remove(&self.place);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.busy.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.end_after(self.0.rest);
        }
    }
}

/// So many ticks that `duration` has gone by in any case: part of the first one is over already.
fn ticks(duration: Duration) -> u32 {
    let whole = duration.as_millis().div_ceil(TICK.as_millis());
    u32::try_from(whole).map_or(NEVER - 1, |whole| whole.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spawn_clock() -> Arc<Deadlines> {
        let deadlines = Deadlines::new();
        let clock = Arc::clone(&deadlines);
        tokio::spawn(async move { clock.run().await });
        deadlines
    }

    #[tokio::test]
    async fn a_wait_ends_in_time_and_not_before() {
        let deadlines = spawn_clock();
        let wait = deadlines.wait(Duration::from_mins(1)).await;
        let began = Instant::now();
        let limit = Duration::from_millis(600);
        let silence = std::pin::pin!(std::future::pending::<()>());
        assert!(wait.within(limit, silence).await.is_none());
        assert!(began.elapsed() >= limit);
        assert!(began.elapsed() < limit + 4 * TICK);
        assert_eq!(
            wait.within(limit, std::pin::pin!(async { 1 })).await,
            Some(1)
        );
    }

    #[tokio::test]
    async fn rest_is_over_only_when_nothing_goes_on() {
        let deadlines = spawn_clock();
        let wait = deadlines.wait(TICK).await;
        let (one, other) = (wait.busy(), wait.busy());
        tokio::time::sleep(4 * TICK).await;
        drop(one);
        assert!(!wait.is_over());
        drop(other);
        assert!(!wait.is_over());
        tokio::time::sleep(4 * TICK).await;
        assert!(wait.is_over());
        drop(wait.busy());
        assert!(!wait.is_over());
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_wait() {
        let deadlines = Deadlines::new();
        drop(deadlines.wait(TICK).await);
        assert!(deadlines.lock().is_empty());
    }

    #[test]
    fn when_in_doubt_it_is_later() {
        let second = Duration::from_secs(1);
        assert!(!Tick(7).may_be_after(Tick(7), second));
        assert!(Tick(8).may_be_after(Tick(7), second));
        assert!(!Tick(7).may_be_after(Tick(9), second));
        assert!(!Tick(100).may_be_after(Tick(7), Duration::from_mins(1)));
        assert!(Tick(126).may_be_after(Tick(7), Duration::from_mins(1)));
    }
}
