//! The device flow (RFC 8628): a program without a browser gets tokens after its user has confirmed a code elsewhere.
//!
//! A waiting request is stored under its user code, and looked up by the hash of its device code. Both expire after ten minutes. When the
//! user agrees, a grant begins. Its code is bound to the device code, as a code is bound to PKCE's verifier. So tokens are given once, and
//! never to somebody who only knows the user code.

use std::{fmt, sync::Arc, time::Duration};

use moka::sync::Cache;
use serde::{Deserialize, Serialize};

use super::client::sha256;
use crate::{
    clock::Timestamp,
    kv::{self, Store, Table},
    session::directory::UserKey,
};

/// What waits for somebody.
pub struct Devices {
    waiting: Table<Waiting>,
    /// The user code of a device code, by its hash.
    codes: Table<String>,
    /// How many wrong codes somebody has typed lately.
    guesses: Cache<[u8; 16], u32>,
}

/// A program that waits for its user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The client's handle.
    pub client: String,
    /// What it calls itself.
    pub name: String,
    /// From where it asked.
    pub address: Option<String>,
    /// The one address that tokens are for.
    pub resource: String,
    /// What they may be used for.
    pub scopes: Vec<String>,
    /// What its device code answers, as a verifier answers its challenge.
    pub challenge: String,
    /// Since when.
    pub begun_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    polled_at: Timestamp,
    interval: u64,
    answer: Option<Answer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Answer {
    Yes(String),
    No,
}

/// What a program asks for.
pub struct Asked {
    /// The client's handle.
    pub client: String,
    /// What it calls itself.
    pub name: String,
    /// From where it asks.
    pub address: Option<String>,
    /// The one address that tokens are for.
    pub resource: String,
    /// What they may be used for.
    pub scopes: Vec<String>,
}

/// What a program that asks whether it may go on is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Nobody has said anything yet.
    Pending,
    /// The same, and it asks too often.
    SlowDown,
    /// Somebody said no.
    Denied,
    /// There is no such code, or no longer.
    Expired,
    /// Somebody said yes: this is the grant's code.
    Allowed(String),
}

/// The code that a user compares and types: letters without vowels, so that they make no word, and without look-alikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserCode(String);

impl UserCode {
    /// A new one.
    pub fn generate(random: [u8; 16]) -> Self {
        // 128 bits for eight times 20 letters leave no bias to speak of.
        let mut number = u128::from_be_bytes(random);
        let letters = (0..LETTERS).map(|_| {
            let letter = ALPHABET[usize::try_from(number % 20).unwrap_or_default()];
            number /= 20;
            char::from(letter)
        });
        Self(letters.collect())
    }

    /// Reads what somebody typed: case, blanks and hyphens do not count.
    pub fn parse(text: &str) -> Option<Self> {
        let letters = text
            .chars()
            .filter(|letter| !letter.is_whitespace() && *letter != '-');
        let letters: String = letters
            .map(|letter| letter.to_ascii_uppercase())
            .take(LETTERS + 1)
            .collect();
        let is_code =
            letters.len() == LETTERS && letters.bytes().all(|byte| ALPHABET.contains(&byte));
        is_code.then_some(Self(letters))
    }
}

impl fmt::Display for UserCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = self.0.split_at(LETTERS / 2);
        write!(formatter, "{first}-{second}")
    }
}

impl Devices {
    /// Those in `store`.
    pub fn new(store: &Arc<dyn Store>) -> Self {
        Self {
            waiting: Table::new(Arc::clone(store), "devices", 1),
            codes: Table::new(Arc::clone(store), "device-codes", 1),
            guesses: Cache::builder()
                .max_capacity(GUESSERS)
                .time_to_live(MINUTE)
                .build(),
        }
    }

