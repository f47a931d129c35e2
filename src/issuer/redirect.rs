//! Redirect URIs: which ones a client may register, and whether a given one is registered. Pure.
//!
//! They are compared as texts (RFC 9700 §4.1.3). The exception is the port of a loopback address, which a native app learns only when it
//! begins to listen (RFC 8252 §7.3).

use std::net::IpAddr;

use url::{Host, Url};

/// An address that a client may have codes sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectUri {
    /// As the client wrote it: what is compared and what is sent.
    written: String,
    /// The same without its port, where it is a loopback address.
    portless: Option<String>,
    url: Url,
}

/// Why an address is none that codes are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Not an absolute URI of printable ASCII.
    #[error("a redirect URI is an absolute URI of printable ASCII")]
    Malformed,
    /// RFC 6749 §3.1.2.
    #[error("a redirect URI has no fragment")]
    Fragment,
    /// It would show a stranger's name before the host.
    #[error("a redirect URI names no user")]
    User,
    /// RFC 8252 §7.3, OAuth 2.1 §2.3.1.
    #[error("http is for loopback addresses alone; use https")]
    Plain,
    /// What browsers run, show or open by themselves.
    #[error("codes are not sent to addresses of this scheme")]
    Scheme,
    /// Nobody knows what a wildcard is.
    #[error("a redirect URI is exact: no wildcards")]
    Wildcard,
    /// Longer than [`LONGEST`].
    #[error("a redirect URI has at most 512 bytes")]
    TooLong,
}

impl RedirectUri {
    /// Reads one.
    ///
    /// # Errors
    /// Why codes are not sent there.
    pub fn parse(text: &str) -> Result<Self, Unfit> {
        if text.len() > LONGEST {
            return Err(Unfit::TooLong);
        }
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        if text.is_empty() || !text.bytes().all(is_plain) {
            return Err(Unfit::Malformed);
        }
        if text.contains('#') {
            return Err(Unfit::Fragment);
        }
        if text.contains('*') {
            return Err(Unfit::Wildcard);
        }
        let (scheme, rest) = text.split_once(':').ok_or(Unfit::Malformed)?;
        let url = Url::parse(text).map_err(|_| Unfit::Malformed)?;
        // What reads differently than it looks is none.
        if scheme != url.scheme() || rest.is_empty() {
            return Err(Unfit::Malformed);
        }
        if !url.username().is_empty() || url.password().is_some() || has_user(rest) {
            return Err(Unfit::User);
        }
        if FORBIDDEN.contains(&scheme) {
            return Err(Unfit::Scheme);
        }
        let is_loopback = is_loopback(&url);
        match scheme {
            "https" | "http" => {
                let slashes = rest.strip_prefix("//").ok_or(Unfit::Malformed)?;
                if slashes.starts_with('/') || !has_plain_host(&url, slashes) {
                    return Err(Unfit::Malformed);
                }
                if scheme == "http" && !is_loopback {
                    return Err(Unfit::Plain);
                }
            }
            // A private-use scheme (RFC 8252 §7.1).
            _ => {}
        }
        Ok(Self {
            portless: (is_loopback && scheme == "http").then(|| portless(text)),
            written: text.to_owned(),
            url,
        })
    }

    /// Reads one of a client that nobody vouches for. Of custom schemes it may have those of a name that its author has (RFC 8252 §7.1), or
    /// of programs that are known to do without: any other may be of a part of somebody's system.
    ///
    /// # Errors
    /// Why codes are not sent there.
    pub fn parse_of_stranger(text: &str) -> Result<Self, Unfit> {
        let uri = Self::parse(text)?;
        let scheme = uri.url.scheme();
        if uri.is_private_scheme() && !scheme.contains('.') && !KNOWN.contains(&scheme) {
            return Err(Unfit::Scheme);
        }
        Ok(uri)
    }

    /// As the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// What is compared: the text, without the port of a loopback address.
    pub fn comparable(&self) -> &str {
        self.portless.as_deref().unwrap_or(&self.written)
    }

    /// Whether it leads to a program on the machine of whoever uses the client: which one, nobody can tell. So it is in `https`, too.
    pub fn is_loopback(&self) -> bool {
        // Browsers find all names below `localhost` here, and the unspecified address, and IPv4 addresses within IPv6.
        let is_here = match self.url.host() {
            Some(Host::Domain(name)) => name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_unspecified(),
            Some(Host::Ipv6(address)) => {
                let mapped = address.to_ipv4_mapped();
                address.is_unspecified()
                    || mapped.is_some_and(|within| within.is_loopback() || within.is_unspecified())
            }
            None => false,
        };
        !self.is_private_scheme() && (is_here || is_loopback(&self.url))
    }

