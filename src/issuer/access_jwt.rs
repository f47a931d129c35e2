//! Access tokens as JWTs (RFC 9068), for apps that look into them by themselves (`token_format = "jwt"`). Pure.
//!
//! What the RFC names anybody may read. What the gate itself goes by is in there once more as the opaque token has it, sealed: so
//! a JWT ends by what an opaque one ends by, and costs no look-up either.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    signing::IssuerKeys,
    token::{AccessToken, Form},
};
use crate::{
    clock::Timestamp,
    jose::{self, Algorithm, Audience, Expected},
    session::seal::KeyRing,
};

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: String,
    aud: &'a str,
    client_id: &'a str,
    scope: String,
    exp: u64,
    iat: u64,
    jti: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    /// The same as the gate reads it.
    sealed: &'a str,
}

/// The token's text. `id` is 16 random bytes, `nonce` is of the seal.
pub fn write(
    token: &AccessToken,
    issuer: &str,
    keys: &IssuerKeys,
    seals: &KeyRing,
    (id, nonce): ([u8; 16], [u8; 12]),
) -> String {
    let identity = &token.session.identity;
    let sealed = token.seal_into(Form::Jwt, seals, nonce);
    let claims = Claims {
        iss: issuer,
        sub: format!("{}:{}", identity.provider, identity.subject),
        aud: &token.resource,
        client_id: &token.client,
        scope: token.scopes.join(" "),
        exp: token.expires_at.0,
        iat: token.issued_at.0,
        jti: URL_SAFE_NO_PAD.encode(id),
        auth_time: identity.authentication.at.map(|at| at.0),
        acr: identity.authentication.acr.as_deref(),
        sealed: &sealed,
    };
    keys.sign(TYPE, &claims)
}

/// Whether a text says that it is such a token of this issuer. Nothing proves that yet.
pub fn claims_to_be(text: &str, issuer: &str) -> bool {
    #[derive(Deserialize)]
    struct Header {
        typ: String,
    }
    #[derive(Deserialize)]
    struct Payload {
        iss: String,
    }
    let mut parts = text.split('.');
    let (Some(header), Some(payload)) = (parts.next(), parts.next()) else {
        return false;
    };
    // A JSON object, encoded: what is no JWT costs no more than this.
    header.starts_with("ey")
        && part::<Header>(header).is_some_and(|header| header.typ.eq_ignore_ascii_case(TYPE))
        && part::<Payload>(payload).is_some_and(|payload| payload.iss == issuer)
}

/// What is sealed in a token, whoever has signed the rest: enough to end it. A replica may still take one whose key is gone.
pub fn open_sealed(text: &str, seals: &KeyRing) -> Option<AccessToken> {
    #[derive(Deserialize)]
    struct Sealed {
        sealed: String,
    }
    let sealed: Sealed = part(text.split('.').nth(1)?)?;
    AccessToken::open_from(Form::Jwt, &sealed.sealed, seals)
}

/// What a token says that [`write()`] has written and that has not expired, whatever became of it since.
pub fn open(
    text: &str,
    issuer: &str,
    keys: &IssuerKeys,
    seals: &KeyRing,
    now: Timestamp,
) -> Option<AccessToken> {
    let token = open_sealed(text, seals)?;
    let expected = Expected {
        issuer,
        issues: |issuer, iss| issuer == iss,
        algorithms: &[Algorithm::ES256],
        types: &[TYPE],
        audience: Audience::Resource(std::slice::from_ref(&token.resource)),
        max_age: None,
        may_lack_exp: false,
        now,
    };
    let verified = jose::verify(text, &keys.verifier, &expected).ok()?;
    // One without a type may be another kind of token.
    verified.kind.map(|_| token)
}

