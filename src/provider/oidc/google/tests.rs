use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::json;

use super::{
    super::tests::{NOW, authorize_parameters, barred, moved, signed_in},
    *,
};
use crate::{
    identity_headers::HeaderSource,
    jose::{JwtError, TestKey},
    provider::{
        Call, ProviderError, catalog,
        http::HttpError,
        scripted::{Answer, Scripted},
    },
};

const GROUPS: &str = "/v1/groups/-/memberships:searchTransitiveGroups";

async fn google() -> (Scripted, TestKey) {
    let server = Scripted::start().await;
    let key = TestKey::ec("a");
    server.publish(&[&key]);
    (server, key)
}

fn token(server: &Scripted, key: &TestKey, more: &Value) -> String {
    let mut claims = json!({
        "iss": server.origin(), "sub": "110169484474386276334", "aud": "us", "azp": "us",
        "nonce": "n", "exp": NOW + 3600, "iat": NOW,
    });
    claims
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    key.sign(&claims)
}

fn jane() -> Value {
    json!({ "email": "jane@corp.example", "email_verified": true, "hd": "Corp.Example" })
}

#[tokio::test]
async fn a_hosted_domain_is_told_by_hd_alone() {
    let (server, key) = google().await;
    // What userinfo says of a domain does not count.
    let userinfo = json!({ "sub": "110169484474386276334", "hd": "corp.example" });
    server.answer("/userinfo", Answer::json(&userinfo.to_string()));
    let config = moved(
        &catalog::GOOGLE,
        &server,
        &[("hosted_domains", &["corp.example"])],
    );
    assert_eq!(
        barred(&config, &server, &token(&server, &key, &jane())).await,
        None
    );
    for other in [
        json!({ "email": "bob@corp.example", "email_verified": true }),
        json!({ "email": "bob@corp.example", "email_verified": true, "hd": "" }),
        json!({ "email": "bob@corp.example", "email_verified": true, "hd": "evil.example" }),
        json!({ "email": "bob@corp.example", "email_verified": true, "hd": "eu.corp.example" }),
        json!({ "email": "bob@corp.example", "email_verified": true, "hd": ["corp.example"] }),
        json!({ "email": "bob@gmail.com", "email_verified": true }),
    ] {
        let token = token(&server, &key, &other);
        assert_eq!(
            barred(&config, &server, &token).await.as_deref(),
            Some("hosted_domains")
        );
    }
}

#[tokio::test]
async fn an_address_counts_where_google_speaks_for_it() {
    let (server, key) = google().await;
    let config = moved(
        &catalog::GOOGLE,
        &server,
        &[("domains", &["corp.example", "gmail.com", "evil.example"])],
    );
    for (good, claims) in [
        (true, jane()),
        (
            true,
            json!({ "email": "jane@GMAIL.com", "email_verified": true }),
        ),
        (
            false,
            json!({ "email": "jane@corp.example", "email_verified": true }),
        ),
        (
            false,
            json!({ "email": "jane@corp.example", "hd": "corp.example" }),
        ),
        (
            false,
            json!({ "email": "jane@corp.example@gmail.com", "email_verified": true }),
        ),
        (
            false,
            json!({ "email": "jane@evil.example", "email_verified": "yes", "hd": "x" }),
        ),
    ] {
        let barred = barred(&config, &server, &token(&server, &key, &claims)).await;
        assert_eq!(barred.is_none(), good, "{claims}");
    }
    assert!(server.requests("/userinfo").is_empty());
}

#[tokio::test]
async fn userinfo_does_not_vouch() {
    let (server, key) = google().await;
    let userinfo = json!({
        "sub": "110169484474386276334", "email": "jane@corp.example", "email_verified": true,
        "hd": "corp.example", "name": "Jane", "groups": ["eng@corp.example"],
    });
    server.answer("/userinfo", Answer::json(&userinfo.to_string()));
    let config = moved(
        &catalog::GOOGLE,
        &server,
        &[("emails", &["jane@corp.example"])],
    );
    let headers = [
        HeaderSource::Name,
        HeaderSource::Email,
        HeaderSource::Groups,
    ];
    let token = token(&server, &key, &json!({}));
    let identity = signed_in(&config, &headers, &server, &token).await.unwrap();
    assert_eq!(identity.name.as_deref(), Some("Jane"));
    assert_eq!(identity.email, None);
    assert!(identity.groups.is_empty());
}

