//! The generic cell rate algorithm. Pure; times are microseconds of any clock.

use std::time::Duration;

/// So many within a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    count: u32,
    period: Duration,
}

/// What came of taking one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// When everything will have come back; or, where nothing was taken, how long until there is one.
    pub outcome: Result<u64, Duration>,
    /// How many are left.
    pub remaining: u32,
    /// How long until all have come back.
    pub reset: Duration,
}

impl Quota {
    /// `count` within `period`; both are above zero.
    pub fn new(count: u32, period: Duration) -> Self {
        Self {
            count: count.max(1),
            period: period.max(Duration::from_millis(1)),
        }
    }

    /// The same of constants, which are above zero.
    pub const fn per(count: u32, period: Duration) -> Self {
        Self { count, period }
    }

    /// How many.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Within how long.
    pub fn period(self) -> Duration {
        self.period
    }

    /// After how many microseconds one comes back.
    pub fn interval(self) -> u64 {
        let period = u64::try_from(self.period.as_micros()).unwrap_or(u64::MAX / 2);
        (period / u64::from(self.count)).max(1)
    }

    /// The same for many at once.
    #[must_use]
    pub fn times(self, factor: u32) -> Self {
        Self {
            count: self.count.saturating_mul(factor),
            ..self
        }
    }

    /// Takes one. `full_at` is when everything taken before has come back; none where nothing was.
    pub fn take(self, full_at: Option<u64>, now: u64) -> Taken {
        let interval = self.interval();
        let room = interval.saturating_mul(self.count.into());
        // A clock that was set back does not hold anybody up for longer than a period.
        let before = full_at.unwrap_or(now).clamp(now, now.saturating_add(room));
        let after = before.saturating_add(interval);
        let taken = after - now;
        if taken > room {
            return Taken {
                outcome: Err(Duration::from_micros(taken - room)),
                remaining: 0,
                reset: Duration::from_micros(before - now),
            };
        }
        Taken {
            outcome: Ok(after),
            ..self.taken(taken)
        }
    }

    /// One was taken, and all have come back in `taken` microseconds, which is also the outcome.
    pub fn taken(self, taken: u64) -> Taken {
        let interval = self.interval();
        let room = interval.saturating_mul(self.count.into());
        let left = room.saturating_sub(taken) / interval;
        Taken {
            outcome: Ok(taken),
            remaining: u32::try_from(left).unwrap_or(self.count),
            reset: Duration::from_micros(taken),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn a_hundred_at_once_and_then_one_each_36_seconds() {
        let quota = Quota::new(100, HOUR);
        let mut full_at = None;
        for left in (0..100).rev() {
            let taken = quota.take(full_at, 0);
            assert_eq!(taken.remaining, left);
            full_at = Some(taken.outcome.unwrap());
        }
        let refused = quota.take(full_at, 0);
        assert_eq!(refused.outcome, Err(Duration::from_secs(36)));
        assert_eq!((refused.remaining, refused.reset), (0, HOUR));
        let later = 36_000_000;
        let taken = quota.take(full_at, later);
        assert!(taken.outcome.is_ok());
        assert!(quota.take(taken.outcome.ok(), later).outcome.is_err());
        assert_eq!(quota.take(full_at, 3_600_000_000).remaining, 99);
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out_for_long() {
        let quota = Quota::new(2, Duration::from_secs(2));
        let wait = quota.take(Some(u64::MAX), 0).outcome.unwrap_err();
        assert!(wait <= Duration::from_secs(1));
    }

    proptest! {
        /// Of any requests within any period no more than twice the quota pass: what there was, and what came back.
        #[test]
        fn no_window_has_more_than_twice_the_quota(
            count in 1_u32..50,
            seconds in 1_u64..100,
            gaps in proptest::collection::vec(0_u64..5_000_000, 1..400),
        ) {
            let quota = Quota::new(count, Duration::from_secs(seconds));
            let (mut now, mut full_at) = (0, None);
            let mut passed: Vec<u64> = Vec::new();
            for gap in gaps {
                now += gap;
                let taken = quota.take(full_at, now);
                if let Ok(after) = taken.outcome {
                    full_at = Some(after);
                    passed.push(now);
                }
                let since = now.saturating_sub(seconds * 1_000_000);
                let lately = passed.iter().filter(|at| **at >= since).count();
                prop_assert!(lately <= 2 * count as usize + 1);
            }
        }

        /// Whoever waits as long as they are told has one.
        #[test]
        fn waiting_is_enough(count in 1_u32..1_000, seconds in 1_u64..100_000, full_at in 0_u64..1 << 50, now in 0_u64..1 << 50) {
            let quota = Quota::new(count, Duration::from_secs(seconds));
            if let Err(wait) = quota.take(Some(full_at), now).outcome {
                let later = now + u64::try_from(wait.as_micros()).unwrap();
                let room = now + quota.interval() * u64::from(count);
                prop_assert!(quota.take(Some(full_at.min(room)), later).outcome.is_ok());
            }
        }
    }
}
