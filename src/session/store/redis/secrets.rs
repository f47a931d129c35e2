//! Checks that replicas on one Redis have the same secrets. A replica without another's secret cannot open its cookies: users would be
//! signed in and out by turns, without any sign of the reason.
//!
//! Each replica publishes every few seconds with which secret it seals, and checks that it has those of the others. During a rotation each has
//! both. What is published is a keyed hash that can only be computed with the secret. A reader of Redis learns nothing from it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use redis::Value;
use tokio::time::interval;

use super::script;
use crate::{redis::link::Link, session::seal::Fingerprint};

/// What this replica knows of the others' secrets.
pub(super) struct Secrets {
    /// Of its own: the first seals.
    own: ArcSwap<Vec<Fingerprint>>,
    differ: AtomicBool,
    /// Whether it has looked at the others' since it began.
    has_looked: AtomicBool,
}

impl Secrets {
    pub(super) fn new(own: Vec<Fingerprint>) -> Self {
        Self {
            own: ArcSwap::from_pointee(own),
            differ: AtomicBool::new(false),
            has_looked: AtomicBool::new(false),
        }
    }

    /// Its own are these from here on.
    pub(super) fn adopt(&self, own: Vec<Fingerprint>) {
        self.own.store(Arc::new(own));
    }

    /// Whether another replica seals by a secret that this one has not, as far as is known.
    pub(super) fn differ(&self) -> bool {
        self.differ.load(Ordering::Relaxed)
    }

    /// Whether another replica may open what this one cannot.
    pub(super) fn may_differ(&self) -> bool {
        !self.has_looked.load(Ordering::Acquire) || self.differ()
    }

    /// By these secrets replicas seal. Whether that changes what is known.
    fn note(&self, sealing: &[&[u8]]) -> bool {
        let own = self.own.load();
        let is_own = |secret: &&[u8]| own.iter().any(|own| own == *secret);
        let differ = !sealing.iter().all(is_own);
        let did_differ = self.differ.swap(differ, Ordering::Relaxed);
        self.has_looked.store(true, Ordering::Release);
        did_differ != differ
    }
}

/// Says so, and looks, for ever.
pub(super) async fn compare(secrets: Arc<Secrets>, link: Arc<Link>, key: String) {
    let counts = COUNTS.as_millis().to_string();
    let mut beat = interval(BEAT);
    loop {
        beat.tick().await;
        let first = secrets.own.load().first().copied();
        let Some(first) = first.filter(|_| link.is_up()) else {
            continue;
        };
        let arguments: [&[u8]; 2] = [&first, counts.as_bytes()];
        let Ok(Value::Array(sealing)) = link.run(&script::SECRETS, &key, &arguments).await else {
            continue;
        };
        let texts = sealing.iter().filter_map(|value| match value {
            Value::BulkString(bytes) => Some(&**bytes),
            _ => None,
        });
        if !secrets.note(&texts.collect::<Vec<_>>()) {
            continue;
        }
        if secrets.differ() {
            tracing::error!(
                "another replica on the same Redis seals sessions with a secret that this one does not have: who signs in \
                 at one is nobody at the other; give all replicas the same session.secret"
            );
        } else {
            tracing::info!("all replicas on the same Redis have each other's secrets");
        }
    }
}

/// How often secrets are looked for at Redis.
const BEAT: Duration = Duration::from_secs(2);
/// How long a replica that has gone is still counted.
const COUNTS: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_to_have_what_the_others_seal_with() {
        let (old, new) = ([1; 16], [2; 16]);
        let secrets = Secrets::new(vec![old, new]);
        assert!(secrets.may_differ() && !secrets.differ());
        assert!(!secrets.note(&[&old]) && !secrets.may_differ());
        assert!(!secrets.note(&[&old, &new]) && !secrets.differ());
        let other = [3; 16];
        assert!(secrets.note(&[&old, &other]) && secrets.differ());
        assert!(!secrets.note(&[&other]) && secrets.differ());
        assert!(secrets.note(&[&new]) && !secrets.differ());
    }
}
