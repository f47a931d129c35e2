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
    /// A bit per first byte that occurs. Most headers of a browser are done with here.
    first: u128,
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
            first: 0,
        };
        for name in exact {
            let name = normalized(name);
            let bucket = &mut set.exact[name.len().min(BUCKETS - 1)];
            if !bucket.contains(&name) {
                bucket.push(name);
            }
        }
        let firsts = set.exact.iter().flatten().chain(&set.prefixes);
        set.first = firsts
            .filter_map(|name| name.bytes().next())
            .flat_map(spellings)
            .fold(0, |bits, byte| bits | (1 << byte));
        set
    }

    /// Whether `name`, lower case as [`HeaderName`] holds it, is in the set in some spelling.
    pub(super) fn contains(&self, name: &str) -> bool {
        let Some(first) = name.bytes().next().filter(u8::is_ascii) else {
            return false;
        };
        if self.first & (1 << first) == 0 {
            return false;
        }
        let begins = |member: &str| {
            name.len() >= member.len()
                && member.bytes().zip(name.bytes()).all(|(member, byte)| {
                    member == byte || member == b'-' && !byte.is_ascii_alphanumeric()
                })
        };
        let bucket = &self.exact[name.len().min(BUCKETS - 1)];
        bucket
            .iter()
            .any(|member| member.len() == name.len() && begins(member))
            || self.prefixes.iter().any(|prefix| begins(prefix))
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

/// The bytes that count as `byte` of a normalised name.
fn spellings(byte: u8) -> impl Iterator<Item = u8> {
    (0..128)
        .filter(move |other: &u8| *other == byte || byte == b'-' && !other.is_ascii_alphanumeric())
}

const BUCKETS: usize = 40;
