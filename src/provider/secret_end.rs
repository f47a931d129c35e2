//! When a client secret expires.
//!
//! Secrets at 42 last about four weeks, and each token answer says until when. A secret that expires unnoticed locks everybody out at once. So
//! the log warns in time, once a day.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::clock::Timestamp;

/// What the provider said last, and what the log said of it.
#[derive(Default)]
pub(super) struct SecretEnd(Mutex<Known>);

#[derive(Default)]
struct Known {
    end: Option<Timestamp>,
    warned: Option<(Timestamp, Nearness)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nearness {
    Week,
    Day,
}

impl SecretEnd {
    /// When the secret ends, where that is known.
    pub(super) fn get(&self) -> Option<Timestamp> {
        self.known().end
    }

    /// Takes note of `end`, and warns where it is near.
    pub(super) fn note(&self, end: Timestamp, now: Timestamp, provider: &str) {
        if let Some(nearness) = self.known().note(end, now) {
            let left = end.since(now).as_secs();
            let left = match nearness {
                Nearness::Week => format!("{} days", left / DAY.as_secs()),
                Nearness::Day => format!("{} hours", left / 3600),
            };
            tracing::warn!(
                provider,
                "the client secret ends in {left}; make a new one, and put it beside this one"
            );
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        // Two plain values; no panic leaves them half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// What there is to say, if there is: once a day, and at once when it gets nearer than was said.
    fn note(&mut self, end: Timestamp, now: Timestamp) -> Option<Nearness> {
        self.end = Some(end);
        let nearness = match end.since(now) {
            left if left < DAY => Nearness::Day,
            left if left < 7 * DAY => Nearness::Week,
            _ => return None,
        };
        let is_news = self
            .warned
            .is_none_or(|(at, said)| said != nearness || now.since(at) >= DAY);
        is_news.then(|| {
            self.warned = Some((now, nearness));
            nearness
        })
    }
}

/// How often the log tells of an end that is near, and what its days are counted by.
const DAY: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warns_once_a_day_and_when_it_gets_near() {
        let (day, end) = (DAY.as_secs(), Timestamp(100 * DAY.as_secs()));
        let mut known = Known::default();
        let mut at = |days_left: u64, seconds: u64| {
            known.note(end, Timestamp(end.0 - days_left * day + seconds))
        };
        assert_eq!(at(20, 0), None);
        assert_eq!(at(7, 0), None);
        assert_eq!(at(7, 1), Some(Nearness::Week));
        assert_eq!(at(7, 2), None);
        assert_eq!(at(6, 0), None);
        assert_eq!(at(6, 1), Some(Nearness::Week));
        assert_eq!(at(1, 0), Some(Nearness::Week));
        assert_eq!(at(1, 1), Some(Nearness::Day));
        assert_eq!(at(1, 60), None);
        assert_eq!(at(0, 0), None);
        assert_eq!(at(0, 1), Some(Nearness::Day));
        // A new secret: silence.
        assert_eq!(known.note(Timestamp(200 * day), end), None);
        assert_eq!(known.end, Some(Timestamp(200 * day)));
    }
}
