//! The health of one address of an app, and whether it gets requests. A few atomics, shared by all workers.
//!
//! Failures in a row eject the address for a time that grows. Then one request tries it. Until that succeeds the address counts as
//! ejected again, for longer. With `health`, probes also take it out and bring it back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Failures in a row that eject an address. A single one may be chance.
const FAILURES: u32 = 3;
/// How long the first ejection lasts. Each further one without a success in between lasts twice as long.
const FIRST_EJECTION: Duration = Duration::from_secs(1);
/// The longest ejection.
const LONGEST_EJECTION: Duration = Duration::from_mins(1);
/// Failed probes in a row that take an address out. One success brings it back.
const FAILED_PROBES: u32 = 2;

/// Whether an address gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It does.
    In,
    /// It is to be tried with one.
    Due,
    /// It does not, for so long.
    Out(Duration),
}

/// How an address has behaved. Moments are in milliseconds since some beginning.
#[derive(Default)]
pub(super) struct Condition {
    in_flight: AtomicU32,
    failures: AtomicU32,
    /// How often in a row.
    ejections: AtomicU32,
    /// 0 where it is not ejected.
    ejected_until: AtomicU64,
    failed_probes: AtomicU32,
    is_ill: AtomicBool,
}

impl Condition {
    pub(super) fn standing(&self, now: u64) -> Standing {
        if self.is_ill.load(Relaxed) {
            return Standing::Out(FIRST_EJECTION);
        }
        match self.ejected_until.load(Relaxed) {
            0 => Standing::In,
            until if until <= now => Standing::Due,
            until => Standing::Out(Duration::from_millis(until - now)),
        }
    }

    /// Ejects it anew, for all but whoever asks. Whether nobody else did meanwhile.
    pub(super) fn begin_trial(&self, now: u64) -> bool {
        let until = self.ejected_until.load(Relaxed);
        if until == 0 || until > now {
            return until == 0;
        }
        let next = now + milliseconds(ejection(self.ejections.load(Relaxed)));
        let is_first = self
            .ejected_until
            .compare_exchange(until, next, Relaxed, Relaxed)
            .is_ok();
        if is_first {
            self.ejections.fetch_add(1, Relaxed);
        }
        is_first
    }

    /// Whether it was ejected until now.
    pub(super) fn succeeded(&self) -> bool {
        // Written only where there is something to write: a line that nobody writes is in every core's cache.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        if self.ejected_until.load(Relaxed) == 0 {
            return false;
        }
        self.ejections.store(0, Relaxed);
        self.ejected_until.swap(0, Relaxed) != 0
    }

    /// For how long that ejects it, if it does.
    pub(super) fn failed(&self, now: u64) -> Option<Duration> {
        let failures = self.failures.load(Relaxed).saturating_add(1);
        self.failures.store(failures, Relaxed);
        if failures < FAILURES {
            return None;
        }
        let ejection = ejection(self.ejections.load(Relaxed));
        let until = now + milliseconds(ejection);
        // Failures of what was under way when it was ejected eject it no further.
        self.ejected_until
            .compare_exchange(0, until, Relaxed, Relaxed)
            .ok()?;
        self.ejections.fetch_add(1, Relaxed);
        Some(ejection)
    }

    /// Whether that changes anything.
    pub(super) fn probed(&self, is_well: bool) -> bool {
        if is_well {
            self.failed_probes.store(0, Relaxed);
            let was_ejected = self.succeeded();
            return self.is_ill.swap(false, Relaxed) || was_ejected;
        }
        let failed = self.failed_probes.load(Relaxed).saturating_add(1);
        self.failed_probes.store(failed, Relaxed);
        failed >= FAILED_PROBES && !self.is_ill.swap(true, Relaxed)
    }

    pub(super) fn load(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Counts a request as under way, as long as what is given back lives.
    pub(super) fn begin(self: &Arc<Self>) -> InUse {
        self.in_flight.fetch_add(1, Relaxed);
        InUse(Arc::clone(self))
    }
}

/// A request that an address has under way.
pub(super) struct InUse(Arc<Condition>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// How long an ejection lasts after so many others.
fn ejection(others: u32) -> Duration {
    let factor = 1_u32.checked_shl(others).unwrap_or(u32::MAX);
    FIRST_EJECTION.saturating_mul(factor).min(LONGEST_EJECTION)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_eject_for_a_time_that_grows_and_a_success_forgets() {
        let condition = Condition::default();
        assert_eq!(condition.failed(0), None);
        assert_eq!(condition.failed(0), None);
        assert!(!condition.succeeded());
        assert_eq!(condition.failed(0), None);
        assert_eq!(condition.failed(0), None);
        assert_eq!(condition.standing(0), Standing::In);
        assert_eq!(condition.failed(10), Some(FIRST_EJECTION));
        assert_eq!(condition.failed(10), None, "was under way");
        assert_eq!(condition.standing(10), Standing::Out(FIRST_EJECTION));
        assert!(!condition.begin_trial(10));
        // One request tries it; for all others it stays out, and longer.
        assert_eq!(condition.standing(1_010), Standing::Due);
        assert!(condition.begin_trial(1_010));
        assert!(!condition.begin_trial(1_010));
        assert_eq!(condition.standing(1_010), Standing::Out(FIRST_EJECTION * 2));
        assert_eq!(condition.failed(1_020), None);
        let mut now = 3_010;
        for _ in 0..70 {
            assert_eq!(condition.standing(now), Standing::Due);
            assert!(condition.begin_trial(now));
            let Standing::Out(time) = condition.standing(now) else {
                panic!("it is in");
            };
            assert!(time <= LONGEST_EJECTION);
            now += milliseconds(time);
        }
        assert!(condition.begin_trial(now));
        assert!(condition.succeeded());
        assert_eq!(condition.standing(now), Standing::In);
        assert_eq!(condition.failed(now), None);
        assert_eq!(condition.failed(now), None);
        assert_eq!(condition.failed(now), Some(FIRST_EJECTION));
    }

    #[test]
    fn probes_take_it_out_and_in() {
        let condition = Condition::default();
        assert!(!condition.probed(false));
        assert_eq!(condition.standing(0), Standing::In);
        assert!(condition.probed(false));
        assert!(!condition.probed(false));
        assert!(matches!(condition.standing(0), Standing::Out(_)));
        assert!(!condition.succeeded());
        assert!(matches!(condition.standing(0), Standing::Out(_)));
        assert!(condition.probed(true));
        assert_eq!(condition.standing(0), Standing::In);
        for _ in 0..FAILURES {
            condition.failed(0);
        }
        assert!(
            condition.probed(true),
            "whom a probe reaches is not ejected"
        );
        assert_eq!(condition.standing(0), Standing::In);
    }
}
