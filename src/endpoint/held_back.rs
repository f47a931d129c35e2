//! The verdict for a request that another proxy asks about: the same as the reverse proxy's, whichever way the proxy asks.

use std::{net::IpAddr, sync::Arc};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{HOST, UPGRADE},
};

use crate::{
    answer::{self, CrossSite, Reject},
    audience::{self, Audience, is_cross_site_write},
    canonical_path::CanonicalPath,
    clean::check_method,
    clock::{self, Timestamp},
    credential::Caller,
    decide::{Barred, Deny, Permit, RouteDenial, Standing},
    door::{Narrowing, Question, Subrequest},
    endpoint::Endpoint,
    forward::AppUser,
    issuer::guard::may_speak,
    observe::Record,
    origin::WebOrigin,
    rate_limit::Fields,
    route::{Access, Asks, NoRoute, Resource, Route, Target, is_same_host},
    site::Site,
    snapshot::{Place, Snapshot},
    text::Text,
    visitor::{Visitor, Who},
};

/// What a proxy asks about.
#[derive(Clone, Copy)]
pub struct HeldBack<'a> {
    /// The requests that have to pass.
    pub subrequest: &'a Subrequest,
    /// The headers of whoever sent it, as far as the proxy told them.
    pub headers: &'a HeaderMap,
    /// Where it comes from.
    pub client: Option<IpAddr>,
}

/// A yes: who it is, where that was looked for, and whether the app is told.
pub struct Pass {
    visitor: Visitor,
    limits: Fields,
    is_shown: bool,
    /// The same, signed for the app behind the rule by which it passes.
    assertion: Option<Arc<str>>,
    /// By which the app asks for the session's access token.
    handle: Option<String>,
    /// Whether the app gets a token in the user's name, and that.
    exchanges: bool,
    exchanged: Option<Text>,
    now: Timestamp,
}

impl Pass {
    /// Whoever the app is told of.
    pub fn app_user(&self) -> Option<AppUser<'_>> {
        let principal = self.visitor.who().principal().filter(|_| self.is_shown)?;
        Some(AppUser {
            principal,
            assertion: self.assertion.as_deref(),
            handle: self.handle.as_deref(),
            exchanged: self.exchanged.as_deref(),
        })
    }

    /// Whether `Authorization` is the gate's to write, for what was asked about.
    pub fn writes_authorization(&self) -> bool {
        self.exchanges
    }

    /// Whether its `Authorization` has proven who sends it, which no app is to see.
    pub fn came_with_credential(&self) -> bool {
        self.visitor.came_with_credential()
    }

    /// What an answer says of the limits of its routes.
    pub fn limits(&self) -> &Fields {
        &self.limits
    }

    /// Says in `record` what was decided.
    pub fn note(&self, record: &mut Record) {
        record.note_passing(self.is_shown);
    }

    /// Notes where whoever passes is, and gives the cookies of a session that goes on.
    pub fn accompany(&self, snapshot: &Snapshot, held: &HeldBack<'_>) -> Vec<HeaderValue> {
        let Some(visit) = self.visitor.visit().filter(|_| self.is_shown) else {
            return Vec::new();
        };
        if let Some(session) = &visit.session {
            let (headers, address) = (held.headers, held.client);
            snapshot.presence.see(session, headers, address, self.now);
        }
        snapshot.sessions.touch(visit, self.now)
    }
}

/// Who reads a refusal, where the proxy hands it on to whoever sent the request.
pub fn reader(subrequest: &Subrequest, headers: &HeaderMap) -> Audience {
    let Some(question) = subrequest.questions.first() else {
        return Audience::Program;
    };
    match audience::of(&question.method, headers) {
        // A gRPC refusal is a 200, which a proxy takes for a yes.
        Audience::Grpc => Audience::Program,
        audience => audience,
    }
}

/// Where a login leads back to, for such a reader.
pub fn return_to(held: &HeldBack<'_>, audience: Audience, site: &Site) -> String {
    let target = held.subrequest.return_to();
    answer::return_address(audience, held.headers, &host(held.subrequest), target, site)
}

/// Where a login leads back to that is for what is asked about, whoever reads the answer.
pub fn way_back(subrequest: &Subrequest, site: &Site) -> String {
    site.way_back(&host(subrequest), subrequest.return_to())
        .into_owned()
}

