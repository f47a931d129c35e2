//! The checks of an ID token (OpenID Connect Core §3.1.3.7). Pure. The checks of every signed token are in [`jose::verify`].

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::signer::Signer;
use crate::{
    identity::Authentication,
    jose::{self, Algorithm, Audience, JwtError, KeySet, Verified, text, time},
    text::Text,
};

/// What an ID token must agree with.
pub(super) struct Expected<'a> {
    pub(super) signer: Signer<'a>,
    pub(super) audience: Audience<'a>,
    /// None for a token that a refresh gave: it repeats none (Core §12.2).
    pub(super) nonce: Option<&'a str>,
    /// What came with the token; none where a client brings the token alone.
    pub(super) access_token: Option<&'a str>,
}

/// The claims of `token`, all checks passed.
pub(super) fn verify(
    token: &str,
    keys: &KeySet,
    expected: &Expected<'_>,
) -> Result<Map<String, Value>, JwtError> {
    let signer = expected.signer;
    let expects = signer.expects(&TYPES, expected.audience);
    let verified = jose::verify(token, keys, &expects)?;
    let Verified {
        claims, algorithm, ..
    } = verified;
    match text(&claims, "sub") {
        Some(subject) if !subject.is_empty() => {}
        _ => return Err(JwtError::Subject),
    }
    if expected.nonce.is_some() && text(&claims, "nonce") != expected.nonce {
        return Err(JwtError::Nonce);
    }
    if let Some(access_token) = expected.access_token {
        check_access_token(&claims, algorithm, access_token)?;
    }
    Ok(claims)
}

/// How and when its holder authenticated, as far as the token tells (Core §2: `auth_time`, `acr`).
pub(super) fn authentication(claims: &Map<String, Value>) -> Authentication {
    Authentication {
        at: time(claims, "auth_time"),
        acr: text(claims, "acr")
            .filter(|acr| acr.len() <= LONGEST_ACR)
            .map(Text::from),
    }
}

/// Bytes of an authentication class. A longer one is not stored, and no route can ask for it.
const LONGEST_ACR: usize = 256;

/// A logout token or an access token of the same issuer must not pass for an ID token.
pub(super) const TYPES: [&str; 3] = ["JWT", "application/jwt", "JOSE"];

/// Core §3.1.3.8: where the token says which access token it came with, it must be this one.
fn check_access_token(
    claims: &Map<String, Value>,
    algorithm: Algorithm,
    access_token: &str,
) -> Result<(), JwtError> {
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
        Err(JwtError::AccessTokenHash)
    }
}

#[cfg(test)]
mod tests;
