//! A JSON Web Key Set (RFC 7517), and which of its keys fits a token. Pure.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;

use super::algorithm::{Algorithm, PublicKey};

/// The keys of an issuer that can verify a signature. All others are skipped, as RFC 7517 §5 asks.
#[derive(Debug)]
pub struct KeySet(Vec<Key>);

/// One of them.
#[derive(Debug)]
pub(super) struct Key {
    id: Option<String>,
    /// The one algorithm that the key is for, where its publisher says so.
    algorithm: Option<Algorithm>,
    /// Whom the key signs for, where several issuers share a set.
    pub(super) issuer: Option<String>,
    pub(super) public: PublicKey,
}

/// Why no key is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// None fits.
    Unknown,
    /// More than one fits; trying all would let any of them speak for the other.
    Ambiguous,
}

impl KeySet {
    /// Reads a key set document.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(document: &Value) -> Result<Self, &'static str> {
        let keys = document
            .get("keys")
            .and_then(Value::as_array)
            .ok_or("not a key set")?;
        if keys.len() > MAX_KEYS {
            return Err(TOO_MANY_KEYS);
        }
        Ok(Self(keys.iter().filter_map(Key::read).collect()))
    }

    /// How many keys verify by it.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing verifies by it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one key for a token signed with `algorithm` by the key `id`.
    pub(super) fn choose(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&Key, NoKey> {
        let mut fitting = self
            .0
            .iter()
            .filter(|key| key.fits(algorithm) && id.is_none_or(|id| key.id.as_deref() == Some(id)));
        let key = fitting.next().ok_or(NoKey::Unknown)?;
        match fitting.next() {
            None => Ok(key),
            Some(_) => Err(NoKey::Ambiguous),
        }
    }
}

#[cfg(test)]
impl KeySet {
    /// Whether there is one key of that id for `algorithm`.
    pub(crate) fn has(&self, id: &str, algorithm: Algorithm) -> bool {
        self.choose(Some(id), algorithm).is_ok()
    }
}

impl Key {
    fn read(document: &Value) -> Option<Self> {
        let jwk = Jwk::deserialize(document).ok()?;
        let may_verify = jwk
            .key_ops
            .is_none_or(|uses| uses.iter().any(|one| one == "verify"));
        if jwk.key_use.is_some_and(|key_use| key_use != "sig") || !may_verify {
            return None;
        }
        let number = |text: Option<String>| URL_SAFE_NO_PAD.decode(text?).ok();
        let public = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => PublicKey::rsa(&number(jwk.n)?, &number(jwk.e)?)?,
            ("EC", Some(curve)) => PublicKey::elliptic(curve, &number(jwk.x)?, &number(jwk.y)?)?,
            ("OKP", Some("Ed25519")) => PublicKey::Ed25519(number(jwk.x)?),
            _ => return None,
        };
        let algorithm = match jwk.alg {
            // A key for an algorithm that we do not know is not for one that we do.
            Some(name) => Some(Algorithm::named(&name)?),
            None => None,
        };
        Some(Self {
            id: jwk.kid,
            algorithm,
            issuer: jwk.issuer,
            public,
        })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.public.fits(algorithm) && self.algorithm.is_none_or(|only| only == algorithm)
    }
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    #[serde(rename = "use")]
    key_use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    issuer: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The largest providers publish about ten; who shares one set among many tenants or services, a few hundred.
const MAX_KEYS: usize = 1000;
/// What is wrong with a set that has more.
pub const TOO_MANY_KEYS: &str = "more than 1,000 keys";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::test_key::TestKey, *};

    fn set(keys: &[Value]) -> KeySet {
        KeySet::read(&json!({ "keys": keys })).unwrap()
    }

    fn changed(key: &TestKey, name: &str, value: Value) -> Value {
        let mut jwk = key.jwk();
        jwk[name] = value;
        jwk
    }

    #[test]
    fn chooses_by_id_algorithm_and_use() {
        let (rsa, ec, ed) = (TestKey::rsa("a"), TestKey::ec("b"), TestKey::ed("c"));
        let keys = set(&[rsa.jwk(), ec.jwk(), ed.jwk()]);
        assert!(keys.choose(Some("a"), Algorithm::RS256).is_ok());
        assert!(keys.choose(Some("a"), Algorithm::PS512).is_ok());
        assert!(keys.choose(Some("b"), Algorithm::ES256).is_ok());
        assert!(keys.choose(Some("c"), Algorithm::EdDSA).is_ok());
        let unknown = |id, algorithm| keys.choose(id, algorithm).err() == Some(NoKey::Unknown);
        assert!(unknown(Some("a"), Algorithm::ES256));
        assert!(unknown(Some("b"), Algorithm::ES384));
        assert!(unknown(Some("d"), Algorithm::RS256));
        assert!(unknown(Some("c"), Algorithm::ES512));
        assert!(unknown(None, Algorithm::ES384));
    }

    #[test]
    fn without_an_id_one_fitting_key_will_do_and_two_will_not() {
        let (rsa, other, ec) = (TestKey::rsa("a"), TestKey::rsa("b"), TestKey::ec("c"));
        let keys = set(&[rsa.jwk(), ec.jwk()]);
        assert!(keys.choose(None, Algorithm::RS256).is_ok());
        let keys = set(&[rsa.jwk(), other.jwk()]);
        assert_eq!(
            keys.choose(None, Algorithm::RS256).err(),
            Some(NoKey::Ambiguous)
        );
        let only = set(&[
            changed(&rsa, "alg", json!("RS256")),
            changed(&other, "alg", json!("RS512")),
        ]);
        assert!(only.choose(None, Algorithm::RS256).is_ok());
        assert!(only.choose(None, Algorithm::PS256).is_err());
    }

    #[test]
    fn keys_for_something_else_are_skipped() {
        let rsa = TestKey::rsa("a");
        for other in [
            changed(&rsa, "use", json!("enc")),
            changed(&rsa, "key_ops", json!(["encrypt"])),
            changed(&rsa, "alg", json!("RSA-OAEP")),
            changed(&rsa, "kty", json!("quantum")),
            changed(&rsa, "n", json!("not base64!")),
            changed(&rsa, "e", Value::Null),
            json!({ "kty": "oct", "k": "AAAA", "kid": "a" }),
            json!({ "kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA" }),
            json!(7),
        ] {
            let keys = set(std::slice::from_ref(&other));
            assert_eq!(
                keys.choose(None, Algorithm::RS256).err(),
                Some(NoKey::Unknown),
                "{other}"
            );
        }
        let verifying = set(&[changed(&rsa, "key_ops", json!(["verify"]))]);
        assert!(verifying.choose(None, Algorithm::RS256).is_ok());
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        for bad in [json!([]), json!({}), json!({ "keys": {} }), json!(null)] {
            assert!(KeySet::read(&bad).is_err());
        }
        let many = vec![json!({}); MAX_KEYS + 1];
        assert!(KeySet::read(&json!({ "keys": many })).is_err());
    }
}
