//! The checks of a logout token (OpenID Connect Back-Channel Logout 1.0 §2.6). Pure. The checks of every signed token are in
//! [`jose::verify`].

use serde_json::{Map, Value};

use super::{super::LogoutClaim, signer::Signer};
use crate::{
    clock::Timestamp,
    jose::{self, Audience, Expected, JwtError, KeySet, text, time},
    provider::token_error::LogoutTokenError,
    text::Text,
};

/// What a logout token says, all checks passed but whether it came before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogoutToken {
    pub(super) claim: LogoutClaim,
    pub(super) id: String,
    pub(super) issued_at: Timestamp,
}

/// Verifies `token`. `is_subject` says whether sessions have its `sub` as their subject, or beside another claim: of a
/// user's claims a logout token has no other (§2.4).
pub(super) fn verify(
    token: &str,
    keys: &KeySet,
    signer: &Signer<'_>,
    is_subject: bool,
) -> Result<LogoutToken, LogoutTokenError> {
    check_length(token)?;
    let claims = jose::verify(token, keys, &expected(signer))?.claims;
    read(&claims, is_subject)
}

/// What is wrong with `token` already by what it says, whoever signed it. Nothing wrong is no reason to believe it.
pub(super) fn look(
    token: &str,
    signer: &Signer<'_>,
    is_subject: bool,
) -> Result<(), LogoutTokenError> {
    check_length(token)?;
    let claims = jose::unverified(token, &expected(signer))?.claims;
    read(&claims, is_subject).map(|_| ())
}

/// It comes from anywhere.
fn check_length(token: &str) -> Result<(), LogoutTokenError> {
    if token.len() > LONGEST {
        return Err(JwtError::TooLarge.into());
    }
    Ok(())
}

fn read(claims: &Map<String, Value>, is_subject: bool) -> Result<LogoutToken, LogoutTokenError> {
    let event = claims.get("events").and_then(|events| events.get(EVENT));
    if !event.is_some_and(Value::is_object) {
        return Err(LogoutTokenError::Events);
    }
    if claims.contains_key("nonce") {
        return Err(LogoutTokenError::Nonce);
    }
    let named = |name| text(claims, name).filter(|value| !value.is_empty());
    let id = named("jti").ok_or(LogoutTokenError::Id)?.to_owned();
    // §2.4: a session, or all of a user's.
    let claim = match (named("sid"), named("sub")) {
        (Some(session), sub) => LogoutClaim::Session {
            sid: session.into(),
            sub: sub.map(Text::from),
        },
        (None, Some(sub)) => LogoutClaim::User {
            sub: sub.into(),
            is_subject,
        },
        (None, None) => return Err(LogoutTokenError::Nobody),
    };
    // That it is there is checked with those of every token.
    let issued_at = time(claims, "iat").ok_or(JwtError::IssuedAt)?;
    Ok(LogoutToken {
        claim,
        id,
        issued_at,
    })
}

fn expected<'a>(signer: &Signer<'a>) -> Expected<'a> {
    signer.expects(&TYPES, Audience::Client(signer.client_id))
}

/// Bytes of a logout token. It lists no groups.
const LONGEST: usize = 16 * 1024;

/// Its own type is recommended only (§2.4), and some providers write the general one. What tells it from an ID token
/// is checked besides.
const TYPES: [&str; 3] = ["logout+jwt", "application/logout+jwt", "JWT"];

