//! A circuit breaker: a provider in trouble is not asked for a while, longer each time. Pure, except for its counters.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Semaphore;

use crate::clock::Timestamp;

/// What stands between refreshes and each provider. One for each name that was ever configured.
#[derive(Default)]
pub(super) struct Breakers(Mutex<HashMap<String, Arc<Guard>>>);

struct Guard {
    breaker: Mutex<Breaker>,
    /// The calls that it gets at once: one that stalls takes no more sockets than these.
    lines: Arc<Semaphore>,
}

/// Open after several failures in a row; lets one call through at a time until one succeeds.
#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    open_until: Timestamp,
}

impl Breakers {
    /// Whether `provider` may be called now; else, when.
    pub(super) fn admit(&self, provider: &str, now: Timestamp) -> Result<(), Timestamp> {
        self.with(provider, |breaker| breaker.admit(now))
    }

    /// A call was answered, whatever with.
    pub(super) fn succeeded(&self, provider: &str) {
        self.with(provider, |breaker| *breaker = Breaker::default());
    }

    /// A call failed because of the provider.
    pub(super) fn failed(&self, provider: &str, now: Timestamp) {
        self.with(provider, |breaker| breaker.fail(now));
    }

    fn with<T>(&self, provider: &str, work: impl FnOnce(&mut Breaker) -> T) -> T {
        let guard = self.guard(provider);
        let mut breaker = guard.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut breaker)
    }

    fn guard(&self, provider: &str) -> Arc<Guard> {
        let mut guards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(guard) = guards.get(provider) {
            return Arc::clone(guard);
        }
        let guard = Arc::new(Guard {
            breaker: Mutex::default(),
            lines: Arc::new(Semaphore::new(LINES)),
        });
        guards.insert(provider.to_owned(), Arc::clone(&guard));
        guard
    }

    /// The calls to `provider` that may run at once.
    pub(super) fn lines(&self, provider: &str) -> Arc<Semaphore> {
        Arc::clone(&self.guard(provider).lines)
    }
}

impl Breaker {
    fn admit(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        if self.failures < THRESHOLD {
            return Ok(());
        }
        if now < self.open_until {
            return Err(self.open_until);
        }
        // This one is let through to look; the others wait for what it finds.
        self.open_until = now.after(PROBE);
        Ok(())
    }

    fn fail(&mut self, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        if let Some(times) = self.failures.checked_sub(THRESHOLD) {
            self.open_until = now.after(backoff(times));
        }
    }
}

/// One second, doubled each time, a minute at most.
pub(super) fn backoff(times: u32) -> Duration {
    Duration::from_secs(1_u64 << times.min(6)).min(Duration::from_mins(1))
}

/// Failures in a row that show trouble at the provider.
const THRESHOLD: u32 = 5;
/// Refreshes that one provider gets at the same time.
const LINES: usize = 64;
/// How long other refreshes wait for the result of one attempt.
const PROBE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_several_failures_and_closes_with_one_success() {
        let mut breaker = Breaker::default();
        for _ in 0..THRESHOLD {
            assert_eq!(breaker.admit(Timestamp(100)), Ok(()));
            breaker.fail(Timestamp(100));
        }
        assert_eq!(breaker.admit(Timestamp(100)), Err(Timestamp(101)));
        assert_eq!(breaker.admit(Timestamp(101)), Ok(()));
        // One at a time.
        assert_eq!(breaker.admit(Timestamp(101)), Err(Timestamp(121)));
        breaker.fail(Timestamp(102));
        assert_eq!(breaker.admit(Timestamp(103)), Err(Timestamp(104)));
        breaker = Breaker::default();
        assert_eq!(breaker.admit(Timestamp(103)), Ok(()));
    }

    #[test]
    fn waits_longer_each_time_up_to_a_minute() {
        let seconds: Vec<u64> = (0..9).map(|times| backoff(times).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
