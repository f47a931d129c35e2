//! What clients find out before anybody is asked.

use http::{Method, StatusCode};
use serde_json::json;

use super::{call, home, home_with};
use crate::support::{house::sidegate, standard};

#[tokio::test]
async fn t01_t08_m1_a_call_without_a_token_says_where_to_get_one() {
    let home = home().await;
    let house = &home.house;
    for (method, accept) in [
        (Method::POST, "application/json, text/event-stream"),
        (Method::GET, "text/event-stream"),
        (Method::DELETE, "*/*"),
        (Method::POST, "text/html"),
    ] {
        let browser = house.browser();
        let reply = browser
            .bare(method.clone(), "/mcp")
            .header("accept", accept)
            .send()
            .await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{method} {accept}");
        let challenge = reply.header("www-authenticate").to_owned();
        assert!(challenge.starts_with("Bearer "), "{challenge}");
        let metadata = house.url("/.well-known/oauth-protected-resource/mcp");
        assert!(
            challenge.contains(&format!("resource_metadata=\"{metadata}\"")),
            "{challenge}"
        );
        assert!(challenge.contains("scope=\"mcp\""), "{challenge}");
        assert!(
            !challenge.contains("error") && !challenge.contains("offline_access"),
            "{challenge}"
        );
        assert!(reply.json()["error"].is_string());
    }
    assert_eq!(home.upstream.count(), 0);
}

#[tokio::test]
async fn t07_a_bad_token_is_said_to_be_one_and_none_counts_in_the_query() {
    let home = home().await;
    let house = &home.house;
    for token in ["sga_bad", "eyJhbGciOiJub25lIn0.e30.", "x"] {
        let reply = call(house, token, "/mcp").await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        let challenge = reply.header("www-authenticate");
        assert!(
            challenge.contains("error=\"invalid_token\"")
                && challenge.contains("resource_metadata="),
            "{challenge}"
        );
    }
    let tokens = super::tokens(house).await;
    let query = format!("/mcp?access_token={}", tokens.access);
    let reply = house.browser().bare(Method::POST, &query).send().await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(home.upstream.count(), 0);
}