    /// Has a program wait under `user_code`.
    ///
    /// # Errors
    /// When where it is kept does not answer, or has no room.
    pub async fn begin(
        &self,
        asked: Asked,
        user_code: &UserCode,
        device_code: &str,
        challenge: String,
        now: Timestamp,
    ) -> Result<(), kv::Error> {
        let expires_at = now.after(LASTS);
        let waiting = Waiting {
            client: asked.client,
            name: asked.name,
            address: asked.address,
            resource: asked.resource,
            scopes: asked.scopes,
            challenge,
            begun_at: now,
            expires_at,
            polled_at: Timestamp(0),
            interval: INTERVAL,
            answer: None,
        };
        // One in 25 thousand million is taken.
        if !self
            .waiting
            .add(user_code.0.as_bytes(), &waiting, expires_at)
            .await?
        {
            return Err(kv::Error("a user code is taken".to_owned()));
        }
        self.codes
            .put(&sha256(device_code.as_bytes()), &user_code.0, expires_at)
            .await
    }

    /// What waits under a code that `user` has typed; none where nothing does. Wrong codes are counted.
    ///
    /// # Errors
    /// When where it is kept does not answer, or the user has typed too many wrong ones (`None`).
    pub async fn find(
        &self,
        code: &UserCode,
        user: &UserKey,
        now: Timestamp,
    ) -> Result<Option<Waiting>, Option<kv::Error>> {
        let guesses = self.guesses.get(user.bytes()).unwrap_or_default();
        if guesses >= MOST_GUESSES {
            return Err(None);
        }
        let found = self.waiting.get(code.0.as_bytes()).await.map_err(Some)?;
        let found = found.filter(|waiting| waiting.answer.is_none() && now < waiting.expires_at);
        if found.is_none() {
            self.guesses.insert(*user.bytes(), guesses + 1);
        }
        Ok(found)
    }

    /// Somebody has said yes, and this is the grant's code; or no, and there is none.
    ///
    /// # Errors
    /// When where it is kept does not answer.
    pub async fn answer(
        &self,
        code: &UserCode,
        waiting: Waiting,
        grant: Option<String>,
    ) -> Result<(), kv::Error> {
        let expires_at = waiting.expires_at;
        let answered = Waiting {
            answer: Some(grant.map_or(Answer::No, Answer::Yes)),
            ..waiting
        };
        self.waiting
            .put(code.0.as_bytes(), &answered, expires_at)
            .await
    }

    /// Whether the program that has `device_code` may go on. Once it may, there is nothing left to ask.
    ///
    /// # Errors
    /// When where it is kept does not answer.
    pub async fn poll(
        &self,
        device_code: &str,
        client: &str,
        now: Timestamp,
    ) -> Result<Poll, kv::Error> {
        let Some(user_code) = self.codes.get(&sha256(device_code.as_bytes())).await? else {
            return Ok(Poll::Expired);
        };
        let found = self.waiting.get(user_code.as_bytes()).await?;
        let Some(mut waiting) =
            found.filter(|waiting| now < waiting.expires_at && waiting.client == client)
        else {
            return Ok(Poll::Expired);
        };
        if let Some(answer) = waiting.answer.take() {
            let taken = self.codes.take(&sha256(device_code.as_bytes())).await?;
            let _ = self.waiting.take(user_code.as_bytes()).await;
            return Ok(match answer {
                _ if taken.is_none() => Poll::Expired,
                Answer::Yes(code) => Poll::Allowed(code),
                Answer::No => Poll::Denied,
            });
        }
        let is_early = now.since(waiting.polled_at).as_secs() < waiting.interval;
        if is_early {
            waiting.interval = (waiting.interval + INTERVAL).min(LONGEST_INTERVAL);
        }
        waiting.polled_at = now;
        self.note(&user_code, &waiting).await?;
        Ok(if is_early {
            Poll::SlowDown
        } else {
            Poll::Pending
        })
    }

    /// Notes when somebody asked, unless an answer has come meanwhile.
    async fn note(&self, user_code: &str, polled: &Waiting) -> Result<(), kv::Error> {
        let current = self.waiting.get(user_code.as_bytes()).await?;
        if current.is_some_and(|current| current.answer.is_none()) {
            self.waiting
                .put(user_code.as_bytes(), polled, polled.expires_at)
                .await?;
        }
        Ok(())
    }
}

