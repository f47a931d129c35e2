//! The path globs of `[[routes]]`. Pure.
//!
//! A pattern is compared with either reading of a path (see [`crate::clean::path`]), so a literal
//! character matches itself and its escape: `/my files/**`, `/my%20files/**` and `/café/**` mean what
//! they look like. What could match one reading only is refused when the pattern is read.

use crate::clean::path::escaped_byte;

/// A glob over canonical paths. `*` stands for any run of characters within one segment (an empty one
/// included), `**` as a whole segment for any number of segments (none included: `/a/**` matches `/a`,
/// `/a/` and `/a/b/c`), `?` for one character. Everything else is literal, case-sensitive, and anchored
/// at both ends: `/a` matches neither `/a/` nor `/ab`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    written: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// `**`
    AnyNumber,
    /// The decoded bytes.
    Literal(Vec<u8>),
    Glob(Vec<Token>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// `*`
    Run,
    /// `?`
    One,
    /// A decoded byte.
    Byte(u8),
}

impl PathPattern {
    /// Reads a pattern; the error says what to change.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        let Some(relative) = pattern.strip_prefix('/') else {
            return Err("a path begins with `/`".to_owned());
        };
        let last = relative.split('/').count() - 1;
        let segments: Result<_, String> = relative
            .split('/')
            .enumerate()
            .map(|(index, segment)| {
                if segment.is_empty() && index < last {
                    return Err("write one `/` between segments".to_owned());
                }
                Segment::parse(segment)
            })
            .collect();
        Ok(Self {
            written: pattern.to_owned(),
            segments: segments?,
        })
    }

    /// Whether the whole of `path` (a reading of a canonical path, no query) fits. Takes at most the
    /// product of both lengths: only the last `**`, and within a segment the last `*`, is tried again.
    pub fn matches(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else {
            return false;
        };
        let mut rest = path.split('/');
        let mut wanted = self.segments.as_slice();
        let mut retry = None;
        loop {
            if let Some((Segment::AnyNumber, after)) = wanted.split_first() {
                if after.is_empty() {
                    return true;
                }
                wanted = after;
                retry = Some((after, rest.clone()));
                continue;
            }
            match (wanted.split_first(), rest.next()) {
                (None, None) => return true,
                (Some(_), None) => return false,
                (Some((segment, after)), Some(name)) if segment.matches(name.as_bytes()) => {
                    wanted = after;
                }
                _ => {
                    let Some((after, from)) = &mut retry else {
                        return false;
                    };
                    from.next();
                    wanted = after;
                    rest = from.clone();
                }
            }
        }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.written
    }
}

impl Segment {
    fn parse(segment: &str) -> Result<Self, String> {
        if segment == "**" {
            return Ok(Self::AnyNumber);
        }
        if segment.contains("**") {
            return Err("`**` must stand alone between slashes".to_owned());
        }
        let mut tokens = Vec::with_capacity(segment.len());
        let bytes = segment.as_bytes();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            tokens.push(match byte {
                b'*' => Token::Run,
                b'?' => Token::One,
                b'%' => {
                    let byte = escaped_byte(&bytes[at - 1..])
                        .ok_or("`%` needs two hex digits; write `%25` for a percent sign")?;
                    at += 2;
                    Token::Byte(byte)
                }
                b'#' => return Err("write `%23` for `#`".to_owned()),
                _ => Token::Byte(byte),
            });
        }
        refuse_unmatchable(&tokens)?;
        let literal = tokens.iter().map(|token| match token {
            Token::Byte(byte) => Some(*byte),
            Token::Run | Token::One => None,
        });
        match literal.collect::<Option<Vec<u8>>>() {
            Some(bytes) if bytes == b"." || bytes == b".." => {
                Err("a path with `.` or `..` as a segment is refused".to_owned())
            }
            Some(bytes) => Ok(Self::Literal(bytes)),
            None => Ok(Self::Glob(tokens)),
        }
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::AnyNumber => true,
            Self::Literal(bytes) => bytes == name || is_spelling_of(bytes, name),
            Self::Glob(tokens) => glob_matches(tokens, name),
        }
    }
}

