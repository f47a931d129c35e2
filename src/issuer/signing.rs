//! The keys that sign what the gate gives as JWTs: access tokens (RFC 9068) and ID tokens. ES256 alone.
//!
//! Without files of the operator's there are three, kept in the state's store, sealed under `session.secret`: one signs, the next is
//! published long before it does, so that nobody meets a key that they have not seen, and the previous is published for as long as
//! anything that it signed may be about. They move on by age. Of replicas that move them on at once one does, by compare-and-set,
//! and the others see that within a minute.

use std::{sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    clock::{self, Timestamp},
    jose::{
        KeySet,
        sign::{PublicKey, SigningKey},
    },
    kv::{self, Key, Store, Value},
    random,
    session::seal::{KeyRing, Purpose},
};

/// The keys of one moment.
pub struct IssuerKeys {
    /// It signs.
    signer: SigningKey,
    /// All, the one that signs first.
    published: Vec<PublicKey>,
    /// The same, to verify with.
    pub verifier: KeySet,
}

impl IssuerKeys {
    /// Of these; the first signs.
    fn of(signer: SigningKey, others: impl IntoIterator<Item = SigningKey>) -> Self {
        let others = others.into_iter().map(|key| key.public().clone());
        let published: Vec<_> = std::iter::once(signer.public().clone())
            .chain(others)
            .collect();
        let document = serde_json::json!({ "keys": published });
        let verifier = KeySet::read(&document).expect("what is published is a key set");
        Self {
            signer,
            published,
            verifier,
        }
    }

    /// The JWT of `claims`, of this `typ`.
    pub fn sign(&self, kind: &str, claims: &impl Serialize) -> String {
        self.signer.sign_as(kind, claims)
    }

    /// What verifiers may know.
    pub fn published(&self) -> &[PublicKey] {
        &self.published
    }
}

/// Where the keys come from.
pub enum Signing {
    /// From files: the first signs, all are published.
    Files(Arc<IssuerKeys>),
    /// Made here; each signs for so long.
    Kept(Arc<KeptKeys>, Duration),
}

impl Signing {
    /// Those of these keys of the operator's, or those of the store where there are none.
    pub fn new(files: Vec<SigningKey>, kept: &Arc<KeptKeys>, lifetime: Duration) -> Self {
        let mut files = files.into_iter();
        match files.next() {
            Some(first) => Self::Files(Arc::new(IssuerKeys::of(first, files))),
            None => Self::Kept(Arc::clone(kept), lifetime),
        }
    }

    /// The keys, if that takes no waiting.
    pub fn at_hand(&self) -> Option<Arc<IssuerKeys>> {
        match self {
            Self::Files(keys) => Some(Arc::clone(keys)),
            Self::Kept(kept, _) => kept.held.load_full(),
        }
    }

    /// The keys.
    ///
    /// # Errors
    /// When where they are kept does not answer, and never has.
    pub async fn keys(&self) -> Result<Arc<IssuerKeys>, kv::Error> {
        match (self, self.at_hand()) {
            (_, Some(keys)) => Ok(keys),
            (Self::Files(keys), None) => Ok(Arc::clone(keys)),
            (Self::Kept(kept, lifetime), None) => kept.refresh(*lifetime, clock::now()).await,
        }
    }

    /// The next key signs from here on, whatever the age of the one before; none where the keys are the operator's own, who rotates them.
    ///
    /// # Errors
    /// When where they are kept does not answer: then either may sign.
    pub async fn rotate(&self, now: Timestamp) -> Result<Option<Arc<IssuerKeys>>, kv::Error> {
        match self {
            Self::Files(_) => Ok(None),
            Self::Kept(kept, _) => kept.refresh(Duration::ZERO, now).await.map(Some),
        }
    }
}

/// The keys that are kept in the state's store.
pub struct KeptKeys {
    store: Arc<dyn Store>,
    seals: Arc<ArcSwap<KeyRing>>,
    held: ArcSwapOption<IssuerKeys>,
}

/// What is kept: private numbers of P-256.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    next: [u8; 32],
    current: [u8; 32],
    /// Since when the current one signs.
    since: Timestamp,
    previous: Option<[u8; 32]>,
}

impl Kept {
    /// At the first start.
    fn begin(now: Timestamp) -> Self {
        Self {
            next: number(),
            current: number(),
            since: now,
            previous: None,
        }
    }

    /// A step later.
    fn moved_on(&self, now: Timestamp) -> Self {
        Self {
            next: number(),
            current: self.next,
            since: now,
            previous: Some(self.current),
        }
    }

