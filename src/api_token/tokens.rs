//! API tokens: made, listed, ended, and looked up.
//!
//! A token is valid while the record of its owner has its hash. A second entry, under that hash, names the owner. If a crash comes
//! between the two writes, what is left opens nothing, and one write ends all tokens of an owner.
//!
//! Each process caches a lookup for [`REMEMBERED`]. A token may work that long at another replica after it was ended. Concurrent lookups of
//! one token are merged into one.

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use moka::{future, sync};
use tokio::sync::mpsc;

use super::{
    Facts, Guesses,
    format::{self, Hash, Token},
    record::{Kept, Record},
    settings::{ApiTokenSettings, MOST_DAYS, days, id_of},
};
use crate::{
    clock::Timestamp,
    credential::{Caller, Opener, Proof, Refused, Verified, Voucher},
    identity::{Authentication, Identity},
    kv::{self, Store, Table},
    owner_records::OwnerRecords,
    random,
    session::{
        directory::UserKey,
        revocation::{Revocation, Revocations, Target},
        seal::KeyRing,
    },
    text::Text,
    tokens::Tokens,
};

/// Everybody's API tokens.
pub struct ApiTokens {
    /// Where the uses are.
    store: Arc<dyn Store>,
    records: OwnerRecords<Record>,
    /// By the hash: whose.
    owners: Table<[u8; 16]>,
    /// Up to when everybody's have ended.
    ended: Table<Timestamp>,
    found: future::Cache<Hash, Arc<Option<Found>>>,
    /// Those whose use was noted within the last minute.
    noted: sync::Cache<Hash, ()>,
    uses: mpsc::Sender<Use>,
    /// Ends what tokens have opened, at other replicas too.
    revocations: Arc<Revocations>,
    pub(super) guesses: Arc<Guesses>,
}

/// A token that is known.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) verified: Arc<Verified>,
    pub(super) provider_fingerprint: [u8; 8],
    pub(super) owner_seen_at: Timestamp,
    pub(super) made_at: Timestamp,
    pub(super) expires_at: Timestamp,
    owner: [u8; 16],
}

struct Use {
    owner: [u8; 16],
    hash: Hash,
    at: Timestamp,
    end: Timestamp,
}

/// What somebody wants a token to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What its owner calls it.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// The routes that it is for; all where there are none.
    pub routes: Vec<String>,
    /// How many days it lasts.
    pub days: u32,
}

/// A token that was made. No `Debug`: it is a credential.
pub struct Made {
    /// The text, which nobody can show again.
    pub text: zeroize::Zeroizing<String>,
    /// What is known of it.
    pub listed: Listed,
}

/// What an owner, and an operator, may know of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Names it in addresses and forms.
    pub id: TokenName,
    /// Its first characters.
    pub start: String,
    /// What its owner calls it.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// The routes that it is for; all where there are none.
    pub routes: Vec<String>,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was last used, to the minute.
    pub used_at: Option<Timestamp>,
}

/// Names a token to its owner and to operators: the owner's hash and a part of the token's, no credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenName {
    owner: [u8; 16],
    token: [u8; 8],
}

impl TokenName {
    fn of(owner: [u8; 16], hash: &Hash) -> Self {
        let token = hash.first_chunk();
        Self {
            owner,
            token: *token.expect("a hash has 32 bytes"),
        }
    }

    /// What [`Display`](fmt::Display) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 24] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (owner, token) = bytes.split_first_chunk()?;
        Some(Self {
            owner: *owner,
            token: token.try_into().ok()?,
        })
    }

    /// Whether it is one of that user's.
    pub fn is_of(&self, user: &UserKey) -> bool {
        self.owner == *user.bytes()
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.owner[..], &self.token].concat();
        formatter.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// Why a token cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MakeError {
    /// They have as many as they may have.
    #[error("there are {0} already, which is the most; end one first")]
    TooMany(usize),
    /// Where they are kept does not answer.
    #[error(transparent)]
    Unavailable(#[from] kv::Error),
}