#[tokio::test]
async fn t02_t08_m2_resources_have_metadata_of_their_own() {
    let home = home().await;
    let house = &home.house;
    let get = async |path: &str| {
        house
            .browser()
            .bare(Method::GET, path)
            .header("origin", "http://localhost:6274")
            .send()
            .await
    };
    for path in [
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-protected-resource/mcp/",
    ] {
        let reply = get(path).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        let document = reply.json();
        assert_eq!(document["resource"], house.url("/mcp"));
        assert_eq!(document["authorization_servers"], json!([house.public_url]));
        assert_eq!(document["scopes_supported"], json!(["mcp"]));
    }
    // The only one there is, for clients that look nowhere else.
    let root = get("/.well-known/oauth-protected-resource").await;
    assert_eq!(root.json()["resource"], house.url("/mcp"));
    assert_eq!(
        get("/.well-known/oauth-protected-resource/mcp/a")
            .await
            .json()["resource"],
        house.url("/mcp/a")
    );
    for path in [
        "/.well-known/oauth-protected-resource/other",
        "/.well-known/oauth-protected-resource/mcp-b",
    ] {
        assert_eq!(get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let head = house
        .browser()
        .bare(Method::HEAD, "/.well-known/oauth-protected-resource/mcp")
        .send()
        .await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn t03_m3_the_server_describes_itself() {
    let home = home().await;
    let house = &home.house;
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/",
    ] {
        let document = house.browser().bare(Method::GET, path).send().await.json();
        assert_eq!(document["issuer"], house.public_url);
        assert_eq!(
            document["code_challenge_methods_supported"],
            json!(["S256"])
        );
        assert_eq!(
            document["authorization_response_iss_parameter_supported"],
            true
        );
        assert_eq!(document["client_id_metadata_document_supported"], true);
        assert_eq!(
            document["grant_types_supported"],
            json!([
                "authorization_code",
                "refresh_token",
                "client_credentials",
                "urn:ietf:params:oauth:grant-type:device_code"
            ])
        );
        assert!(
            document["token_endpoint_auth_methods_supported"]
                .as_array()
                .expect("a list")
                .contains(&json!("none"))
        );
        assert!(
            !document["scopes_supported"]
                .as_array()
                .expect("a list")
                .contains(&json!("offline_access"))
        );
        for endpoint in [
            "authorization_endpoint",
            "token_endpoint",
            "registration_endpoint",
            "revocation_endpoint",
        ] {
            assert!(
                document[endpoint]
                    .as_str()
                    .expect("an address")
                    .starts_with(&house.url("/oauth2/"))
            );
        }
    }
}

#[tokio::test]
async fn t05_t06_m24_pages_of_other_origins_may_ask_and_read() {
    let home = home().await;
    let house = &home.house;
    let wanted = "authorization, content-type, mcp-protocol-version, mcp-param-x";
    for path in [
        "/mcp",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-authorization-server",
        "/oauth2/token",
        "/oauth2/register",
        "/oauth2/revoke",
    ] {
        let browser = house.browser();
        let reply = browser
            .bare(Method::OPTIONS, path)
            .header("origin", "http://localhost:6274")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", wanted)
            .send()
            .await;
        assert!(reply.status.is_success(), "{path}: {}", reply.status);
        assert_eq!(reply.header("access-control-allow-origin"), "*", "{path}");
        assert_eq!(
            reply.header("access-control-allow-headers"),
            wanted,
            "{path}"
        );
        assert!(
            reply
                .header("access-control-allow-methods")
                .contains("DELETE")
        );
        assert_eq!(reply.header("access-control-allow-credentials"), "");
    }
    let from = async |origin: &str| {
        house
            .browser()
            .bare(Method::POST, "/mcp")
            .header("origin", origin)
            .send()
            .await
    };
    for origin in ["http://localhost:6274", &house.public_url] {
        let reply = from(origin).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        assert!(
            reply
                .header("access-control-expose-headers")
                .contains("WWW-Authenticate")
        );
    }
    // A name that was bent to us is nobody's origin.
    assert_eq!(
        from("http://evil.example").await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(home.upstream.count(), 0);
}

#[tokio::test]
async fn without_an_issuer_the_addresses_are_the_apps() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/mcp",
    ] {
        assert_eq!(browser.get(path).await.seen().target, path);
    }
    assert_eq!(
        browser.get("/oauth2/authorize").await.status,
        StatusCode::NOT_FOUND
    );
    assert!(upstream.count() > 1);
}

#[tokio::test]
async fn a_route_that_takes_tokens_leads_browsers_to_the_login_all_the_same() {
    let home = home_with(
        "[issuer]\n[[routes]]\npath = \"/api/**\"\ntokens = true\n",
        |plan| plan,
    )
    .await;
    let house = &home.house;
    assert_eq!(
        house.browser().get("/api/x").await.status,
        StatusCode::FOUND
    );
    let reply = house.browser().bare(Method::GET, "/api/x").send().await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert!(
        reply
            .header("www-authenticate")
            .contains("/.well-known/oauth-protected-resource/api/x\"")
    );
    let browser = house.browser();
    browser.sign_in("/api/x").await;
    assert_eq!(browser.get("/api/x").await.status, StatusCode::OK);
}

/// Who protects a server and has no login to put before it finds out before anybody else does.
#[test]
fn m25_without_a_provider_it_does_not_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sidegate.toml");
    let text = format!(
        "upstream = \"http://127.0.0.1:8000\"\npublic_url = \"https://app.example.com\"\n{}",
        super::MCP
    );
    std::fs::write(&file, text).expect("a file");
    let output = sidegate().args(["run", "-c"]).arg(&file).output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no provider is configured"), "{said}");
}
