use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{access::Allow, provider::settings::ClaimPaths};

fn rules(groups: &str, wanted: &[&str], named: &[&str]) -> ClaimRules {
    let config = ProviderSettings {
        allow: Allow::for_test(&[("groups", named)]),
        claims: ClaimPaths {
            groups: Some(groups.to_owned()),
            ..ClaimPaths::default()
        },
        ..ProviderSettings::for_test("corp", "")
    };
    let sources: Vec<HeaderSource> = wanted
        .iter()
        .map(|path| HeaderSource::Claim((*path).to_owned()))
        .collect();
    let sources: Vec<&HeaderSource> = sources.iter().collect();
    ClaimRules::new(&config, ClaimNames::standard(), &sources)
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other}"),
    }
}

fn identity(value: Value) -> Identity {
    rules("groups", &[], &[])
        .identity_with(&object(value), Vec::new())
        .unwrap()
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
        let result = rules("groups", &[], &[]).identity_with(&object(bad.clone()), Vec::new());
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
        let identity = rules("x.roles", &[], &[])
            .identity_with(&claims, Vec::new())
            .unwrap();
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
fn many_groups_are_cut_and_counted_but_never_those_that_matter() {
    let many: Vec<String> = (0..1000).map(|number| format!("group-{number}")).collect();
    let claims = object(json!({ "sub": "1", "groups": many }));
    let identity = rules("groups", &[], &["group-999"])
        .identity_with(&claims, Vec::new())
        .unwrap();
    let bytes: usize = identity.groups.iter().map(|group| group.len()).sum();
    assert!(bytes <= Room::default().groups && identity.groups.len() > 600);
    let held = identity.groups.len() + identity.notes.omitted_groups as usize;
    assert_eq!(held, 1000);
    assert_eq!(identity.groups[0].as_str(), "group-999");
    assert_eq!(identity.groups[1].as_str(), "group-0");
    // However many a rule names.
    let named: Vec<String> = (0..100)
        .map(|number| format!("{number}{}", "x".repeat(200)))
        .collect();
    let entries: Vec<&str> = named.iter().map(String::as_str).collect();
    let claims = object(json!({ "sub": "1", "groups": named }));
    let identity = rules("groups", &[], &entries)
        .identity_with(&claims, Vec::new())
        .unwrap();
    assert_eq!(
        (identity.groups.len(), identity.notes.omitted_groups),
        (100, 0)
    );
}

#[test]
fn a_store_has_room_for_all() {
    let config = ProviderSettings {
        room: Room::in_store(8_192),
        ..ProviderSettings::for_test("corp", "")
    };
    let header = HeaderSource::Claim("long".to_owned());
    let rules = ClaimRules::new(&config, ClaimNames::standard(), &[&header]);
    let many: Vec<String> = (0..2000).map(|number| format!("group-{number}")).collect();
    let claims = object(json!({ "sub": "1", "groups": many, "long": "x".repeat(100_000) }));
    let identity = rules.identity_with(&claims, Vec::new()).unwrap();
    assert_eq!(identity.groups.len(), 2000);
    assert_eq!(identity.claims[0].1.len(), 100_000);
    assert_eq!(identity.notes, Notes::default());
}

#[test]
fn what_is_no_name_is_counted_apart_from_what_has_no_room() {
    let groups = json!(["a", null, "", "b\n", { "c": 1 }, "x".repeat(1_025)]);
    let claims = object(json!({ "sub": "1", "groups": groups }));
    let identity = rules("groups", &[], &[])
        .identity_with(&claims, Vec::new())
        .unwrap();
    let notes = &identity.notes;
    assert_eq!(
        (
            identity.groups.len(),
            notes.omitted_groups,
            notes.unusable_groups
        ),
        (1, 0, 3)
    );
    assert_eq!(notes.missing_groups(), 3);
}

#[test]
fn claims_that_do_not_fit_are_named() {
    let claims =
        object(json!({ "sub": "1", "a": "x".repeat(5_000), "b": "y".repeat(5_000), "c": "z" }));
    let identity = rules("groups", &["a", "b", "c"], &[])
        .identity_with(&claims, Vec::new())
        .unwrap();
    let carried: Vec<&str> = identity
        .claims
        .iter()
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(carried, ["a", "c"]);
    assert_eq!(identity.notes.omitted_claims, [Text::from("b")]);
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
    let identity = rules("groups", &wanted, &[])
        .identity_with(&claims, Vec::new())
        .unwrap();
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
        if let Ok(identity) = rules("groups", &[&path], &[]).identity_with(&claims, Vec::new()) {
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

fn memberships(lists: &[(&str, &[&str])], claims: Value) -> Vec<(String, String)> {
    kept_of(Allow::for_test(lists), claims)
}

fn kept_of(allow: Allow, claims: Value) -> Vec<(String, String)> {
    let config = ProviderSettings {
        allow,
        ..ProviderSettings::for_test("corp", "")
    };
    let rules = ClaimRules::new(&config, ClaimNames::standard(), &[]);
    let identity = rules.identity_with(&object(claims), Vec::new()).unwrap();
    let pairs = identity.memberships.iter();
    pairs
        .map(|(key, entry)| (key.to_string(), entry.to_string()))
        .collect()
}

#[test]
fn lists_by_path_keep_what_they_name() {
    let has = |value: Value, entries: &[&str]| {
        let claims = json!({ "sub": "1", "a": { "b": value } });
        !memberships(&[("claims.a.b", entries)], claims).is_empty()
    };
    assert!(has(json!("x"), &["y", "x"]));
    assert!(has(json!(7), &["7"]));
    assert!(has(json!(true), &["true"]));
    assert!(has(json!(false), &["false"]));
    assert!(has(json!(["y", 7, false]), &["7"]));
    assert!(has(json!(["y", 7, false]), &["false"]));
    for (value, entry) in [
        (json!("X"), "x"),
        (json!("x "), "x"),
        (json!("true"), "false"),
        (json!(null), "null"),
        (json!({ "x": 1 }), "x"),
        (json!([["x"]]), "x"),
        (json!([{ "x": "x" }]), "x"),
        (json!(1e22), "10000000000000000000000"),
    ] {
        assert!(!has(value.clone(), &[entry]), "{value} {entry}");
    }
}

#[test]
fn the_login_is_somebody_and_its_case_counts_where_the_kind_says_so() {
    let lists: &[(&str, &[&str])] = &[("users", &["Jane", "joe"])];
    let jane = |login: &str| json!({ "sub": "1", "preferred_username": login });
    let expected = [("users".to_owned(), "Jane".to_owned())];
    let caseless = || Allow::for_test(lists).with_caseless("users");
    assert_eq!(kept_of(caseless(), jane("jANE")), expected);
    assert_eq!(memberships(lists, jane("Jane")), expected);
    assert_eq!(memberships(lists, jane("jANE")), []);
    for other in [json!("jane2"), json!(""), json!(null), json!(["jane"])] {
        let claims = json!({ "sub": "1", "preferred_username": other, "name": "joe" });
        assert_eq!(kept_of(caseless(), claims), []);
    }
}

#[test]
fn what_is_kept_is_named_and_bounded() {
    let pair = |key: &str, entry: &str| (Text::from(key), Text::from(entry));
    let names: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let long = "x".repeat(300);
    let allow = Allow::for_test(&[
        ("orgs", &["Acme"]),
        ("campus", &names),
        ("guilds", &[&long]),
    ]);
    let mut reported = vec![
        pair("orgs", "acme"),
        pair("orgs", "ACME"),
        pair("orgs", "evil"),
        pair("tenants", "acme"),
        pair("guilds", &long),
    ];
    // However long it is; of many of one list, any that fits lets somebody pass.
    let named = [pair("orgs", "Acme"), pair("guilds", &long)];
    assert_eq!(kept(reported.clone(), &allow), named);
    reported.extend(names.iter().map(|name| pair("campus", name)));
    assert_eq!(kept(reported.clone(), &allow).len(), 18);
    assert_eq!(kept(reported, &Allow::Anyone), []);
}

/// A profile field that anybody fills in as they like must not inherit the vouching of the real address.
#[test]
fn what_vouches_for_one_claim_vouches_for_no_other() {
    let email = |paths: ClaimPaths| {
        let config = ProviderSettings {
            claims: paths,
            ..ProviderSettings::for_test("corp", "")
        };
        let claims = json!({
            "sub": "1", "email": "me@evil.example", "email_verified": true,
            "blog": "ceo@corp.example", "": true,
        });
        let rules = ClaimRules::new(&config, ClaimNames::standard(), &[]);
        let identity = rules.identity_with(&object(claims), Vec::new()).unwrap();
        identity.email.map(|email| email.to_string())
    };
    let moved = |email_verified: Option<&str>| ClaimPaths {
        email: Some("blog".to_owned()),
        email_verified: email_verified.map(str::to_owned),
        ..ClaimPaths::default()
    };
    assert_eq!(
        email(ClaimPaths::default()).as_deref(),
        Some("me@evil.example")
    );
    assert_eq!(email(moved(None)), None);
    assert_eq!(email(moved(Some(""))), None);
    // Unless the operator says so.
    assert!(email(moved(Some("email_verified"))).is_some());
}
