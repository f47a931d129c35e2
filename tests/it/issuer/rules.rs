//! The rules of the route that a resource falls under judge its tokens where they are given and where they are asked about, and not at
//! requests alone.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    BACK, Home, authorize, call, client, code, consent_of, decide, error, home_with, parameter,
    post_with, redeem, renew, tokens, tokens_of,
};
use crate::{reload::change, support::House};

/// A server that asks what tokens are worth; its secret is `secret`.
const SERVER: &str = "[[issuer.clients]]\nid = \"server\"\n\
    secret_hash = \"sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\"\n";

/// What guards `/mcp`, with these lines beside.
async fn guarded(issuer: &str, lines: &str) -> Home {
    let tables = format!(
        "[issuer]\n{issuer}\n{SERVER}[[routes]]\npath = \"/mcp/**\"\ntokens = true\n{lines}\n"
    );
    home_with(&tables, |plan| plan).await
}

async fn worth(house: &House, token: &str) -> Value {
    let basic = format!("Basic {}", STANDARD.encode("server:secret"));
    let headers = [("authorization", &*basic)];
    let reply = post_with(house, "/oauth2/introspect", &[("token", token)], &headers).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    reply.json()
}

/// A client that asks silently is told, and no person a page.
#[tokio::test]
async fn whom_the_route_refuses_is_denied_silently_where_the_client_asks_so() {
    let home = guarded("", "allow = { groups = [\"staff\"] }").await;
    let house = &home.house;
    let client = client(house).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let silent = authorize(house, &client, &[("prompt", "none")]);
    let back = browser.get(&silent).await.location();
    assert_eq!(parameter(&back, "error").as_deref(), Some("access_denied"));
    let asked = browser.get(&authorize(house, &client, &[])).await;
    assert_eq!(asked.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_token_ends_with_its_client() {
    for format in ["opaque", "jwt"] {
        let tables = format!(
            "token_format = \"{format}\"\n[[issuer.clients]]\nid = \"app\"\nredirect_uris = [\"{BACK}\"]"
        );
        let home = guarded(&tables, "").await;
        let house = &home.house;
        let code = code(house, "app").await;
        let tokens = tokens_of("app", &redeem(house, "app", &code).await);
        let other = super::tokens(house).await;
        let status = async |token: &str| call(house, token, "/mcp").await.status;
        assert_eq!(status(&tokens.access).await, StatusCode::OK);
        change(house, "id = \"app\"", "id = \"another\"").await;
        assert_eq!(status(&tokens.access).await, StatusCode::UNAUTHORIZED);
        assert_eq!(worth(house, &tokens.access).await, json!({"active": false}));
        assert_eq!(status(&other.access).await, StatusCode::OK);
    }
}

#[tokio::test]
async fn whom_the_route_refuses_gets_no_token_and_has_none_that_is_worth_something() {
    for format in ["opaque", "jwt"] {
        let lines = "allow = { groups = [\"staff\"] }";
        let home = guarded(&format!("token_format = \"{format}\""), lines).await;
        let house = &home.house;
        home.provider.user("groups", json!(["staff"]));
        let tokens = tokens(house).await;
        assert_eq!(
            call(house, &tokens.access, "/mcp").await.status,
            StatusCode::OK
        );
        assert_eq!(worth(house, &tokens.access).await["active"], true);
        let unspent = code(house, &tokens.client).await;

        change(house, "[\"staff\"]", "[\"admins\"]").await;
        let refused = call(house, &tokens.access, "/mcp").await.status;
        assert_eq!(refused, StatusCode::FORBIDDEN);
        assert_eq!(worth(house, &tokens.access).await, json!({"active": false}));
        let renewed = renew(house, &tokens.client, &tokens.refresh).await;
        assert_eq!(error(&renewed), "invalid_grant", "{}", renewed.text());
        let redeemed = redeem(house, &tokens.client, &unspent).await;
        assert_eq!(error(&redeemed), "invalid_grant", "{}", redeemed.text());

        // The rule is gone, and nothing was lost.
        change(house, "[\"admins\"]", "[\"staff\"]").await;
        let renewed = renew(house, &tokens.client, &tokens.refresh).await;
        assert_eq!(renewed.status, StatusCode::OK, "{}", renewed.text());
    }
}

#[tokio::test]
async fn what_a_later_login_says_counts_at_the_next_refresh() {
    let home = guarded("", "allow = { groups = [\"staff\"] }").await;
    let house = &home.house;
    home.provider.user("groups", json!(["staff"]));
    let tokens = tokens(house).await;
    home.provider.user("groups", json!([]));
    house.browser().sign_in("/").await;
    let renewed = renew(house, &tokens.client, &tokens.refresh).await;
    assert_eq!(error(&renewed), "invalid_grant", "{}", renewed.text());
}

/// A client's server refreshes from anywhere, and an app asks from where it stands: only a request tells where its sender is.
#[tokio::test]
async fn a_rule_on_networks_is_left_to_requests() {
    let home = guarded("", "allow = { networks = [\"127.0.0.0/8\"] }").await;
    let house = &home.house;
    let tokens = tokens(house).await;
    assert_eq!(worth(house, &tokens.access).await["active"], true);
    let renewed = renew(house, &tokens.client, &tokens.refresh).await;
    assert_eq!(renewed.status, StatusCode::OK, "{}", renewed.text());
    change(house, "127.0.0.0/8", "192.0.2.0/24").await;
    let renewed = tokens_of(&tokens.client, &renewed);
    let refused = call(house, &renewed.access, "/mcp").await.status;
    assert_eq!(refused, StatusCode::FORBIDDEN);
    let again = renew(house, &renewed.client, &renewed.refresh).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text());
}

#[tokio::test]
async fn a_resource_that_takes_no_tokens_any_more_gets_none() {
    let home = guarded("", "").await;
    let house = &home.house;
    let tokens = tokens(house).await;
    change(house, "tokens = true", "# tokens").await;
    assert_eq!(worth(house, &tokens.access).await, json!({"active": false}));
    let renewed = renew(house, &tokens.client, &tokens.refresh).await;
    assert_eq!(error(&renewed), "invalid_target", "{}", renewed.text());
    change(house, "# tokens", "tokens = true").await;
    let renewed = renew(house, &tokens.client, &tokens.refresh).await;
    assert_eq!(renewed.status, StatusCode::OK, "{}", renewed.text());
}

#[tokio::test]
async fn a_route_for_tokens_alone_can_be_agreed_to() {
    let home = guarded("", "allow = { credentials = [\"access_token\"] }").await;
    let house = &home.house;
    let tokens = tokens(house).await;
    assert_eq!(
        call(house, &tokens.access, "/mcp").await.status,
        StatusCode::OK
    );
    let browser = house.browser();
    browser.sign_in("/").await;
    assert_eq!(browser.get("/mcp").await.status, StatusCode::FORBIDDEN);
}

/// Nobody is asked to agree to what would get nobody in.
#[tokio::test]
async fn a_route_for_sessions_alone_gives_no_tokens() {
    let home = guarded("", "allow = { credentials = [\"session\"] }").await;
    let house = &home.house;
    let (browser, client) = (house.browser(), client(house).await);
    let page = browser.follow(&authorize(house, &client, &[])).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN, "{}", page.text());
}

/// The scopes that a token has are judged as they are; one that lacks some may be followed by another.
#[tokio::test]
async fn a_token_that_lacks_a_scope_is_given_and_is_worth_nothing() {
    let lines = "allow = { scopes = [\"files\"] }";
    let home = guarded("scopes = [\"files\"]", lines).await;
    let house = &home.house;
    let (browser, client) = (house.browser(), client(house).await);
    for (scope, active) in [("api", false), ("api files", true)] {
        let page = browser
            .follow(&authorize(house, &client, &[("scope", scope)]))
            .await;
        let back = decide(&browser, &consent_of(&page), "allow")
            .await
            .location();
        let reply = redeem(house, &client, &parameter(&back, "code").expect("a code")).await;
        let tokens = tokens_of(&client, &reply);
        assert_eq!(
            worth(house, &tokens.access).await["active"],
            active,
            "{scope}"
        );
        let renewed = renew(house, &client, &tokens.refresh).await;
        assert_eq!(renewed.status, StatusCode::OK, "{}", renewed.text());
    }
}
