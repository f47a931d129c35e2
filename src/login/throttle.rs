//! Limits how many logins one client may begin. Each code costs a call to the provider, and some providers limit their calls: junk would
//! use up the calls that real logins need.
//!
//! Each client has a bucket of tokens that refills slowly. Beginning a login takes one token, which pays for the one code that this login
//! can redeem. So a callback whose state and login cookie match always passes. A code that was valid gives the token back: an office or
//! school behind one address signs in as often as it likes, and only failed logins count.
//!
//! The limit must not become a weapon. Pages of other sites cannot begin a login in a frame
//! ([`Audience::Framed`](crate::audience::Audience::Framed)). Users who have signed in here before have a bucket of their own, at any
//! address. And a flood of addresses takes nobody's bucket away: see [`Table`].

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher as _, Hash},
    iter,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::known::KnownUser;
use crate::rate_limit;

/// Who begins a login, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginClient {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// Who has signed in here before in this browser.
    pub known: Option<KnownUser>,
}

/// The buckets of those who came lately.
pub struct Throttle {
    addresses: Mutex<Table<Network>>,
    known: Mutex<Table<KnownUser>>,
}

impl Default for Throttle {
    /// All of them full.
    fn default() -> Self {
        Self {
            addresses: Mutex::new(Table::new(CAPACITY)),
            known: Mutex::new(Table::new(CAPACITY)),
        }
    }
}

impl Throttle {
    /// Takes a token from the client's bucket.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take(&self, client: &LoginClient, now: Instant) -> Result<(), Duration> {
        let networks = networks(client.address);
        match client.known {
            // Nobody behind the address can be told apart, and nobody is counted.
            _ if networks.is_empty() => Ok(()),
            Some(known) => lock(&self.known).take(&[(known, CLIENT)], now),
            None => lock(&self.addresses).take(&networks, now),
        }
    }

    /// Gives back what a login took that came to its end.
    pub fn give_back(&self, client: &LoginClient) {
        match client.known {
            Some(known) => lock(&self.known).give_back(&[(known, CLIENT)]),
            None => lock(&self.addresses).give_back(&networks(client.address)),
        }
    }
}

fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whose bucket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Network {
    /// An IPv4 address, or an IPv6 network of the size that one subscriber has at least (RFC 6177 §2).
    Subscriber(IpAddr),
    /// What one site usually has at most.
    Site(Ipv6Addr),
}

/// The buckets that a client takes from, each. None for whom nobody can be told apart: a Unix socket's peer, or a
/// loopback address, which is a proxy on this machine that `trusted_proxies` does not name. One bucket for all behind it
/// would let any of them lock out the others.
fn networks(client: Option<IpAddr>) -> Vec<(Network, Rate)> {
    let Some(client) = client.map(|client| client.to_canonical()) else {
        return Vec::new();
    };
    if client.is_loopback() {
        return Vec::new();
    }
    let own = Network::Subscriber(rate_limit::subscriber(Some(client)));
    let site = rate_limit::site(client).map(|site| (Network::Site(site), MANY));
    iter::once((own, CLIENT)).chain(site).collect()
}

/// Who shares a bucket while there is no room for one of their own.
trait Range {
    /// What is hashed.
    fn range(&self) -> u128;
}

impl Range for Network {
    /// Of IPv4 a /16, of IPv6 a /32: about what one operator has.
    fn range(&self) -> u128 {
        match self {
            Self::Subscriber(IpAddr::V4(address)) => u128::from(address.to_bits() >> 16),
            Self::Subscriber(IpAddr::V6(address)) | Self::Site(address) => {
                (address.to_bits() >> 96) + (1 << 32)
            }
        }
    }
}

impl Range for KnownUser {
    fn range(&self) -> u128 {
        self.bits()
    }
}

