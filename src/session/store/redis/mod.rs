//! Sessions in Redis or Valkey, shared by all replicas.
//!
//! Redis holds ciphertext under hashed names, and expires what is not used. Requests of a busy session do not go to Redis: a cached copy
//! serves them ([`record_cache`]) while changes are received ([`subscription`]), and their use is reported in the background
//! ([`last_seen`]). Revocations have a log of their own ([`revocation_log`]). While Redis does not answer, a recent copy serves, and all
//! other requests get 503: nobody is let in, or signed out, because Redis is away.

mod directory;
mod last_seen;
mod layout;
mod record_cache;
mod revocation_log;
mod script;
mod secrets;
mod subscription;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use futures_util::future::BoxFuture;
use redis::Value;
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

pub use self::directory::RedisDirectory;
use self::{
    directory::Shelf,
    last_seen::LastSeenWriter,
    layout::{Message, Name, Stored},
    record_cache::{RecordCache, has_ended},
    revocation_log::RevocationLog,
    secrets::Secrets,
    subscription::{Listener, Subscription},
};
use super::{Found, Record, Store};
use crate::{
    clock::Timestamp,
    hex::hex,
    kv,
    redis::{
        RedisCounts, RedisState, Unanswered,
        address::RedisAddress,
        dial::Dialer,
        link::{self, Link},
    },
    session::{
        Id, LONGEST_LIFETIME, Lifetimes, StoreError,
        revocation::{Feeds, GRANTS_KEPT, Kind, Revocation, Revocations},
        seal::{Fingerprint, KeyRing},
    },
};

/// A store that replicas share.
pub struct Redis {
    link: Arc<Link>,
    record_cache: Arc<RecordCache>,
    subscription: Arc<Subscription>,
    last_seen: Arc<LastSeenWriter>,
    secrets: Arc<Secrets>,
    /// Tells one gate's replicas from another's.
    gate: String,
    channel: String,
    lifetimes: Lifetimes,
    /// What tells Redis of things, and has to come to its end.
    telling: TaskTracker,
    stop: CancellationToken,
    /// Ends what only listens.
    _listening: DropGuard,
}

impl Redis {
    /// Begins to connect, on the runtime at hand, and goes on for as long as this lives. `gate` tells one gate's replicas
    /// from those of others that use the same Redis; revocations of these replicas, and no others, are shared. `secrets` are those of [`KeyRing::fingerprints`], compared with
    /// the other replicas'.
    pub fn start(
        address: &RedisAddress,
        gate: &str,
        lifetimes: Lifetimes,
        revocations: &Arc<Revocations>,
        secrets: Vec<Fingerprint>,
    ) -> Arc<Self> {
        let dialer = Arc::new(Dialer::new(address.clone()));
        let (link, keeper) = link::link(Arc::clone(&dialer));
        let link = Arc::new(link);
        let gate = name_of(gate);
        let channel = format!("sidegate:{gate}:changes");
        let own_channel = format!("sidegate:{gate}:beat:{}", hex(&crate::random::bytes::<8>()));
        let record_cache = Arc::new(RecordCache::new(lifetimes.idle_timeout));
        let subscription = Arc::<Subscription>::default();
        let last_seen = Arc::new(LastSeenWriter::new(lifetimes.idle_timeout));
        let secrets = Arc::new(Secrets::new(secrets));
        let secrets_key = format!("sidegate:{gate}:secrets");
        let missed = Arc::<Notify>::default();
        let revocation_logs = KINDS.map(|kind| RevocationLog {
            link: Arc::clone(&link),
            key: format!(
                "sidegate:{gate}:revocations{}",
                revocation_log::suffix(kind)
            ),
            kind,
            channel: channel.clone(),
            revocations: Arc::clone(revocations),
            lifetime: match kind {
                Kind::Vouched | Kind::Unsigned => lifetimes.lifetime + Duration::from_mins(1),
                Kind::Grants => GRANTS_KEPT,
            },
            kept: match kind {
                // Another replica, or this one before, may have made longer sessions.
                Kind::Vouched | Kind::Unsigned => LONGEST_LIFETIME + Duration::from_mins(1),
                Kind::Grants => GRANTS_KEPT,
            },
            last_sent: Arc::default(),
        });
        revocations.mark_unsynced();
        let queues = tell(revocations);

        let (telling, stop) = (TaskTracker::new(), CancellationToken::new());
        for (revocation_log, queue) in revocation_logs.iter().zip(queues) {
            telling.spawn(revocation_log.clone().tell(queue, stop.clone()));
        }
        telling.spawn(last_seen::run(
            Arc::clone(&last_seen),
            Arc::clone(&link),
            Arc::clone(&record_cache),
            lifetimes.idle_timeout,
            stop.clone(),
        ));
        let listening = CancellationToken::new();
        let listener = Listener {
            dialer,
            channel: channel.clone(),
            own_channel: own_channel.clone(),
            subscription: Arc::clone(&subscription),
            record_cache: Arc::clone(&record_cache),
            revocations: Arc::clone(revocations),
            missed: Arc::clone(&missed),
        };
        let beat = subscription::beat(Arc::clone(&link), own_channel);
        let learn = revocation_log::learn(revocation_logs, missed);
        let compare = secrets::compare(Arc::clone(&secrets), Arc::clone(&link), secrets_key);
        tokio::spawn(listening.clone().run_until_cancelled_owned(async move {
            tokio::join!(keeper.run(), listener.run(), beat, learn, compare);
        }));
        Arc::new(Self {
            link,
            record_cache,
            subscription,
            last_seen,
            secrets,
            gate,
            channel,
            lifetimes,
            telling,
            stop,
            _listening: listening.drop_guard(),
        })
    }

