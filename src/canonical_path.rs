//! One canonical path. Pure.
//!
//! An upstream may read a path differently than the gate. It may decode it once more, merge slashes, remove `;` parameters, or
//! take a backslash for a slash. If a rule checks one reading and the upstream serves another, the rule is bypassed. So
//! there are two readings:
//!
//! - the **surface** is forwarded. Escapes of unreserved characters are decoded (RFC 3986 §6.2.2.2), hex digits of the
//!   others are upper case, and everything else stays byte for byte;
//! - the **deep** reading is the most that an upstream could make of it. Escapes are decoded until nothing changes, the
//!   result is cut at a query or fragment, backslashes become slashes, `;` parameters are removed from each segment, and slashes are
//!   merged. Escapes of bytes beyond ASCII stay: no rule depends on their spelling.
//!
//! For apps that take an escaped slash as part of a segment there is a third: the deep reading in which each `%2F` of the
//! surface stays as it is.
//!
//! Both must fall under the same rule. Otherwise the path is ambiguous. Dot segments in either reading, control characters (also
//! escaped ones), `#`, spaces, invalid escapes, overlong UTF-8 (a hidden dot or slash, RFC 3629 §10), and paths that do not
//! begin with `/` are refused. Other characters that a URI may not have but browsers send (`"<>[]^{|}` and the backtick) are
//! kept.

use std::borrow::Cow;

/// A path that was checked: what is judged and what is forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalPath<'a> {
    /// What is forwarded.
    pub surface: Cow<'a, str>,
    /// The other reading, where it differs from `surface`.
    pub deep: Option<String>,
}

/// Why a path is refused; the text may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// `.` or `..` as a segment in some reading.
    #[error("the path has a dot segment")]
    DotSegment,
    /// A control character, raw or escaped.
    #[error("the path has a control character")]
    Control,
    /// `%` without two hex digits, or escapes that are overlong UTF-8.
    #[error("the path has an invalid escape")]
    InvalidEscape,
    /// No leading slash, or a raw character that no path may have.
    #[error("the path is malformed")]
    Malformed,
}

impl<'a> CanonicalPath<'a> {
    /// Reads the path of a request target (no query). Costs one pass and no allocation for a plain path.
    pub fn parse(path: &'a str) -> Result<Self, PathError> {
        if !path.starts_with('/') {
            return Err(PathError::Malformed);
        }
        let mut previous = 0;
        let mut is_plain = true;
        let mut may_have_dots = false;
        for byte in path.bytes() {
            match byte {
                0..0x20 | 0x7f => return Err(PathError::Control),
                b' ' | b'#' | b'?' | 0x80.. => return Err(PathError::Malformed),
                b'%' | b'\\' | b';' => is_plain = false,
                b'/' => is_plain &= previous != b'/',
                b'.' => may_have_dots |= previous == b'/',
                _ => {}
            }
            previous = byte;
        }
        if is_plain {
            if may_have_dots && path.split('/').any(is_dot_segment) {
                return Err(PathError::DotSegment);
            }
            return Ok(Self {
                surface: Cow::Borrowed(path),
                deep: None,
            });
        }
        let surface = decode_unreserved(path)?;
        let deep = read_deep(&surface)?;
        Ok(Self {
            deep: (deep != surface).then_some(deep),
            surface,
        })
    }

    /// Whether `rule` says the same of both readings; none when it does not.
    pub fn judge<T: PartialEq>(&self, rule: impl Fn(&str) -> T) -> Option<T> {
        let verdict = rule(&self.surface);
        match &self.deep {
            Some(deep) if rule(deep) != verdict => None,
            _ => Some(verdict),
        }
    }
}

/// The deep reading of a `surface` in which each slash that is escaped once stays so, as a part of its segment. None where
/// there is no such slash, or where it cannot be told from what else the path has.
pub fn with_slashes_kept(surface: &str) -> Option<String> {
    if !surface.contains(ESCAPED_SLASH) || surface.contains(MARK) {
        return None;
    }
    let marked = surface.replace(ESCAPED_SLASH, MARK);
    let kept = read_deep(&marked).ok()?;
    Some(kept.replace(MARK, ESCAPED_SLASH))
}