    fn keys(&self) -> Option<IssuerKeys> {
        let key = |number: &[u8; 32]| SigningKey::of(number).ok();
        let previous = match &self.previous {
            Some(number) => Some(key(number)?),
            None => None,
        };
        let next = key(&self.next)?;
        let others = std::iter::once(next).chain(previous);
        Some(IssuerKeys::of(key(&self.current)?, others))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        use zeroize::Zeroize as _;
        self.next.zeroize();
        self.current.zeroize();
        self.previous.zeroize();
    }
}

/// A private number of P-256: all but one text of 32 bytes in four thousand million are.
fn number() -> [u8; 32] {
    loop {
        let bytes = random::bytes();
        if SigningKey::of(&bytes).is_ok() {
            return bytes;
        }
    }
}

impl KeptKeys {
    /// Those in `store`, sealed under `seals`.
    pub fn new(store: Arc<dyn Store>, seals: Arc<ArcSwap<KeyRing>>) -> Self {
        Self {
            store,
            seals,
            held: ArcSwapOption::empty(),
        }
    }

    /// Looks for keys that others have moved on, and moves them on themselves where the one that signs is as old as `lifetime`; for
    /// as long as it is polled.
    pub async fn keep_fresh(self: Arc<Self>, lifetime: Duration) {
        loop {
            if let Err(error) = self.refresh(lifetime, clock::now()).await {
                tracing::warn!(%error, "the keys that sign tokens cannot be looked at");
            }
            tokio::time::sleep(SPACING).await;
        }
    }

    /// What is kept now; made where nothing is, and moved on where it is due.
    async fn refresh(
        &self,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Arc<IssuerKeys>, kv::Error> {
        for _ in 0..TRIES {
            let found = self.store.get(key()).await?;
            let seals = self.seals.load_full();
            let opened = found.as_ref().and_then(|sealed| open(sealed, &seals));
            let new = match &opened {
                Some((kept, _)) if now.since(kept.since) >= lifetime => {
                    tracing::info!("the next key signs tokens from here on");
                    kept.moved_on(now)
                }
                Some((kept, true)) => return self.hold(kept),
                // Sealed under a secret that may be taken off the list.
                Some((kept, false)) => kept.clone(),
                None => {
                    // Another replica has a secret that this one is about to get.
                    if let Some(held) = self.held.load_full().filter(|_| found.is_some()) {
                        return Ok(held);
                    }
                    if found.is_some() {
                        tracing::warn!(
                            "the keys that sign tokens do not open under any session.secret: others are made"
                        );
                    }
                    Kept::begin(now)
                }
            };
            let value = Value {
                bytes: seal(&new, &seals),
                end: now.after(LONGEST),
            };
            if self.store.swap(key(), found, Some(value)).await? {
                return self.hold(&new);
            }
        }
        Err(kv::Error(
            "others are always faster to change the keys that sign tokens".to_owned(),
        ))
    }

    fn hold(&self, kept: &Kept) -> Result<Arc<IssuerKeys>, kv::Error> {
        let keys = kept.keys();
        let keys = keys.ok_or_else(|| kv::Error("a key that signs tokens is none".to_owned()))?;
        let keys = Arc::new(keys);
        self.held.store(Some(Arc::clone(&keys)));
        Ok(keys)
    }
}

fn key() -> Key {
    Key::new("signing-keys", b"issuer".as_slice())
}

fn seal(kept: &Kept, seals: &KeyRing) -> Bytes {
    let plain = postcard::to_extend(kept, vec![VERSION]).expect("a vector takes all of it");
    let plain = Zeroizing::new(plain);
    let text = seals.seal(Purpose::SigningKeys, b"", &plain, random::bytes());
    Bytes::from(text)
}

/// What was sealed, and whether under the secret that seals today.
fn open(sealed: &[u8], seals: &KeyRing) -> Option<(Kept, bool)> {
    let opened = seals.open_with_key(Purpose::SigningKeys, b"", sealed)?;
    let kept = postcard::from_bytes(opened.plain.strip_prefix(&[VERSION])?).ok()?;
    Some((kept, opened.key.is_first()))
}

/// How long a key signs where the configuration does not say.
pub const DEFAULT_AGE: Duration = Duration::from_hours(90 * 24);
/// How often it is looked whether the keys have moved on.
const SPACING: Duration = Duration::from_mins(1);
/// For how long keys are kept that nobody looks at.
const LONGEST: Duration = Duration::from_hours(5 * 365 * 24);
/// Attempts to change the keys while others do.
const TRIES: usize = 10;
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{jose, secret::Secret};

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn ring(secrets: &[&str]) -> Arc<KeyRing> {
        let secrets: Vec<_> = secrets
            .iter()
            .map(|secret| Secret::new((*secret).to_owned()))
            .collect();
        Arc::new(KeyRing::new(&secrets, "app.example gate"))
    }

