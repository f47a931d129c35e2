//! Web origins (RFC 6454): scheme, host and port, compared as browsers compare them. Pure.

use std::fmt;

use http::HeaderValue;

use crate::public_url::PublicUrl;

/// An origin of `https` or `http`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebOrigin {
    is_https: bool,
    /// In lower case.
    host: String,
    port: u16,
}

impl WebOrigin {
    /// What an `Origin` header says (RFC 6454 §7.1), if that is one such origin. `null`, a list, and an address with a
    /// path or a user are none.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_https = scheme.eq_ignore_ascii_case("https");
        if !is_https && !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        Self::of_authority(is_https, authority)
    }

    /// The origin that `authority` names under a scheme.
    pub fn of_authority(is_https: bool, authority: &str) -> Option<Self> {
        let (host, port) = split(authority)?;
        Some(Self {
            is_https,
            host: host.to_ascii_lowercase(),
            port: port.unwrap_or_else(|| default_port(is_https)),
        })
    }
}

impl WebOrigin {
    /// Whether it is within TLS.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// Its host, in lower case.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for WebOrigin {
    /// As a browser writes it: the port only where it is not the scheme's own.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(formatter, "{scheme}://{}", self.host)?;
        if self.port != default_port(self.is_https) {
            write!(formatter, ":{}", self.port)?;
        }
        Ok(())
    }
}

/// The origin that users type, as requests are held against it.
#[derive(Clone, Debug)]
pub struct PublicOrigin {
    /// Whether browsers reach it over TLS.
    pub is_https: bool,
    /// Host, and port where it is not the scheme's own.
    pub authority: HeaderValue,
    origin: WebOrigin,
}

impl PublicOrigin {
    /// Of the configuration's `public_url`.
    ///
    /// # Panics
    /// Never: the configuration was checked.
    pub fn new(public_url: &PublicUrl) -> Self {
        let (is_https, authority) = (public_url.is_https(), public_url.authority());
        Self {
            is_https,
            authority: HeaderValue::from_str(authority).expect("a URL's authority is ASCII"),
            origin: WebOrigin::of_authority(is_https, authority).expect("a URL has a host"),
        }
    }

    /// Whether a request for `authority` came for it. Letters may be of either case, and the scheme's own port may be
    /// written out (RFC 9110 §4.2.3).
    pub fn is_named_by(&self, authority: &HeaderValue) -> bool {
        if authority == self.authority {
            return true;
        }
        let named = authority.to_str().ok().and_then(split);
        named.is_some_and(|(host, port)| {
            host.eq_ignore_ascii_case(&self.origin.host)
                && port.unwrap_or_else(|| default_port(self.is_https)) == self.origin.port
        })
    }
}

/// Host and port. An IPv6 address is in brackets.
fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        // What stands in the brackets has colons of its own.
        Some((host, port)) if !port.ends_with(']') => {
            let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            (host, Some(port.parse().ok().filter(|_| is_number)?))
        }
        _ => (authority, None),
    };
    let is_name = |host: &str| {
        host.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    let is_address = |host: &str| {
        let inner = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        inner.is_some_and(|inner| {
            inner
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte))
        })
    };
    (!host.is_empty() && (is_name(host) || is_address(host))).then_some((host, port))
}

fn default_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn public(url: &str) -> PublicOrigin {
        PublicOrigin::new(&PublicUrl {
            url: url.parse().unwrap(),
        })
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (text, expected) in [
            ("https://app.example", Some("https://app.example")),
            ("HTTPS://App.Example:443", Some("https://app.example")),
            ("http://app.example:80", Some("http://app.example")),
            ("http://app.example:443", Some("http://app.example:443")),
            ("https://app.example:8443", Some("https://app.example:8443")),
            ("http://[::1]:4180", Some("http://[::1]:4180")),
            ("http://[::1]", Some("http://[::1]")),
            ("null", None),
            ("", None),
            ("app.example", None),
            ("https://", None),
            ("https://:443", None),
            ("https://app.example/", None),
            ("https://app.example/path", None),
            ("https://app.example?x", None),
            ("https://app.example#x", None),
            ("https://user@app.example", None),
            ("https://app.example:", None),
            ("https://app.example:+443", None),
            ("https://app.example:70000", None),
            ("https://app.example https://evil.example", None),
            ("https://app.example,https://evil.example", None),
            ("wss://app.example", None),
            ("chrome-extension://abcdef", None),
            ("https://app.example\\@evil.example", None),
        ] {
            let parsed = WebOrigin::parse(text).map(|origin| origin.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_public_origin_is_known_in_every_spelling() {
        for (url, authority, expected) in [
            ("https://app.example", "app.example", true),
            ("https://app.example", "App.Example", true),
            ("https://app.example", "app.example:443", true),
            ("https://app.example", "app.example:80", false),
            ("https://app.example", "app.example.", false),
            ("https://app.example", "app.example.evil.example", false),
            ("https://app.example", "evil-app.example", false),
            ("https://app.example", "", false),
            ("https://app.example:8443", "app.example", false),
            ("https://app.example:8443", "APP.example:8443", true),
            ("http://127.0.0.1:4180", "127.0.0.1:4180", true),
            ("http://127.0.0.1:4180", "localhost:4180", false),
            ("http://[::1]", "[::1]:80", true),
        ] {
            let value = HeaderValue::from_static(authority);
            assert_eq!(
                public(url).is_named_by(&value),
                expected,
                "{url} {authority}"
            );
        }
    }

    proptest! {
        /// What is written of an origin is read as the same one.
        #[test]
        fn origins_survive_their_writing(
            is_https: bool, host in "[a-z0-9.-]{1,20}", port in proptest::option::of(1_u16..),
        ) {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let origin = WebOrigin::of_authority(is_https, &format!("{host}{port}")).unwrap();
            prop_assert_eq!(WebOrigin::parse(&origin.to_string()), Some(origin));
        }

        #[test]
        fn whatever_comes_is_no_panic(text in "\\PC{0,40}") {
            let _ = WebOrigin::parse(&text);
        }
    }
}
