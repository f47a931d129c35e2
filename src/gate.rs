//! The path of a request, from top to bottom.

use std::{io::ErrorKind, sync::Arc};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONNECTION, HOST, ORIGIN, REFERER, SET_COOKIE},
};
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use crate::{
    answer::{self, BadGateway, CrossSite, PasswordChallenge, Reject},
    audience::{Audience, is_cross_site_write},
    body_error::BodyError,
    clean::{CleanRequest, Peer, Unacceptable, original},
    clock::{self, Timestamp},
    credential::Caller,
    decide::Deny,
    endpoint::{self, Endpoint, public_name},
    forward::{Downstream, ForwardError, Forwarder, OwnCookies, Telling, Tunnels, Upstream},
    issuer::guard::{Guard, allow_pages, is_preflight, may_speak},
    mcp::ToolRules,
    observe::{Handover, Record, Recorder, Verdict, metrics::Metrics},
    origin::WebOrigin,
    rate_limit::Fields,
    response::{Body, Recorded},
    route::{Access, NoRoute, Resource, Route, Target},
    session::{SessionLookup, live::Owner},
    snapshot::{Place, Snapshot},
    stopping::Stopping,
    tool_calls,
    visitor::{Visitor, Who},
};

/// One worker's road under one configuration.
pub struct Gate {
    /// What that configuration decides.
    pub snapshot: Arc<Snapshot>,
    forwarder: Forwarder,
}

/// A request that was cleaned, or could not be.
pub struct Begun {
    request: Result<Box<CleanRequest>, Box<Unacceptable>>,
    record: Box<Record>,
}

impl Gate {
    /// Of `snapshot`, leading to `upstreams`, the worker's connections to the apps.
    pub fn new(
        snapshot: Arc<Snapshot>,
        upstreams: Vec<Arc<Upstream>>,
        tunnels: Tunnels,
        stopping: Stopping,
    ) -> Self {
        let forwarder = Forwarder::new(
            upstreams,
            (tunnels, stopping),
            Arc::clone(&snapshot.normalizer.reserved),
            snapshot.sessions.ends(),
            &snapshot.limits,
            snapshot.metrics.limits.clone(),
        );
        Self {
            snapshot,
            forwarder,
        }
    }

