//! A stop of the gate, as requests see it that would outlast it.
//!
//! A task that serves one request after another looks at it whenever it is polled, which a stop has all of them be. A task of
//! one request alone waits for its beginning.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::timer::Alarm;

/// How long answers without an end go on after a stop has begun, and how long an app may then pause within an answer whose
/// length it has not told.
pub const CUT_AFTER: Duration = Duration::from_secs(2);
/// How long a request that can be sent again may then wait for its answer to begin, an answer of unknown length trickle, and a
/// connection be idle. It is less than the ten seconds after which `docker stop` kills.
pub const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// Whether a stop has begun, and when. One for each worker.
#[derive(Clone, Default)]
pub struct Stopping(Arc<Inner>);

#[derive(Default)]
struct Inner {
    since: OnceLock<Instant>,
    begun: CancellationToken,
}

impl Stopping {
    /// It begins now.
    pub fn begin(&self) {
        _ = self.0.since.set(Instant::now());
        self.0.begun.cancel();
    }

    /// Since when; none before. A look costs a load.
    pub fn since(&self) -> Option<Instant> {
        self.0.since.get().copied()
    }
}

/// What wakes one request in a stop. Takes room only where it has something to wait for.
#[derive(Default)]
pub struct StopWaker(Option<Box<Waits>>);

#[derive(Default)]
struct Waits {
    begin: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    alarm: Option<Alarm>,
}

impl StopWaker {
    /// Since when the gate stops. `is_own_task` where nothing else polls the task of `context` when that begins.
    pub fn poll_since(
        &mut self,
        stopping: &Stopping,
        is_own_task: bool,
        context: &mut Context<'_>,
    ) -> Option<Instant> {
        let since = stopping.since();
        if since.is_some() || !is_own_task {
            return since;
        }
        let waits = self.0.get_or_insert_default();
        let begin = waits.begin.get_or_insert_with(|| {
            let begun = stopping.0.begun.clone();
            Box::pin(begun.cancelled_owned())
        });
        let begun = begin.as_mut().poll(context);
        begun.is_ready().then(|| stopping.since()).flatten()
    }

    /// Ready at `deadline`.
    pub fn poll_at(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let waits = self.0.get_or_insert_default();
        let alarm = waits.alarm.get_or_insert_with(|| Alarm::new(deadline));
        if alarm.deadline() != deadline {
            alarm.reset(deadline);
        }
        alarm.poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_of_its_own_is_woken_when_the_stop_begins_and_at_its_moments() {
        let stopping = Stopping::default();
        let waiting = tokio::spawn({
            let stopping = stopping.clone();
            let mut waker = StopWaker::default();
            poll_fn(move |context| {
                let Some(since) = waker.poll_since(&stopping, true, context) else {
                    return Poll::Pending;
                };
                waker.poll_at(since + CUT_AFTER, context)
            })
        });
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert!(!waiting.is_finished());
        let begun = Instant::now();
        stopping.begin();
        waiting.await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), CUT_AFTER.as_secs());
    }
}
