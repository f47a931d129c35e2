//! A directory in this process, which needs no setup. A restart forgets it; sessions in cookies are listed again when they are used.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::future::BoxFuture;
use moka::{ops::compute::Op, policy::EvictionPolicy, sync::Cache};

use super::{Activity, Entry, SessionIndex, SessionName, UserKey, device, has_ended};
use crate::{
    clock::Timestamp,
    session::{Lifetimes, StoreError, revocation::Mark},
};

/// Bounded by a number of sessions; beyond it, users who were not seen for longest are forgotten.
pub struct InProcess {
    users: Cache<UserKey, Known>,
    lifetimes: Lifetimes,
}

/// A user's sessions. The list is replaced as a whole; only the time of the last sighting moves in place.
type Known = Arc<[Arc<Seen>]>;

struct Seen {
    mark: Mark,
    device: Box<str>,
    address: Option<IpAddr>,
    at: AtomicU64,
}

impl InProcess {
    /// Room for `capacity` sessions of these lifetimes: about 400 bytes each.
    pub fn new(capacity: u64, lifetimes: Lifetimes) -> Self {
        let users = Cache::builder()
            .max_capacity(capacity)
            .weigher(|_, known: &Known| u32::try_from(known.len()).unwrap_or(u32::MAX))
            .time_to_idle(lifetimes.idle_timeout * 2)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { users, lifetimes }
    }

    /// The user's sessions with this one in its place, and without those that have ended.
    fn with(&self, known: Option<&Known>, sighting: &Activity<'_>) -> Known {
        let mark = Mark::of(sighting.session);
        let mut device = None;
        let mut kept = Vec::new();
        for seen in known.into_iter().flat_map(|known| known.iter()) {
            if seen.mark.session() == mark.session() {
                device = Some(seen.device.clone());
            } else if !has_ended(&seen.entry(), self.lifetimes, sighting.now) {
                kept.push(Arc::clone(seen));
            }
        }
        kept.push(Arc::new(Seen {
            mark,
            device: device.unwrap_or_else(|| device::label(sighting.user_agent)),
            address: sighting.address,
            at: AtomicU64::new(sighting.now.0),
        }));
        if kept.len() > PER_USER {
            let oldest = (0..kept.len()).min_by_key(|place| kept[*place].at());
            kept.swap_remove(oldest.expect("there are several"));
        }
        kept.into()
    }
}

impl Seen {
    fn at(&self) -> Timestamp {
        Timestamp(self.at.load(Ordering::Relaxed))
    }

    fn entry(&self) -> Entry {
        Entry {
            mark: self.mark.clone(),
            device: self.device.clone(),
            address: self.address,
            seen_at: self.at(),
        }
    }
}

impl SessionIndex for InProcess {
    fn note(&self, sighting: &Activity<'_>) {
        let user = UserKey::of(&sighting.session.identity);
        if let Some(known) = self.users.get(&user) {
            let at_its_place = known.iter().find(|seen| {
                *seen.mark.session() == sighting.session.id && seen.address == sighting.address
            });
            if let Some(seen) = at_its_place {
                seen.at.fetch_max(sighting.now.0, Ordering::Relaxed);
                return;
            }
        }
        self.users.entry(user).and_upsert_with(|entry| {
            self.with(entry.map(moka::Entry::into_value).as_ref(), sighting)
        });
    }

    fn list<'a>(&'a self, user: &'a UserKey) -> BoxFuture<'a, Result<Vec<Entry>, StoreError>> {
        let known = self.users.get(user);
        let entries = known.map_or_else(Vec::new, |known| {
            known.iter().map(|seen| seen.entry()).collect()
        });
        Box::pin(async { Ok(entries) })
    }

    fn forget<'a>(&'a self, name: &'a SessionName) -> BoxFuture<'a, Result<(), StoreError>> {
        self.users.entry(*name.user()).and_compute_with(|entry| {
            let Some(known) = entry.map(moka::Entry::into_value) else {
                return Op::Nop;
            };
            let kept: Vec<_> = known
                .iter()
                .filter(|seen| seen.entry().name() != *name)
                .cloned()
                .collect();
            if kept.is_empty() {
                Op::Remove
            } else {
                Op::Put(kept.into())
            }
        });
        Box::pin(async { Ok(()) })
    }
}

/// Sessions listed for one user. If a user signs in more often, the session that was unused for longest is left out.
const PER_USER: usize = 50;
