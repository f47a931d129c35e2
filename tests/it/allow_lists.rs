//! `allow`: every list denies whoever is not on it.

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{House, ScriptedProvider, Upstream, standard_with};

/// Whether somebody with these claims passes under `allow`.
async fn passes(allow: &str, claims: &[(&str, Value)]) -> bool {
    let (house, upstream, provider) = standard_with(|plan| plan.allow(allow)).await;
    for (name, value) in claims {
        provider.user(name, value.clone());
    }
    let browser = house.browser();
    let reply = browser.follow("/page").await;
    match reply.status {
        StatusCode::OK => {
            assert_eq!(reply.seen().target, "/page");
            true
        }
        StatusCode::FORBIDDEN => {
            assert_eq!(upstream.count(), 0);
            assert!(reply.header("content-type").starts_with("text/html"));
            assert!(
                reply.text().contains("ada"),
                "the page says who is signed in"
            );
            assert!(!browser.get("/oauth2/auth").await.status.is_success());
            assert_eq!(upstream.count(), 0);
            false
        }
        other => panic!("{allow}: {other}: {}", reply.text()),
    }
}

#[tokio::test]
async fn emails() {
    let allow = "{ emails = [\"Ada@Example.com\", \"bob@example.com\"] }";
    assert!(passes(allow, &[]).await, "case does not matter");
    assert!(passes(allow, &[("email", json!("BOB@example.com"))]).await);
    assert!(!passes(allow, &[("email", json!("eve@example.com"))]).await);
    assert!(!passes(allow, &[("email_verified", json!(false))]).await);
    assert!(!passes(allow, &[("email_verified", json!("false"))]).await);
    assert!(!passes(allow, &[("email_verified", Value::Null)]).await);
    assert!(!passes(allow, &[("email", json!(["ada@example.com"]))]).await);
    assert!(!passes(allow, &[("email", Value::Null)]).await);
}

#[tokio::test]
async fn domains() {
    let allow = "{ domains = [\"example.com\"] }";
    assert!(passes(allow, &[]).await);
    assert!(passes(allow, &[("email", json!("ada@EXAMPLE.com"))]).await);
    for email in [
        "ada@evilexample.com",
        "ada@example.com.evil.example",
        "ada@sub.example.com",
        "ada@example.com@evil.example",
        "ada@example.org",
        "ada@еxample.com",
        "example.com",
        "@",
        "",
    ] {
        assert!(!passes(allow, &[("email", json!(email))]).await, "{email}");
    }
    assert!(!passes(allow, &[("email_verified", json!(false))]).await);
    let below = "{ domains = [\".example.com\"] }";
    assert!(passes(below, &[("email", json!("ada@sub.example.com"))]).await);
    assert!(!passes(below, &[("email", json!("ada@evilexample.com"))]).await);
}

#[tokio::test]
async fn groups() {
    let allow = "{ groups = [\"engineers\", \"admins\"] }";
    assert!(passes(allow, &[]).await);
    assert!(
        !passes(
            allow,
            &[("groups", json!(["Engineers", "engineer", "engineers "]))]
        )
        .await
    );
    assert!(!passes(allow, &[("groups", json!([]))]).await);
    assert!(!passes(allow, &[("groups", Value::Null)]).await);
}

#[tokio::test]
async fn a_group_counts_however_many_there_are() {
    let mut groups: Vec<String> = (0..400)
        .map(|number| format!("department-{number}"))
        .collect();
    groups.push("admins".to_owned());
    assert!(passes("{ groups = [\"admins\"] }", &[("groups", json!(groups))]).await);
}

#[tokio::test]
async fn several_lists_must_all_fit() {
    let allow = "{ domains = [\"example.com\"], groups = [\"engineers\"] }";
    assert!(passes(allow, &[]).await);
    assert!(!passes(allow, &[("groups", json!(["others"]))]).await);
    assert!(!passes(allow, &[("email", json!("ada@example.org"))]).await);
}

#[tokio::test]
async fn the_log_names_the_rule() {
    for (allow, rule) in [
        ("{ emails = [\"bob@example.com\"] }", "emails"),
        ("{ domains = [\"example.org\"] }", "domains"),
        ("{ groups = [\"admins\"] }", "groups"),
    ] {
        let (house, _upstream, _provider) = standard_with(|plan| plan.allow(allow)).await;
        let reply = house.browser().follow("/page").await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
        let line = house.access_line("/oauth2/callback/script").await;
        assert_eq!(line["status"], 403, "{line}");
        assert!(line.to_string().contains(rule), "{rule} is named: {line}");
    }
}

#[tokio::test]
async fn a_list_that_became_stricter_holds_for_old_sessions() {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let plan = || {
        House::plan()
            .upstream(&upstream)
            .provider(&provider)
            .public_url("http://app.test")
    };
    let before = plan().start().await;
    let ada = before.browser();
    ada.sign_in("/").await;
    let after = plan().allow("{ groups = [\"admins\"] }").start().await;
    let ada = ada.moved_to(&after);
    let seen = upstream.count();
    assert_eq!(ada.get("/").await.status, StatusCode::FORBIDDEN);
    assert_eq!(ada.get("/oauth2/auth").await.status, StatusCode::FORBIDDEN);
    assert_eq!(upstream.count(), seen);
}
