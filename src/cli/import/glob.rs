//! Translates regular expressions of paths into the globs of `[[routes]]`, where possible. Pure.
//!
//! A glob never matches more than the expression: a public route must not grow. If no glob fits, there is none.

use std::fmt::Write as _;

use crate::route::PathPattern;

/// So many globs may one expression become.
const MOST: usize = 32;

/// What stands for one expression.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Globs {
    pub(super) globs: Vec<String>,
    /// Whether a `.` that could be any character was taken as a dot, which is narrower.
    pub(super) dots: bool,
}

/// The globs that match what `regex` finds anywhere in a path; `None` where there are none.
pub(super) fn globs(regex: &str) -> Option<Globs> {
    let mut parser = Parser {
        rest: regex,
        dots: false,
    };
    let alternatives = parser.alternatives(0)?;
    if !parser.rest.is_empty() {
        return None;
    }
    let mut globs = Vec::new();
    for parts in alternatives {
        for glob in glob(&parts)? {
            if !globs.contains(&glob) {
                globs.push(glob);
            }
        }
    }
    // A letter that no pattern can mean: a `?` of the path's own.
    let is_readable = globs.iter().all(|glob| PathPattern::parse(glob).is_ok());
    ((1..=MOST).contains(&globs.len()) && is_readable).then_some(Globs {
        globs,
        dots: parser.dots,
    })
}

/// What an expression is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Literal(char),
    /// `.*`
    Anything,
    /// `[^/]*`
    Run,
    /// `[^/]`
    One,
    /// `^`
    Start,
    /// `$`
    End,
}

type Parts = Vec<Part>;

struct Parser<'a> {
    rest: &'a str,
    dots: bool,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// `a|b`, up to the end or a closing bracket.
    fn alternatives(&mut self, depth: usize) -> Option<Vec<Parts>> {
        if depth > 8 {
            return None;
        }
        let mut all = Vec::new();
        loop {
            all.extend(self.sequence(depth)?);
            if all.len() > MOST {
                return None;
            }
            if !self.take("|") {
                return Some(all);
            }
        }
    }

    fn sequence(&mut self, depth: usize) -> Option<Vec<Parts>> {
        let mut all: Vec<Parts> = vec![Vec::new()];
        while !self.rest.is_empty() && !self.rest.starts_with(['|', ')']) {
            let atom = self.atom(depth)?;
            let atom = self.repeated(atom)?;
            if all.len() * atom.len() > MOST {
                return None;
            }
            all = all
                .iter()
                .flat_map(|before| atom.iter().map(move |after| [&before[..], after].concat()))
                .collect();
        }
        Some(all)
    }

    fn atom(&mut self, depth: usize) -> Option<Vec<Parts>> {
        if self.take("[^/]") {
            return Some(vec![vec![Part::One]]);
        }
        if self.take("(?:") || self.take("(") {
            // Flags and names of groups: whatever they mean, it is not what it looks like.
            if self.rest.starts_with('?') {
                return None;
            }
            let inner = self.alternatives(depth + 1)?;
            return self.take(")").then_some(inner);
        }
        let part = match self.next()? {
            '^' => Part::Start,
            '$' => Part::End,
            // Alone it is nearly always meant as a dot; what it may repeat is seen next.
            '.' => {
                if self.rest.starts_with(['*', '+']) {
                    // Its repetition is looked at next.
                    Part::Anything
                } else {
                    self.dots = true;
                    Part::Literal('.')
                }
            }
            '\\' => match self.next()? {
                escaped if escaped.is_ascii_punctuation() => Part::Literal(escaped),
                // Classes (\d, \w) and positions (\b, \A).
                _ => return None,
            },
            '[' | ']' | '{' | '}' | '*' | '+' | '?' | ')' | '|' => return None,
            literal => Part::Literal(literal),
        };
        Some(vec![vec![part]])
    }

    /// What follows an atom: `*`, `+`, `?`, or nothing.
    fn repeated(&mut self, atom: Vec<Parts>) -> Option<Vec<Parts>> {
        let single = match &atom[..] {
            [parts] => match parts[..] {
                [part] => Some(part),
                _ => None,
            },
            _ => None,
        };
        let is_position = matches!(single, Some(Part::Start | Part::End));
        let mut repeated = if self.take("*") {
            match single? {
                Part::Anything => vec![vec![Part::Anything]],
                Part::One => vec![vec![Part::Run]],
                _ => return None,
            }
        } else if self.take("+") {
            match single? {
                Part::One => vec![vec![Part::One, Part::Run]],
                Part::Anything => vec![
                    vec![Part::One, Part::Anything],
                    vec![Part::Literal('/'), Part::Anything],
                ],
                _ => return None,
            }
        } else if self.take("?") {
            if is_position {
                return None;
            }
            let mut optional = vec![Vec::new()];
            optional.extend(atom);
            optional
        } else {
            if single == Some(Part::Anything) {
                return None;
            }
            return Some(atom);
        };
        // The lazy forms find the same paths.
        self.take("?");
        if self.rest.starts_with(['*', '+', '?', '{']) {
            return None;
        }
        repeated.dedup();
        Some(repeated)
    }
}

