//! Text that somebody wrote without quotes. TOML takes it for a number that goes wrong somewhere, and says so in words
//! that help nobody. Pure.

use std::{net::SocketAddr, ops::Range};

use ipnet::IpNet;

use super::{duration, keys, raw::Origin, report::Problem};

/// A value without quotes.
pub(super) struct Unquoted<'s> {
    /// Empty for an item of a list.
    key: &'s str,
    /// Whether the key is one of ours whose value may be shown.
    is_open: bool,
    text: &'s str,
    place: Range<usize>,
}

impl<'s> Unquoted<'s> {
    /// The value that the parser stumbled over at `at`, saying `message`, where it is one.
    pub(super) fn at(source: &'s str, at: usize, message: &str) -> Option<Self> {
        let start = source[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line = source[start..].lines().next()?;
        let is_key = |key: &str| {
            let is_key_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !key.is_empty() && key.bytes().all(is_key_byte)
        };
        // An entry of a list that begins on an earlier line.
        let is_entry = line.trim_start().starts_with('{');
        let (key, from) = match line.split_once('=') {
            Some((key, _)) if is_key(key.trim()) => (key.trim(), key.len() + 1),
            Some(_) if !is_entry => return None,
            _ => ("", 0),
        };
        let to = line.find(" #").map_or(line.len(), |sign| sign.max(from));
        let whole = within(line, from..to);
        let unquoted = |inner: &'s str, range: Range<usize>| Self {
            key: inner,
            is_open: keys::is_open(key) && (inner.is_empty() || keys::is_open(inner)),
            text: &line[range.clone()],
            place: start + range.start..start + range.end,
        };
        // `[::]:4180` begins like a list.
        if line[whole.clone()].parse::<SocketAddr>().is_ok() {
            return Some(unquoted(key, whole));
        }
        let item = item_at(line, whole.clone(), at - start);
        // Within a table that stands on one line, what was read of it begins with a key.
        let read = line.get(item.start..(at - start).min(line.len()));
        let (inner, from) = match read.and_then(|read| read.split_once('=')) {
            Some((inner, _)) if item != whole && is_key(inner.trim()) => {
                (inner.trim(), item.start + inner.len() + 1)
            }
            _ => ("", item.start),
        };
        let range = within(line, from..item.end);
        let is_text = !matches!(
            line[range.clone()].chars().next(),
            None | Some('"' | '\'' | '[' | '{')
        );
        (is_text && is_about_a_value(message))
            .then(|| unquoted(if range == whole { key } else { inner }, range))
    }

    /// What to write instead. The text is repeated only where it cannot be a secret.
    pub(super) fn problem(&self) -> Problem {
        let Self {
            key, text, is_open, ..
        } = self;
        let is_answer = ["true", "false", "yes", "no", "on", "off"]
            .iter()
            .any(|answer| text.eq_ignore_ascii_case(answer));
        let shown = if is_plain(text) && *is_open {
            text
        } else {
            "…"
        };
        let hint = match (text.starts_with(['“', '”', '„', '‘', '’']), *key) {
            (true, _) => "these quotes are not straight: write \"…\"".to_owned(),
            _ if is_answer => {
                "write true or false, in lower case; text stands in double quotes".to_owned()
            }
            (_, key) if !keys::is_known(key) => {
                format!("text stands in double quotes: \"{shown}\"")
            }
            (_, key) => format!("text stands in double quotes: {key} = \"{shown}\""),
        };
        let origin = Origin::File(self.place.clone());
        Problem::new(&origin, "this is not TOML: text without quotes").hint(hint)
    }
}

/// Whether the parser's complaint is of a value that cannot be read, and not of what stands around it.
fn is_about_a_value(message: &str) -> bool {
    [
        "string values must be quoted",
        "invalid float",
        "invalid integer",
        "invalid mantissa",
        "invalid fraction",
        "invalid exponent",
        "invalid boolean",
        "invalid datetime",
        "unexpected leading zero",
    ]
    .iter()
    .any(|start| message.starts_with(start))
}

/// The item of a list or entry of a table that `at` is in; the whole range where it is neither.
fn item_at(line: &str, range: Range<usize>, at: usize) -> Range<usize> {
    // Elsewhere braces are a part of the text, as in an address.
    let is_whole = line[range.clone()].starts_with(['[', '{']);
    let (opening, closing): (&[char], &[char]) = if is_whole {
        (&['[', '{', ','], &[']', '}', ','])
    } else {
        (&['[', ','], &[']', ','])
    };
    let start = line[..at.clamp(range.start, range.end)]
        .rfind(opening)
        .map_or(range.start, |sign| (sign + 1).max(range.start));
    let length = line[start..range.end].find(closing);
    start..length.map_or(range.end, |length| start + length)
}

/// The range without the blanks at both ends.
fn within(line: &str, range: Range<usize>) -> Range<usize> {
    let text = &line[range.clone()];
    let start = range.start + (text.len() - text.trim_start().len());
    start..start + text.trim().len()
}

/// An address, a network or a duration.
fn is_plain(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok()
        || text.parse::<IpNet>().is_ok()
        || duration::parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text_at<'s>(source: &'s str, stumbled: &str, message: &str) -> Option<&'s str> {
        let at = source.find(stumbled).unwrap();
        Unquoted::at(source, at, message).map(|unquoted| {
            assert_eq!(&source[unquoted.place.clone()], unquoted.text);
            unquoted.text
        })
    }

    #[test]
    fn finds_the_whole_value() {
        let float = "invalid float, expected nothing";
        for (source, stumbled, value) in [
            ("listen = 127.0.0.1:80\n", "0.1", "127.0.0.1:80"),
            ("a = 1\nlisten = 1.2.3.4 # why\n", ".3", "1.2.3.4"),
            ("listen = [\"a\", 1.2.3.4:80]", "3.4", "1.2.3.4:80"),
            ("listen = [\n  1.2.3.4:80,\n]\n", "3.4", "1.2.3.4:80"),
            ("listen = [::]:80", "::", "[::]:80"),
            ("hosts = [.é.example, b]", "é", ".é.example"),
            ("allow = { emails = [a@b, c] }", "c]", "c"),
            (
                "allow = { a = \"x\", kind = student }",
                "student",
                "student",
            ),
            ("allow={kind=student}", "student", "student"),
            ("path = a=b", "b", "a=b"),
            ("path = /a/{b}/c", "/a", "/a/{b}/c"),
            ("routes = [\n  { path = /a },\n]", "/a", "/a"),
            ("routes = [{ path = /a, access = \"x\" }]", "/a", "/a"),
        ] {
            assert_eq!(text_at(source, stumbled, float), Some(value), "{source}");
        }
    }

    #[test]
    fn leaves_other_complaints_alone() {
        assert_eq!(text_at("a = \"b\" c", "c", "unexpected key or value"), None);
        assert_eq!(text_at("a = \"b", "b", "invalid basic string"), None);
        assert_eq!(text_at("a b = 1.2.3", "3", "invalid float"), None);
    }

    proptest! {
        #[test]
        fn any_place_of_any_text_is_looked_at_without_harm(source: String, at: usize) {
            let mut at = at % (source.len() + 1);
            while !source.is_char_boundary(at) {
                at -= 1;
            }
            if let Some(unquoted) = Unquoted::at(&source, at, "invalid float") {
                prop_assert_eq!(&source[unquoted.place.clone()], unquoted.text);
            }
        }
    }
}
