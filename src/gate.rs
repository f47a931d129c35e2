//! The road of a request, top to bottom.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderValue, Method, Request, Response,
    header::{CACHE_CONTROL, HOST, ORIGIN, SET_COOKIE},
};
use hyper::body::Incoming;

use crate::{
    answer::{self, Reject},
    body::Body,
    clean::{CleanRequest, Cleaning, Peer},
    clock,
    decide::{Permit, Refusal, decide},
    endpoint::{self, Endpoint},
    forward::{ForwardError, Forwarder, IdentityHeaders},
    login::Logins,
    observe::{Record, RequestIds},
    provider::Providers,
    route::Routes,
    session::{Session, Sessions, directory::Presence},
    site::Site,
};

/// Everything a request meets, built once at start and shared by all workers.
pub struct Gate {
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
}

impl Gate {
    /// Answers a request, always, and logs it, always.
    pub async fn handle(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
        ids: &RequestIds,
        forwarder: &Forwarder,
    ) -> Response<Body> {
        let id = ids.next();
        let mut record = Record::begin(id, request.method(), request.uri().path());
        let audience = answer::audience::of(request.method(), request.headers());
        let response = match self.road(request, peer, forwarder, &mut record).await {
            Ok(response) => response,
            Err(reject) => {
                record.verdict = reject.verdict();
                record.detail = reject.detail().or_else(|| record.detail.take());
                answer::render(&reject, audience, &self.site, &id.to_string())
            }
        };
        record.status = Some(response.status());
        response
    }

    /// clean → route → identify → decide → forward. What it cannot pass it rejects; `handle` answers.
    async fn road(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
        forwarder: &Forwarder,
        record: &mut Record,
    ) -> Result<Response<Body>, Reject> {
        let request = self
            .cleaning
            .clean(request, peer, record.id.header())
            .map_err(Reject::BadRequest)?;
        record.client = request.client.address;

        if let Some(endpoint) = self.own_endpoint(&request)? {
            // Boxed, so that its size is not that of every request.
            return Box::pin(endpoint::serve(&endpoint, self, request, record)).await;
        }

        let now = clock::now();
        let visit = self.sessions.visit(&request.head.headers, now).await;
        let session = visit.as_ref().ok().and_then(|visit| visit.session.as_ref());
        record.user = session.map(|session| session.identity.user().clone());

        let path = request.path();
        let permit = self
            .judge(
                &request.head.method,
                path,
                request.deep_path.as_deref(),
                session,
            )
            .map_err(|judgement| match (judgement, &visit) {
                (Judgement::Refused(Refusal::NotSignedIn), Err(unavailable)) => {
                    Reject::Unavailable(unavailable.clone())
                }
                (judgement, _) => self.reject(judgement, &request),
            })?;
        record.verdict = if permit.told().is_some() {
            "pass"
        } else {
            "public"
        };

        if permit.told().is_some() && self.is_foreign_upgrade(&request) {
            return Err(Reject::Forbidden("an upgrade asked for by another site"));
        }
        if let Some(session) = permit.told() {
            let (headers, address) = (&request.head.headers, request.client.address);
            self.presence.see(session, headers, address, now);
        }
        let renewal = match &visit {
            Ok(visit) if permit.told().is_some() => self.sessions.renew(visit, now),
            _ => Vec::new(),
        };
        let cookies = self.sessions.cookies();
        let answer = forwarder.send(&permit, &self.identity_headers, cookies, request);
        let mut response = answer
            .await
            .map_err(|error| upstream_failed(&error, record))?;
        if !renewal.is_empty() && keep_from_shared_caches(response.headers_mut()) {
            for cookie in renewal {
                response.headers_mut().append(SET_COOKIE, cookie);
            }
        }
        Ok(response)
    }

    /// Whether a page of another site opens a connection in the visitor's name. Browsers let any page
    /// open a WebSocket, and what comes back is not theirs to hide (RFC 6455 §10.2).
    fn is_foreign_upgrade(&self, request: &CleanRequest) -> bool {
        let headers = &request.head.headers;
        let Some(origin) = headers.get(ORIGIN).filter(|_| request.upgrade.is_some()) else {
            return false;
        };
        let Ok(origin) = origin.to_str() else {
            return true;
        };
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        let is_own = authority.is_some_and(|authority| {
            headers
                .get(HOST)
                .is_some_and(|host| host.as_bytes() == authority.as_bytes())
        });
        !is_own
            && self
                .site
                .return_rules
                .check(&format!("{origin}/"))
                .is_none()
    }

    /// Judges a path by its rule. Both readings of the path must fall under the same rule.
    pub fn judge<'a>(
        &self,
        method: &Method,
        path: &str,
        deep_path: Option<&str>,
        session: Option<&'a Session>,
    ) -> Result<Permit<'a>, Judgement> {
        let access = self
            .routes
            .find(method, path, deep_path)
            .map_err(|_| Judgement::Ambiguous)?;
        decide(access, self.providers.visitor(session)).map_err(Judgement::Refused)
    }

    fn reject(&self, judgement: Judgement, request: &CleanRequest) -> Reject {
        let return_to = || {
            answer::return_address(
                request.audience(),
                &request.head.headers,
                request.target(),
                &self.site,
            )
        };
        match judgement {
            Judgement::Ambiguous => Reject::BadRequest(AMBIGUOUS.into()),
            Judgement::Refused(Refusal::NotSignedIn) => Reject::SignIn {
                return_to: return_to(),
            },
            Judgement::Refused(Refusal::Closed) => Reject::Forbidden("access = \"deny\""),
            Judgement::Refused(Refusal::Barred(barred)) => Reject::Barred {
                barred: Box::new(barred),
                return_to: return_to(),
            },
        }
    }

    fn own_endpoint(&self, request: &CleanRequest) -> Result<Option<Endpoint>, Reject> {
        let own = Endpoint::find(&self.site, request.path());
        match &request.deep_path {
            Some(deep) if Endpoint::find(&self.site, deep) != own => {
                Err(Reject::BadRequest(AMBIGUOUS.into()))
            }
            _ => Ok(own),
        }
    }
}

/// Why a path was not let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Two readings of the path fall under two rules.
    Ambiguous,
    /// The rule says no.
    Refused(Refusal),
}

/// Whether an answer can carry a cookie of ours. A cache that several people share would hand the cookie
/// to others (RFC 9111 §7.3): where the upstream says nothing of caches, they are kept away; where it lets
/// them store the answer, the cookie waits for another one.
fn keep_from_shared_caches(headers: &mut HeaderMap) -> bool {
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
        return true;
    }
    headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|directive| {
            let directive = directive.trim();
            ["private", "no-store", "no-cache"]
                .iter()
                .any(|kept| directive.eq_ignore_ascii_case(kept))
        })
}

const AMBIGUOUS: &str = "the path can be read in two ways that fall under different rules";

fn upstream_failed(error: &ForwardError, record: &mut Record) -> Reject {
    record.detail = Some(error.to_string());
    match error {
        ForwardError::TimedOut => Reject::GatewayTimeout,
        ForwardError::Broken(_) | ForwardError::UnaskedUpgrade => Reject::BadGateway,
    }
}
