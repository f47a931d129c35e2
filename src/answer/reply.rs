//! Answers that the gate writes itself. Their headers forbid storing, sniffing and framing, and keep the address out of `Referer`.

use std::sync::LazyLock;

use askama::Template;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;

use super::page::STYLE;
use crate::response::Body;

/// A redirect. `location` is ASCII without control characters: a `ReturnTo`, or an address made by the
/// `url` crate or by [`Site`](crate::site::Site); whatever else comes is answered by a 500.
pub fn redirect(status: StatusCode, location: &str) -> Response<Body> {
    let mut response = reply(status, Body::Empty);
    match HeaderValue::from_str(location) {
        Ok(location) => {
            response.headers_mut().insert(LOCATION, location);
        }
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    response
}

/// A status without a body.
pub fn empty(status: StatusCode) -> Response<Body> {
    reply(status, Body::Empty)
}

/// Plain text.
pub fn text(status: StatusCode, text: impl Into<Body>) -> Response<Body> {
    let mut response = reply(status, text.into());
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// JSON.
#[expect(
    clippy::missing_panics_doc,
    reason = "own values can always be written"
)]
pub fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_string(value)
        .expect("own values are structs and strings, which JSON can always hold");
    let mut response = reply(status, text.into());
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// A page. Its one style is allowed by hash, and nothing else may load or run.
#[expect(
    clippy::missing_panics_doc,
    reason = "writing into a string does not fail"
)]
pub fn page(status: StatusCode, page: &impl Template) -> Response<Body> {
    let text = page.render().expect("writing into a string does not fail");
    let mut response = reply(status, text.into());
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(CONTENT_SECURITY_POLICY, policy(""));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// A page with a form that posts to the gate itself.
///
/// Chromium checks `form-action` again at each redirect that follows the post, and signing out leads on
/// to the provider, so other origins must be allowed beside `'self'`. And under `no-referrer` a browser
/// posts with `Origin: null`, which cannot be told from a foreign form.
pub fn form_page(status: StatusCode, form: &impl Template) -> Response<Body> {
    let mut response = page(status, form);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy(" https: http:"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// A page with a form whose answer leads on to one other place: `target` is its origin, or its scheme and a colon.
pub fn page_posting_to(status: StatusCode, form: &impl Template, target: &str) -> Response<Body> {
    let mut response = page(status, form);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy(&format!(" {target}")));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// An empty page that one other origin, and nobody else, may show in a frame.
pub fn framed(by: &str) -> Response<Body> {
    let mut response = text(StatusCode::OK, "");
    let headers = response.headers_mut();
    let policy = format!("default-src 'none'; frame-ancestors {by}");
    match HeaderValue::try_from(policy) {
        Ok(policy) => headers.insert(CONTENT_SECURITY_POLICY, policy),
        Err(_) => headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    };
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
    response
}

/// The gRPC status that says the same as `status`. A response without messages carries it among its headers ("Trailers-Only" in the
/// protocol's words), so that HTTP/1.1 and gRPC-Web clients read it too. The message is percent-encoded.
#[expect(
    clippy::missing_panics_doc,
    reason = "percent-encoded text is a header value"
)]
pub fn grpc(status: StatusCode, message: &str) -> Response<Body> {
    let mut response = reply(StatusCode::OK, Body::Empty);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(grpc_code(status)));
    let message = utf8_percent_encode(message, GRPC_MESSAGE_ESCAPES).to_string();
    let message = HeaderValue::try_from(message).expect("percent-encoded text is visible ASCII");
    headers.insert(GRPC_MESSAGE, message);
    response
}

/// The code of gRPC's `status.proto`.
fn grpc_code(status: StatusCode) -> u16 {
    const CANCELLED: u16 = 1;
    const UNKNOWN: u16 = 2;
    const INVALID_ARGUMENT: u16 = 3;
    const DEADLINE_EXCEEDED: u16 = 4;
    const PERMISSION_DENIED: u16 = 7;
    const RESOURCE_EXHAUSTED: u16 = 8;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    const UNAUTHENTICATED: u16 = 16;
    match status.as_u16() {
        400 | 421 => INVALID_ARGUMENT,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 | 405 => UNIMPLEMENTED,
        408 | 499 => CANCELLED,
        413 | 429 => RESOURCE_EXHAUSTED,
        500 => INTERNAL,
        502 | 503 => UNAVAILABLE,
        504 => DEADLINE_EXCEEDED,
        _ => UNKNOWN,
    }
}

/// What every own answer carries. What is true for one visitor at one moment must not be kept by any
/// cache, the browser's back button included.
fn reply(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    protect(response.headers_mut());
    response
}

fn protect(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
}

fn policy(form_targets: &str) -> HeaderValue {
    let policy = format!(
        "default-src 'none'; style-src '{}'; form-action 'self'{form_targets}; \
         frame-ancestors 'none'; base-uri 'none'",
        *STYLE_HASH
    );
    HeaderValue::try_from(policy).expect("base64 and the text around it are visible ASCII")
}

/// CSP Level 3 §2.3.1: the digest of the bytes between `<style>` and `</style>`.
static STYLE_HASH: LazyLock<String> = LazyLock::new(|| {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
    format!("sha256-{}", STANDARD.encode(digest))
});

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// gRPC over HTTP/2, "Responses": everything but 0x20-0x7E without `%`.
const GRPC_MESSAGE_ESCAPES: &AsciiSet = &CONTROLS.add(b'%');
