//! Assertions of clients that were used: each proves its client once (RFC 7523 §3, 7), at whichever replica.

use std::sync::Arc;

use super::client_assertion::Assertion;
use crate::{
    kv::{self, Store, Table},
    random,
};

/// Remembers which were used, until they would not be taken any more.
pub struct UsedAssertions(Table<[u8; 16]>);

impl UsedAssertions {
    /// Those in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(Table::new(store, "client-assertions", 1))
    }

    /// Whether it was not used before. Of all that come with one at once, one is the first.
    ///
    /// # Errors
    /// When the store does not answer: then nobody is.
    pub async fn is_first(&self, assertion: &Assertion) -> Result<bool, kv::Error> {
        // A value that is there already counts as put there: this one is nobody else's.
        self.0
            .add(&assertion.name, &random::bytes(), assertion.until)
            .await
    }
}
