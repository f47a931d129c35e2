//! The provider's signing key: ES256, made at start, gone with the process.

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash},
};
use serde::{Deserialize, Serialize};

/// Signs ID tokens, and knows its own signature again.
pub(super) struct SigningKey {
    header: Header,
    signing: EncodingKey,
    verifying: DecodingKey,
    public: Jwk,
}

/// What an ID token that came back as a hint says.
#[derive(Deserialize)]
pub(super) struct Hint {
    /// The user it was issued for.
    pub(super) sub: String,
}

impl SigningKey {
    /// A fresh key.
    pub(super) fn generate() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .expect("aws-lc makes P-256 keys");
        let der = pair.to_pkcs8v1().expect("a fresh key has an encoding");
        let signing = EncodingKey::from_ec_der(der.as_ref());
        let mut public =
            Jwk::from_encoding_key(&signing, Algorithm::ES256).expect("the key is a P-256 key");
        let id = public
            .thumbprint(ThumbprintHash::SHA256)
            .expect("a P-256 key has a thumbprint");
        public.common.key_id = Some(id.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(id);
        Self {
            header,
            signing,
            verifying: DecodingKey::from_jwk(&public).expect("the public half was just made"),
            public,
        }
    }

    /// The public half (RFC 7517 §5).
    pub(super) fn key_set(&self) -> JwkSet {
        JwkSet {
            keys: vec![self.public.clone()],
        }
    }

    /// A signed JWT.
    pub(super) fn sign(&self, claims: &impl Serialize) -> String {
        jsonwebtoken::encode(&self.header, claims, &self.signing)
            .expect("claims are JSON and the key fits the algorithm")
    }

    /// Reads an ID token that this key signed for `client_id`. Its age does not matter: a session
    /// outlives its ID token (OpenID Connect RP-Initiated Logout 1.0 §2).
    pub(super) fn read_hint(&self, token: &str, issuer: &str, client_id: &str) -> Option<Hint> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_exp = false;
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[client_id]);
        validation.set_required_spec_claims(&["iss", "aud", "sub"]);
        jsonwebtoken::decode(token, &self.verifying, &validation)
            .ok()
            .map(|token| token.claims)
    }
}

/// `at_hash`: the left half of the access token's SHA-256 (OpenID Connect Core §3.1.3.6).
pub(super) fn access_token_hash(access_token: &str) -> String {
    let hash = digest(&SHA256, access_token.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_own_tokens_for_the_client_are_hints() {
        let key = SigningKey::generate();
        let claims = json!({ "iss": "https://op", "aud": "app", "sub": "1", "exp": 1 });
        let token = key.sign(&claims);
        assert_eq!(key.read_hint(&token, "https://op", "app").unwrap().sub, "1");
        assert!(key.read_hint(&token, "https://op", "other").is_none());
        assert!(key.read_hint(&token, "https://else", "app").is_none());
        let stranger = SigningKey::generate();
        assert!(stranger.read_hint(&token, "https://op", "app").is_none());
    }

    #[test]
    fn the_key_set_holds_no_private_part() {
        let text = serde_json::to_string(&SigningKey::generate().key_set()).unwrap();
        assert!(text.contains(r#""use":"sig""#) && text.contains(r#""alg":"ES256""#));
        assert!(!text.contains(r#""d":"#));
    }
}
