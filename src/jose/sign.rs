//! Signs JWTs with ES256 (RFC 7515, RFC 7518 §3.4). Pure, except for the randomness that the library draws for each signature.
//!
//! Keys of assertions are not stored: each is derived from a secret, so that all who share the secret have the same key. Others are
//! stored as private numbers, or come from an operator's file.

use std::fmt;

use aws_lc_rs::{
    digest::{SHA256, digest},
    error::KeyRejected,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde::Serialize;
use zeroize::Zeroizing;

/// A key that signs.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
    /// The JOSE header of what has no type of its own, encoded.
    header: String,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey({})", self.public.kid)
    }
}

/// The public half of a key, as a JWK (RFC 7517 §4, RFC 7518 §6.2.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublicKey {
    kty: &'static str,
    crv: &'static str,
    x: String,
    y: String,
    /// Names the key: its thumbprint (RFC 7638), so that each who derives it names it alike.
    kid: String,
    #[serde(rename = "use")]
    usage: &'static str,
    alg: &'static str,
}

impl PublicKey {
    /// What names it.
    pub fn id(&self) -> &str {
        &self.kid
    }
}

/// A set of public keys (RFC 7517 §5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublicKeys<'k> {
    keys: Vec<&'k PublicKey>,
}

impl<'k> PublicKeys<'k> {
    /// Of these.
    pub fn of(keys: &'k [PublicKey]) -> Self {
        Self {
            keys: keys.iter().collect(),
        }
    }

    /// The same with these.
    #[must_use]
    pub fn with(mut self, others: &'k [PublicKey]) -> Self {
        self.keys.extend(others);
        self
    }
}

/// Keys in rotation: the first signs, all are published.
pub struct SigningKeys {
    first: SigningKey,
    others: Vec<PublicKey>,
}

impl SigningKeys {
    /// The keys of these seeds, which are given twice the same for the same number. See [`SigningKey::derive`].
    ///
    /// # Panics
    /// When there is no seed at all.
    pub fn derive(mut seeds: impl Iterator<Item = impl Fn(u8) -> [u8; 32]>) -> Self {
        let first = seeds.next().expect("at least one secret");
        Self {
            first: SigningKey::derive(first),
            others: seeds.map(|seed| SigningKey::derive(seed).public).collect(),
        }
    }

    /// The JWT of `claims`.
    pub fn sign(&self, claims: &impl Serialize) -> String {
        self.first.sign(claims)
    }

    /// The bytes of the longest claims whose JWT has no more than `max_bytes`.
    pub fn room(&self, max_bytes: usize) -> usize {
        let around = self.first.header.len() + SIGNATURE + 2;
        max_bytes.saturating_sub(around) / 4 * 3
    }

    /// What verifies: of each key the public half.
    pub fn public(&self) -> PublicKeys<'_> {
        let first = std::iter::once(&self.first.public);
        PublicKeys {
            keys: first.chain(&self.others).collect(),
        }
    }
}

impl SigningKey {
    /// The key of a seed: 32 bytes that nobody can guess, and others for each number. The first that is a private key
    /// counts; all but one in four thousand million are.
    ///
    /// # Panics
    /// When none of 256 is one, which no seed of this kind comes to.
    pub fn derive(seed: impl Fn(u8) -> [u8; 32]) -> Self {
        let mut keys = (0..=u8::MAX).map(|number| Self::of(&Zeroizing::new(seed(number))));
        keys.find_map(Result::ok)
            .expect("one of them is below the order of P-256")
    }

    /// The key in a PEM file (RFC 7468): an `EC PRIVATE KEY`, or PKCS #8.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_pem(text: &str) -> Result<Self, &'static str> {
        let der = PrivateKeyDer::from_pem_slice(text.as_bytes())
            .map_err(|_| "it is no private key in PEM")?;
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = match &der {
            PrivateKeyDer::Sec1(der) => {
                EcdsaKeyPair::from_private_key_der(algorithm, der.secret_sec1_der())
            }
            PrivateKeyDer::Pkcs8(der) => {
                EcdsaKeyPair::from_pkcs8(algorithm, der.secret_pkcs8_der())
            }
            _ => return Err("it is no key of P-256"),
        };
        pair.map(Self::of_pair).map_err(|_| "it is no key of P-256")
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The key of a private number.
    ///
    /// # Errors
    /// Where it is none of P-256's.
    pub fn of(scalar: &[u8; 32]) -> Result<Self, KeyRejected> {
        // An `ECPrivateKey` without its public half (RFC 5915 §3), which follows from the private one.
        let mut der = Zeroizing::new(Vec::with_capacity(EC_PRIVATE_KEY.len() + 44));
        der.extend_from_slice(EC_PRIVATE_KEY);
        der.extend_from_slice(scalar);
        der.extend_from_slice(PRIME256V1);
        EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, &der)
            .map(Self::of_pair)
    }

    fn of_pair(pair: EcdsaKeyPair) -> Self {
        // An uncompressed point (SEC 1 §2.3.3).
        let point = pair.public_key().as_ref();
        let (x, y) = (
            URL_SAFE_NO_PAD.encode(&point[1..33]),
            URL_SAFE_NO_PAD.encode(&point[33..]),
        );
        let thumbed = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest(&SHA256, thumbed.as_bytes()));
        Self {
            header: header("JWT", &kid),
            public: PublicKey {
                kty: "EC",
                crv: "P-256",
                x,
                y,
                kid,
                usage: "sig",
                alg: "ES256",
            },
            pair,
        }
    }

    /// The JWT of `claims`, in the compact form (RFC 7515 §3.1).
    ///
    /// # Panics
    /// Never: plain data always serialises, and a key of P-256 signs.
    pub fn sign(&self, claims: &impl Serialize) -> String {
        self.sign_under(&self.header, claims)
    }

    /// The same, of a type of its own (RFC 8725 §3.11).
    pub fn sign_as(&self, kind: &str, claims: &impl Serialize) -> String {
        self.sign_under(&header(kind, &self.public.kid), claims)
    }

    fn sign_under(&self, header: &str, claims: &impl Serialize) -> String {
        let payload = serde_json::to_vec(claims).expect("plain data serialises");
        let mut token = String::with_capacity(header.len() + payload.len() * 4 / 3 + 96);
        token.push_str(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(&payload, &mut token);
        let signature = self.pair.sign(&SystemRandom::new(), token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.expect("P-256 signs"), &mut token);
        token
    }
}

