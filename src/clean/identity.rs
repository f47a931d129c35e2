//! Header names that only the gate may write, recognised in every spelling. Pure.

use http::{HeaderMap, HeaderName};

/// The names removed from every request: those of all presets and peers, always, and those that the
/// configuration sets. A name is compared after every character but letters and digits became `-`,
/// because upstreams map `X_User` and `X.User` to the same variable (CGI, WSGI, PHP).
pub struct ReservedNames {}

impl ReservedNames {
    /// The fixed list and `configured`.
    pub fn new<'a>(configured: impl IntoIterator<Item = &'a HeaderName>) -> Self {
        let _ = configured.into_iter().count();
        todo!()
    }

    /// Whether the name is reserved. `name` is lower case, as `HeaderName` holds it.
    pub fn contains(&self, name: &str) -> bool {
        let _ = name;
        todo!()
    }

    /// Removes every reserved header. Allocates nothing where there is none.
    pub fn strip(&self, headers: &mut HeaderMap) {
        let _ = headers;
        todo!()
    }
}