/// Refuses what no path has in both of its readings.
fn refuse_unmatchable(tokens: &[Token]) -> Result<(), String> {
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::Byte(byte) if byte.is_ascii_control() => {
                return Err("a path with control characters is refused".to_owned());
            }
            Token::Byte(byte @ (b'/' | b'\\' | b';')) => {
                return Err(format!(
                    "a path with {:?} inside a segment is read in two ways; use `*` there",
                    char::from(*byte)
                ));
            }
            Token::Byte(b'%') if is_hex(tokens.get(index + 1)) && is_hex(tokens.get(index + 2)) => {
                return Err("escape once only".to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_hex(token: Option<&Token>) -> bool {
    matches!(token, Some(Token::Byte(byte)) if byte.is_ascii_hexdigit())
}

/// Whether `name` is `bytes` with some of them escaped.
fn is_spelling_of(bytes: &[u8], name: &[u8]) -> bool {
    let mut rest = name;
    for byte in bytes {
        match next_byte(rest) {
            Some((found, after)) if found == *byte => rest = after,
            _ => return false,
        }
    }
    rest.is_empty()
}

fn glob_matches(mut wanted: &[Token], mut rest: &[u8]) -> bool {
    let mut retry = None;
    loop {
        let fits = match wanted.split_first() {
            Some((Token::Run, after)) => {
                if after.is_empty() {
                    return true;
                }
                wanted = after;
                retry = Some((after, rest));
                continue;
            }
            Some((Token::One, after)) => next_character(rest).map(|rest| (after, rest)),
            Some((Token::Byte(byte), after)) => next_byte(rest)
                .filter(|(found, _)| found == byte)
                .map(|(_, rest)| (after, rest)),
            None if rest.is_empty() => return true,
            None => None,
        };
        if let Some(next) = fits {
            (wanted, rest) = next;
            continue;
        }
        let Some((after, from)) = &mut retry else {
            return false;
        };
        let Some((_, behind)) = next_byte(from) else {
            return false;
        };
        *from = behind;
        (wanted, rest) = (after, behind);
    }
}

/// The first byte that `text` stands for, and what follows its spelling.
fn next_byte(text: &[u8]) -> Option<(u8, &[u8])> {
    match escaped_byte(text) {
        Some(byte) => Some((byte, &text[3..])),
        None => text.split_first().map(|(byte, rest)| (*byte, rest)),
    }
}

/// What follows the first character: a byte, or the bytes of one character in UTF-8.
fn next_character(text: &[u8]) -> Option<&[u8]> {
    let (first, mut rest) = next_byte(text)?;
    let more = match first {
        0xc2..=0xdf => 1,
        0xe0..=0xef => 2,
        0xf0..=0xf4 => 3,
        _ => 0,
    };
    for _ in 0..more {
        match next_byte(rest) {
            Some((0x80..=0xbf, after)) => rest = after,
            _ => break,
        }
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clean::path::CanonicalPath;

    /// The verdict on a request path; none when its readings differ.
    fn judge(pattern: &str, path: &str) -> Option<bool> {
        let pattern = PathPattern::parse(pattern).unwrap();
        let path = CanonicalPath::parse(path).unwrap();
        path.judge(|path| pattern.matches(path))
    }

    #[test]
    fn matches_whole_paths() {
        for (pattern, yes, no) in [
            ("/", &["/"][..], &["/a"][..]),
            (
                "/public",
                &["/public"],
                &["/x/public", "/publicadmin", "/public/", "/PUBLIC"],
            ),
            ("/a/", &["/a/"], &["/a", "/a/b"]),
            (
                "/a/**",
                &["/a", "/a/", "/a/b", "/a/b/c/"],
                &["/ab", "/", "/b/a"],
            ),
            ("/**", &["/", "/a", "/a/b/"], &[]),
            (
                "/**/x",
                &["/x", "/a/x", "/x/x/x"],
                &["/x/", "/ax", "/a/x/b"],
            ),
            (
                "/a/**/b/*",
                &["/a/b/", "/a/b/c", "/a/b/b/b/c"],
                &["/a/b", "/a/c/b/c/d"],
            ),
            (
                "/**/a/**/b/**",
                &["/a/b", "/c/a/c/b/c", "/b/a/b"],
                &["/b/a", "/a/c"],
            ),
            ("/a/**/", &["/a/", "/a/b/"], &["/a", "/a/b"]),
            ("/*", &["/", "/a"], &["/a/b", "/a/"]),
            (
                "/*.js",
                &["/a.js", "/.js", "/a.js.js"],
                &["/a.jsx", "/a/b.js"],
            ),
            (
                "/a*b*c",
                &["/abc", "/axbxbxc"],
                &["/abcd", "/acb", "/a/b/c"],
            ),
            (
                "/v?/x",
                &["/v1/x", "/v%20/x", "/v%C3%A9/x"],
                &["/v/x", "/v11/x"],
            ),
            ("/a?", &["/ab", "/a%E2%82%AC"], &["/a", "/abc"]),
        ] {
            for path in yes {
                assert_eq!(judge(pattern, path), Some(true), "{pattern} {path}");
            }
            for path in no {
                assert_eq!(judge(pattern, path), Some(false), "{pattern} {path}");
            }
        }
    }

    #[test]
    fn spellings_of_a_character_are_one() {
        for (pattern, path) in [
            ("/café/**", "/caf%c3%a9/x"),
            ("/caf%C3%A9/**", "/caf%c3%a9/x"),
            ("/my files", "/my%20files"),
            ("/my%20files", "/my%20files"),
            ("/@scope/*", "/%40scope/x"),
            ("/%40scope/*", "/@scope/x"),
            ("/%61", "/a"),
            ("/a|b", "/a%7Cb"),
            ("/100%25", "/100%25"),
            ("/what%3F", "/what%3f"),
            ("/%2A", "/*"),
        ] {
            assert_eq!(judge(pattern, path), Some(true), "{pattern} {path}");
        }
        assert_eq!(judge("/what%3F", "/whatx"), Some(false));
        assert_eq!(judge("/%2A", "/x"), Some(false));
    }

    #[test]
    fn a_path_that_only_one_reading_matches_is_ambiguous() {
        for (pattern, path) in [
            ("/admin/**", "/admin%2Fusers"),
            ("/admin/**", "/admin;x=/public/"),
            ("/admin/**", "//admin"),
            ("/admin/**", "/%2561dmin"),
            ("/*", "/a%2Fb"),
            ("/*2F", "/a%252F"),
        ] {
            let verdict = judge(pattern, path);
            assert_ne!(verdict, Some(true), "{pattern} {path}");
        }
        assert_eq!(judge("/admin/**", "/admin%2Fusers"), None);
        assert_eq!(judge("/*2F", "/a%2F"), Some(false));
    }

    #[test]
    fn says_what_is_wrong_with_a_pattern() {
        for (pattern, hint) in [
            ("", "begins with `/`"),
            ("admin", "begins with `/`"),
            ("/a//b", "one `/`"),
            ("//", "one `/`"),
            ("/a**", "stand alone"),
            ("/***", "stand alone"),
            ("/a/../b", "`..`"),
            ("/%2e", "`..`"),
            ("/%zz", "two hex digits"),
            ("/100%", "two hex digits"),
            ("/a#b", "%23"),
            ("/a\tb", "control"),
            ("/%0a", "control"),
            ("/a;b", "two ways"),
            ("/a%2fb", "two ways"),
            ("/a\\b", "two ways"),
            ("/%2541", "once"),
        ] {
            let error = PathPattern::parse(pattern).unwrap_err();
            assert!(error.contains(hint), "{pattern}: {error}");
        }
    }

    #[test]
    fn keeps_the_pattern_as_written() {
        assert_eq!(PathPattern::parse("/%61/**").unwrap().as_str(), "/%61/**");
    }

    #[test]
    fn hostile_paths_take_bounded_time() {
        let pattern = PathPattern::parse(&format!("/{}", "a*".repeat(50) + "b")).unwrap();
        assert!(!pattern.matches(&format!("/{}", "a".repeat(20_000))));
        let pattern = PathPattern::parse(&format!("/{}b", "**/a/".repeat(50))).unwrap();
        assert!(!pattern.matches(&"/a".repeat(10_000)));
    }

    /// The same rules, by exhaustive search.
    fn reference(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern.split_first(), path.split_first()) {
            (None, None) => true,
            (Some((&"**", after)), _) => {
                reference(after, path)
                    || path
                        .split_first()
                        .is_some_and(|(_, rest)| reference(pattern, rest))
            }
            (Some((segment, after)), Some((name, rest))) => {
                reference_segment(segment.as_bytes(), name.as_bytes()) && reference(after, rest)
            }
            _ => false,
        }
    }

    fn reference_segment(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', after)), _) => {
                reference_segment(after, name)
                    || name
                        .split_first()
                        .is_some_and(|(_, rest)| reference_segment(pattern, rest))
            }
            (Some((b'?', after)), Some((_, rest))) => reference_segment(after, rest),
            (Some((wanted, after)), Some((byte, rest))) => {
                wanted == byte && reference_segment(after, rest)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_exhaustive_search(
            pattern in r"(/(\*\*|[ab*?]{1,4})){1,5}/?",
            path in r"(/[ab]{0,4}){1,6}",
        ) {
            if let Ok(read) = PathPattern::parse(&pattern) {
                let wanted: Vec<_> = pattern[1..].split('/').collect();
                let names: Vec<_> = path[1..].split('/').collect();
                prop_assert_eq!(read.matches(&path), reference(&wanted, &names));
            }
        }

        #[test]
        fn any_text_is_read_without_harm(pattern: String, path: String) {
            if let Ok(read) = PathPattern::parse(&format!("/{pattern}")) {
                read.matches(&format!("/{path}"));
            }
        }
    }
}