/// The authority that is asked about; empty, which is nobody's, where nothing was told.
fn host(subrequest: &Subrequest) -> HeaderValue {
    let question = subrequest.questions.first();
    question.map_or(HeaderValue::from_static(""), |question| {
        question.host.clone()
    })
}

/// Judges all that is asked about.
///
/// # Errors
/// Why it may not pass. Somebody who only has to sign in is to come back to `return_to`.
pub async fn judge(
    snapshot: &Snapshot,
    held: &HeldBack<'_>,
    narrowing: &Narrowing,
    return_to: String,
    record: &mut Record,
) -> Result<Pass, Reject> {
    let judged = find_out(snapshot, held, narrowing, return_to, record).await;
    judged.inspect_err(|reject| {
        let question = held.subrequest.questions.first();
        let (method, target) = question.map_or((&Method::GET, ""), |question| {
            (&question.method, question.target.as_str())
        });
        let path = target.split('?').next().unwrap_or_default();
        snapshot.audit_denial(reject, Some((method, path)), record);
    })
}

#[expect(
    clippy::too_many_lines,
    reason = "the same road as that of the reverse proxy, told in one piece"
)]
async fn find_out(
    snapshot: &Snapshot,
    held: &HeldBack<'_>,
    narrowing: &Narrowing,
    return_to: String,
    record: &mut Record,
) -> Result<Pass, Reject> {
    let &HeldBack {
        subrequest,
        headers,
        client,
    } = held;
    // Of a request whose method a client could have told, nothing is known that a page of another site did.
    if snapshot.refuse_cross_site
        && subrequest.is_sure
        && subrequest
            .questions
            .iter()
            .any(|question| is_cross_site_write(&question.method, headers))
    {
        return Err(Reject::CrossSite(CrossSite::Write));
    }
    // What nobody may see needs nobody to be known, and so waits for no store and no provider.
    let own_host = headers.get(HOST);
    // Where the spelling is known, so is the header that tells the host.
    let own_host = own_host
        .and_then(|host| host.to_str().ok())
        .filter(|_| !subrequest.is_sure);
    let mut routes = routes(snapshot, subrequest, own_host, record)?;
    refuse_foreign_pages(subrequest, &routes, headers)?;
    let exchanging = exchanging(&routes)?;
    let signed_for = match routes.first() {
        Some(_) => only_app(&routes),
        None => app_of(snapshot, own_host),
    };
    if subrequest.questions.is_empty() && snapshot.routes.narrow() {
        // Some paths are not for everybody, and nobody knows which one this is about.
        return Err(Reject::Untold);
    }
    if !subrequest.is_sure {
        // No header makes a path public: a client can send the spelling that the proxy does not overwrite. So beside all
        // that is asked, somebody must be signed in.
        routes.push(snapshot.routes.fallback());
    }

    let now = clock::now();
    let narrows = (!narrowing.is_empty()).then_some(Asks::Anybody);
    let asks = routes.iter().map(|route| route.asks()).chain(narrows).max();
    let asks = asks.unwrap_or(Asks::Nobody);
    let caller = Caller {
        address: client,
        now,
    };
    let visitor = snapshot
        .visitor(asks, headers, None, caller, record)
        .await?;
    record.note_principal(visitor.who().principal());

    // Each once, however many readings of one address fall under it.
    let mut limited = routes.clone();
    limited.retain(|route| !route.limits.is_empty());
    limited.dedup_by(|one, other| std::ptr::eq(*one, *other));
    let mut is_shown = false;
    let mut who = visitor.who();
    for (number, route) in routes.into_iter().enumerate() {
        who = who_of(snapshot, &visitor, route, subrequest.questions.get(number))?;
        match snapshot.judge(route, who, client, now) {
            Ok(permit) => {
                is_shown = shows_somebody(&permit)?;
                record.note_dry_run(permit.dry_run());
            }
            Err(deny) => {
                return Err(match (&deny, visitor.unavailable()) {
                    (Deny::NotSignedIn, Some(unavailable)) => Reject::Unavailable {
                        unavailable: unavailable.clone(),
                        return_to: Some(return_to),
                    },
                    _ => Reject::of(deny, route, || return_to),
                });
            }
        }
    }
    if !narrowing.is_empty() {
        if let Some(unavailable) = visitor.unavailable() {
            return Err(Reject::Unavailable {
                unavailable: unavailable.clone(),
                return_to: Some(return_to),
            });
        }
        narrow(snapshot, narrowing, who, return_to)?;
    }
    if is_shown && is_foreign_websocket(subrequest, headers, &snapshot.site) {
        return Err(Reject::CrossSite(CrossSite::Upgrade));
    }
    let mut limits = Fields::default();
    for route in limited {
        limits.and(snapshot.count(route, who, record).await?);
    }
    let who_is_shown = if is_shown { who } else { Who::Nobody };
    let exchanged = match exchanging {
        Some(route) if is_shown => Box::pin(snapshot.exchanged(route, who, now)).await?,
        _ => None,
    };
    Ok(Pass {
        exchanges: exchanging.is_some(),
        exchanged,
        assertion: signed_for.and_then(|route| snapshot.assertion(who_is_shown, route, now)),
        handle: visitor
            .visit()
            .filter(|_| is_shown)
            .and_then(|visit| snapshot.session_handle(visit, now)),
        visitor,
        limits,
        is_shown,
        now,
    })
}