impl ApiTokens {
    /// Those in `store`, sealed under `keys`. What they have opened ends through `revocations`. Uses are noted on the runtime at hand.
    pub fn start(
        store: Arc<dyn Store>,
        keys: Arc<ArcSwap<KeyRing>>,
        revocations: Arc<Revocations>,
        guesses: Arc<Guesses>,
    ) -> Self {
        let (uses, queue) = mpsc::channel(WAITING_USES);
        tokio::spawn(note_uses(Arc::clone(&store), queue));
        Self {
            owners: Table::new(Arc::clone(&store), "api-token-owners", 1),
            ended: Table::new(Arc::clone(&store), "api-tokens-ended", 1),
            records: OwnerRecords::new(Arc::clone(&store), keys),
            store,
            found: future::Cache::builder()
                .max_capacity(FOUND)
                .time_to_live(REMEMBERED)
                .build(),
            noted: sync::Cache::builder()
                .max_capacity(FOUND)
                .time_to_live(MINUTE)
                .build(),
            uses,
            revocations,
            guesses,
        }
    }

    /// Makes a token of whoever `facts` are about.
    ///
    /// # Errors
    /// Why it cannot be.
    pub async fn make(
        &self,
        facts: &Facts,
        wanted: &Wanted,
        settings: &ApiTokenSettings,
        now: Timestamp,
    ) -> Result<Made, MakeError> {
        let text = format::generate(random::bytes());
        let token = Token::parse(&text).expect("what is generated is a token");
        let hash = token.hash();
        let lasts = days(wanted.days.min(settings.max_days));
        let kept = Kept {
            hash,
            start: token.start().to_owned(),
            name: wanted.name.clone(),
            scopes: wanted.scopes.clone(),
            routes: wanted.routes.clone(),
            made_at: now,
            expires_at: now.after(lasts),
        };
        let owner = owner_of(&facts.identity);
        let listed = listed(owner, &kept, None);
        self.owners.put(&hash, &owner, kept.expires_at).await?;
        let ended = self.ended_up_to().await?;
        let changed = self.records.change(owner, now, |record| {
            let mut record = match record {
                Some(mut record) => {
                    record.note(facts, now);
                    record
                }
                None => Record::of(facts, now),
            };
            record.forget_expired(now);
            record.tokens.retain(|kept| kept.made_at > ended);
            if record.tokens.len() >= settings.max_per_user {
                return Err(MakeError::TooMany(record.tokens.len()));
            }
            record.tokens.push(kept.clone());
            Ok(Some(record))
        });
        if let Err(error) = changed.await {
            // It leads nowhere, and ends by itself otherwise.
            let _ = self.owners.take(&hash).await;
            return Err(error);
        }
        self.found.invalidate(&hash).await;
        Ok(Made { text, listed })
    }

    /// The tokens of a user that have not ended, the newest first.
    ///
    /// # Errors
    /// When where they are kept does not answer.
    pub async fn list(&self, user: &UserKey, now: Timestamp) -> Result<Vec<Listed>, kv::Error> {
        let owner = key_of(user);
        let Some(record) = self.records.get(owner).await? else {
            return Ok(Vec::new());
        };
        let ended = self.ended_up_to().await?;
        let uses: HashMap<Vec<u8>, Timestamp> = uses_of(&self.store, &owner)
            .scan(USES)
            .await?
            .into_iter()
            .collect();
        let tokens = record.tokens.iter().rev();
        let tokens = tokens.filter(|kept| now < kept.expires_at && kept.made_at > ended);
        let tokens = tokens.map(|kept| listed(owner, kept, uses.get(&kept.hash[..]).copied()));
        Ok(tokens.collect())
    }

    /// Ends a token. What it was, where there was one.
    ///
    /// # Errors
    /// When where they are kept does not answer: it may not have ended.
    pub async fn end(&self, name: &TokenName, now: Timestamp) -> Result<Option<Listed>, kv::Error> {
        let is_meant = |kept: &Kept| TokenName::of(name.owner, &kept.hash) == *name;
        let ended = self.end_those(name.owner, now, is_meant).await?;
        Ok(ended.into_iter().next())
    }

    /// Ends all of a user's. Which those were.
    ///
    /// # Errors
    /// When where they are kept does not answer: they may not have ended.
    pub async fn end_all(&self, user: &UserKey, now: Timestamp) -> Result<Vec<Listed>, kv::Error> {
        let owner = key_of(user);
        if self.records.remove_shut(owner).await? {
            return Ok(Vec::new());
        }
        self.end_those(owner, now, |_| true).await
    }

