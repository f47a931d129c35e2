//! The client's real address, as trusted proxies report it. Pure.
//!
//! Each proxy appends the address of its peer to `X-Forwarded-For`. The list is read from the right, because an entry is only as
//! trustworthy as the proxy that wrote it. The first address that is not a trusted proxy is the client. The client may have
//! made up everything to the left of it.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};
use ipnet::IpNet;

use super::{
    X_FORWARDED_HOST,
    address::{is_trusted, parse_address, trusts},
    forwarded, is_authority,
};

/// In which headers trusted proxies tell what they saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForwardingHeaders {
    /// In `X-Forwarded-For`, `-Proto` and `-Host`; in `Forwarded` where none of these came.
    #[default]
    Either,
    /// In those three alone.
    XForwarded,
    /// In `Forwarded` (RFC 7239) alone. A proxy that writes this one passes the others on as its client wrote them.
    Forwarded,
}

impl ForwardingHeaders {
    /// Whether `Forwarded` is the one that counts among `headers`.
    fn is_standard(self, headers: &HeaderMap) -> bool {
        match self {
            Self::XForwarded => false,
            Self::Forwarded => true,
            Self::Either => {
                headers.contains_key(FORWARDED)
                    && ![&X_FORWARDED_FOR, &X_FORWARDED_PROTO, &X_FORWARDED_HOST]
                        .into_iter()
                        .any(|name| headers.contains_key(name))
            }
        }
    }
}

/// What can be said of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The first address from the right of `X-Forwarded-For` that is no trusted proxy; the peer's own
    /// where the peer is none. None for a Unix socket's peer that forwards nothing.
    pub address: Option<IpAddr>,
    /// Whether the peer's forwarding headers are believed.
    pub peer_is_trusted: bool,
    /// `https` or `http` as the browser sees it: from `X-Forwarded-Proto` of a trusted peer, else the
    /// listener's.
    pub is_https: bool,
    /// The authority that the browser asked for, where a trusted peer tells it: it may have put another into `Host`.
    pub host: Option<HeaderValue>,
    /// The addresses that a trusted peer's headers prove, from the right: trusted proxies, and the client at the end.
    pub(super) chain: Vec<IpAddr>,
}

/// Resolves the client. `peer` is the socket's address; a Unix socket's peer (None) is trusted only when
/// any trusted proxy is configured: who may connect is up to the file's permissions.
///
/// Of several `X-Forwarded-Proto` values the last counts: the trusted peer wrote it, and an earlier one
/// may be the client's. Of `Forwarded` each element is as good as the proxy that wrote it, and the one nearest to the
/// client counts.
pub fn resolve(
    peer: Option<IpAddr>,
    tls: bool,
    headers: &HeaderMap,
    trusted: &[IpNet],
    forwarding: ForwardingHeaders,
) -> Client {
    let peer = peer.map(|address| address.to_canonical());
    let mut client = Client {
        address: peer,
        peer_is_trusted: trusts(peer, trusted),
        is_https: tls,
        host: None,
        chain: Vec::new(),
    };
    if !client.peer_is_trusted {
        return client;
    }
    if forwarding.is_standard(headers) {
        for element in forwarded::believed(headers, trusted) {
            client.chain.extend(element.client);
            client.is_https = element.is_https.unwrap_or(client.is_https);
            let host = element
                .host
                .and_then(|host| HeaderValue::from_str(host).ok());
            client.host = host.or(client.host);
        }
        client.address = client.chain.last().copied().or(peer);
        return client;
    }
    client.chain = believed(headers, trusted).collect();
    client.address = client.chain.last().copied().or(peer);
    client.is_https = match last_value(headers, &X_FORWARDED_PROTO) {
        Some(b"https") => true,
        Some(b"http") => false,
        _ => tls,
    };
    // As of the others, the last line is the nearest proxy's; those before it may be the client's.
    let host = headers.get_all(&X_FORWARDED_HOST).iter().next_back();
    client.host = host
        .filter(|host| host.to_str().is_ok_and(is_authority))
        .cloned();
    client
}

