//! Pure: the checks of an ID token (OpenID Connect Core §3.1.3.7), in one place and all of them.
//!
//! `jsonwebtoken` verifies the signature; what the token may say is judged here, with the time passed
//! in. The algorithm is never the token's to choose: it must be on the provider's list and fit the key.

use std::{str::FromStr, time::Duration};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, crypto};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    super::token_answer::whole_seconds,
    keys::{Key, KeySet, NoKey},
};
use crate::clock::Timestamp;

/// What a token must agree with.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    /// Whether an issuer signs as this `iss`.
    pub(super) issues: fn(issuer: &str, iss: &str) -> bool,
    pub(super) client_id: &'a str,
    /// Never empty, asymmetric only.
    pub(super) algorithms: &'a [Algorithm],
    /// None for a token that a renewal gave: it repeats none (Core §12.2).
    pub(super) nonce: Option<&'a str>,
    /// What came with the token.
    pub(super) access_token: &'a str,
    pub(super) now: Timestamp,
}

/// Why an ID token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// The token endpoint gave none.
    #[error("none was given")]
    Missing,
    /// Longer than any honest one.
    #[error("too large")]
    TooLarge,
    /// Not three parts of base64url with JSON objects in them; encrypted tokens have five.
    #[error("not a signed JWT")]
    Malformed,
    /// `crit` names extensions, and we know none (RFC 7515 §4.1.11).
    #[error("crit asks for an unknown extension")]
    Critical,
    /// `typ` says that it is another kind of token (RFC 8725 §3.11).
    #[error("typ is not JWT")]
    Type,
    /// Not on the list; `none` and shared secrets never are.
    #[error("alg is not allowed")]
    Algorithm,
    /// No published key fits.
    #[error("no key fits")]
    UnknownKey,
    /// Several keys fit.
    #[error("several keys fit and kid does not tell which")]
    AmbiguousKey,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// `iss` is not the provider.
    #[error("iss is not the provider")]
    Issuer,
    /// `aud` does not name us.
    #[error("aud does not name this client")]
    Audience,
    /// `azp` is not us, or is missing beside several audiences.
    #[error("azp is missing or not this client")]
    AuthorizedParty,
    /// No `sub`.
    #[error("sub is missing")]
    Subject,
    /// `exp` is missing or over.
    #[error("exp is missing or over")]
    Expired,
    /// `iat` is missing, in the future, or long ago.
    #[error("iat is missing, in the future or long ago")]
    IssuedAt,
    /// `nbf` lies in the future or is no time.
    #[error("nbf is in the future")]
    NotBefore,
    /// Another login's token.
    #[error("nonce is not this login's")]
    Nonce,
    /// The access token is another's.
    #[error("at_hash does not fit the access token")]
    AccessTokenHash,
}

impl IdTokenError {
    /// Whether newer keys may help: the provider may have rotated, with or without a new `kid`.
    pub(super) fn may_be_rotation(self) -> bool {
        matches!(self, Self::UnknownKey | Self::Signature)
    }
}