    /// Ends everybody's that were made by now.
    ///
    /// # Errors
    /// When where they are kept does not answer: they may not have ended.
    pub async fn end_everybodys(&self, now: Timestamp) -> Result<(), kv::Error> {
        // No token lasts longer.
        let end = now.after(days(MOST_DAYS));
        self.ended.put(EVERYBODY, &now, end).await?;
        self.found.invalidate_all();
        self.revocations.revoke(Revocation {
            target: Target::api_tokens(),
            not_before: now,
        });
        Ok(())
    }

    /// Somebody has signed in, was refreshed, or was turned away: what was said of them counts for their tokens from here on.
    pub async fn note_owner(&self, facts: &Facts, now: Timestamp) {
        let owner = owner_of(&facts.identity);
        let mut hashes = Vec::new();
        let noted = self.records.change(owner, now, |record| {
            let Some(mut record) = record else {
                return Ok::<_, kv::Error>(None);
            };
            record.note(facts, now);
            record.forget_expired(now);
            hashes = record.tokens.iter().map(|kept| kept.hash).collect();
            Ok(Some(record))
        });
        if let Err(error) = noted.await {
            tracing::warn!(%error, "what a login said is not known to its user's API tokens yet");
        }
        for hash in &hashes {
            self.found.invalidate(hash).await;
        }
    }

    /// Looks a token up; once, however many ask. One that there is not counts as often as it comes.
    ///
    /// # Errors
    /// When the client has tried too often, or where they are kept does not answer.
    pub(super) async fn find(
        self: &Arc<Self>,
        hash: &Hash,
        caller: Caller,
    ) -> Result<Arc<Option<Found>>, Refused> {
        let known = self.found.entry_by_ref(hash);
        let entry = known.or_try_insert_with(self.try_one(*hash, caller)).await;
        let entry = entry.map_err(|refused| Refused::clone(&refused))?;
        let is_counted = entry.is_fresh();
        let found = entry.into_value();
        if found.is_none() && !is_counted {
            // It costs no look-up, but a line of the log.
            self.guesses.count(caller, Instant::now())?;
        }
        Ok(found)
    }

    /// Looks up one that is not remembered. It goes on when the client has gone, so that it counts only where there is no such token.
    async fn try_one(
        self: &Arc<Self>,
        hash: Hash,
        caller: Caller,
    ) -> Result<Arc<Option<Found>>, Refused> {
        let one = self.guesses.admit(hash, caller, Instant::now())?;
        let tokens = Arc::clone(self);
        let looked_up = tokio::spawn(async move {
            let found = tokens.look_up(&hash).await;
            match &found {
                // It is one, whatever may be said of it now.
                Ok(Some(_)) => tokens.guesses.was_good(&one),
                Ok(None) => tokens.guesses.forget(&hash),
                Err(_) => tokens.guesses.give_back(&one),
            }
            found
        });
        let lost = |_| Refused::Unavailable("the look-up of it was lost".to_owned());
        let found = looked_up.await.map_err(lost)?;
        let unavailable = |error: kv::Error| Refused::Unavailable(error.to_string());
        found.map(Arc::new).map_err(unavailable)
    }

    async fn look_up(&self, hash: &Hash) -> Result<Option<Found>, kv::Error> {
        let Some(owner) = self.owners.get(hash).await? else {
            return Ok(None);
        };
        let Some(record) = self.records.get(owner).await? else {
            return Ok(None);
        };
        let kept = record.tokens.iter().find(|kept| kept.hash == *hash);
        let (Some(kept), Some(facts)) = (kept, record.facts()) else {
            return Ok(None);
        };
        if kept.made_at <= self.ended_up_to().await? {
            return Ok(None);
        }
        let texts = |list: &[String]| -> Vec<Text> {
            list.iter().map(|text| text.as_str().into()).collect()
        };
        let routes = texts(&kept.routes);
        let verified = Verified {
            identity: Identity {
                // A login makes a session fresh, and no token.
                authentication: Authentication::default(),
                ..facts.identity
            },
            tokens: Tokens::default(),
            proof: Proof::ApiToken,
            scopes: Some(texts(&kept.scopes)),
            client: Some(kept.start.as_str().into()),
            expires_at: Some(kept.expires_at),
            voucher: Voucher::of(Proof::ApiToken),
            routes: (!routes.is_empty()).then_some(routes),
            grant: None,
            opener: Some(Opener::ApiToken {
                id: id_of(hash),
                made_at: kept.made_at,
            }),
        };
        Ok(Some(Found {
            verified: Arc::new(verified),
            provider_fingerprint: facts.provider_fingerprint,
            owner_seen_at: record.seen_at,
            made_at: kept.made_at,
            expires_at: kept.expires_at,
            owner,
        }))
    }

