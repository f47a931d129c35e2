//! Hop-by-hop headers (RFC 9110 §7.6.1), which are not forwarded. Pure.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
        COOKIE, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    },
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Fields that `Connection` may not nominate: they are end-to-end, and dropping them would change what
/// was asked or by whom.
const PROTECTED: [HeaderName; 6] = [
    AUTHORIZATION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    COOKIE,
    HOST,
    SET_COOKIE,
];

/// The hop's own fields.
static HOP: [HeaderName; 8] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TRANSFER_ENCODING,
    UPGRADE,
    HTTP2_SETTINGS,
];

/// Which of the fields that matter to a hop a message has: one pass over its names, where a look-up for each
/// would cost more than most messages have to strip. A bit for each of [`HOP`], and some beside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderFlags(u16);

impl HeaderFlags {
    /// Those of [`HOP`].
    const OWN: u16 = 0xff;
    /// Beside them.
    const TE: u16 = 1 << 8;
    const EXPECT: u16 = 1 << 9;
    const SET_COOKIE: u16 = 1 << 10;
    const WWW_AUTHENTICATE: u16 = 1 << 11;

    /// What `headers` have.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut noted = Self::default();
        for name in headers.keys() {
            noted.note(name.as_str());
        }
        noted
    }

    /// Notes one name.
    #[inline]
    pub fn note(&mut self, name: &str) {
        // By length first, so that most names are told from all of them at once.
        self.0 |= match name.len() {
            2 if name == "te" => Self::TE,
            6 if name == "expect" => Self::EXPECT,
            7 if name == "upgrade" => 1 << 6,
            10 => match name {
                "connection" => 1,
                "keep-alive" => 1 << 1,
                "set-cookie" => Self::SET_COOKIE,
                _ => 0,
            },
            14 if name == "http2-settings" => 1 << 7,
            16 => match name {
                "proxy-connection" => 1 << 2,
                "www-authenticate" => Self::WWW_AUTHENTICATE,
                _ => 0,
            },
            17 if name == "transfer-encoding" => 1 << 5,
            18 if name == "proxy-authenticate" => 1 << 3,
            19 if name == "proxy-authorization" => 1 << 4,
            _ => 0,
        };
    }

    /// Whether there is a `Connection`.
    pub fn connection(self) -> bool {
        self.has(1)
    }

    /// Whether there is a `Transfer-Encoding`.
    pub fn transfer_encoding(self) -> bool {
        self.has(1 << 5)
    }

    /// Whether there is an `Upgrade`.
    pub fn upgrade(self) -> bool {
        self.has(1 << 6)
    }

    /// Whether there is an `Expect`.
    pub fn expect(self) -> bool {
        self.has(Self::EXPECT)
    }

    /// Whether there is a `Set-Cookie`.
    pub fn set_cookie(self) -> bool {
        self.has(Self::SET_COOKIE)
    }

    /// Whether there is a `WWW-Authenticate` or a `Proxy-Authenticate`.
    pub fn authenticate(self) -> bool {
        self.has(Self::WWW_AUTHENTICATE | 1 << 3)
    }

    fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }
}

/// Removes the hop's own fields and whatever `Connection` nominates. `TE: trailers` stays, since the
/// next hop may send trailers too; `Trailer` stays, since trailers are passed on.
pub fn strip(headers: &mut HeaderMap) {
    strip_noted(headers, HeaderFlags::of(headers));
}

/// As [`strip`]; `noted` is what `headers` have, or had before some were removed.
pub fn strip_noted(headers: &mut HeaderMap, noted: HeaderFlags) {
    if noted.0 & (HeaderFlags::OWN | HeaderFlags::TE) == 0 {
        return;
    }
    if noted.has(1) {
        strip_nominated(headers);
    }
    for (place, name) in HOP.iter().enumerate() {
        if noted.has(1 << place) {
            headers.remove(name);
        }
    }
    if noted.has(HeaderFlags::TE) {
        let wants_trailers = headers.get_all(TE).iter().any(names_trailers);
        headers.remove(TE);
        if wants_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }
}

/// What a request asks to switch to, when it asks (RFC 9110 §7.8): the `Upgrade` value, to be handed on.
/// `h2c` is not handed on: a tunnel of HTTP/2 would carry requests past the gate.
pub fn upgrade_asked(headers: &HeaderMap) -> Option<HeaderValue> {
    let upgrade = headers.get(UPGRADE)?;
    let nominated = headers
        .get_all(CONNECTION)
        .iter()
        .any(|value| tokens(value).any(|token| token.eq_ignore_ascii_case("upgrade")));
    let single = headers.get_all(UPGRADE).iter().count() == 1;
    let text = upgrade.to_str().ok()?;
    let speaks_http = text.split(',').any(|protocol| {
        let name = protocol.trim().split('/').next().unwrap_or_default();
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        name.is_empty()
            || !name.bytes().all(is_token)
            || ["h2c", "h2", "http", "tls"]
                .iter()
                .any(|http| name.eq_ignore_ascii_case(http))
    });
    (nominated && single && !speaks_http).then(|| upgrade.clone())
}

