//! What a renewal says of somebody: who is another one now is out, who lost a group feels it, and what is left
//! unsaid stays.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::scene::{OVER, STORES, scene, status};
use crate::support::behaviour::Renewal;

#[tokio::test]
async fn another_subject_ends_the_session() {
    for (store, renews_id_token) in [("cookie", true), ("memory", false)] {
        let (house, upstream, provider) = scene(store, |_| {}, |plan| plan).await;
        let browser = house.browser();
        browser.sign_in("/").await;
        provider.set(|behaviour| behaviour.renews_id_token = renews_id_token);
        provider.user("sub", json!("mallory"));
        sleep(OVER).await;
        let before = upstream.count();
        assert_eq!(browser.get("/").await.status, StatusCode::FOUND, "{store}");
        assert_eq!(status(&browser).await, StatusCode::UNAUTHORIZED, "{store}");
        assert_eq!(upstream.count(), before, "{store}");
    }
}

/// Wherever the provider says it.
async fn group_lost(store: &str, in_id_token: bool, renews_id_token: bool, gone: Value) {
    let what = format!("{store} {in_id_token} {renews_id_token} {gone}");
    let (house, upstream, provider) = scene(
        store,
        |behaviour| {
            behaviour.claims_in_id_token = in_id_token;
            behaviour.renews_id_token = renews_id_token;
        },
        |plan| plan.allow("{ groups = [\"engineers\"] }"),
    )
    .await;
    let browser = house.browser();
    browser.sign_in("/").await;
    provider.set(|behaviour| {
        behaviour.userinfo = json!({ "groups": gone });
        behaviour.user["groups"] = json!(["dismissed"]);
    });
    sleep(OVER).await;
    let before = upstream.count();
    let reply = browser.get("/").await;
    assert_eq!(
        reply.status,
        StatusCode::FORBIDDEN,
        "{what}: {}",
        reply.text()
    );
    assert!(reply.text().contains("ada"), "{what}: who is signed in");
    assert_eq!(upstream.count(), before, "{what}");
    provider.set(|behaviour| behaviour.userinfo = json!({}));
    provider.user("groups", json!(["engineers"]));
    sleep(OVER).await;
    assert_eq!(
        browser.get("/").await.status,
        StatusCode::OK,
        "{what}: given back"
    );
    assert_eq!(
        provider.calls("/authorize").len(),
        1,
        "{what}: no other login"
    );
}

#[tokio::test]
async fn a_group_that_is_lost_is_felt_without_a_new_login() {
    tokio::join!(
        group_lost("cookie", true, true, json!([])),
        group_lost("memory", true, true, json!([])),
        group_lost("cookie", false, true, json!(null)),
        group_lost("memory", false, false, json!(["others"])),
        group_lost("cookie", false, false, json!(null)),
    );
}

#[tokio::test]
async fn what_a_renewal_leaves_out_stays() {
    for store in STORES {
        let (house, _upstream, provider) = scene(
            store,
            |behaviour| behaviour.renewal = Renewal::OmitsRefreshToken,
            |plan| plan,
        )
        .await;
        let browser = house.browser();
        browser.sign_in("/").await;
        for _ in 0..2 {
            sleep(OVER).await;
            browser.get("/").await.seen();
        }
        assert_eq!(provider.renewals(), 2, "{store}");
        // No word of how long the token lasts: not at once again.
        provider.set(|behaviour| behaviour.expires_in = json!(null));
        sleep(OVER).await;
        for _ in 0..3 {
            let seen = browser.get("/").await.seen();
            assert_eq!(seen.header("x-user-groups"), Some("engineers"));
            sleep(Duration::from_millis(700)).await;
        }
        assert_eq!(provider.renewals(), 3, "{store}");
        let calls = provider.calls("/token");
        let mut spent: Vec<&str> = calls
            .iter()
            .filter_map(|call| call.fields.get("refresh_token").map(String::as_str))
            .collect();
        spent.dedup();
        assert_eq!(spent.len(), 1, "{store}: always the old one");
    }
}
