//! `PREFIX/jwks`: the public keys of assertions, and of the issuer's tokens (RFC 7517 §5); and `PREFIX/issuer/jwks`: those of the issuer
//! alone, which its metadata names. They are public, and may be cached: if secrets are rotated as `docs/assertion.md` says, a key is
//! published before it signs.
//!
//! The keys of the two are never the same. A verifier of the issuer's tokens that knows its key set alone takes no assertion for one.

use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode, header::CACHE_CONTROL};

use crate::{
    answer::reply,
    issuer::{Issuer, signing::IssuerKeys},
    jose::sign::PublicKeys,
    response::Body,
    snapshot::Snapshot,
};

/// Answers with all keys.
pub(super) async fn serve(snapshot: &Snapshot) -> Response<Body> {
    let own = match &snapshot.issuer {
        None => None,
        Some(issuer) => match keys_of(issuer).await {
            Ok(keys) => Some(keys),
            Err(answer) => return answer,
        },
    };
    let keys = snapshot.assertions.keys();
    let keys = match &own {
        None => keys,
        Some(own) => keys.with(own.published()),
    };
    publish(&keys)
}

/// Answers with the keys of the issuer's tokens.
pub(super) async fn of_issuer(issuer: &Issuer) -> Response<Body> {
    match keys_of(issuer).await {
        Ok(keys) => publish(&PublicKeys::of(keys.published())),
        Err(answer) => answer,
    }
}

async fn keys_of(issuer: &Issuer) -> Result<Arc<IssuerKeys>, Response<Body>> {
    issuer.signing.keys().await.map_err(|error| {
        // Half a key set that is kept for minutes would have good tokens refused.
        tracing::warn!(%error, "the keys that sign tokens cannot be had");
        reply::empty(StatusCode::SERVICE_UNAVAILABLE)
    })
}

fn publish(keys: &PublicKeys<'_>) -> Response<Body> {
    let mut response = reply::json(StatusCode::OK, keys);
    let cacheable = HeaderValue::from_static(CACHEABLE);
    response.headers_mut().insert(CACHE_CONTROL, cacheable);
    response
}

/// Five minutes: as long as one waits between the steps of a rotation.
const CACHEABLE: &str = "public, max-age=300";
