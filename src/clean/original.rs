//! The headers in which a proxy describes the request that it asks about (forward-auth). Pure.
//!
//! Here they are only collected: cleaning removes them from each request. [`door`](crate::door) decides which of them to believe.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Path and query, or the whole address.
pub const TARGETS: [&str; 3] = ["x-original-uri", "x-original-url", "x-forwarded-uri"];
/// The method.
pub const METHODS: [&str; 2] = ["x-original-method", "x-forwarded-method"];
/// Host and scheme. Many proxies send them with every request.
const AUTHORITIES: [&str; 2] = ["x-forwarded-host", "x-forwarded-proto"];

/// The headers as they came. Every request behind a trusted proxy keeps them, and hardly any has one, so they are read
/// where they are asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OriginalHeaders(Vec<(HeaderName, HeaderValue)>);

impl OriginalHeaders {
    /// Those of a trusted proxy; of others none is believed.
    pub(crate) fn keep(headers: &HeaderMap) -> Self {
        let names = TARGETS.iter().chain(&METHODS).chain(&AUTHORITIES);
        let lines = names.flat_map(|name| {
            let values = headers.get_all(*name).iter();
            values.map(|value| (HeaderName::from_static(name), value.clone()))
        });
        Self(lines.collect())
    }

    /// Whether `name`, in lower case, tells of another request than the one that it came with.
    pub(super) fn has(name: &str) -> bool {
        TARGETS.contains(&name) || METHODS.contains(&name)
    }

    /// The values of `name`, in lower case.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &HeaderValue> {
        let of = move |line: &&(HeaderName, HeaderValue)| line.0.as_str() == name;
        self.0.iter().filter(of).map(|(_, value)| value)
    }
}