/// A JOSE header, encoded.
fn header(kind: &str, kid: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES256","typ":"{kind}","kid":"{kid}"}}"#))
}

/// The characters of a signature of 64 bytes.
const SIGNATURE: usize = 86;

/// `SEQUENCE { INTEGER 1, OCTET STRING of 32 bytes …`
const EC_PRIVATE_KEY: &[u8] = &[0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20];
/// `… [0] OBJECT IDENTIFIER prime256v1 }`
const PRIME256V1: &[u8] = &[
    0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
];

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
    use serde_json::{Value, json};

    use super::*;

    fn seed(byte: u8) -> impl Fn(u8) -> [u8; 32] {
        move |number| {
            let mut seed = [byte; 32];
            seed[31] = number;
            seed
        }
    }

    fn published(keys: &SigningKeys) -> JwkSet {
        let text = serde_json::to_string(&keys.public()).unwrap();
        assert!(!text.contains(r#""d":"#), "{text}");
        serde_json::from_str(&text).unwrap()
    }

    fn verified(token: &str, keys: &JwkSet) -> Result<Value, jsonwebtoken::errors::Error> {
        let kid = jsonwebtoken::decode_header(token)?.kid.unwrap();
        let key = keys.find(&kid).expect("a published key");
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let key = DecodingKey::from_jwk(key)?;
        Ok(jsonwebtoken::decode(token, &key, &validation)?.claims)
    }

    /// The example of RFC 7515 appendix A.3: the private number yields the public half.
    #[test]
    fn the_public_half_follows_from_the_private_one() {
        let private = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";
        let private: Vec<u8> = URL_SAFE_NO_PAD.decode(private).unwrap();
        let key = SigningKey::of(private.as_slice().try_into().unwrap()).unwrap();
        assert_eq!(key.public.x, "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
        assert_eq!(key.public.y, "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    }

    #[test]
    fn a_signature_verifies_by_the_published_key_alone() {
        let keys = SigningKeys::derive([1, 2].map(seed).into_iter());
        let set = published(&keys);
        assert_eq!(set.keys.len(), 2);
        let claims = json!({ "sub": "corp:1", "groups": ["ä"] });
        let token = keys.sign(&claims);
        assert_eq!(verified(&token, &set).unwrap(), claims);
        let mut broken = token.clone().into_bytes();
        let middle = token.len() / 2;
        broken[middle] = if broken[middle] == b'A' { b'B' } else { b'A' };
        assert!(verified(&String::from_utf8(broken).unwrap(), &set).is_err());
    }

    #[test]
    fn claims_that_have_room_make_no_longer_a_token() {
        let keys = SigningKeys::derive([1].map(seed).into_iter());
        for max_bytes in 250..400 {
            let room = keys.room(max_bytes);
            let longest = "x".repeat(room.saturating_sub(2));
            let length = keys.sign(&longest).len();
            assert!(length <= max_bytes, "{length} of {max_bytes}");
        }
    }

    #[test]
    fn the_same_secret_is_the_same_key_and_rotation_keeps_the_old_one() {
        let before = SigningKeys::derive([1].map(seed).into_iter());
        let token = before.sign(&json!({}));
        let rotated = SigningKeys::derive([2, 1].map(seed).into_iter());
        assert!(verified(&token, &published(&rotated)).is_ok());
        assert_ne!(rotated.first.public.kid, before.first.public.kid);
        assert_eq!(rotated.others, [before.first.public]);
    }

    #[test]
    fn what_is_no_private_key_is_passed_over() {
        for none in [[0; 32], [0xff; 32]] {
            assert!(SigningKey::of(&none).is_err());
            let key = SigningKey::derive(|number| if number < 3 { none } else { [7; 32] });
            assert_eq!(key.public, SigningKey::of(&[7; 32]).unwrap().public);
        }
    }
}
