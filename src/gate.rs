//! The road of a request, top to bottom.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderValue, Method, Request, Response,
    header::{CACHE_CONTROL, HOST, ORIGIN, SET_COOKIE},
};
use hyper::body::Incoming;

use crate::{
    answer::{self, Reject},
    body::{Body, BodyError},
    clean::{CleanRequest, Cleaning, Peer, Unclean},
    clock,
    decide::{Permit, Refusal, decide},
    endpoint::{self, Endpoint},
    forward::{Downstream, ForwardError, Forwarder, IdentityHeaders, OwnCookies},
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

/// A request that was cleaned, or could not be.
pub struct Begun {
    request: Result<Box<CleanRequest>, Box<Unclean>>,
    record: Record,
}

impl Gate {
    /// Begins a request: cleans it, which waits for nothing.
    pub fn begin(&self, request: Request<Incoming>, peer: &Peer, ids: &RequestIds) -> Begun {
        let id = ids.next();
        let mut record = Record::begin(id, request.method(), request.uri().path());
        let mut request = self.cleaning.clean(request, peer, id);
        (record.client, record.given_id) = match &mut request {
            Ok(request) => (request.client.address, request.given_id.take()),
            // Who could not be resolved is known by its connection.
            Err(unclean) => (peer.address(), unclean.given_id.take()),
        };
        Begun { request, record }
    }

    /// Answers a request, always, and logs it, always. `downstream` is its client's side.
    #[expect(
        clippy::manual_async_fn,
        reason = "an `async fn` keeps what it is given twice, in each request's future"
    )]
    pub fn finish<'a>(
        &'a self,
        mut begun: Begun,
        forwarder: &'a Forwarder,
        downstream: Downstream,
    ) -> impl Future<Output = Response<Body>> + Send + 'a {
        async move {
            let record = &mut begun.record;
            let (result, audience) = match begun.request {
                Ok(request) => {
                    let audience = request.audience;
                    (
                        self.road(request, forwarder, downstream, record).await,
                        audience,
                    )
                }
                Err(unclean) => (Err(Reject::BadRequest(unclean.sentence)), unclean.audience),
            };
            let response = result.unwrap_or_else(|reject| {
                record.verdict = reject.verdict();
                record.detail = reject.detail().or_else(|| record.detail.take());
                answer::render(&reject, audience, &self.site, &record.request_id())
            });
            record.status = Some(response.status());
            response
        }
    }

    /// route → identify → decide → forward. What it cannot pass it rejects; `finish` answers.
    async fn road(
        &self,
        request: Box<CleanRequest>,
        forwarder: &Forwarder,
        downstream: Downstream,
        record: &mut Record,
    ) -> Result<Response<Body>, Reject> {
        if let Some(endpoint) = self.own_endpoint(&request)? {
            // Boxed, so that its size is not that of every request.
            return Box::pin(endpoint::serve(&endpoint, self, request, record)).await;
        }

        // A block, so that nothing of it is kept while the upstream answers.
        let (answer, renewal) = {
            let now = clock::now();
            let visit = match self.sessions.look(&request.head.headers, now) {
                Ok(visit) => Ok(visit),
                Err(pending) => pending.wait().await,
            };
            let session = visit.as_ref().ok().and_then(|visit| visit.session.as_ref());
            record.note_identity(session.map(|session| &session.identity));

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
            let own = OwnCookies {
                cookies: &self.sessions.cookies,
                only: visit.as_ref().ok().and_then(|visit| visit.only),
            };
            let answer = forwarder.send(downstream, &permit, &self.identity_headers, own, request);
            (answer, renewal)
        };
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
        if request.upgrade.is_none() {
            return false;
        }
        let headers = &request.head.headers;
        let Some(origin) = headers.get(ORIGIN) else {
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
                request.audience,
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

const AMBIGUOUS: &str = "the path can be read in two ways that fall under different rules";

fn upstream_failed(error: &ForwardError, record: &mut Record) -> Reject {
    record.detail = Some(error.to_string());
    match error {
        ForwardError::TimedOut => Reject::GatewayTimeout,
        // Where it was asked from is gone with the request.
        ForwardError::Incomplete(BodyError::SessionOver) => Reject::SignIn {
            return_to: "/".to_owned(),
        },
        ForwardError::Incomplete(BodyError::TooSlow) => Reject::RequestTimeout,
        ForwardError::Incomplete(BodyError::ClientGone(_)) => Reject::ClientGone,
        ForwardError::Incomplete(_) => {
            Reject::BadRequest("its body is malformed, or was not sent to its end".into())
        }
        ForwardError::Broken(_) | ForwardError::UnaskedUpgrade => Reject::BadGateway,
    }
}
