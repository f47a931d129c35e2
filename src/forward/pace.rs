//! Whether a client sends its body fast enough. Pure: moments in, moments out.
//!
//! Only the time counts in which the gate waits for the client. An app that reads slowly does not make the client slow.

use std::time::Duration;

use tokio::time::Instant;

/// What is asked of a client's body.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeastPace {
    /// The longest silence, and the time over which the rate is measured.
    pub(super) timeout: Duration,
    /// Bytes a second.
    pub(super) rate: u32,
}

/// How one body has moved.
#[derive(Debug)]
pub(super) struct Pace {
    least: LeastPace,
    /// How long the client was waited for since the rate was measured last, and what came in that time.
    waited: Duration,
    bytes: u64,
    /// Since when it is silent, and since when of that is not yet counted in `waited`. None while it is not waited for.
    silence: Option<(Instant, Instant)>,
}

/// How a client is too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooSlow {
    /// It sends nothing.
    Silent,
    /// It sends next to nothing.
    Trickling,
}

impl Pace {
    pub(super) fn new(least: LeastPace) -> Self {
        Self {
            least,
            waited: Duration::ZERO,
            bytes: 0,
            silence: None,
        }
    }

    /// Whether the client is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        self.silence.is_some()
    }

    /// The client is waited for from `now` on. When to look again: [`Pace::judge`].
    pub(super) fn wait(&mut self, now: Instant) -> Instant {
        let (since, uncounted) = *self.silence.get_or_insert((now, now));
        let measured = uncounted + self.least.timeout.saturating_sub(self.waited);
        measured.min(since + self.least.timeout)
    }

    /// So many bytes have come.
    pub(super) fn moved(&mut self, bytes: usize, now: Instant) {
        if let Some((_, uncounted)) = self.silence.take() {
            self.waited += now.saturating_duration_since(uncounted);
            self.bytes = self.bytes.saturating_add(bytes as u64);
        }
    }

    /// The time that [`Pace::wait`] gave has come.
    ///
    /// # Errors
    /// When the client was silent for all of the time, or sent less over it than is asked.
    pub(super) fn judge(&mut self, now: Instant) -> Result<(), TooSlow> {
        let Some((since, uncounted)) = self.silence else {
            return Ok(());
        };
        if now.saturating_duration_since(since) >= self.least.timeout {
            return Err(TooSlow::Silent);
        }
        if self.waited + now.saturating_duration_since(uncounted) < self.least.timeout {
            return Ok(());
        }
        let least = self.least.timeout.as_millis() * u128::from(self.least.rate) / 1000;
        if u128::from(self.bytes) < least {
            return Err(TooSlow::Trickling);
        }
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        self.silence = Some((since, now));
        Ok(())
    }

    /// Nothing is asked until the client is waited for again.
    pub(super) fn rest(&mut self) {
        *self = Self::new(self.least);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEAST: LeastPace = LeastPace {
        timeout: Duration::from_secs(30),
        rate: 100,
    };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_silence_ends_at_its_time() {
        let began = Instant::now();
        let mut pace = Pace::new(LEAST);
        assert_eq!(pace.wait(began), began + seconds(30));
        // Asked again meanwhile.
        assert_eq!(pace.wait(began + seconds(10)), began + seconds(30));
        assert_eq!(pace.judge(began + seconds(29)), Ok(()));
        assert_eq!(pace.judge(began + seconds(30)), Err(TooSlow::Silent));
    }

    #[test]
    fn a_trickle_is_too_slow_and_a_stream_is_not() {
        for (bytes, verdict) in [(10, Err(TooSlow::Trickling)), (1_000, Ok(()))] {
            let mut now = Instant::now();
            let mut pace = Pace::new(LEAST);
            for _ in 0..4 {
                pace.wait(now);
                now += seconds(7);
                pace.moved(bytes, now);
            }
            let look = pace.wait(now);
            assert_eq!(look, now + seconds(2));
            assert_eq!(pace.judge(look), verdict, "{bytes}");
            if verdict.is_ok() {
                // A silence that began before the rate was measured is not forgiven by it.
                assert_eq!(pace.wait(look), now + seconds(30));
                assert_eq!(pace.judge(now + seconds(30)), Err(TooSlow::Silent));
            }
        }
    }

    #[test]
    fn time_in_which_nobody_waits_does_not_count() {
        let mut now = Instant::now();
        let mut pace = Pace::new(LEAST);
        for _ in 0..100 {
            pace.wait(now);
            now += Duration::from_millis(10);
            pace.moved(10, now);
            // The app takes its time.
            now += seconds(60);
        }
        assert_eq!(pace.wait(now), now + seconds(29));
        pace.rest();
        assert_eq!(pace.wait(now), now + seconds(30));
    }

    proptest! {
        #[test]
        fn whoever_is_never_silent_for_long_and_sends_enough_is_never_too_slow(
            steps in prop::collection::vec((1_u64..29, 0_u64..50), 1..60),
        ) {
            let mut now = Instant::now();
            let mut pace = Pace::new(LEAST);
            for (wait, more) in steps {
                let end = now + seconds(wait);
                loop {
                    let look = pace.wait(now);
                    if look > end {
                        break;
                    }
                    now = look;
                    prop_assert_eq!(pace.judge(now), Ok(()));
                }
                now = end;
                // A piece of the size of a whole window covers what the silence before it owes.
                pace.moved(6_000 + usize::try_from(more).unwrap(), now);
            }
        }
    }
}
