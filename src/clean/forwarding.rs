//! The forwarding headers, as the upstream gets them. Pure.
//!
//! Apps believe them: they log the address, build links from host and scheme, and some serve the path of `X-Original-URL` instead
//! of the requested one. So a client's own copies are removed. A trusted proxy's copies stay if they agree with the gate. The common
//! four, and `Forwarded` (RFC 7239), are written anew from what the gate knows: two headers that disagree would be an attack.

use std::{fmt::Write as _, net::IpAddr, sync::LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue, header::HOST};

use super::{
    Peer, X_FORWARDED_HOST,
    client::{Client, X_FORWARDED_FOR, X_FORWARDED_PROTO},
    forwarded,
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
    "x-request-id",
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

/// Whether a header tells another method, path or host than the one that was judged, or stands for a forwarding header in a
/// spelling that no proxy writes and some apps read.
pub fn misleads(name: &HeaderName) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    CONTRADICTING.contains(name.as_str())
        || !name.as_str().bytes().all(plain) && is_forwarding(name.as_str())
}

/// Whether `X-Forwarded-Host` names another host than `Host` does, which is the one that was judged.
pub fn names_another_host(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    let mut named = headers.get_all(&X_FORWARDED_HOST).iter();
    named.any(|named| !host.is_some_and(|host| named.as_bytes().eq_ignore_ascii_case(host)))
}

/// The scheme and the authority as the browser sees them.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether it is `https`.
    pub is_https: bool,
    /// The authority.
    pub host: HeaderValue,
}

/// What the upstream is told of the way that a request came, instead of what others said of it. Where nothing
/// is known (a Unix socket's peer that forwards nothing) there is no line.
#[derive(Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// `X-Forwarded-For`: the peer alone, or what a trusted peer's list proves with the peer appended.
    chain: Option<HeaderValue>,
    /// `X-Real-IP`: the client.
    client: Option<HeaderValue>,
    /// `X-Forwarded-Proto` and `X-Forwarded-Host`.
    seen: Seen,
}

impl Forwarding {
    /// Takes the forwarding headers out of a request, but for what of a trusted peer's says nothing else than the
    /// gate, and gives what the gate knows.
    pub fn rebuild(headers: &mut HeaderMap, peer: &Peer, client: &Client, seen: Seen) -> Self {
        let any = headers.keys().any(|name| is_forwarding(name.as_str()));
        Self::rebuild_noted(headers, any, peer, client, seen)
    }

    /// As [`rebuild`](Self::rebuild); `any` is whether there is a forwarding header, or was one before some were
    /// removed.
    pub(super) fn rebuild_noted(
        headers: &mut HeaderMap,
        any: bool,
        peer: &Peer,
        client: &Client,
        seen: Seen,
    ) -> Self {
        let (chain, client_address) = if client.peer_is_trusted {
            let chain = client.chain.iter().rev().copied();
            let client_address = addresses(client.address.into_iter());
            (addresses(chain.chain(peer.address())), client_address)
        } else {
            // The peer is the client.
            (peer.header().cloned(), peer.header().cloned())
        };
        if any && client.peer_is_trusted {
            FORWARDING.remove(headers, is_ours_or_misspelt);
        } else if any {
            strip(headers);
        }
        Self {
            chain,
            client: client_address,
            seen,
        }
    }

    /// The scheme and the authority as the browser sees them.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Writes the value of `Forwarded`.
    pub fn write_forwarded(&self, into: &mut Vec<u8>) {
        let chain = self.chain.as_ref().and_then(|chain| chain.to_str().ok());
        let Seen { is_https, host } = &self.seen;
        forwarded::write(chain, *is_https, host.as_bytes(), into);
    }

    /// Its other lines: names and values.
    pub fn lines(&self) -> impl Iterator<Item = (&HeaderName, &[u8])> {
        let proto: &[u8] = if self.seen.is_https {
            b"https"
        } else {
            b"http"
        };
        [
            (
                &X_FORWARDED_FOR,
                self.chain.as_ref().map(HeaderValue::as_bytes),
            ),
            (&X_REAL_IP, self.client.as_ref().map(HeaderValue::as_bytes)),
            (&X_FORWARDED_PROTO, Some(proto)),
            (&X_FORWARDED_HOST, Some(self.seen.host.as_bytes())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// Whether a trusted peer's header must go: it is written anew, in another spelling, or contradicts. Its name for
/// the request stays.
fn is_ours_or_misspelt(name: &HeaderName) -> bool {
    [
        &X_FORWARDED_FOR,
        &X_REAL_IP,
        &X_FORWARDED_PROTO,
        &X_FORWARDED_HOST,
    ]
    .contains(&name)
        || misleads(name)
}

/// The addresses as one list; none for no address.
fn addresses(mut chain: impl Iterator<Item = IpAddr>) -> Option<HeaderValue> {
    let mut list = chain.next()?.to_string();
    for address in chain {
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

static X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clean::client;

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
        let client = client::resolve(
            peer,
            false,
            &headers,
            &trusted,
            client::ForwardingHeaders::Either,
        );
        let seen = Seen {
            is_https: client.is_https,
            host: HeaderValue::from_static("app.example.com"),
        };
        let forwarding = Forwarding::rebuild(&mut headers, &Peer::new(peer, false), &client, seen);
        let left = headers.iter().map(|(name, value)| (name, value.as_bytes()));
        let mut lines: Vec<_> = left
            .chain(forwarding.lines())
            .map(|(name, value)| (name.to_string(), str::from_utf8(value).unwrap().to_owned()))
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
            let client = client::resolve(Some(peer), true, &headers, &[], client::ForwardingHeaders::Either);
            let peer = Peer::new(Some(peer), false);
            let host = HeaderValue::from_static("app.example.com");
            let seen = Seen { is_https: true, host };
            let forwarding = Forwarding::rebuild(&mut headers, &peer, &client, seen);
            prop_assert!(headers.is_empty());
            prop_assert!(forwarding.lines().all(|(_, value)| value != b"evil"));
        }
    }
}
