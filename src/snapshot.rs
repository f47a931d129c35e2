//! Everything that one configuration decides: complete, checked and immutable. A new configuration is a new snapshot. Code that works with
//! the old one continues with it.
//!
//! What must outlive a configuration (sessions in a store, revocations, running refreshes, throttles, counters) is shared: each snapshot
//! has a handle to it.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, Method, header::AUTHORIZATION};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    access::{Principal, StepUp},
    answer::Reject,
    api_token,
    app_secret::AppSecret,
    assertion::Assertions,
    canonical_path::CanonicalPath,
    certificate::{Certified, Rules},
    clean::Normalizer,
    clock::Timestamp,
    credential::{Authenticators, Caller, Presented, Proof, Refused, Verified, Voucher},
    decide::{Deny, Permit, Standing, decide},
    door::Proxy,
    forward::{IdentityHeaders, UpstreamTarget},
    issuer::{self, Grants, Issuer, resource::Resource},
    limiter::Limiter,
    limits::Limits,
    login::{Logins, return_to::ReturnTo},
    observe::{
        Record,
        audit::{Audit, Entry, Event},
        metrics::Metrics,
    },
    origin::WebOrigin,
    provider::Providers,
    rate_limit::Fields,
    route::{Asks, HostPattern, NoRoute, Route, Routes, Target, is_same_host},
    session::{
        Id, Session, SessionLookup, Sessions,
        directory::{ActiveSessions, SessionName, UserKey},
    },
    site::Site,
    text::Text,
    token_exchange::TokenExchanges,
    visitor::{Visitor, Who},
};

/// Everything a request meets.
pub struct Snapshot {
    /// The public face: addresses, return rules, labels.
    pub site: Site,
    /// What makes a request safe to believe.
    pub normalizer: Normalizer,
    /// The rules.
    pub routes: Routes,
    /// The proxy that asks at the forward-auth doors, where it is known.
    pub forward_auth: Option<Proxy>,
    /// Sessions: found, kept, refreshed, ended.
    pub sessions: Sessions,
    /// By which rules clients' certificates count, where they do.
    pub client_certificates: Option<Rules>,
    /// Whom credentials beside sessions prove.
    pub authenticators: Authenticators,
    /// The tokens that people make for their programs, where they may.
    pub api_tokens: Option<api_token::Enabled>,
    /// All of them, whether people may have some today or not: who is out stays out when they may again.
    pub kept_api_tokens: Arc<api_token::ApiTokens>,
    /// The authorization server, where the gate is one.
    pub issuer: Option<Issuer>,
    /// What everybody has let clients do, whether the gate gives tokens today or not.
    pub kept_grants: Arc<Grants>,
    /// Has access tokens exchanged for those of other services.
    pub exchanges: TokenExchanges,
    /// What the app proves itself with where it may have the tokens of sessions.
    pub app: Option<AppSecret>,
    /// Whether people may have API tokens, or the file names service tokens.
    pub has_own_tokens: bool,
    /// Whether a header of ours is `Authorization`, so that no app is to see another's.
    pub writes_authorization: bool,
    /// Who is signed in where.
    pub presence: ActiveSessions,
    /// Logins begun and ended.
    pub logins: Logins,
    /// The configured providers.
    pub providers: Arc<Providers>,
    /// What the upstream is told.
    pub identity_headers: Arc<IdentityHeaders>,
    /// Signs some of it.
    pub assertions: Assertions,
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
    /// Counts the requests of routes with a limit.
    pub limiter: Arc<Limiter>,
    /// Keeps fresh what providers publish, for as long as this configuration is somebody's.
    pub upkeep: Vec<AbortOnDropHandle<()>>,
}

/// Where a request goes.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Whether its sender came over TLS.
    pub is_https: bool,
    /// The authority that they asked for.
    pub host: Option<&'a str>,
    /// Whether that is `public_url`'s.
    pub is_for_public_url: bool,
    /// The method.
    pub method: &'a Method,
    /// The path in its canonical reading.
    pub path: &'a str,
    /// The path's other reading, where it differs.
    pub deep_path: Option<&'a str>,
}

impl<'a> Place<'a> {
    /// The origin that they asked for.
    pub fn origin(self) -> Option<WebOrigin> {
        WebOrigin::of_authority(self.is_https, self.host?)
    }

