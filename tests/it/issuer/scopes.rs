//! Scopes that an operator names: a client that lacks one is told so, and its user is asked for more.

use http::{Method, StatusCode};

use super::{authorize, call, client, consent_of, decide, home_with, parameter, redeem, tokens_of};

const SCOPES: &str = "[issuer]\nscopes = [\"files:read\", \"files:write\", \"openid\"]\n\
                      [[routes]]\npath = \"/mcp/write/**\"\nmcp = true\nallow = { scopes = [\"files:write\"] }\n\
                      [[routes]]\npath = \"/mcp/**\"\nmcp = true\n";

#[tokio::test]
async fn m26_a_client_that_lacks_a_scope_is_told_and_gets_it_by_asking_anew() {
    let home = home_with(SCOPES, |plan| plan).await;
    let house = &home.house;
    let client = client(house).await;
    let browser = house.browser();
    let resource = house.url("/mcp/write");
    let tokens = async |scope: &str| {
        let changes = [("resource", &*resource), ("scope", scope)];
        let page = browser.follow(&authorize(house, &client, &changes)).await;
        let text = page.text();
        let back = decide(&browser, &consent_of(&page), "allow")
            .await
            .location();
        let reply = redeem(house, &client, &parameter(&back, "code").expect("a code")).await;
        let granted = reply.json()["scope"].as_str().expect("scopes").to_owned();
        (tokens_of(&client, &reply), granted, text)
    };
    // Before any token: the challenge and the metadata name what the rule asks for.
    let nothing = browser.bare(Method::POST, "/mcp/write/x").send().await;
    assert_eq!(nothing.status, StatusCode::UNAUTHORIZED);
    let challenge = nothing.header("www-authenticate");
    assert!(
        challenge.contains("scope=\"mcp files:write\""),
        "{challenge}"
    );
    let resource_metadata = "/.well-known/oauth-protected-resource/mcp/write";
    let document = browser
        .bare(Method::GET, resource_metadata)
        .send()
        .await
        .json();
    assert_eq!(
        document["scopes_supported"],
        serde_json::json!(["mcp", "files:write"])
    );
    let (few, granted, page) = tokens("mcp other").await;
    assert_eq!(granted, "mcp");
    assert!(!page.contains("files:write"), "{page}");
    let refused = call(house, &few.access, "/mcp/write/x").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text());
    let challenge = refused.header("www-authenticate");
    for part in [
        "Bearer ",
        "error=\"insufficient_scope\"",
        "scope=\"mcp files:write\"",
        &format!(
            "resource_metadata=\"{}\"",
            house.url("/.well-known/oauth-protected-resource/mcp/write/x")
        ),
    ] {
        assert!(challenge.contains(part), "{part}: {challenge}");
    }
    assert_eq!(challenge.matches("scope=\"").count(), 1, "{challenge}");

    let (more, granted, page) = tokens("mcp files:write").await;
    assert_eq!(granted, "mcp files:write");
    assert!(page.contains("files:write"), "{page}");
    assert_eq!(
        call(house, &more.access, "/mcp/write/x").await.status,
        StatusCode::OK
    );
    let metadata = browser
        .bare(Method::GET, "/.well-known/oauth-authorization-server")
        .send()
        .await
        .json();
    let named = metadata["scopes_supported"].as_array().expect("a list");
    let once: std::collections::HashSet<_> = named.iter().collect();
    assert_eq!(once.len(), named.len(), "{metadata}");
    let offered = metadata["scopes_supported"].to_string();
    assert!(
        offered.contains("files:read") && offered.contains("files:write"),
        "{offered}"
    );
}
