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

/// What an ID token must agree with.
pub(super) struct Expected<'a> {
    pub(super) signer: Signer<'a>,
    /// None for a token that a renewal gave: it repeats none (Core §12.2).
    pub(super) nonce: Option<&'a str>,
    /// What came with the token.
    pub(super) access_token: &'a str,
}

/// Why an ID token is refused, or another token that the provider signed.
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
    #[error("typ is another kind's")]
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