    /// Who is signed in where, as all replicas see it, sealed under `keys`. Call it on the runtime that this was started on.
    pub fn directory(&self, keys: Arc<ArcSwap<KeyRing>>) -> RedisDirectory {
        let shelf = Shelf {
            link: Arc::clone(&self.link),
            keys,
            gate: self.channel.clone(),
            kept: self.lifetimes.idle_timeout + Duration::from_mins(1),
        };
        let (directory, telling) = RedisDirectory::new(shelf, self.stop.clone());
        self.telling.spawn(telling);
        directory
    }

    /// Whether another replica may open what this one cannot, as far as is known: it seals by a secret that this one has not.
    pub fn others_may_open(&self) -> bool {
        self.secrets.may_differ()
    }

    /// What has to be remembered beside sessions, as all replicas see it.
    pub fn state(&self) -> Arc<dyn kv::Store> {
        Arc::new(RedisState {
            link: Arc::clone(&self.link),
            gate: self.gate.clone(),
        })
    }

    /// What is counted for all replicas.
    pub fn counts(&self) -> RedisCounts {
        RedisCounts {
            link: Arc::clone(&self.link),
            prefix: format!("sidegate:{}:limit:", self.gate),
        }
    }

    /// Compares these with the other replicas' from here on.
    pub fn adopt_secrets(&self, secrets: Vec<Fingerprint>) {
        self.secrets.adopt(secrets);
    }

    /// Tells Redis what it still has to know, as far as it takes it within a moment.
    pub async fn finish(&self) {
        self.stop.cancel();
        self.telling.close();
        if timeout(FINISH, self.telling.wait()).await.is_err() {
            tracing::warn!("Redis is away: what was not sent to it yet is lost");
        }
    }

    async fn fetch(&self, id: &Id, now: Timestamp) -> Result<Option<Found>, StoreError> {
        let name = Name::of(id);
        let before = self.record_cache.before(name);
        let mut command = redis::cmd("GET");
        command.arg(name.session_key());
        let bytes = match self.link.send(&command).await? {
            Value::BulkString(bytes) => bytes,
            Value::Nil => {
                self.record_cache.remove(id);
                return Ok(None);
            }
            // Not the word that there is none, on which somebody is logged out.
            _ => return Err(StoreError("no answer to the question".to_owned())),
        };
        let stored = Stored::decode(&bytes)
            .ok_or_else(|| StoreError("a record that this version cannot read".to_owned()))?;
        let Stored { end, seen_at, .. } = stored;
        if has_ended(end, seen_at, self.lifetimes.idle_timeout, now) {
            self.record_cache.remove(id);
            return Ok(None);
        }
        self.record_cache.keep(id, &stored, now, before);
        if seen_at < now {
            self.last_seen.add(id, now);
        }
        Ok(Some(Found {
            record: stored.record,
            seen_at,
        }))
    }

    fn copy<T>(
        &self,
        id: &Id,
        now: Timestamp,
        read: impl FnOnce(&Record, Timestamp) -> Option<T>,
    ) -> Option<T> {
        let worth = self.subscription.worth(|| self.link.is_up(), now);
        let (found, seen_at) = self.record_cache.find(id, worth, now, |record, seen_at| {
            Some((read(record, seen_at)?, seen_at))
        })?;
        if seen_at < now {
            self.last_seen.add(id, now);
        }
        Some(found)
    }

    async fn put(
        &self,
        id: &Id,
        record: Record,
        end: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let name = Name::of(id);
        let rest = end.since(now).min(self.lifetimes.idle_timeout);
        if rest.is_zero() {
            return Ok(());
        }
        let before = self.record_cache.before(name);
        let stored = Stored {
            record,
            end,
            seen_at: now,
        };
        let rest = rest.as_millis().to_string();
        let generation = stored.record.generation.to_be_bytes();
        let value = stored.encode();
        let arguments: [&[u8]; 3] = [&value, &generation, rest.as_bytes()];
        let answer = self
            .link
            .run(&script::CREATE, &name.session_key(), &arguments)
            .await?;
        if answer == Value::Int(1) {
            self.record_cache.keep(id, &stored, now, before);
        }
        Ok(())
    }