#[test]
fn the_issuer_without_a_scheme_is_googles_alone() {
    let issues = PROFILE.issues;
    assert!(issues("https://accounts.google.com", "accounts.google.com"));
    assert!(issues(
        "https://accounts.google.com",
        "https://accounts.google.com"
    ));
    assert!(!issues("https://id.example.com", "accounts.google.com"));
    assert!(!issues("https://id.example.com", "id.example.com"));
    assert!(!issues(
        "https://accounts.google.com",
        "https://accounts.google.com/"
    ));
    assert!(!(VendorProfile::STANDARD.issues)(
        "https://accounts.google.com",
        "accounts.google.com"
    ));
}

#[tokio::test]
async fn another_issuers_token_is_refused() {
    let (server, key) = google().await;
    let config = moved(&catalog::GOOGLE, &server, &[("users", &["x"])]);
    let token = token(&server, &key, &json!({ "iss": "accounts.google.com" }));
    let error = signed_in(&config, &[], &server, &token).await.unwrap_err();
    assert_eq!(error, JwtError::Issuer.into());
}

#[tokio::test]
async fn the_browser_is_sent_with_what_google_understands() {
    let (server, _) = google().await;
    let one = moved(
        &catalog::GOOGLE,
        &server,
        &[("hosted_domains", &["corp.example"])],
    );
    let two = moved(
        &catalog::GOOGLE,
        &server,
        &[("hosted_domains", &["a.example", "b.example"])],
    );
    let groups = moved(
        &catalog::GOOGLE,
        &server,
        &[("groups", &["eng@corp.example"])],
    );
    let asked_one = authorize_parameters(&one, true).await;
    assert_eq!(asked_one["hd"], "corp.example");
    assert_eq!(asked_one["prompt"], "select_account");
    assert_eq!(asked_one["scope"], "openid");
    let asked_two = authorize_parameters(&two, false).await;
    assert!(!asked_two.contains_key("hd") && !asked_two.contains_key("prompt"));
    let scope = "openid https://www.googleapis.com/auth/cloud-identity.groups.readonly";
    assert_eq!(authorize_parameters(&groups, false).await["scope"], scope);
}

#[tokio::test]
async fn groups_are_listed_page_by_page() {
    let (server, key) = google().await;
    let group = |id: &str| json!({ "group": "groups/x", "groupKey": { "id": id } });
    let page = json!({ "memberships": [group("Eng@corp.example"), { "group": "groups/y" }] });
    server.answer(GROUPS, Answer::json(&page.to_string()));
    let config = moved(
        &catalog::GOOGLE,
        &server,
        &[("groups", &["eng@corp.example"])],
    );
    let token = token(&server, &key, &jane());
    assert_eq!(barred(&config, &server, &token).await, None);
    let seen = server.requests(GROUPS).remove(0);
    assert_eq!(seen.headers["authorization"], "Bearer at");
    let query: HashMap<String, String> = form_urlencoded::parse(seen.query.unwrap().as_bytes())
        .into_owned()
        .collect();
    assert_eq!(
        query["query"],
        "member_key_id == 'jane@corp.example' && \
         'cloudidentity.googleapis.com/groups.discussion_forum' in labels"
    );
    assert!(!query.contains_key("pageToken"));

    let other = moved(
        &catalog::GOOGLE,
        &server,
        &[("groups", &["ops@corp.example"])],
    );
    assert_eq!(
        barred(&other, &server, &token).await.as_deref(),
        Some("groups")
    );
    // An endless list ends.
    let page = json!({ "memberships": [group("a@corp.example")], "nextPageToken": "p&2" });
    server.answer(GROUPS, Answer::json(&page.to_string()));
    let before = server.requests(GROUPS).len();
    assert_eq!(
        barred(&other, &server, &token).await.as_deref(),
        Some("groups")
    );
    let seen = server.requests(GROUPS).split_off(before);
    assert_eq!(seen.len(), 5);
    assert!(
        seen[1]
            .query
            .as_ref()
            .unwrap()
            .ends_with("&pageToken=p%262")
    );
    server.answer(GROUPS, Answer::json("{}"));
    assert_eq!(
        barred(&other, &server, &token).await.as_deref(),
        Some("groups")
    );
}