    fn kept(store: &Arc<dyn Store>, secrets: &[&str]) -> KeptKeys {
        let seals = Arc::new(ArcSwap::new(ring(secrets)));
        KeptKeys::new(Arc::clone(store), seals)
    }

    fn verifies(keys: &IssuerKeys, token: &str) -> bool {
        let expected = jose::Expected {
            issuer: "me",
            issues: |issuer, iss| issuer == iss,
            algorithms: &[jose::Algorithm::ES256],
            types: &["at+jwt"],
            audience: jose::Audience::Resource(&["it".to_owned()]),
            max_age: None,
            may_lack_exp: false,
            now: NOW,
        };
        jose::verify(token, &keys.verifier, &expected).is_ok()
    }

    fn signed(keys: &IssuerKeys) -> String {
        let claims = serde_json::json!({"iss": "me", "aud": "it", "exp": NOW.0 + 60});
        keys.sign("at+jwt", &claims)
    }

    #[tokio::test]
    async fn replicas_and_the_next_process_have_the_same_keys_and_they_move_on_by_age() {
        let store: Arc<dyn Store> = Arc::new(kv::Memory::default());
        let (one, two) = (kept(&store, &["a"]), kept(&store, &["a"]));
        let first = one.refresh(DEFAULT_AGE, NOW).await.unwrap();
        let token = signed(&first);
        let seen = two.refresh(DEFAULT_AGE, NOW).await.unwrap();
        assert_eq!(first.published(), seen.published());
        assert_eq!(first.published().len(), 2, "the current and the next");
        assert!(verifies(&seen, &token));

        let later = NOW.after(DEFAULT_AGE);
        let second = two.refresh(DEFAULT_AGE, later).await.unwrap();
        assert_eq!(second.published()[0], first.published()[1], "the next one");
        assert_eq!(second.published()[2], first.published()[0], "the previous");
        // Who has not looked yet knows the key already.
        assert!(verifies(&first, &signed(&second)) && verifies(&second, &token));
        let third = one
            .refresh(DEFAULT_AGE, later.after(DEFAULT_AGE))
            .await
            .unwrap();
        assert!(!verifies(&third, &token));
        assert_eq!(third.published().len(), 3);
    }

    #[tokio::test]
    async fn a_change_of_the_secret_changes_no_key_and_an_unknown_one_does() {
        let store: Arc<dyn Store> = Arc::new(kv::Memory::default());
        let first = kept(&store, &["a"])
            .refresh(DEFAULT_AGE, NOW)
            .await
            .unwrap();
        let second = kept(&store, &["b", "a"]).refresh(DEFAULT_AGE, NOW).await;
        assert_eq!(second.unwrap().published(), first.published());
        let third = kept(&store, &["b"])
            .refresh(DEFAULT_AGE, NOW)
            .await
            .unwrap();
        assert_eq!(third.published(), first.published(), "sealed anew");
        let other = kept(&store, &["c"])
            .refresh(DEFAULT_AGE, NOW)
            .await
            .unwrap();
        assert_ne!(other.published(), first.published());
    }

    #[tokio::test]
    async fn an_operator_moves_them_on_and_those_of_files_stay() {
        let store: Arc<dyn Store> = Arc::new(kv::Memory::default());
        let kept = Arc::new(kept(&store, &["a"]));
        let signing = Signing::new(Vec::new(), &kept, DEFAULT_AGE);
        let first = signing.keys().await.unwrap();
        let second = signing.rotate(clock::now()).await.unwrap().unwrap();
        assert_eq!(second.published()[0], first.published()[1], "the next one");
        assert_eq!(second.published()[2], first.published()[0], "the previous");
        assert_eq!(
            signing.keys().await.unwrap().published(),
            second.published()
        );
        let files = vec![SigningKey::of(&[1; 32]).unwrap()];
        let signing = Signing::new(files, &kept, DEFAULT_AGE);
        assert!(signing.rotate(clock::now()).await.unwrap().is_none());
    }

    #[test]
    fn of_files_the_first_signs_and_all_are_published() {
        let store: Arc<dyn Store> = Arc::new(kv::Memory::default());
        let nothing = Arc::new(kept(&store, &["a"]));
        let files = [[1; 32], [2; 32]].map(|number| SigningKey::of(&number).unwrap());
        let signing = Signing::new(files.into(), &nothing, DEFAULT_AGE);
        let keys = signing.at_hand().unwrap();
        assert_eq!(keys.published().len(), 2);
        assert!(verifies(&keys, &signed(&keys)));
        let signing = Signing::new(Vec::new(), &nothing, DEFAULT_AGE);
        assert!(signing.at_hand().is_none());
    }
}
