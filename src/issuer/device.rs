//! The device flow (RFC 8628): a program without a browser gets tokens after its user has confirmed a code elsewhere.
//!
//! A waiting request is stored under its user code, and looked up by the hash of its device code. Both expire after ten minutes. When the
//! user agrees, a grant begins. Its code is bound to the device code, as a code is bound to PKCE's verifier. So tokens are given once, and
//! never to somebody who only knows the user code.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use super::{client::sha256, strangers::Strangers};
use crate::{
    clock::Timestamp,
    kv::{self, Store, Table},
    random,
    session::{
        directory::UserKey,
        seal::{KeyRing, Purpose},
    },
};

/// What waits for somebody.
pub struct Devices {
    /// Sealed under their codes: whoever can look into the store learns nothing, and can put nothing there.
    waiting: Table<String>,
    /// The user code of a device code, by its hash.
    codes: Table<String>,
    /// How many wrong codes somebody has typed lately. Beside what waits, so that replicas count together.
    guesses: Table<Guesses>,
    /// What clients that nobody vouches for have wait.
    strangers: Strangers,
    keys: Arc<ArcSwap<KeyRing>>,
}

/// Wrong codes that somebody has typed, and those that are being looked up.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Guesses {
    count: u32,
    expires_at: Timestamp,
    /// New at each change: two changes to the same value would be taken for one.
    change: [u8; 8],
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
pub struct DeviceRequest {
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
    /// Whether the operator knows the client, and it has proven who it is.
    pub is_vouched_for: bool,
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
    /// Those in `store`, sealed under `keys`.
    pub fn new(store: &Arc<dyn Store>, keys: Arc<ArcSwap<KeyRing>>) -> Self {
        Self {
            waiting: Table::new(Arc::clone(store), "devices", 2),
            codes: Table::new(Arc::clone(store), "device-codes", 1),
            guesses: Table::new(Arc::clone(store), "device-guesses", 1),
            strangers: Strangers::new(Arc::clone(store), "device-counts", LASTS),
            keys,
        }
    }

    fn seal(&self, code: &str, waiting: &Waiting) -> String {
        let plain = postcard::to_allocvec(waiting).expect("a vector takes all of it");
        let keys = self.keys.load();
        keys.seal(
            Purpose::WaitingDevice,
            code.as_bytes(),
            &plain,
            random::bytes(),
        )
    }

    fn open(&self, code: &str, sealed: &str) -> Option<Waiting> {
        let keys = self.keys.load();
        let plain = keys.open(Purpose::WaitingDevice, code.as_bytes(), sealed)?;
        postcard::from_bytes(&plain).ok()
    }

    /// Has a program wait under `user_code`.
    ///
    /// # Errors
    /// When where it is kept does not answer, or has no room.
    pub async fn begin(
        &self,
        request: DeviceRequest,
        user_code: &UserCode,
        device_code: &str,
        challenge: String,
        now: Timestamp,
    ) -> Result<(), kv::Error> {
        let expires_at = now.after(LASTS);
        let waiting = Waiting {
            client: request.client,
            name: request.name,
            address: request.address,
            resource: request.resource,
            scopes: request.scopes,
            challenge,
            begun_at: now,
            expires_at,
            polled_at: Timestamp(0),
            interval: INTERVAL,
            answer: None,
        };
        let sealed = self.seal(&user_code.0, &waiting);
        if !request.is_vouched_for {
            self.strangers.take(sealed.len(), now).await?;
        }
        // One in 25 thousand million is taken.
        if !self
            .waiting
            .add(user_code.0.as_bytes(), &sealed, expires_at)
            .await?
        {
            return Err(kv::Error("a user code is taken".to_owned()));
        }
        self.codes
            .put(&sha256(device_code.as_bytes()), &user_code.0, expires_at)
            .await
    }

