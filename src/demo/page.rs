//! Answers of the demo app and the demo users: pages, JSON, redirects, with their security headers.

use askama::Template;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use serde::Serialize;

use super::server::{Response, empty, full};
use crate::random;

/// A fresh value that lets a page's own style and script run and nothing else (CSP 3 §2.3.1).
pub(super) fn nonce() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(random::bytes::<16>())
}

/// A page that says one thing.
#[derive(Template)]
#[template(path = "demo/message.html")]
pub(super) struct Message<'a> {
    pub(super) nonce: &'a str,
    pub(super) place: &'a str,
    pub(super) title: &'a str,
    pub(super) text: &'a str,
    pub(super) bad: bool,
    pub(super) link: Option<Link<'a>>,
    pub(super) footer: &'a str,
}

/// Where a [`Message`] leads on.
pub(super) struct Link<'a> {
    pub(super) href: &'a str,
    pub(super) label: &'a str,
}

/// `template` as an answer. Its style and script carry `nonce`; its forms may end up at `form_targets`
/// beside its own origin, because browsers hold `form-action` against redirects too.
pub(super) fn html(
    status: StatusCode,
    template: &impl Template,
    nonce: &str,
    form_targets: &[String],
) -> Response {
    let page = template
        .render()
        .expect("the demo's templates print plain fields into a string");
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src data:; \
         connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' {}",
        form_targets.join(" ")
    );
    let mut response = answer(status, "text/html; charset=utf-8", page);
    response.headers_mut().insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::try_from(policy).expect("origins and base64 are visible ASCII"),
    );
    response
}

/// `value` as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let text = serde_json::to_string(value).expect("the demo's values have string keys");
    answer(status, "application/json", text)
}

/// A line of text.
pub(super) fn text(status: StatusCode, line: &'static str) -> Response {
    answer(status, "text/plain; charset=utf-8", line.to_owned())
}

/// 303: the browser goes on with GET, whatever it came with (RFC 9110 §15.4.4).
pub(super) fn see_other(location: &str) -> Response {
    let mut response = http::Response::new(empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let location = HeaderValue::try_from(location).expect("a serialised URL is visible ASCII");
    response.headers_mut().insert(LOCATION, location);
    harden(&mut response);
    response
}

fn answer(status: StatusCode, content_type: &'static str, content: String) -> Response {
    let mut response = http::Response::new(full(content));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    harden(&mut response);
    response
}

/// What every answer carries: no cache keeps it, no browser guesses its type, no other origin learns
/// the address with the code in it.
pub(super) fn harden(response: &mut Response) {
    const SAFE: [(HeaderName, &str); 3] = [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: with that, a form's POST would say `Origin: null`.
        (REFERRER_POLICY, "same-origin"),
    ];
    for (name, value) in SAFE {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
}
