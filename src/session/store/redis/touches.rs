//! Idle ends moved in the background: no request waits for it, and a busy session is said to be busy once a second.
//!
//! The answer also says whether the copy here is still what Redis has.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use redis::Value;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::{copies::Copies, layout::Name, link::Link, script};
use crate::{clock, clock::Timestamp, session::store::Id};

/// Sessions that were used, and when.
#[derive(Default)]
pub(super) struct Touches(Mutex<HashMap<Id, Timestamp>>);

impl Touches {
    /// The session was used.
    pub(super) fn add(&self, id: &Id, now: Timestamp) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MOST || waiting.contains_key(id) {
            let latest = waiting.entry(*id).or_insert(now);
            *latest = now.max(*latest);
        }
    }

    fn take(&self) -> Vec<(Id, Timestamp)> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *waiting).into_iter().collect()
    }
}

/// Tells Redis, until stopped; then once more.
pub(super) async fn run(
    touches: Arc<Touches>,
    link: Arc<Link>,
    copies: Arc<Copies>,
    idle_timeout: Duration,
    stop: CancellationToken,
) {
    let mut beat = interval(BEAT);
    let mut is_over = false;
    while !is_over {
        tokio::select! {
            _ = beat.tick() => {}
            () = stop.cancelled() => is_over = true,
        }
        // While it is down they gather; each session once.
        if !link.is_up() {
            continue;
        }
        for some in touches.take().chunks(AT_ONCE) {
            join_all(some.iter().map(|(id, seen_at)| async {
                match touch(&link, Name::of(id), *seen_at, idle_timeout).await {
                    Some((asked_at, generation)) => copies.compare(id, generation, asked_at),
                    None => touches.add(id, *seen_at),
                }
            }))
            .await;
        }
    }
}

/// When it was asked and what generation was there; nothing where Redis did not answer.
async fn touch(
    link: &Link,
    name: Name,
    seen_at: Timestamp,
    idle_timeout: Duration,
) -> Option<(Timestamp, Option<u64>)> {
    let asked_at = clock::now();
    let (key, idle) = (name.session_key(), idle_timeout.as_secs().to_string());
    let (bytes, text) = (seen_at.0.to_be_bytes(), seen_at.0.to_string());
    let arguments: [&[u8]; 3] = [&bytes, text.as_bytes(), idle.as_bytes()];
    let answer = link.run(&script::TOUCH, &key, &arguments).await.ok()?;
    let generation = match answer {
        Value::BulkString(bytes) => Some(u64::from_be_bytes(bytes.try_into().ok()?)),
        _ => None,
    };
    Some((asked_at, generation))
}

/// How often Redis is told.
const BEAT: Duration = Duration::from_secs(1);
/// Commands sent together.
const AT_ONCE: usize = 64;
/// Sessions whose use is remembered; of those beyond, the next use is.
const MOST: usize = 100_000;
