//! One mutated token for each check, and the shapes that honest providers use.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{clock::Timestamp, jose::TestKey};

const NOW: u64 = 1_800_000_000;

/// The example of Core appendix A.3, whose ID token is signed with RS256.
const ACCESS_TOKEN: &str = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
const AT_HASH: &str = "77QmUPtjPfzWtF2AnpK9RQ";

fn expected() -> Expected<'static> {
    Expected {
        signer: Signer {
            issuer: "https://id.example.com",
            issues: |issuer, iss| issuer == iss,
            client_id: "us",
            algorithms: &[Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA],
            now: Timestamp(NOW),
        },
        audience: Audience::Client("us"),
        nonce: Some("n-1"),
        access_token: Some(ACCESS_TOKEN),
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example.com", "sub": "1", "aud": "us", "nonce": "n-1",
        "exp": NOW + 300, "iat": NOW - 5,
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn set(keys: &[&TestKey]) -> KeySet {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    KeySet::read(&json!({ "keys": keys })).unwrap()
}

fn judge(key: &TestKey, token: &str) -> Result<(), JwtError> {
    verify(token, &set(&[key]), &expected()).map(|_| ())
}

/// What happens to a truthfully signed token with these claims.
fn judged(claims: &Value) -> Result<(), JwtError> {
    let key = TestKey::ec("k");
    judge(&key, &key.sign(claims))
}

#[test]
fn a_good_token_passes_whatever_it_is_signed_with() {
    for key in [TestKey::rsa("k"), TestKey::ec("k"), TestKey::ed("k")] {
        let token = key.sign(&claims());
        let claims = verify(&token, &set(&[&key]), &expected()).unwrap();
        assert_eq!(claims["sub"], "1");
    }
}

#[test]
fn the_issuer_must_be_the_provider() {
    for other in [
        json!("https://id.example.com/"),
        json!("https://evil.example"),
        json!(1),
        json!(null),
    ] {
        assert_eq!(judged(&with("iss", other)), Err(JwtError::Issuer));
    }
    assert_eq!(judged(&without("iss")), Err(JwtError::Issuer));
}

#[test]
fn the_audience_must_name_us() {
    for other in [
        json!("them"),
        json!(["them"]),
        json!([]),
        json!("us "),
        json!(null),
        json!({ "us": 1 }),
    ] {
        assert_eq!(judged(&with("aud", other)), Err(JwtError::Audience));
    }
    assert_eq!(judged(&without("aud")), Err(JwtError::Audience));
    assert_eq!(judged(&with("aud", json!(["us"]))), Ok(()));
}

#[test]
fn audiences_beside_us_need_azp() {
    let mut claims = with("aud", json!(["us", "them"]));
    assert_eq!(judged(&claims), Err(JwtError::AuthorizedParty));
    claims["azp"] = json!("them");
    assert_eq!(judged(&claims), Err(JwtError::AuthorizedParty));
    claims["azp"] = json!("us");
    assert_eq!(judged(&claims), Ok(()));
}

#[test]
fn azp_must_be_us() {
    assert_eq!(
        judged(&with("azp", json!("them"))),
        Err(JwtError::AuthorizedParty)
    );
    assert_eq!(
        judged(&with("azp", json!(null))),
        Err(JwtError::AuthorizedParty)
    );
    assert_eq!(judged(&with("azp", json!("us"))), Ok(()));
}

#[test]
fn the_signature_must_verify() {
    let (key, other) = (TestKey::ec("k"), TestKey::ec("k"));
    let token = key.sign(&claims());
    assert_eq!(judge(&other, &token), Err(JwtError::Signature));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let stripped = format!("{message}.");
    assert_eq!(judge(&key, &stripped), Err(JwtError::Signature));
    let header = message.split_once('.').unwrap().0;
    let payload = URL_SAFE_NO_PAD.encode(with("sub", json!("2")).to_string());
    let swapped = format!("{header}.{payload}.{signature}");
    assert_eq!(judge(&key, &swapped), Err(JwtError::Signature));
}

#[test]
fn the_algorithm_is_not_the_tokens_to_choose() {
    let key = TestKey::rsa("k");
    for alg in [
        "none", "None", "NONE", "HS256", "HS512", "RS384", "PS256", "ES384", "XS1", "",
    ] {
        let token = key.sign_with(&json!({ "alg": alg, "kid": "k" }), &claims());
        assert_eq!(judge(&key, &token), Err(JwtError::Algorithm), "{alg}");
        let (message, _) = token.rsplit_once('.').unwrap();
        assert_eq!(
            judge(&key, &format!("{message}.")),
            Err(JwtError::Algorithm),
            "{alg}"
        );
    }
    // Allowed, but not this key's.
    let token = key.sign_with(&json!({ "alg": "ES256", "kid": "k" }), &claims());
    assert_eq!(judge(&key, &token), Err(JwtError::UnknownKey));
    let token = key.sign_with(&json!({ "kid": "k" }), &claims());
    assert_eq!(judge(&key, &token), Err(JwtError::Malformed));
}

#[test]
fn a_shared_secret_made_of_the_public_key_is_no_key() {
    let key = TestKey::rsa("k");
    let modulus = key.jwk()["n"].as_str().unwrap().to_owned();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!(
        "{}.{}",
        part(&json!({ "alg": "HS256", "kid": "k" })),
        part(&claims())
    );
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, modulus.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&secret, message.as_bytes());
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag));
    assert_eq!(judge(&key, &token), Err(JwtError::Algorithm));
}

