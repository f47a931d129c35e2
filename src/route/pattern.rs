//! The path patterns of `[[routes]]`. Pure.
//!
//! A pattern is compared with both readings of a path (see [`crate::canonical_path`]). So a literal character matches itself and its
//! escape: `/my files/**`, `/my%20files/**` and `/café/**` mean what they look like. A pattern that could match only one reading is
//! refused when it is read.

use crate::canonical_path::escaped_byte;

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

    /// The decoded bytes of the first segment, where only paths that begin with it fit.
    pub fn first_literal(&self) -> Option<&[u8]> {
        match self.segments.first() {
            Some(Segment::Literal(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// The one path that it fits, or that all lie below which it fits; none where it is no such pattern.
    pub fn root(&self) -> Option<&str> {
        let is_literal = |segment: &Segment| matches!(segment, Segment::Literal(_));
        let (literals, path) = match self.segments.split_last() {
            Some((Segment::AnyNumber, before)) => (before, self.written.strip_suffix("/**")?),
            _ => (&self.segments[..], &*self.written),
        };
        let is_plain =
            literals.iter().all(is_literal) && path.is_ascii() && !path.contains(['%', ' ']);
        is_plain.then_some(if path.is_empty() { "/" } else { path })
    }

    /// Whether every path that fits `other` fits this, too, as far as the patterns' shapes tell: "yes" is sure.
    pub fn covers(&self, other: &Self) -> bool {
        covers(
            &self.segments,
            &other.segments,
            |segment| *segment == Segment::AnyNumber,
            |ours, theirs| {
                let is_run = |token: &Token| *token == Token::Run;
                covers(&ours.tokens(), &theirs.tokens(), is_run, |ours, theirs| {
                    ours.covers(*theirs)
                })
            },
        )
    }

    /// Whether nothing but `*` and `**` stands behind the first `segments` of a path that fits.
    pub fn is_open_behind(&self, segments: usize) -> bool {
        let is_run = |segment: &Segment| match segment {
            Segment::AnyNumber => true,
            Segment::Literal(_) => false,
            Segment::Glob(tokens) => tokens.iter().all(|token| *token == Token::Run),
        };
        // Behind a `**` nobody can tell which segment of the pattern is meant.
        let any_number = |segment: &Segment| *segment == Segment::AnyNumber;
        let sure = self.segments.iter().position(any_number);
        let sure = sure.unwrap_or(segments).min(segments);
        self.segments.iter().skip(sure).all(is_run)
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
                b'#' => return Err("a path ends before `#`; use `*` there".to_owned()),
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

    fn tokens(&self) -> Vec<Token> {
        match self {
            Self::AnyNumber => vec![Token::Run],
            Self::Literal(bytes) => bytes.iter().map(|byte| Token::Byte(*byte)).collect(),
            Self::Glob(tokens) => tokens.clone(),
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

impl Token {
    /// Where both are no [`Run`](Self::Run). A byte beyond ASCII is a part of a character only.
    fn covers(self, other: Self) -> bool {
        self == other || matches!((self, other), (Self::One, Self::Byte(byte)) if byte.is_ascii())
    }
}

/// Whether `wanted` takes in whatever `given` stands for, part by part: what `is_run` says of stands for any number
/// of parts, another one for whatever `fits`.
fn covers<T>(
    wanted: &[T],
    given: &[T],
    is_run: impl Fn(&T) -> bool,
    fits: impl Fn(&T, &T) -> bool,
) -> bool {
    // Which beginnings of `given` the parts of `wanted` so far can take in.
    let mut taken = vec![false; given.len() + 1];
    taken[0] = true;
    for part in wanted {
        if is_run(part) {
            let first = taken.iter().position(|taken| *taken);
            taken[first.unwrap_or(given.len() + 1)..].fill(true);
            continue;
        }
        for (at, other) in given.iter().enumerate().rev() {
            taken[at + 1] = taken[at] && !is_run(other) && fits(part, other);
        }
        taken[0] = false;
    }
    taken[given.len()]
}

/// Refuses what no path has in both of its readings.
fn refuse_unmatchable(tokens: &[Token]) -> Result<(), String> {
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::Byte(byte) if byte.is_ascii_control() => {
                return Err("a path with control characters is refused".to_owned());
            }
            Token::Byte(byte @ (b'/' | b'\\' | b';' | b'?' | b'#')) => {
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
mod tests;