/// Buckets, as many as there is room for. One that is in use is never thrown out: a flood of addresses would have each of
/// them begin anew with a full one. When all are in use, newcomers share a bucket with their range of the network, so
/// that a flood out of one range holds up the newcomers of that range and nobody else.
struct Table<K> {
    buckets: HashMap<K, Bucket>,
    capacity: usize,
    /// When the full ones were thrown out last: they are as good as none.
    swept_at: Option<Instant>,
    /// By the hash of a range, which nobody outside can foresee.
    shared: Box<[Option<Bucket>; SHARED]>,
    hasher: RandomState,
}

/// Where a bucket stands.
enum Place<K> {
    Own(K),
    Shared(usize),
}

impl<K: Copy + Eq + Hash + Range> Table<K> {
    fn new(capacity: usize) -> Self {
        Self {
            buckets: HashMap::new(),
            capacity,
            swept_at: None,
            shared: Box::new([None; SHARED]),
            hasher: RandomState::new(),
        }
    }

    /// Takes a token from each of the buckets, or from none.
    fn take(&mut self, keys: &[(K, Rate)], now: Instant) -> Result<(), Duration> {
        let mut taken = Vec::with_capacity(keys.len());
        let mut missing = None;
        for (key, rate) in keys {
            let (place, rate) = self.place(*key, *rate, now);
            match self.at(&place, now).take(rate, now) {
                Ok(bucket) => taken.push((place, bucket)),
                Err(wait) => missing = missing.max(Some(wait)),
            }
        }
        if let Some(wait) = missing {
            return Err(wait);
        }
        for (place, bucket) in taken {
            match place {
                Place::Own(key) => drop(self.buckets.insert(key, bucket)),
                Place::Shared(index) => self.shared[index] = Some(bucket),
            }
        }
        Ok(())
    }

    /// Gives a token back to each. What a shared one has given is not known any more, and drips in by itself.
    fn give_back(&mut self, keys: &[(K, Rate)]) {
        for (key, rate) in keys {
            if let Some(bucket) = self.buckets.get_mut(key) {
                *bucket = bucket.given(*rate);
            }
        }
    }

    /// Where the bucket of `key` is, and how large it is there.
    fn place(&mut self, key: K, rate: Rate, now: Instant) -> (Place<K>, Rate) {
        // With as much room as one client's buckets take, beside it.
        let has_room = |table: &Self| table.buckets.len() + 2 <= table.capacity;
        if !self.buckets.contains_key(&key) && !has_room(self) {
            self.sweep(now);
            if !has_room(self) {
                let hash = self.hasher.hash_one(key.range());
                let index = usize::try_from(hash % SHARED as u64).unwrap_or_default();
                return (Place::Shared(index), MANY);
            }
        }
        (Place::Own(key), rate)
    }

    fn at(&self, place: &Place<K>, now: Instant) -> Bucket {
        let bucket = match place {
            Place::Own(key) => self.buckets.get(key).copied(),
            Place::Shared(index) => self.shared[*index],
        };
        bucket.unwrap_or_else(|| Bucket::full(now))
    }

    /// Throws out what is full, at most once a second: it is a walk through all of them.
    fn sweep(&mut self, now: Instant) {
        let swept = self
            .swept_at
            .is_some_and(|at| now.saturating_duration_since(at) < SWEEP);
        if !swept {
            self.swept_at = Some(now);
            self.buckets.retain(|_, bucket| bucket.full_at > now);
        }
    }
}

/// How many tokens a bucket holds, and how long until it has one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate {
    burst: u32,
    refill: Duration,
}

/// All there is to know of a bucket is when it will be full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    full_at: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// The bucket with a token less, or how long until it has one.
    fn take(self, rate: Rate, now: Instant) -> Result<Self, Duration> {
        let full_at = self.full_at.max(now) + rate.refill;
        let missing = full_at.duration_since(now);
        match missing.checked_sub(rate.refill * rate.burst) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(Self { full_at }),
        }
    }

    /// The bucket with a token more. Beyond full is full: see [`take`](Self::take).
    fn given(self, rate: Rate) -> Self {
        let full_at = self.full_at.checked_sub(rate.refill);
        Self {
            full_at: full_at.unwrap_or(self.full_at),
        }
    }
}

