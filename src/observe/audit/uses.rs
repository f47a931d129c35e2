//! Which credentials were recorded within the last day: a credential that comes with each request is one event a day.

use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    time::Duration,
};

use moka::sync::Cache;

/// A credential in the hands of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Use(u64);

/// Those that were told of lately.
pub(super) struct Uses {
    recorded: Cache<Use, ()>,
    /// Nobody outside can make one use look like another.
    keys: RandomState,
}

impl Default for Uses {
    fn default() -> Self {
        Self {
            recorded: Cache::builder()
                .max_capacity(MOST)
                .time_to_live(DAY)
                .build(),
            keys: RandomState::new(),
        }
    }
}

impl Uses {
    pub(super) fn of(&self, parts: &impl Hash) -> Use {
        Use(self.keys.hash_one(parts))
    }

    pub(super) fn know(&self, one: Use) -> bool {
        self.recorded.contains_key(&one)
    }

    pub(super) fn remember(&self, one: Use) {
        self.recorded.insert(one, ());
    }
}

/// Credentials, a hundred bytes each. Beyond them those that came least are told of again.
const MOST: u64 = 50_000;
/// How long each is not told of again.
const DAY: Duration = Duration::from_hours(24);
