//! Bounds how many documents are fetched at the same time: in all, for one host, and for one sender.
//!
//! A slow server holds a place for as long as the gate waits for it. So no host can hold all places, and no sender can hold them by
//! naming many hosts.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Those that are taken.
pub(super) struct Places {
    taken: Mutex<Taken>,
    most: usize,
    per_host: usize,
    per_asker: usize,
}

#[derive(Default)]
struct Taken {
    all: usize,
    hosts: HashMap<String, usize>,
    askers: HashMap<IpAddr, usize>,
}

/// A place, until it is dropped.
pub(super) struct Place<'a> {
    places: &'a Places,
    host: String,
    asker: Option<IpAddr>,
}

impl Places {
    /// So many in all, for one host, and for one who asks.
    pub(super) fn new(most: usize, per_host: usize, per_asker: usize) -> Self {
        Self {
            taken: Mutex::default(),
            most,
            per_host,
            per_asker,
        }
    }

    /// A place for a document of `host` that `asker` wants, where there is one. Who cannot be told apart (see
    /// [`Throttle`](crate::login::throttle::Throttle)) is not counted.
    pub(super) fn take(&self, host: &str, asker: Option<IpAddr>) -> Option<Place<'_>> {
        let asker = asker.map(network).filter(|address| !address.is_loopback());
        let mut taken = self.lock();
        let of_host = taken.hosts.get(host).copied().unwrap_or_default();
        let of_asker = asker.and_then(|asker| taken.askers.get(&asker).copied());
        if taken.all >= self.most
            || of_host >= self.per_host
            || of_asker.unwrap_or_default() >= self.per_asker
        {
            return None;
        }
        taken.all += 1;
        *taken.hosts.entry(host.to_owned()).or_default() += 1;
        if let Some(asker) = asker {
            *taken.askers.entry(asker).or_default() += 1;
        }
        Some(Place {
            places: self,
            host: host.to_owned(),
            asker,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        give_back(&mut taken.hosts, &self.host);
        if let Some(asker) = &self.asker {
            give_back(&mut taken.askers, asker);
        }
    }
}

/// Leaves nothing behind of whom no place is held for.
fn give_back<K: std::hash::Hash + Eq>(taken: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = taken.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            taken.remove(key);
        }
    }
}

/// What one subscriber has at least (RFC 6177 §2).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn no_host_and_nobody_has_all_places() {
        let places = Places::new(4, 2, 3);
        let (ada, bob) = (Some(address("192.0.2.1")), Some(address("192.0.2.2")));
        let first = places.take("slow.example", ada);
        let second = places.take("slow.example", bob);
        assert!(first.is_some() && second.is_some());
        assert!(places.take("slow.example", ada).is_none());
        let third = places.take("a.example", ada);
        let fourth = places.take("b.example", ada);
        assert!(third.is_some() && fourth.is_some());
        assert!(places.take("c.example", bob).is_none(), "all are taken");
        drop(second);
        assert!(places.take("c.example", ada).is_none(), "ada has three");
        let fifth = places.take("slow.example", bob);
        assert!(fifth.is_some());
        drop((first, third, fourth, fifth));
        let taken = places.lock();
        assert_eq!(taken.all, 0);
        assert!(taken.hosts.is_empty() && taken.askers.is_empty());
    }

    #[test]
    fn a_network_of_version_six_is_one_who_asks_and_loopback_is_nobody() {
        let places = Places::new(9, 9, 1);
        let held = places.take("a.example", Some(address("2001:db8::1")));
        assert!(held.is_some());
        assert!(
            places
                .take("a.example", Some(address("2001:db8::2")))
                .is_none()
        );
        let other = places.take("a.example", Some(address("2001:db8:0:1::2")));
        let here: Vec<_> = (0..3)
            .map(|_| places.take("a.example", Some(address("::1"))))
            .collect();
        assert!(other.is_some() && here.iter().all(Option::is_some));
    }
}