/// The globs of one alternative.
fn glob(parts: &[Part]) -> Option<Vec<String>> {
    let starts = parts.first() == Some(&Part::Start);
    let ends = parts.last() == Some(&Part::End);
    let from = usize::from(starts);
    let to = parts.len() - usize::from(ends && parts.len() > from);
    let mut parts = parts[from..to].to_vec();
    if parts
        .iter()
        .any(|part| matches!(part, Part::Start | Part::End))
    {
        return None;
    }
    if !ends {
        parts.push(Part::Anything);
    }
    if !starts {
        parts.insert(0, Part::Anything);
    }
    // Anything beside a run, or beside itself, is anything.
    let is_run = |part: &Part| matches!(part, Part::Run | Part::Anything);
    parts.dedup_by(|after, before| {
        let merged = is_run(after) && is_run(before);
        if merged && *after == Part::Anything {
            *before = Part::Anything;
        }
        merged
    });
    // What begins anywhere begins after the path's first slash, or with it.
    let mut begun = Written::default();
    let rest = match &parts[..] {
        [Part::Anything, Part::Literal('/'), rest @ ..] => {
            begun.segments.push("**".to_owned());
            rest
        }
        [Part::Anything, ..] => &parts[..],
        [Part::Literal('/'), rest @ ..] => rest,
        _ => return None,
    };
    let mut globs: Vec<String> = begun
        .write(rest)?
        .iter()
        // No canonical path has an empty segment but the last.
        .filter(|written| !written.segments.iter().any(String::is_empty))
        .map(Written::glob)
        .collect();
    globs.dedup();
    Some(globs)
}

/// A glob that is being written: whole segments, and the one at hand.
#[derive(Clone, Debug, Default)]
struct Written {
    segments: Vec<String>,
    last: String,
    /// Whether nothing comes after `**`, so that there is no segment at hand.
    closed: bool,
}

impl Written {
    /// Every glob that this and `parts` come to.
    fn write(mut self, parts: &[Part]) -> Option<Vec<Self>> {
        for (place, part) in parts.iter().enumerate() {
            match *part {
                Part::Literal('/') => self.segments.push(std::mem::take(&mut self.last)),
                Part::Literal(literal) => push_literal(&mut self.last, literal),
                Part::Run => self.last.push('*'),
                Part::One => self.last.push('?'),
                Part::Start | Part::End => return None,
                Part::Anything => {
                    let rest = &parts[place + 1..];
                    if rest.is_empty() {
                        self.last.push('*');
                        self.segments.push(std::mem::take(&mut self.last));
                        self.segments.push("**".to_owned());
                        self.closed = true;
                        return Some(vec![self]);
                    }
                    if self.last.is_empty() {
                        // Any number of segments, and the beginning of one.
                        self.segments.push("**".to_owned());
                        self.last.push('*');
                        continue;
                    }
                    // Within the segment, or on into a later one.
                    self.last.push('*');
                    let mut later = self.clone();
                    later.segments.push(std::mem::take(&mut later.last));
                    later.segments.push("**".to_owned());
                    later.last.push('*');
                    let mut all = self.write(rest)?;
                    all.extend(later.write(rest)?);
                    return (all.len() <= MOST).then_some(all);
                }
            }
        }
        Some(vec![self])
    }

    fn glob(&self) -> String {
        let mut segments: Vec<&str> = self.segments.iter().map(String::as_str).collect();
        if !self.closed {
            segments.push(&self.last);
        }
        segments.dedup_by(|after, before| *after == "**" && *before == "**");
        match segments[..] {
            ["*", "**"] | ["**", "*"] | ["**", "*", "**"] => "/**".to_owned(),
            _ => format!("/{}", segments.join("/")),
        }
    }
}

