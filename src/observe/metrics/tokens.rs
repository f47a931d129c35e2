//! Tokens that the authorization server has given.

use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Counts them, by client and by grant. Anybody can register clients, and so these have one name together: there are no more series than
/// clients in the file and grants.
#[derive(Clone, Debug, Default)]
pub struct IssuedTokens(Family<Labels, Counter>);

type Labels = [(&'static str, String); 2];

impl IssuedTokens {
    /// An access token was given to `client`, as the configuration calls it, or as it became known.
    pub fn given(&self, client: &str, grant: &'static str) {
        let labels = [("client", client.to_owned()), ("grant", grant.to_owned())];
        self.0.get_or_create(&labels).inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        // So that a first one is a rise.
        for client in ["registered", "document"] {
            for grant in ["code", "refresh_token"] {
                let labels = [("client", client.to_owned()), ("grant", grant.to_owned())];
                drop(self.0.get_or_create(&labels));
            }
        }
        registry.register(
            "sidegate_tokens_issued",
            "Access tokens that the authorization server issued, by client and grant",
            self.0.clone(),
        );
    }
}
