//! docs/mcp.md and docs/authorization-server.md begin with what to write: it is run as it stands.

use std::fs;

use http::StatusCode;

use super::{authorize, call, home_with, parameter, redeem_at, tokens, tokens_of};
use crate::support::house;

/// The block that a page begins with.
fn block(page: &str) -> String {
    let page = fs::read_to_string(house::root().join("docs").join(page)).expect("the page");
    let (before, rest) = page.split_once("```toml\n").expect("a block");
    assert!(before.lines().count() < 8, "the page begins with it");
    rest.split_once("```").expect("its end").0.to_owned()
}

#[tokio::test]
async fn what_mcp_md_begins_with_gives_tokens() {
    let home = home_with(&block("mcp.md"), |plan| plan).await;
    let tokens = tokens(&home.house).await;
    let seen = call(&home.house, &tokens.access, "/mcp").await.seen();
    assert_eq!(seen.header("x-user"), Some("ada"));
}

#[tokio::test]
async fn what_authorization_server_md_begins_with_gives_tokens() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = block("authorization-server.md");
    let (top, tables) = text.split_once("\n[").expect("tables");
    let top = top.replace("/var/lib/sidegate", &folder.path().display().to_string());
    let home = home_with(&format!("[{tables}"), |plan| plan.top(&top)).await;
    let house = &home.house;
    let browser = house.browser();
    browser.sign_in("/").await;
    let (back, resource) = ("https://reports.example.com/callback", house.url("/api"));
    let address = authorize(
        house,
        "reports",
        &[
            ("redirect_uri", back),
            ("resource", &resource),
            ("scope", "api"),
        ],
    );
    let code = parameter(&browser.get(&address).await.location(), "code").expect("a code");
    let tokens = tokens_of("reports", &redeem_at(house, "reports", &code, back).await);
    assert_eq!(
        call(house, &tokens.access, "/api/reports").await.status,
        StatusCode::OK
    );
    assert!(folder.path().join("state.redb").exists());
}
