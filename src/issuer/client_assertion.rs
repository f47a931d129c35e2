//! How a client proves itself by a key of its own: a JWT that it signs for each request (RFC 7523 §§2.2 and 3). Pure.

use std::time::Duration;

use serde::Deserialize;

use super::client::sha256;
use crate::{
    clock::Timestamp,
    jose::{self, Algorithm, Audience, Expected, KeySet, LEEWAY},
};

/// `client_assertion_type` of all that are read.
pub const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An assertion that proves its client, if it was not used before.
#[derive(Debug, PartialEq, Eq)]
pub struct Assertion {
    /// Names it among all of all clients.
    pub name: [u8; 32],
    /// Until when it would be taken again.
    pub until: Timestamp,
}

/// The client that an assertion says it is of, which nothing has proven yet.
pub fn claimed_client(assertion: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        sub: String,
    }
    let claims: Claims = jose::claimed(assertion)?;
    (!claims.sub.is_empty()).then_some(claims.sub)
}

/// Whether an assertion proves the client `id`, who has these keys, to this server, which goes by the names `audiences`.
///
/// # Errors
/// Why it does not.
pub fn check(
    assertion: &str,
    id: &str,
    keys: &KeySet,
    audiences: &[String],
    now: Timestamp,
) -> Result<Assertion, &'static str> {
    let expected = Expected {
        issuer: id,
        issues: |issuer, iss| issuer == iss,
        algorithms: &Algorithm::ALL,
        types: &["JWT", "client-authentication+jwt"],
        audience: Audience::Resource(audiences),
        max_age: None,
        may_lack_exp: false,
        now,
    };
    let verified = jose::verify(assertion, keys, &expected)
        .map_err(|_| "client_assertion does not hold: its signature, iss, aud or times")?;
    let claims = &verified.claims;
    if jose::text(claims, "sub") != Some(id) {
        return Err("sub of client_assertion is another than iss");
    }
    // One that another server would take as well may have been sent to us by that server.
    let mut named = jose::audience(claims).into_iter();
    if !named.all(|name| name.is_some_and(|name| audiences.iter().any(|own| own == name))) {
        return Err("aud of client_assertion names somebody else, too");
    }
    let end = jose::time(claims, "exp").ok_or("client_assertion has no exp")?;
    if end > now.after(LONGEST) {
        return Err("client_assertion lasts for longer than an hour");
    }
    let jti = jose::text(claims, "jti").filter(|jti| !jti.is_empty());
    let jti = jti.ok_or("client_assertion has no jti")?;
    Ok(Assertion {
        name: sha256(&[id.as_bytes(), &[0], jti.as_bytes()].concat()),
        until: end.after(LEEWAY),
    })
}

/// How long an assertion may last: what is taken once is remembered for so long.
const LONGEST: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::jose::TestKey;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn claims() -> Value {
        json!({"iss": "app", "sub": "app", "aud": "https://gate.example", "exp": NOW.0 + 60, "iat": NOW.0, "jti": "1"})
    }

    fn judge(key: &TestKey, claims: &Value) -> Result<Assertion, &'static str> {
        let keys = KeySet::read(&json!({"keys": [key.jwk()]})).unwrap();
        let names = ["https://gate.example", "https://gate.example/oauth2/token"];
        check(
            &key.sign(claims),
            "app",
            &keys,
            &names.map(str::to_owned),
            NOW,
        )
    }

    #[test]
    fn a_good_one_proves_its_client_until_it_ends() {
        for key in [TestKey::ec("a"), TestKey::ed("b"), TestKey::rsa("c")] {
            let good = judge(&key, &claims()).unwrap();
            assert_eq!(good.until, Timestamp(NOW.0 + 60).after(LEEWAY));
            let mut other = claims();
            other["jti"] = "2".into();
            assert_ne!(judge(&key, &other).unwrap().name, good.name);
            other["aud"] = json!(["https://gate.example/oauth2/token"]);
            assert!(judge(&key, &other).is_ok());
        }
    }

    #[test]
    fn what_is_of_somebody_else_or_for_somebody_else_or_lasts_too_long_proves_nobody() {
        let key = TestKey::ec("a");
        for (name, value) in [
            ("iss", json!("other")),
            ("sub", json!("other")),
            ("sub", Value::Null),
            ("aud", json!("https://other.example")),
            (
                "aud",
                json!(["https://gate.example", "https://other.example"]),
            ),
            ("aud", json!(["https://gate.example", 7])),
            ("aud", Value::Null),
            ("aud", json!([])),
            ("exp", json!(NOW.0 - 120)),
            ("exp", json!(NOW.0 + 3_601)),
            ("exp", Value::Null),
            ("nbf", json!(NOW.0 + 120)),
            ("jti", json!("")),
            ("jti", Value::Null),
            ("jti", json!(7)),
        ] {
            let mut claims = claims();
            claims[name] = value;
            assert!(judge(&key, &claims).is_err(), "{claims}");
        }
        let other = TestKey::ec("a");
        let keys = KeySet::read(&json!({"keys": [other.jwk()]})).unwrap();
        let names = ["https://gate.example".to_owned()];
        assert!(check(&key.sign(&claims()), "app", &keys, &names, NOW).is_err());
    }

    #[test]
    fn whose_it_says_it_is_is_read_and_no_more() {
        let token = TestKey::ec("a").sign(&claims());
        assert_eq!(claimed_client(&token).as_deref(), Some("app"));
        for bad in [
            "",
            ".",
            "a.b.c",
            "..",
            "e30.e30.",
            "e30.eyJzdWIiOjd9.",
            "e30.eyJzdWIiOiIifQ.",
        ] {
            assert_eq!(claimed_client(bad), None, "{bad}");
        }
    }
}
