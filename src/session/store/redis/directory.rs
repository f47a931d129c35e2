//! Who is signed in where, in Redis: each replica lists the sessions that any of them has seen.
//!
//! A user is a hash under a name that is derived from the gate's secret. Each session is a field of it, sealed under the gate's own keys and
//! bound to its place. A reader of Redis learns how many sessions a user has, but not which user, and not where. When the secret is
//! rotated the names change, and sessions in use are listed again within a minute.
//!
//! Updates are sent in the background. If one is lost, the next use of the session sends it again a minute later.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use redis::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::script;
use crate::{
    hex::hex,
    random,
    redis::link::Link,
    session::{
        StoreError,
        directory::{Activity, Entry, SessionIndex, SessionName, UserKey},
        seal::{KeyRing, Purpose},
    },
};

/// A directory that replicas share.
pub struct RedisDirectory {
    shelf: Arc<Shelf>,
    queue: mpsc::Sender<Entry>,
}

/// Where entries are, and how they are sealed.
pub(super) struct Shelf {
    pub(super) link: Arc<Link>,
    pub(super) keys: Arc<ArcSwap<KeyRing>>,
    /// Tells one gate's users from another's.
    pub(super) gate: String,
    /// For how long a user is remembered who is not seen.
    pub(super) kept: std::time::Duration,
}

impl RedisDirectory {
    /// The directory, and what tells Redis until it is stopped.
    pub(super) fn new(shelf: Shelf, stop: CancellationToken) -> (Self, impl Future<Output = ()>) {
        let shelf = Arc::new(shelf);
        let (queue, waiting) = mpsc::channel(WAITING);
        let telling = Arc::clone(&shelf).tell(waiting);
        let directory = Self { shelf, queue };
        (directory, async move {
            let _ = stop.run_until_cancelled(telling).await;
        })
    }
}

impl Shelf {
    fn user_key(&self, user: &UserKey) -> String {
        let input = [self.gate.as_bytes(), user.bytes()].concat();
        let name = self.keys.load().derive("directory", &input);
        format!("sidegate:{{{}}}:user", hex(&name[..16]))
    }

    async fn tell(self: Arc<Self>, mut waiting: mpsc::Receiver<Entry>) {
        while let Some(entry) = waiting.recv().await {
            if let Err(error) = self.put(&entry).await {
                tracing::debug!(%error, "a session is not listed yet");
            }
        }
    }

    async fn put(&self, entry: &Entry) -> Result<(), StoreError> {
        let name = entry.name();
        let (key, field) = (self.user_key(name.user()), field(&name));
        let sealed = self.seal(entry, &field)?;
        let kept = self.kept.as_millis().to_string();
        let arguments: [&[u8]; 3] = [field.as_bytes(), sealed.as_bytes(), kept.as_bytes()];
        let count = self.link.run(&script::LIST, &key, &arguments).await?;
        if matches!(count, Value::Int(count) if count > PER_USER) {
            self.drop_oldest(&key).await?;
        }
        Ok(())
    }

    /// Makes room: those not seen for longest go first, and whatever does not open.
    async fn drop_oldest(&self, key: &str) -> Result<(), StoreError> {
        let mut fields = self.fields(key).await?;
        fields.sort_by_key(|(_, entry)| entry.as_ref().map(|entry| entry.seen_at));
        let surplus = fields.len().saturating_sub(KEPT_PER_USER);
        let mut command = redis::cmd("HDEL");
        command.arg(key);
        for (field, _) in &fields[..surplus] {
            command.arg(field);
        }
        Ok(self.link.send(&command).await.map(drop)?)
    }

    async fn fields(&self, key: &str) -> Result<Vec<(String, Option<Entry>)>, StoreError> {
        let mut command = redis::cmd("HGETALL");
        command.arg(key);
        let pairs: Vec<(String, String)> = redis::from_redis_value(self.link.send(&command).await?)
            .map_err(|_| StoreError("no list where a list should be".to_owned()))?;
        let open = |(field, sealed): (String, String)| {
            let entry = self.open(&field, &sealed);
            (field, entry)
        };
        Ok(pairs.into_iter().map(open).collect())
    }

    fn seal(&self, entry: &Entry, field: &str) -> Result<String, StoreError> {
        let written = postcard::to_allocvec(&(VERSION, entry));
        let plain = written.map_err(|error| StoreError(error.to_string()))?;
        let binding = field.as_bytes();
        Ok(self
            .keys
            .load()
            .seal(Purpose::SessionIndex, binding, &plain, random::bytes()))
    }

    fn open(&self, field: &str, sealed: &str) -> Option<Entry> {
        let plain = self
            .keys
            .load()
            .open(Purpose::SessionIndex, field.as_bytes(), sealed)?;
        let rest = plain.strip_prefix(&[VERSION])?;
        postcard::from_bytes(rest).ok()
    }
}

/// Of the name only what is the session's: the user's hash could be guessed.
fn field(name: &SessionName) -> String {
    hex(name.session())
}

impl SessionIndex for RedisDirectory {
    fn note(&self, sighting: &Activity<'_>) {
        // When too many wait, this one waits for its next minute.
        let _ = self.queue.try_send(Entry::of(sighting));
    }

    fn list<'a>(&'a self, user: &'a UserKey) -> BoxFuture<'a, Result<Vec<Entry>, StoreError>> {
        Box::pin(async move {
            let fields = self.shelf.fields(&self.shelf.user_key(user)).await?;
            Ok(fields.into_iter().filter_map(|(_, entry)| entry).collect())
        })
    }

    fn forget<'a>(&'a self, name: &'a SessionName) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let mut command = redis::cmd("HDEL");
            let key = self.shelf.user_key(name.user());
            command.arg(key).arg(field(name));
            Ok(self.shelf.link.send(&command).await.map(drop)?)
        })
    }
}

/// How an entry is written.
const VERSION: u8 = 1;
/// Updates that wait for Redis.
const WAITING: usize = 4_096;
/// Sessions of one user at which old entries are removed, ended ones included.
const PER_USER: i64 = 100;
/// Sessions of one user that are left then.
const KEPT_PER_USER: usize = 50;
