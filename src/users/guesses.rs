//! Limits guesses at passwords, by address and by name.
//!
//! Guesses of others lock nobody out: if a name was right lately, that name at that address has a count of its own, in a table that
//! strangers cannot fill.

use std::{
    net::IpAddr,
    sync::Arc,
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

/// What a guess has taken. Dropped, it gives that back: nothing was looked at, or its sender is not to blame.
pub(super) struct Guess {
    guesses: Arc<Guesses>,
    taken: Vec<(Count, Key, Quota)>,
    /// The name at this address.
    here: Key,
    is_at_home: bool,
}

/// One of the tables.
#[derive(Clone, Copy)]
enum Count {
    Address,
    Name,
    Home,
}

impl Guess {
    /// Whether the name was right here lately.
    pub(super) fn is_at_home(&self) -> bool {
        self.is_at_home
    }

    /// It was right: it does not count.
    pub(super) fn was_right(self) {
        self.guesses.right.insert(self.here, ());
    }

    /// It was wrong: it counts.
    pub(super) fn was_wrong(mut self) {
        self.taken.clear();
    }

    fn take(
        &mut self,
        (count, key, quota): (Count, Key, Quota),
        range: u64,
        now: Instant,
    ) -> Result<(), Refused> {
        let taken = self.guesses.table(count).take(key, range, quota, now);
        taken.outcome.map_err(Refused::Throttled)?;
        self.taken.push((count, key, quota));
        Ok(())
    }
}

impl Drop for Guess {
    fn drop(&mut self) {
        for (count, key, quota) in &self.taken {
            self.guesses.table(*count).give_back(*key, *quota);
        }
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
    /// Takes a guess. Of a name that was right here lately only its own count is asked: what neighbours behind the same address have
    /// guessed is not held against it.
    ///
    /// # Errors
    /// When there were too many.
    pub(super) fn take(
        self: &Arc<Self>,
        name: &str,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<Guess, Refused> {
        let subscriber = rate_limit::subscriber(address);
        let text = subscriber.to_string();
        // One count, however it is written: most apps take `Ada` for `ada`.
        let canonical = name.to_lowercase();
        let here = Key::of(&[b"here", canonical.as_bytes(), text.as_bytes()]);
        let mut guess = Guess {
            guesses: Arc::clone(self),
            taken: Vec::with_capacity(3),
            here,
            is_at_home: self.right.contains_key(&here),
        };
        if guess.is_at_home {
            guess.take((Count::Home, here, PER_NAME), here.bits(), now)?;
            return Ok(guess);
        }
        // A proxy on this machine that nobody trusts is no one client.
        if let Some(address) = address.filter(|address| !address.to_canonical().is_loopback()) {
            let range = rate_limit::range(subscriber);
            let key = Key::of(&[b"address", text.as_bytes()]);
            guess.take((Count::Address, key, PER_ADDRESS), range, now)?;
            if let Some(site) = rate_limit::site(address) {
                let key = Key::of(&[b"site", &site.octets()]);
                guess.take((Count::Address, key, PER_ADDRESS.times(MANY)), range, now)?;
            }
        }
        let name = Key::of(&[b"name", canonical.as_bytes()]);
        guess.take((Count::Name, name, PER_NAME), name.bits(), now)?;
        Ok(guess)
    }

    fn table(&self, count: Count) -> &Table {
        match count {
            Count::Address => &self.addresses,
            Count::Name => &self.names,
            Count::Home => &self.homes,
        }
    }
}

/// Names at addresses that were right lately, a hundred bytes each.
const HOMES: u64 = 10_000;
/// How long a place is known where a name was right.
const KNOWN_FOR: Duration = Duration::from_hours(24 * 7);
/// Wrong guesses of one address: ten, and one more each 12 seconds.
const PER_ADDRESS: Quota = Quota::per(10, Duration::from_mins(2));
/// How many times that a site of IPv6 has, a /48, which has very many addresses.
const MANY: u32 = 4;
/// Wrong guesses at one name, of all whom it does not know yet: twenty, and one more each three minutes.
const PER_NAME: Quota = Quota::per(20, Duration::from_hours(1));

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(
        guesses: &Arc<Guesses>,
        name: &str,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Option<Guess> {
        guesses.take(name, address, now).ok()
    }

    fn wrong(guesses: &Arc<Guesses>, name: &str, address: Option<IpAddr>, now: Instant) -> bool {
        let guess = guess(guesses, name, address, now);
        guess.map(Guess::was_wrong).is_some()
    }

    fn spend(guesses: &Arc<Guesses>, name: &str, address: &str, now: Instant) -> usize {
        let address = Some(address.parse().unwrap());
        (0..100)
            .take_while(|_| wrong(guesses, name, address, now))
            .count()
    }

    #[test]
    fn an_address_guesses_ten_times_whatever_the_name() {
        let (guesses, now) = (Arc::<Guesses>::default(), Instant::now());
        for number in 0..10 {
            let name = format!("user{number}");
            assert!(wrong(&guesses, &name, Some([192, 0, 2, 1].into()), now));
        }
        assert_eq!(spend(&guesses, "other", "192.0.2.1", now), 0);
        assert_eq!(spend(&guesses, "other", "192.0.2.2", now), 10);
    }

    #[test]
    fn a_name_is_one_however_it_is_written_and_from_wherever() {
        let (guesses, now) = (Arc::<Guesses>::default(), Instant::now());
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
        let (guesses, now) = (Arc::<Guesses>::default(), Instant::now());
        let home = Some([198, 51, 100, 7].into());
        guess(&guesses, "ada", home, now).unwrap().was_right();
        for number in 0..60 {
            spend(&guesses, "ada", &format!("192.0.2.{number}"), now);
        }
        assert_eq!(spend(&guesses, "ada", "203.0.113.1", now), 0);
        assert_eq!(spend(&guesses, "ada", "198.51.100.7", now), 20);
        // What was right costs nothing.
        let later = now + Duration::from_hours(1);
        for _ in 0..100 {
            guess(&guesses, "ada", home, later).unwrap().was_right();
        }
    }

    #[test]
    fn ten_thousand_names_lock_nobody_out() {
        let (guesses, now) = (Arc::<Guesses>::default(), Instant::now());
        for number in 0..10_000_u32 {
            let [a, b, c, d] = (0x0a00_0000 + number).to_be_bytes();
            wrong(
                &guesses,
                &format!("user{number}"),
                Some([a, b, c, d].into()),
                now,
            );
        }
        assert!(wrong(&guesses, "ada", Some([198, 51, 100, 7].into()), now));
    }

    #[test]
    fn neighbours_behind_one_address_lock_nobody_out_who_was_right_there() {
        let (guesses, now) = (Arc::<Guesses>::default(), Instant::now());
        let office = Some([198, 51, 100, 7].into());
        guess(&guesses, "ada", office, now).unwrap().was_right();
        for number in 0..40 {
            spend(&guesses, &format!("user{number}"), "198.51.100.7", now);
        }
        assert!(guess(&guesses, "bob", office, now).is_none());
        assert_eq!(spend(&guesses, "ada", "198.51.100.7", now), 20);
    }

    #[test]
    fn a_site_has_no_more_than_some_subscribers() {
        let (guesses, now) = (Arc::<Guesses>::default(), Instant::now());
        let all: usize = (0..100)
            .map(|number| {
                let (name, address) =
                    (format!("user{number}"), format!("2001:db8:1:{number:x}::1"));
                spend(&guesses, &name, &address, now)
            })
            .sum();
        assert_eq!(all, 40);
        assert_eq!(spend(&guesses, "other", "2001:db8:2::1", now), 10);
    }

    #[test]
    fn what_nobody_looked_at_does_not_count() {
        let (guesses, now) = (Arc::<Guesses>::default(), Instant::now());
        for _ in 0..100 {
            drop(guess(&guesses, "ada", Some([192, 0, 2, 1].into()), now).unwrap());
        }
        assert_eq!(spend(&guesses, "ada", "192.0.2.1", now), 10);
    }
}
