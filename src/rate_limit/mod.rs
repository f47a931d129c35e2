//! Rate limits: a route's `limit`, and its counts. A leaf, pure except for the table's own locks.
//!
//! The generic cell rate algorithm (ITU-T I.371) needs one value for each caller: the time when everything they used will have recovered.
//! `100/1h` lets a hundred requests through at once, and then one each 36 seconds.

mod fields;
mod quota;
mod table;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use aws_lc_rs::digest::{SHA256, digest};

pub use self::{
    fields::{Exceeded, Fields, seconds},
    quota::{Quota, Taken},
    table::Table,
};

/// One entry of a route's `limit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How often.
    pub quota: Quota,
    /// Who counts as one.
    pub per: Per,
    /// What the `RateLimit` fields call it; no other of the same route is called so.
    pub name: String,
    /// What the operator wrote of the period.
    pub period: String,
}

impl fmt::Display for RateLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, period, per) = (self.quota.count(), &self.period, self.per.name());
        write!(formatter, "{count}/{period} per {per}")
    }
}

/// Who counts as one. Nobody in particular counts by their address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Per {
    /// A person or a machine, whatever they come with.
    User,
    /// One session, one token.
    Token,
    /// The client's address; of IPv6 its /64, which is what one subscriber has (RFC 6177 §2).
    Address,
    /// All together.
    Route,
}

impl Per {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::User, Self::Token, Self::Address, Self::Route];

    /// What the configuration, the log and the metrics call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Token => "token",
            Self::Address => "address",
            Self::Route => "route",
        }
    }
}

/// Whose count it is: a hash, which is also its name in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// Of these parts. None of them is read as part of another, whatever they hold.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut text = Vec::with_capacity(128);
        for part in parts {
            text.extend((part.len() as u64).to_be_bytes());
            text.extend(*part);
        }
        let mut key = [0; 16];
        key.copy_from_slice(&digest(&SHA256, &text).as_ref()[..16]);
        Self(key)
    }

    /// The half that picks no part of a table.
    pub fn bits(self) -> u64 {
        self.0
            .last_chunk()
            .map_or(0, |half| u64::from_be_bytes(*half))
    }
}

/// Who counts as one of `address`. Everybody whose address is not known is one.
pub fn subscriber(address: Option<IpAddr>) -> IpAddr {
    match address.map(|address| address.to_canonical()) {
        // Behind a NAT64 the whole of IPv4 is in one network (RFC 6052 §2.1): 64:ff9b::/96, and then the address.
        Some(IpAddr::V6(address)) if is_translated(address) => {
            let [.., a, b, c, d] = address.octets();
            Ipv4Addr::new(a, b, c, d).into()
        }
        Some(IpAddr::V6(address)) => within(address, 64).into(),
        Some(address) => address,
        None => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The largest IPv6 network that one site usually has, a /48: somebody who has one has 65,536 subscribers' networks.
pub fn site(address: IpAddr) -> Option<Ipv6Addr> {
    match address.to_canonical() {
        IpAddr::V6(address) if !is_translated(address) => Some(within(address, 80)),
        _ => None,
    }
}

fn within(address: Ipv6Addr, bits: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << bits))
}

fn is_translated(address: Ipv6Addr) -> bool {
    address.segments()[..6] == NAT64
}

/// The well-known prefix of addresses that stand for IPv4 ones (RFC 6052 §2.1).
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// About what one operator has: of IPv4 a /16, of IPv6 a /32. Who finds no room for a count of their own shares one with it.
pub fn range(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => u64::from(address.to_bits() >> 16),
        IpAddr::V6(address) => {
            u64::try_from(address.to_bits() >> 96).unwrap_or_default() + (1 << 32)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_key_is_read_as_another() {
        let key = |parts: &[&str]| {
            let parts: Vec<_> = parts.iter().map(|part| part.as_bytes()).collect();
            Key::of(&parts)
        };
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
        assert_ne!(key(&["a", "b"]), key(&["ab", ""]));
        assert_ne!(key(&["a", "b"]), key(&["a", "b", ""]));
    }

    #[test]
    fn a_subscriber_has_one_count() {
        let one = |text: &str| subscriber(Some(text.parse().unwrap())).to_string();
        assert_eq!(one("192.0.2.1"), "192.0.2.1");
        assert_eq!(one("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(one("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(one("64:ff9b::192.0.2.1"), "192.0.2.1");
        assert_eq!(one("64:ff9b::1:192.0.2.1"), "64:ff9b::");
        assert_eq!(subscriber(None).to_string(), "::");
        let site = |text: &str| site(text.parse().unwrap()).map(|site| site.to_string());
        assert_eq!(
            site("2001:db8:1:2:3:4:5:6").as_deref(),
            Some("2001:db8:1::")
        );
        for none in ["192.0.2.1", "64:ff9b::192.0.2.1"] {
            assert_eq!(site(none), None, "{none}");
        }
    }
}