    /// The worker's connections to the apps.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        self.forwarder.upstreams()
    }

    /// Begins a request: cleans it, which waits for nothing.
    pub fn begin(&self, mut request: Request<Incoming>, peer: &Peer, recorder: &Recorder) -> Begun {
        let mut record = recorder.begin(request.method(), request.uri().path());
        if !request.body().is_end_stream() {
            request.extensions_mut().insert(record.received());
        }
        let mut request = self.snapshot.normalizer.clean(request, peer, record.id());
        (record.client, record.given_id) = match &mut request {
            Ok(request) => (request.client.address, request.given_id.take()),
            // Who could not be resolved is known by its connection.
            Err(unclean) => (peer.address(), unclean.given_id.take()),
        };
        Begun { request, record }
    }

    /// Answers a request, always, and logs it, always, with the answer's last byte. `downstream` is its client's side.
    #[expect(
        clippy::manual_async_fn,
        reason = "an `async fn` keeps what it is given twice, in each request's future"
    )]
    pub fn finish(
        &self,
        mut begun: Begun,
        downstream: Downstream,
    ) -> impl Future<Output = Response<Recorded>> + Send + '_ {
        async move {
            let record = &mut begun.record;
            let mut wants_tunnel = false;
            let mut may_end_elsewhere = false;
            let mut guard = None;
            let (result, audience, password) = match begun.request {
                Ok(request) => {
                    let (audience, password) = (request.audience, self.password(&request));
                    wants_tunnel = request.is_extended_connect();
                    let result = self.road(request, downstream, record, &mut guard).await;
                    (result, audience, password)
                }
                Err(unclean) => {
                    may_end_elsewhere = unclean.may_end_elsewhere;
                    let reject = Reject::BadRequest(unclean.sentence);
                    (Err(reject), unclean.audience, None)
                }
            };
            let is_refusal = result.is_err();
            let is_mcp = guard.as_deref().is_some_and(Guard::is_mcp);
            let mut response = result.unwrap_or_else(|reject| {
                // Its clients are programs, whatever types they accept.
                let audience = if is_mcp { Audience::Program } else { audience };
                let mut response = self.render(&reject, audience, record);
                // At a guarded route the 401 keeps its Bearer challenge, which says where to get a token.
                let password = password.map(|how| match guard {
                    Some(_) => PasswordChallenge::Behind,
                    None => how,
                });
                if let Some(password) = password
                    && !is_mcp
                    && response.status() == StatusCode::UNAUTHORIZED
                {
                    password.write(&mut response, &self.snapshot.site);
                }
                response
            });
            if let Some(guard) = guard {
                guard.complete(is_refusal, response.status(), response.headers_mut());
            }
            let is_tunnel = response.extensions().get::<Handover>().is_some();
            if wants_tunnel && !is_tunnel && response.status().is_success() {
                // To an extended CONNECT it would say that the tunnel is open (RFC 8441 §5).
                let reject = Reject::BadRequest("no WebSocket was opened at this address".into());
                response = self.render(&reject, audience, record);
            }
            if may_end_elsewhere {
                close_after(&mut response);
            }
            record.note_answer(response.status());
            match response.extensions_mut().remove::<Handover>() {
                None => response.map(|body| Recorded::new(body, begun.record)),
                Some(tunnel) => {
                    tunnel.give(begun.record);
                    response.map(Recorded::unrecorded)
                }
            }
        }
    }

    /// Answers a request with a refusal whatever it asks for, and logs it.
    pub fn refuse(&self, begun: Begun, reject: &Reject) -> Response<Recorded> {
        let Begun {
            request,
            mut record,
        } = begun;
        let audience = match &request {
            Ok(request) => request.audience,
            Err(unclean) => unclean.audience,
        };
        let mut response = self.render(reject, audience, &mut record);
        if request.is_err_and(|unclean| unclean.may_end_elsewhere) {
            close_after(&mut response);
        }
        record.note_answer(response.status());
        response.map(|body| Recorded::new(body, record))
    }

    /// How a program is asked for a name and a password, where one may be. A browser would ask its person, in a box that nobody
    /// can style or leave; so not where anything hints at a page.
    fn password(&self, request: &CleanRequest) -> Option<PasswordChallenge> {
        let headers = &request.head.headers;
        let schemes = self.snapshot.authenticators.schemes();
        if !schemes.basic
            || request.audience != Audience::Program
            || PAGE_SIGNS.iter().any(|name| headers.contains_key(name))
        {
            return None;
        }
        // A proxy asks about another address than its own.
        let written = original::TARGETS
            .iter()
            .find_map(|name| request.original.all(name).next());
        let written = written.and_then(|target| target.to_str().ok());
        let target = written.unwrap_or_else(|| request.path());
        Some(PasswordChallenge::of(
            target,
            schemes.take_bearer_of(headers),
        ))
    }

    fn render(&self, reject: &Reject, audience: Audience, record: &mut Record) -> Response<Body> {
        record.verdict = reject.verdict();
        record.detail = reject.detail().or_else(|| record.detail.take());
        record.remedy = reject.remedy();
        answer::render(reject, audience, &self.snapshot.site, &record.request_id())
    }

    /// route → identify → decide → forward. What it cannot pass it rejects; `finish` answers.
    #[expect(
        clippy::too_many_lines,
        reason = "the road of a request, told in one piece"
    )]
    async fn road(
        &self,
        mut request: Box<CleanRequest>,
        downstream: Downstream,
        record: &mut Record,
        guard: &mut Option<Box<Guard>>,
    ) -> Result<Response<Body>, Reject> {
        if let Some(endpoint) = self.own_endpoint(&request)? {
            // Boxed, so that its size is not that of every request.
            return Box::pin(self.serve_own(&endpoint, request, record)).await;
        }

        if self.snapshot.refuse_cross_site
            && is_cross_site_write(&request.head.method, &request.head.headers)
        {
            return Err(self.forbid(Reject::CrossSite(CrossSite::Write), &request, record));
        }
        let route = self.route(&request)?;
        if let Some(resource) = route.resource
            && let Some(answer) = self.guard((route, resource), &request, guard, record)?
        {
            return Ok(answer);
        }
        // A block, so that nothing of it is kept while the upstream answers.
        let (sent_at, answer, additions) = {
            let now = clock::now();
            let (headers, client) = (&request.head.headers, request.client.address);
            let caller = Caller {
                address: client,
                now,
            };
            let (asks, certificate) = (route.asks(), request.certificate.as_deref());
            let visitor = self
                .snapshot
                .visitor(asks, headers, certificate, caller, record);
            let visitor = visitor
                .await
                .inspect_err(|reject| self.audit_denial(reject, &request, record))?;
            let who = self
                .snapshot
                .who(&visitor, route, place_of(&request))
                .inspect_err(|reject| self.audit_denial(reject, &request, record))?;
            record.note_principal(who.principal());

            let permit = match (self.snapshot.judge(route, who, client, now), &visitor) {
                (Ok(permit), _) => permit,
                (Err(Deny::NotSignedIn), Visitor::Unavailable(unavailable)) => {
                    let reject = Reject::Unavailable {
                        unavailable: unavailable.clone(),
                        return_to: Some(self.return_address(&request)),
                    };
                    return Err(reject.or_too_long(request.audience));
                }
                (Err(deny), _) => return self.denied(deny, route, &request, record),
            };
            record.note_dry_run(permit.dry_run());
            let is_shown = permit.principal().is_some();
            record.note_passing(is_shown);
            // Browsers send passwords by themselves, too, as they send cookies.
            if is_shown && self.is_foreign_upgrade(&request) {
                return Err(self.forbid(Reject::CrossSite(CrossSite::Upgrade), &request, record));
            }
            let fields = if route.limits.is_empty() {
                None
            } else {
                // Boxed, so that their size is not that of every request.
                let counted = Box::pin(self.snapshot.count(route, who, record));
                Some(Box::new(counted.await?))
            };
            if let Some(rules) = &route.tools
                && let Some(refused) =
                    Box::pin(self.refuse_call(rules, &mut request, record)).await?
            {
                return Ok(refused);
            }
            let exchanged = match &route.token_exchange {
                // Boxed, for the same reason.
                Some(_) if is_shown => {
                    let exchanged = Box::pin(self.snapshot.exchanged(route, who, now)).await;
                    exchanged.inspect_err(|reject| self.audit_denial(reject, &request, record))?
                }
                _ => None,
            };
            let found = visitor.visit();
            let (owner, cookies) = match found.filter(|_| is_shown) {
                Some(visit) => self.accompany(visit, &request, now),
                None => (visitor.owner(now), Vec::new()),
            };
            let own = OwnCookies {
                cookies: &self.snapshot.sessions.cookies,
                only: found.and_then(|visit| visit.only),
            };
            self.snapshot
                .withhold_credentials(&visitor, route, &mut request.head.headers);
            let who_is_shown = permit.principal().map_or(Who::Nobody, |_| who);
            let assertion = self.snapshot.assertion(who_is_shown, route, now);
            let handle = found
                .filter(|_| is_shown)
                .and_then(|visit| self.snapshot.session_handle(visit, now));
            let telling = Telling {
                headers: &self.snapshot.identity_headers,
                assertion: assertion.as_deref(),
                handle: handle.as_deref(),
                exchanged: exchanged.as_deref(),
            };
            let sent_at = Instant::now();
            let answer =
                self.forwarder
                    .send(downstream, permit, owner, telling, own, (request, sent_at));
            (sent_at, answer, Additions { cookies, fields })
        };
        let answered = answer.await;
        let is_reused = answered.as_ref().ok().map(|answered| answered.is_reused);
        record.note_upstream(sent_at.into_std(), is_reused);
        let answered =
            answered.map_err(|error| upstream_failed(&error, record, &self.snapshot.metrics))?;
        let mut response = answered.response.map(Body::Upstream);
        additions.write(response.headers_mut());
        Ok(response)
    }

    /// Reads what is called, where a route has rules for tools; the answer to a call that may go no further.
    async fn refuse_call(
        &self,
        rules: &ToolRules,
        request: &mut CleanRequest,
        record: &mut Record,
    ) -> Result<Option<Response<Body>>, Reject> {
        let Some(refusal) = tool_calls::check(rules, request).await? else {
            return Ok(None);
        };
        let reject = if refusal.status == StatusCode::FORBIDDEN {
            self.forbid(Reject::Forbidden("tools"), request, record)
        } else {
            Reject::BadRequest(refusal.message.into())
        };
        record.verdict = reject.verdict();
        record.detail = Some(format!("tools: {}", refusal.message));
        Ok(Some(answer::reply::json(refusal.status, &refusal.body())))
    }

    /// What a route that takes tokens does with a request before anybody is asked who they are. Gives the answer to a page
    /// that asks what it may send.
    fn guard(
        &self,
        (route, resource): (&Route, Resource),
        request: &CleanRequest,
        guard: &mut Option<Box<Guard>>,
        record: &mut Record,
    ) -> Result<Option<Response<Body>>, Reject> {
        let headers = &request.head.headers;
        let Some(origin) = place_of(request).origin() else {
            return Ok(None);
        };
        let scopes = route.requirements.scopes();
        let asked = (request.path(), headers);
        *guard = Some(Box::new(Guard::of(resource, &scopes, &origin, asked)));
        if resource != Resource::Mcp {
            return Ok(None);
        }
        if !may_speak(headers, &origin) {
            return Err(self.forbid(Reject::CrossSite(CrossSite::Call), request, record));
        }
        if !is_preflight(&request.head.method, headers) {
            return Ok(None);
        }
        record.verdict = Verdict::Own;
        let mut answer = answer::reply::empty(StatusCode::NO_CONTENT);
        allow_pages(headers, answer.headers_mut());
        Ok(Some(answer))
    }

    async fn serve_own(
        &self,
        endpoint: &Endpoint,
        request: Box<CleanRequest>,
        record: &mut Record,
    ) -> Result<Response<Body>, Reject> {
        let password = self.password(&request);
        let served = endpoint::serve(endpoint, &self.snapshot, request, record).await;
        let mut response =
            served.inspect_err(|reject| self.snapshot.audit_denial(reject, None, record))?;
        // The doors answer refusals themselves.
        if let Some(password) = password
            && response.status() == StatusCode::UNAUTHORIZED
        {
            password.write(&mut response, &self.snapshot.site);
        }
        Ok(response)
    }

    /// The route that `request` falls under.
    fn route(&self, request: &CleanRequest) -> Result<&Route, Reject> {
        let target = Target {
            host: request.forwarding.seen().host.to_str().ok(),
            is_for_public_url: request.is_for_public_url,
            method: &request.head.method,
            path: request.path(),
            deep_path: request.deep_path.as_deref(),
        };
        let own_host = request.head.headers.get(HOST);
        let own_host = own_host.and_then(|host| host.to_str().ok());
        Ok(self.snapshot.route(&target, own_host)?)
    }

    /// What goes with a request that may pass as somebody: it is noted where they are, and their cookie is written anew. Whose
    /// session the answer ends with, and the cookies.
    fn accompany(
        &self,
        visit: &SessionLookup,
        request: &CleanRequest,
        now: Timestamp,
    ) -> (Option<Owner>, Vec<HeaderValue>) {
        if let Some(session) = &visit.session {
            let (headers, address) = (&request.head.headers, request.client.address);
            self.snapshot.presence.see(session, headers, address, now);
        }
        let owner = visit.session.as_ref().map(Owner::of);
        (owner, self.snapshot.sessions.touch(visit, now))
    }

    /// Answers a request that may not pass. Whoever only has to sign in is led to the gate's own name first.
    fn denied(
        &self,
        deny: Deny,
        route: &Route,
        request: &CleanRequest,
        record: &mut Record,
    ) -> Result<Response<Body>, Reject> {
        let host = &request.forwarding.seen().host;
        // From another app the sign-in page leads there, with what the fresh login is asked for.
        let is_led = match deny {
            Deny::NotSignedIn => true,
            Deny::StepUp(_) => self.snapshot.site.app_origin(host).is_none(),
            _ => false,
        };
        if is_led
            && route.access != Access::Api
            && route.takes_sessions()
            && let Some(elsewhere) = public_name::lead_there(&self.snapshot, request)
        {
            record.verdict = if deny == Deny::NotSignedIn {
                Verdict::SignIn
            } else {
                Verdict::StepUp
            };
            return Ok(elsewhere);
        }
        let reject = self.reject(deny, route, request);
        self.audit_denial(&reject, request, record);
        Err(reject)
    }

    /// Notes `reject` in the audit trail, and gives it back.
    fn forbid(&self, reject: Reject, request: &CleanRequest, record: &Record) -> Reject {
        self.audit_denial(&reject, request, record);
        reject
    }

    fn audit_denial(&self, reject: &Reject, request: &CleanRequest, record: &Record) {
        let line = (&request.head.method, request.path());
        self.snapshot.audit_denial(reject, Some(line), record);
    }

    /// Whether a page of another site opens a connection in the visitor's name. Browsers let any page
    /// open a WebSocket, and what comes back is not theirs to hide (RFC 6455 §10.2).
    fn is_foreign_upgrade(&self, request: &CleanRequest) -> bool {
        if request.upgrade.is_none() {
            return false;
        }
        let seen = request.forwarding.seen();
        let own = seen.host.to_str().ok();
        let own = own.and_then(|host| WebOrigin::of_authority(seen.is_https, host));
        let site = &self.snapshot.site;
        site.is_foreign(&request.head.headers, own.as_ref())
    }

    fn reject(&self, deny: Deny, route: &Route, request: &CleanRequest) -> Reject {
        let reject = Reject::of(deny, route, || self.return_address(request));
        if request.audience != Audience::Program && route.takes_sessions() {
            return reject.or_too_long(request.audience);
        }
        let schemes = self.snapshot.authenticators.schemes();
        // Access tokens of the gate's own are for routes that say so.
        let takes_tokens = route.resource.is_some() || self.snapshot.takes_bearer_tokens();
        let headers = &request.head.headers;
        reject.for_program(
            takes_tokens,
            answer::unread(headers, request.target(), schemes),
        )
    }

    /// Where whoever has to sign in comes back to.
    fn return_address(&self, request: &CleanRequest) -> String {
        answer::return_address(
            request.audience,
            &request.head.headers,
            &request.forwarding.seen().host,
            request.target(),
            &self.snapshot.site,
        )
    }

    fn own_endpoint(&self, request: &CleanRequest) -> Result<Option<Endpoint>, Reject> {
        let own = Endpoint::find(&self.snapshot.site, request.path());
        match &request.deep_path {
            Some(deep) if Endpoint::find(&self.snapshot.site, deep) != own => {
                Err(NoRoute::Ambiguous.into())
            }
            _ if self.is_misdirected(own.as_ref(), request) => Err(NoRoute::Misdirected.into()),
            _ => Ok(own),
        }
    }

    /// Whether an own endpoint is asked for under a host that is nobody's here. What load balancers and proxies ask for
    /// themselves, they ask under names of their own.
    fn is_misdirected(&self, own: Option<&Endpoint>, request: &CleanRequest) -> bool {
        own.is_some_and(|own| !own.is_asked_by_machines())
            && self.snapshot.routes.is_misdirected(
                request.forwarding.seen().host.to_str().ok(),
                request.is_for_public_url,
            )
    }
}

