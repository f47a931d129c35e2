//! Revocations, told to the other replicas and learnt from them.
//!
//! They stand in one sorted set, by when Redis took them. One that was told is in the set or still tried; those of
//! others are heard of at once and looked for every two seconds. So none is lost to a message that is.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, FromRedisValue as _, Value};
use tokio::{
    sync::{Notify, mpsc},
    time::{interval, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    layout::{Message, decode_revocation, encode_revocation},
    link::Link,
    script,
};
use crate::session::{
    revocation::{Revocation, Revocations},
    store::StoreError,
};

/// The set of all revocations of one gate's replicas.
#[derive(Clone)]
pub(super) struct News {
    pub(super) link: Arc<Link>,
    pub(super) key: String,
    pub(super) channel: String,
    pub(super) revocations: Arc<Revocations>,
    /// For how long one counts.
    pub(super) lifetime: Duration,
}

impl News {
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
            while let Err(error) = self.tell_one(&revocation).await {
                if pause == FIRST_PAUSE {
                    tracing::warn!(%error, "a revocation waits until Redis takes it");
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    async fn tell_one(&self, revocation: &Revocation) -> Result<Value, StoreError> {
        let (member, message) = (
            encode_revocation(revocation),
            Message::Revoked(*revocation).encode(),
        );
        let lifetime = self.lifetime.as_millis().to_string();
        let arguments: [&[u8]; 4] = [
            &member,
            lifetime.as_bytes(),
            self.channel.as_bytes(),
            &message,
        ];
        self.link.run(&script::REVOKE, &self.key, &arguments).await
    }

    /// Learns all at first and whenever something may have been missed, and looks for new ones in between.
    pub(super) async fn learn(self, missed: Arc<Notify>) {
        let mut beat = interval(BEAT);
        let mut newest = None;
        loop {
            let may_miss = tokio::select! {
                () = missed.notified() => true,
                _ = beat.tick() => false,
            };
            let outcome = match newest {
                Some(newest) if !may_miss => self.learn_since(newest).await,
                _ => self.learn_all().await,
            };
            match outcome {
                Ok(found) => {
                    newest = Some(found);
                    self.revocations.caught_up();
                }
                Err(error) => {
                    tracing::debug!(%error, "revocations of other replicas cannot be learnt");
                    // All over again: how long it lasts is not known.
                    newest = None;
                }
            }
        }
    }

    /// The newest first: what is added meanwhile shifts others down, where they are met again and not missed.
    async fn learn_all(&self) -> Result<u64, StoreError> {
        let mut newest = 0;
        for start in (0..).step_by(PAGE) {
            let mut command = redis::cmd("ZREVRANGE");
            command.arg(&self.key).arg(start).arg(start + PAGE - 1);
            let (count, latest) = self.learn_page(command).await?;
            newest = newest.max(latest);
            if count < PAGE {
                break;
            }
        }
        Ok(newest)
    }

    async fn learn_since(&self, newest: u64) -> Result<u64, StoreError> {
        // A failover may lead to a server whose clock is behind.
        let overlap = u64::try_from(OVERLAP.as_millis()).unwrap_or(u64::MAX);
        let mut command = redis::cmd("ZREVRANGEBYSCORE");
        command
            .arg(&self.key)
            .arg("+inf")
            .arg(newest.saturating_sub(overlap));
        let (_, latest) = self.learn_page(command).await?;
        Ok(latest.max(newest))
    }

    async fn learn_page(&self, mut command: Cmd) -> Result<(usize, u64), StoreError> {
        command.arg("WITHSCORES");
        let answer = self.link.send(&command).await?;
        let page = Vec::<(Vec<u8>, f64)>::from_redis_value(answer);
        let page = page.map_err(|_| StoreError("revocations are no list".to_owned()))?;
        let mut newest = 0;
        for (member, score) in &page {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "milliseconds since 1970"
            )]
            let score = *score as u64;
            newest = newest.max(score);
            if let Some(revocation) = decode_revocation(member) {
                self.revocations.learn(revocation);
            }
        }
        Ok((page.len(), newest))
    }
}

/// How often new ones are looked for. With what a look may take, less than five seconds.
const BEAT: Duration = Duration::from_secs(2);
/// How far back.
const OVERLAP: Duration = Duration::from_mins(1);
/// Revocations asked for at once.
const PAGE: usize = 2_000;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