    /// What waits under a code that `user` has typed; none where nothing does. Wrong codes are counted, each before it is looked up:
    /// who tries many at once gets no more answers than who tries one after the other.
    ///
    /// # Errors
    /// When where it is kept does not answer, or the user has typed too many wrong ones (`None`).
    pub async fn find(
        &self,
        code: &UserCode,
        user: &UserKey,
        now: Timestamp,
    ) -> Result<Option<Waiting>, Option<kv::Error>> {
        let counted = self.guesses.update(user.bytes(), |known| {
            let mut guesses = known
                .filter(|known| now < known.expires_at)
                .unwrap_or_else(|| Guesses {
                    count: 0,
                    expires_at: now.after(MINUTE),
                    change: [0; 8],
                });
            if guesses.count >= MOST_GUESSES {
                return (None, false);
            }
            guesses.count += 1;
            guesses.change = random::bytes();
            (Some((guesses, guesses.expires_at)), true)
        });
        if !counted.await.map_err(Some)? {
            return Err(None);
        }
        let sealed = self.waiting.get(code.0.as_bytes()).await.map_err(Some)?;
        let found = sealed.and_then(|sealed| self.open(&code.0, &sealed));
        let found = found.filter(|waiting| waiting.answer.is_none() && now < waiting.expires_at);
        if found.is_some() {
            let given_back = self.guesses.update(user.bytes(), |known| {
                let fewer = known.map(|known| Guesses {
                    count: known.count.saturating_sub(1),
                    change: random::bytes(),
                    ..known
                });
                (fewer.map(|fewer| (fewer, fewer.expires_at)), ())
            });
            given_back.await.map_err(Some)?;
        }
        Ok(found)
    }

    /// Somebody has said yes, and this is the grant's code; or no, and there is none. Whether that counts: of all who answer, the
    /// first one does, and none after the end.
    ///
    /// # Errors
    /// When where it is kept does not answer.
    pub async fn answer(
        &self,
        code: &UserCode,
        waiting: &Waiting,
        grant: Option<String>,
    ) -> Result<bool, kv::Error> {
        let answer = grant.map_or(Answer::No, Answer::Yes);
        let answered = self.waiting.update(code.0.as_bytes(), |current| {
            let current = current.and_then(|sealed| self.open(&code.0, &sealed));
            // Another program may have got the same code since.
            let same = current.filter(|current| {
                current.answer.is_none() && current.challenge == waiting.challenge
            });
            let Some(current) = same else {
                return (None, false);
            };
            let expires_at = current.expires_at;
            let answered = Waiting {
                answer: Some(answer.clone()),
                ..current
            };
            (Some((self.seal(&code.0, &answered), expires_at)), true)
        });
        answered.await
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
        let device_code = sha256(device_code.as_bytes());
        let Some(user_code) = self.codes.get(&device_code).await? else {
            return Ok(Poll::Expired);
        };
        let polled = self.waiting.update(user_code.as_bytes(), |current| {
            let current = current.and_then(|sealed| self.open(&user_code, &sealed));
            let waiting =
                current.filter(|waiting| now < waiting.expires_at && waiting.client == client);
            let Some(mut waiting) = waiting else {
                return (None, Err(Poll::Expired));
            };
            if let Some(answer) = waiting.answer.take() {
                return (None, Ok(answer));
            }
            let is_early = now.since(waiting.polled_at).as_secs() < waiting.interval;
            if is_early {
                waiting.interval = (waiting.interval + INTERVAL).min(LONGEST_INTERVAL);
            }
            waiting.polled_at = now;
            let expires_at = waiting.expires_at;
            let poll = if is_early {
                Poll::SlowDown
            } else {
                Poll::Pending
            };
            let sealed = self.seal(&user_code, &waiting);
            (Some((sealed, expires_at)), Err(poll))
        });
        let answer = match polled.await? {
            Ok(answer) => answer,
            Err(poll) => return Ok(poll),
        };
        let taken = self.codes.take(&device_code).await?;
        let _ = self.waiting.take(user_code.as_bytes()).await;
        Ok(match answer {
            _ if taken.is_none() => Poll::Expired,
            Answer::Yes(code) => Poll::Allowed(code),
            Answer::No => Poll::Denied,
        })
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
/// How long wrong codes are counted.
const MINUTE: Duration = Duration::from_mins(1);
/// Letters of a user code: 34 bits.
const LETTERS: usize = 8;
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn request() -> DeviceRequest {
        DeviceRequest {
            client: "cli".to_owned(),
            name: "CLI".to_owned(),
            address: Some("192.0.2.1".to_owned()),
            resource: "https://h/mcp".to_owned(),
            scopes: Vec::new(),
            is_vouched_for: true,
        }
    }

    fn keys() -> Arc<ArcSwap<KeyRing>> {
        let secret = crate::secret::Secret::new("one".to_owned());
        Arc::new(ArcSwap::from_pointee(KeyRing::new(
            &[secret],
            "app.example gate",
        )))
    }

    #[tokio::test]
    async fn what_waits_is_sealed_and_strangers_leave_room() {
        let store: Arc<dyn Store> = Arc::new(kv::Memory::new(20_000, 10_000_000));
        let (devices, now) = (Devices::new(&store, keys()), clock::now());
        let begin = async |number: u128, is_vouched_for| {
            let request = DeviceRequest {
                name: "A name ".repeat(30),
                resource: format!("https://h/mcp/{}", "x".repeat(1_000)),
                is_vouched_for,
                ..request()
            };
            let (code, challenge) = (UserCode::generate(number.to_be_bytes()), String::new());
            let device = format!("device {number}");
            devices.begin(request, &code, &device, challenge, now).await
        };
        let mut begun = 0;
        while begin(begun, false).await.is_ok() {
            begun += 1;
            assert!(begun < 9_000, "it is not bounded");
        }
        assert!(begin(begun, true).await.is_ok());
        let kept = store.scan("devices".to_owned(), 9).await.unwrap();
        for (_, kept) in kept {
            assert!(!String::from_utf8_lossy(&kept).contains("h/mcp"));
        }
    }

    async fn begun() -> (Devices, UserCode, Timestamp) {
        let store: Arc<dyn Store> = Arc::new(kv::Memory::default());
        let (devices, code, now) = (
            Devices::new(&store, keys()),
            UserCode::generate([7; 16]),
            clock::now(),
        );
        devices
            .begin(request(), &code, "device", "challenge".to_owned(), now)
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
        let answered = devices
            .answer(&code, &waiting, Some("code".to_owned()))
            .await;
        assert_eq!(answered, Ok(true));
        // Whoever comes later changes nothing.
        assert_eq!(devices.answer(&code, &waiting, None).await, Ok(false));
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
        devices.answer(&code, &waiting, None).await.unwrap();
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

    /// Lets others go first at each step, as a store behind a network does.
    struct Far(kv::Memory);

    impl Store for Far {
        fn get(&self, key: kv::Key) -> kv::Answer<'_, Option<bytes::Bytes>> {
            Box::pin(async move {
                tokio::task::yield_now().await;
                self.0.get(key).await
            })
        }

        fn put(&self, key: kv::Key, value: kv::Value) -> kv::Answer<'_, ()> {
            Box::pin(async move {
                tokio::task::yield_now().await;
                self.0.put(key, value).await
            })
        }

        fn take(&self, key: kv::Key) -> kv::Answer<'_, Option<bytes::Bytes>> {
            self.0.take(key)
        }

