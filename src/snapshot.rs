//! What one configuration decides: complete, checked and immutable. A new configuration is a new snapshot; whoever works
//! with the old one goes on with it.
//!
//! What has to outlive a configuration (sessions in a store, revocations, renewals, throttles, counters) is shared by
//! the snapshots, each of which holds a handle to it.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, Method};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    answer::Reject,
    clean::Cleaning,
    clock::Timestamp,
    decide::{Deny, Permit, Standing, decide},
    door::Proxy,
    forward::{IdentityHeaders, UpstreamTarget},
    limits::Limits,
    login::Logins,
    observe::{
        Record,
        audit::{Audit, Entry, Event},
        metrics::Metrics,
    },
    provider::Providers,
    route::{NoRoute, Route, Routes, Target, is_same_host},
    session::{
        Session, Sessions, Unavailable, Visit,
        directory::{Presence, SessionName},
    },
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
    /// The proxy that asks at the forward-auth doors, where it is known.
    pub forward_auth: Option<Proxy>,
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
    /// Whether what another site makes a browser send may change nothing.
    pub refuse_cross_site: bool,
    /// The apps; routes name them by their places.
    pub upstreams: Vec<Arc<UpstreamTarget>>,
    /// What clients, and the app, may take.
    pub limits: Arc<Limits>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who got in and out.
    pub audit: Audit,
    /// Keeps fresh what providers publish, for as long as this configuration is somebody's.
    pub upkeep: Vec<AbortOnDropHandle<()>>,
}

impl Snapshot {
    /// The route of a request. Where a proxy tells of another host than `own_host`, the request's own `Host`, and that one
    /// is known here too, both must fall under one route: the app reads `Host` and may go by it, and not every proxy
    /// overwrites what a client says in `X-Forwarded-Host`.
    ///
    /// # Errors
    /// Where there is no such route.
    pub fn route(&self, target: &Target<'_>, own_host: Option<&str>) -> Result<&Route, NoRoute> {
        let route = self.routes.find(target)?;
        let Some(own_host) = own_host.filter(|own| {
            self.routes.names_hosts() && !target.host.is_some_and(|told| is_same_host(told, own))
        }) else {
            return Ok(route);
        };
        let is_public = is_same_host(own_host, self.site.public_url.authority());
        if !is_public && !self.routes.knows(Some(own_host)) {
            return Ok(route);
        }
        let own = Target {
            host: Some(own_host),
            is_for_public_url: is_public,
            ..*target
        };
        match self.routes.find(&own) {
            Ok(other) if std::ptr::eq(other, route) => Ok(route),
            _ => Err(NoRoute::Misdirected),
        }
    }

    /// Who visits, where `route` asks for somebody. Only then a store, or a provider, that does not answer holds anything
    /// up, and a picture does not keep a session from its idle end.
    pub async fn visit(
        &self,
        route: &Route,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Option<Result<Visit, Unavailable>> {
        if !route.access.asks_who() {
            return None;
        }
        Some(match self.sessions.look(headers, now) {
            Ok(visit) => Ok(visit),
            Err(pending) => pending.wait().await,
        })
    }

    /// May a request of `session`, from `client`, pass by `route`? The one judgement for every door.
    ///
    /// # Errors
    /// Why it may not.
    pub fn judge<'a>(
        &self,
        route: &'a Route,
        session: Option<&'a Session>,
        client: Option<IpAddr>,
    ) -> Result<Permit<'a>, Deny> {
        decide(route, self.standing(session), client)
    }

    /// Notes that a rule says no to a request.
    pub fn audit_denial(&self, reject: &Reject, method: &Method, path: &str, record: &Record) {
        if let Some(denied) = reject.audited() {
            let denied = Entry {
                method: Some(method.as_str()),
                path: Some(path),
                ..denied
            };
            self.audit.record(&denied.asked(record));
        }
    }

    /// Notes that somebody ends the session they come with.
    pub fn audit_sign_out(&self, session: &Session, record: &Record) {
        let left = Entry {
            credential: Some("session"),
            object: Some(SessionName::of(session).to_string().into()),
            ..Entry::of(Event::SignOut)
        };
        self.audit
            .record(&left.about(&session.identity).asked(record));
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
            Some(provider) => Standing::under(&provider.profile().allow, session.principal()),
        }
    }
}