/// A letter that means itself; what a glob or its reader would take for more is escaped.
fn push_literal(segment: &mut String, literal: char) {
    if literal.is_ascii_alphanumeric() || "-._~!&+,;=:@'".contains(literal) || !literal.is_ascii() {
        segment.push(literal);
    } else {
        _ = write!(segment, "%{:02X}", u32::from(literal));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(regex: &str) -> Option<Vec<String>> {
        globs(regex).map(|globs| globs.globs)
    }

    #[test]
    fn what_a_glob_can_say_it_says() {
        for (regex, expected) in [
            ("^/$", &["/"][..]),
            ("^/", &["/**"]),
            (".*", &["/**"]),
            ("^/.*$", &["/**"]),
            ("^/ping$", &["/ping"]),
            ("^/public", &["/public*/**"]),
            ("^/public/", &["/public/*/**"]),
            ("^/public/.*", &["/public/*/**"]),
            ("^/public/.*$", &["/public/*/**"]),
            ("^/public/.+", &["/public/?*/**"]),
            ("^/public(/.*)?$", &["/public", "/public/*/**"]),
            ("^/public(/|$)", &["/public/*/**", "/public"]),
            ("^/favicon\\.ico$", &["/favicon.ico"]),
            ("^/(css|js)/", &["/css/*/**", "/js/*/**"]),
            ("^/api/v[^/]+/status$", &["/api/v?*/status"]),
            ("^/api/[^/]+$", &["/api/?*"]),
            ("^/healthz?$", &["/health", "/healthz"]),
            ("^/health/?$", &["/health", "/health/"]),
            ("/health", &["/**/health*/**"]),
            ("\\.css$", &["/**/*.css"]),
            ("\\.(css|js)$", &["/**/*.css", "/**/*.js"]),
            ("^/static/.*\\.js$", &["/static/**/*.js"]),
            ("^/a.*b$", &["/a*b", "/a*/**/*b"]),
            ("^/x\\*y$", &["/x%2Ay"]),
        ] {
            let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
            assert_eq!(of(regex), Some(expected), "{regex}");
        }
        assert!(globs("^/favicon.ico$").unwrap().dots);
        assert!(!globs("^/favicon\\.ico.*$").unwrap().dots);
    }

    #[test]
    fn what_no_glob_can_say_is_left() {
        for regex in [
            "^/[0-9]+$",
            "^/\\d+",
            "^/\\w+/x",
            "(?i)^/public",
            "^/a{2}",
            "^/(a",
            "a^b",
            "^/a+$",
            "^public",
            "^/(?P<name>x)",
            "[",
            "^/a\\?b$",
        ] {
            assert_eq!(of(regex), None, "{regex}");
        }
    }

    #[test]
    fn every_glob_can_be_read() {
        for regex in ["^/a b", "^/ä", "^/a%b$", "^/\\(x\\)$", "^/a\\|b$"] {
            for glob in of(regex).unwrap() {
                PathPattern::parse(&glob).unwrap();
            }
        }
    }

    fn piece() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "a", "b", "/", "/a", "\\.", ".*", ".+", "[^/]*", "[^/]+", "(a|/b)", "(/a)?", "/?",
            "b?", "/.*",
        ])
    }

    fn path() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "/", ".", "ab"]), 0..7).prop_map(
            |parts| {
                let mut path = format!("/{}", parts.concat());
                while path.contains("//") {
                    path = path.replace("//", "/");
                }
                path
            },
        )
    }

    proptest! {
        /// In both directions: what is let in was meant, and what was meant is let in.
        #[test]
        fn globs_match_what_the_expression_finds(
            start in any::<bool>(),
            end in any::<bool>(),
            pieces in prop::collection::vec(piece(), 1..6),
            path in path(),
        ) {
            let regex = format!(
                "{}{}{}",
                if start { "^/" } else { "" },
                pieces.concat(),
                if end { "$" } else { "" },
            );
            // A segment that is a dot or two, or ends in one, no canonical path has.
            prop_assume!(!path.contains("/./") && !path.ends_with("/.") && !path.contains("/../"));
            if let (Some(globs), Ok(expression)) = (globs(&regex), regex::Regex::new(&regex)) {
                let matched = globs.globs.iter().any(|glob| {
                    PathPattern::parse(glob).is_ok_and(|pattern| pattern.matches(&path))
                });
                let expected = expression.is_match(&path);
                prop_assert!(!matched || expected, "{regex} as {:?} lets in {path}", globs.globs);
                prop_assert_eq!(matched, expected, "{} as {:?} at {}", regex, globs.globs, path);
            }
        }
    }
}
