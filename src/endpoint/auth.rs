//! `PREFIX/auth` and `PREFIX/forward`: another proxy serves the app, and asks here whether a request may pass.
//!
//! The proxy asks about a request that is not this one. What it says of it is believed from trusted peers only, and only
//! as [`Asked`] reads it. The verdict then is the reverse proxy's for the same request.
//!
//! `auth` says 202, 401 or 403 and never redirects: `auth_request` takes anything else for an error. Where somebody has
//! to sign in, `Location` says at which address; the proxy knows who can go there. `forward` says what the reverse proxy
//! would: a redirect to a browser, a status and JSON to a program, a page to a person. Envoy takes 200 alone for a yes,
//! so `forward` says that, and so does `auth` where Envoy asks.
//!
//! On a yes each identity header is there, empty where there is nothing to say, and so is `Cookie` as the app may see it:
//! a proxy that copies them replaces what the client sent.

use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{COOKIE, HOST, LOCATION, SET_COOKIE},
};

use crate::{
    access::Principal,
    answer::{self, Reject, reply},
    audience::{self, Audience},
    canonical_path::CanonicalPath,
    clean::{CleanRequest, check_method},
    clock::{self, Timestamp},
    credential::Caller,
    decide::{Barred, Deny, RouteDenial, Standing},
    door::{Asked, Came, Door, Narrowing, Proxy, Question},
    endpoint::Endpoint,
    observe::{Record, Verdict},
    origin::WebOrigin,
    rate_limit::Fields,
    response::Body,
    route::{Access, NoRoute, Route, Target},
    site::Site,
    snapshot::Snapshot,
    visitor::{Visitor, Who},
};

/// Answers a proxy. `is_below` is whether it came for a path below the door's, where Envoy puts what it asks about.
///
/// # Errors
/// That nobody asks here.
pub(super) async fn serve(
    door: Door,
    is_below: bool,
    snapshot: &Snapshot,
    request: &CleanRequest,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    let proxy = snapshot.forward_auth;
    let spelling = door.spelling(proxy).ok_or(Reject::NotFound)?;
    if is_below && proxy != Some(Proxy::Envoy) {
        return Err(Reject::NotFound);
    }
    let own_path = snapshot.site.path(door.name());
    let seen = request.forwarding.seen();
    let came = Came {
        original: &request.original,
        headers: &request.head.headers,
        method: &request.head.method,
        below: request
            .target()
            .strip_prefix(&own_path)
            .filter(|_| is_below),
        is_trusted: request.client.peer_is_trusted,
        seen: &seen.host,
        is_https: seen.is_https,
    };
    let asked = match Asked::read(spelling, &came, &snapshot.cleaning.public_origin) {
        Ok(asked) => asked,
        Err(flaw) => {
            let reject = Reject::BadRequest(flaw.to_string().into());
            return Ok(refuse(door, snapshot, &reject, Audience::Program, record));
        }
    };
    if let Some(question) = asked.questions.first() {
        record.note_original(asked.told_method.as_ref(), &question.target);
    }
    let audience = reader(door, &asked, &request.head.headers);
    let return_to = match door {
        Door::Auth => asked.return_to().to_owned(),
        Door::Forward => answer::return_address(
            audience,
            &request.head.headers,
            asked.return_to(),
            &snapshot.site,
        ),
    };
    // Below the door the query is the original request's, and not the proxy's.
    let query = request.query().filter(|_| !is_below);
    let narrowing = Narrowing::read(query);
    let judged = judge(snapshot, request, &asked, &narrowing, return_to, record).await;
    Ok(match judged {
        Ok(pass) => passed(door, snapshot, request, &pass, record),
        Err(reject) => {
            let asked = asked.questions.first();
            let (method, target) = asked.map_or((&Method::GET, ""), |question| {
                (&question.method, question.target.as_str())
            });
            let path = target.split('?').next().unwrap_or_default();
            snapshot.audit_denial(&reject, method, path, record);
            let reject = reject.told_if_too_long(audience);
            refuse(door, snapshot, &reject, audience, record)
        }
    })
}