    async fn swap(&self, id: &Id, record: Record, now: Timestamp) -> Result<bool, StoreError> {
        let name = Name::of(id);
        let idle = self.lifetimes.idle_timeout.as_secs().to_string();
        let text = now.0.to_string();
        let arguments: [&[u8]; 7] = [
            &record.generation.to_be_bytes(),
            &record.sealed,
            &now.0.to_be_bytes(),
            text.as_bytes(),
            idle.as_bytes(),
            self.channel.as_bytes(),
            &Message::Changed(name).encode(),
        ];
        let answer = self
            .link
            .run(&script::REPLACE, &name.session_key(), &arguments)
            .await;
        self.record_cache.forget(name);
        Ok(answer? == Value::Int(1))
    }

    async fn delete(&self, id: &Id) -> Result<(), StoreError> {
        let name = Name::of(id);
        self.record_cache.forget(name);
        let message = Message::Changed(name).encode();
        let arguments: [&[u8]; 2] = [self.channel.as_bytes(), &message];
        let answer = self
            .link
            .run(&script::REMOVE, &name.session_key(), &arguments)
            .await;
        // What was on its way here meanwhile.
        self.record_cache.forget(name);
        Ok(answer.map(drop)?)
    }
}

impl From<Unanswered> for StoreError {
    fn from(error: Unanswered) -> Self {
        Self(error.0)
    }
}

impl Store for Redis {
    fn at_hand(
        &self,
        id: &Id,
        now: Timestamp,
        read: &mut dyn FnMut(&[u8], Timestamp) -> bool,
    ) -> bool {
        self.copy(id, now, |record, seen_at| {
            read(&record.sealed, seen_at).then_some(())
        })
        .is_some()
    }

    /// A copy that was compared with the record within the last minute vouches when Redis does not answer.
    fn load<'a>(
        &'a self,
        id: &'a Id,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Found>, StoreError>> {
        Box::pin(async move {
            match self.fetch(id, now).await {
                Err(error) => {
                    let vouching = self.record_cache.find(
                        id,
                        record_cache::Freshness::Offline,
                        now,
                        |record, seen_at| Some(Found::of(record, seen_at)),
                    );
                    vouching.map(Some).ok_or(error)
                }
                outcome => outcome,
            }
        })
    }

    fn reload<'a>(
        &'a self,
        id: &'a Id,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Found>, StoreError>> {
        Box::pin(self.fetch(id, now))
    }

    fn create<'a>(
        &'a self,
        id: &'a Id,
        record: Record,
        end: Timestamp,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.put(id, record, end, now))
    }

    fn replace<'a>(
        &'a self,
        id: &'a Id,
        record: Record,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.swap(id, record, now))
    }

    fn remove<'a>(&'a self, id: &'a Id) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.delete(id))
    }

    fn lease<'a>(
        &'a self,
        id: &'a Id,
        holder: &'a Id,
        lasts: Duration,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let key = Name::of(id).lease_key();
            let lasts = lasts.as_millis().to_string();
            let arguments: [&[u8]; 2] = [holder, lasts.as_bytes()];
            let answer = self.link.run(&script::LEASE, &key, &arguments).await?;
            Ok(answer == Value::Int(1))
        })
    }

    fn release<'a>(&'a self, id: &'a Id, holder: &'a Id) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let key = Name::of(id).lease_key();
            // It ends by itself otherwise.
            let _ = self.link.run(&script::RELEASE, &key, &[holder]).await;
        })
    }

    fn is_ready(&self) -> bool {
        self.link.is_up()
    }

    fn is_away(&self) -> bool {
        self.link.is_away()
    }

    fn refuses(&self) -> bool {
        self.link.refuses()
    }

    fn secrets_differ(&self) -> bool {
        self.secrets.differ()
    }
}

fn name_of(gate: &str) -> String {
    hex(&digest::digest(&digest::SHA256, gate.as_bytes()).as_ref()[..8])
}

/// Gives revocations a queue of each of the [`KINDS`] from here on.
fn tell(revocations: &Revocations) -> [mpsc::Receiver<Revocation>; 3] {
    let (vouched, queue) = mpsc::channel(WAITING_REVOCATIONS);
    let (unsigned, unsigned_queue) = mpsc::channel(WAITING_UNSIGNED);
    let (grants, grants_queue) = mpsc::channel(WAITING_GRANTS);
    revocations.tell(Feeds {
        vouched,
        unsigned,
        grants,
    });
    [queue, unsigned_queue, grants_queue]
}

/// In the order of their queues.
const KINDS: [Kind; 3] = [Kind::Vouched, Kind::Unsigned, Kind::Grants];
/// Revocations that may wait for Redis; a hundred bytes each.
const WAITING_REVOCATIONS: usize = 100_000;
/// The same for unsigned ones. Beyond, they are refused.
const WAITING_UNSIGNED: usize = 10_000;
/// The same for those of access tokens. Beyond, other replicas learn of them late.
const WAITING_GRANTS: usize = 10_000;
/// How long a stop waits for what is still to be sent to Redis.
const FINISH: Duration = Duration::from_secs(2);
