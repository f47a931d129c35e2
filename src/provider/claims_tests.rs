use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::{AllowLists, ProviderKind};

fn rules(groups: &str, wanted: &[&str], named: &[&str]) -> ClaimRules {
    let config = ProviderConfig {
        name: "corp".to_owned(),
        label: "Corp".to_owned(),
        kind: ProviderKind::Oidc {
            issuer: String::new(),
        },
        client_id: "id".to_owned(),
        client_secret: None,
        scopes: Vec::new(),
        allow: Allow::Lists(AllowLists {
            groups: named.iter().map(ToString::to_string).collect(),
            ..AllowLists::default()
        }),
        groups_claim: groups.to_owned(),
    };
    let sources: Vec<HeaderSource> = wanted
        .iter()
        .map(|path| HeaderSource::Claim((*path).to_owned()))
        .collect();
    let sources: Vec<&HeaderSource> = sources.iter().collect();
    ClaimRules::new(&config, ClaimNames::standard(groups), &sources)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other}"),
    }
}

fn identity(value: Value) -> Identity {
    rules("groups", &[], &[]).identity(&object(value)).unwrap()
}

fn email(email: &Value, verified: &Value) -> Option<String> {
    let claims = json!({ "sub": "1", "email": email, "email_verified": verified });
    identity(claims).email.map(|email| email.to_string())
}

#[test]
fn reads_the_standard_claims() {
    let identity = identity(json!({
        "sub": "248289761001", "preferred_username": "jane", "name": "Jane Doe",
        "email": "jane@example.com", "email_verified": true,
        "picture": "https://example.com/jane.png", "groups": ["a", "b,c", 7],
    }));
    assert_eq!(identity.provider.as_str(), "corp");
    assert_eq!(identity.subject.as_str(), "248289761001");
    assert_eq!(identity.user().as_str(), "jane");
    assert_eq!(identity.email.as_deref(), Some("jane@example.com"));
    assert_eq!(identity.name.as_deref(), Some("Jane Doe"));
    assert_eq!(
        identity.picture.as_deref(),
        Some("https://example.com/jane.png")
    );
    let groups: Vec<&str> = identity.groups.iter().map(Text::as_str).collect();
    assert_eq!(groups, ["a", "b,c", "7"]);
}

#[test]
fn without_a_usable_subject_there_is_nobody() {
    for bad in [
        json!({}),
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "sub": " " }),
        json!({ "sub": "a\nb" }),
        json!({ "sub": "x".repeat(256) }),
        json!({ "sub": 1.5 }),
        json!({ "sub": ["a"] }),
        json!({ "sub": true }),
    ] {
        let result = rules("groups", &[], &[]).identity(&object(bad.clone()));
        assert_eq!(result, Err(ClaimError::Subject), "{bad}");
    }
    assert_eq!(
        identity(json!({ "sub": 9_007_199_254_740_993_u64 }))
            .subject
            .as_str(),
        "9007199254740993"
    );
}

#[test]
fn an_address_counts_only_when_vouched_for() {
    let good = || json!("a@example.com");
    assert!(email(&good(), &json!(true)).is_some());
    assert!(email(&good(), &json!("true")).is_some());
    for verified in [
        json!(false),
        json!("false"),
        json!("TRUE"),
        json!(1),
        json!(null),
        json!([true]),
    ] {
        assert_eq!(email(&good(), &verified), None, "{verified}");
    }
    assert_eq!(
        identity(json!({ "sub": "1", "email": "a@example.com" })).email,
        None
    );
}

#[test]
fn an_address_has_one_reading() {
    for bad in [
        "a@good.example@evil.example",
        "@example.com",
        "a@",
        "a",
        "",
        "a b@example.com",
        "a@exam\tple.com",
        "\"a\"@example.com",
        "<a@example.com>",
        "a@b,c@d",
        "a@example.com\n",
        "a@example.com;b",
        "a@[127.0.0.1]",
        "a\u{2003}@example.com",
        "a@b@",
    ] {
        assert_eq!(email(&json!(bad), &json!(true)), None, "{bad}");
    }
    assert_eq!(email(&json!(["a@example.com"]), &json!(true)), None);
    let long = format!("{}@example.com", "a".repeat(250));
    assert_eq!(email(&json!(long), &json!(true)), None);
}