/// The member of `events` (§2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::jose::{Algorithm, TestKey};

    const NOW: u64 = 1_800_000_000;

    fn signer() -> Signer<'static> {
        Signer {
            issuer: "https://id.example.com",
            issues: |issuer, iss| issuer == iss,
            client_id: "us",
            algorithms: &[Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA],
            now: Timestamp(NOW),
        }
    }

    fn claims() -> Value {
        json!({
            "iss": "https://id.example.com", "aud": "us", "iat": NOW - 1, "exp": NOW + 119, "jti": "j-1",
            "sub": "1", "sid": "s-1", "events": { EVENT: {} },
        })
    }

    fn changed(changes: &[(&str, Value)]) -> Value {
        let mut claims = claims();
        let members = claims.as_object_mut().unwrap();
        for (name, value) in changes {
            match value {
                Value::Null => _ = members.remove(*name),
                value => _ = members.insert((*name).to_owned(), value.clone()),
            }
        }
        claims
    }

    fn set(key: &TestKey) -> KeySet {
        KeySet::read(&json!({ "keys": [key.jwk()] })).unwrap()
    }

    fn typed(key: &TestKey, kind: Option<&str>, claims: &Value) -> String {
        let mut header = json!({ "alg": key.algorithm(), "kid": key.kid });
        if let Some(kind) = kind {
            header["typ"] = json!(kind);
        }
        key.sign_with(&header, claims)
    }

    fn judged(claims: &Value) -> Result<LogoutClaim, LogoutTokenError> {
        let key = TestKey::ec("k");
        let token = typed(&key, Some("logout+jwt"), claims);
        verify(&token, &set(&key), &signer(), true).map(|token| token.claim)
    }

    #[test]
    fn a_session_is_named_or_all_of_a_users() {
        let session = |subject: Option<&str>| LogoutClaim::Session {
            sid: "s-1".into(),
            sub: subject.map(Text::from),
        };
        let user = LogoutClaim::User {
            sub: "1".into(),
            is_subject: true,
        };
        assert_eq!(judged(&claims()), Ok(session(Some("1"))));
        assert_eq!(judged(&changed(&[("sub", Value::Null)])), Ok(session(None)));
        assert_eq!(judged(&changed(&[("sid", Value::Null)])), Ok(user));
        let nobody = changed(&[("sid", Value::Null), ("sub", json!(""))]);
        assert_eq!(judged(&nobody), Err(LogoutTokenError::Nobody));
    }

    #[test]
    fn what_makes_it_a_logout_token_must_be_there() {
        for events in [
            Value::Null,
            json!({}),
            json!([EVENT]),
            json!(EVENT),
            json!({ EVENT: null }),
            json!({ EVENT: "" }),
            json!({ "http://schemas.openid.net/event/other": {} }),
        ] {
            let outcome = judged(&changed(&[("events", events.clone())]));
            assert_eq!(outcome, Err(LogoutTokenError::Events), "{events}");
        }
        for nonce in [json!("n"), json!(""), json!(1)] {
            let outcome = judged(&changed(&[("nonce", nonce)]));
            assert_eq!(outcome, Err(LogoutTokenError::Nonce));
        }
        let mut claims = claims();
        claims["nonce"] = Value::Null;
        assert_eq!(judged(&claims), Err(LogoutTokenError::Nonce));
        for id in [Value::Null, json!(""), json!(7)] {
            let outcome = judged(&changed(&[("jti", id)]));
            assert_eq!(outcome, Err(LogoutTokenError::Id));
        }
    }

    #[test]
    fn it_must_pass_what_every_token_must() {
        for (name, value, error) in [
            ("iss", json!("https://evil.example"), JwtError::Issuer),
            ("iss", Value::Null, JwtError::Issuer),
            ("aud", json!("them"), JwtError::Audience),
            ("aud", Value::Null, JwtError::Audience),
            ("iat", Value::Null, JwtError::IssuedAt),
            ("iat", json!(NOW + 61), JwtError::IssuedAt),
            ("exp", Value::Null, JwtError::Expired),
            ("exp", json!(NOW - 60), JwtError::Expired),
        ] {
            let outcome = judged(&changed(&[(name, value)]));
            assert_eq!(outcome, Err(error.into()), "{name}");
        }
        let (key, other) = (TestKey::ec("k"), TestKey::ec("k"));
        let token = typed(&key, None, &claims());
        let outcome = verify(&token, &set(&other), &signer(), true);
        assert_eq!(outcome, Err(JwtError::Signature.into()));
        let (message, _) = token.rsplit_once('.').unwrap();
        let payload = message.split_once('.').unwrap().1;
        // {"alg":"none"}
        let unsigned = format!("eyJhbGciOiJub25lIn0.{payload}.");
        let outcome = verify(&unsigned, &set(&key), &signer(), true);
        assert_eq!(outcome, Err(JwtError::Algorithm.into()));
    }

    #[test]
    fn the_type_is_its_own_or_the_general_one() {
        let key = TestKey::ed("k");
        let judged = |kind| {
            let token = typed(&key, kind, &claims());
            verify(&token, &set(&key), &signer(), true).map(|_| ())
        };
        for kind in [
            None,
            Some("logout+jwt"),
            Some("Logout+JWT"),
            Some("application/logout+jwt"),
            Some("JWT"),
        ] {
            assert_eq!(judged(kind), Ok(()), "{kind:?}");
        }
        for kind in ["at+jwt", "dpop+jwt", "", "logout"] {
            assert_eq!(judged(Some(kind)), Err(JwtError::Type.into()), "{kind}");
        }
    }

    #[test]
    fn an_id_token_is_none() {
        let key = TestKey::ec("k");
        let mut claims = changed(&[("events", Value::Null), ("nonce", json!("n"))]);
        let outcome = verify(
            &typed(&key, Some("JWT"), &claims),
            &set(&key),
            &signer(),
            true,
        );
        assert_eq!(outcome, Err(LogoutTokenError::Events));
        claims["events"] = json!({ EVENT: {} });
        let outcome = verify(
            &typed(&key, Some("JWT"), &claims),
            &set(&key),
            &signer(),
            true,
        );
        assert_eq!(outcome, Err(LogoutTokenError::Nonce));
    }

    #[test]
    fn another_claim_may_be_the_subject() {
        let key = TestKey::ec("k");
        let claims = changed(&[("sid", Value::Null)]);
        let token = typed(&key, None, &claims);
        let found = verify(&token, &set(&key), &signer(), false).unwrap();
        let user = LogoutClaim::User {
            sub: "1".into(),
            is_subject: false,
        };
        assert_eq!(found.claim, user);
    }

    #[test]
    fn one_that_is_too_long_is_not_looked_at() {
        let key = TestKey::ec("k");
        let token = typed(
            &key,
            None,
            &changed(&[("padding", json!("x".repeat(LONGEST)))]),
        );
        let outcome = verify(&token, &set(&key), &signer(), true);
        assert_eq!(outcome, Err(JwtError::TooLarge.into()));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_refused(token in r"[ -~é.]{0,200}") {
            let keys = KeySet::read(&json!({ "keys": [] })).unwrap();
            prop_assert!(verify(&token, &keys, &signer(), true).is_err());
        }

        #[test]
        fn no_changed_byte_passes(at in 0usize..10_000, flip in 1u8..128) {
            let key = TestKey::ed("k");
            let mut bytes = typed(&key, Some("logout+jwt"), &claims()).into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            if let Ok(changed) = String::from_utf8(bytes) {
                prop_assert!(verify(&changed, &set(&key), &signer(), true).is_err());
            }
        }

        #[test]
        fn no_claims_but_good_ones_pass(name in "(iss|aud|iat|exp|jti|events|nonce)", value in "[a-z]{0,6}") {
            let key = TestKey::ed("k");
            let token = typed(&key, None, &changed(&[(&name, json!(value))]));
            let outcome = verify(&token, &set(&key), &signer(), true);
            prop_assert!(outcome.is_err() || (name == "jti" && !value.is_empty()) || value == "us");
        }
    }
}
