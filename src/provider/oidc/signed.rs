//! Pure: what every token that a provider signs must pass, whatever it is for: signature, issuer, audience, times.
//!
//! What the token may say is judged here, with the time passed in. The algorithm is never the token's to choose: it must be on the provider's list and fit the key.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    super::token_answer::whole_seconds,
    algorithm::Algorithm,
    keys::{Key, KeySet, NoKey},
};
use crate::{clock::Timestamp, provider::token_error::IdTokenError};

/// Who must have signed, for whom, and how.
#[derive(Clone, Copy)]
pub(super) struct Signer<'a> {
    pub(super) issuer: &'a str,
    /// Whether an issuer signs as this `iss`.
    pub(super) issues: fn(issuer: &str, iss: &str) -> bool,
    pub(super) client_id: &'a str,
    /// Never empty, asymmetric only.
    pub(super) algorithms: &'a [Algorithm],
    pub(super) now: Timestamp,
}

/// A token that passed.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) claims: Map<String, Value>,
    pub(super) algorithm: Algorithm,
}

/// What tells tokens of one kind from those of another that the provider signs, too.
pub(super) struct TokenKind {
    /// Whether a `typ` is that of its kind (RFC 8725 §3.11).
    pub(super) is_kind: fn(&str) -> bool,
    /// Whether the claims say that it was made for this client.
    pub(super) check_parties: fn(&Map<String, Value>, client_id: &str) -> Result<(), IdTokenError>,
}

/// Verifies `token`. Its length is bounded by the answer or the form that it comes in.
pub(super) fn verify(
    token: &str,
    keys: &KeySet,
    signer: &Signer<'_>,
    kind: &TokenKind,
) -> Result<Signed, IdTokenError> {
    let Parts {
        message,
        payload,
        signature,
        kid,
        algorithm,
    } = Parts::read(token, signer, kind)?;
    let key = keys
        .choose(kid.as_deref(), algorithm)
        .map_err(|none| match none {
            NoKey::Unknown => IdTokenError::UnknownKey,
            NoKey::Ambiguous => IdTokenError::AmbiguousKey,
        })?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok();
    let verified = signature.is_some_and(|signature| {
        key.public
            .verifies(algorithm, message.as_bytes(), &signature)
    });
    if !verified {
        return Err(IdTokenError::Signature);
    }
    let claims: Map<String, Value> = part(payload)?;
    check_issuer(&claims, signer)?;
    (kind.check_parties)(&claims, signer.client_id)?;
    check_key_issuer(&claims, key, signer)?;
    check_times(&claims, signer.now)?;
    Ok(Signed { claims, algorithm })
}

/// What `token` says, all checks passed but for its signature: whoever made it up has at least taken the trouble. For
/// a look before keys are fetched for somebody who may be anybody; never a reason to believe it.
pub(super) fn unverified(
    token: &str,
    signer: &Signer<'_>,
    kind: &TokenKind,
) -> Result<Map<String, Value>, IdTokenError> {
    let parts = Parts::read(token, signer, kind)?;
    let claims: Map<String, Value> = part(parts.payload)?;
    check_issuer(&claims, signer)?;
    (kind.check_parties)(&claims, signer.client_id)?;
    check_times(&claims, signer.now)?;
    Ok(claims)
}

/// A token taken apart, its header judged.
struct Parts<'t> {
    message: &'t str,
    payload: &'t str,
    signature: &'t str,
    kid: Option<String>,
    algorithm: Algorithm,
}

impl<'t> Parts<'t> {
    fn read(token: &'t str, signer: &Signer<'_>, kind: &TokenKind) -> Result<Self, IdTokenError> {
        let (message, signature) = token.rsplit_once('.').ok_or(IdTokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(IdTokenError::Malformed)?;
        let header: Header = part(header)?;
        if header.crit.is_some() {
            return Err(IdTokenError::Critical);
        }
        if !header.typ.as_deref().is_none_or(kind.is_kind) {
            return Err(IdTokenError::Type);
        }
        let algorithm = Algorithm::named(&header.alg)
            .filter(|algorithm| signer.algorithms.contains(algorithm))
            .ok_or(IdTokenError::Algorithm)?;
        Ok(Self {
            message,
            payload,
            signature,
            kid: header.kid,
            algorithm,
        })
    }
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

fn check_issuer(claims: &Map<String, Value>, signer: &Signer<'_>) -> Result<(), IdTokenError> {
    if text(claims, "iss").is_some_and(|iss| (signer.issues)(signer.issuer, iss)) {
        Ok(())
    } else {
        Err(IdTokenError::Issuer)
    }
}

/// Whom `aud` names.
pub(super) fn audience(claims: &Map<String, Value>) -> Vec<Option<&str>> {
    match claims.get("aud") {
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect(),
        Some(single) => vec![single.as_str()],
        None => Vec::new(),
    }
}

/// Core §3.1.3.7, 3 to 5, for tokens that a client is the audience of.
pub(super) fn check_audience(
    claims: &Map<String, Value>,
    client_id: &str,
) -> Result<(), IdTokenError> {
    let audience = audience(claims);
    if !audience.contains(&Some(client_id)) {
        return Err(IdTokenError::Audience);
    }
    // Audiences beside us are trusted only where the provider says that the token was made for us.
    let only_us = audience.iter().all(|name| *name == Some(client_id));
    match claims.get("azp") {
        Some(party) if party.as_str() != Some(client_id) => {
            return Err(IdTokenError::AuthorizedParty);
        }
        None if !only_us => return Err(IdTokenError::AuthorizedParty),
        _ => {}
    }
    Ok(())
}

/// Where one set of keys serves many issuers, a key may be for one of them alone: it must not sign for
/// the others.
fn check_key_issuer(
    claims: &Map<String, Value>,
    key: &Key,
    signer: &Signer<'_>,
) -> Result<(), IdTokenError> {
    let iss = text(claims, "iss").unwrap_or_default();
    match &key.issuer {
        Some(issuer) if !(signer.issues)(issuer, iss) => Err(IdTokenError::UnknownKey),
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

/// The text at `name`.
pub(super) fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c str> {
    claims.get(name).and_then(Value::as_str)
}

/// How far a provider's clock may be off.
pub(super) const LEEWAY: Duration = Duration::from_mins(1);

/// Tokens are minutes old when they come, and what ties them to their occasion is checked apart; the rest is for slow
/// clocks.
pub(super) const MAX_AGE: Duration = Duration::from_hours(1);
