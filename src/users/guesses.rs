//! Limits guesses at passwords, by address and by name.
//!
//! Guesses of others lock nobody out: if a name was right lately, that name at that address has a count of its own, in a table that
//! strangers cannot fill.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use moka::sync::Cache;

use crate::{
    credential::Refused,
    rate_limit::{self, Key, Quota, Table},
};

/// Guesses at passwords. They outlive a configuration.
pub struct Guesses {
    addresses: Table,
    names: Table,
    /// Names at the addresses where they were right lately.
    homes: Table,
    right: Cache<Key, ()>,
}

/// What a guess has taken.
pub(super) struct Guess {
    address: Option<Key>,
    /// The name, wherever it is guessed at; none where it was right here lately.
    name: Option<Key>,
    /// The name at this address.
    here: Key,
}

impl Guess {
    /// Whether the name was right here lately.
    pub(super) fn is_at_home(&self) -> bool {
        self.name.is_none()
    }
}

impl Default for Guesses {
    fn default() -> Self {
        Self {
            addresses: Table::default(),
            names: Table::default(),
            homes: Table::default(),
            right: Cache::builder()
                .max_capacity(HOMES)
                .time_to_idle(KNOWN_FOR)
                .build(),
        }
    }
}

impl Guesses {
    /// Takes a guess.
    ///
    /// # Errors
    /// When there were too many.
    pub(super) fn take(
        &self,
        name: &str,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<Guess, Refused> {
        let subscriber = rate_limit::subscriber(address);
        // A proxy on this machine that nobody trusts is no one client.
        let is_one = address.is_some() && !subscriber.is_loopback();
        let text = subscriber.to_string();
        let key = Key::of(&[b"address", text.as_bytes()]);
        if is_one {
            let range = rate_limit::range(subscriber);
            let taken = self.addresses.take(key, range, PER_ADDRESS, now);
            taken.outcome.map_err(Refused::Throttled)?;
        }
        // One count, however it is written: most apps take `Ada` for `ada`.
        let canonical = name.to_lowercase();
        let here = Key::of(&[b"here", canonical.as_bytes(), text.as_bytes()]);
        let (table, counted, name) = if self.right.contains_key(&here) {
            (&self.homes, here, None)
        } else {
            let name = Key::of(&[b"name", canonical.as_bytes()]);
            (&self.names, name, Some(name))
        };
        let taken = table.take(counted, counted.bits(), PER_NAME, now);
        taken.outcome.map_err(Refused::Throttled)?;
        Ok(Guess {
            address: is_one.then_some(key),
            name,
            here,
        })
    }

    /// It was right: it does not count.
    pub(super) fn was_right(&self, guess: &Guess) {
        self.give_back(guess);
        self.right.insert(guess.here, ());
    }

    /// It was not looked at, and its sender is not to blame.
    pub(super) fn give_back(&self, guess: &Guess) {
        if let Some(address) = guess.address {
            self.addresses.give_back(address, PER_ADDRESS);
        }
        match guess.name {
            Some(name) => self.names.give_back(name, PER_NAME),
            None => self.homes.give_back(guess.here, PER_NAME),
        }
    }
}

/// Names at addresses that were right lately, a hundred bytes each.
const HOMES: u64 = 10_000;
/// How long a place is known where a name was right.
const KNOWN_FOR: Duration = Duration::from_hours(24 * 7);
/// Wrong guesses of one address: ten, and one more each 12 seconds.
const PER_ADDRESS: Quota = Quota::per(10, Duration::from_mins(2));
/// Wrong guesses at one name, of all whom it does not know yet: twenty, and one more each three minutes.
const PER_NAME: Quota = Quota::per(20, Duration::from_hours(1));

#[cfg(test)]
mod tests {
    use super::*;

    fn spend(guesses: &Guesses, name: &str, address: &str, now: Instant) -> usize {
        let address = Some(address.parse().unwrap());
        (0..100)
            .take_while(|_| guesses.take(name, address, now).is_ok())
            .count()
    }

    #[test]
    fn an_address_guesses_ten_times_whatever_the_name() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for number in 0..10 {
            let name = format!("user{number}");
            let one = guesses.take(&name, Some([192, 0, 2, 1].into()), now);
            assert!(one.is_ok());
        }
        assert_eq!(spend(&guesses, "other", "192.0.2.1", now), 0);
        assert_eq!(spend(&guesses, "other", "192.0.2.2", now), 10);
    }

    #[test]
    fn a_name_is_one_however_it_is_written_and_from_wherever() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let written = ["john", "John", "JOHN"];
        let all: usize = (0..60)
            .map(|number| {
                spend(
                    &guesses,
                    written[number % 3],
                    &format!("192.0.2.{number}"),
                    now,
                )
            })
            .sum();
        assert_eq!(all, 20);
        assert!(spend(&guesses, "jane", "192.0.3.1", now) > 0);
    }

    #[test]
    fn nobody_is_locked_out_by_the_guesses_of_others() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let home = Some([198, 51, 100, 7].into());
        let right = guesses
            .take("ada", home, now)
            .unwrap_or_else(|_| panic!("a guess"));
        guesses.was_right(&right);
        for number in 0..60 {
            spend(&guesses, "ada", &format!("192.0.2.{number}"), now);
        }
        assert_eq!(spend(&guesses, "ada", "203.0.113.1", now), 0);
        assert_eq!(spend(&guesses, "ada", "198.51.100.7", now), 10);
        // What was right costs nothing.
        let later = now + Duration::from_hours(1);
        for _ in 0..100 {
            let right = guesses
                .take("ada", home, later)
                .unwrap_or_else(|_| panic!("a guess"));
            guesses.was_right(&right);
        }
    }

    #[test]
    fn ten_thousand_names_lock_nobody_out() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for number in 0..10_000_u32 {
            let [a, b, c, d] = (0x0a00_0000 + number).to_be_bytes();
            let _ = guesses.take(&format!("user{number}"), Some([a, b, c, d].into()), now);
        }
        assert!(
            guesses
                .take("ada", Some([198, 51, 100, 7].into()), now)
                .is_ok()
        );
    }
}