#[test]
fn paths_reach_keys_indices_and_keys_with_dots() {
    let claims = object(json!({
        "campus": [{ "name": "Paris" }, { "name": "Lyon" }],
        "realm_access": { "roles": ["x"] },
        "https://ns.example/roles": ["y"],
        "a.b": { "c.d": 1 },
        "list": [[10, 11]],
    }));
    for (path, value) in [
        ("campus.0.name", json!("Paris")),
        ("campus.1.name", json!("Lyon")),
        ("realm_access.roles", json!(["x"])),
        ("realm_access.roles.0", json!("x")),
        ("https://ns.example/roles", json!(["y"])),
        ("https://ns.example/roles.0", json!("y")),
        ("a.b.c.d", json!(1)),
        ("list.0.1", json!(11)),
    ] {
        assert_eq!(find(&claims, path), Some(&value), "{path}");
    }
    for path in [
        "",
        ".",
        "campus.2.name",
        "campus.-1",
        "campus.name",
        "a",
        "a.b.c",
        "list.0.1.2",
    ] {
        assert_eq!(find(&claims, path), None, "{path}");
    }
}

#[test]
fn groups_come_in_three_shapes() {
    let groups = |claim: Value| -> Vec<String> {
        let claims = object(json!({ "sub": "1", "x": { "roles": claim } }));
        let identity = rules("x.roles", &[], &[]).identity(&claims).unwrap();
        identity.groups.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        groups(json!(["a", null, "", "b\n", { "c": 1 }, "d"])),
        ["a", "d"]
    );
    assert_eq!(groups(json!("a b")), ["a b"]);
    assert_eq!(
        groups(json!({ "admin": { "org": "x" }, "dev": {} })),
        ["admin", "dev"]
    );
    assert!(groups(json!(null)).is_empty());
}

#[test]
fn many_groups_are_cut_but_never_those_that_matter() {
    let many: Vec<String> = (0..1000).map(|number| format!("group-{number}")).collect();
    let claims = object(json!({ "sub": "1", "groups": many }));
    let identity = rules("groups", &[], &["group-999"])
        .identity(&claims)
        .unwrap();
    assert_eq!(identity.groups.len(), MAX_GROUPS);
    assert_eq!(identity.groups[0].as_str(), "group-999");
    assert_eq!(identity.groups[1].as_str(), "group-0");
    let long: Vec<String> = (0..100)
        .map(|number| format!("{number}{}", "x".repeat(200)))
        .collect();
    let claims = object(json!({ "sub": "1", "groups": long }));
    let identity = rules("groups", &[], &[]).identity(&claims).unwrap();
    let bytes: usize = identity.groups.iter().map(|group| group.len()).sum();
    assert!(bytes <= MAX_GROUP_BYTES && identity.groups.len() > 20);
}

#[test]
fn wanted_claims_become_text() {
    let claims = object(json!({
        "sub": "1", "level": 7.42, "id": 12, "staff?": false, "a": { "b": ["x", "y"] },
        "bad": "x\r\ny: z", "none": null,
    }));
    let wanted = [
        "level", "id", "staff?", "a.b", "a.b.1", "bad", "none", "missing", "id",
    ];
    let identity = rules("groups", &wanted, &[]).identity(&claims).unwrap();
    let claims: Vec<(&str, &str)> = identity
        .claims
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    let expected = [
        ("a.b", r#"["x","y"]"#),
        ("a.b.1", "y"),
        ("id", "12"),
        ("level", "7.42"),
        ("staff?", "false"),
    ];
    assert_eq!(claims, expected);
}

proptest! {
    #[test]
    fn nothing_in_an_identity_breaks_a_header_line(
        subject in ".*", email in ".*", name in ".*", group in ".*", path in "[a.0-9]{0,12}",
    ) {
        let claims = object(json!({
            "sub": subject, "email": email, "email_verified": true, "name": name,
            "preferred_username": name, "picture": name, "groups": [group], "a": { "a": [name] },
        }));
        if let Ok(identity) = rules("groups", &[&path], &[]).identity(&claims) {
            let texts = [&identity.login, &identity.email, &identity.name, &identity.picture];
            let texts = texts.into_iter().flatten().chain([&identity.subject]);
            let texts = texts.chain(&identity.groups).chain(identity.claims.iter().map(|(_, text)| text));
            for text in texts {
                prop_assert!(!text.contains(char::is_control) && !text.is_empty());
            }
            if let Some(email) = identity.email {
                prop_assert_eq!(email.matches('@').count(), 1);
            }
        }
    }
}
