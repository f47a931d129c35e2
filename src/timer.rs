//! One timer for everything that happens on a connection, moved lazily.
//!
//! Setting a deadline costs a comparison. The runtime's timer is changed only if the new deadline comes before the current one. If it
//! fires before the deadline, it is set again. So a busy connection touches the runtime's timer once per timeout, not once per request.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    task::coop::has_budget_remaining,
    time::{Instant, Sleep, sleep_until},
};

/// A timer of the runtime that remembers whom it wakes: polled by the same task again it costs a look, where the runtime's
/// own writes down its waker each time.
pub struct Alarm {
    sleep: Pin<Box<Sleep>>,
    wakes: Option<Waker>,
}

impl Alarm {
    /// It goes off at `deadline`.
    pub fn new(deadline: Instant) -> Self {
        Self {
            sleep: Box::pin(sleep_until(deadline)),
            wakes: None,
        }
    }

    /// When it goes off.
    pub fn deadline(&self) -> Instant {
        self.sleep.deadline()
    }

    /// It goes off at `deadline`, and not when it was to.
    pub fn reset(&mut self, deadline: Instant) {
        self.sleep.as_mut().reset(deadline);
        self.wakes = None;
    }

    /// Ready once it has gone off. The task of `context` is woken when it does.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let waker = context.waker();
        let wakes = self.wakes.as_ref();
        let is_known = wakes.is_some_and(|known| known.will_wake(waker));
        if is_known && !self.sleep.is_elapsed() {
            return Poll::Pending;
        }
        // A task that has used up its turn is told to come again, and is not written down.
        let is_written_down = has_budget_remaining();
        let polled = self.sleep.as_mut().poll(context);
        self.wakes = (polled.is_pending() && is_written_down).then(|| waker.clone());
        polled
    }
}

/// A deadline and what wakes whoever polls it. One owner at a time polls it, so that the waker is always the
/// owner's, whatever task or combinator that is in.
#[derive(Default)]
pub struct Timer {
    alarm: Option<Alarm>,
    deadline: Option<Instant>,
    home: Option<Arc<TimerHome>>,
}

/// Where a connection's timer is while no request has it.
#[derive(Default)]
pub struct TimerHome(Mutex<Option<Alarm>>);

impl TimerHome {
    /// The connection's timer, without a deadline; a fresh one where it is in use. It returns here when it is dropped.
    pub fn take(self: &Arc<Self>) -> Timer {
        let alarm = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        Timer {
            alarm,
            deadline: None,
            home: Some(Arc::clone(self)),
        }
    }

    /// Gives the timer that is here back to the runtime; the next one is fresh.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
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
        if let Some(alarm) = &mut self.alarm
            && deadline < alarm.deadline()
        {
            alarm.reset(deadline);
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
        let alarm = self.alarm.get_or_insert_with(|| Alarm::new(deadline));
        loop {
            ready!(alarm.poll(context));
            if alarm.deadline() >= deadline {
                return Poll::Ready(());
            }
            alarm.reset(deadline);
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
        if let (Some(home), Some(alarm)) = (self.home.take(), self.alarm.take()) {
            *home.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(alarm);
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
        assert!(timer.alarm.is_some() && !timer.is_set());
        timer.set(Duration::from_secs(3));
        std::future::poll_fn(|context| timer.poll_elapsed(context)).await;
        assert_eq!(began.elapsed().as_secs(), 78);
        drop(timer);
        home.clear();
        assert!(home.take().alarm.is_none());
    }

    #[tokio::test]
    async fn an_alarm_wakes_whichever_task_polled_it_last() {
        let mut alarm = Alarm::new(Instant::now() + Duration::from_millis(20));
        let first = tokio::spawn(async move {
            let mut poll = |context: &mut Context<'_>| Poll::Ready(alarm.poll(context));
            for _ in 0..3 {
                assert!(std::future::poll_fn(&mut poll).await.is_pending());
            }
            alarm
        });
        let mut alarm = first.await.unwrap();
        // Woken by nothing else.
        std::future::poll_fn(|context| alarm.poll(context)).await;
        alarm.reset(Instant::now() + Duration::from_millis(20));
        std::future::poll_fn(|context| alarm.poll(context)).await;
        assert!(Instant::now() >= alarm.deadline());
    }

    /// A task that has used up its turn is told "not yet" of anything.
    #[tokio::test]
    async fn an_alarm_goes_off_for_a_task_whose_turn_is_used_up() {
        let mut alarm = Alarm::new(Instant::now() + Duration::from_millis(20));
        while has_budget_remaining() {
            tokio::task::coop::consume_budget().await;
        }
        std::future::poll_fn(|context| alarm.poll(context)).await;
        assert!(Instant::now() >= alarm.deadline());
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
