//! `PREFIX/jwks`: the public keys of assertions (RFC 7517 §5). They are public, and may be cached: if secrets are rotated as
//! `docs/assertion.md` says, a key is published before it signs.

use http::{HeaderValue, Response, StatusCode, header::CACHE_CONTROL};

use crate::{answer::reply, response::Body, snapshot::Snapshot};

/// Answers with the key set.
pub(super) fn serve(snapshot: &Snapshot) -> Response<Body> {
    let mut response = reply::json(StatusCode::OK, &snapshot.assertions.keys());
    let cacheable = HeaderValue::from_static(CACHEABLE);
    response.headers_mut().insert(CACHE_CONTROL, cacheable);
    response
}

/// Five minutes: as long as one waits between the steps of a rotation.
const CACHEABLE: &str = "public, max-age=300";
