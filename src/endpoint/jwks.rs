//! `PREFIX/jwks`: the public keys of assertions, and of the issuer's tokens (RFC 7517 §5). They are public, and may be cached: if secrets are rotated as
//! `docs/assertion.md` says, a key is published before it signs.

use http::{HeaderValue, Response, StatusCode, header::CACHE_CONTROL};

use crate::{answer::reply, response::Body, snapshot::Snapshot};

/// Answers with the key set.
pub(super) async fn serve(snapshot: &Snapshot) -> Response<Body> {
    let own = match &snapshot.issuer {
        None => None,
        Some(issuer) => match issuer.signing.keys().await {
            Ok(keys) => Some(keys),
            // Half a key set that is kept for minutes would have good tokens refused.
            Err(error) => {
                tracing::warn!(%error, "the keys that sign tokens cannot be had");
                return reply::empty(StatusCode::SERVICE_UNAVAILABLE);
            }
        },
    };
    let keys = snapshot.assertions.keys();
    let keys = match &own {
        None => keys,
        Some(own) => keys.with(own.published()),
    };
    let mut response = reply::json(StatusCode::OK, &keys);
    let cacheable = HeaderValue::from_static(CACHEABLE);
    response.headers_mut().insert(CACHE_CONTROL, cacheable);
    response
}

/// Five minutes: as long as one waits between the steps of a rotation.
const CACHEABLE: &str = "public, max-age=300";