/// Where `request` goes.
/// Has the connection end with `response`.
fn close_after(response: &mut Response<Body>) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
}

fn place_of(request: &CleanRequest) -> Place<'_> {
    let seen = request.forwarding.seen();
    Place {
        is_https: seen.is_https,
        host: seen.host.to_str().ok(),
        is_for_public_url: request.is_for_public_url,
        method: &request.head.method,
        path: request.path(),
        deep_path: request.deep_path.as_deref(),
    }
}

/// What the gate adds to the app's answer.
struct Additions {
    /// The cookies of a session that goes on.
    cookies: Vec<HeaderValue>,
    /// What is said of the limits of the route.
    fields: Option<Box<Fields>>,
}

impl Additions {
    fn write(self, headers: &mut HeaderMap) {
        if let Some(fields) = self.fields {
            fields.write(headers);
        }
        if !self.cookies.is_empty() && keep_from_shared_caches(headers) {
            for cookie in self.cookies {
                headers.append(SET_COOKIE, cookie);
            }
        }
    }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// What pages' requests carry, and programs' do not.
const PAGE_SIGNS: [HeaderName; 5] = [
    SEC_FETCH_SITE,
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("x-requested-with"),
    ORIGIN,
    REFERER,
];

/// Whether an answer can carry a cookie of ours. A cache that several people share would hand the cookie
/// to others (RFC 9111 §7.3): where the upstream says nothing of caches, they are kept away; where it lets
/// them store the answer, the cookie waits for another one.
fn keep_from_shared_caches(headers: &mut HeaderMap) -> bool {
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
        return true;
    }
    let says = |wanted: &[&str]| {
        headers
            .get_all(CACHE_CONTROL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|directive| directive.split('=').next().unwrap_or_default().trim())
            .any(|directive| wanted.iter().any(|one| directive.eq_ignore_ascii_case(one)))
    };
    if says(&["private", "no-store"]) {
        return true;
    }
    // `no-cache` alone lets a shared cache store the answer, if only to ask again.
    let may_be_kept = says(&["no-cache"]) && !says(&["public", "s-maxage"]);
    if may_be_kept {
        headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
    may_be_kept
}

fn upstream_failed(error: &ForwardError, record: &mut Record, metrics: &Metrics) -> Reject {
    record.detail = Some(error.to_string());
    match error {
        ForwardError::TimedOut => Reject::GatewayTimeout,
        // Where it was asked from is gone with the request.
        ForwardError::Incomplete(BodyError::SessionOver) => Reject::SignIn {
            return_to: "/".to_owned(),
        },
        ForwardError::Incomplete(BodyError::TooSlow(limit)) => {
            metrics.limits.hit(*limit);
            Reject::RequestTimeout(Some(*limit))
        }
        ForwardError::Incomplete(BodyError::ClientGone(_)) => Reject::ClientGone,
        ForwardError::BodyTooLarge | ForwardError::Incomplete(BodyError::TooLarge) => {
            Reject::ContentTooLarge
        }
        ForwardError::NoRoom => Reject::NoRoom,
        ForwardError::Stopping => Reject::Stopping,
        ForwardError::AllOut(_, wait) => Reject::OutOfService(*wait),
        ForwardError::Incomplete(_) => {
            Reject::BadRequest("its body is malformed, or was not sent to its end".into())
        }
        ForwardError::Unreachable(error) => Reject::BadGateway(match error.kind() {
            // What TLS says, and what ends a handshake.
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => BadGateway::Handshake,
            _ => BadGateway::Unreachable,
        }),
        ForwardError::Broken(error) if error.kind() == ErrorKind::InvalidInput => {
            Reject::BadRequest("its address is none that HTTP/2 can name".into())
        }
        ForwardError::Broken(error) => Reject::BadGateway(match error.kind() {
            ErrorKind::InvalidData => BadGateway::Malformed,
            _ => BadGateway::Closed,
        }),
        ForwardError::UnaskedUpgrade => Reject::BadGateway(BadGateway::Switched),
    }
}