        fn swap(
            &self,
            key: kv::Key,
            expected: Option<bytes::Bytes>,
            new: Option<kv::Value>,
        ) -> kv::Answer<'_, bool> {
            Box::pin(async move {
                tokio::task::yield_now().await;
                self.0.swap(key, expected, new).await
            })
        }

        fn scan(&self, group: String, at_most: usize) -> kv::Answer<'_, kv::Entries> {
            self.0.scan(group, at_most)
        }

        fn is_ready(&self) -> bool {
            true
        }
    }

    fn far() -> Devices {
        let store: Arc<dyn Store> = Arc::new(Far(kv::Memory::default()));
        Devices::new(&store, keys())
    }

    #[tokio::test]
    async fn t81_many_guesses_at_once_are_no_more_than_one_after_the_other() {
        let (devices, now) = (far(), clock::now());
        let user = UserKey::new("corp", "1");
        let guesses = (0..40).map(|number| {
            let (devices, user) = (&devices, &user);
            async move {
                let wrong = UserCode::generate([number; 16]);
                devices.find(&wrong, user, now).await
            }
        });
        let answers = futures_util::future::join_all(guesses).await;
        let looked_up = answers.iter().filter(|answer| **answer == Ok(None));
        assert_eq!(looked_up.count(), 5);
    }

    /// Whenever in a question of the program the answer comes: it is kept.
    #[tokio::test]
    async fn t81_no_answer_is_lost_to_a_question_at_the_same_time() {
        for steps in 0..12 {
            let (devices, now) = (far(), clock::now());
            let code = UserCode::generate([7; 16]);
            let user = UserKey::new("corp", "1");
            let begun = devices.begin(request(), &code, "device", "challenge".to_owned(), now);
            begun.await.unwrap();
            let waiting = devices.find(&code, &user, now).await.unwrap().unwrap();
            let answering = async {
                for _ in 0..steps {
                    tokio::task::yield_now().await;
                }
                devices
                    .answer(&code, &waiting, Some("code".to_owned()))
                    .await
            };
            let (first, answered) = tokio::join!(devices.poll("device", "cli", now), answering);
            assert_eq!(answered, Ok(true));
            if first != Ok(Poll::Allowed("code".to_owned())) {
                let second = devices.poll("device", "cli", now.after(LASTS / 2)).await;
                assert_eq!(second, Ok(Poll::Allowed("code".to_owned())), "{steps}");
            }
        }
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
