//! `Forwarded` (RFC 7239): each proxy appends an element with what it saw. Pure.
//!
//! It is read from the right, because the client may have made up everything to the left of a trusted proxy's element. That
//! includes a quotation mark that never closes: read from the left, it would swallow what follows.

use std::{net::IpAddr, str};

use http::{HeaderMap, HeaderValue, header::FORWARDED};
use ipnet::IpNet;

use super::{
    address::{is_trusted, parse_address},
    is_authority,
};

/// What one proxy says of the request that it was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Element<'a> {
    /// `for`: whom it came from; none where that is hidden, unknown, or not said.
    pub client: Option<IpAddr>,
    /// `proto`, where it is one of the two.
    pub is_https: Option<bool>,
    /// `host`, where it is made as an authority is.
    pub host: Option<&'a str>,
}

/// The elements that a trusted peer's header proves, from the right: one of each trusted proxy, and the client's at the
/// end. One that is malformed, or tells no address, ends them: what is beyond it cannot be told.
pub fn believed<'a>(
    headers: &'a HeaderMap,
    trusted: &'a [IpNet],
) -> impl Iterator<Item = Element<'a>> + 'a {
    let mut behind_proxy = true;
    elements(headers)
        .map_while(read)
        .take_while(move |element| {
            let is_believed = behind_proxy;
            behind_proxy = element
                .client
                .is_some_and(|client| is_trusted(client, trusted));
            is_believed
        })
}

/// The elements from the right. Several headers are one list (RFC 9110 §5.3), and empty elements do not count.
fn elements(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(FORWARDED)
        .iter()
        .rev()
        .map(HeaderValue::as_bytes)
        .flat_map(|line| FromRight { rest: Some(line) })
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// A list's parts from the right. A comma between two quotation marks parts nothing.
struct FromRight<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for FromRight<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        let mut is_quoted = false;
        for (at, byte) in rest.iter().enumerate().rev() {
            match byte {
                b'"' => is_quoted = !is_quoted,
                b',' if !is_quoted => {
                    self.rest = Some(&rest[..at]);
                    return Some(&rest[at + 1..]);
                }
                _ => {}
            }
        }
        Some(rest)
    }
}

/// Reads `for=192.0.2.1;proto=https;host="app.example.com:8443"`. None where it is malformed; escapes in a quotation, which
/// no address and no host needs, make it so.
fn read(element: &[u8]) -> Option<Element<'_>> {
    let mut rest = str::from_utf8(element).ok()?;
    let mut read = Element::default();
    let mut seen = [false; 3];
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        if name.is_empty() || !name.bytes().all(is_plain) {
            return None;
        }
        let (value, after) = if let Some(quoted) = after.strip_prefix('"') {
            quoted
                .split_once('"')
                .filter(|(value, _)| !value.contains('\\'))?
        } else {
            let (value, after) = after.split_at(after.find(';').unwrap_or(after.len()));
            let value = value.trim_ascii_end();
            // Without quotation marks some write what needs them: an IPv6 address, a port.
            let may_be = |byte| is_plain(byte) || b":[]".contains(&byte);
            (!value.is_empty() && value.bytes().all(may_be)).then_some((value, after))?
        };
        let number = ["for", "proto", "host"]
            .iter()
            .position(|known| name.eq_ignore_ascii_case(known));
        if let Some(number) = number {
            // At most once each (§4).
            if std::mem::replace(&mut seen[number], true) {
                return None;
            }
            match number {
                0 => read.client = parse_address(value.as_bytes()),
                1 => read.is_https = scheme(value),
                _ => read.host = Some(value).filter(|host| is_authority(host)),
            }
        }
        let after = after.trim_ascii_start();
        rest = match after.strip_prefix(';') {
            Some(next) => next.trim_ascii_start(),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(read)
}

fn scheme(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("https") {
        Some(true)
    } else {
        text.eq_ignore_ascii_case("http").then_some(false)
    }
}

/// RFC 9110 §5.6.2
fn is_plain(byte: u8) -> bool {
    IS_PLAIN[usize::from(byte)]
}

/// A table: each request's host is looked through.
static IS_PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        plain[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut others: &[u8] = b"!#$%&'*+-.^_`|~";
    while let [other, rest @ ..] = others {
        plain[*other as usize] = true;
        others = rest;
    }
    plain
};

