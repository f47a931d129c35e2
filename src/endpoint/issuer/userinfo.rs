//! `PREFIX/userinfo` for clients (OpenID Connect Core 1.0 §5.3): who somebody is, as far as their token's scopes tell.

use http::{Response, StatusCode};
use serde_json::Value;

use super::answer::allow_reading;
use crate::{
    access::Principal,
    answer::reply,
    credential::{Verified, Voucher},
    issuer::id_token::{OPENID, claims},
    response::Body,
    text::Text,
};

/// Whether a token is one that its client may learn by who somebody is: not one of the client's own, whatever its scopes are called.
pub(in crate::endpoint) fn is_for(verified: &Verified) -> bool {
    let mut scopes = verified.scopes.iter().flatten();
    let is_somebodys = verified.grant.is_some() && verified.voucher == Voucher::Provider;
    is_somebodys && scopes.any(|scope| scope.as_str() == OPENID)
}

/// What such a token tells.
pub(in crate::endpoint) fn answer(principal: Principal<'_>) -> Response<Body> {
    let scopes = principal.scopes.unwrap_or_default().iter();
    let scopes: Vec<&str> = scopes.map(Text::as_str).collect();
    let claims = Value::from(claims(principal.identity, &scopes));
    let mut response = reply::json(StatusCode::OK, &claims);
    allow_reading(response.headers_mut());
    response
}
