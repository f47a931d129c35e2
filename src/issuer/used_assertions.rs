//! Assertions of clients that were used: each proves its client once (RFC 7523 §3, 7), at whichever replica. And ID tokens that clients have
//! brought in exchange for tokens: each counts once, too.
//!
//! They lie where grants lie, so that a restart has none of them taken again. So that they leave room for grants, each client has a bound of
//! its own, which it can only fill itself: nothing is kept of an assertion that its keys have not signed. Anybody can publish a document with
//! keys: clients that the operator has not named have a lower bound each, and one together.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::client_assertion::Assertion;
use crate::{
    clock::Timestamp,
    kv::{self, Store, Table},
    random,
};

/// Remembers which were used, until they would not be taken any more.
pub struct UsedAssertions {
    used: Table<[u8; 16]>,
    /// Those that this process has kept, of each client of the configuration.
    kept: Mutex<HashMap<String, Kept>>,
    /// The same of others.
    strangers: Mutex<Strangers>,
}

/// Those of clients that the operator has not named.
#[derive(Default)]
struct Strangers {
    each: HashMap<String, Kept>,
    all: Kept,
}

impl Strangers {
    fn has_room(&mut self, client: &str, now: Timestamp) -> bool {
        let has_room = |kept: &mut Kept| kept.has_room(MOST_PER_STRANGER, now);
        self.all.has_room(MOST_OF_STRANGERS, now) && self.each.get_mut(client).is_none_or(has_room)
    }

    fn count(&mut self, client: &str, until: Timestamp, now: Timestamp) {
        self.all.add(until);
        // No more of them are left than there are assertions.
        if self.each.len() >= SWEPT && !self.each.contains_key(client) {
            self.each.retain(|_, kept| kept.count(now) > 0);
        }
        self.each.entry(client.to_owned()).or_default().add(until);
    }
}

/// How many are kept, by the minutes in which they end.
#[derive(Default)]
struct Kept(VecDeque<(u64, usize)>);

impl Kept {
    /// Whether there is room for one more, beside those that are still good.
    fn has_room(&mut self, most: usize, now: Timestamp) -> bool {
        self.count(now) < most
    }

    fn count(&mut self, now: Timestamp) -> usize {
        self.0.retain(|(minute, _)| minute * MINUTE > now.0);
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// Counts one more.
    fn add(&mut self, until: Timestamp) {
        let minute = until.0.div_ceil(MINUTE);
        match self.0.iter_mut().find(|(known, _)| *known == minute) {
            Some((_, count)) => *count += 1,
            None => self.0.push_back((minute, 1)),
        }
    }
}

impl UsedAssertions {
    /// Those in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            used: Table::new(store, "client-assertions", 1),
            kept: Mutex::default(),
            strangers: Mutex::default(),
        }
    }

    /// Whether it was not used before. Of all that come with one at once, one is the first.
    ///
    /// # Errors
    /// When the store does not answer, or the client has used too many that are still good: then nobody is.
    pub async fn is_first(
        &self,
        client: &str,
        assertion: &Assertion,
        now: Timestamp,
    ) -> Result<bool, kv::Error> {
        if !self.has_room(client, now) {
            return Err(kv::Error(FULL.to_owned()));
        }
        // One that comes again takes no room: whoever has seen one on its way could fill it otherwise.
        let is_first = self.add(assertion).await?;
        if is_first {
            self.count(client, assertion.until);
        }
        Ok(is_first)
    }

    /// The same of a client that the operator has not named.
    ///
    /// # Errors
    /// As for [`is_first`](Self::is_first), and when all of them have used too many.
    pub async fn is_first_of_stranger(
        &self,
        client: &str,
        assertion: &Assertion,
        now: Timestamp,
    ) -> Result<bool, kv::Error> {
        if !self.strangers().has_room(client, now) {
            return Err(kv::Error(FULL.to_owned()));
        }
        let is_first = self.add(assertion).await?;
        if is_first {
            self.strangers().count(client, assertion.until, now);
        }
        Ok(is_first)
    }

    async fn add(&self, assertion: &Assertion) -> Result<bool, kv::Error> {
        // A value that is there already counts as put there: this one is nobody else's.
        let value = random::bytes();
        self.used
            .add(&assertion.name, &value, assertion.until)
            .await
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        self.strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, client: &str, now: Timestamp) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.entry(client.to_owned()).or_default();
        kept.has_room(MOST_PER_CLIENT, now)
    }

    fn count(&self, client: &str, until: Timestamp) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry(client.to_owned()).or_default().add(until);
    }
}

/// Assertions of one client that are remembered, by one process.
const MOST_PER_CLIENT: usize = 10_000;
/// The same of a client that the operator has not named.
const MOST_PER_STRANGER: usize = 2_000;
/// The same of all of these together.
const MOST_OF_STRANGERS: usize = 20_000;
/// So many of these are known before those are forgotten that have none left.
const SWEPT: usize = 1_000;
const FULL: &str =
    "a client has used too many assertions that are still good: it should have them end sooner";
/// Seconds.
const MINUTE: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn assertion(number: u64, until: u64) -> Assertion {
        let mut name = [0; 32];
        name[..8].copy_from_slice(&number.to_be_bytes());
        Assertion {
            name,
            until: Timestamp(until),
        }
    }

    #[tokio::test]
    async fn a_client_that_fills_its_room_has_it_back_in_time_and_holds_up_nobody() {
        let used = UsedAssertions::new(Arc::new(kv::Memory::default()));
        let now = crate::clock::now();
        let until = now.0 + 60;
        for number in 0..MOST_PER_CLIENT as u64 {
            assert!(used.has_room("busy", now), "{number}");
            used.count("busy", Timestamp(until));
        }
        let one = assertion(1, until);
        assert!(used.is_first("busy", &one, now).await.is_err());
        assert!(used.is_first("other", &one, now).await.unwrap());
        for _ in 0..=MOST_PER_CLIENT {
            assert!(!used.is_first("other", &one, now).await.unwrap());
        }
        for number in 0..MOST_OF_STRANGERS {
            let client = format!("https://{}.example/c", number / MOST_PER_STRANGER);
            let mut strangers = used.strangers();
            assert!(strangers.has_room(&client, now), "{number}");
            strangers.count(&client, Timestamp(until), now);
        }
        let stranger = "https://one-more.example/c";
        assert!(
            used.is_first_of_stranger(stranger, &one, now)
                .await
                .is_err()
        );
        let three = assertion(3, until);
        assert!(used.is_first("other", &three, now).await.unwrap());
        let later = Timestamp(until + MINUTE);
        let two = assertion(2, later.0 + 60);
        assert!(used.is_first("busy", &two, later).await.unwrap());
    }
}
