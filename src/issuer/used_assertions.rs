//! Assertions of clients that were used: each proves its client once (RFC 7523 §3, 7), at whichever replica. And ID tokens that clients have
//! brought in exchange for tokens: each counts once, too.
//!
//! They lie where grants lie, so that a restart has none of them taken again. So that they leave room for grants, each client has a bound of
//! its own, which it can only fill itself: nothing is kept of an assertion that its keys have not signed.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
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
    /// Those that this process has kept, of each client.
    kept: Mutex<HashMap<String, Kept>>,
}

/// How many are kept, by the minutes in which they end.
#[derive(Default)]
struct Kept(VecDeque<(u64, usize)>);

impl Kept {
    /// Whether there is room for one more, beside those that are still good.
    fn has_room(&mut self, now: Timestamp) -> bool {
        self.0.retain(|(minute, _)| minute * MINUTE > now.0);
        self.0.iter().map(|(_, count)| count).sum::<usize>() < MOST_PER_CLIENT
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
            let why = "a client has used too many assertions that are still good: it should have them end sooner";
            return Err(kv::Error(why.to_owned()));
        }
        // A value that is there already counts as put there: this one is nobody else's.
        let is_first = self
            .used
            .add(&assertion.name, &random::bytes(), assertion.until)
            .await?;
        // One that comes again takes no room: whoever has seen one on its way could fill it otherwise.
        if is_first {
            self.count(client, assertion.until);
        }
        Ok(is_first)
    }

    fn has_room(&self, client: &str, now: Timestamp) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry(client.to_owned()).or_default().has_room(now)
    }

    fn count(&self, client: &str, until: Timestamp) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry(client.to_owned()).or_default().add(until);
    }
}

/// Assertions of one client that are remembered, by one process.
const MOST_PER_CLIENT: usize = 10_000;
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
        let later = Timestamp(until + MINUTE);
        let two = assertion(2, later.0 + 60);
        assert!(used.is_first("busy", &two, later).await.unwrap());
    }
}
