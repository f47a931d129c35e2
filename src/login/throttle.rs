//! How often one client may begin logins and come back with codes. A code costs a call to the provider,
//! and some providers count those: whoever sends us junk would spend what everybody's logins need.
//!
//! Each client has a bucket of tokens that refills slowly. Beginning a login takes one, redeeming a code
//! takes another, and a code that was worth something gives both back: an office or a school behind one
//! address signs in as often as it likes, and only what leads nowhere is counted.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use moka::{future::Cache, policy::EvictionPolicy};

/// The buckets of those who came lately.
pub(super) struct Throttle(Cache<IpAddr, Arc<Mutex<Bucket>>>);

impl Throttle {
    pub(super) fn new() -> Self {
        let cache = Cache::builder()
            .max_capacity(CAPACITY)
            // A bucket that nobody has touched for so long is full, and as good as a new one.
            .time_to_idle(REFILL * BURST)
            // Whoever comes now is to be counted now.
            .eviction_policy(EvictionPolicy::lru());
        Self(cache.build())
    }

    /// Takes a token from the client's bucket. The error is how long until there is one.
    pub(super) async fn take(&self, client: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let Some(key) = client.and_then(key) else {
            return Ok(());
        };
        let full = async { Arc::new(Mutex::new(Bucket::full(now))) };
        let bucket = self.0.get_with(key, full).await;
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        *bucket = bucket.take(now)?;
        Ok(())
    }

    /// Gives back what a whole login took.
    pub(super) async fn give_back(&self, client: Option<IpAddr>) {
        let Some(key) = client.and_then(key) else {
            return;
        };
        if let Some(bucket) = self.0.get(&key).await {
            let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
            *bucket = bucket.given(LOGIN_TAKES);
        }
    }
}

/// Who shares a bucket: an IPv4 address, or an IPv6 network of the size that one subscriber has at least
/// (RFC 6177 §2). None for whom nobody can be told apart: a Unix socket's peer, or a loopback address,
/// which is a proxy on this machine that `trusted_proxies` does not name. One bucket for all behind it
/// would let any of them lock out the others.
fn key(client: IpAddr) -> Option<IpAddr> {
    let client = client.to_canonical();
    if client.is_loopback() {
        return None;
    }
    Some(match client {
        IpAddr::V4(_) => client,
        // Behind a NAT64 the whole of IPv4 is in one network (RFC 6052 §2.1): 64:ff9b::/96, and then the address.
        IpAddr::V6(address) if address.segments()[..6] == NAT64 => {
            let [.., a, b, c, d] = address.octets();
            Ipv4Addr::new(a, b, c, d).into()
        }
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            Ipv6Addr::from_bits(network).into()
        }
    })
}

/// [`BURST`] tokens at most, one more each [`REFILL`]. All there is to know of it is when it will be full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    full_at: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// The bucket with a token less, or how long until it has one.
    fn take(self, now: Instant) -> Result<Self, Duration> {
        let full_at = self.full_at.max(now) + REFILL;
        let missing = full_at.duration_since(now);
        match missing.checked_sub(REFILL * BURST) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(Self { full_at }),
        }
    }

    /// The bucket with so many tokens more. Beyond full is full: see [`take`](Self::take).
    fn given(self, tokens: u32) -> Self {
        let full_at = self.full_at.checked_sub(REFILL * tokens);
        Self {
            full_at: full_at.unwrap_or(self.full_at),
        }
    }
}

/// The well-known prefix of addresses that stand for IPv4 ones (RFC 6052 §2.1).
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// What beginning a login and redeeming its code take together.
const LOGIN_TAKES: u32 = 2;

/// A browser that restores twenty tabs begins twenty logins before it has a cookie, begins nineteen of
/// them anew, and redeems twenty codes: 59. The rest is for people who share the address meanwhile.
const BURST: u32 = 80;

/// 42 lets an application call 1,200 times an hour. Junk takes two tokens for each call that it causes,
/// so that one address causes no more than 600 an hour, half of that; and nobody who was stopped waits
/// long.
const REFILL: Duration = Duration::from_secs(3);

/// Some 2 MB at most. Whoever has more addresses than this has them for other things.
const CAPACITY: u64 = 20_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_full_bucket_has_its_burst_and_refills_one_by_one() {
        let now = Instant::now();
        let mut bucket = Bucket::full(now);
        for _ in 0..BURST {
            bucket = bucket.take(now).unwrap();
        }
        assert_eq!(bucket.take(now), Err(REFILL));
        let half = now + REFILL / 2;
        assert_eq!(bucket.take(half), Err(REFILL / 2));
        let bucket = bucket.take(now + REFILL).unwrap();
        assert_eq!(bucket.take(now + REFILL), Err(REFILL));
        // Being refused costs nothing.
        assert!(bucket.take(now + REFILL * 2).is_ok());
    }

    #[test]
    fn no_bucket_is_more_than_full() {
        let now = Instant::now();
        let mut bucket = Bucket::full(now).given(BURST);
        for _ in 0..BURST {
            bucket = bucket.take(now).unwrap();
        }
        assert!(bucket.take(now).is_err());
        assert!(bucket.given(1).take(now).is_ok());
    }

    #[test]
    fn who_shares_a_bucket() {
        let key = |text: &str| key(address(text));
        assert_eq!(key("192.0.2.1"), Some(address("192.0.2.1")));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_eq!(key("64:ff9b::192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("64:ff9b::192.0.2.1"), key("64:ff9b::192.0.2.2"));
        // Not what a proxy on this machine is called: it is somebody else's claim, and counts.
        assert!(key("64:ff9b::127.0.0.1").is_some());
        // Only the first /96 of that network.
        assert_eq!(key("64:ff9b::1:192.0.2.1"), key("64:ff9b::1:192.0.2.2"));
        assert_eq!(key("64:ff9b:1::192.0.2.1"), key("64:ff9b:1::192.0.2.2"));
        assert_eq!(key("2001:db8:1:2:3:4:5:6"), key("2001:db8:1:2::"));
        assert_ne!(key("2001:db8:1:2::"), key("2001:db8:1:3::"));
        for nobody in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(key(nobody), None, "{nobody}");
        }
    }

    #[tokio::test]
    async fn each_client_has_a_bucket_of_its_own() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        let (one, other) = (Some(address("192.0.2.1")), Some(address("2001:db8::1")));
        for _ in 0..BURST {
            throttle.take(one, now).await.unwrap();
        }
        assert!(throttle.take(one, now).await.is_err());
        assert!(throttle.take(other, now).await.is_ok());
        for _ in 0..2 * BURST {
            assert!(throttle.take(None, now).await.is_ok());
            assert!(throttle.take(Some(address("::1")), now).await.is_ok());
        }
        throttle.give_back(one).await;
        assert!(throttle.take(one, now).await.is_ok());
        assert!(throttle.take(one, now).await.is_ok());
        assert!(throttle.take(one, now).await.is_err());
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
                match bucket.take(now) {
                    Ok(less) => {
                        bucket = less;
                        taken.push(now);
                    }
                    Err(wait) => {
                        prop_assert!(wait <= REFILL);
                        prop_assert!(bucket.take(now + wait).is_ok());
                    }
                }
            }
            for (index, first) in taken.iter().enumerate() {
                for (count, last) in (1_u32..).zip(&taken[index..]) {
                    let dripped = last.duration_since(*first).div_duration_f64(REFILL);
                    prop_assert!(f64::from(count) <= f64::from(BURST) + dripped + 1e-6);
                }
            }
        }
    }
}
