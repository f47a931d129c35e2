//! `PREFIX/auth`: forward-auth for nginx `auth_request`, Traefik `ForwardAuth`, Caddy `forward_auth`.
//!
//! The proxy asks about a request that is not this one. What it says of it is believed from trusted peers
//! only ([`Original`]), and everything it says must pass; without that somebody must be signed in.
//!
//! The answer is always 202, 401 or 403, never a redirect: `auth_request` takes anything else for an
//! error. Where somebody has to sign in, it says at which address; the proxy knows who can go there.

use http::{
    HeaderValue, Response, StatusCode,
    header::{LOCATION, SET_COOKIE},
};

use super::{asked::parameter, refuse};
use crate::{
    answer::{Reject, reply},
    body::Body,
    canonical_path::CanonicalPath,
    clean::{CleanRequest, original::Original},
    clock,
    decide::Deny,
    observe::{Record, Verdict},
    route::{Access, Route, Target},
    site::Site,
    snapshot::Snapshot,
};

pub(super) async fn serve(
    snapshot: &Snapshot,
    request: &CleanRequest,
    record: &mut Record,
) -> Response<Body> {
    let (headers, original) = (&request.head.headers, &request.original.read());
    if let Some(target) = original.targets.first() {
        record.note_original(original.method(), target);
    }
    if let Some((parameter, list)) = FOREIGN_RULES
        .into_iter()
        .find(|(rule, _)| parameter(request.query(), rule).is_some())
    {
        return refuse(snapshot, &Reject::ForeignRule { parameter, list }, record);
    }
    // What nobody may see needs nobody to be known, and so waits for no store and no provider.
    let routes = match routes(snapshot, request, original, record) {
        Ok(routes) => routes,
        Err(judgement) => return refuse(snapshot, &reject_of(judgement, original), record),
    };
    let now = clock::now();
    let visit = match snapshot.sessions.visit(headers, now).await {
        Ok(visit) => visit,
        Err(unavailable) => return refuse(snapshot, &unavailable.into(), record),
    };
    let session = visit.session.as_ref();
    record.note_identity(session.map(|session| &session.identity));

    // No header makes a path public: a client can send the spelling that the proxy does not overwrite. So beside
    // all that is asked, somebody must be signed in.
    let client = request.client.address;
    let permit = routes
        .iter()
        .try_for_each(|route| {
            let permit = snapshot.judge(route, session, client);
            permit.map(|permit| record.note_dry_run(permit.dry_run()))
        })
        .and_then(|()| snapshot.judge(snapshot.routes.fallback(), session, client));
    let (principal, session) = match permit.map(|permit| permit.principal()) {
        Ok(principal) => (principal, session),
        Err(deny) => {
            let reject = reject_of(Judgement::Denied(deny), original);
            let mut response = refuse(snapshot, &reject, record);
            if let Reject::SignIn { return_to } = &reject {
                point_to_sign_in(&snapshot.site, return_to, &mut response);
            }
            return response;
        }
    };
    record.verdict = Verdict::Pass;
    if let Some(session) = session {
        let address = request.client.address;
        snapshot.presence.see(session, headers, address, now);
    }
    let mut response = reply::empty(StatusCode::ACCEPTED);
    if let Some(principal) = principal {
        snapshot
            .identity_headers
            .set(principal, response.headers_mut());
    }
    for cookie in snapshot.sessions.renew(&visit, now) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// Rules that oauth2-proxy reads from the address here. Whoever brings them along means to keep people out, so that
/// to pass over them would let in whom nobody wanted in. Beside each the list of `allow` that says the same.
const FOREIGN_RULES: [(&str, &str); 3] = [
    ("allowed_groups", "groups"),
    ("allowed_emails", "emails"),
    ("allowed_email_domains", "domains"),
];

/// The routes of every reading of what is asked. Each can only add to what is always asked here, a session.
fn routes<'s>(
    snapshot: &'s Snapshot,
    request: &CleanRequest,
    asked: &Original,
    record: &mut Record,
) -> Result<Vec<&'s Route>, Judgement> {
    let mut routes = Vec::new();
    for target in &asked.targets {
        routes_of(snapshot, request, asked, target, &mut routes)
            // Of several, the line has the one that was refused.
            .inspect_err(|_| record.note_original(asked.method(), target))?;
    }
    Ok(routes)
}

fn routes_of<'s>(
    snapshot: &'s Snapshot,
    request: &CleanRequest,
    asked: &Original,
    target: &str,
    routes: &mut Vec<&'s Route>,
) -> Result<(), Judgement> {
    let path = target.split('?').next().unwrap_or_default();
    let path = CanonicalPath::parse(path).map_err(|_| Judgement::Ambiguous)?;
    for method in &asked.methods {
        let target = Target {
            host: request.forwarding.seen().host.to_str().ok(),
            is_for_public_url: request.is_for_public_url,
            method,
            path: &path.surface,
            deep_path: path.deep.as_deref(),
        };
        let route = snapshot.routes.find(&target);
        let route = route.map_err(|_| Judgement::Ambiguous)?;
        if route.access == Access::Deny {
            return Err(Judgement::Denied(Deny::Closed));
        }
        routes.push(route);
    }
    Ok(())
}

/// nginx reads headers of this answer and nothing else of it, and cannot escape an address by itself. On a 401 `Location`
/// leads nobody anywhere (RFC 9110 §10.2.2).
fn point_to_sign_in(site: &Site, return_to: &str, response: &mut Response<Body>) {
    if let Ok(address) = HeaderValue::try_from(site.login_url(return_to)) {
        response.headers_mut().insert(LOCATION, address);
    }
}

fn reject_of(judgement: Judgement, asked: &Original) -> Reject {
    let return_to = asked.return_to().to_owned();
    match judgement {
        Judgement::Denied(Deny::NotSignedIn) => Reject::SignIn { return_to },
        Judgement::Denied(Deny::Closed) => Reject::Forbidden("access = \"deny\""),
        Judgement::Denied(Deny::Elsewhere(denied)) => Reject::Elsewhere(denied),
        Judgement::Denied(Deny::Barred(barred)) => Reject::Barred { barred, return_to },
        Judgement::Ambiguous => Reject::Forbidden("ambiguous path"),
    }
}

/// Why what was asked about may not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Judgement {
    /// Two readings of the path fall under two rules.
    Ambiguous,
    /// The rule says no.
    Denied(Deny),
}
