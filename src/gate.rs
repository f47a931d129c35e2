//! The road of a request, top to bottom.

use std::{sync::Arc, time::Instant};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response,
    header::{CACHE_CONTROL, ORIGIN, SET_COOKIE},
};
use hyper::body::{Body as _, Incoming};

use crate::{
    answer::{self, Reject, audience::Audience},
    body::{Body, BodyError, Recorded},
    clean::{CleanRequest, Cleaning, Peer, Unclean, origin::WebOrigin},
    clock,
    config::Access,
    decide::{Refusal, decide},
    endpoint::{self, Endpoint, public_name},
    forward::{Downstream, ForwardError, Forwarder, IdentityHeaders, OwnCookies},
    login::Logins,
    observe::{Handover, Record, Recorder, Verdict, metrics::Metrics},
    provider::Providers,
    route::Routes,
    session::{Sessions, directory::Presence},
    site::{LONGEST_RETURN, Site},
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
    /// What is counted.
    pub metrics: Metrics,
}

/// A request that was cleaned, or could not be.
pub struct Begun {
    request: Result<Box<CleanRequest>, Box<Unclean>>,
    record: Record,
}

impl Gate {
    /// Begins a request: cleans it, which waits for nothing.
    pub fn begin(&self, mut request: Request<Incoming>, peer: &Peer, recorder: &Recorder) -> Begun {
        let mut record = recorder.begin(request.method(), request.uri().path());
        if !request.body().is_end_stream() {
            request.extensions_mut().insert(record.received());
        }
        let mut request = self.cleaning.clean(request, peer, record.id());
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
    pub fn finish<'a>(
        &'a self,
        mut begun: Begun,
        forwarder: &'a Forwarder,
        downstream: Downstream,
    ) -> impl Future<Output = Response<Recorded>> + Send + 'a {
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
            let mut response =
                result.unwrap_or_else(|reject| self.render(&reject, audience, record));
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
        let response = self.render(reject, audience, &mut record);
        record.note_answer(response.status());
        response.map(|body| Recorded::new(body, record))
    }

    fn render(&self, reject: &Reject, audience: Audience, record: &mut Record) -> Response<Body> {
        record.verdict = reject.verdict();
        record.detail = reject.detail().or_else(|| record.detail.take());
        record.remedy = reject.remedy();
        answer::render(reject, audience, &self.site, &record.request_id())
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

        let access = self
            .access(
                &request.head.method,
                request.path(),
                request.deep_path.as_deref(),
            )
            .map_err(|judgement| self.reject(judgement, &request))?;

        // A block, so that nothing of it is kept while the upstream answers.
        let (answer, renewal) = {
            let now = clock::now();
            // Only a route that asks for somebody waits to know who it is. On the others a store, or a provider, that
            // does not answer holds nothing up, and a picture does not keep a session from its idle end.
            let visit = match access {
                Access::Login => Some(match self.sessions.look(&request.head.headers, now) {
                    Ok(visit) => Ok(visit),
                    Err(pending) => pending.wait().await,
                }),
                Access::Public | Access::Deny => None,
            };
            let found = visit.as_ref().and_then(|visit| visit.as_ref().ok());
            let session = found.and_then(|visit| visit.session.as_ref());
            record.note_identity(session.map(|session| &session.identity));

            let permit = match (decide(access, self.providers.visitor(session)), &visit) {
                (Ok(permit), _) => permit,
                (Err(Refusal::NotSignedIn), Some(Err(unavailable))) => {
                    return Err(Reject::Unavailable(unavailable.clone()));
                }
                (Err(refusal), _) => {
                    let elsewhere = (refusal == Refusal::NotSignedIn)
                        .then(|| public_name::lead_there(self, &request))
                        .flatten();
                    if let Some(elsewhere) = elsewhere {
                        record.verdict = Verdict::SignIn;
                        return Ok(elsewhere);
                    }
                    return Err(self.reject(Judgement::Refused(refusal), &request));
                }
            };
            record.verdict = if permit.told().is_some() {
                Verdict::Pass
            } else {
                Verdict::Public
            };

            if permit.told().is_some() && self.is_foreign_upgrade(&request) {
                return Err(Reject::Forbidden("an upgrade asked for by another site"));
            }
            if let Some(session) = permit.told() {
                let (headers, address) = (&request.head.headers, request.client.address);
                self.presence.see(session, headers, address, now);
            }
            let renewal = match found {
                Some(visit) if permit.told().is_some() => self.sessions.renew(visit, now),
                _ => Vec::new(),
            };
            let own = OwnCookies {
                cookies: &self.sessions.cookies,
                only: found.and_then(|visit| visit.only),
            };
            let answer = forwarder.send(downstream, &permit, &self.identity_headers, own, request);
            (answer, renewal)
        };
        let asked = Instant::now();
        let answered = answer.await;
        let is_reused = answered.as_ref().ok().map(|answered| answered.is_reused);
        record.note_upstream(asked.elapsed(), is_reused);
        let mut response = answered
            .map_err(|error| upstream_failed(&error, record, &self.metrics))?
            .response;
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
        let mut origins = request.head.headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return false;
        };
        let one = origin.to_str().ok().filter(|_| origins.next().is_none());
        let Some(origin) = one.and_then(WebOrigin::parse) else {
            return true;
        };
        let seen = request.forwarding.seen();
        let own = seen.host.to_str().ok();
        let own = own.and_then(|host| WebOrigin::of_authority(seen.is_https, host));
        own.as_ref() != Some(&origin)
            && self
                .site
                .return_rules
                .check(&format!("{origin}/"))
                .is_none()
    }

    /// The rule of a path. Both readings of the path must fall under the same one.
    pub fn access(
        &self,
        method: &Method,
        path: &str,
        deep_path: Option<&str>,
    ) -> Result<Access, Judgement> {
        self.routes
            .find(method, path, deep_path)
            .map_err(|_| Judgement::Ambiguous)
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
            Judgement::Refused(Refusal::NotSignedIn) => match return_to() {
                long if request.audience == Audience::Navigation && long.len() > LONGEST_RETURN => {
                    Reject::AddressTooLong
                }
                return_to => Reject::SignIn { return_to },
            },
            Judgement::Refused(Refusal::Closed) => Reject::Forbidden("access = \"deny\""),
            Judgement::Refused(Refusal::Barred(barred)) => Reject::Barred {
                barred,
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
            Reject::RequestTimeout
        }
        ForwardError::Incomplete(BodyError::ClientGone(_)) => Reject::ClientGone,
        ForwardError::Incomplete(_) => {
            Reject::BadRequest("its body is malformed, or was not sent to its end".into())
        }
        ForwardError::Broken(_) | ForwardError::UnaskedUpgrade => Reject::BadGateway,
    }
}
