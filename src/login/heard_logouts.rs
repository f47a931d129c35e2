//! Logout tokens that have come: each counts once, at whichever replica. Whoever has seen one must not end what began after it.
//!
//! Only the provider can sign them, so nobody else can fill this.

use std::sync::Arc;

use crate::{
    kv::{Store, Table},
    provider::Logout,
    random,
};

/// Remembers them, for as long as they would count.
pub(super) struct HeardLogouts(Table<[u8; 16]>);

impl HeardLogouts {
    /// Those in `store`, which replicas share where they share anything.
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self(Table::new(store, "logout-tokens", 1))
    }

    /// Whether it has not come before, as far as the store says. While that is away the sign-out counts: to lose one is worse than to hear
    /// one twice, which ends no more than began within a minute after it.
    pub(super) async fn is_first(&self, logout: &Logout) -> bool {
        // A value that is there already counts as put there: this one is nobody else's.
        let value = random::bytes();
        let added = self.0.add(&logout.id, &value, logout.until).await;
        added.unwrap_or_else(|error| {
            tracing::warn!(%error, "nobody can say whether a logout token has come before");
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{clock, kv, provider::LogoutClaim};

    #[tokio::test]
    async fn each_counts_once_and_where_nobody_can_say_it_counts() {
        let now = clock::now();
        let logout = |id| Logout {
            claim: LogoutClaim::Session {
                sid: "s".into(),
                sub: None,
            },
            not_before: now,
            id: [id; 32],
            until: now.after(Duration::from_mins(1)),
        };
        let heard = HeardLogouts::new(Arc::new(kv::Memory::new(1, 10_000)));
        assert!(heard.is_first(&logout(1)).await);
        assert!(!heard.is_first(&logout(1)).await);
        for _ in 0..2 {
            assert!(heard.is_first(&logout(2)).await, "there is no room");
        }
    }
}
