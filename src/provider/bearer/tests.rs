//! Real vendors' access tokens by their shapes, as their documentation and their servers write them; and what is none.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    clock::Timestamp,
    jose::{self, Expected, KeySet, TestKey},
};

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://id.example.com";

/// `claims` over those that every token has; null takes one away.
fn laid_over(changes: &Value) -> Map<String, Value> {
    let base = json!({ "iss": ISSUER, "sub": "1", "aud": "api", "iat": NOW - 1, "exp": NOW + 299 });
    let mut claims = base.as_object().unwrap().clone();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => _ = claims.remove(name),
            value => _ = claims.insert(name.clone(), value.clone()),
        }
    }
    claims
}

fn judge(
    settings: &BearerSettings,
    kind: Option<&str>,
    changes: &Value,
) -> Result<Map<String, Value>, JwtError> {
    let key = TestKey::ec("k");
    let mut header = json!({ "alg": "ES256", "kid": "k" });
    if let Some(kind) = kind {
        header["typ"] = kind.into();
    }
    let token = key.sign_with(&header, &Value::Object(laid_over(changes)));
    let keys = KeySet::read(&json!({ "keys": [key.jwk()] })).unwrap();
    let expected = Expected {
        issuer: ISSUER,
        issues: |issuer, iss| issuer == iss,
        algorithms: &[Algorithm::ES256],
        types: &TYPES,
        audience: settings.expected_audience(),
        max_age: None,
        may_lack_exp: false,
        now: Timestamp(NOW),
    };
    let verified = jose::verify(&token, &keys, &expected)?;
    settings.check(&verified)?;
    Ok(verified.claims)
}

/// Kind of the header, claims, scopes, client, subject.
type Shape = (
    &'static str,
    Option<&'static str>,
    Value,
    &'static [&'static str],
    &'static str,
    &'static str,
);