/// What the reverse proxy asks of a page that speaks to a server of the Model Context Protocol.
fn refuse_foreign_pages(
    subrequest: &Subrequest,
    routes: &[&Route],
    headers: &HeaderMap,
) -> Result<(), Reject> {
    let mut pairs = subrequest.questions.iter().zip(routes);
    let is_foreign = |(question, route): (&Question, &&Route)| {
        let own = || WebOrigin::of_authority(question.is_https, question.host.to_str().ok()?);
        route.resource == Some(Resource::Mcp) && !own().is_some_and(|own| may_speak(headers, &own))
    };
    if pairs.any(is_foreign) {
        return Err(Reject::CrossSite(CrossSite::Call));
    }
    Ok(())
}

/// The route whose app gets the assertion. None if the questions may be for different apps: what is signed for one must not reach
/// another.
fn only_app<'r>(routes: &[&'r Route]) -> Option<&'r Route> {
    let (first, others) = routes.split_first()?;
    let is_one = others.iter().all(|route| route.upstream == first.upstream);
    is_one.then_some(*first)
}

/// The same if no request is named. A script may be asking then, and its app is the one at this host.
fn app_of<'s>(snapshot: &'s Snapshot, own_host: Option<&str>) -> Option<&'s Route> {
    let public = snapshot.site.public_url.authority();
    let target = Target {
        host: own_host,
        is_for_public_url: own_host.is_some_and(|host| is_same_host(host, public)),
        method: &Method::GET,
        path: "/",
        deep_path: None,
    };
    snapshot.routes.find(&target).ok()
}

/// The route that gives its app a token in the user's name. Where what is asked about may be for another app, or for another service,
/// nobody can say who would get it.
fn exchanging<'r>(routes: &[&'r Route]) -> Result<Option<&'r Route>, Reject> {
    let mut exchanging = routes.iter().filter(|route| route.token_exchange.is_some());
    let Some(&first) = exchanging.next() else {
        return Ok(None);
    };
    let differs = |route: &&Route| {
        let is_other = route.token_exchange != first.token_exchange;
        route.upstream != first.upstream || (is_other && route.token_exchange.is_some())
    };
    if routes.iter().any(differs) {
        return Err(Reject::Forbidden(
            "token_exchange: what is asked about falls under two that differ",
        ));
    }
    Ok(Some(first))
}

/// Whether the app is told of somebody. Where the route has rules for tools nothing passes: which one is called stands in a body, and the
/// proxy keeps that.
fn shows_somebody(permit: &Permit<'_>) -> Result<bool, Reject> {
    match permit.route().tools {
        None => Ok(permit.principal().is_some()),
        Some(_) => Err(Reject::Forbidden("tools: a proxy that asks shows no body")),
    }
}

/// Who counts by `route`, for what `question` asks about.
fn who_of<'v>(
    snapshot: &Snapshot,
    visitor: &'v Visitor,
    route: &Route,
    question: Option<&Question>,
) -> Result<Who<'v>, Reject> {
    let target = question.map_or("/", |question| &question.target);
    let path = CanonicalPath::parse(target.split('?').next().unwrap_or_default());
    let path = path.map_err(|error| Reject::BadRequest(error.to_string().into()))?;
    let place = Place {
        is_https: question.is_some_and(|question| question.is_https),
        host: question.and_then(|question| question.host.to_str().ok()),
        is_for_public_url: question.is_some_and(|question| question.is_for_public_url),
        method: question.map_or(&Method::GET, |question| &question.method),
        path: &path.surface,
        deep_path: path.deep.as_deref(),
    };
    snapshot.who(visitor, route, place)
}

