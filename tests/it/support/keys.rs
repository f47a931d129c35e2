//! The scripted provider's keys and signatures, the good and the bad ones.

use std::sync::LazyLock;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData, RsaKeySize};
use serde_json::{Value, json};

/// One key pair.
pub struct Key {
    /// Its `kid`.
    pub id: &'static str,
    algorithm: Algorithm,
    pair: KeyPair,
}

/// Published first.
pub static FIRST: LazyLock<Key> = LazyLock::new(|| Key::rsa("first"));
/// Published after a rotation.
pub static SECOND: LazyLock<Key> = LazyLock::new(|| Key::rsa("second"));
/// Elliptic.
pub static ELLIPTIC: LazyLock<Key> = LazyLock::new(|| Key {
    id: "elliptic",
    algorithm: Algorithm::ES256,
    pair: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("an EC key"),
});

impl Key {
    fn rsa(id: &'static str) -> Self {
        Self {
            id,
            algorithm: Algorithm::RS256,
            pair: KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)
                .expect("an RSA key"),
        }
    }

    /// As a JWK (RFC 7517).
    pub fn jwk(&self) -> Value {
        let public = self.pair.der_bytes();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        if self.algorithm == Algorithm::ES256 {
            // Uncompressed point: 4, then both coordinates.
            return json!({
                "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.id,
                "x": encode(&public[1..33]), "y": encode(&public[33..65]),
            });
        }
        // RSAPublicKey (RFC 8017 A.1.1): a sequence of two integers. 2,048 bits: 4 bytes of sequence, 4 of the
        // modulus' head, a zero that keeps it positive, 256 of modulus, 2 of the exponent's head.
        assert_eq!(public.len(), 270, "a 2,048 bit key with a 3 byte exponent");
        json!({
            "kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.id,
            "n": encode(&public[9..265]), "e": encode(&public[267..]),
        })
    }

    /// The private half, for a program that signs.
    pub fn pem(&self) -> String {
        self.pair.serialize_pem()
    }

    /// The JWT of `claims`.
    pub fn signed(&self, claims: &Value) -> String {
        self.sign(self.id, claims)
    }

    fn sign(&self, id: &str, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(id.to_owned());
        let pem = self.pair.serialize_pem();
        let key = if self.algorithm == Algorithm::ES256 {
            EncodingKey::from_ec_pem(pem.as_bytes())
        } else {
            EncodingKey::from_rsa_pem(pem.as_bytes())
        };
        jsonwebtoken::encode(&header, claims, &key.expect("our own key")).expect("a signature")
    }
}

/// Elliptic, of the largest curve.
static P521: LazyLock<EcdsaKeyPair> = LazyLock::new(|| {
    EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).expect("a P-521 key")
});

/// The public key of what [`Signing::Es512`] signs with.
pub fn p521_jwk() -> Value {
    let point = aws_lc_rs::signature::KeyPair::public_key(&*P521).as_ref();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    json!({
        "kty": "EC", "crv": "P-521", "alg": "ES512", "use": "sig", "kid": "p521",
        "x": encode(&point[1..67]), "y": encode(&point[67..]),
    })
}

/// A key of an algorithm that signs nothing here.
pub fn another_jwk(id: usize) -> Value {
    let mut jwk = FIRST.jwk();
    jwk["kid"] = json!(format!("another-{id}"));
    jwk
}

fn es512(claims: &Value) -> String {
    let header = json!({ "alg": "ES512", "kid": "p521", "typ": "JWT" });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&header), part(claims));
    let signature = P521.sign(&SystemRandom::new(), message.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(signature.expect("a signature"));
    format!("{message}.{signature}")
}

/// How an ID token is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Signing {
    /// With the first key.
    #[default]
    First,
    /// With the second key, under its own `kid`.
    Second,
    /// With the elliptic key.
    Elliptic,
    /// With the key of the largest curve, which few libraries know.
    Es512,
    /// `alg: none`, no signature.
    None,
    /// `alg: none` in the header, with a signature of the first key.
    NoneWithSignature,
    /// HS256, keyed with the first key's public PEM: verified by whoever takes the algorithm from the token.
    HmacWithPublicKey,
    /// HS256, keyed with the client's secret.
    HmacWithClientSecret,
    /// By the second key, which claims to be the first.
    Forged,
    /// A good signature, then one byte of the claims changed.
    Tampered,
    /// Good, under a `kid` that is never published.
    UnknownKid,
    /// Not a JWT at all.
    Garbage,
}

/// `claims` as an ID token.
pub fn id_token(claims: &Value, signing: Signing, client_secret: &str) -> String {
    match signing {
        Signing::First => FIRST.sign(FIRST.id, claims),
        Signing::Second => SECOND.sign(SECOND.id, claims),
        Signing::Elliptic => ELLIPTIC.sign(ELLIPTIC.id, claims),
        Signing::Es512 => es512(claims),
        Signing::None => unsigned(claims, ""),
        Signing::NoneWithSignature => {
            let good = FIRST.sign(FIRST.id, claims);
            let signature = good.rsplit('.').next().expect("three parts");
            unsigned(claims, signature)
        }
        Signing::HmacWithPublicKey => hmac(claims, FIRST.pair.public_key_pem().as_bytes()),
        Signing::HmacWithClientSecret => hmac(claims, client_secret.as_bytes()),
        Signing::Forged => SECOND.sign(FIRST.id, claims),
        Signing::Tampered => {
            let good = FIRST.sign(FIRST.id, claims);
            let [header, _, signature] = good.split('.').collect::<Vec<_>>()[..] else {
                unreachable!("three parts");
            };
            let mut changed = claims.clone();
            changed["sub"] = json!("mallory");
            let payload = URL_SAFE_NO_PAD.encode(changed.to_string());
            format!("{header}.{payload}.{signature}")
        }
        Signing::UnknownKid => FIRST.sign("never-published", claims),
        Signing::Garbage => "not.a.token".to_owned(),
    }
}

/// `claims` as an access token of this `typ`, signed with the first key.
pub fn access_token(kind: Option<&str>, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(FIRST.id.to_owned());
    header.typ = kind.map(str::to_owned);
    let pem = FIRST.pair.serialize_pem();
    let key = EncodingKey::from_rsa_pem(pem.as_bytes()).expect("our own key");
    jsonwebtoken::encode(&header, claims, &key).expect("a signature")
}

fn unsigned(claims: &Value, signature: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "none", "typ": "JWT"}).to_string());
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    format!("{header}.{payload}.{signature}")
}

fn hmac(claims: &Value, secret: &[u8]) -> String {
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(FIRST.id.to_owned());
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret)).expect("a signature")
}