#[expect(clippy::too_many_lines, reason = "a table")]
fn shapes() -> Vec<Shape> {
    vec![
        (
            "RFC 9068",
            Some("at+jwt"),
            json!({ "client_id": "cli", "jti": "1", "scope": "read write" }),
            &["read", "write"],
            "cli",
            "1",
        ),
        (
            "RFC 9068, a client for itself",
            Some("application/at+jwt"),
            json!({ "sub": "ci", "client_id": "ci", "jti": "1" }),
            &[],
            "ci",
            "client:ci",
        ),
        (
            "Keycloak",
            Some("JWT"),
            json!({
                "typ": "Bearer", "azp": "cli", "aud": ["api", "account"], "scope": "openid email profile",
                "sid": "s", "acr": "1", "realm_access": { "roles": ["staff"] }, "preferred_username": "ada",
                "allowed-origins": ["https://app"], "session_state": "s", "nonce": "n",
            }),
            &["openid", "email", "profile"],
            "cli",
            "1",
        ),
        (
            "Keycloak, a service account",
            Some("JWT"),
            json!({
                "typ": "Bearer", "azp": "ci", "clientHost": "10.0.0.1", "client_id": "ci",
                "preferred_username": "service-account-ci", "scope": "email profile",
            }),
            &["email", "profile"],
            "ci",
            "1",
        ),
        (
            "Entra 1.0",
            Some("JWT"),
            json!({
                "appid": "cli", "appidacr": "0", "scp": "user_impersonation", "ver": "1.0", "oid": "o", "tid": "t",
                "upn": "ada@corp.example", "unique_name": "ada@corp.example", "uti": "x", "amr": ["pwd"],
            }),
            &["user_impersonation"],
            "cli",
            "1",
        ),
        (
            "Entra 2.0",
            Some("JWT"),
            json!({
                "azp": "cli", "azpacr": "1", "scp": "Read Write", "ver": "2.0", "oid": "o", "tid": "t",
                "preferred_username": "ada@corp.example", "uti": "x", "rh": "x", "name": "Ada",
            }),
            &["Read", "Write"],
            "cli",
            "1",
        ),
        (
            "Entra 2.0, an app for itself",
            Some("JWT"),
            json!({ "azp": "ci", "azpacr": "1", "idtyp": "app", "roles": ["Job"], "ver": "2.0", "oid": "1" }),
            &[],
            "ci",
            "1",
        ),
        (
            "Auth0",
            Some("JWT"),
            json!({
                "sub": "auth0|1", "aud": ["api", "https://t.eu.auth0.com/userinfo"], "azp": "cli",
                "scope": "openid profile read:all", "permissions": ["read:all"],
            }),
            &["openid", "profile", "read:all"],
            "cli",
            "auth0|1",
        ),
        (
            "Auth0, a machine",
            Some("JWT"),
            json!({ "sub": "ci@clients", "azp": "ci", "gty": "client-credentials" }),
            &[],
            "ci",
            "ci@clients",
        ),
        (
            "Okta",
            None,
            json!({
                "ver": 1, "jti": "AT.x", "cid": "cli", "uid": "00u1", "scp": ["openid", "email"],
                "sub": "ada@corp.example", "auth_time": NOW - 9,
            }),
            &["openid", "email"],
            "cli",
            "00u1",
        ),
        (
            "Okta, a service",
            None,
            json!({ "ver": 1, "jti": "AT.x", "cid": "0oa1", "scp": ["jobs"], "sub": "0oa1" }),
            &["jobs"],
            "0oa1",
            "client:0oa1",
        ),
        (
            "Cognito",
            None,
            json!({
                "aud": null, "client_id": "api", "token_use": "access", "username": "ada", "version": 2,
                "scope": "aws.cognito.signin.user.admin", "cognito:groups": ["staff"], "origin_jti": "x",
            }),
            &["aws.cognito.signin.user.admin"],
            "api",
            "1",
        ),
        (
            "Kubernetes",
            None,
            json!({
                "sub": "system:serviceaccount:ns:ci",
                "kubernetes.io": { "namespace": "ns", "serviceaccount": { "name": "ci", "uid": "u" } },
            }),
            &[],
            "",
            "system:serviceaccount:ns:ci",
        ),
    ]
}

#[test]
fn every_vendors_shape_is_read() {
    for (name, kind, changes, scopes_said, client_said, subject) in shapes() {
        let mut claims = judge(&BearerSettings::for_test(), kind, &changes)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let read: Vec<Text> = scopes(&claims);
        let read: Vec<&str> = read.iter().map(|scope| &**scope).collect();
        assert_eq!(read, scopes_said, "{name}");
        let client = client(&claims).map(|client| client.to_string());
        assert_eq!(client.unwrap_or_default(), client_said, "{name}");
        settle_subject(&mut claims, Nameless::Client);
        assert_eq!(claims["sub"], subject, "{name}");
    }
}

#[test]
fn an_id_token_is_no_access_token_unless_that_is_said() {
    let takes_them = BearerSettings {
        accept_id_tokens: true,
        ..BearerSettings::for_test()
    };
    for (name, changes) in [
        ("bare", json!({})),
        (
            "Google",
            json!({ "azp": "cli", "email": "a@b.example", "email_verified": true, "at_hash": "x" }),
        ),
        (
            "Keycloak",
            json!({ "typ": "ID", "azp": "cli", "nonce": "n", "at_hash": "x", "sid": "s" }),
        ),
        (
            "Cognito",
            json!({ "token_use": "id", "cognito:username": "ada", "at_hash": "x" }),
        ),
        (
            "Entra",
            json!({ "ver": "2.0", "oid": "o", "tid": "t", "nonce": "n", "name": "Ada" }),
        ),
        (
            "Okta",
            json!({ "ver": 1, "jti": "ID.x", "amr": ["pwd"], "idp": "x", "at_hash": "x" }),
        ),
        ("with a scope", json!({ "scope": "openid", "nonce": "n" })),
        (
            "with a client and a hash",
            json!({ "client_id": "cli", "at_hash": "x" }),
        ),
        (
            "with a code's hash",
            json!({ "scope": "openid", "c_hash": "x" }),
        ),
    ] {
        for kind in [None, Some("JWT")] {
            assert_eq!(
                judge(&BearerSettings::for_test(), kind, &changes),
                Err(JwtError::Type),
                "{name}"
            );
            assert!(judge(&takes_them, kind, &changes).is_ok(), "{name}");
        }
    }
}