/// Whoever passes must also be on the lists that the question brought along, by a public route too.
fn narrow(
    snapshot: &Snapshot,
    narrowing: &Narrowing,
    who: Who<'_>,
    return_to: String,
) -> Result<(), Reject> {
    let (identity, proof) = match snapshot.standing(who) {
        Standing::Admitted(principal) => (principal.identity, principal.proof),
        Standing::Barred(barred) => return Err(Reject::Barred { barred, return_to }),
        Standing::Nobody => return Err(Reject::SignIn { return_to }),
    };
    narrowing.judge(identity).map_err(|denied| Reject::Barred {
        barred: Box::new(Barred {
            user: identity.user().clone(),
            provider: identity.provider.clone(),
            subject: identity.subject.clone(),
            proof,
            denied: denied.of_proof(proof),
            route: Some(RouteDenial {
                name: "the question's query".to_owned(),
                message: None,
            }),
        }),
        return_to,
    })
}

/// The route of each request that is asked about.
fn routes<'s>(
    snapshot: &'s Snapshot,
    subrequest: &Subrequest,
    own_host: Option<&str>,
    record: &mut Record,
) -> Result<Vec<&'s Route>, Reject> {
    let mut routes = Vec::with_capacity(subrequest.questions.len() + 1);
    for question in &subrequest.questions {
        let route = route_of(snapshot, question, own_host).inspect_err(|_| {
            // Of several, the line has the one that was refused.
            record.note_original(subrequest.method.as_ref(), &question.target);
        })?;
        routes.push(route);
    }
    Ok(routes)
}

/// As the reverse proxy reads a request.
fn route_of<'s>(
    snapshot: &'s Snapshot,
    question: &Question,
    own_host: Option<&str>,
) -> Result<&'s Route, Reject> {
    check_method(&question.method).map_err(|sentence| Reject::BadRequest(sentence.into()))?;
    let path = question.target.split('?').next().unwrap_or_default();
    let path =
        CanonicalPath::parse(path).map_err(|error| Reject::BadRequest(error.to_string().into()))?;
    let own = |path: &str| Endpoint::find(&snapshot.site, path);
    match (own(&path.surface), path.deep.as_deref().map(own)) {
        (surface, Some(deep)) if surface != deep => Err(NoRoute::Ambiguous.into()),
        // The app never sees these; a proxy leads them here without a question.
        (Some(_), _) => Err(Reject::Forbidden("one of the gate's own addresses")),
        (None, _) => {
            let target = Target {
                host: question.host.to_str().ok(),
                is_for_public_url: question.is_for_public_url,
                method: &question.method,
                path: &path.surface,
                deep_path: path.deep.as_deref(),
            };
            match snapshot.route(&target, own_host) {
                Ok(route) if route.access == Access::Deny => {
                    Err(Reject::of(Deny::Closed, route, String::new))
                }
                Ok(route) => Ok(route),
                Err(no_route) => Err(no_route.into()),
            }
        }
    }
}

/// Whether a page of another site opens a WebSocket in the visitor's name.
fn is_foreign_websocket(subrequest: &Subrequest, headers: &HeaderMap, site: &Site) -> bool {
    opens_a_websocket(headers)
        && subrequest.questions.iter().any(|question| {
            let host = question.host.to_str().ok();
            let own = host.and_then(|host| WebOrigin::of_authority(question.is_https, host));
            site.is_foreign(headers, own.as_ref())
        })
}

/// A question over HTTP does not bring the request's `Upgrade`. It brings the key of the handshake (RFC 6455 §4.1), which is
/// absent over HTTP/2 (RFC 8441 §5), and what browsers say of their requests.
fn opens_a_websocket(headers: &HeaderMap) -> bool {
    let mut modes = headers.get_all(SEC_FETCH_MODE).iter();
    headers.contains_key("sec-websocket-key")
        || headers.contains_key(UPGRADE)
        || modes.any(|mode| mode == "websocket")
}

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
