//! The headers in which proxies tell what they saw, as the upstream gets them. Pure.
//!
//! Apps believe them: they log the address, build links from host and scheme, and some serve the path
//! of `X-Original-URL` instead of the one that was asked for. So a client's own copies go, a trusted
//! proxy's stay as far as they say nothing else than the gate, and the common four are rebuilt from what
//! the gate knows. `Forwarded` (RFC 7239) goes in any case: two accounts may differ.

use std::{fmt::Write as _, net::IpAddr, sync::LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::{
    Peer,
    client::{self, Client, X_FORWARDED_FOR, X_FORWARDED_PROTO},
    names::NameSet,
};

/// Headers that only a proxy writes.
pub const FORWARDING_NAMES: &[&str] = &[
    "forwarded",
    "x-forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-proxyuser-ip",
    "x-envoy-external-address",
    "x-envoy-original-path",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-scheme",
    "x-url-scheme",
    "x-rewrite-url",
    "x-override-url",
    "front-end-https",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-visitor",
    "fastly-client-ip",
    "client-ip",
    // CGI knows it as HTTP_PROXY, through which some clients then call out.
    "proxy",
];

/// What begins the other names of that kind.
pub const FORWARDING_PREFIXES: &[&str] = &["x-forwarded-", "x-original-"];

/// Headers that name another method, path or host than the one that was judged, or that the gate does
/// not rebuild although it changes what they tell. Upstreams get them from nobody.
const CONTRADICTING_NAMES: &[&str] = &[
    "forwarded",
    "x-forwarded",
    "x-envoy-original-path",
    "x-forwarded-method",
    "x-forwarded-path",
    "x-forwarded-uri",
    "x-forwarded-url",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "proxy",
    "x-override-url",
    "x-rewrite-url",
];

/// Removes every forwarding header, in every spelling. For whatever comes from an untrusted peer, before
/// anything reads it.
pub fn strip(headers: &mut HeaderMap) {
    FORWARDING.remove(headers, |_| true);
}

/// Whether `name`, in lower case, is a forwarding header in some spelling.
pub fn is_forwarding(name: &str) -> bool {
    FORWARDING.contains(name)
}

/// Makes the forwarding headers of a request to the upstream say what the gate knows. `host` is the
/// authority that the browser asked for.
///
/// - `X-Forwarded-For`: the peer alone, or what a trusted peer's list proves with the peer appended;
/// - `X-Real-IP`: the client;
/// - `X-Forwarded-Proto` and `X-Forwarded-Host`: scheme and authority as the browser sees them.
///
/// Where nothing is known (a Unix socket's peer that forwards nothing) the header is absent.
pub fn rebuild(
    headers: &mut HeaderMap,
    peer: &Peer,
    client: &Client,
    trusted: &[IpNet],
    host: Option<HeaderValue>,
) {
    let any = headers.keys().any(|name| is_forwarding(name.as_str()));
    rebuild_noted(headers, any, peer, client, trusted, host);
}

/// As [`rebuild`]; `any` is whether there is a forwarding header, or was one before some were removed.
pub(super) fn rebuild_noted(
    headers: &mut HeaderMap,
    any: bool,
    peer: &Peer,
    client: &Client,
    trusted: &[IpNet],
    host: Option<HeaderValue>,
) {
    let (chain, client_address) = if client.peer_is_trusted {
        let mut chain: Vec<_> = client::believed(headers, trusted).collect();
        chain.reverse();
        chain.extend(peer.address());
        let is_misspelt = |name: &HeaderName| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            !name.as_str().bytes().all(plain) || CONTRADICTING.contains(name.as_str())
        };
        FORWARDING.remove(headers, is_misspelt);
        let client_address = client.address.and_then(|address| addresses(&[address]));
        (addresses(&chain), client_address)
    } else {
        if any {
            strip(headers);
        }
        // The peer is the client.
        (peer.header().cloned(), peer.header().cloned())
    };
    let proto = HeaderValue::from_static(if client.is_https { "https" } else { "http" });
    let mut set = |name: HeaderName, value: Option<HeaderValue>| match value {
        Some(value) => _ = headers.insert(name, value),
        None if any => _ = headers.remove(name),
        None => {}
    };
    set(X_FORWARDED_FOR, chain);
    set(X_REAL_IP, client_address);
    set(X_FORWARDED_PROTO, Some(proto));
    set(X_FORWARDED_HOST, host);
}

