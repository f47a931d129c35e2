//! Log lines about floods: one from time to time, with a count, so that a flood of events is not a flood of lines.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Lets one line through per interval, and counts those that it holds back. Made for lines that strangers can cause:
/// refused connections, open files that ran out, bytes that an app sends unasked. A `static` or a field beside what the
/// line is about.
///
/// ```
/// # use std::time::{Duration, Instant};
/// # use sidegate::observe::Throttled;
/// static FULL: Throttled = Throttled::new(Duration::from_secs(10));
/// if let Some(held_back) = FULL.turn(Instant::now()) {
///     tracing::warn!(held_back, "no connection is accepted: …");
/// }
/// ```
#[derive(Debug)]
pub struct Throttled {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: Option<Instant>,
    held_back: u64,
}

impl Throttled {
    /// One line per `interval`.
    pub const fn new(interval: Duration) -> Self {
        let state = State {
            last: None,
            held_back: 0,
        };
        Self {
            interval,
            state: Mutex::new(state),
        }
    }

    /// Whether a line may be written at `now`, and how many were held back since the last one. What is held back after
    /// the last line of a flood is told by the next flood's first.
    pub fn turn(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_early = state
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < self.interval);
        if is_early {
            state.held_back += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_per_interval_with_a_count() {
        let throttled = Throttled::new(Duration::from_secs(10));
        let begin = Instant::now();
        let at = |seconds| throttled.turn(begin + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(0));
        for _ in 0..100 {
            assert_eq!(at(9), None);
        }
        assert_eq!(at(10), Some(100));
        assert_eq!(at(15), None);
        assert_eq!(at(60), Some(1));
        assert_eq!(at(70), Some(0));
    }
}