    fn target(self) -> Target<'a> {
        Target {
            host: self.host,
            is_for_public_url: self.is_for_public_url,
            method: self.method,
            path: self.path,
            deep_path: self.deep_path,
        }
    }
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
            self.routes.names_hosts() && !target.host.is_some_and(|host| is_same_host(host, own))
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

    /// Who sends a request with these `headers`, as far as that is asked for. Only then a store, or a provider, that does not
    /// answer holds anything up, and a picture does not keep a session from its idle end.
    ///
    /// # Errors
    /// Where a credential came that proves nobody: whoever brings one is not taken for somebody else, whatever cookies
    /// came along.
    pub async fn visitor(
        &self,
        asks: Asks,
        headers: &HeaderMap,
        certificate: Option<&Certified>,
        caller: Caller,
        record: &Record,
    ) -> Result<Visitor, Reject> {
        if asks == Asks::Nobody {
            return Ok(Visitor::Unasked);
        }
        match Presented::read(headers, self.authenticators.schemes())? {
            Presented::Nothing => {}
            // Boxed, so that its size is not that of every request.
            presented => {
                return Box::pin(self.authenticate(presented, asks, caller, record)).await;
            }
        }
        let visit = match self.sessions.look(headers, caller.now) {
            Ok(visit) => Ok(visit),
            Err(pending) => pending.wait().await,
        };
        match (visit, certificate) {
            // Whoever has signed in comes as whom they signed in as.
            (Ok(visit), Some(certificate))
                if visit.session.is_none() && asks != Asks::OwnTokens =>
            {
                match certificate.proves(self.client_certificates, caller.now) {
                    Some(verified) => {
                        Box::pin(self.audit_use(verified, record)).await?;
                        Ok(Visitor::Credential(Arc::clone(verified)))
                    }
                    None => Ok(Visitor::Cookies(visit)),
                }
            }
            (visit, _) => Ok(visit.map_or_else(Visitor::Unavailable, Visitor::Cookies)),
        }
    }

    /// Takes out of a request what was for the gate: a credential that has proven who sends it is for no app to see, which
    /// is told who it is; and neither is one that is the gate's to judge, by a public route no more than by another. Where `route` has
    /// tokens exchanged, what stands there is the gate's word, and never a client's.
    pub fn withhold_credentials(&self, visitor: &Visitor, route: &Route, headers: &mut HeaderMap) {
        if self.writes_authorization
            || route.token_exchange.is_some()
            || visitor.came_with_credential()
            || self.authenticators.recognise(headers)
        {
            headers.remove(AUTHORIZATION);
        }
    }

    async fn authenticate(
        &self,
        presented: Presented<'_>,
        asks: Asks,
        caller: Caller,
        record: &Record,
    ) -> Result<Visitor, Reject> {
        let only_own = asks == Asks::OwnTokens;
        let verified = self
            .authenticators
            .authenticate(&presented, only_own, caller);
        let verified = verified.await?;
        self.audit_use(&verified, record).await?;
        Ok(Visitor::Credential(verified))
    }

    /// Notes that a credential beside a session is used, once a day. A password or a certificate is a login of its own.
    async fn audit_use(&self, verified: &Verified, record: &Record) -> Result<(), Reject> {
        let Verified {
            identity,
            proof,
            client,
            ..
        } = verified;
        let parts = (
            proof,
            &*identity.provider,
            &*identity.subject,
            client.as_deref(),
        );
        let one = self.audit.use_of(&parts);
        if self.audit.knows(one) {
            return Ok(());
        }
        let used = |event| Entry {
            credential: Some(proof.name()),
            object: client.as_deref().map(Into::into),
            ..Entry::of(event).about(identity).with_request(record)
        };
        match proof {
            Proof::Password | Proof::Certificate => self.audit.admit(&used(Event::Login)).await?,
            Proof::Session
            | Proof::Bearer
            | Proof::ApiToken
            | Proof::AccessToken
            | Proof::ServiceToken => {
                self.audit.record(&used(Event::TokenUsed));
            }
        }
        self.audit.remember(one);
        Ok(())
    }

    /// Who of `visitor` counts by `route`, for a request for `path`, and `deep_path` where that reads otherwise, of `origin`.
    ///
    /// # Errors
    /// Where an access token of the gate's own came that is for something else.
    pub fn who<'v>(
        &self,
        visitor: &'v Visitor,
        route: &Route,
        place: Place<'_>,
    ) -> Result<Who<'v>, Reject> {
        match visitor {
            Visitor::Credential(verified) => {
                if let Some(grant) = &verified.grant
                    && !self.is_for(&grant.resource, route, place)
                {
                    let why = "an access token that is for another address".to_owned();
                    return Err(Reject::Credential(Refused::Invalid(why)));
                }
                Ok(visitor.who())
            }
            _ if !route.takes_sessions() => Ok(Who::Nobody),
            _ => Ok(visitor.who()),
        }
    }

    /// Whether a token for `resource` is one for `place`, which falls under `route`: the resource must fall under the same.
    fn is_for(&self, resource: &str, route: &Route, place: Place<'_>) -> bool {
        let Some(origin) = place.origin().map(|origin| origin.to_string()) else {
            return false;
        };
        let covers = |path| issuer::resource::covers(resource, &origin, path);
        if route.resource.is_none() || !covers(place.path) || !place.deep_path.is_none_or(covers) {
            return false;
        }
        let path = resource.get(origin.len()..).filter(|path| !path.is_empty());
        let target = Target {
            path: path.unwrap_or("/"),
            deep_path: None,
            ..place.target()
        };
        let found = self.routes.find(&target);
        found.is_ok_and(|found| std::ptr::eq(found, route))
    }

    /// Whether every route takes bearer tokens: API tokens, service tokens or a provider's.
    pub fn takes_bearer_tokens(&self) -> bool {
        let mut providers = self.providers.iter();
        self.has_own_tokens || providers.any(|provider| provider.bearer_terms().is_some())
    }

    /// The route that guards a resource, where one takes tokens for it.
    pub fn guard_of(&self, resource: &Resource) -> Option<&Route> {
        let own = self.site.origin();
        self.routes
            .guard_of(&own, resource.origin(), resource.path())
    }

    /// The resource of those who name none: the only one, where routes name just one.
    pub fn only_resource(&self) -> Option<Resource> {
        let mut marked = self
            .routes
            .iter()
            .filter(|route| route.resource.is_some())
            .map(|route| {
                let path = route.path.as_ref().map_or(Some("/"), |path| path.root())?;
                let origin = match &route.host {
                    None => self.site.origin(),
                    Some(HostPattern::Exact(host)) => {
                        format!("{}://{host}", self.site.public_url.url.scheme())
                    }
                    Some(HostPattern::Below(_)) => return None,
                };
                Some(Resource::new(&origin, path))
            });
        let first = marked.next()??;
        marked
            .all(|other| other.as_ref() == Some(&first))
            .then_some(first)
    }

    /// May a request of `who`, from `client`, pass by `route` at `now`? The one judgement for every door.
    ///
    /// # Errors
    /// Why it may not.
    pub fn judge<'a>(
        &self,
        route: &'a Route,
        who: Who<'a>,
        client: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Permit<'a>, Deny> {
        decide(route, self.standing(who), client, now)
    }

    /// May `client` pass by `route` with an access token of the gate's own that has these scopes, for whoever the `session` is of? The
    /// same judgement, of a token that somebody has agreed to, or is asked for.
    ///
    /// # Errors
    /// Why it may not.
    pub fn judge_token(
        &self,
        route: &Route,
        session: &Session,
        (client, scopes): (&Text, &[Text]),
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<(), Deny> {
        let standing = match self.standing(Who::Session(session)) {
            Standing::Admitted(principal) => {
                Standing::Admitted(principal.by_access_token(client, scopes))
            }
            standing => standing,
        };
        decide(route, standing, address, now).map(|_| ())
    }

    /// The signed word on `who` passes by `route`. None where no header carries it, or nobody is there.
    pub fn assertion(&self, who: Who<'_>, route: &Route, now: Timestamp) -> Option<Arc<str>> {
        let proven = who.proven()?;
        let is_carried = self.identity_headers.carry_assertion();
        is_carried.then(|| self.assertions.of(proven, route, now))?
    }

    /// By which the app asks for the access token of the session that `visit` found; none where it may not.
    pub fn session_handle(&self, visit: &SessionLookup, now: Timestamp) -> Option<String> {
        self.app.as_ref()?;
        self.sessions.handle(visit, now)
    }

    /// A token for another service in the name of `who`, where `route` gives its app one.
    ///
    /// # Errors
    /// That there is none. Then the request must not pass.
    pub async fn exchanged(
        &self,
        route: &Route,
        who: Who<'_>,
        now: Timestamp,
    ) -> Result<Option<Text>, Reject> {
        let (Some(wanted), Some(principal)) = (&route.token_exchange, who.principal()) else {
            return Ok(None);
        };
        let session = match who {
            Who::Session(session) => Some(&session.id),
            _ => None,
        };
        let token = self.exchanges.token(wanted, principal, session, now).await;
        token.map(Some).map_err(Reject::NotExchanged)
    }

    /// What a login has to be that leads back to `return_to`: what the route of that page asks for.
    pub fn step_up(&self, return_to: &ReturnTo) -> Option<&StepUp> {
        let address = return_to.as_str();
        let (host, target) = match address.split_once("://") {
            Some((_, rest)) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
            None => (self.site.public_url.authority(), address),
        };
        let path = target.split('?').next().unwrap_or_default();
        let path = CanonicalPath::parse(path).ok()?;
        let target = Target {
            host: Some(host),
            is_for_public_url: is_same_host(host, self.site.public_url.authority()),
            method: &Method::GET,
            path: &path.surface,
            deep_path: path.deep.as_deref(),
        };
        self.routes.find(&target).ok()?.step_up.as_deref()
    }

    /// Counts a request of `who`, from `client`, that may pass by `route`; what the answer says of that.
    ///
    /// # Errors
    /// Where a limit of the route is used up.
    pub async fn count(
        &self,
        route: &Route,
        who: Who<'_>,
        record: &Record,
    ) -> Result<Fields, Reject> {
        let counted = self.limiter.take(route, who, record.client).await;
        counted.map_err(|exceeded| {
            let hit = Entry {
                rule: Some(exceeded.rule.as_str().into()),
                credential: who.proof().map(Proof::name),
                ..Entry::of(Event::Limit)
            };
            let hit = match who.identity() {
                Some(identity) => hit.about(identity),
                None => hit,
            };
            self.audit.record(&hit.with_request(record));
            exceeded.into()
        })
    }

    /// Notes that a rule says no to a request, with method and path where it is for the app.
    pub fn audit_denial(&self, reject: &Reject, line: Option<(&Method, &str)>, record: &Record) {
        if let Some(denied) = reject.audited() {
            let denied = Entry {
                method: line.map(|(method, _)| method.as_str()),
                path: line.map(|(_, path)| path.into()),
                ..denied
            };
            self.audit.record(&denied.with_request(record));
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
            .record(&left.about(&session.identity).with_request(record));
    }

    /// Somebody ends one session of `owner`, and means to leave: what they let clients do in it ends with it, and what runs on that.
    /// Not where a login took its place, which ends no program.
    pub async fn end_grants_of(&self, owner: &UserKey, session: &Id, now: Timestamp) {
        match self.kept_grants.end_begun_in(owner, session, now).await {
            Ok(ended) => {
                for grant in ended {
                    tracing::info!(
                        client = grant.client,
                        "a grant has ended with the session that it began in"
                    );
                }
            }
            Err(error) => {
                tracing::warn!(%error, "grants that began in a session which has ended could not be ended with it");
            }
        }
    }

    /// What this configuration makes of `who`: their provider may be gone, and its lists may have become stricter since
    /// the login.
    pub fn standing<'a>(&self, who: Who<'a>) -> Standing<'a> {
        match who {
            Who::Nobody => Standing::Nobody,
            Who::Session(session) => match self.providers.find(&session.identity.provider) {
                // The same name may mean another server or another client since, and its subjects other people.
                Some(provider)
                    if provider.profile().fingerprint == session.provider_fingerprint =>
                {
                    Standing::under(&provider.profile().allow, session.principal())
                }
                _ => Standing::Nobody,
            },
            Who::Verified(verified) => {
                let principal = Principal::from(verified.as_ref());
                match verified.voucher {
                    Voucher::Configuration => Standing::Admitted(principal),
                    Voucher::Provider => match self.providers.find(&verified.identity.provider) {
                        Some(provider) => Standing::under(&provider.profile().allow, principal),
                        None => Standing::Nobody,
                    },
                }
            }
        }
    }
}