/// Whether the protocol that a `101` switches to is the one thing that was asked for, or among them (RFC 9110 §7.8).
/// Anything else would open a tunnel that neither the client nor the gate has agreed to.
pub fn is_upgrade_offered(chosen: &HeaderValue, offered: &HeaderValue) -> bool {
    let mut chosen = tokens(chosen).peekable();
    chosen.peek().is_some()
        && chosen.all(|one| tokens(offered).any(|other| other.eq_ignore_ascii_case(one)))
}

fn strip_nominated(headers: &mut HeaderMap) {
    let mut all = headers.get_all(CONNECTION).iter();
    let Some(first) = all.next() else {
        return;
    };
    if all.next().is_none()
        && [&b"keep-alive"[..], b"close"]
            .iter()
            .any(|t| first.as_bytes().eq_ignore_ascii_case(t))
    {
        return;
    }
    let nominated: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(tokens)
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .filter(|name| !PROTECTED.contains(name) && *name != TE)
        .collect();
    for name in nominated {
        headers.remove(name);
    }
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .filter_map(|token| std::str::from_utf8(token).ok())
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

fn names_trailers(value: &HeaderValue) -> bool {
    tokens(value).any(|token| token.eq_ignore_ascii_case("trailers"))
}

/// Fields that frame, route or authenticate a message have no place behind its body.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    strip(trailers);
    for name in [
        AUTHORIZATION,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        COOKIE,
        HOST,
        SET_COOKIE,
        TRAILER,
        TRANSFER_ENCODING,
    ] {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn the_hops_own_fields_go_and_the_rest_stays() {
        let mut map = headers(&[
            ("connection", "keep-alive, X-One"),
            ("connection", "x-two"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("te", "gzip, trailers"),
            ("trailer", "x-sum"),
        ]);
        strip(&mut map);
        assert_eq!(
            map,
            headers(&[("x-three", "3"), ("te", "trailers"), ("trailer", "x-sum")])
        );
    }

    #[test]
    fn each_name_has_its_bit() {
        for (place, name) in HOP.iter().enumerate() {
            let mut noted = HeaderFlags::default();
            noted.note(name.as_str());
            assert_eq!(noted, HeaderFlags(1 << place), "{name}");
        }
        let others = [
            TE,
            http::header::EXPECT,
            SET_COOKIE,
            http::header::WWW_AUTHENTICATE,
        ]
        .map(|name| {
            let mut noted = HeaderFlags::default();
            noted.note(name.as_str());
            noted
        });
        assert!(others[0].has(HeaderFlags::TE) && others[1].expect() && others[2].set_cookie());
        assert!(others[3].authenticate() && HeaderFlags(1 << 3).authenticate());
        assert!(HeaderFlags(1 << 5).transfer_encoding() && HeaderFlags(1 << 6).upgrade());
    }

    #[test]
    fn what_must_reach_the_upstream_cannot_be_nominated_away() {
        let kept = [
            ("host", "a"),
            ("cookie", "a=1"),
            ("authorization", "x"),
            ("content-length", "3"),
        ];
        let mut map = headers(&kept);
        map.insert(
            CONNECTION,
            HeaderValue::from_static("Host, Cookie, Authorization, Content-Length"),
        );
        strip(&mut map);
        assert_eq!(map, headers(&kept));
    }

    #[test]
    fn te_without_trailers_goes() {
        let mut map = headers(&[("te", "gzip")]);
        strip(&mut map);
        assert!(map.is_empty());
    }

    #[test]
    fn only_a_nominated_upgrade_to_something_that_is_not_http_is_handed_on() {
        let upgraded = |upgrade: &str, connection: &str| {
            upgrade_asked(&headers(&[
                ("upgrade", upgrade),
                ("connection", connection),
            ]))
        };
        assert_eq!(upgraded("websocket", "Upgrade").unwrap(), "websocket");
        assert_eq!(
            upgraded("WebSocket", "keep-alive, upgrade").unwrap(),
            "WebSocket"
        );
        assert!(upgraded("websocket", "keep-alive").is_none());
        for smuggled in ["h2c", "H2C", "websocket, h2c", "HTTP/2.0", "TLS/1.0", ""] {
            assert!(upgraded(smuggled, "upgrade").is_none(), "{smuggled}");
        }
    }

    #[test]
    fn only_what_was_offered_may_be_chosen() {
        for (chosen, offered, is_offered) in [
            ("websocket", "websocket", true),
            ("WebSocket", "websocket", true),
            ("b", "a, b", true),
            ("b, a", "a, b", true),
            ("h2c", "websocket", false),
            ("websocket, h2c", "websocket", false),
            ("websocket/13", "websocket", false),
            ("web", "websocket", false),
            ("", "websocket", false),
            (",", "websocket", false),
        ] {
            let (chosen, offered) = (
                HeaderValue::from_static(chosen),
                HeaderValue::from_static(offered),
            );
            assert_eq!(
                is_upgrade_offered(&chosen, &offered),
                is_offered,
                "{chosen:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_of_the_hop_survives(connection in "[ -~]{0,60}", value in "[!-~]{1,20}") {
            let mut map = headers(&[("keep-alive", &value), ("upgrade", &value), ("host", "a")]);
            map.insert(CONNECTION, HeaderValue::from_str(&connection).unwrap());
            strip(&mut map);
            prop_assert!(HOP.iter().all(|name| !map.contains_key(name)));
            prop_assert!(map.contains_key(HOST));
        }
    }
}
