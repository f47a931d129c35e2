//! A token never does more than its owner may, by what their last login said.

use http::StatusCode;
use serde_json::json;

use super::{SOON, ask_for, bearer, becomes, home, home_with, make, signed_in};

#[tokio::test]
async fn what_the_last_login_said_counts() {
    let home = home(|plan| {
        plan.tables("[[routes]]\npath = \"/admin/**\"\nallow = { groups = [\"admins\"] }")
    })
    .await;
    let house = &home.house;
    home.provider.user("groups", json!(["admins"]));
    let (_, token, _) = signed_in(&home).await;
    assert_eq!(
        bearer(house, &token, "/admin/x").await.status,
        StatusCode::OK
    );
    // Out of the group: at the next login, in whichever browser.
    home.provider.user("groups", json!(["users"]));
    house.browser().sign_in("/").await;
    let reply = bearer(house, &token, "/admin/x").await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN, "{}", reply.text());
    assert_eq!(bearer(house, &token, "/").await.status, StatusCode::OK);
    home.provider.user("groups", json!(["admins"]));
    house.browser().sign_in("/").await;
    assert_eq!(
        bearer(house, &token, "/admin/x").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn who_is_turned_away_at_a_login_is_out_with_their_tokens() {
    let home = home(|plan| plan.allow("{ groups = [\"staff\"] }")).await;
    home.provider.user("groups", json!(["staff"]));
    let (_, token, _) = signed_in(&home).await;
    assert_eq!(
        bearer(&home.house, &token, "/").await.status,
        StatusCode::OK
    );
    home.provider.user("groups", json!([]));
    let refused = home.house.browser().follow("/").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let reply = bearer(&home.house, &token, "/").await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN, "{}", reply.text());
}

#[tokio::test]
async fn a_list_that_changes_counts_at_once() {
    let home = home(|plan| plan.allow("{ groups = [\"staff\", \"guests\"] }")).await;
    home.provider.user("groups", json!(["guests"]));
    let (_, token, _) = signed_in(&home).await;
    assert_eq!(
        bearer(&home.house, &token, "/").await.status,
        StatusCode::OK
    );
    home.house.rewrite("[\"staff\", \"guests\"]", "[\"staff\"]");
    home.house.process.signal("HUP");
    becomes(&home.house, &token, StatusCode::FORBIDDEN, SOON * 4).await;
}

#[tokio::test]
async fn a_token_sleeps_while_its_owner_stays_away() {
    let home = home_with("[api_tokens]\nowner_idle = \"3s\"\n", |plan| plan).await;
    let house = &home.house;
    let browser = house.browser();
    browser.sign_in("/").await;
    let (token, _) = make(&browser, &json!({"name": "a"})).await;
    becomes(house, &token, StatusCode::UNAUTHORIZED, SOON * 4).await;
    let woken = house.browser();
    woken.sign_in("/").await;
    becomes(house, &token, StatusCode::OK, SOON).await;
}

#[tokio::test]
async fn somebody_elses_tokens_are_nobodys() {
    let home = home(|plan| plan).await;
    let (ada, token, id) = signed_in(&home).await;
    home.provider.user("sub", json!("eve"));
    let eve = home.house.browser();
    eve.sign_in("/").await;
    assert!(super::list(&eve).await.is_empty());
    let reply = eve
        .fetch(
            http::Method::DELETE,
            &format!("/oauth2/account/tokens/{id}"),
        )
        .send()
        .await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert_eq!(
        bearer(&home.house, &token, "/").await.status,
        StatusCode::OK
    );
    assert_eq!(super::list(&ada).await.len(), 1);
    let own = ask_for(&eve, &json!({"name": "own"})).await;
    assert_eq!(own.status, StatusCode::CREATED);
}
