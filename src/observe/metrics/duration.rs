//! Durations: counts by bucket, without a lock.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The upper bounds in seconds. What the gate answers itself takes less than a millisecond, an app some tens; the upper
/// ones are for downloads and streams.
pub(super) const BOUNDS: [f64; 12] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0,
];
/// The same, so that a duration is compared without a division.
const BOUNDS_MICROS: [u64; BOUNDS.len()] = [
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    5_000_000,
    30_000_000,
    300_000_000,
];

/// A histogram of durations.
#[derive(Debug, Default)]
pub(super) struct Durations {
    /// One more for what is longer than the last bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// What histograms hold, added up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sum {
    pub(super) count: u64,
    pub(super) seconds: f64,
    /// Upper bound and count of each bucket, not cumulative.
    pub(super) buckets: Vec<(f64, u64)>,
}

impl Durations {
    /// Counts one duration.
    pub(super) fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        // Few, and the usual ones come early.
        let place = BOUNDS_MICROS
            .iter()
            .position(|bound| micros <= *bound)
            .unwrap_or(BOUNDS.len());
        self.buckets[place].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Adds several histograms up.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a sum of microseconds that is off by one in 2^53"
    )]
    pub(super) fn sum<'a>(all: impl Iterator<Item = &'a Self>) -> Sum {
        let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
        let mut sum = Sum {
            buckets: bounds.map(|bound| (bound, 0)).collect(),
            ..Sum::default()
        };
        for one in all {
            for ((_, count), bucket) in sum.buckets.iter_mut().zip(&one.buckets) {
                let bucket = bucket.load(Ordering::Relaxed);
                *count += bucket;
                sum.count += bucket;
            }
            sum.seconds += one.micros.load(Ordering::Relaxed) as f64 / 1e6;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let (one, other) = (Durations::default(), Durations::default());
        for (histogram, micros) in [
            (&one, 0),
            (&one, 1_000),
            (&other, 1_001),
            (&other, 300_000_000),
            (&one, 300_000_001),
        ] {
            histogram.observe(Duration::from_micros(micros));
        }
        let sum = Durations::sum([&one, &other].into_iter());
        assert_eq!(sum.count, 5);
        assert!((sum.seconds - 600.002_002).abs() < 1e-9, "{}", sum.seconds);
        let met: Vec<_> = sum.buckets.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(
            met,
            [&(0.001, 2), &(0.005, 1), &(300.0, 1), &(f64::INFINITY, 1)]
        );
    }

    #[test]
    fn both_lists_of_bounds_are_the_same() {
        for (seconds, micros) in BOUNDS.iter().zip(BOUNDS_MICROS) {
            let expected = Duration::from_secs_f64(*seconds).as_micros();
            assert_eq!(expected, u128::from(micros));
        }
    }
}
