//! Own cookies: their names, how they are found in a request, written into a response, and taken out
//! of what the upstream sees. Pure.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::config::{PublicUrl, SessionConfig};

/// The names and attributes of own cookies, fixed at start.
/// Over https: `__Host-NAME` (Secure, Path=/); over plain http, which cannot have it, `NAME`.
/// The logout hint is `__Secure-NAME_hint` with `Path=PREFIX/sign_out`, so that it rides on no other
/// request.
pub struct Cookies {}

/// What the `Cookie` headers of one request say, in one pass.
#[derive(Default)]
pub struct Found {
    /// The sealed session, its parts joined; none when absent, incomplete or there twice.
    pub session: Option<String>,
    /// Whether any own cookie (a session, a part, a stale sibling, a login) was there: then the
    /// upstream's `Cookie` header must be rewritten.
    pub any: bool,
    /// How many session cookies the request carried (parts included), so that stale ones are expired.
    pub session_parts: Vec<usize>,
    /// The login cookie's value.
    pub login: Option<String>,
    /// The sealed logout hint.
    pub logout_hint: Option<String>,
}

impl Cookies {
    /// From `session.cookie_name`, the public URL's scheme, and the prefix.
    pub fn new(session: &SessionConfig, public_url: &PublicUrl, prefix: &str) -> Self {
        let _ = (session, public_url, prefix);
        todo!()
    }

    /// Own cookies in the request. Names are exact and case-sensitive; a name that comes twice counts
    /// as absent (cookie tossing).
    pub fn find(&self, headers: &HeaderMap) -> Found {
        let _ = headers;
        todo!()
    }

    /// Takes own cookies out of the request's `Cookie` headers. The app's cookies stay byte for byte;
    /// several headers (HTTP/2 may split them) become one; the header goes when nothing is left.
    pub fn strip_from_request(&self, headers: &mut HeaderMap) {
        let _ = headers;
        todo!()
    }

    /// Takes `Set-Cookie` of own names out of an upstream's response, so that an app cannot set or
    /// clear the session.
    pub fn strip_from_response(&self, headers: &mut HeaderMap) {
        let _ = headers;
        todo!()
    }

    /// `Set-Cookie` values that store `sealed`, split above 3,800 bytes, and expire every sibling of
    /// `found` that is not written now. None when it would take more than five cookies.
    pub fn write_session(
        &self,
        sealed: &str,
        max_age: Duration,
        found: &Found,
    ) -> Option<Vec<HeaderValue>> {
        let _ = (sealed, max_age, found);
        todo!()
    }

    /// `Set-Cookie` values that expire every session cookie of `found` (at least the unsplit one).
    pub fn expire_session(&self, found: &Found) -> Vec<HeaderValue> {
        let _ = found;
        todo!()
    }

    /// `Set-Cookie` of the login cookie.
    pub fn write_login(&self, value: &str, max_age: Duration) -> HeaderValue {
        let _ = (value, max_age);
        todo!()
    }

    /// `Set-Cookie` of the logout hint (one cookie; the caller leaves out what exceeds 3,800 bytes).
    pub fn write_logout_hint(&self, sealed: &str, max_age: Duration) -> HeaderValue {
        let _ = (sealed, max_age);
        todo!()
    }

    /// `Set-Cookie` that expires the logout hint.
    pub fn expire_logout_hint(&self) -> HeaderValue {
        todo!()
    }
}
