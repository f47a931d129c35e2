//! The answer to Envoy. Pure.

use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, COOKIE, SET_COOKIE},
};

use super::message::{
    AppendAction, BoolValue, CheckResponse, DeniedHttpResponse, HeaderValue as Line,
    HeaderValueOption, HttpResponse, HttpStatus, OkHttpResponse, Status,
};
use crate::{
    clean::{X_FORWARDED_HOST, forwarding, identity::ReservedNames},
    forward::{AppUser, Asker, IdentityHeaders},
    rate_limit::Fields,
    response::Body,
    session::cookie::Cookies,
};

/// What a request that passes becomes.
#[derive(Clone, Copy)]
pub(super) struct Passing<'a> {
    /// Its headers as they came.
    pub(super) headers: &'a HeaderMap,
    /// Whoever the app is told of.
    pub(super) app_user: Option<AppUser<'a>>,
    pub(super) identity_headers: &'a IdentityHeaders,
    /// The names that only the gate writes.
    pub(super) reserved: &'a ReservedNames,
    pub(super) cookies: &'a Cookies,
    /// Whether their `Authorization` was for the gate, and no app is to see it.
    pub(super) holds_own_credential: bool,
    /// What the client is told of the limits of its routes.
    pub(super) limits: &'a Fields,
}

/// A yes. The app gets each identity header or none, whatever the client wrote: what is not set is removed, in the spelling
/// that came. So are headers that tell another path, method or host than the one that was judged, and the own cookies. `cookies`
/// are cookies for the browser.
pub(super) fn pass(passing: &Passing<'_>, cookies: &[HeaderValue]) -> CheckResponse {
    let mut set = HeaderMap::new();
    if let Some(app_user) = passing.app_user {
        passing
            .identity_headers
            .set(app_user, Asker::Proxy, &mut set);
    }
    let mut remove: Vec<HeaderName> = passing.identity_headers.names().cloned().collect();
    for name in passing.headers.keys() {
        if passing.reserved.contains(name.as_str()) || forwarding::misleads(name) {
            remove.push(name.clone());
        }
    }
    if forwarding::names_another_host(passing.headers) {
        remove.push(X_FORWARDED_HOST.clone());
    }
    if passing.holds_own_credential {
        remove.push(AUTHORIZATION);
    }
    if passing.headers.contains_key(COOKIE) {
        match passing.cookies.foreign(passing.headers, None) {
            None => remove.push(COOKIE),
            // Left as it came where nothing of ours is in it: it may be no text.
            Some(left) if is_only(passing.headers, &left) => {}
            Some(left) => {
                set.insert(COOKIE, left);
            }
        }
    }
    remove.retain(|name| !set.contains_key(name));
    remove.sort_unstable_by(|left, right| left.as_str().cmp(right.as_str()));
    remove.dedup();
    let mut to_browser = Vec::new();
    if !cookies.is_empty() {
        // A cache that several people share would hand the cookie to others (RFC 9111 §7.3).
        let private = HeaderValue::from_static("private");
        to_browser.push(line(&CACHE_CONTROL, &private, AppendAction::AddIfAbsent));
    }
    let mut limits = HeaderMap::new();
    passing.limits.write(&mut limits);
    to_browser.extend(limits.iter().map(|(name, value)| added(name, value)));
    to_browser.extend(cookies.iter().map(|cookie| added(&SET_COOKIE, cookie)));
    CheckResponse {
        status: Some(Status { code: OK }),
        http_response: Some(HttpResponse::Ok(OkHttpResponse {
            headers: set
                .iter()
                .map(|(name, value)| overwriting(name, value))
                .collect(),
            headers_to_remove: remove.iter().map(ToString::to_string).collect(),
            response_headers_to_add: to_browser,
        })),
    }
}

/// A no: `response` is what the client gets.
pub(super) fn refuse(response: Response<Body>) -> CheckResponse {
    let (head, body) = response.into_parts();
    let body = match body {
        Body::Full(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Body::Empty | Body::Upstream(_) => String::new(),
    };
    let headers = head.headers.iter();
    let headers = headers.filter(|(name, _)| **name != CONTENT_LENGTH);
    CheckResponse {
        status: Some(Status {
            code: if head.status == StatusCode::UNAUTHORIZED {
                UNAUTHENTICATED
            } else {
                PERMISSION_DENIED
            },
        }),
        http_response: Some(HttpResponse::Denied(DeniedHttpResponse {
            status: Some(HttpStatus {
                code: head.status.as_u16().into(),
            }),
            headers: headers
                .map(|(name, value)| {
                    if *name == SET_COOKIE {
                        added(name, value)
                    } else {
                        overwriting(name, value)
                    }
                })
                .collect(),
            body,
        })),
    }
}

/// Whether that is the one `Cookie` that came.
fn is_only(headers: &HeaderMap, value: &HeaderValue) -> bool {
    let mut lines = headers.get_all(COOKIE).iter();
    lines.next() == Some(value) && lines.next().is_none()
}

fn overwriting(name: &HeaderName, value: &HeaderValue) -> HeaderValueOption {
    line(name, value, AppendAction::OverwriteIfExistsOrAdd)
}

fn added(name: &HeaderName, value: &HeaderValue) -> HeaderValueOption {
    HeaderValueOption {
        append: Some(BoolValue { value: true }),
        ..line(name, value, AppendAction::AppendIfExistsOrAdd)
    }
}

fn line(name: &HeaderName, value: &HeaderValue, action: AppendAction) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(Line {
            key: name.to_string(),
            value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
            raw_value: Vec::new(),
        }),
        append: None,
        append_action: action.into(),
    }
}

const OK: i32 = 0;
const PERMISSION_DENIED: i32 = 7;
const UNAUTHENTICATED: i32 = 16;

#[cfg(test)]
mod tests;