/// A slash that a segment may hold, as the surface spells it.
pub const ESCAPED_SLASH: &str = "%2F";
/// A character for nobody's use (U+E000), whose escapes no reading changes.
const MARK: &str = "%EE%80%80";

/// The byte that `%XY` at the beginning of `text` stands for.
pub(crate) fn escaped_byte(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// Appends `%XY` in upper case.
pub(crate) fn push_escape(text: &mut String, byte: u8) {
    text.push('%');
    for digit in [byte >> 4, byte & 15] {
        text.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn is_dot_segment(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

/// One decoding that changes no path's meaning (RFC 3986 §6.2.2).
fn decode_unreserved(path: &str) -> Result<Cow<'_, str>, PathError> {
    let Some(first) = path.find('%') else {
        return Ok(Cow::Borrowed(path));
    };
    let mut surface = String::with_capacity(path.len());
    surface.push_str(&path[..first]);
    let mut rest = &path[first..];
    loop {
        let byte = escaped_byte(rest.as_bytes()).ok_or(PathError::InvalidEscape)?;
        if is_unreserved(byte) {
            surface.push(char::from(byte));
        } else {
            push_escape(&mut surface, byte);
        }
        rest = &rest[3..];
        let Some(next) = rest.find('%') else { break };
        surface.push_str(&rest[..next]);
        rest = &rest[next..];
    }
    surface.push_str(rest);
    Ok(Cow::Owned(surface))
}

fn read_deep(surface: &str) -> Result<String, PathError> {
    let decoded = decode_fully(surface)?;
    let mut deep = String::with_capacity(decoded.len());
    // Beyond an escaped query too: whoever resolves dots first and decodes later goes up from there.
    let cut_off = |segment: &'_ str| segment.find([';', '?', '#']).unwrap_or(segment.len());
    if (decoded.split(['/', '\\'])).any(|segment| is_dot_segment(&segment[..cut_off(segment)])) {
        return Err(PathError::DotSegment);
    }
    // Whoever decodes before splitting off the query serves what stands before it.
    let path = decoded.split(['?', '#']).next().unwrap_or_default();
    let mut segments = path.split(['/', '\\']).skip(1).peekable();
    while let Some(segment) = segments.next() {
        let name = segment.split(';').next().unwrap_or_default();
        // Only the last segment may be empty: what ends in a slash goes on doing so.
        if !name.is_empty() || segments.peek().is_none() {
            deep.push('/');
            deep.push_str(name);
        }
    }
    Ok(deep)
}

/// Decodes ASCII escapes until there is none, in one pass: each byte written may complete an escape
/// whose beginning is written already. (Pass after pass would take quadratic time for `%25252525…`.)
fn decode_fully(surface: &str) -> Result<String, PathError> {
    let mut decoded: Vec<u8> = Vec::with_capacity(surface.len());
    for byte in surface.bytes() {
        decoded.push(byte);
        while let Some(start) = decoded.len().checked_sub(3) {
            let Some(byte) = escaped_byte(&decoded[start..]) else {
                break;
            };
            if !byte.is_ascii() {
                decoded[start + 1..].make_ascii_uppercase();
                if is_overlong(&decoded[..start], byte) {
                    return Err(PathError::InvalidEscape);
                }
                break;
            }
            if byte.is_ascii_control() {
                return Err(PathError::Control);
            }
            decoded.truncate(start);
            decoded.push(byte);
        }
    }
    // Raw bytes beyond ASCII were refused and escaped ones stay escaped.
    String::from_utf8(decoded).map_err(|_| PathError::Malformed)
}

/// Whether `byte` follows an escape with which it begins a longer form of a shorter character.
fn is_overlong(before: &[u8], byte: u8) -> bool {
    let Some(start) = before.len().checked_sub(3) else {
        return false;
    };
    let lead = escaped_byte(&before[start..]);
    match lead {
        Some(0xc0 | 0xc1) => matches!(byte, 0x80..=0xbf),
        Some(0xe0) => matches!(byte, 0x80..=0x9f),
        Some(0xf0) => matches!(byte, 0x80..=0x8f),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn readings(path: &str) -> (String, Option<String>) {
        let path = CanonicalPath::parse(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        (path.surface.into_owned(), path.deep)
    }

    #[test]
    fn a_plain_path_is_borrowed() {
        for path in [
            "/",
            "/a",
            "/a/b.c/",
            "/.well-known/x",
            "/...",
            "/a..b/",
            "/a|b^{c}\"<>`[]",
        ] {
            let read = CanonicalPath::parse(path).unwrap();
            assert!(matches!(read.surface, Cow::Borrowed(same) if same == path));
            assert_eq!(read.deep, None);
        }
    }

    #[test]
    fn reads_the_surface_and_what_lies_below() {
        for (path, surface, deep) in [
            ("/%61%2d%2E%5f%7e", "/a-._~", None),
            ("/caf%c3%a9", "/caf%C3%A9", None),
            ("/a%20b", "/a%20b", Some("/a b")),
            ("/a%2fb", "/a%2Fb", Some("/a/b")),
            ("/a%5Cb", "/a%5Cb", Some("/a/b")),
            ("/a\\b", "/a\\b", Some("/a/b")),
            ("//a//b//", "//a//b//", Some("/a/b/")),
            ("/a;x=1/b;y", "/a;x=1/b;y", Some("/a/b")),
            ("/a%3bx", "/a%3Bx", Some("/a")),
            ("/;x", "/;x", Some("/")),
            ("/a/;x", "/a/;x", Some("/a/")),
            ("//", "//", Some("/")),
            ("/%2561dmin", "/%2561dmin", Some("/admin")),
            ("/%25%36%31", "/%2561", Some("/a")),
            ("/%252525252f", "/%252525252f", Some("/")),
            ("/100%25", "/100%25", Some("/100%")),
            ("/%25c3%25a9", "/%25c3%25a9", Some("/%C3%A9")),
            ("/%c3%2561", "/%C3%2561", Some("/%C3a")),
            ("/what%3F", "/what%3F", Some("/what")),
            ("/a%23b", "/a%23b", Some("/a")),
            ("/ADMIN", "/ADMIN", None),
        ] {
            let expected = (surface.to_owned(), deep.map(str::to_owned));
            assert_eq!(readings(path), expected, "{path}");
        }
    }

    #[test]
    fn refuses_what_an_upstream_could_read_as_another_place() {
        for path in [
            "/public/../admin",
            "/public/..",
            "/admin/.",
            "/./admin",
            "/public/%2e%2e/admin",
            "/public/.%2E/admin",
            "/public/%252e%252e/admin",
            "/public/%25252e%25252e/admin",
            "/public/..;/admin",
            "/public/..%3b/admin",
            "/public/..;x=1/admin",
            "/public//../admin",
            "/public\\..\\admin",
            "/public/%2e%2e%2fadmin",
            "/public%2f..%2fadmin",
            "/public/%5c..%5cadmin",
            "/public/%255c..%255cadmin",
            "/.;a",
            "/public%3F/../admin",
            "/public%23/%2e%2e/admin",
            "/public%253F/..%3Bx/admin",
            "/public/..%3Fx/admin",
        ] {
            let read = CanonicalPath::parse(path);
            assert_eq!(read, Err(PathError::DotSegment), "{path}");
        }
    }

    #[test]
    fn refuses_control_characters_in_every_spelling() {
        for path in [
            "/a\0",
            "/a\n",
            "/\t/b",
            "/\x7f",
            "/%00",
            "/%0d%0a",
            "/%7F",
            "/%2500",
            "/%25%30%39",
        ] {
            assert_eq!(
                CanonicalPath::parse(path),
                Err(PathError::Control),
                "{path:?}"
            );
        }
    }

    #[test]
    fn refuses_invalid_escapes() {
        for path in [
            "/%",
            "/%2",
            "/%zz",
            "/%%32",
            "/a%2/b",
            "/%u002e",
            "/%+1",
            "/%c0%ae%c0%ae/",
            "/%c0%af",
            "/%c1%9c",
            "/%e0%80%af",
            "/%f0%80%80%af",
            "/%25c0%25ae",
        ] {
            assert_eq!(
                CanonicalPath::parse(path),
                Err(PathError::InvalidEscape),
                "{path}"
            );
        }
        assert!(CanonicalPath::parse("/%c0x/%e0%a0%80/%ff").is_ok());
    }

    #[test]
    fn refuses_what_is_no_path() {
        for path in [
            "",
            "*",
            "a",
            "http://a/",
            "/admin#/public/",
            "/a b",
            "/a?b",
            "/é",
            "\\a",
        ] {
            assert_eq!(
                CanonicalPath::parse(path),
                Err(PathError::Malformed),
                "{path}"
            );
        }
    }

    #[test]
    fn nested_escapes_take_linear_time() {
        let path = format!("/{}41", "%25".to_owned() + &"25".repeat(30_000));
        assert_eq!(readings(&path).1.as_deref(), Some("/A"));
    }

    #[test]
    fn a_slash_that_is_escaped_once_can_be_kept() {
        for (surface, expected) in [
            ("/@scope%2Fname", Some("/@scope%2Fname")),
            ("/a%2Fb%2Fc/d", Some("/a%2Fb%2Fc/d")),
            ("/a%20b%2Fc", Some("/a b%2Fc")),
            ("/a;x%2Fb", Some("/a")),
            ("//a%2Fb", Some("/a%2Fb")),
            ("/a%252Fb%2Fc", Some("/a/b%2Fc")),
            ("/a%5Cb%2Fc", Some("/a/b%2Fc")),
            ("/a%3Fb%2Fc", Some("/a")),
            ("/a%25%2Fb", Some("/a%%2Fb")),
            ("/a%252Fb", None),
            ("/a/b", None),
            ("/a%EE%80%80%2Fb", None),
        ] {
            assert_eq!(with_slashes_kept(surface).as_deref(), expected, "{surface}");
        }
    }

    #[test]
    fn a_verdict_counts_when_both_readings_share_it() {
        let path = CanonicalPath::parse("/admin%2Fusers").unwrap();
        assert_eq!(path.judge(|path| path.starts_with("/admin")), Some(true));
        assert_eq!(path.judge(|path| path.starts_with("/admin/")), None);
    }

    proptest! {
        #[test]
        fn readings_hold_what_they_promise(path in r"(/|//|\\|;|\.|\.\.|%2e|%2F|%5C|%25|%3b|%3F|%23|[a-c0-9%]){0,12}") {
            let path = format!("/{path}");
            if let Ok(read) = CanonicalPath::parse(&path) {
                let again = CanonicalPath::parse(&read.surface).unwrap();
                prop_assert_eq!(&again.surface, &read.surface);
                prop_assert_eq!(&again.deep, &read.deep);
                let deep = read.deep.as_deref().unwrap_or(&read.surface);
                if let Some(kept) = with_slashes_kept(&read.surface) {
                    prop_assert!(kept.starts_with('/') && !kept.contains("//") && !kept.contains(['\\', ';']));
                }
                prop_assert!(deep.starts_with('/'));
                prop_assert!(!deep.contains("//") && !deep.contains(['\\', ';']));
                for reading in [&*read.surface, deep] {
                    prop_assert!(!reading.split('/').any(is_dot_segment));
                }
                let decodable = (0..deep.len()).any(|at| {
                    escaped_byte(&deep.as_bytes()[at..]).is_some_and(|byte| byte.is_ascii())
                });
                prop_assert!(!decodable);
            }
        }

        #[test]
        fn any_text_is_read_without_harm(path: String) {
            let _ = CanonicalPath::parse(&format!("/{path}"));
        }
    }
}