#[tokio::test]
async fn a_failure_to_list_groups_ends_the_login_that_needs_them() {
    let (server, key) = google().await;
    let jane = token(&server, &key, &jane());
    let guarded = moved(
        &catalog::GOOGLE,
        &server,
        &[("groups", &["eng@corp.example"])],
    );
    server.answer(GROUPS, Answer::json(r#"{"error":{}}"#).with_status(403));
    let error = signed_in(&guarded, &[], &server, &jane).await.unwrap_err();
    let expected = ProviderError::Http {
        call: Call::Groups,
        error: HttpError::Status(StatusCode::FORBIDDEN),
    };
    assert_eq!(error, expected);
    server.answer(GROUPS, Answer::json("[]"));
    assert!(signed_in(&guarded, &[], &server, &jane).await.is_err());

    // A header alone does not ask for a sensitive scope, and does not end a login.
    let headers = [HeaderSource::Groups];
    let mut shown = moved(
        &catalog::GOOGLE,
        &server,
        &[("hosted_domains", &["corp.example"])],
    );
    let before = server.requests(GROUPS).len();
    assert!(signed_in(&shown, &headers, &server, &jane).await.is_ok());
    assert_eq!(server.requests(GROUPS).len(), before);
    let scope = "https://www.googleapis.com/auth/cloud-identity.groups.readonly";
    shown.scopes.push(scope.to_owned());
    assert!(signed_in(&shown, &headers, &server, &jane).await.is_ok());
    assert_eq!(server.requests(GROUPS).len(), before + 1);
}

#[tokio::test]
async fn who_has_no_workspace_domain_has_no_groups() {
    let (server, key) = google().await;
    let config = moved(
        &catalog::GOOGLE,
        &server,
        &[("groups", &["eng@corp.example"])],
    );
    for claims in [
        json!({ "email": "jane@gmail.com", "email_verified": true }),
        json!({ "email": "a'||true||'@corp.example", "email_verified": true, "hd": "corp.example" }),
        json!({ "email": "jane@corp.example", "email_verified": false, "hd": "corp.example" }),
    ] {
        let token = token(&server, &key, &claims);
        assert_eq!(
            barred(&config, &server, &token).await.as_deref(),
            Some("groups")
        );
    }
    assert!(server.requests(GROUPS).is_empty());
}

#[test]
fn lists_that_cannot_work_are_refused() {
    let objects = |lists: &[(&str, &[&str])]| {
        let config = ProviderSettings {
            allow: Allow::for_test(lists),
            ..ProviderSettings::for_test("google", "")
        };
        !check(&config).is_empty()
    };
    assert!(!objects(&[
        ("hosted_domains", &["corp.example"]),
        ("groups", &["eng@corp.example"])
    ]));
    assert!(objects(&[("users", &["jane"])]));
    assert!(objects(&[("groups", &["Eng@corp.example"])]));
    assert!(objects(&[("groups", &["eng"])]));
}

proptest! {
    #[test]
    fn no_address_of_a_strangers_domain_is_vouched_for(
        email in ".{0,40}", verified in any::<bool>(), hd in proptest::option::of(".{0,10}"),
    ) {
        let mut token = Map::new();
        token.insert("email".to_owned(), json!(email));
        token.insert("email_verified".to_owned(), json!(verified));
        token.extend(hd.clone().map(|hd| ("hd".to_owned(), json!(hd))));
        read(&mut token);
        if token["email_verified"] == json!(true) {
            prop_assert!(
                email.to_ascii_lowercase().ends_with("@gmail.com")
                    || (verified && hd.is_some_and(|hd| !hd.is_empty()))
            );
        }
    }
}
