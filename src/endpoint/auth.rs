//! `PREFIX/auth` and `PREFIX/forward`: another proxy serves the app, and asks here whether a request may pass.
//!
//! The proxy asks about another request than this one. What it says about that request is believed only from trusted peers, and
//! only as [`Subrequest`] reads it. The verdict is that of the reverse proxy for the same request.
//!
//! `auth` answers 202, 401 or 403 and never redirects, because `auth_request` takes anything else for an error. If a login is
//! needed, `Location` has its address; the proxy knows whether its client can follow it. `forward` answers as the reverse proxy would:
//! a redirect for a browser, a status and JSON for a program, a page for a user. Envoy takes only 200 for a yes. So `forward`
//! answers 200, and so does `auth` if Envoy asks.
//!
//! A yes has every identity header, empty if there is no value, and `Cookie` as the app may see it. A proxy that copies them
//! replaces what the client sent.

use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{AUTHORIZATION, COOKIE, LOCATION, SET_COOKIE},
};

use super::held_back::{self, HeldBack, Pass};
use crate::{
    answer::{Reject, reply},
    audience::Audience,
    clean::CleanRequest,
    door::{Came, Door, Narrowing, Proxy, Subrequest},
    forward::{AppUser, Asker},
    observe::Record,
    response::Body,
    site::Site,
    snapshot::Snapshot,
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
    // The proxy in front shuts the doors to its clients by this spelling, and no other one leads here: not `/oauth2/auth;x` either.
    let is_respelled = |written: &str| {
        let below = written.strip_prefix(&own_path);
        !below.is_some_and(|below| is_below && below.starts_with('/'))
    };
    if request.written_path.as_deref().is_some_and(is_respelled) {
        return Err(Reject::NotFound);
    }
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
    let subrequest = match Subrequest::read(spelling, &came, &snapshot.normalizer.public_origin) {
        Ok(subrequest) => subrequest,
        Err(flaw) => {
            let reject = Reject::BadRequest(flaw.to_string().into());
            return Ok(refuse(door, snapshot, &reject, Audience::Program, record));
        }
    };
    if let Some(question) = subrequest.questions.first() {
        record.note_original(subrequest.method.as_ref(), &question.target);
    }
    let held = HeldBack {
        subrequest: &subrequest,
        headers: &request.head.headers,
        client: request.client.address,
    };
    let (audience, return_to) = match door {
        Door::Auth => (
            Audience::Program,
            held_back::way_back(&subrequest, &snapshot.site),
        ),
        Door::Forward => {
            let audience = held_back::reader(&subrequest, held.headers);
            let return_to = held_back::return_to(&held, audience, &snapshot.site);
            (audience, return_to)
        }
    };
    // Below the door the query is the original request's, and not the proxy's.
    let query = request.query().filter(|_| !is_below);
    let narrowing = Narrowing::read(query);
    let judged = held_back::judge(snapshot, &held, &narrowing, return_to, record).await;
    Ok(match judged {
        Ok(pass) => {
            pass.note(record);
            let asker = if request.client.peer_is_trusted {
                Asker::Proxy
            } else {
                Asker::Anybody
            };
            passed(door, snapshot, &held, asker, &pass)
        }
        Err(reject) => refuse(
            door,
            snapshot,
            &reject.or_too_long(audience),
            audience,
            record,
        ),
    })
}

fn passed(
    door: Door,
    snapshot: &Snapshot,
    held: &HeldBack<'_>,
    asker: Asker,
    pass: &Pass,
) -> Response<Body> {
    let is_envoys = snapshot.forward_auth == Some(Proxy::Envoy);
    let mut response = reply::empty(match door {
        Door::Auth if !is_envoys => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    });
    let headers = response.headers_mut();
    if pass.writes_authorization() {
        headers.insert(AUTHORIZATION, HeaderValue::from_static(""));
    }
    tell(snapshot, pass.app_user(), asker, headers);
    pass.limits().write(headers);
    // It would tell scripts what browsers keep from them (`HttpOnly`).
    if asker == Asker::Proxy {
        headers.insert(COOKIE, apps_cookie(snapshot, held.headers));
    }
    for cookie in pass.accompany(snapshot, held) {
        headers.append(SET_COOKIE, cookie);
    }
    response
}

/// Each identity header, empty where there is nothing to say.
fn tell(snapshot: &Snapshot, app_user: Option<AppUser<'_>>, asker: Asker, headers: &mut HeaderMap) {
    for name in snapshot.identity_headers.names() {
        headers.insert(name, HeaderValue::from_static(""));
    }
    if let Some(app_user) = app_user {
        snapshot.identity_headers.set(app_user, asker, headers);
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
    if door == Door::Forward {
        return refuse_held_back(snapshot, reject, audience, record);
    }
    let mut response = super::refuse_to(snapshot, reject, audience, record);
    // On a 401 `Location` leads nobody anywhere (RFC 9110 §10.2.2): nginx cannot escape an address by itself.
    if let Some(login) = reject.login(&snapshot.site) {
        set_location(&snapshot.site, &login, &mut response);
    }
    let is_refusal =
        response.status().is_server_error() || response.status() == StatusCode::UNAUTHORIZED;
    if !is_refusal {
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    response
}

/// A refusal that a proxy hands on to whoever sent the request.
pub fn refuse_held_back(
    snapshot: &Snapshot,
    reject: &Reject,
    audience: Audience,
    record: &mut Record,
) -> Response<Body> {
    let mut response = super::refuse_to(snapshot, reject, audience, record);
    // Traefik would make a path an address below this one, which is nobody's but its own.
    if let Some(login) = reject.login(&snapshot.site)
        && response.status().is_redirection()
    {
        set_location(&snapshot.site, &login, &mut response);
    }
    // Whatever the answer is, no proxy takes it for a yes.
    if response.status().is_success() {
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    response
}

fn set_location(site: &Site, login: &str, response: &mut Response<Body>) {
    if let Ok(address) = HeaderValue::try_from(site.origin() + login) {
        response.headers_mut().insert(LOCATION, address);
    }
}
