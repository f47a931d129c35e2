//! Limits how often one client may try unknown tokens. Nobody guesses 190 random bits, but each try may cost a lookup, and nobody should be
//! able to fill the log.
//!
//! A token that was valid lately is not stopped: a colleague's broken script behind the same address does not lock out a working one.

use std::time::{Duration, Instant};

use moka::sync::Cache;

use super::format::Hash;
use crate::{
    credential::{Caller, Refused},
    login::{LoginClient, throttle::Throttle},
};

/// The buckets of those who tried lately, and which tokens were good lately.
pub struct Guesses {
    throttle: Throttle,
    good: Cache<Hash, ()>,
}

/// A try that was admitted.
pub(crate) struct Try {
    hash: Hash,
    caller: Caller,
    is_counted: bool,
}

impl Default for Guesses {
    fn default() -> Self {
        Self {
            throttle: Throttle::default(),
            good: Cache::builder()
                .max_capacity(GOOD)
                .time_to_live(GOOD_FOR)
                .build(),
        }
    }
}

impl Guesses {
    /// Counts a try, unless the token was good lately.
    ///
    /// # Errors
    /// When the client has tried too often.
    pub(crate) fn admit(&self, hash: Hash, caller: Caller, now: Instant) -> Result<Try, Refused> {
        let is_counted = !self.good.contains_key(&hash);
        if is_counted {
            self.count(caller, now)?;
        }
        Ok(Try {
            hash,
            caller,
            is_counted,
        })
    }

    /// Counts what is no token at all.
    ///
    /// # Errors
    /// When the client has tried too often.
    pub(super) fn count(&self, caller: Caller, now: Instant) -> Result<(), Refused> {
        let taken = self.throttle.take(&client(caller), now);
        taken.map_err(Refused::Throttled)
    }

    /// It was good: it does not count.
    pub(crate) fn was_good(&self, one: &Try) {
        self.good.insert(one.hash, ());
        self.give_back(one);
    }

    /// That cannot be said, and the client is not to blame.
    pub(crate) fn give_back(&self, one: &Try) {
        if one.is_counted {
            self.throttle.give_back(&client(one.caller));
        }
    }

    /// It is good no more.
    pub(crate) fn forget(&self, hash: &Hash) {
        self.good.invalidate(hash);
    }
}

fn client(caller: Caller) -> LoginClient {
    LoginClient {
        address: caller.address,
        known: None,
    }
}

/// Tokens that were good lately, fifty bytes each.
const GOOD: u64 = 20_000;
/// For how long a good token is known to be one.
const GOOD_FOR: Duration = Duration::from_hours(1);
