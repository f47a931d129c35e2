//! `PREFIX/sign_out`: ends the session here at once, and at the provider if it supports that (OpenID Connect RP-Initiated Logout
//! 1.0).
//!
//! The provider sends the browser back to this same endpoint, which is the only address to register there
//! (`post_logout_redirect_uri`), with the next address in `state`. By then nobody is signed in, so the second visit ends nothing and
//! redirects.
//!
//! A user who was refused has a session only at the provider. The page that refuses names the provider in `provider`.
//!
//! Another site must not sign users out: not by a form, a link, or `<img src=…>`. If the request does not come from the app or from the
//! user, a page asks for confirmation. Where no page is visible it is refused.

use http::{
    HeaderMap, HeaderName, Method, Response, StatusCode,
    header::{ACCEPT, ORIGIN, REFERER, SET_COOKIE},
    request::Parts,
};
use serde::Serialize;
use url::Url;

use super::login_request::parameter;
use crate::{
    answer::{Link, Notice, Reject, reply},
    audience,
    audience::Audience,
    clean::CleanRequest,
    clock,
    login::return_to::ReturnTo,
    observe::{Record, Verdict},
    provider::LogoutRequest,
    response::Body,
    session::{LogoutHint, SessionLookup, directory::UserKey},
    site::LONGEST_RETURN,
    snapshot::Snapshot,
};

pub(super) async fn serve(
    snapshot: &Snapshot,
    request: &CleanRequest,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    record.verdict = Verdict::SignOut;
    let headers = &request.head.headers;
    let method = &request.head.method;
    let audience = request.audience;
    let now = clock::now();
    // Whoever wants to leave may, also while nobody can say who it is.
    let visit = snapshot.sessions.last_visit(headers, now).await;
    let identity = visit.session.as_ref().map(|session| &session.identity);
    record.note_identity(identity);
    let hint = snapshot.sessions.logout_hint(headers);
    let return_to = return_address(snapshot, request);

    if !is_wanted(method, headers, audience, &own_origin(snapshot, request)) {
        let nobody = visit.session.is_none() && hint.is_none();
        // The way back from the provider comes from another site, and ends nothing.
        return if nobody && audience == Audience::Navigation {
            Ok(landing(snapshot, method, return_to.as_ref()))
        } else {
            let return_to = return_to.map(|address| address.as_str().to_owned());
            Err(Reject::ConfirmSignOut { return_to })
        };
    }

    let sent = (&request.head, audience);
    Ok(end(snapshot, sent, &visit, return_to.as_ref(), record).await)
}