    /// Whether it leads to whatever program its user's machine opens such addresses with (RFC 8252 §7.1).
    pub fn is_private_scheme(&self) -> bool {
        !matches!(self.url.scheme(), "https" | "http")
    }

    /// Whether it is an address at a server, which has one owner. At a loopback address or a private scheme any program may wait.
    pub fn is_owned(&self) -> bool {
        !self.is_loopback() && !self.is_private_scheme()
    }

    /// What people are shown of where it leads: the host, in ASCII, or the scheme.
    pub fn shown(&self) -> String {
        match self.url.scheme() {
            "https" | "http" => self.url.host_str().unwrap_or_default().to_owned(),
            scheme => format!("{scheme}:"),
        }
    }

    /// What a policy names it by (CSP Level 3 §2.3.1): its origin, or its scheme.
    pub fn policy_source(&self) -> String {
        match self.url.scheme() {
            "https" | "http" => self.url.origin().ascii_serialization(),
            scheme => format!("{scheme}:"),
        }
    }

    /// The same address with an answer in its query. What the client wrote stays as it is (RFC 6749 §3.1.2).
    pub fn with(&self, answer: &[(&str, &str)]) -> String {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(answer)
            .finish();
        let joint = match self.written.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some((_, query)) if query.ends_with('&') => "",
            Some(_) => "&",
        };
        format!("{}{joint}{query}", self.written)
    }
}

/// Whether an authority has a user part, an empty one included.
fn has_user(rest: &str) -> bool {
    let Some(authority) = rest.strip_prefix("//") else {
        return false;
    };
    let end = authority.find(['/', '?']).unwrap_or(authority.len());
    authority[..end].contains('@')
}

/// Whether the host of `url` is a name or an address of the usual letters, and was written as it reads: people are shown it, and a
/// policy names it, where a semicolon would begin another rule. `rest` is what follows the slashes.
fn has_plain_host(url: &Url, rest: &str) -> bool {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let written = without_port(&rest[..end]);
    is_plain_host(url)
        && url
            .host_str()
            .is_some_and(|host| host.eq_ignore_ascii_case(written))
}

/// Whether its host is an address, or a name that a name server knows (RFC 1035 §2.3.4): letters, digits, hyphens, and the
/// underscores that some have inside. Letters of other scripts stand there as `xn--` alone.
pub(super) fn is_plain_host(url: &Url) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label =
        |label: &str| (1..=LONGEST_LABEL).contains(&label.len()) && label.bytes().all(is_letter);
    match url.host() {
        Some(Host::Domain(name)) => name.len() <= LONGEST_HOST && name.split('.').all(is_label),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        None => false,
    }
}

/// Whether it is an address of this machine. `localhost` counts, against the letter of RFC 8252 §8.3: most clients use it.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Without the port: the text in front of it and behind it.
fn portless(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let host = without_port(authority);
    format!("{scheme}://{host}{rest}")
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        // What stands in the brackets of an IPv6 address has colons of its own.
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    }
}

/// The bytes of the longest redirect URI.
pub const LONGEST: usize = 512;
/// The bytes of the longest host (RFC 1035 §2.3.4).
const LONGEST_HOST: usize = 253;
/// The bytes of the longest part between two of its dots.
const LONGEST_LABEL: usize = 63;

/// Schemes whose addresses a browser runs, shows, or opens with what is at hand.
const FORBIDDEN: [&str; 37] = [
    "javascript",
    "data",
    "vbscript",
    "file",
    "blob",
    "about",
    "filesystem",
    "view-source",
    "intent",
    "ws",
    "wss",
    "ftp",
    "mailto",
    "tel",
    "chrome",
    "jar",
    "feed",
    "mhtml",
    "resource",
    "res",
    "moz-extension",
    "chrome-extension",
    "livescript",
    "mk",
    // Other systems install things or open their settings by them.
    "itms-services",
    "itms-apps",
    "help",
    "hcp",
    "ms-settings",
    "ms-appinstaller",
    "ms-search",
    // Windows opens its own parts by them.
    "ms-msdt",
    "ms-officecmd",
    "ms-cxh",
    "search",
    "search-ms",
    "shell",
];

