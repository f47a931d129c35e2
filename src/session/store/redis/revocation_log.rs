//! Revocations, sent to other replicas and received from them.
//!
//! They are in three sorted sets, one of each kind, numbered in the order in which Redis stored them. Each revocation is in its set, or is
//! still being sent. Those of others are received at once by message, and read every two seconds. So a lost message loses no revocation. A
//! read ([`reading`]) continues behind the newest known entry. If that entry is not where it was, the set is another one (after a
//! failover or a restart), or was trimmed. Then all of it is read again, and missing entries are sent again.

mod reading;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::Value;
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

pub(super) use self::reading::learn;
use super::{
    layout::{ACCESS_TOKENS, EVERYBODY, Message, encode_revocation},
    script,
};
use crate::{
    clock::{self, Timestamp},
    redis::link::Link,
    session::{
        StoreError,
        revocation::{Kind, Revocation, Revocations, Target},
    },
};

/// What follows the key's name.
pub(super) fn suffix(kind: Kind) -> &'static str {
    match kind {
        Kind::Vouched => "",
        Kind::Unsigned => ":unauthenticated",
        Kind::Grants => ":grants",
    }
}

/// A set of revocations of one gate's replicas.
#[derive(Clone)]
pub(super) struct RevocationLog {
    pub(super) link: Arc<Link>,
    pub(super) kind: Kind,
    pub(super) key: String,
    pub(super) channel: String,
    pub(super) revocations: Arc<Revocations>,
    /// For how long one counts.
    pub(super) lifetime: Duration,
    /// For how long the set is kept after the last one.
    pub(super) kept: Duration,
    /// What was told last, until it was seen to be there.
    pub(super) last_sent: Arc<Mutex<Option<Vec<u8>>>>,
}

/// What a set lets go of.
struct Retention {
    /// How many there may be.
    most: u64,
    /// What a revocation begins with that takes the place of the oldest beyond that; none where those stay.
    beyond: Option<u8>,
    /// The same for those that count no more.
    aged: Option<u8>,
}

impl RevocationLog {
    /// Tells what comes through the queue, each until Redis has it. When stopped, what waits still.
    pub(super) async fn tell(self, mut queue: mpsc::Receiver<Revocation>, stop: CancellationToken) {
        loop {
            let next = tokio::select! {
                biased;
                next = queue.recv() => next,
                () = stop.cancelled() => None,
            };
            let Some(revocation) = next else {
                return;
            };
            let mut pause = FIRST_PAUSE;
            while let Err(error) = self.send_one(&revocation).await {
                if pause == FIRST_PAUSE {
                    tracing::warn!(%error, "a revocation waits until Redis takes it");
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            if self.kind == Kind::Vouched {
                self.revocations.delivered();
            }
        }
    }

    async fn send_one(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let Retention { most, beyond, aged } = self.retention();
        let message = match self.kind {
            Kind::Vouched | Kind::Grants => Message::Revoked(*revocation),
            Kind::Unsigned => Message::RevokedUnsigned(*revocation),
        };
        let (member, message) = (encode_revocation(revocation), message.encode());
        let numbers = [
            self.lifetime.as_millis(),
            self.kept.as_millis(),
            most.into(),
            most.div_ceil(100).into(),
        ];
        let [lifetime, kept, most, batch] = numbers.map(|number| number.to_string());
        let arguments: [&[u8]; 9] = [
            &member,
            lifetime.as_bytes(),
            kept.as_bytes(),
            self.channel.as_bytes(),
            &message,
            most.as_bytes(),
            batch.as_bytes(),
            beyond.as_slice(),
            aged.as_slice(),
        ];
        let answer = self
            .link
            .run(&script::REVOKE, &self.key, &arguments)
            .await?;
        match answer {
            Value::Int(0) => {
                tracing::error!(
                    "a front-channel logout is not sent to the other replicas: too many are remembered"
                );
                return Ok(());
            }
            Value::Int(2) => tracing::error!(
                limit = most,
                "too many revocations: the oldest are dropped, and every session or access token from before them has ended"
            ),
            _ => {}
        }
        *self.last_sent() = Some(member);
        Ok(())
    }

    fn retention(&self) -> Retention {
        let capacity = self.revocations.capacity();
        let (most, beyond, aged) = match self.kind {
            Kind::Vouched => (capacity.authenticated, Some(EVERYBODY), Some(EVERYBODY)),
            Kind::Unsigned => (capacity.unsigned_at_most(), None, Some(EVERYBODY)),
            // No access token lasts longer, whatever is configured.
            Kind::Grants => (capacity.grants, Some(ACCESS_TOKENS), None),
        };
        Retention { most, beyond, aged }
    }

    /// Tells again what is known here and is not among `there`, many at once and apart from the queue: what is new does
    /// not wait for it. Others learn of it where they look.
    async fn send_again(&self, there: &HashMap<Target, Timestamp>) -> Result<(), StoreError> {
        let lost = self
            .revocations
            .lost(self.kind, there, self.lifetime, clock::now());
        if lost.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            lost = lost.len(),
            "Redis has lost revocations; they are sent again"
        );
        let kept = self.kept.as_millis().to_string();
        for batch in lost.chunks(BATCH) {
            let members: Vec<_> = batch.iter().map(encode_revocation).collect();
            let mut arguments = vec![kept.as_bytes()];
            arguments.extend(members.iter().map(Vec::as_slice));
            self.link
                .run(&script::REVOKE_AGAIN, &self.key, &arguments)
                .await?;
        }
        Ok(())
    }

    /// Whether some could not even wait to be told.
    fn has_overflowed(&self) -> bool {
        self.revocations.take_overflow(self.kind)
    }

    fn last_sent(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.last_sent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Revocations that are sent again at once. Redis does nothing else meanwhile.
const BATCH: usize = 500;
/// The pause after the first failure. Each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
