//! `host` of a route: a name, or all names below one. Pure.

use std::fmt;

/// Which hosts a route is for. Ports do not count: whoever listens at another port of a host is the same gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// `app.example.com`
    Exact(String),
    /// `*.example.com`: every name below it, however deep, and not itself. Kept with its leading dot.
    Below(String),
}

impl HostPattern {
    /// Reads `app.example.com` or `*.example.com`.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, is_below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if name.contains("://") || name.contains('/') {
            return Err("write the host alone: \"app.example.com\"".to_owned());
        }
        if name.starts_with('.') {
            return Err(format!("for all names below it write \"*{name}\""));
        }
        if name.rsplit_once(':').is_some_and(|(_, port)| {
            !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
        }) && !name.starts_with('[')
        {
            return Err("leave the port out: it does not count here".to_owned());
        }
        let is_label = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let is_address = name.starts_with('[') && name.ends_with(']');
        if !is_address && !name.split('.').all(is_label) {
            return Err(
                "as in \"app.example.com\" or \"*.example.com\"; other letters in their xn-- form"
                    .to_owned(),
            );
        }
        let name = name.to_ascii_lowercase();
        Ok(if is_below {
            Self::Below(format!(".{name}"))
        } else {
            Self::Exact(name)
        })
    }

    /// The name, or that which all names are below.
    pub fn name(&self) -> &str {
        match self {
            Self::Exact(name) => name,
            Self::Below(suffix) => &suffix[1..],
        }
    }

    /// Whether it is for `authority`, a host with or without a port.
    pub fn matches(&self, authority: &str) -> bool {
        let host = host_of(authority);
        match self {
            Self::Exact(name) => host.eq_ignore_ascii_case(name),
            Self::Below(suffix) => host
                .len()
                .checked_sub(suffix.len())
                .filter(|&start| start > 0)
                .and_then(|start| host.get(start..))
                .is_some_and(|end| end.eq_ignore_ascii_case(suffix)),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => formatter.write_str(name),
            Self::Below(suffix) => write!(formatter, "*{suffix}"),
        }
    }
}

/// Whether two authorities name one host, whatever their ports.
pub fn is_same_host(one: &str, other: &str) -> bool {
    host_of(one).eq_ignore_ascii_case(host_of(other))
}

/// The host of an authority, without its port and without the dot of a name written in full: `app.example.com.` is the same host
/// (RFC 1034 §3.1), and web servers take it for that.
pub fn host_of(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        // The colons within brackets are an address's.
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_what_is_below_a_name() {
        let (app, below) = (
            HostPattern::parse("App.example.com").unwrap(),
            HostPattern::parse("*.example.com").unwrap(),
        );
        for (host, is_app, is_below) in [
            ("app.example.com", true, true),
            ("APP.EXAMPLE.COM:443", true, true),
            ("a.b.example.com", false, true),
            ("example.com", false, false),
            (".example.com", false, false),
            ("evilexample.com", false, false),
            ("app.example.com.evil.example", false, false),
            ("app.example.com.", true, true),
            ("app.example.com.:443", true, true),
            ("app.example.com..", false, false),
            ("", false, false),
        ] {
            assert_eq!(app.matches(host), is_app, "{host}");
            assert_eq!(below.matches(host), is_below, "{host}");
        }
        let address = HostPattern::parse("[::1]").unwrap();
        assert!(address.matches("[::1]:4180") && address.matches("[::1]"));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            "*",
            "*.",
            ".example.com",
            "https://example.com",
            "example.com/path",
            "example.com:8080",
            "a..b",
            "b\u{fc}cher.example",
            "a.*.example.com",
        ] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
    }
}