#[test]
fn it_must_not_be_over() {
    assert_eq!(judged(&with("exp", json!(NOW - 59))), Ok(()));
    for over in [
        json!(NOW - 60),
        json!(0),
        json!(-1),
        json!("9999999999"),
        json!(null),
    ] {
        assert_eq!(
            judged(&with("exp", over.clone())),
            Err(JwtError::Expired),
            "{over}"
        );
    }
    assert_eq!(judged(&without("exp")), Err(JwtError::Expired));
}

#[test]
fn it_must_have_been_issued_lately() {
    assert_eq!(judged(&with("iat", json!(NOW + 60))), Ok(()));
    assert_eq!(judged(&with("iat", json!(NOW - 3600))), Ok(()));
    for strange in [
        json!(NOW + 61),
        json!(NOW - 3601),
        json!("now"),
        json!(null),
    ] {
        assert_eq!(judged(&with("iat", strange)), Err(JwtError::IssuedAt));
    }
    assert_eq!(judged(&without("iat")), Err(JwtError::IssuedAt));
}

#[test]
fn it_must_have_begun() {
    assert_eq!(judged(&with("nbf", json!(NOW + 60))), Ok(()));
    for strange in [json!(NOW + 61), json!("now"), json!(null)] {
        assert_eq!(judged(&with("nbf", strange)), Err(JwtError::NotBefore));
    }
}

#[test]
fn the_nonce_must_be_this_logins() {
    for other in [json!("n-2"), json!(""), json!(null), json!(["n-1"])] {
        assert_eq!(judged(&with("nonce", other)), Err(JwtError::Nonce));
    }
    assert_eq!(judged(&without("nonce")), Err(JwtError::Nonce));
}

#[test]
fn a_subject_is_needed() {
    for none in [json!(""), json!(1), json!(null)] {
        assert_eq!(judged(&with("sub", none)), Err(JwtError::Subject));
    }
    assert_eq!(judged(&without("sub")), Err(JwtError::Subject));
}

#[test]
fn at_hash_must_fit_where_it_is() {
    assert_eq!(judged(&with("at_hash", json!(AT_HASH))), Ok(()));
    for other in [
        json!("77QmUPtjPfzWtF2AnpK9Rw"),
        json!(""),
        json!(null),
        json!(1),
    ] {
        assert_eq!(
            judged(&with("at_hash", other)),
            Err(JwtError::AccessTokenHash)
        );
    }
    let key = TestKey::ed("k");
    let digest = digest::digest(&digest::SHA512, ACCESS_TOKEN.as_bytes());
    let long = with(
        "at_hash",
        json!(URL_SAFE_NO_PAD.encode(&digest.as_ref()[..32])),
    );
    assert_eq!(judge(&key, &key.sign(&long)), Ok(()));
}

#[test]
fn headers_that_ask_for_more_are_refused() {
    let key = TestKey::ec("k");
    let header = |name: &str, value: Value| {
        let mut header = json!({ "alg": "ES256", "kid": "k" });
        header[name] = value;
        judge(&key, &key.sign_with(&header, &claims()))
    };
    assert_eq!(header("crit", json!(["exp"])), Err(JwtError::Critical));
    assert_eq!(header("typ", json!("logout+jwt")), Err(JwtError::Type));
    assert_eq!(header("typ", json!("at+jwt")), Err(JwtError::Type));
    assert_eq!(header("typ", json!("jwt")), Ok(()));
    // Keys in the token are not looked at, fitting or not.
    assert_eq!(header("jwk", TestKey::ec("k").jwk()), Ok(()));
    let stranger = TestKey::ec("k");
    let header =
        json!({ "alg": "ES256", "kid": "k", "jwk": stranger.jwk(), "jku": "https://evil.example" });
    let token = stranger.sign_with(&header, &claims());
    assert_eq!(judge(&key, &token), Err(JwtError::Signature));
}

#[test]
fn a_missing_kid_is_fine_while_one_key_fits() {
    let (key, other) = (TestKey::ec("k"), TestKey::ec("l"));
    let token = key.sign_with(&json!({ "alg": "ES256" }), &claims());
    assert_eq!(judge(&key, &token), Ok(()));
    let result = verify(&token, &set(&[&key, &other]), &expected());
    assert_eq!(result, Err(JwtError::AmbiguousKey));
    let renamed = key.sign_with(&json!({ "alg": "ES256", "kid": "new" }), &claims());
    assert_eq!(judge(&key, &renamed), Err(JwtError::UnknownKey));
}

#[test]
fn times_may_have_fractions() {
    let mut claims = with("exp", json!(1_800_000_300.77));
    claims["iat"] = json!(1_799_999_994.5);
    claims["nbf"] = json!(1_799_999_994.5);
    assert_eq!(judged(&claims), Ok(()));
}

#[test]
fn what_is_no_token_is_refused() {
    let key = TestKey::ec("k");
    for bad in [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c",
        "e30.e30.e30",
        "e30.e30.e30.e30.e30",
        "é.é.é",
    ] {
        assert_eq!(judge(&key, bad), Err(JwtError::Malformed), "{bad}");
    }
    // How much there may be of it, the answer's own cap says.
    assert!(judged(&with("padding", json!("x".repeat(100_000)))).is_ok());
}

proptest! {
    #[test]
    fn whatever_comes_is_refused(token in r"[ -~é.]{0,200}") {
        let keys = KeySet::read(&json!({ "keys": [] })).unwrap();
        prop_assert!(verify(&token, &keys, &expected()).is_err());
    }

    #[test]
    fn no_changed_byte_passes(at in 0usize..10_000, flip in 1u8..128) {
        let key = TestKey::ed("k");
        let token = key.sign(&claims());
        let mut bytes = token.into_bytes();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert!(judge(&key, &changed).is_err());
        }
    }
}
