//! `PREFIX/auth`: forward-auth for nginx `auth_request`, Traefik `ForwardAuth`, Caddy `forward_auth`.
//!
//! The proxy asks about a request that is not this one. What it says of it (`X-Original-*` in nginx's
//! snippets, `X-Forwarded-*` in Traefik's and Caddy's) is believed from trusted peers only; without it
//! somebody must be signed in. A client can send the spelling that the proxy does not overwrite, so each
//! value that came must pass: a further one can only make the judgement stricter.
//!
//! The answer is always 202, 401 or 403, never a redirect: `auth_request` takes anything else for an
//! error.

use http::{HeaderMap, HeaderName, Method, Response, StatusCode, header::SET_COOKIE};

use crate::{
    answer::{self, Reject, audience::Audience, reply},
    body::Body,
    clean::{CleanRequest, path::CanonicalPath},
    clock,
    decide::Refusal,
    gate::{Gate, Judgement},
    observe::Record,
    session::Session,
};

pub(super) fn serve(gate: &Gate, request: &CleanRequest, record: &mut Record) -> Response<Body> {
    let headers = &request.head.headers;
    let now = clock::now();
    let visit = gate.sessions.visit(headers, now);
    let session = visit.session.as_ref();
    record.user = session.map(|session| session.identity.user().clone());

    let asked = request.client.peer_is_trusted.then(|| Asked::read(headers)).unwrap_or_default();
    let told = match judge(gate, &asked, session) {
        Ok(told) => told,
        Err(judgement) => return refuse(gate, judgement, &asked, session, record),
    };
    record.verdict = if told.is_some() { "pass" } else { "public" };
    let mut response = reply::empty(StatusCode::ACCEPTED);
    if let Some(session) = told {
        gate.identity_headers.write(session, response.headers_mut());
        for cookie in gate.sessions.renew(session, &visit.found, now) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
    response
}

/// The request that the proxy asks about, as its headers say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    /// Path and query; one for each header that came.
    targets: Vec<Vec<u8>>,
    /// All methods where none is told: nginx asks by GET whatever the client sent, and a rule for GET
    /// must not let a POST pass.
    methods: Vec<Method>,
}

impl Asked {
    fn read(headers: &HeaderMap) -> Self {
        let values = |names: &[HeaderName]| -> Vec<Vec<u8>> {
            let all = names.iter().flat_map(|name| headers.get_all(name));
            all.map(|value| value.as_bytes().to_vec()).collect()
        };
        let named = values(&[X_ORIGINAL_METHOD, X_FORWARDED_METHOD]);
        let methods = if named.is_empty() {
            EVERY_METHOD.to_vec()
        } else {
            // A value that is no method falls under the rules for all of them.
            named
                .iter()
                .flat_map(|name| match Method::from_bytes(name) {
                    Ok(method) => vec![method],
                    Err(_) => EVERY_METHOD.to_vec(),
                })
                .collect()
        };
        Self { targets: values(&[X_ORIGINAL_URI, X_FORWARDED_URI]), methods }
    }

    /// The first target, for the way back after a login.
    fn return_to(&self) -> String {
        let target = self.targets.first().map(|target| String::from_utf8_lossy(target));
        target.map_or_else(|| "/".to_owned(), std::borrow::Cow::into_owned)
    }
}

/// Judges every reading of what is asked. Gives whom the upstream is told of: nobody as soon as one
/// reading is public.
fn judge<'a>(
    gate: &Gate,
    asked: &Asked,
    session: Option<&'a Session>,
) -> Result<Option<&'a Session>, Judgement> {
    if asked.targets.is_empty() {
        return session.map(Some).ok_or(Judgement::Refused(Refusal::NotSignedIn));
    }
    let mut told = session;
    for target in &asked.targets {
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let path = std::str::from_utf8(path).map_err(|_| Judgement::Ambiguous)?;
        let path = CanonicalPath::parse(path).map_err(|_| Judgement::Ambiguous)?;
        for method in &asked.methods {
            let permit = gate.judge(method, &path.surface, path.deep.as_deref(), session)?;
            told = told.and(permit.told());
        }
    }
    Ok(told)
}

fn refuse(
    gate: &Gate,
    judgement: Judgement,
    asked: &Asked,
    session: Option<&Session>,
    record: &mut Record,
) -> Response<Body> {
    let forbidden = |rule: &str| Reject::Forbidden {
        user: session.map(|session| session.identity.user().to_string()),
        rule: rule.to_owned(),
    };
    let reject = match judgement {
        Judgement::Refused(Refusal::NotSignedIn) => Reject::SignIn { return_to: asked.return_to() },
        Judgement::Refused(Refusal::Closed) => forbidden("access = deny"),
        Judgement::Ambiguous => forbidden("ambiguous path"),
    };
    record.verdict = reject.verdict();
    record.detail = reject.detail();
    answer::render(&reject, Audience::Program, &gate.site, &record.id.to_string())
}

const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");

/// The methods of RFC 9110 and PATCH; a rule that names another one names no harm done by these.
const EVERY_METHOD: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(lines: &[(&'static str, &'static str)]) -> Asked {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Asked::read(&headers)
    }

    #[test]
    fn every_spelling_that_came_counts() {
        let asked = read(&[
            ("x-original-uri", "/public/x"),
            ("x-forwarded-uri", "/admin?a=1"),
            ("x-forwarded-uri", "/other"),
            ("x-forwarded-method", "POST"),
            ("x-original-method", "GET"),
        ]);
        assert_eq!(asked.targets, [&b"/public/x"[..], b"/admin?a=1", b"/other"]);
        assert_eq!(asked.methods, [Method::GET, Method::POST]);
        assert_eq!(asked.return_to(), "/public/x");
    }

    #[test]
    fn an_untold_method_is_any_method() {
        assert_eq!(read(&[("x-original-uri", "/a")]).methods, EVERY_METHOD);
        assert_eq!(read(&[("x-original-method", "no method")]).methods, EVERY_METHOD);
        assert_eq!(read(&[]).return_to(), "/");
    }
}