/// How long a program may wait for its user.
pub const LASTS: Duration = Duration::from_mins(10);
/// Seconds between two questions of a program, and what is added where it asks sooner (RFC 8628 §3.5).
pub const INTERVAL: u64 = 5;
/// Seconds that are asked for at most.
const LONGEST_INTERVAL: u64 = 60;
/// Wrong codes that somebody may type in a minute.
const MOST_GUESSES: u32 = 5;
/// People whose wrong codes are counted.
const GUESSERS: u64 = 10_000;
/// How long wrong codes are counted.
const MINUTE: Duration = Duration::from_mins(1);
/// Letters of a user code: 34 bits.
const LETTERS: usize = 8;
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn asked() -> Asked {
        Asked {
            client: "cli".to_owned(),
            name: "CLI".to_owned(),
            address: Some("192.0.2.1".to_owned()),
            resource: "https://h/mcp".to_owned(),
            scopes: Vec::new(),
        }
    }

    async fn begun() -> (Devices, UserCode, Timestamp) {
        let store: Arc<dyn Store> = Arc::new(kv::Memory::default());
        let (devices, code, now) = (
            Devices::new(&store),
            UserCode::generate([7; 16]),
            clock::now(),
        );
        devices
            .begin(asked(), &code, "device", "challenge".to_owned(), now)
            .await
            .unwrap();
        (devices, code, now)
    }

    #[test]
    fn a_user_code_is_read_as_people_type_it() {
        let code = UserCode::generate([3; 16]);
        let text = code.to_string();
        assert_eq!((text.len(), text.as_bytes()[4]), (9, b'-'));
        for typed in [
            text.clone(),
            text.to_lowercase(),
            text.replace('-', ""),
            format!(" {} ", text.replace('-', " - ")),
        ] {
            assert_eq!(UserCode::parse(&typed), Some(code.clone()), "{typed}");
        }
        for bad in [
            "",
            "BCDF",
            "AAAA-AAAA",
            "BCDF-GHJKL",
            "BCDF-GHJ0",
            "BCDF_GHJK",
        ] {
            assert_eq!(UserCode::parse(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn t81_a_program_waits_is_slowed_down_and_gets_its_answer_once() {
        let (devices, code, now) = begun().await;
        let user = UserKey::new("corp", "1");
        let poll = async |device, client, after| {
            devices
                .poll(device, client, now.after(Duration::from_secs(after)))
                .await
                .unwrap()
        };
        assert_eq!(poll("other", "cli", 0).await, Poll::Expired);
        assert_eq!(poll("device", "other", 0).await, Poll::Expired);
        assert_eq!(poll("device", "cli", 0).await, Poll::Pending);
        assert_eq!(poll("device", "cli", 4).await, Poll::SlowDown);
        assert_eq!(poll("device", "cli", 13).await, Poll::SlowDown);
        assert_eq!(poll("device", "cli", 40).await, Poll::Pending);
        let waiting = devices.find(&code, &user, now).await.unwrap().unwrap();
        devices
            .answer(&code, waiting, Some("code".to_owned()))
            .await
            .unwrap();
        assert!(devices.find(&code, &user, now).await.unwrap().is_none());
        assert_eq!(
            poll("device", "cli", 41).await,
            Poll::Allowed("code".to_owned())
        );
        assert_eq!(poll("device", "cli", 60).await, Poll::Expired);
    }

    #[tokio::test]
    async fn t81_no_is_no_and_the_end_is_the_end() {
        let (devices, code, now) = begun().await;
        let user = UserKey::new("corp", "1");
        let waiting = devices.find(&code, &user, now).await.unwrap().unwrap();
        devices.answer(&code, waiting, None).await.unwrap();
        assert_eq!(
            devices.poll("device", "cli", now).await.unwrap(),
            Poll::Denied
        );
        let (devices, code, now) = begun().await;
        let late = now.after(LASTS);
        assert_eq!(
            devices.poll("device", "cli", late).await.unwrap(),
            Poll::Expired
        );
        assert!(devices.find(&code, &user, late).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn t81_nobody_guesses() {
        let (devices, code, now) = begun().await;
        let (user, other) = (UserKey::new("corp", "1"), UserKey::new("corp", "2"));
        for number in 0..5 {
            let wrong = UserCode::generate([number; 16]);
            assert_eq!(devices.find(&wrong, &user, now).await, Ok(None));
        }
        assert_eq!(devices.find(&code, &user, now).await, Err(None));
        assert!(devices.find(&code, &other, now).await.unwrap().is_some());
    }
}
