//! Clients register by themselves, and leave nothing behind.

use http::StatusCode;
use serde_json::json;

use super::{home, register};

#[tokio::test]
async fn t10_redirect_uris_alone_are_enough() {
    let home = home().await;
    let reply = register(
        &home.house,
        &json!({"redirect_uris": ["http://127.0.0.1/cb"]}),
    )
    .await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text());
    assert_eq!(reply.header("cache-control"), "no-store");
    let answer = reply.json();
    assert_eq!(answer["token_endpoint_auth_method"], "none");
    assert!(
        answer.get("client_secret").is_none() && answer.get("registration_client_uri").is_none()
    );
    assert_eq!(
        answer["grant_types"],
        json!(["authorization_code", "refresh_token"])
    );
    let wanted = json!({"redirect_uris": ["https://a.example/cb"], "token_endpoint_auth_method": "client_secret_post"});
    let answer = register(&home.house, &wanted).await.json();
    assert!(answer["client_secret"].is_string() && answer["client_secret_expires_at"] == 0);
}

#[tokio::test]
async fn t11_what_clients_really_send_is_taken() {
    let home = home().await;
    for uris in [
        json!([
            "https://insiders.vscode.dev/redirect",
            "https://vscode.dev/redirect",
            "http://127.0.0.1/",
            "http://127.0.0.1:33418/"
        ]),
        json!([
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "http://localhost:8787/callback"
        ]),
        json!(["https://claude.ai/api/mcp/auth_callback"]),
        json!(["https://chatgpt.com/connector/oauth/abc"]),
        json!(["http://[::1]:8080/callback"]),
    ] {
        let wanted = json!({
            "client_name": "X", "redirect_uris": uris, "grant_types": ["authorization_code", "refresh_token"], "logo_uri": null,
            "response_types": ["code"], "token_endpoint_auth_method": "none", "scope": "", "application_type": "native", "odd": [1],
        });
        let reply = register(&home.house, &wanted).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text());
        assert_eq!(reply.json()["redirect_uris"], uris);
    }
}

#[tokio::test]
async fn t12_bad_redirect_uris_are_refused() {
    let home = home().await;
    for uri in [
        "javascript:alert(1)",
        "data:text/html,x",
        "http://app.example/",
        "https://a.example/#x",
        "https://u@a.example/",
        "https://*.example/",
        "x",
        "https://a.example/\r\nX: y",
    ] {
        let reply = register(&home.house, &json!({"redirect_uris": [uri]})).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{uri}");
        assert_eq!(reply.json()["error"], "invalid_redirect_uri", "{uri}");
    }
    let large = json!({"redirect_uris": ["https://a.example/"], "client_name": "x".repeat(9_000)});
    assert_eq!(
        register(&home.house, &large).await.json()["error"],
        "invalid_client_metadata"
    );
}