fn part<T: DeserializeOwned>(encoded: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

/// RFC 9068 §2.1.
const TYPE: &str = "at+jwt";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::{
            record::tests::session,
            signing::{DEFAULT_AGE, KeptKeys, Signing},
        },
        *,
    };
    use crate::{jose::sign::SigningKey, secret::Secret};

    const ISSUER: &str = "https://app.example";
    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn keys(number: u8) -> std::sync::Arc<IssuerKeys> {
        let store = std::sync::Arc::new(crate::kv::Memory::default());
        let seals = std::sync::Arc::new(arc_swap::ArcSwap::from_pointee(ring()));
        let kept = std::sync::Arc::new(KeptKeys::new(store, seals));
        let key = SigningKey::of(&[number; 32]).unwrap();
        Signing::new(vec![key], &kept, DEFAULT_AGE)
            .at_hand()
            .unwrap()
    }

    fn ring() -> KeyRing {
        KeyRing::new(&[Secret::new("one".to_owned())], "app.example gate")
    }

    fn token() -> AccessToken {
        AccessToken {
            session: session(),
            client: "app".to_owned(),
            resource: "https://app.example/api".to_owned(),
            scopes: vec!["api".to_owned(), "openid".to_owned()],
            issued_at: NOW,
            expires_at: Timestamp(NOW.0 + 600),
            is_clients_own: false,
            is_of_configured_client: false,
        }
    }

    fn text() -> String {
        write(&token(), ISSUER, &keys(1), &ring(), ([1; 16], [2; 12]))
    }

    #[test]
    fn what_was_written_is_read_again_and_says_what_the_rfc_asks_for() {
        let text = text();
        assert!(claims_to_be(&text, ISSUER) && !claims_to_be(&text, "https://other.example"));
        let opened = open(&text, ISSUER, &keys(1), &ring(), NOW).unwrap();
        assert_eq!(
            (opened.scopes, opened.client),
            (token().scopes, token().client)
        );
        let claims: Value = part(text.split('.').nth(1).unwrap()).unwrap();
        assert_eq!(claims["aud"], "https://app.example/api");
        assert_eq!(claims["scope"], "api openid");
        assert_eq!(
            (&claims["client_id"], &claims["exp"]),
            (&json!("app"), &json!(NOW.0 + 600))
        );
        // What is sealed in there is no token by itself: it would outlive the check of the signature.
        let sealed = claims["sealed"].as_str().unwrap();
        assert!(AccessToken::open(&format!("sga_{sealed}"), &ring()).is_none());
        let header: Value = part(text.split('.').next().unwrap()).unwrap();
        assert_eq!(
            (&header["typ"], &header["alg"]),
            (&json!("at+jwt"), &json!("ES256"))
        );
    }

    #[test]
    fn another_key_another_time_or_another_type_opens_nothing() {
        let text = text();
        let refused = |text: &str, keys: &IssuerKeys, now| {
            assert!(open(text, ISSUER, keys, &ring(), now).is_none(), "{text}");
        };
        refused(&text, &keys(2), NOW);
        refused(&text, &keys(1), Timestamp(NOW.0 + 700));
        let parts: Vec<_> = text.split('.').collect();
        refused(&format!("{}.{}.", parts[0], parts[1]), &keys(1), NOW);
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let none = encode(&json!({"alg": "none", "typ": "at+jwt"}));
        refused(&format!("{none}.{}.", parts[1]), &keys(1), NOW);
        refused(&format!("{none}.{}.{}", parts[1], parts[2]), &keys(1), NOW);
        let claims: Value = part(parts[1]).unwrap();
        // An ID token with the same claims is none.
        refused(&keys(1).sign("JWT", &claims), &keys(1), NOW);
        for (name, value) in [
            ("aud", json!("https://app.example/other")),
            ("iss", json!("https://other.example")),
            ("sealed", json!("x")),
            ("exp", json!(NOW.0 - 120)),
        ] {
            let mut claims = claims.clone();
            claims[name] = value;
            refused(&keys(1).sign("at+jwt", &claims), &keys(1), NOW);
        }
        // Whoever has it may end it whatever became of the key.
        assert!(open_sealed(&text, &ring()).is_some());
        assert!(
            open_sealed(
                &text,
                &KeyRing::new(&[Secret::new("two".to_owned())], "app.example gate")
            )
            .is_none()
        );
        for text in ["", "..", "a.b.c", "eyJ.e30.x", "ey"] {
            assert!(!claims_to_be(text, ISSUER));
            refused(text, &keys(1), NOW);
        }
    }
}
