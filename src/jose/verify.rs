//! The checks of every signed token: signature, issuer, audience and times. Pure; the time is passed in.
//!
//! The token never chooses the algorithm: it must be on the caller's list, and fit the key.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    algorithm::Algorithm,
    error::JwtError,
    keys::{Key, KeySet, NoKey},
};
use crate::clock::Timestamp;

/// What a token must agree with.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// Who must have signed.
    pub issuer: &'a str,
    /// Whether an issuer signs as this `iss`; equality, but for vendors who do otherwise.
    pub issues: fn(issuer: &str, iss: &str) -> bool,
    /// What it may be signed with. Asymmetric only; nothing passes where it is empty.
    pub algorithms: &'a [Algorithm],
    /// The values of `typ` that are its kind's, in any case; a token without one passes (RFC 8725 §3.11).
    pub types: &'a [&'a str],
    /// For whom it must have been made.
    pub audience: Audience<'a>,
    /// Its greatest age, which takes an `iat`. None where its age does not matter: then `iat` may be missing.
    pub max_age: Option<Duration>,
    /// Whether it may lack an `exp`, so that its age is all that bounds it.
    pub may_lack_exp: bool,
    /// When it came.
    pub now: Timestamp,
}

/// For whom a token must have been made.
#[derive(Clone, Copy)]
pub enum Audience<'a> {
    /// For this client (OpenID Connect Core §3.1.3.7, 3 to 5): `aud` names it, and where it names others too, `azp` is the
    /// client.
    Client(&'a str),
    /// For this client and nobody else, whichever client of its owner's got it: `azp` may name another.
    OnlyClient(&'a str),
    /// For this client as the party that got it, or as its audience: that of an access token is the resource (Keycloak:
    /// `account`, or nobody), and whose client asked for it, `azp` says there and `client_id` in RFC 9068 §2.2.
    Party(&'a str),
    /// For one of these resources: `aud` names it (RFC 9068 §4).
    Resource(&'a [String]),
    /// As the last; a token without any `aud` passes where its `client_id` is one of them. Cognito's access tokens have no
    /// audience but their client.
    ResourceOrClient(&'a [String]),
}

/// A token that passed.
#[derive(Debug)]
pub struct Verified {
    /// What it says.
    pub claims: Map<String, Value>,
    /// What it was signed with.
    pub algorithm: Algorithm,
    /// The `typ` of its header.
    pub kind: Option<String>,
}

/// Verifies `token`. Its length is bounded by what it comes in.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn verify(token: &str, keys: &KeySet, expected: &Expected<'_>) -> Result<Verified, JwtError> {
    let parts = Parts::read(token, expected)?;
    let key = keys
        .choose(parts.kid.as_deref(), parts.algorithm)
        .map_err(|none| match none {
            NoKey::Unknown => JwtError::UnknownKey,
            NoKey::Ambiguous => JwtError::AmbiguousKey,
        })?;
    let signature = URL_SAFE_NO_PAD.decode(parts.signature).ok();
    let verified = signature.is_some_and(|signature| {
        key.public
            .verifies(parts.algorithm, parts.message.as_bytes(), &signature)
    });
    if !verified {
        return Err(JwtError::Signature);
    }
    let claims: Map<String, Value> = part(parts.payload)?;
    check_issuer(&claims, expected)?;
    expected.audience.check(&claims)?;
    check_key_issuer(&claims, key, expected)?;
    check_times(&claims, expected)?;
    Ok(Verified {
        claims,
        algorithm: parts.algorithm,
        kind: parts.kind,
    })
}

/// What `token` says, all checks passed but for its signature: whoever made it up has at least taken the trouble. For
/// a look before keys are fetched for somebody who may be anybody; never a reason to believe it.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn unverified(token: &str, expected: &Expected<'_>) -> Result<Verified, JwtError> {
    let parts = Parts::read(token, expected)?;
    let claims: Map<String, Value> = part(parts.payload)?;
    check_issuer(&claims, expected)?;
    expected.audience.check(&claims)?;
    check_times(&claims, expected)?;
    Ok(Verified {
        claims,
        algorithm: parts.algorithm,
        kind: parts.kind,
    })
}

/// What `token` says, whoever made it up: to choose who is to judge it, or for the log. Never a reason to believe it.
pub fn claimed<T: for<'de> Deserialize<'de>>(token: &str) -> Option<T> {
    let mut parts = token.split('.');
    let payload = parts.nth(1)?;
    (parts.count() == 1).then(|| part(payload).ok())?
}

/// A token taken apart, its header judged.
struct Parts<'t> {
    message: &'t str,
    payload: &'t str,
    signature: &'t str,
    kid: Option<String>,
    kind: Option<String>,
    algorithm: Algorithm,
}

impl<'t> Parts<'t> {
    fn read(token: &'t str, expected: &Expected<'_>) -> Result<Self, JwtError> {
        let (message, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(JwtError::Malformed)?;
        let header: Header = part(header)?;
        if header.crit.is_some() {
            return Err(JwtError::Critical);
        }
        let is_kind = |kind: &String| {
            let mut known = expected.types.iter();
            known.any(|known| kind.eq_ignore_ascii_case(known))
        };
        if !header.typ.as_ref().is_none_or(is_kind) {
            return Err(JwtError::Type);
        }
        let algorithm = Algorithm::named(&header.alg)
            .filter(|algorithm| expected.algorithms.contains(algorithm))
            .ok_or(JwtError::Algorithm)?;
        Ok(Self {
            message,
            payload,
            signature,
            kid: header.kid,
            kind: header.typ,
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

fn part<T: for<'de> Deserialize<'de>>(encoded: &str) -> Result<T, JwtError> {
    let json = URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| JwtError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| JwtError::Malformed)
}

fn check_issuer(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), JwtError> {
    if text(claims, "iss").is_some_and(|iss| (expected.issues)(expected.issuer, iss)) {
        Ok(())
    } else {
        Err(JwtError::Issuer)
    }
}

/// Whom `aud` names.
pub fn audience(claims: &Map<String, Value>) -> Vec<Option<&str>> {
    match claims.get("aud") {
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect(),
        Some(single) => vec![single.as_str()],
        None => Vec::new(),
    }
}

impl Audience<'_> {
    fn check(self, claims: &Map<String, Value>) -> Result<(), JwtError> {
        let is = |name: &str, client: &str| text(claims, name) == Some(client);
        let is_fine = match self {
            Self::Client(client) => return check_client(claims, client),
            Self::OnlyClient(client) => return check_only_client(claims, client),
            Self::Party(client) => {
                is("azp", client)
                    || is("client_id", client)
                    || audience(claims).contains(&Some(client))
            }
            Self::ResourceOrClient(names) if !claims.contains_key("aud") => {
                names.iter().any(|name| is("client_id", name))
            }
            Self::Resource(names) | Self::ResourceOrClient(names) => {
                let audience = audience(claims);
                names.iter().any(|name| audience.contains(&Some(name)))
            }
        };
        if is_fine {
            Ok(())
        } else {
            Err(JwtError::Audience)
        }
    }
}

fn check_client(claims: &Map<String, Value>, client_id: &str) -> Result<(), JwtError> {
    let audience = audience(claims);
    if !audience.contains(&Some(client_id)) {
        return Err(JwtError::Audience);
    }
    // Audiences beside us are trusted only where the provider says that the token was made for us.
    let only_us = audience.iter().all(|name| *name == Some(client_id));
    match claims.get("azp") {
        Some(party) if party.as_str() != Some(client_id) => Err(JwtError::AuthorizedParty),
        None if !only_us => Err(JwtError::AuthorizedParty),
        _ => Ok(()),
    }
}

fn check_only_client(claims: &Map<String, Value>, client_id: &str) -> Result<(), JwtError> {
    let audience = audience(claims);
    if audience.is_empty() || audience.iter().any(|name| *name != Some(client_id)) {
        return Err(JwtError::Audience);
    }
    match claims.get("azp") {
        Some(party) if party.as_str().is_none_or(str::is_empty) => Err(JwtError::AuthorizedParty),
        _ => Ok(()),
    }
}

/// Where one set of keys serves many issuers, a key may be for one of them alone: it must not sign for
/// the others.
fn check_key_issuer(
    claims: &Map<String, Value>,
    key: &Key,
    expected: &Expected<'_>,
) -> Result<(), JwtError> {
    let iss = text(claims, "iss").unwrap_or_default();
    match &key.issuer {
        Some(issuer) if !(expected.issues)(issuer, iss) => Err(JwtError::UnknownKey),
        _ => Ok(()),
    }
}

fn check_times(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), JwtError> {
    let now = expected.now;
    if claims.contains_key("exp") || !expected.may_lack_exp {
        let expires = time(claims, "exp").ok_or(JwtError::Expired)?;
        if now >= expires.after(LEEWAY) {
            return Err(JwtError::Expired);
        }
    }
    if expected.max_age.is_some() || claims.contains_key("iat") {
        let issued = time(claims, "iat").ok_or(JwtError::IssuedAt)?;
        let is_old = |greatest| now.since(issued) > greatest;
        if issued > now.after(LEEWAY) || expected.max_age.is_some_and(is_old) {
            return Err(JwtError::IssuedAt);
        }
    }
    if claims.contains_key("nbf") {
        let begins = time(claims, "nbf").ok_or(JwtError::NotBefore)?;
        if begins > now.after(LEEWAY) {
            return Err(JwtError::NotBefore);
        }
    }
    Ok(())
}

/// The text at `name`.
pub fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c str> {
    claims.get(name).and_then(Value::as_str)
}

/// The moment at `name`, a fraction of a second dropped (RFC 7519 §2).
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole seconds are meant, and what is too large for them saturates"
)]
pub fn time(claims: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    let seconds = claims.get(name)?.as_f64()?;
    (seconds.is_finite() && seconds >= 0.0).then_some(Timestamp(seconds as u64))
}

/// How far an issuer's clock may be off.
pub const LEEWAY: Duration = Duration::from_mins(1);