/// What one client address may try that leads nowhere: logins, and tokens that do not exist. A browser that restores twenty
/// tabs begins twenty logins before it has a cookie, and nineteen of them anew: 39. And 42 lets an application call 1,200
/// times an hour: a login that leads nowhere causes one call, so that one address causes no more than 600 an hour, half of
/// that; and nobody who was stopped waits long.
const CLIENT: Rate = Rate {
    burst: 40,
    refill: Duration::from_secs(6),
};

/// What many share: a site, or a range while there is no room.
const MANY: Rate = Rate {
    burst: 160,
    refill: Duration::from_millis(1_500),
};

/// Some 2 MB at most.
const CAPACITY: usize = 20_000;

/// Buckets for ranges, 16 bytes each.
const SHARED: usize = 1_024;

/// The interval between two searches for full buckets.
const SWEEP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at(text: &str) -> LoginClient {
        LoginClient {
            address: Some(address(text)),
            known: None,
        }
    }

    fn spend(throttle: &Throttle, client: &LoginClient, now: Instant) -> usize {
        (0..1_000)
            .take_while(|_| throttle.take(client, now).is_ok())
            .count()
    }

    #[test]
    fn a_full_bucket_has_its_burst_and_refills_one_by_one() {
        let now = Instant::now();
        let mut bucket = Bucket::full(now);
        for _ in 0..CLIENT.burst {
            bucket = bucket.take(CLIENT, now).unwrap();
        }
        let refill = CLIENT.refill;
        assert_eq!(bucket.take(CLIENT, now), Err(refill));
        assert_eq!(bucket.take(CLIENT, now + refill / 2), Err(refill / 2));
        let bucket = bucket.take(CLIENT, now + refill).unwrap();
        assert_eq!(bucket.take(CLIENT, now + refill), Err(refill));
        // Being refused costs nothing.
        assert!(bucket.take(CLIENT, now + refill * 2).is_ok());
    }

    #[test]
    fn no_bucket_is_more_than_full() {
        let now = Instant::now();
        let mut bucket = Bucket::full(now).given(CLIENT);
        for _ in 0..CLIENT.burst {
            bucket = bucket.take(CLIENT, now).unwrap();
        }
        assert!(bucket.take(CLIENT, now).is_err());
        assert!(bucket.given(CLIENT).take(CLIENT, now).is_ok());
    }

    #[test]
    fn who_shares_a_bucket() {
        let key = |text: &str| networks(Some(address(text)));
        let own = |text: &str| vec![(Network::Subscriber(address(text)), CLIENT)];
        assert_eq!(key("192.0.2.1"), own("192.0.2.1"));
        assert_eq!(key("::ffff:192.0.2.1"), own("192.0.2.1"));
        assert_eq!(key("64:ff9b::192.0.2.1"), own("192.0.2.1"));
        // Not what a proxy on this machine is called: it is somebody else's claim, and counts.
        assert!(!key("64:ff9b::127.0.0.1").is_empty());
        // Only the first /96 of that network.
        assert_eq!(key("64:ff9b::1:192.0.2.1"), key("64:ff9b::1:192.0.2.2"));
        assert_eq!(key("2001:db8:1:2:3:4:5:6"), key("2001:db8:1:2::"));
        assert_ne!(key("2001:db8:1:2::")[0], key("2001:db8:1:3::")[0]);
        assert_eq!(key("2001:db8:1:2::")[1], key("2001:db8:1:3::")[1]);
        assert_ne!(key("2001:db8:1:2::")[1], key("2001:db8:2:2::")[1]);
        for nobody in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(key(nobody), [], "{nobody}");
        }
        assert_eq!(networks(None), []);
    }

    #[test]
    fn each_client_has_a_bucket_of_its_own() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let (one, other) = (at("192.0.2.1"), at("2001:db8::1"));
        assert_eq!(spend(&throttle, &one, now), CLIENT.burst as usize);
        assert!(throttle.take(&other, now).is_ok());
        assert_eq!(spend(&throttle, &at("::1"), now), 1_000);
        throttle.give_back(&one);
        assert_eq!(spend(&throttle, &one, now), 1);
    }

    #[test]
    fn who_has_signed_in_before_is_not_held_up_by_others_nor_holds_them_up() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let stranger = at("192.0.2.1");
        let known = |subject| LoginClient {
            known: Some(KnownUser::of("corp", subject)),
            ..stranger
        };
        assert_eq!(spend(&throttle, &stranger, now), CLIENT.burst as usize);
        assert_eq!(spend(&throttle, &known("ada"), now), CLIENT.burst as usize);
        assert!(throttle.take(&known("bob"), now).is_ok());
        throttle.give_back(&known("ada"));
        assert!(throttle.take(&stranger, now).is_err());
        assert!(throttle.take(&known("ada"), now).is_ok());
    }

    #[test]
    fn a_site_has_no_more_than_some_subscribers() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let within = |number: u32| at(&format!("2001:db8:1:{number:x}::1"));
        let all: usize = (0..100)
            .map(|number| spend(&throttle, &within(number), now))
            .sum();
        assert_eq!(all, MANY.burst as usize);
        assert!(throttle.take(&at("2001:db8:2::1"), now).is_ok());
    }

    #[test]
    fn a_flood_of_addresses_takes_no_bucket_away_and_locks_out_no_other_range() {
        let mut table = Table::new(200);
        let now = Instant::now();
        let key = |text: String| (Network::Subscriber(address(&text)), CLIENT);
        let drained = key("192.0.2.1".to_owned());
        while table.take(&[drained], now).is_ok() {}
        let mut passed = 0;
        for number in 0..5_000_u32 {
            let flood = key(format!("198.51.{}.{}", number / 250, number % 250));
            passed += u32::from(table.take(&[flood], now).is_ok());
        }
        assert!(table.buckets.len() <= 200, "{}", table.buckets.len());
        assert!(passed <= 200 + MANY.burst, "{passed}");
        assert!(table.take(&[drained], now).is_err(), "its bucket is kept");
        // Of a hundred other ranges at most one or two share their place with the flood.
        let others = (0..100).filter(|range| {
            let newcomer = key(format!("203.{range}.2.1"));
            table.take(&[newcomer], now).is_ok()
        });
        assert!(others.count() >= 95);
        // When the flood is over, there is room again.
        let later = now + CLIENT.refill * CLIENT.burst;
        assert!(table.take(&[key("198.60.0.1".to_owned())], later).is_ok());
        assert!(table.buckets.len() < 10);
    }

    proptest! {
        /// Whatever comes when: no more is ever had than the burst and what has dripped in since, and who
        /// waits as long as they were told is let in.
        #[test]
        fn no_span_lets_more_through_than_burst_and_refill(
            pauses in proptest::collection::vec(0_u64..20_000, 1..400),
        ) {
            let start = Instant::now();
            let (mut now, mut bucket) = (start, Bucket::full(start));
            let mut taken = Vec::new();
            for pause in pauses {
                now += Duration::from_millis(pause);
                match bucket.take(CLIENT, now) {
                    Ok(less) => {
                        bucket = less;
                        taken.push(now);
                    }
                    Err(wait) => {
                        prop_assert!(wait <= CLIENT.refill);
                        prop_assert!(bucket.take(CLIENT, now + wait).is_ok());
                    }
                }
            }
            for (index, first) in taken.iter().enumerate() {
                for (count, last) in (1_u32..).zip(&taken[index..]) {
                    let dripped = last.duration_since(*first).div_duration_f64(CLIENT.refill);
                    prop_assert!(f64::from(count) <= f64::from(CLIENT.burst) + dripped + 1e-6);
                }
            }
        }
    }
}
