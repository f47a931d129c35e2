//! What users have beside their sessions: one record for each owner, sealed, and changed by compare-and-set.
//!
//! If two change a record at once, one is first, and the other sees its change. A reader of the store learns nothing. A record that
//! cannot be decrypted here is left as it is: during a rotation of secrets another replica may have the new one already, or still the old one, and its
//! data must not be lost. It may be replaced once no other replica seals by a secret that this one has not.

use std::{marker::PhantomData, sync::Arc};

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::{
    clock::Timestamp,
    kv::{self, Key, Store, Value},
    random,
    session::seal::{KeyRing, Purpose},
};

/// What one owner has.
pub trait OwnerRecord: Sized {
    /// The group of its keys in the store.
    const GROUP: &'static str;
    /// What it is sealed for.
    const PURPOSE: Purpose;
    /// What it holds, as messages name it.
    const HOLDS: &'static str;

    /// When nothing of it counts any more; none where there is nothing in it.
    fn end(&self) -> Option<Timestamp>;
    /// As bytes.
    fn encode(&self) -> Vec<u8>;
    /// What [`encode`](Self::encode) wrote.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// Everybody's records of one kind.
pub struct OwnerRecords<R> {
    store: Arc<dyn Store>,
    keys: Arc<ArcSwap<KeyRing>>,
    /// Whether another replica may open what this one cannot.
    others_may_open: Arc<dyn Fn() -> bool + Send + Sync>,
    kind: PhantomData<fn() -> R>,
}

/// A record as it is kept; opened, where it opens here.
struct Read<R> {
    sealed: Bytes,
    opened: Option<R>,
}

impl<R: OwnerRecord> OwnerRecords<R> {
    /// Those in `store`, sealed under `keys`.
    pub fn new(store: Arc<dyn Store>, keys: Arc<ArcSwap<KeyRing>>) -> Self {
        Self {
            store,
            keys,
            others_may_open: Arc::new(|| false),
            kind: PhantomData,
        }
    }

    /// The same beside replicas, which may open what this one cannot while `others_may_open` says so.
    #[must_use]
    pub fn beside(self, others_may_open: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            others_may_open: Arc::new(others_may_open),
            ..self
        }
    }

    /// The record of an owner; none where there is none, or where it does not open here.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn get(&self, owner: [u8; 16]) -> Result<Option<R>, kv::Error> {
        Ok(self.read(owner).await?.and_then(|read| read.opened))
    }

    /// Changes the record of an owner, over again where somebody else was faster. Nothing is changed where `change` gives none.
    ///
    /// # Errors
    /// When the store does not answer, the record does not open here, others are always faster, or `change` says so.
    pub async fn change<E: From<kv::Error>>(
        &self,
        owner: [u8; 16],
        now: Timestamp,
        change: impl FnMut(Option<R>) -> Result<Option<R>, E>,
    ) -> Result<(), E> {
        self.change_where(owner, now, false, change).await
    }

    /// The same, but a record that nobody can open any more counts as none: what `change` gives takes its place.
    ///
    /// # Errors
    /// As for [`change`](Self::change); a record that does not open here while another replica may open it.
    pub async fn change_or_replace<E: From<kv::Error>>(
        &self,
        owner: [u8; 16],
        now: Timestamp,
        change: impl FnMut(Option<R>) -> Result<Option<R>, E>,
    ) -> Result<(), E> {
        self.change_where(owner, now, true, change).await
    }

    async fn change_where<E: From<kv::Error>>(
        &self,
        owner: [u8; 16],
        now: Timestamp,
        replaces: bool,
        mut change: impl FnMut(Option<R>) -> Result<Option<R>, E>,
    ) -> Result<(), E> {
        for _ in 0..TRIES {
            let (sealed, record) = match self.read(owner).await? {
                None => (None, None),
                Some(Read {
                    sealed,
                    opened: Some(record),
                }) => (Some(sealed), Some(record)),
                Some(Read {
                    sealed,
                    opened: None,
                }) if replaces && !(self.others_may_open)() => {
                    tracing::warn!(
                        "a user's {} are replaced: no secret opens them any more",
                        R::HOLDS
                    );
                    (Some(sealed), None)
                }
                Some(Read { opened: None, .. }) => {
                    return Err(kv::Error(format!(
                        "the {} of this user do not open: put the earlier session.secret on its list, or end them all",
                        R::HOLDS
                    ))
                    .into());
                }
            };
            let Some(record) = change(record)? else {
                return Ok(());
            };
            let end = record.end().filter(|end| now < *end);
            let new = end.map(|end| Value {
                bytes: self.seal(owner, &record),
                end,
            });
            if self.store.swap(Self::key(owner), sealed, new).await? {
                return Ok(());
            }
        }
        let message = format!("too many changes of one user's {} at once", R::HOLDS);
        Err(kv::Error(message).into())
    }

    /// Takes away a record that does not open here. Whether there was one.
    ///
    /// # Errors
    /// When the store does not answer, or the record was changed meanwhile.
    pub async fn remove_shut(&self, owner: [u8; 16]) -> Result<bool, kv::Error> {
        let Some(Read {
            sealed,
            opened: None,
        }) = self.read(owner).await?
        else {
            return Ok(false);
        };
        if self
            .store
            .swap(Self::key(owner), Some(sealed), None)
            .await?
        {
            Ok(true)
        } else {
            Err(kv::Error("it was changed meanwhile".to_owned()))
        }
    }

    async fn read(&self, owner: [u8; 16]) -> Result<Option<Read<R>>, kv::Error> {
        let Some(sealed) = self.store.get(Self::key(owner)).await? else {
            return Ok(None);
        };
        let plain = self.keys.load().open(R::PURPOSE, &owner, &sealed);
        let opened = plain.and_then(|plain| R::decode(&plain));
        if opened.is_none() {
            tracing::warn!(
                "a user's {} do not open, and count for nothing: session.secret has changed, and the earlier one is not on \
                 its list",
                R::HOLDS
            );
        }
        Ok(Some(Read { sealed, opened }))
    }

    fn seal(&self, owner: [u8; 16], record: &R) -> Bytes {
        let plain = record.encode();
        let keys = self.keys.load();
        keys.seal(R::PURPOSE, &owner, &plain, random::bytes())
            .into()
    }

    fn key(owner: [u8; 16]) -> Key {
        Key::new(R::GROUP, owner)
    }
}

/// How often a change is tried that others were faster with.
const TRIES: usize = 50;