/// Custom schemes without a dot that clients of the Model Context Protocol have.
const KNOWN: [&str; 16] = [
    "antigravity",
    "claude",
    "code-oss",
    "cursor",
    "cursor-nightly",
    "goose",
    "jetbrains",
    "kiro",
    "raycast",
    "trae",
    "vscode",
    "vscode-insiders",
    "vscodium",
    "warp",
    "windsurf",
    "zed",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// People are shown the host, and a policy names it.
    #[test]
    fn no_host_reads_otherwise_than_it_is() {
        let long = format!("https://{}.example/", "a".repeat(64));
        let longer = format!("https://{}example/", "abcdefgh.".repeat(30));
        for text in [
            "https://a.example;script-src.evil.example/",
            "https://a.example,evil.example/",
            "https://a.example'/",
            "https://a.example!/",
            "https://(a.example)/",
            "https://a.example=b/",
            "https://a&b.example/",
            "https://a~b.example/",
            "https://$a.example/",
            "https://a+b.example/",
            "https://evil%2eexample/",
            "https://%65vil.example/",
            "https://a.example%3b/",
            "https://a.example./",
            "https://a..example/",
            "https://.example/",
            "https://user@a.example/",
            "https://a.example@evil.example/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://127.1/",
            "http://127.1/",
            "https://[0:0:0:0:0:0:0:1]/",
            "https://xn--a/",
            // Cyrillic, a full-width dot, a mark that turns text around.
            "https://\u{430}pple.example/",
            "https://a\u{ff0e}example/",
            "https://a\u{202e}.example/",
            &long,
            &longer,
        ] {
            assert!(RedirectUri::parse(text).is_err(), "{text}");
        }
        for (text, shown) in [
            ("https://APP.example:8443/cb", "app.example"),
            ("https://my_app.example/cb", "my_app.example"),
            // A Cyrillic letter among Latin ones: what it really is.
            ("https://xn--pple-43d.com/cb", "xn--pple-43d.com"),
            ("https://192.0.2.1/cb", "192.0.2.1"),
            ("https://[2001:db8::1]:8443/cb", "[2001:db8::1]"),
        ] {
            assert_eq!(RedirectUri::parse(text).unwrap().shown(), shown, "{text}");
        }
    }

    #[test]
    fn t11_what_clients_really_register_is_taken() {
        for (text, shown, loopback) in [
            (
                "https://claude.ai/api/mcp/auth_callback",
                "claude.ai",
                false,
            ),
            (
                "https://chatgpt.com/connector/oauth/abc",
                "chatgpt.com",
                false,
            ),
            (
                "https://insiders.vscode.dev/redirect",
                "insiders.vscode.dev",
                false,
            ),
            ("http://127.0.0.1/", "127.0.0.1", true),
            ("http://127.0.0.1:33418/", "127.0.0.1", true),
            ("http://[::1]:8080/cb", "[::1]", true),
            ("http://localhost:3118/callback", "localhost", true),
            ("http://localhost/callback", "localhost", true),
            ("http://127.0.0.1:5/callback/HASH?a=b", "127.0.0.1", true),
            (
                "cursor://anysphere.cursor-mcp/oauth/callback",
                "cursor:",
                false,
            ),
            ("com.example.app:/oauth", "com.example.app:", false),
        ] {
            let uri = RedirectUri::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(
                (uri.as_str(), &*uri.shown(), uri.is_loopback()),
                (text, shown, loopback)
            );
        }
    }

    #[test]
    fn t12_what_nobody_may_have_codes_sent_to_is_refused() {
        for (text, why) in [
            ("", Unfit::Malformed),
            ("/callback", Unfit::Malformed),
            ("https:", Unfit::Malformed),
            ("https:/app.example/cb", Unfit::Malformed),
            ("https:///app.example/cb", Unfit::Malformed),
            ("HTTPS://app.example/cb", Unfit::Malformed),
            ("https://app.example/c\tb", Unfit::Malformed),
            ("https://app.example/\r\nSet-Cookie: a", Unfit::Malformed),
            (" https://app.example/", Unfit::Malformed),
            ("https://app.example/\u{e9}", Unfit::Malformed),
            ("https://app.example\\@evil.example/", Unfit::Malformed),
            ("https://app.example/cb#x", Unfit::Fragment),
            ("https://app.example/cb#", Unfit::Fragment),
            ("https://user@app.example/cb", Unfit::User),
            ("https://@app.example/cb", Unfit::User),
            ("https://*.app.example/cb", Unfit::Wildcard),
            ("https://app.example/*", Unfit::Wildcard),
            ("http://app.example/cb", Unfit::Plain),
            ("http://127.0.0.1.evil.example/cb", Unfit::Plain),
            ("http://localhost.evil.example/", Unfit::Plain),
            ("javascript:alert(1)", Unfit::Scheme),
            ("data:text/html,x", Unfit::Scheme),
            ("vbscript:x", Unfit::Scheme),
            ("file:///etc/passwd", Unfit::Scheme),
            ("blob:https://app.example/x", Unfit::Scheme),
            ("JavaScript:alert(1)", Unfit::Malformed),
            ("view-source:https://app.example", Unfit::Scheme),
            ("ws://127.0.0.1/", Unfit::Scheme),
            ("intent://scan/", Unfit::Scheme),
            ("feed:https://app.example/", Unfit::Scheme),
            ("mhtml:https://app.example/", Unfit::Scheme),
            ("resource://x/", Unfit::Scheme),
            ("moz-extension://x/", Unfit::Scheme),
            ("livescript:x", Unfit::Scheme),
            ("itms-services://?action=download-manifest", Unfit::Scheme),
            (
                "ms-appinstaller:?source=https://app.example/",
                Unfit::Scheme,
            ),
            ("res://x/", Unfit::Scheme),
            ("mk:@MSITStore:x", Unfit::Scheme),
            ("hcp://x/", Unfit::Scheme),
        ] {
            assert_eq!(RedirectUri::parse(text), Err(why), "{text}");
        }
        // The operator knows what opens it; nobody else is asked.
        assert!(RedirectUri::parse("app:/cb").is_ok());
        let of_stranger = RedirectUri::parse_of_stranger;
        assert_eq!(of_stranger("app:/cb"), Err(Unfit::Scheme));
        for text in [
            "com.example.app:/cb",
            "cursor://a/cb",
            "vscode-insiders://a/cb",
        ] {
            assert!(of_stranger(text).is_ok(), "{text}");
        }
        let long = format!("https://app.example/{}", "a".repeat(LONGEST));
        assert_eq!(RedirectUri::parse(&long), Err(Unfit::TooLong));
    }

    #[test]
    fn an_address_of_this_machine_is_owned_by_nobody_whatever_its_scheme() {
        for (text, is_owned) in [
            ("https://localhost/cb", false),
            ("https://127.0.0.1/cb", false),
            ("https://127.9.9.9:8443/cb", false),
            ("https://[::1]/cb", false),
            ("https://0.0.0.0/cb", false),
            ("https://[::]/cb", false),
            ("https://[::ffff:7f00:1]/cb", false),
            ("https://[::ffff:0:0]/cb", false),
            ("https://app.localhost/cb", false),
            ("http://localhost/cb", false),
            ("com.example.app:/cb", false),
            ("https://app.example/cb", true),
            ("https://localhost.example/cb", true),
        ] {
            let uri = RedirectUri::parse(text).unwrap();
            assert_eq!(uri.is_owned(), is_owned, "{text}");
        }
    }

    #[test]
    fn m15_a_loopback_address_has_any_port_and_nothing_else_has() {
        let same = |a: &str, b: &str| {
            let parse = |text| RedirectUri::parse(text).unwrap();
            parse(a).comparable() == parse(b).comparable()
        };
        for (a, b, expected) in [
            ("http://127.0.0.1/cb", "http://127.0.0.1:51234/cb", true),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1:2/cb", true),
            ("http://[::1]/cb", "http://[::1]:9/cb", true),
            ("http://localhost/cb?a", "http://localhost:9/cb?a", true),
            ("http://localhost/cb", "http://127.0.0.1/cb", false),
            ("http://localhost/cb", "http://localhost:9/cb/", false),
            ("http://localhost/cb", "http://localhost:9/cb?x", false),
            ("http://localhost/", "http://localhost", false),
            ("https://localhost/cb", "https://localhost:9/cb", false),
            (
                "https://app.example/cb",
                "https://app.example:443/cb",
                false,
            ),
            ("https://app.example/cb", "https://APP.example/cb", false),
            (
                "https://app.example/cb",
                "https://app.example/cb/../cb",
                false,
            ),
            ("https://app.example/cb", "https://app.example/%63b", false),
        ] {
            assert_eq!(same(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn an_answer_is_put_behind_what_the_client_wrote() {
        let with = |text: &str| {
            RedirectUri::parse(text)
                .unwrap()
                .with(&[("code", "a b"), ("iss", "https://h")])
        };
        let answer = "code=a+b&iss=https%3A%2F%2Fh";
        assert_eq!(
            with("https://a.example"),
            format!("https://a.example?{answer}")
        );
        assert_eq!(
            with("https://a.example/?"),
            format!("https://a.example/?{answer}")
        );
        assert_eq!(
            with("https://a.example/?x=%41"),
            format!("https://a.example/?x=%41&{answer}")
        );
        assert_eq!(with("app:/cb"), format!("app:/cb?{answer}"));
    }

    proptest! {
        #[test]
        fn what_is_taken_is_one_line_of_plain_ascii(text in "\\PC{0,60}") {
            if let Ok(uri) = RedirectUri::parse(&text) {
                prop_assert!(uri.with(&[("a", "b")]).bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(!uri.policy_source().contains([';', ',', ' ', '\'']));
            }
        }
    }
}