    /// A token was used. Usually nothing but a comparison: it is written down once a minute, and behind the request's back.
    pub(super) fn note_use(&self, hash: &Hash, found: &Found, now: Timestamp) {
        if self.noted.contains_key(hash) {
            return;
        }
        self.noted.insert(*hash, ());
        // When too many wait, this one waits for its next minute.
        let _ = self.uses.try_send(Use {
            owner: found.owner,
            hash: *hash,
            at: now,
            end: found.expires_at,
        });
    }

    async fn ended_up_to(&self) -> Result<Timestamp, kv::Error> {
        let ended = self.ended.get(EVERYBODY).await?;
        Ok(ended.unwrap_or_default())
    }

    async fn end_those(
        &self,
        owner: [u8; 16],
        now: Timestamp,
        is_meant: impl Fn(&Kept) -> bool,
    ) -> Result<Vec<Listed>, kv::Error> {
        let mut ended = Vec::new();
        let changed = self.records.change(owner, now, |record| {
            let Some(mut record) = record else {
                return Ok::<_, kv::Error>(None);
            };
            ended = record
                .tokens
                .iter()
                .filter(|kept| is_meant(kept))
                .cloned()
                .collect();
            record.tokens.retain(|kept| !is_meant(kept));
            Ok(Some(record))
        });
        changed.await?;
        let uses = uses_of(&self.store, &owner);
        for kept in &ended {
            self.found.invalidate(&kept.hash).await;
            self.guesses.forget(&kept.hash);
            self.revocations.revoke(Revocation {
                target: Target::Grant(id_of(&kept.hash)),
                not_before: now,
            });
            // They mean nothing any more, and end by themselves otherwise.
            let _ = self.owners.take(&kept.hash).await;
            let _ = uses.take(&kept.hash).await;
        }
        Ok(ended.iter().map(|kept| listed(owner, kept, None)).collect())
    }
}

fn owner_of(identity: &Identity) -> [u8; 16] {
    key_of(&UserKey::of(identity))
}

fn key_of(user: &UserKey) -> [u8; 16] {
    *user.bytes()
}

/// When each of an owner's tokens was used, by its hash.
fn uses_of(store: &Arc<dyn Store>, owner: &[u8; 16]) -> Table<Timestamp> {
    let owner = URL_SAFE_NO_PAD.encode(owner);
    Table::new(Arc::clone(store), format!("api-token-uses/{owner}"), 1)
}

fn listed(owner: [u8; 16], kept: &Kept, used_at: Option<Timestamp>) -> Listed {
    Listed {
        id: TokenName::of(owner, &kept.hash),
        start: kept.start.clone(),
        name: kept.name.clone(),
        scopes: kept.scopes.clone(),
        routes: kept.routes.clone(),
        made_at: kept.made_at,
        expires_at: kept.expires_at,
        used_at,
    }
}

async fn note_uses(store: Arc<dyn Store>, mut queue: mpsc::Receiver<Use>) {
    while let Some(one) = queue.recv().await {
        let minute = Timestamp(one.at.0 - one.at.0 % MINUTE.as_secs());
        let uses = uses_of(&store, &one.owner);
        if let Err(error) = uses.put(&one.hash, &minute, one.end).await {
            tracing::debug!(%error, "that a token was used is not known yet");
        }
    }
}

/// How long what was found is remembered.
pub const REMEMBERED: Duration = Duration::from_secs(3);
/// Tokens that are remembered, about a kilobyte each.
const FOUND: u64 = 20_000;
/// Uses that wait to be written down.
const WAITING_USES: usize = 4_096;
/// Uses of one owner that are read: more than anybody may have tokens.
const USES: usize = 1_024;
/// The name of what is not anybody's own.
const EVERYBODY: &[u8] = b"everybody";
/// How exactly the last use is known, and how often it is written down.
const MINUTE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests;