/// The claims of `token`, all checks passed.
pub(super) fn verify(
    token: &str,
    keys: &KeySet,
    expected: &Expected<'_>,
) -> Result<Map<String, Value>, IdTokenError> {
    if token.len() > MAX_TOKEN {
        return Err(IdTokenError::TooLarge);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(IdTokenError::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(IdTokenError::Malformed)?;
    let header: Header = part(header)?;
    if header.crit.is_some() {
        return Err(IdTokenError::Critical);
    }
    if !header.typ.as_deref().is_none_or(is_jwt) {
        return Err(IdTokenError::Type);
    }
    let algorithm = Algorithm::from_str(&header.alg)
        .ok()
        .filter(|algorithm| expected.algorithms.contains(algorithm))
        .ok_or(IdTokenError::Algorithm)?;
    let key = keys
        .choose(header.kid.as_deref(), algorithm)
        .map_err(|none| match none {
            NoKey::Unknown => IdTokenError::UnknownKey,
            NoKey::Ambiguous => IdTokenError::AmbiguousKey,
        })?;
    let verified = crypto::verify(signature, message.as_bytes(), &key.public, algorithm);
    if !verified.is_ok_and(|valid| valid) {
        return Err(IdTokenError::Signature);
    }
    let claims: Map<String, Value> = part(payload)?;
    check_parties(&claims, expected)?;
    check_key_issuer(&claims, key, expected)?;
    check_times(&claims, expected.now)?;
    if expected.nonce.is_some() && text(&claims, "nonce") != expected.nonce {
        return Err(IdTokenError::Nonce);
    }
    check_access_token(&claims, algorithm, expected.access_token)?;
    Ok(claims)
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

fn part<T: for<'de> Deserialize<'de>>(encoded: &str) -> Result<T, IdTokenError> {
    let json = URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| IdTokenError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| IdTokenError::Malformed)
}

/// A logout token or an access token of the same issuer must not pass for an ID token.
fn is_jwt(kind: &str) -> bool {
    ["JWT", "application/jwt", "JOSE"]
        .iter()
        .any(|jwt| kind.eq_ignore_ascii_case(jwt))
}

fn check_parties(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), IdTokenError> {
    if !text(claims, "iss").is_some_and(|iss| (expected.issues)(expected.issuer, iss)) {
        return Err(IdTokenError::Issuer);
    }
    let audience: Vec<Option<&str>> = match claims.get("aud") {
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect(),
        Some(single) => vec![single.as_str()],
        None => Vec::new(),
    };
    if !audience.contains(&Some(expected.client_id)) {
        return Err(IdTokenError::Audience);
    }
    // Audiences beside us are trusted only where the provider says that the token was made for us.
    let only_us = audience
        .iter()
        .all(|name| *name == Some(expected.client_id));
    match claims.get("azp") {
        Some(party) if party.as_str() != Some(expected.client_id) => {
            return Err(IdTokenError::AuthorizedParty);
        }
        None if !only_us => return Err(IdTokenError::AuthorizedParty),
        _ => {}
    }
    match text(claims, "sub") {
        Some(subject) if !subject.is_empty() => Ok(()),
        _ => Err(IdTokenError::Subject),
    }
}

/// Where one set of keys serves many issuers, a key may be for one of them alone: it must not sign for
/// the others.
fn check_key_issuer(
    claims: &Map<String, Value>,
    key: &Key,
    expected: &Expected<'_>,
) -> Result<(), IdTokenError> {
    let iss = text(claims, "iss").unwrap_or_default();
    match &key.issuer {
        Some(issuer) if !(expected.issues)(issuer, iss) => Err(IdTokenError::UnknownKey),
        _ => Ok(()),
    }
}

fn check_times(claims: &Map<String, Value>, now: Timestamp) -> Result<(), IdTokenError> {
    let time = |name: &str| {
        claims
            .get(name)
            .and_then(Value::as_f64)
            .and_then(whole_seconds)
    };
    let expires = time("exp").ok_or(IdTokenError::Expired)?;
    if now >= Timestamp(expires).after(LEEWAY) {
        return Err(IdTokenError::Expired);
    }
    let issued = time("iat").map(Timestamp).ok_or(IdTokenError::IssuedAt)?;
    if issued > now.after(LEEWAY) || now.since(issued) > MAX_AGE {
        return Err(IdTokenError::IssuedAt);
    }
    if claims.contains_key("nbf") {
        let begins = time("nbf").map(Timestamp).ok_or(IdTokenError::NotBefore)?;
        if begins > now.after(LEEWAY) {
            return Err(IdTokenError::NotBefore);
        }
    }
    Ok(())
}

/// Core §3.1.3.8: where the token says which access token it came with, it must be this one.
fn check_access_token(
    claims: &Map<String, Value>,
    algorithm: Algorithm,
    access_token: &str,
) -> Result<(), IdTokenError> {
    let Some(claimed) = claims.get("at_hash") else {
        return Ok(());
    };
    let hash = match algorithm {
        Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 => &digest::SHA384,
        Algorithm::RS512 | Algorithm::PS512 | Algorithm::EdDSA => &digest::SHA512,
        _ => &digest::SHA256,
    };
    let digest = digest::digest(hash, access_token.as_bytes());
    let half = &digest.as_ref()[..digest.as_ref().len() / 2];
    if claimed.as_str() == Some(&URL_SAFE_NO_PAD.encode(half)) {
        Ok(())
    } else {
        Err(IdTokenError::AccessTokenHash)
    }
}

fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c str> {
    claims.get(name).and_then(Value::as_str)
}

/// Large enough for a few hundred groups.
const MAX_TOKEN: usize = 16 * 1024;

/// How far a provider's clock may be off.
const LEEWAY: Duration = Duration::from_mins(1);

/// The nonce already ties a token to its login, which is minutes old; the rest is for slow clocks.
const MAX_AGE: Duration = Duration::from_hours(1);

#[cfg(test)]
#[path = "id_token_tests.rs"]
mod tests;