#[test]
fn what_opens_nothing_anywhere_opens_nothing_here() {
    let takes_much = BearerSettings {
        accept_id_tokens: true,
        ..BearerSettings::for_test()
    };
    for (name, changes) in [
        (
            "a refresh token",
            json!({ "typ": "Refresh", "scope": "openid" }),
        ),
        (
            "an offline token",
            json!({ "typ": "Offline", "scope": "openid" }),
        ),
        ("a logout token", json!({ "events": {}, "scope": "x" })),
        (
            "a refresh token of another kind",
            json!({ "token_use": "refresh", "scope": "x" }),
        ),
        (
            "one that is bound to a key",
            json!({ "scope": "x", "cnf": { "jkt": "x" } }),
        ),
        (
            "one that is bound to a certificate",
            json!({ "scope": "x", "cnf": { "x5t#S256": "x" } }),
        ),
        ("a DPoP token", json!({ "typ": "DPoP", "scope": "x" })),
        ("a type that is none", json!({ "typ": 1, "scope": "x" })),
    ] {
        for kind in [None, Some("JWT"), Some("at+jwt")] {
            assert_eq!(
                judge(&takes_much, kind, &changes),
                Err(JwtError::Type),
                "{name}"
            );
        }
    }
    for kind in ["logout+jwt", "dpop+jwt", "id_token", "secevent+jwt", ""] {
        let outcome = judge(&takes_much, Some(kind), &json!({ "scope": "x" }));
        assert_eq!(outcome, Err(JwtError::Type), "{kind}");
    }
}

#[test]
fn the_audience_is_one_of_ours_and_never_guessed() {
    let access = |changes: Value| {
        let mut all = json!({ "scope": "x", "azp": "cli" });
        for (name, value) in changes.as_object().unwrap() {
            all[name] = value.clone();
        }
        judge(&BearerSettings::for_test(), Some("JWT"), &all).map(|_| ())
    };
    assert_eq!(access(json!({ "aud": ["other", "api"] })), Ok(()));
    for changes in [
        json!({ "aud": "other" }),
        json!({ "aud": "account" }),
        json!({ "aud": "api2" }),
        json!({ "aud": ["API"] }),
        json!({ "aud": [] }),
        json!({ "aud": { "api": 1 } }),
        json!({ "aud": null }),
        // The client that got it is no audience, but for a token that has none at all.
        json!({ "aud": "other", "client_id": "api" }),
        json!({ "aud": null, "azp": "api" }),
    ] {
        assert_eq!(
            access(changes.clone()),
            Err(JwtError::Audience),
            "{changes}"
        );
    }
}

#[test]
fn where_clients_are_named_all_of_a_tokens_names_are_theirs() {
    let narrow = BearerSettings {
        clients: vec!["cli".to_owned(), "ci".to_owned()],
        ..BearerSettings::for_test()
    };
    let judged = |changes: Value| judge(&narrow, Some("at+jwt"), &changes).map(|_| ());
    for changes in [
        json!({ "azp": "cli" }),
        json!({ "client_id": "ci" }),
        json!({ "azp": "cli", "client_id": "cli" }),
        json!({ "cid": "cli" }),
        json!({ "appid": "ci" }),
    ] {
        assert_eq!(judged(changes.clone()), Ok(()), "{changes}");
    }
    for changes in [
        json!({}),
        json!({ "azp": "other" }),
        json!({ "azp": "cli", "client_id": "other" }),
        json!({ "azp": ["cli"] }),
        json!({ "azp": "CLI" }),
    ] {
        assert_eq!(
            judged(changes.clone()),
            Err(JwtError::AuthorizedParty),
            "{changes}"
        );
    }
}