/// Who reads a refusal: at `forward` whoever sent the request that is held back; proxies and scripts at `auth`.
fn reader(door: Door, asked: &Asked, headers: &HeaderMap) -> Audience {
    match (door, asked.questions.first()) {
        (Door::Forward, Some(question)) => {
            match audience::of(&question.method, headers) {
                // A gRPC refusal is a 200, which a proxy takes for a yes.
                Audience::Grpc => Audience::Program,
                audience => audience,
            }
        }
        _ => Audience::Program,
    }
}

/// A yes: who it is, where that was looked for, and whether the app is told.
struct Pass {
    visitor: Visitor,
    /// What the answer says of limits.
    fields: Fields,
    is_told: bool,
    now: Timestamp,
}

impl Pass {
    /// Whom the app is told of.
    fn principal(&self) -> Option<Principal<'_>> {
        match self.visitor.who() {
            Who::Session(session) if self.is_told => Some(session.principal()),
            Who::Verified(verified) if self.is_told => Some(verified.into()),
            _ => None,
        }
    }
}

/// Judges all that is asked about.
async fn judge(
    snapshot: &Snapshot,
    request: &CleanRequest,
    asked: &Asked,
    narrowing: &Narrowing,
    return_to: String,
    record: &mut Record,
) -> Result<Pass, Reject> {
    // What nobody may see needs nobody to be known, and so waits for no store and no provider.
    let own_host = request.head.headers.get(HOST);
    // Where the spelling is known, so is the header that tells the host.
    let own_host = own_host
        .and_then(|host| host.to_str().ok())
        .filter(|_| !asked.is_sure);
    let mut routes = routes(snapshot, asked, own_host, record)?;
    if asked.questions.is_empty() && snapshot.routes.narrow() {
        // Some paths are not for everybody, and nobody knows which one this is about.
        return Err(Reject::Forbidden(UNTOLD));
    }
    if !asked.is_sure {
        // No header makes a path public: a client can send the spelling that the proxy does not overwrite. So beside all
        // that is asked, somebody must be signed in.
        routes.push(snapshot.routes.fallback());
    }

    let now = clock::now();
    let headers = &request.head.headers;
    let asks_who = !narrowing.is_empty() || routes.iter().any(|route| route.access.asks_who());
    let caller = Caller {
        address: request.client.address,
        now,
    };
    let visitor = snapshot.visitor(asks_who, headers, caller).await?;
    let who = visitor.who();
    record.note_identity(who.identity());

    // Each once, however many readings of one address fall under it.
    let mut limited: Vec<_> = routes.iter().copied().collect();
    limited.retain(|route| !route.limits.is_empty());
    limited.dedup_by(|one, other| std::ptr::eq(*one, *other));
    let mut is_told = false;
    for route in routes {
        match snapshot.judge(route, who, request.client.address) {
            Ok(permit) => {
                is_told = permit.principal().is_some();
                record.note_dry_run(permit.dry_run());
            }
            Err(deny) => {
                return Err(match (&deny, visitor.unavailable()) {
                    (Deny::NotSignedIn, Some(unavailable)) => unavailable.clone().into(),
                    _ => Reject::of(deny, route, || return_to),
                });
            }
        }
    }
    if !narrowing.is_empty() {
        if let Some(unavailable) = visitor.unavailable() {
            return Err(unavailable.clone().into());
        }
        narrow(snapshot, narrowing, who, return_to)?;
    }
    if is_told && is_foreign_websocket(asked, headers, &snapshot.site) {
        return Err(Reject::Forbidden("an upgrade asked for by another site"));
    }
    let mut fields = Fields::default();
    for route in limited {
        fields.and(snapshot.count(route, who, record).await?);
    }
    Ok(Pass {
        visitor,
        fields,
        is_told,
        now,
    })
}

