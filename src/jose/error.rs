//! Why a signed token is refused.

/// Whether a token may be refused only because its issuer has rotated its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It is not.
    None,
    /// It may be: some issuers rotate without a new `kid`.
    Possible,
    /// Nobody can say without the key that it names.
    KeyMissing,
}

/// Why a signed token (RFC 7519) is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
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

impl JwtError {
    /// Whether newer keys may help.
    pub fn rotation(self) -> Rotation {
        match self {
            Self::UnknownKey => Rotation::KeyMissing,
            Self::Signature => Rotation::Possible,
            _ => Rotation::None,
        }
    }
}
