//! Addresses as forwarding headers write them, and which of them belong to trusted proxies. Pure.

use std::{net::IpAddr, str};

use ipnet::IpNet;

/// Whether the forwarding headers of `peer` are believed; none is a Unix socket's.
pub(super) fn trusts(peer: Option<IpAddr>, trusted: &[IpNet]) -> bool {
    peer.map_or(!trusted.is_empty(), |peer| is_trusted(peer, trusted))
}

pub(super) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`. An IPv4 address that
/// came over an IPv6 socket is an IPv4 address.
pub(super) fn parse_address(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry).ok()?;
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let address = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        if !(port.is_empty() || port.strip_prefix(':').is_some_and(is_port)) {
            return None;
        }
        IpAddr::V6(address.parse().ok()?)
    } else {
        match text.split_once(':') {
            Some((address, port)) if !port.contains(':') => {
                is_port(port).then_some(())?;
                IpAddr::V4(address.parse().ok()?)
            }
            _ => text.parse().ok()?,
        }
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn addresses_survive_their_spellings(address: IpAddr, port: u16) {
            let canonical = Some(address.to_canonical());
            prop_assert_eq!(parse_address(address.to_string().as_bytes()), canonical);
            let with_port = std::net::SocketAddr::new(address, port).to_string();
            prop_assert_eq!(parse_address(with_port.as_bytes()), canonical);
        }
    }
}
