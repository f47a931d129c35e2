//! Pure: the checks of an ID token (OpenID Connect Core §3.1.3.7), but for those of any token of the provider
//! ([`signed`]).

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{
    algorithm::Algorithm,
    keys::KeySet,
    signed::{self, Signed, Signer, TokenKind, text},
};
use crate::{
    clock::Timestamp,
    identity::Authentication,
    provider::{token_answer::whole_seconds, token_error::IdTokenError},
    text::Text,
};

/// What an ID token must agree with.
pub(super) struct Expected<'a> {
    pub(super) signer: Signer<'a>,
    /// None for a token that a renewal gave: it repeats none (Core §12.2).
    pub(super) nonce: Option<&'a str>,
    /// What came with the token.
    pub(super) access_token: &'a str,
}

/// The claims of `token`, all checks passed.
pub(super) fn verify(
    token: &str,
    keys: &KeySet,
    expected: &Expected<'_>,
) -> Result<Map<String, Value>, IdTokenError> {
    let Signed { claims, algorithm } = signed::verify(token, keys, &expected.signer, &KIND)?;
    match text(&claims, "sub") {
        Some(subject) if !subject.is_empty() => {}
        _ => return Err(IdTokenError::Subject),
    }
    if expected.nonce.is_some() && text(&claims, "nonce") != expected.nonce {
        return Err(IdTokenError::Nonce);
    }
    check_access_token(&claims, algorithm, expected.access_token)?;
    Ok(claims)
}

/// How and when its holder authenticated, as far as the token tells (Core §2: `auth_time`, `acr`).
pub(super) fn authentication(claims: &Map<String, Value>) -> Authentication {
    let at = claims.get("auth_time").and_then(Value::as_f64);
    Authentication {
        at: at.and_then(whole_seconds).map(Timestamp),
        acr: text(claims, "acr")
            .filter(|acr| acr.len() <= LONGEST_ACR)
            .map(Text::from),
    }
}

/// A longer class is kept in no session, and so is none that a route can ask for.
const LONGEST_ACR: usize = 256;

const KIND: TokenKind = TokenKind {
    is_kind: is_jwt,
    check_parties: signed::check_audience,
};

/// A logout token or an access token of the same issuer must not pass for an ID token.
fn is_jwt(kind: &str) -> bool {
    ["JWT", "application/jwt", "JOSE"]
        .iter()
        .any(|jwt| kind.eq_ignore_ascii_case(jwt))
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
        Algorithm::RS512 | Algorithm::PS512 | Algorithm::ES512 | Algorithm::EdDSA => {
            &digest::SHA512
        }
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

#[cfg(test)]
mod tests;