#[test]
fn scopes_are_those_of_the_standard_each_once() {
    let read = |claims: Value| -> Vec<String> {
        let scopes = scopes(claims.as_object().unwrap());
        scopes.iter().map(ToString::to_string).collect()
    };
    assert_eq!(read(json!({ "scope": "a b  a" })), ["a", "b"]);
    assert_eq!(
        read(json!({ "scope": "a", "scp": ["b", "a", 1] })),
        ["a", "b"]
    );
    assert_eq!(read(json!({ "scp": "a b" })), ["a", "b"]);
    assert_eq!(read(json!({ "scope": "a\"b c\\d é e\nf g" })), ["g"]);
    assert!(read(json!({ "scope": 1, "scp": null })).is_empty());
    let many: Vec<String> = (0..1_000).map(|number| format!("s{number}")).collect();
    assert_eq!(read(json!({ "scope": many.join(" ") })).len(), MOST_SCOPES);
}

#[test]
fn where_users_are_not_named_nobody_is_taken_for_the_client() {
    let settled = |claims: Value, nameless| {
        let mut claims = claims.as_object().unwrap().clone();
        let is_client = settle_subject(&mut claims, nameless);
        (is_client, claims.get("sub").cloned())
    };
    let of_doorkeeper =
        json!({ "active": true, "client_id": "mobile", "scope": "read", "token_type": "Bearer" });
    assert_eq!(settled(of_doorkeeper, Nameless::Unsaid), (false, None));
    let odd = json!({ "active": true, "client_id": "mobile", "sub": 42 });
    assert_eq!(settled(odd, Nameless::Client), (false, Some(json!(42))));
    // Okta's answer has `client_id` where its token has `cid`.
    let of_okta =
        json!({ "jti": "AT.1", "client_id": "cli", "uid": "00u1", "sub": "ada@corp.example" });
    let user = (false, Some(json!("00u1")));
    assert_eq!(settled(of_okta, Nameless::Client), user);
}

#[test]
fn no_client_is_a_user() {
    let settled = |claims: Value| {
        let mut claims = claims.as_object().unwrap().clone();
        let is_client = settle_subject(&mut claims, Nameless::Client);
        (is_client, claims.get("sub").cloned())
    };
    assert_eq!(
        settled(json!({ "sub": "1", "azp": "cli" })),
        (false, Some(json!("1")))
    );
    assert_eq!(
        settled(json!({ "sub": "ci", "azp": "ci" })),
        (true, Some(json!("client:ci")))
    );
    assert_eq!(
        settled(json!({ "client_id": "ci" })),
        (true, Some(json!("client:ci")))
    );
    assert_eq!(
        settled(json!({ "sub": "", "client_id": "ci" })),
        (true, Some(json!("client:ci")))
    );
    assert_eq!(settled(json!({})), (false, None));
    // Only Okta's token is read as Okta's.
    assert_eq!(
        settled(json!({ "sub": "1", "uid": "2", "cid": "c" })),
        (false, Some(json!("1")))
    );
    assert_eq!(
        settled(json!({ "sub": "1", "uid": "2", "jti": "AT.x" })),
        (false, Some(json!("1")))
    );
}

proptest! {
    #[test]
    fn no_claims_make_another_audience_ours(aud in "[a-z]{1,6}", azp in "[a-z]{1,6}") {
        prop_assume!(aud != "api");
        let changes = json!({ "aud": aud, "azp": azp, "client_id": "api", "scope": "x" });
        prop_assert!(judge(&BearerSettings::for_test(), Some("at+jwt"), &changes).is_err());
    }
}
