//! How often an API may be called, if the provider limits all calls of an application together.
//!
//! Calls beyond the pace wait for a short time, which also bounds how many can wait. Two providers with the same client id share one pace, and
//! so does the configuration after a reload.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::time::sleep_until;

/// The turns of one application.
pub(super) struct RequestPacer(Mutex<Turns>);

/// At most `calls` in any span of that length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) calls: usize,
    pub(super) span: Duration,
}

impl RequestPacer {
    /// The pace of `application`, the same one for all who ask for it.
    pub(super) fn shared(application: String, limits: &'static [Limit]) -> Arc<Self> {
        static PACES: LazyLock<Mutex<HashMap<String, Weak<RequestPacer>>>> =
            LazyLock::new(Mutex::default);
        let mut paces = PACES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pace) = paces.get(&application).and_then(Weak::upgrade) {
            return pace;
        }
        paces.retain(|_, pace| pace.strong_count() > 0);
        let pace = Arc::new(Self(Mutex::new(Turns::new(limits))));
        paces.insert(application, Arc::downgrade(&pace));
        pace
    }

    /// Waits for a turn. None where it would take too long.
    pub(super) async fn turn(&self) -> Option<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.take(Instant::now())?
        };
        sleep_until(turn.into()).await;
        Some(())
    }
}

/// The turns that were given, oldest first, as far back as the longest span needs them.
struct Turns {
    limits: &'static [Limit],
    given: VecDeque<Instant>,
}

impl Turns {
    fn new(limits: &'static [Limit]) -> Self {
        Self {
            limits,
            given: VecDeque::new(),
        }
    }

    /// The next turn, now or later. Turns never overtake each other, so a new one only has to look back
    /// from the newest.
    fn take(&mut self, now: Instant) -> Option<Instant> {
        let after_others = self
            .limits
            .iter()
            .filter_map(|limit| {
                let back = self.given.len().checked_sub(limit.calls)?;
                Some(*self.given.get(back)? + limit.span)
            })
            .chain(self.given.back().copied());
        let turn = after_others.fold(now, Instant::max);
        if turn.duration_since(now) > LONGEST_WAIT {
            return None;
        }
        self.given.push_back(turn);
        let needed = self.limits.iter().map(|limit| limit.calls).max();
        while self.given.len() > needed.unwrap_or(0) {
            self.given.pop_front();
        }
        Some(turn)
    }
}

/// The longest wait for a turn. A user is waiting, and the token call has taken its share of the time.
const LONGEST_WAIT: Duration = Duration::from_secs(6);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: &[Limit] = &[
        Limit {
            calls: 2,
            span: Duration::from_secs(1),
        },
        Limit {
            calls: 10,
            span: Duration::from_mins(1),
        },
    ];

    #[test]
    fn a_crowd_waits_and_too_large_a_crowd_is_turned_away() {
        let (mut turns, now) = (Turns::new(&LIMITS[..1]), Instant::now());
        let given: Vec<u64> = std::iter::from_fn(|| turns.take(now))
            .map(|turn| turn.duration_since(now).as_secs())
            .collect();
        assert_eq!(given, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]);
        let later = now + Duration::from_secs(10);
        assert_eq!(turns.take(later), Some(later));
    }

    #[test]
    fn the_longer_span_counts_too() {
        let (mut turns, start) = (Turns::new(LIMITS), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..10 {
            assert_eq!(turns.take(at(second)), Some(at(second)));
        }
        assert_eq!(turns.take(at(10)), None);
        assert_eq!(turns.take(at(55)), Some(at(60)));
    }

    #[test]
    fn one_application_has_one_pace() {
        let one = RequestPacer::shared("a".to_owned(), LIMITS);
        assert!(Arc::ptr_eq(
            &one,
            &RequestPacer::shared("a".to_owned(), LIMITS)
        ));
        assert!(!Arc::ptr_eq(
            &one,
            &RequestPacer::shared("b".to_owned(), LIMITS)
        ));
    }

    proptest! {
        #[test]
        fn no_span_ever_has_more(steps in proptest::collection::vec(0u64..2000, 1..200)) {
            let mut turns = Turns::new(LIMITS);
            let mut now = Instant::now();
            let mut given = Vec::new();
            for step in steps {
                now += Duration::from_millis(step);
                if let Some(turn) = turns.take(now) {
                    prop_assert!(turn >= now && turn - now <= LONGEST_WAIT);
                    given.push(turn);
                }
            }
            for limit in LIMITS {
                for window in given.windows(limit.calls + 1) {
                    prop_assert!(window[limit.calls] - window[0] >= limit.span);
                }
            }
        }
    }
}