/// The addresses that a trusted peer's `X-Forwarded-For` proves, from the right: trusted proxies, and the
/// client at the end. Something that is no address ends them early: what is beyond it cannot be told.
fn believed<'a>(headers: &'a HeaderMap, trusted: &'a [IpNet]) -> impl Iterator<Item = IpAddr> + 'a {
    let mut behind_proxy = true;
    entries(headers, &X_FORWARDED_FOR)
        .map_while(parse_address)
        .take_while(move |address| {
            let is_believed = behind_proxy;
            behind_proxy = is_trusted(*address, trusted);
            is_believed
        })
}

fn last_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    entries(headers, name).next()
}

/// The entries of a list header from the right. Several headers are one list (RFC 9110 §5.3), and empty
/// entries do not count (§5.6.1.2).
fn entries<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers
        .get_all(name)
        .iter()
        .rev()
        .map(HeaderValue::as_bytes)
        .flat_map(|line| line.rsplit(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|entry| !entry.is_empty())
}

pub(super) static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOLD: ForwardingHeaders = ForwardingHeaders::Either;

    fn trusted() -> Vec<IpNet> {
        ["10.0.0.0/8", "::1/128"]
            .map(|net| net.parse().unwrap())
            .to_vec()
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    /// The client's address for one `X-Forwarded-For` per entry of `lists`.
    fn client(peer: &str, lists: &[&str]) -> Option<String> {
        let lines: Vec<_> = lists
            .iter()
            .map(|list| ("x-forwarded-for", *list))
            .collect();
        let peer = peer.parse().ok();
        resolve(peer, false, &headers(&lines), &trusted(), TOLD)
            .address
            .map(|address| address.to_string())
    }

    #[test]
    fn walks_from_the_right_to_the_first_untrusted() {
        for (peer, lists, expected) in [
            ("192.0.2.7", &["127.0.0.1"][..], "192.0.2.7"),
            ("10.0.0.9", &[], "10.0.0.9"),
            ("10.0.0.9", &["198.51.100.1"], "198.51.100.1"),
            (
                "10.0.0.9",
                &["127.0.0.1, 198.51.100.1, 10.0.0.5"],
                "198.51.100.1",
            ),
            (
                "10.0.0.9",
                &["127.0.0.1", "198.51.100.1", "10.0.0.5"],
                "198.51.100.1",
            ),
            ("10.0.0.9", &["evil, 10.0.0.5"], "10.0.0.5"),
            ("10.0.0.9", &["198.51.100.1, evil"], "10.0.0.9"),
            ("10.0.0.9", &["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
            ("10.0.0.9", &[", 198.51.100.1,, ,"], "198.51.100.1"),
            ("::ffff:10.0.0.9", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("::ffff:192.0.2.7", &["127.0.0.1"], "192.0.2.7"),
            ("::1", &["[2001:db8::1]:1234"], "2001:db8::1"),
            ("::1", &["198.51.100.1:80"], "198.51.100.1"),
            ("::1", &["10::23"], "10::23"),
            ("::1", &["[::1]"], "::1"),
            ("::1", &["unknown"], "::1"),
            ("::1", &["10000.1.1.1"], "::1"),
            ("::1", &["198.51.100.1:"], "::1"),
            ("::1", &["[2001:db8::1]x"], "::1"),
            ("::1", &["[198.51.100.1]"], "::1"),
            ("::1", &["fe80::1%eth0"], "::1"),
        ] {
            assert_eq!(
                client(peer, lists).as_deref(),
                Some(expected),
                "{peer} {lists:?}"
            );
        }
    }

    #[test]
    fn of_several_hosts_the_nearest_proxys_counts() {
        let headers = headers(&[
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-host", "app.example"),
        ]);
        let client = resolve("10.0.0.9".parse().ok(), false, &headers, &trusted(), TOLD);
        assert_eq!(client.host.unwrap(), "app.example");
    }

    #[test]
    fn bytes_that_are_no_text_harm_only_what_stands_left_of_them() {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_bytes(b"\xff, 198.51.100.1").unwrap();
        headers.insert(&X_FORWARDED_FOR, value);
        let client = resolve("10.0.0.9".parse().ok(), false, &headers, &trusted(), TOLD);
        assert_eq!(client.address, "198.51.100.1".parse().ok());
    }

    #[test]
    fn a_unix_peer_is_trusted_with_any_trusted_proxy() {
        let headers = headers(&[
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-proto", "https"),
        ]);
        let believed = resolve(None, false, &headers, &trusted(), TOLD);
        assert_eq!(believed.address, "198.51.100.1".parse().ok());
        assert!(believed.peer_is_trusted && believed.is_https);
        let doubted = resolve(None, false, &headers, &[], TOLD);
        let nobody = Client {
            address: None,
            peer_is_trusted: false,
            is_https: false,
            host: None,
            chain: Vec::new(),
        };
        assert_eq!(doubted, nobody);
        assert_eq!(
            resolve(None, true, &HeaderMap::new(), &trusted(), TOLD).address,
            None
        );
    }

    #[test]
    fn the_scheme_is_believed_from_the_nearest_proxy() {
        let is_https = |peer: &str, tls: bool, protos: &[&str]| {
            let lines: Vec<_> = protos
                .iter()
                .map(|proto| ("x-forwarded-proto", *proto))
                .collect();
            resolve(peer.parse().ok(), tls, &headers(&lines), &trusted(), TOLD).is_https
        };
        for (peer, tls, protos, expected) in [
            ("192.0.2.7", false, &["https"][..], false),
            ("192.0.2.7", true, &["http"], true),
            ("10.0.0.9", false, &["https"], true),
            ("10.0.0.9", true, &["http"], false),
            ("10.0.0.9", false, &["https, http"], false),
            ("10.0.0.9", false, &["http", "https"], true),
            ("10.0.0.9", false, &["HTTPS"], false),
            ("10.0.0.9", true, &["https http"], true),
            ("10.0.0.9", true, &[], true),
        ] {
            assert_eq!(
                is_https(peer, tls, protos),
                expected,
                "{peer} {tls} {protos:?}"
            );
        }
    }

    #[test]
    fn one_spelling_counts_and_never_a_mixture() {
        use ForwardingHeaders::{Either, Forwarded, XForwarded};
        let x = [
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "x.example"),
        ];
        let standard = (
            "forwarded",
            "for=127.0.0.1, for=198.51.100.2;proto=https;host=f.example, for=10.0.0.5;proto=http;host=inner",
        );
        let resolve = |lines: &[(&'static str, &str)], forwarding| {
            let peer = "10.0.0.9".parse().ok();
            let client = resolve(peer, false, &headers(lines), &trusted(), forwarding);
            let host = client.host.map(|host| host.to_str().unwrap().to_owned());
            (client.address.unwrap().to_string(), client.is_https, host)
        };
        let of = |address: &str, is_https, host: Option<&str>| {
            (address.to_owned(), is_https, host.map(str::to_owned))
        };
        let (by_x, by_standard, by_none) = (
            of("198.51.100.1", false, Some("x.example")),
            of("198.51.100.2", true, Some("f.example")),
            of("10.0.0.9", false, None),
        );
        let both = [x[0], x[1], x[2], standard];
        assert_eq!(resolve(&both, Either), by_x);
        assert_eq!(resolve(&both, XForwarded), by_x);
        assert_eq!(resolve(&both, Forwarded), by_standard);
        assert_eq!(resolve(&[standard], Either), by_standard);
        assert_eq!(resolve(&[standard], XForwarded), by_none);
        assert_eq!(resolve(&x, Forwarded), by_none);
        // One of the three is enough to say which the proxy speaks.
        for one in x {
            let (address, is_https, host) = resolve(&[one, standard], Either);
            assert!(address != "198.51.100.2" && !is_https && host.as_deref() != Some("f.example"));
        }
        let untrusted = super::resolve(
            "192.0.2.7".parse().ok(),
            false,
            &headers(&[standard]),
            &trusted(),
            Forwarded,
        );
        assert_eq!(
            (untrusted.address, untrusted.is_https),
            ("192.0.2.7".parse().ok(), false)
        );
        assert_eq!(untrusted.host, None);
    }

    proptest! {
        #[test]
        fn what_the_client_writes_changes_nothing(spoofed in "[0-9a-f.:, \\[\\]]{0,40}", real: [u8; 4]) {
            let real = IpAddr::from(real);
            prop_assume!(!is_trusted(real, &trusted()));
            let list = format!("{spoofed}, {real}, 10.0.0.5");
            let headers = headers(&[("x-forwarded-for", &list)]);
            let client = resolve("10.0.0.9".parse().ok(), false, &headers, &trusted(), TOLD);
            prop_assert_eq!(client.address, Some(real));
            let direct = resolve(Some(real), false, &headers, &trusted(), TOLD);
            prop_assert_eq!(direct.address, Some(real));
        }
    }
}
