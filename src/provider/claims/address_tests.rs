use proptest::prelude::*;
use serde_json::json;

use super::{tests::object, *};
use crate::{access::Allow, provider::settings::ClaimPaths};

/// What a header of `path` and a list of `claims.PATH` see of `claims`, whose address stands at `email`.
fn seen(paths: ClaimPaths, path: &str, claims: Value) -> (Option<String>, bool) {
    let config = ProviderSettings {
        allow: Allow::for_test(&[(&format!("claims.{path}"), &["a@x.example"])]),
        claims: paths,
        ..ProviderSettings::for_test("corp", "")
    };
    let header = HeaderSource::Claim(path.to_owned());
    let rules = ClaimRules::new(&config, ClaimNames::standard(), &[&header]);
    let identity = rules.identity_with(&object(claims), Vec::new()).unwrap();
    let shown = identity.claims.first().map(|(_, text)| text.to_string());
    (shown, !identity.memberships.is_empty())
}

fn address_at(email: &str) -> ClaimPaths {
    ClaimPaths {
        email: Some(email.to_owned()),
        email_verified: Some("verified".to_owned()),
        ..ClaimPaths::default()
    }
}

#[test]
fn no_path_leads_to_an_address_that_nobody_vouches_for() {
    for (email, path, claims) in [
        ("email", "email", json!({ "email": "a@x.example" })),
        // Above it.
        (
            "profile.email",
            "profile",
            json!({ "profile": { "email": "a@x.example", "level": 3 } }),
        ),
        (
            "a.b.email",
            "a",
            json!({ "a": { "b": { "email": "a@x.example" } } }),
        ),
        ("emails.0", "emails", json!({ "emails": ["a@x.example"] })),
        (
            "emails.0.value",
            "emails",
            json!({ "emails": [{ "value": "a@x.example" }] }),
        ),
        (
            "emails.0.value",
            "emails.0",
            json!({ "emails": [{ "value": "a@x.example" }] }),
        ),
        // Below it.
        ("email", "email.0", json!({ "email": ["a@x.example"] })),
        (
            "email",
            "email.value",
            json!({ "email": { "value": "a@x.example" } }),
        ),
        // The same, spelt otherwise.
        (
            "emails.0",
            "emails.00",
            json!({ "emails": ["a@x.example"] }),
        ),
        (
            "emails.0",
            "emails.+0",
            json!({ "emails": ["a@x.example"] }),
        ),
        ("a.b", "a.b", json!({ "a.b": "a@x.example" })),
    ] {
        for verified in [json!(false), json!("no"), json!(null)] {
            let mut claims = claims.clone();
            (claims["sub"], claims["verified"]) = (json!("1"), verified);
            let (shown, listed) = seen(address_at(email), path, claims);
            let shown = shown.unwrap_or_default();
            assert!(!shown.contains("a@x.example"), "{email} {path}: {shown}");
            assert!(!listed, "{email} {path}");
        }
    }
}

#[test]
fn an_address_that_is_vouched_for_is_a_claim_like_any_other() {
    for (email, path, claims) in [
        ("email", "email", json!({ "email": "a@x.example" })),
        ("emails.0", "emails", json!({ "emails": ["a@x.example"] })),
        (
            "emails.0",
            "emails.0",
            json!({ "emails": ["a@x.example", "b@x.example"] }),
        ),
    ] {
        let mut claims = claims;
        (claims["sub"], claims["verified"]) = (json!("1"), json!(true));
        let (shown, listed) = seen(address_at(email), path, claims);
        assert!(shown.unwrap().contains("a@x.example"), "{email} {path}");
        assert!(listed, "{email} {path}");
    }
}

#[test]
fn what_stands_beside_an_unvouched_address_is_still_there() {
    let claims = json!({ "sub": "1", "profile": { "email": "a@x.example", "level": 3 } });
    let (shown, _) = seen(address_at("profile.email"), "profile", claims);
    assert_eq!(shown.as_deref(), Some(r#"{"email":null,"level":3}"#));
    let claims = json!({ "sub": "1", "emails": ["b@x.example", "a@x.example"] });
    let (shown, listed) = seen(address_at("emails.0"), "emails.1", claims);
    assert_eq!((shown.as_deref(), listed), (Some("a@x.example"), true));
}

/// Naming another claim as the address does not open the one that the kind has.
#[test]
fn the_kinds_own_address_stays_guarded_where_another_claim_is_named() {
    for (verified, expected) in [(false, false), (true, true)] {
        let claims = json!({
            "sub": "1", "email": "a@x.example", "email_verified": verified,
            "mail": "b@x.example", "verified": true,
        });
        let (shown, listed) = seen(address_at("mail"), "email", claims);
        assert_eq!((shown.is_some(), listed), (expected, expected));
    }
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = Just(Value::Null);
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            proptest::collection::hash_map("(a|b|0|a\\.b|b\\.0)", inner, 0..3)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// Makes all leaves different.
fn label(value: &mut Value, next: &mut u32) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|value| label(value, next)),
        Value::Object(members) => members.values_mut().for_each(|value| label(value, next)),
        leaf => {
            *leaf = format!("leaf{next}@x.example;").into();
            *next += 1;
        }
    }
}

fn leaves(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().flat_map(leaves).collect(),
        Value::Object(members) => members.values().flat_map(leaves).collect(),
        Value::String(text) => vec![text.clone()],
        _ => Vec::new(),
    }
}

proptest! {
    #[test]
    fn whatever_the_paths_nothing_of_an_unvouched_address_is_seen(
        a in tree(), b in tree(), email in "[ab0](\\.[ab0]){0,3}", path in "[ab0](\\.[ab0]){0,3}",
    ) {
        let mut claims = json!({ "a": a, "b": b });
        label(&mut claims, &mut 0);
        claims["sub"] = json!("1");
        let hidden = find(claims.as_object().unwrap(), &email).map(leaves).unwrap_or_default();
        let (shown, _) = seen(address_at(&email), &path, claims);
        let shown = shown.unwrap_or_default();
        for leaf in hidden {
            prop_assert!(!shown.contains(&leaf), "{email} {path} {shown}");
        }
    }
}
