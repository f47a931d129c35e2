//! What one configuration decides: complete, checked and immutable. A new configuration is a new snapshot; whoever works
//! with the old one goes on with it.
//!
//! What has to outlive a configuration (sessions in a store, revocations, renewals, throttles, counters) is shared by
//! the snapshots, each of which holds a handle to it.

use std::{sync::Arc, time::Duration};

use http::Method;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    access::allow,
    clean::Cleaning,
    decide::{Barred, Standing},
    forward::{IdentityHeaders, UpstreamTarget},
    limits::Limits,
    login::Logins,
    observe::metrics::Metrics,
    provider::Providers,
    route::{Access, Ambiguous, Routes},
    session::{Session, Sessions, directory::Presence},
    site::Site,
};

/// Everything a request meets.
pub struct Snapshot {
    /// The public face: addresses, return rules, labels.
    pub site: Site,
    /// What makes a request safe to believe.
    pub cleaning: Cleaning,
    /// The rules.
    pub routes: Routes,
    /// Sessions: found, kept, renewed, ended.
    pub sessions: Sessions,
    /// Who is signed in where.
    pub presence: Presence,
    /// Logins begun and ended.
    pub logins: Logins,
    /// The configured providers.
    pub providers: Arc<Providers>,
    /// What the upstream is told.
    pub identity_headers: IdentityHeaders,
    /// Where the app is.
    pub upstream: Arc<UpstreamTarget>,
    /// How long the upstream may take to begin its answer.
    pub upstream_timeout: Duration,
    /// What clients, and the app, may take.
    pub limits: Arc<Limits>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Keeps fresh what providers publish, for as long as this configuration is somebody's.
    pub upkeep: Vec<AbortOnDropHandle<()>>,
}

impl Snapshot {
    /// The rule of a path. Both readings of the path must fall under the same one.
    ///
    /// # Errors
    /// Where they do not.
    pub fn access(
        &self,
        method: &Method,
        path: &str,
        deep_path: Option<&str>,
    ) -> Result<Access, Ambiguous> {
        self.routes.find(method, path, deep_path)
    }

    /// What this configuration makes of whoever `session` is of: its provider may be gone, and its lists may have
    /// become stricter since the login.
    pub fn standing<'a>(&self, session: Option<&'a Session>) -> Standing<'a> {
        let Some(session) = session else {
            return Standing::Nobody;
        };
        let identity = &session.identity;
        match self.providers.find(&identity.provider) {
            // The same name may mean another server or another client since, and its subjects other people.
            Some(provider) if provider.profile().fingerprint != session.provider_fingerprint => {
                Standing::Nobody
            }
            None => Standing::Nobody,
            Some(provider) => match allow::check(&provider.profile().allow, identity) {
                Ok(()) => Standing::Admitted(session.principal()),
                Err(denied) => Standing::Barred(Box::new(Barred {
                    user: identity.user().clone(),
                    provider: identity.provider.clone(),
                    denied,
                })),
            },
        }
    }
}
