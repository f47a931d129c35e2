//! Messages between replicas, and whether this replica is sure to receive them.
//!
//! Each second a replica sends itself a message in the same way as all others. One that comes back proves the whole path. If none has come for
//! a while, something was missed, and the connection is opened again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt as _;
use redis::aio::PubSub;
use tokio::{
    sync::Notify,
    time::{Instant, interval, sleep, timeout},
};

use super::{
    layout::Message,
    record_cache::{Freshness, RecordCache, is_within},
};
use crate::{
    clock,
    clock::Timestamp,
    redis::{RedisFailure, dial::Dialer, link::Link},
    session::revocation::Revocations,
};

/// Whether news are heard.
#[derive(Default)]
pub(super) struct Subscription {
    /// When the last message to oneself came back.
    heard_at: AtomicU64,
    /// Since when nothing was missed; zero while something may be.
    since: AtomicU64,
}

impl Subscription {
    /// What a copy is worth now. `is_up` says whether Redis answers, which matters only where news are not heard.
    pub(super) fn worth(&self, is_up: impl FnOnce() -> bool, now: Timestamp) -> Freshness {
        let since = self.since.load(Ordering::Acquire);
        let heard_at = Timestamp(self.heard_at.load(Ordering::Relaxed));
        if since > 0 && is_within(now, heard_at, PROVEN) {
            Freshness::Subscribed(Timestamp(since))
        } else if is_up() {
            Freshness::Polling
        } else {
            Freshness::Offline
        }
    }
}

/// Who listens, to what, and who is told.
pub(super) struct Listener {
    pub(super) dialer: Arc<Dialer>,
    /// Of all replicas.
    pub(super) channel: String,
    /// Of this one.
    pub(super) own_channel: String,
    pub(super) subscription: Arc<Subscription>,
    pub(super) record_cache: Arc<RecordCache>,
    pub(super) revocations: Arc<Revocations>,
    /// Told when something may have been missed.
    pub(super) missed: Arc<Notify>,
}

impl Listener {
    /// Listens for ever, over again where it has to.
    pub(super) async fn run(self) {
        let mut pause = FIRST_PAUSE;
        let mut is_logged = false;
        loop {
            let begun = Instant::now();
            let why = match self.subscribe().await {
                Ok(messages) => self.hear(messages).await,
                Err(why) => why,
            };
            self.subscription.since.store(0, Ordering::Release);
            if begun.elapsed() >= STEADY {
                pause = FIRST_PAUSE;
            }
            if why.is_refusal() && !is_logged {
                is_logged = true;
                tracing::warn!(error = %why, "Redis refuses a subscription, see session.store (or session.shared); trying again until it does not");
            }
            tracing::debug!(error = %why, "not subscribed to Redis; trying again");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn subscribe(&self) -> Result<PubSub, RedisFailure> {
        let mut messages = self.dialer.listen().await?;
        let channels = [&self.channel, &self.own_channel];
        match timeout(SUBSCRIBE, messages.subscribe(&channels)).await {
            Ok(outcome) => outcome?,
            Err(_) => return Err(RedisFailure::NoAnswer),
        }
        Ok(messages)
    }

    /// Returns, with the reason, when nothing more can be heard.
    async fn hear(&self, messages: PubSub) -> RedisFailure {
        // The sink is what keeps the subscription.
        let (_sink, mut messages) = messages.split();
        // What was said before is missed, what is said from here on is not.
        let mut is_proven = false;
        loop {
            let message = match timeout(PROVEN, messages.next()).await {
                Ok(Some(message)) => message,
                Ok(None) => return RedisFailure::Lost,
                Err(_) => return RedisFailure::NoAnswer,
            };
            if message.get_channel_name() == self.own_channel {
                let now = clock::now();
                self.subscription.heard_at.store(now.0, Ordering::Relaxed);
                if !is_proven {
                    is_proven = true;
                    self.subscription.since.store(now.0, Ordering::Release);
                    self.missed.notify_one();
                }
                continue;
            }
            match Message::decode(message.get_payload_bytes()) {
                Some(Message::Changed(name)) => self.record_cache.forget(name),
                Some(Message::Revoked(revocation)) => {
                    self.revocations.learn(revocation);
                }
                Some(Message::RevokedUnsigned(revocation)) => {
                    self.revocations.learn_unsigned(revocation);
                }
                // A newer version's; what matters can be polled for.
                None => {}
            }
        }
    }
}

/// Speaks to oneself, for ever.
pub(super) async fn beat(link: Arc<Link>, own_channel: String) {
    let mut beat = interval(BEAT);
    let mut command = redis::cmd("PUBLISH");
    command.arg(own_channel).arg("");
    loop {
        beat.tick().await;
        if link.is_up() {
            // That it did not come back is what counts.
            let _ = link.send(&command).await;
        }
    }
}

/// How often a subscription is checked.
const BEAT: Duration = Duration::from_secs(1);
/// For how long a message to itself proves to a replica that other messages would arrive.
const PROVEN: Duration = Duration::from_secs(3);
/// How long Redis may take to confirm a subscription.
const SUBSCRIBE: Duration = Duration::from_secs(1);
/// The pause before it is subscribed again. Each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// After a subscription that lasted so long, the pauses begin anew.
const STEADY: Duration = Duration::from_secs(10);
