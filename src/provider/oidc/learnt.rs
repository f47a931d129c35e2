//! What a provider object has learnt about its server, for its successor after a reload. So nobody has to wait, or fails during an outage,
//! because a rule was changed.

use std::sync::Arc;

use url::Url;

use super::{
    super::http::{Internal, PlainHttp},
    Oidc,
    metadata::Metadata,
};
use crate::jose::Fetched;

/// Document and keys, and on what terms they were read.
pub struct Learnt {
    issuer: String,
    endpoints: Vec<(&'static str, Url)>,
    plain: [PlainHttp; 2],
    internal: Option<Internal>,
    metadata: Arc<Metadata>,
    keys: Option<Arc<Fetched>>,
}

impl Learnt {
    /// Of `provider`, if it has learnt anything.
    pub(super) fn of(provider: &Oidc) -> Option<Self> {
        let (metadata, (issuer, endpoints, plain, internal)) = provider.discovery.learnt()?;
        Some(Self {
            issuer: issuer.to_owned(),
            endpoints: endpoints.to_vec(),
            plain,
            internal: internal.clone(),
            metadata,
            keys: provider.keys.held_now(),
        })
    }

    /// Tells `provider`, if that reads the same document in the same way.
    pub(super) fn tell(self, provider: &Oidc) {
        let terms = (&*self.issuer, &*self.endpoints, self.plain, &self.internal);
        if terms == provider.discovery.terms() {
            provider.discovery.resume(self.metadata);
            if let Some(keys) = self.keys {
                provider.keys.resume(keys);
            }
        }
    }
}