/// The addresses as one list; none for no address.
fn addresses(chain: &[IpAddr]) -> Option<HeaderValue> {
    let (first, rest) = chain.split_first()?;
    let mut list = first.to_string();
    for address in rest {
        write!(list, ", {address}").ok()?;
    }
    HeaderValue::try_from(list).ok()
}

static FORWARDING: LazyLock<NameSet> = LazyLock::new(|| {
    NameSet::new(
        FORWARDING_NAMES.iter().copied(),
        FORWARDING_PREFIXES.iter().copied(),
    )
});
static CONTRADICTING: LazyLock<NameSet> =
    LazyLock::new(|| NameSet::new(CONTRADICTING_NAMES.iter().copied(), ["x-original-"]));

const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    /// What the upstream gets, sorted by name.
    fn rebuilt(
        peer: Option<&str>,
        lines: &[(&'static str, &'static str)],
    ) -> Vec<(String, String)> {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let peer = peer.map(|peer| peer.parse().unwrap());
        let mut headers = headers(lines);
        let client = client::resolve(peer, false, &headers, &trusted);
        let host = HeaderValue::from_static("app.example.com");
        rebuild(
            &mut headers,
            &Peer::new(peer, false),
            &client,
            &trusted,
            Some(host),
        );
        let mut lines: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        lines.sort_unstable();
        lines
    }

    fn expect(lines: &[(&str, &str)]) -> Vec<(String, String)> {
        lines
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn nothing_of_an_untrusted_peer_is_left() {
        let spoofed: Vec<_> = FORWARDING_NAMES
            .iter()
            .map(|name| (*name, "evil"))
            .collect();
        let mut spoofed = spoofed;
        spoofed.extend([
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-for", "127.0.0.2"),
            ("x_forwarded_for", "127.0.0.1"),
            ("x.forwarded.host", "evil"),
            ("x-forwarded-anything", "evil"),
            ("x-original-url", "/admin"),
            ("x_original_url", "/admin"),
            ("accept", "text/html"),
        ]);
        let expected = expect(&[
            ("accept", "text/html"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-host", "app.example.com"),
            ("x-forwarded-proto", "http"),
            ("x-real-ip", "192.0.2.7"),
        ]);
        assert_eq!(rebuilt(Some("192.0.2.7"), &spoofed), expected);
        assert_eq!(rebuilt(Some("::ffff:192.0.2.7"), &spoofed), expected);
    }

    #[test]
    fn a_trusted_peers_chain_goes_on() {
        let lines = [
            ("x-forwarded-for", "127.0.0.1, 198.51.100.1, 10.0.0.5"),
            ("x_forwarded_for", "127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "old.example.com"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-prefix", "/app"),
            ("x-forwarded-uri", "/public"),
            ("x-original-url", "/admin"),
            ("x-rewrite-url", "/admin"),
            ("forwarded", "for=127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
        ];
        let expected = expect(&[
            ("x-forwarded-for", "198.51.100.1, 10.0.0.5, 10.0.0.9"),
            ("x-forwarded-host", "app.example.com"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-prefix", "/app"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "198.51.100.1"),
        ]);
        assert_eq!(rebuilt(Some("10.0.0.9"), &lines), expected);
    }

    #[test]
    fn what_is_unknown_is_absent() {
        let expected = expect(&[
            ("x-forwarded-host", "app.example.com"),
            ("x-forwarded-proto", "http"),
        ]);
        assert_eq!(rebuilt(None, &[("x-real-ip", "127.0.0.1")]), expected);
    }

    #[test]
    fn garbage_in_the_list_is_not_passed_on() {
        let lines = [("x-forwarded-for", "evil, 10.0.0.5")];
        let got = rebuilt(Some("10.0.0.9"), &lines);
        assert_eq!(got[0].1, "10.0.0.5, 10.0.0.9");
    }

    proptest! {
        #[test]
        fn a_client_cannot_speak_for_itself(
            name in "(x[-_.](forwarded|original)[-_.][a-z]{1,6}|x[_.]real[-_]ip|forwarded)",
            peer: IpAddr,
        ) {
            let mut headers = HeaderMap::new();
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.insert(name, HeaderValue::from_static("evil"));
            let client = client::resolve(Some(peer), true, &headers, &[]);
            rebuild(&mut headers, &Peer::new(Some(peer), false), &client, &[], None);
            prop_assert!(!headers.values().any(|value| value == "evil"));
        }
    }
}
