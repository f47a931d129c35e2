//! Sets of header names that are recognised in every spelling. Pure.

use http::{HeaderMap, HeaderName};

/// Header names and prefixes. A name is compared after every character but letters and digits became
/// `-`: CGI, WSGI and PHP map `X_User`, `X.User` and `X-User` to one variable, so an app may read any of
/// them as any other.
#[derive(Clone, Debug)]
pub(super) struct NameSet {
    /// By the name's length; the last bucket holds the longer ones, too.
    exact: [Vec<Box<str>>; BUCKETS],
    prefixes: Vec<Box<str>>,
    /// Which of the two a name may be that begins with a byte, in any spelling. Most headers of a browser are
    /// done with here.
    first: [Beginning; 256],
}

/// What the names that begin with some byte may be.
#[derive(Clone, Copy, Debug, Default)]
struct Beginning {
    exact: bool,
    prefix: bool,
}

impl NameSet {
    /// `exact` and `prefixes` are lower case.
    pub(super) fn new<'a>(
        exact: impl IntoIterator<Item = &'a str>,
        prefixes: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut set = Self {
            exact: [const { Vec::new() }; BUCKETS],
            prefixes: prefixes.into_iter().map(normalized).collect(),
            first: [Beginning::default(); 256],
        };
        for name in exact {
            let name = normalized(name);
            let bucket = &mut set.exact[name.len().min(BUCKETS - 1)];
            if !bucket.contains(&name) {
                bucket.push(name);
            }
        }
        for byte in first_bytes(set.exact.iter().flatten()) {
            set.first[usize::from(byte)].exact = true;
        }
        for byte in first_bytes(&set.prefixes) {
            set.first[usize::from(byte)].prefix = true;
        }
        set
    }

    /// Whether `name`, lower case as [`HeaderName`] holds it, is in the set in some spelling.
    #[inline]
    pub(super) fn contains(&self, name: &str) -> bool {
        let Some(first) = name.bytes().next() else {
            return false;
        };
        let may_be = self.first[usize::from(first)];
        may_be.exact && self.has_exact(name) || may_be.prefix && self.has_prefix(name)
    }

    fn has_exact(&self, name: &str) -> bool {
        self.exact[name.len().min(BUCKETS - 1)]
            .iter()
            .any(|member| member.len() == name.len() && begins_with(name, member))
    }

    fn has_prefix(&self, name: &str) -> bool {
        let mut prefixes = self.prefixes.iter();
        prefixes.any(|prefix| begins_with(name, prefix))
    }

    /// Removes every header whose name is in the set and `also` says so. Allocates nothing where there
    /// is none.
    pub(super) fn remove(&self, headers: &mut HeaderMap, also: impl Fn(&HeaderName) -> bool) {
        let found: Vec<HeaderName> = headers
            .keys()
            .filter(|name| self.contains(name.as_str()) && also(name))
            .cloned()
            .collect();
        for name in found {
            headers.remove(name);
        }
    }
}

fn normalized(name: &str) -> Box<str> {
    name.chars()
        .map(|character| match character {
            'a'..='z' | '0'..='9' => character,
            _ => '-',
        })
        .collect()
}

/// Whether `name` begins with `member` in some spelling.
fn begins_with(name: &str, member: &str) -> bool {
    name.len() >= member.len()
        && member
            .bytes()
            .zip(name.bytes())
            .all(|(member, byte)| member == byte || member == b'-' && !byte.is_ascii_alphanumeric())
}

/// The bytes that some name begins with, in any spelling.
fn first_bytes<'a>(names: impl IntoIterator<Item = &'a Box<str>>) -> Vec<u8> {
    names
        .into_iter()
        .filter_map(|name| name.bytes().next())
        .flat_map(spellings)
        .collect()
}

/// The bytes that count as `byte` of a normalised name.
fn spellings(byte: u8) -> impl Iterator<Item = u8> {
    (0..128)
        .filter(move |other: &u8| *other == byte || byte == b'-' && !other.is_ascii_alphanumeric())
}

const BUCKETS: usize = 40;