/// Ends the session of `visit` here, and at its provider where that offers it; what leads on to `return_to`.
pub(super) async fn end(
    snapshot: &Snapshot,
    (head, audience): (&Parts, Audience),
    visit: &SessionLookup,
    return_to: Option<&ReturnTo>,
    record: &mut Record,
) -> Response<Body> {
    let method = &head.method;
    let hint = snapshot.sessions.logout_hint(&head.headers);
    let named = parameter(head.uri.query(), "provider");
    let provider = visit
        .session
        .as_ref()
        .map(|session| session.identity.provider.as_str())
        .or(named.as_deref())
        .or_else(|| hint.as_ref().map(|hint| hint.provider.as_str()));
    // A script must not read the ID token; without it the provider asks the person.
    let hint = hint.as_ref().filter(|_| audience != Audience::Program);
    let provider_logout =
        provider.and_then(|name| provider_logout(snapshot, name, hint, return_to));
    let mut response = match (audience, provider_logout) {
        (Audience::Program | Audience::Grpc, logout_url) => {
            let logout_url = logout_url.map(String::from);
            reply::json(
                StatusCode::OK,
                &SignedOut {
                    signed_out: true,
                    logout_url,
                },
            )
        }
        (_, Some(logout_url)) => reply::redirect(onward(method), logout_url.as_str()),
        (_, None) => landing(snapshot, method, return_to),
    };
    let cookies = &snapshot.sessions.cookies;
    // Without the login cookie the back button does not sign in again.
    let others = [cookies.expire_logout_hint(), cookies.expire_login()];
    let now = clock::now();
    let ended = snapshot.sessions.end(visit, now).await;
    if let Some(session) = &visit.session {
        let owner = UserKey::of(&session.identity);
        Box::pin(snapshot.end_grants_of(&owner, &session.id, now)).await;
        snapshot.audit_sign_out(session, record);
    }
    for cookie in ended.into_iter().chain(others) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// `rd`, or `state` on the way back from the provider. Anybody may write either, and both are checked.
fn return_address(snapshot: &Snapshot, request: &CleanRequest) -> Option<ReturnTo> {
    let query = request.query();
    let address = parameter(query, "rd").or_else(|| parameter(query, "state"))?;
    // The provider leads back to `public_url`, whichever app was left.
    let site = &snapshot.site;
    let address = site.way_back(&request.forwarding.seen().host, &address);
    site.return_rules.check(&address)
}

/// The origin whose pages a request counts as sent by: `public_url`'s, or the one of another app that shares its login.
pub(super) fn own_origin(snapshot: &Snapshot, request: &CleanRequest) -> String {
    let app = snapshot.site.app_origin(&request.forwarding.seen().host);
    app.unwrap_or_else(|| snapshot.site.origin())
}

/// Whether a form is sent by a page of the gate's own, or by what is no browser.
pub(super) fn is_own_form(snapshot: &Snapshot, request: &CleanRequest) -> bool {
    is_wanted(
        &Method::POST,
        &request.head.headers,
        request.audience,
        &snapshot.site.origin(),
    )
}

/// Whether the app itself or the person asks. A GET counts only as a navigation, or from what is no
/// browser: pages of the app may show pictures whose address somebody else chose.
pub(super) fn is_wanted(
    method: &Method,
    headers: &HeaderMap,
    audience: Audience,
    origin: &str,
) -> bool {
    let is_post = *method == Method::POST;
    if !is_post && audience != Audience::Navigation && !is_plain_client(headers) {
        return false;
    }
    match headers.get(SEC_FETCH_SITE).map(http::HeaderValue::as_bytes) {
        Some(b"same-origin" | b"none") => true,
        // A sibling host may link here, as oauth2-proxy's users do; it may not post.
        Some(b"same-site") => !is_post,
        Some(_) => false,
        // No Fetch Metadata: plain http, an old browser, or no browser at all.
        None => match (headers.get(ORIGIN), headers.get(REFERER)) {
            (Some(from), _) => from.as_bytes() == origin.as_bytes(),
            (None, Some(page)) => page
                .to_str()
                .ok()
                .and_then(|page| Url::parse(page).ok())
                .is_some_and(|page| page.origin().ascii_serialization() == origin),
            (None, None) => true,
        },
    }
}

/// Whether nothing hints at a browser: no request ahead of a wish, no Fetch Metadata, no page it came from, no particular type asked
/// for (browsers ask for `image/…` when a page shows a picture).
fn is_plain_client(headers: &HeaderMap) -> bool {
    let is_absent = |name: &HeaderName| !headers.contains_key(name);
    !audience::is_speculative(headers)
        && is_absent(&SEC_FETCH_SITE)
        && is_absent(&ORIGIN)
        && is_absent(&REFERER)
        && headers
            .get(ACCEPT)
            .is_none_or(|accept| accept.as_bytes() == b"*/*")
}

/// The address that ends the session at `provider`.
fn provider_logout(
    snapshot: &Snapshot,
    provider: &str,
    hint: Option<&LogoutHint>,
    return_to: Option<&ReturnTo>,
) -> Option<Url> {
    let hint = hint.filter(|hint| hint.provider == provider);
    snapshot
        .providers
        .find(provider)?
        .end_session(&LogoutRequest {
            id_token_hint: hint.map(|hint| hint.id_token.as_str()),
            post_logout_redirect_uri: &Url::parse(&snapshot.site.url("sign_out")).ok()?,
            // The provider carries it no further than a login would.
            state: return_to
                .map(ReturnTo::as_str)
                .filter(|address| address.len() <= LONGEST_RETURN),
        })
}

/// Where it ends without a provider: the address asked for, or a page that says so.
pub(super) fn landing(
    snapshot: &Snapshot,
    method: &Method,
    return_to: Option<&ReturnTo>,
) -> Response<Body> {
    match return_to {
        Some(return_to) => reply::redirect(onward(method), return_to.as_str()),
        None => reply::page(
            StatusCode::OK,
            &Notice {
                host: snapshot.site.public_url.authority(),
                title: "Signed out",
                message: "You are signed out of this app.",
                account: None,
                quote: None,
                form: None,
                links: vec![Link::new("Sign in again", snapshot.site.sign_in("/"))],
                request_id: None,
            },
        ),
    }
}

/// After a POST the next address is asked for by GET (RFC 9110 §15.4.4).
pub(super) fn onward(method: &Method) -> StatusCode {
    if *method == Method::POST {
        StatusCode::SEE_OTHER
    } else {
        StatusCode::FOUND
    }
}

/// What a script gets; the session at the provider ends when the browser is sent to `logout_url`.
#[derive(Serialize)]
struct SignedOut {
    signed_out: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    logout_url: Option<String>,
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::{Audience::*, *};

    const ORIGIN: &str = "https://app.example";

    fn wanted(method: &Method, audience: Audience, lines: &[(&'static str, &'static str)]) -> bool {
        let headers = lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        is_wanted(method, &headers, audience, ORIGIN)
    }

    #[test]
    fn the_app_and_the_person_may_sign_out() {
        let site = |value| [("sec-fetch-site", value)];
        assert!(wanted(&Method::GET, Navigation, &site("same-origin")));
        assert!(wanted(&Method::GET, Navigation, &site("none")));
        assert!(wanted(&Method::GET, Navigation, &site("same-site")));
        assert!(wanted(&Method::POST, Submission, &site("same-origin")));
        assert!(wanted(&Method::POST, Program, &site("same-origin")));
    }

    #[test]
    fn another_site_may_not() {
        let site = |value| [("sec-fetch-site", value)];
        assert!(!wanted(&Method::GET, Navigation, &site("cross-site")));
        assert!(!wanted(&Method::POST, Submission, &site("cross-site")));
        assert!(!wanted(&Method::POST, Submission, &site("same-site")));
        assert!(!wanted(&Method::POST, Program, &site("whatever")));
    }

    #[test]
    fn a_picture_may_not_even_on_an_own_page() {
        assert!(!wanted(
            &Method::GET,
            Program,
            &[("sec-fetch-site", "same-origin")]
        ));
        let picture = [("accept", "image/avif,image/webp,*/*;q=0.8")];
        assert!(!wanted(&Method::GET, Program, &picture));
        assert!(!wanted(
            &Method::GET,
            Program,
            &[("referer", "https://app.example/")]
        ));
    }

    #[test]
    fn what_is_no_browser_may() {
        assert!(wanted(&Method::GET, Program, &[]));
        assert!(wanted(&Method::GET, Program, &[("accept", "*/*")]));
    }

    #[test]
    fn without_fetch_metadata_origin_and_referer_decide() {
        let table: &[(&[(&str, &str)], bool)] = &[
            (&[], true),
            (&[("origin", "https://app.example")], true),
            (&[("origin", "https://evil.example")], false),
            (&[("origin", "null")], false),
            (&[("origin", "https://app.example.evil")], false),
            (&[("referer", "https://app.example/page?x")], true),
            (&[("referer", "https://app.example.evil/")], false),
            (&[("referer", "https://app.example@evil.example/")], false),
            (
                &[("origin", "null"), ("referer", "https://app.example/")],
                false,
            ),
        ];
        for (lines, expected) in table {
            assert_eq!(
                wanted(&Method::POST, Submission, lines),
                *expected,
                "{lines:?}"
            );
        }
    }
}
