//! One timer for all that happens on a connection, moved lazily.
//!
//! Setting a deadline costs a comparison: the runtime's timer is touched only when the new deadline comes before
//! the one it is set to. When it fires before the deadline, it is set again. So a busy connection touches the
//! runtime's timer once per timeout, not once per request.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline and what wakes whoever polls it. One owner at a time polls it, so that the waker is always the
/// owner's, whatever task or combinator that is in.
#[derive(Default)]
pub struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    deadline: Option<Instant>,
    home: Option<Arc<TimerHome>>,
}

/// Where a connection's timer is while no request has it.
#[derive(Default)]
pub struct TimerHome(Mutex<Option<Pin<Box<Sleep>>>>);

impl TimerHome {
    /// The connection's timer, without a deadline; a fresh one where it is in use. It returns here when it is dropped.
    pub fn take(self: &Arc<Self>) -> Timer {
        let sleep = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        Timer {
            sleep,
            deadline: None,
            home: Some(Arc::clone(self)),
        }
    }
}

impl Timer {
    /// Sets the deadline to `after` from now.
    pub fn set(&mut self, after: Duration) {
        self.set_at(Instant::now() + after);
    }

    /// Sets the deadline.
    pub fn set_at(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
        if let Some(sleep) = &mut self.sleep
            && deadline < sleep.deadline()
        {
            sleep.as_mut().reset(deadline);
        }
    }

    /// Takes the deadline away.
    pub fn clear(&mut self) {
        self.deadline = None;
    }

    /// Whether there is a deadline.
    pub fn is_set(&self) -> bool {
        self.deadline.is_some()
    }

    /// Ready once the deadline has come; pending, with the waker registered, until then; pending for ever where there
    /// is no deadline.
    pub fn poll_elapsed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            ready!(sleep.as_mut().poll(context));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }

    /// What `future` gives, unless `limit` goes by before.
    pub async fn within<F: Future + ?Sized>(
        &mut self,
        limit: Duration,
        mut future: Pin<&mut F>,
    ) -> Option<F::Output> {
        self.set(limit);
        let output = std::future::poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => self.poll_elapsed(context).map(|()| None),
        })
        .await;
        self.clear();
        output
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let (Some(home), Some(sleep)) = (self.home.take(), self.sleep.take()) {
            *home.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sleep);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::{FuturesUnordered, StreamExt as _};
    use tokio::time::{advance, pause};

    use super::*;

    #[tokio::test]
    async fn it_elapses_at_its_deadline_and_not_before() {
        pause();
        let mut timer = Timer::default();
        let began = Instant::now();
        let silence = std::pin::pin!(std::future::pending::<()>());
        let limit = Duration::from_secs(30);
        assert!(timer.within(limit, silence).await.is_none());
        assert!(began.elapsed() >= limit && began.elapsed() < limit + Duration::from_millis(10));
    }

    #[tokio::test]
    async fn a_later_deadline_moves_it_lazily_and_an_earlier_one_at_once() {
        pause();
        let home = Arc::<TimerHome>::default();
        let mut timer = home.take();
        let began = Instant::now();
        timer.set(Duration::from_secs(10));
        assert!(
            futures_util::poll!(std::future::poll_fn(|context| timer.poll_elapsed(context)))
                .is_pending()
        );
        timer.set(Duration::from_secs(75));
        std::future::poll_fn(|context| timer.poll_elapsed(context)).await;
        assert_eq!(began.elapsed().as_secs(), 75);
        timer.set(Duration::from_secs(75));
        assert!(
            futures_util::poll!(std::future::poll_fn(|context| timer.poll_elapsed(context)))
                .is_pending()
        );
        drop(timer);
        let mut timer = home.take();
        assert!(timer.sleep.is_some() && !timer.is_set());
        timer.set(Duration::from_secs(3));
        std::future::poll_fn(|context| timer.poll_elapsed(context)).await;
        assert_eq!(began.elapsed().as_secs(), 78);
    }

    /// Combinators poll with wakers of their own, and poll only what was woken.
    #[tokio::test]
    async fn it_wakes_whoever_polls_it_under_any_combinator() {
        pause();
        let began = Instant::now();
        let mut waits: FuturesUnordered<_> = (1..=3)
            .map(|seconds| async move {
                let mut timer = Timer::default();
                let silence = std::pin::pin!(std::future::pending::<()>());
                timer.within(Duration::from_secs(seconds), silence).await;
                seconds
            })
            .collect();
        advance(Duration::from_millis(1)).await;
        for expected in 1..=3 {
            assert_eq!(waits.next().await, Some(expected));
        }
        assert_eq!(began.elapsed().as_secs(), 3);
    }
}