/// Writes the elements of a header: one for each of `chain` (addresses, the client's first), and each says what the browser
/// sees, for some read the first and some the last.
pub(super) fn write(chain: Option<&str>, is_https: bool, host: &[u8], into: &mut Vec<u8>) {
    let seen = |into: &mut Vec<u8>| {
        if !host.is_empty() {
            into.extend_from_slice(b"host=");
            if host.iter().copied().all(is_plain) {
                into.extend_from_slice(host);
            } else {
                into.push(b'"');
                into.extend_from_slice(host);
                into.push(b'"');
            }
            into.push(b';');
        }
        into.extend_from_slice(if is_https {
            b"proto=https"
        } else {
            b"proto=http"
        });
    };
    let Some(chain) = chain else {
        return seen(into);
    };
    for (number, address) in chain.split(',').enumerate() {
        let address = address.trim_ascii_start();
        if number > 0 {
            into.extend_from_slice(b", ");
        }
        let (open, close): (&[u8], &[u8]) = if address.contains(':') {
            (b"for=\"[", b"]\";")
        } else {
            (b"for=", b";")
        };
        into.extend_from_slice(open);
        into.extend_from_slice(address.as_bytes());
        into.extend_from_slice(close);
        seen(into);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let values = lines.iter().map(|line| line.parse().unwrap());
        values
            .map(|value: HeaderValue| (FORWARDED, value))
            .collect()
    }

    fn element(
        client: &str,
        is_https: Option<bool>,
        host: Option<&'static str>,
    ) -> Element<'static> {
        Element {
            client: client.parse().ok(),
            is_https,
            host,
        }
    }

    #[test]
    fn reads_what_a_proxy_says() {
        let app = Some("app.example");
        for (text, expected) in [
            ("for=192.0.2.1", element("192.0.2.1", None, None)),
            (
                "For=\"[2001:db8::1]:4711\";Proto=HTTPS;Host=app.example",
                element("2001:db8::1", Some(true), app),
            ),
            (
                "host=\"app.example:8443\" ; proto=http ;for=192.0.2.1:80;by=_gate;",
                element("192.0.2.1", Some(false), Some("app.example:8443")),
            ),
            (
                "for=2001:db8::1;host=app.example",
                element("2001:db8::1", None, app),
            ),
            ("for=unknown;proto=https", element("", Some(true), None)),
            ("for=_hidden", element("", None, None)),
            ("for=\"_gazonk\"", element("", None, None)),
            ("for=192.0.2.1;proto=ftp", element("192.0.2.1", None, None)),
            ("proto=https", element("", Some(true), None)),
            (
                "secret=\"a;b,c\";proto=https",
                element("", Some(true), None),
            ),
        ] {
            let headers = headers(&[text]);
            let found: Vec<_> = elements(&headers).map(read).collect();
            assert_eq!(found, [Some(expected)], "{text}");
        }
    }

    #[test]
    fn what_is_malformed_says_nothing() {
        for text in [
            "192.0.2.1",
            "for",
            "=192.0.2.1",
            "for=",
            "for =192.0.2.1",
            "for= 192.0.2.1",
            "for=192.0.2.1;for=192.0.2.2",
            "for=192.0.2.1;FOR=192.0.2.1",
            "for=\"192.0.2.1",
            "for=\"192.0.2.1\"x",
            "for=\"192.0\\.2.1\"",
            "for=192.0.2.1 proto=https",
            "for=192.0.2.1;;proto=https",
            "for={evil}",
        ] {
            let headers = headers(&[text]);
            assert_eq!(elements(&headers).next().map(read), Some(None), "{text}");
        }
        let host = headers(&["host=\"evil/path\""]);
        assert_eq!(elements(&host).next().and_then(read).unwrap().host, None);
    }

    #[test]
    fn walks_from_the_right_to_the_first_untrusted() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let walk = |lines: &[&str]| -> Vec<String> {
            let headers = headers(lines);
            let clients = believed(&headers, &trusted).map(|element| match element.client {
                Some(client) => client.to_string(),
                None => "-".to_owned(),
            });
            clients.collect()
        };
        for (lines, expected) in [
            (
                &["for=127.0.0.1, for=198.51.100.1, for=10.0.0.5"][..],
                &["10.0.0.5", "198.51.100.1"][..],
            ),
            (
                &["for=127.0.0.1", "for=198.51.100.1", "for=10.0.0.5"],
                &["10.0.0.5", "198.51.100.1"],
            ),
            (&["evil, for=10.0.0.5"], &["10.0.0.5"]),
            (&["for=127.0.0.1, for=unknown"], &["-"]),
            (&["for=127.0.0.1, proto=https"], &["-"]),
            (&["for=127.0.0.1, evil"], &[]),
            // Nothing that a client sends reaches into what its proxy writes.
            (&["for=\"x, for=198.51.100.1"], &["198.51.100.1"]),
            (&["for=\"x", "for=198.51.100.1"], &["198.51.100.1"]),
            (&["for=\"x\\, for=\"[2001:db8::1]\""], &["2001:db8::1"]),
            (&["for=\"127.0.0.1,\", for=10.0.0.5"], &["10.0.0.5", "-"]),
        ] {
            assert_eq!(walk(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        let mut written = Vec::new();
        write(
            Some("2001:db8::1, 10.0.0.5"),
            true,
            b"app.example:8443",
            &mut written,
        );
        let text = String::from_utf8(written).unwrap();
        assert_eq!(
            text,
            "for=\"[2001:db8::1]\";host=\"app.example:8443\";proto=https, for=10.0.0.5;host=\"app.example:8443\";proto=https"
        );
        let headers = headers(&[&text]);
        let host = Some("app.example:8443");
        let found: Vec<_> = elements(&headers).map(read).collect();
        let expected = [
            Some(element("10.0.0.5", Some(true), host)),
            Some(element("2001:db8::1", Some(true), host)),
        ];
        assert_eq!(found, expected);
        let mut written = Vec::new();
        write(None, false, b"", &mut written);
        assert_eq!(written, b"proto=http");
    }

    proptest! {
        #[test]
        fn what_the_client_writes_changes_nothing(spoofed in "[-a-z0-9.:=;,\"\\\\ \\[\\]]{0,40}", real: IpAddr, split: bool) {
            let trusted = ["10.0.0.0/8".parse().unwrap()];
            let real = real.to_canonical();
            prop_assume!(!is_trusted(real, &trusted));
            let own = format!("for=\"{}\";proto=https;host=app.example", match real {
                IpAddr::V4(real) => real.to_string(),
                IpAddr::V6(real) => format!("[{real}]:1"),
            });
            let both = if split {
                headers(&[&spoofed, &own])
            } else {
                headers(&[&format!("{spoofed}, {own}")])
            };
            let found: Vec<_> = believed(&both, &trusted).collect();
            prop_assert_eq!(found, [element(&real.to_string(), Some(true), Some("app.example"))]);
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in vec(any::<u8>(), 0..80)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let headers = HeaderMap::from_iter([(FORWARDED, value)]);
                prop_assert!(believed(&headers, &[]).count() <= 1);
            }
        }
    }
}