/// Whoever passes must also be on the lists that the question brought along, by a public route too.
fn narrow(
    snapshot: &Snapshot,
    narrowing: &Narrowing,
    who: Who<'_>,
    return_to: String,
) -> Result<(), Reject> {
    let is_somebody = !matches!(snapshot.standing(who), Standing::Nobody);
    let (Some(identity), Some(proof), true) = (who.identity(), who.proof(), is_somebody) else {
        return Err(Reject::SignIn { return_to });
    };
    narrowing.judge(identity).map_err(|denied| Reject::Barred {
        barred: Box::new(Barred {
            user: identity.user().clone(),
            provider: identity.provider.clone(),
            subject: identity.subject.clone(),
            proof,
            denied,
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
    asked: &Asked,
    own_host: Option<&str>,
    record: &mut Record,
) -> Result<Vec<&'s Route>, Reject> {
    let mut routes = Vec::with_capacity(asked.questions.len() + 1);
    for question in &asked.questions {
        let route = route_of(snapshot, question, own_host).inspect_err(|_| {
            // Of several, the line has the one that was refused.
            record.note_original(asked.told_method.as_ref(), &question.target);
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

/// Whether a page of another site opens a WebSocket in the visitor's name. `Upgrade` does not reach a question; the key of
/// the handshake does (RFC 6455 §4.1).
fn is_foreign_websocket(asked: &Asked, headers: &HeaderMap, site: &Site) -> bool {
    headers.contains_key("sec-websocket-key")
        && asked.questions.iter().any(|question| {
            let host = question.host.to_str().ok();
            let own = host.and_then(|host| WebOrigin::of_authority(question.is_https, host));
            site.is_foreign(headers, own.as_ref())
        })
}

fn passed(
    door: Door,
    snapshot: &Snapshot,
    request: &CleanRequest,
    pass: &Pass,
    record: &mut Record,
) -> Response<Body> {
    record.verdict = if pass.is_told {
        Verdict::Pass
    } else {
        Verdict::Public
    };
    let is_envoys = snapshot.forward_auth == Some(Proxy::Envoy);
    let mut response = reply::empty(match door {
        Door::Auth if !is_envoys => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    });
    let headers = response.headers_mut();
    tell(snapshot, pass.principal(), headers);
    pass.fields.write(headers);
    // Of a peer that is no proxy it would tell scripts what browsers keep from them (`HttpOnly`).
    if request.client.peer_is_trusted {
        let cookie = apps_cookie(snapshot, &request.head.headers);
        headers.insert(COOKIE, cookie);
    }
    if let Some(visit) = pass.visitor.visit().filter(|_| pass.is_told) {
        if let Some(session) = &visit.session {
            let (headers, address) = (&request.head.headers, request.client.address);
            snapshot.presence.see(session, headers, address, pass.now);
        }
        for cookie in snapshot.sessions.renew(visit, pass.now) {
            headers.append(SET_COOKIE, cookie);
        }
    }
    response
}

/// Each identity header, empty where there is nothing to say.
fn tell(snapshot: &Snapshot, principal: Option<Principal<'_>>, headers: &mut HeaderMap) {
    for name in snapshot.identity_headers.names() {
        headers.insert(name, HeaderValue::from_static(""));
    }
    if let Some(principal) = principal {
        snapshot.identity_headers.set(principal, headers);
    }
}

/// `Cookie` without own cookies; empty where nothing is left.
fn apps_cookie(snapshot: &Snapshot, headers: &HeaderMap) -> HeaderValue {
    let value = snapshot.sessions.cookies.foreign(headers, None);
    value.unwrap_or(HeaderValue::from_static(""))
}

fn refuse(
    door: Door,
    snapshot: &Snapshot,
    reject: &Reject,
    audience: Audience,
    record: &mut Record,
) -> Response<Body> {
    let mut response = super::refuse_to(snapshot, reject, audience, record);
    let site = &snapshot.site;
    match door {
        Door::Auth => {
            // On a 401 `Location` leads nobody anywhere (RFC 9110 §10.2.2): nginx cannot escape an address by itself.
            if let Reject::SignIn { return_to } = reject {
                set_location(&site.login_url(return_to), &mut response);
            }
            let is_refusal = response.status().is_server_error()
                || response.status() == StatusCode::UNAUTHORIZED;
            if !is_refusal {
                *response.status_mut() = StatusCode::FORBIDDEN;
            }
        }
        Door::Forward => {
            // Traefik would make a path an address below this one, which is nobody's but its own.
            if let Reject::SignIn { return_to } = reject
                && response.status().is_redirection()
            {
                set_location(&site.login_url(return_to), &mut response);
            }
        }
    }
    // Whatever the answer is, no proxy takes it for a yes.
    if response.status().is_success() {
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    response
}

fn set_location(address: &str, response: &mut Response<Body>) {
    if let Ok(address) = HeaderValue::try_from(address) {
        response.headers_mut().insert(LOCATION, address);
    }
}

const UNTOLD: &str = "no trusted proxy told which path is asked about, and routes narrow some: set trusted_proxies and forward_auth";
