//! The checks of an access token whose claims are used, if the provider's table says so. Pure. Such a provider signs access tokens like ID
//! tokens (RFC 9068, and Keycloak before it). The checks of every signed token are in [`jose::verify`].
//!
//! To a client an access token is opaque (RFC 6749 §1.4). But this one came with the ID token, from the token endpoint itself. So it
//! remains to check that the provider made it, for this client, and for the same user.

use serde_json::{Map, Value};

use super::signer::Signer;
use crate::jose::{self, Audience, JwtError, KeySet};

/// The claims of `token`, all checks passed but whose it is.
pub(super) fn verify(
    token: &str,
    keys: &KeySet,
    signer: &Signer<'_>,
) -> Result<Map<String, Value>, JwtError> {
    let expected = signer.expects(&TYPES, Audience::Party(signer.client_id));
    let claims = jose::verify(token, keys, &expected)?.claims;
    // Keycloak writes the kind into the claims, and signs its ID, refresh and logout tokens with the same header.
    let is_other = claims.get("typ").is_some_and(|kind| {
        let is_access = |kind: &str| {
            ["Bearer", "DPoP"]
                .iter()
                .any(|one| one.eq_ignore_ascii_case(kind))
        };
        !kind.as_str().is_some_and(is_access)
    });
    // An ID token has at_hash beside an access token, a logout token has events.
    if is_other || claims.contains_key("at_hash") || claims.contains_key("events") {
        return Err(JwtError::Type);
    }
    Ok(claims)
}

/// RFC 9068 §2.1, and the general one.
const TYPES: [&str; 4] = ["at+jwt", "application/at+jwt", "JWT", "application/jwt"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        clock::Timestamp,
        jose::{Algorithm, TestKey},
    };

    const NOW: u64 = 1_800_000_000;

    fn signer() -> Signer<'static> {
        Signer {
            issuer: "https://id.example.com",
            issues: |issuer, iss| issuer == iss,
            client_id: "us",
            algorithms: &[Algorithm::ES256],
            now: Timestamp(NOW),
        }
    }

    /// As Keycloak writes it, with changes; null takes a claim away.
    fn judged(kind: Option<&str>, changes: &Value) -> Result<(), JwtError> {
        let mut claims = json!({
            "iss": "https://id.example.com", "aud": "account", "azp": "us", "typ": "Bearer", "sub": "1",
            "iat": NOW - 1, "exp": NOW + 299, "realm_access": { "roles": ["staff"] },
        });
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => _ = claims.as_object_mut().unwrap().remove(name),
                value => claims[name] = value.clone(),
            }
        }
        let key = TestKey::ec("k");
        let mut header = json!({ "alg": key.algorithm(), "kid": key.kid });
        if let Some(kind) = kind {
            header["typ"] = json!(kind);
        }
        let keys = KeySet::read(&json!({ "keys": [key.jwk()] })).unwrap();
        verify(&key.sign_with(&header, &claims), &keys, &signer()).map(|_| ())
    }

    #[test]
    fn it_is_for_this_client_by_any_of_three_names() {
        for changes in [
            json!({}),
            json!({ "aud": null }),
            json!({ "azp": null, "client_id": "us" }),
            json!({ "azp": null, "aud": ["account", "us"] }),
            json!({ "azp": "them", "aud": "us" }),
            json!({ "typ": null }),
            json!({ "typ": "bearer" }),
        ] {
            for kind in [None, Some("JWT"), Some("at+jwt")] {
                assert_eq!(judged(kind, &changes), Ok(()), "{changes}");
            }
        }
        for changes in [
            json!({ "azp": "them" }),
            json!({ "azp": null }),
            json!({ "azp": null, "aud": ["account", "us2"] }),
            json!({ "azp": ["us"] }),
        ] {
            assert_eq!(judged(None, &changes), Err(JwtError::Audience), "{changes}");
        }
    }

    #[test]
    fn another_token_is_none() {
        for changes in [
            json!({ "typ": "ID" }),
            json!({ "typ": "Refresh" }),
            json!({ "typ": "Logout" }),
            json!({ "typ": 1 }),
            json!({ "at_hash": "x" }),
            json!({ "events": {} }),
        ] {
            assert_eq!(
                judged(Some("JWT"), &changes),
                Err(JwtError::Type),
                "{changes}"
            );
        }
        for kind in ["logout+jwt", "id+jwt", ""] {
            assert_eq!(
                judged(Some(kind), &json!({})),
                Err(JwtError::Type),
                "{kind}"
            );
        }
    }

    #[test]
    fn it_must_pass_what_every_token_must() {
        for (changes, error) in [
            (json!({ "iss": "https://evil.example" }), JwtError::Issuer),
            (json!({ "exp": NOW - 60 }), JwtError::Expired),
            (json!({ "exp": null }), JwtError::Expired),
            (json!({ "iat": NOW + 61 }), JwtError::IssuedAt),
        ] {
            assert_eq!(judged(None, &changes), Err(error), "{changes}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_refused(token in r"[ -~é.]{0,200}") {
            let keys = KeySet::read(&json!({ "keys": [] })).unwrap();
            prop_assert!(verify(&token, &keys, &signer()).is_err());
        }
    }
}
