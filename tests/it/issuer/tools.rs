//! Which tools of an MCP server may be called: its headers say it, and its body is held against them.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Home, MCP, Tokens, home_with, tokens};
use crate::support::Reply;

fn rules(more: &str) -> String {
    format!(
        "[issuer]\n[[routes]]\npath = \"/mcp/**\"\nmcp = true\n\
         tools = {{ allow = [\"read_*\", \"echo\"], deny = [\"read_secrets\"]{more} }}\n"
    )
}

async fn ask(home: &Home, tokens: &Tokens, headers: &[(&str, &str)], body: &str) -> Reply {
    let authorization = format!("Bearer {}", tokens.access);
    let browser = home.house.browser();
    let mut ask = browser
        .bare(Method::POST, "/mcp")
        .header("authorization", &authorization)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    for (name, value) in headers {
        ask = ask.header(name, value);
    }
    ask.body(body.to_owned()).send().await
}

fn call_of(tool: &str) -> String {
    json!({
        "jsonrpc": "2.0", "id": "seven", "method": "tools/call",
        "params": { "name": tool, "arguments": { "text": "x".repeat(50_000) } },
    })
    .to_string()
}

fn code(reply: &Reply) -> Value {
    reply.json()["error"]["code"].clone()
}

const NOW: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
const CALL: (&str, &str) = ("mcp-method", "tools/call");

#[tokio::test]
async fn m22_a_tool_that_is_not_allowed_is_not_called() {
    let home = home_with(&rules(""), |plan| plan).await;
    let tokens = tokens(&home.house).await;
    let before = home.upstream.count();
    let body = call_of("read_file");
    let passed = ask(
        &home,
        &tokens,
        &[NOW, CALL, ("mcp-name", "read_file")],
        &body,
    )
    .await;
    assert_eq!(passed.status, StatusCode::OK, "{}", passed.text());
    let seen = passed.seen();
    assert_eq!(seen.body_length, body.len() as u64);
    assert!(body.starts_with(&seen.body));
    assert_eq!(seen.header("authorization"), None, "the token stays here");
    assert_eq!(home.upstream.count(), before + 1);

    for tool in ["shell", "read_secrets"] {
        let headers = [NOW, CALL, ("mcp-name", tool)];
        let reply = ask(&home, &tokens, &headers, &call_of(tool)).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{tool}");
        assert_eq!(
            (code(&reply), &reply.json()["id"]),
            (json!(-32602), &json!("seven"))
        );
    }
    // What headers say alone proves nothing, and what a body says alone is not what the client said.
    let lies = [NOW, CALL, ("mcp-name", "echo")];
    let reply = ask(&home, &tokens, &lies, &call_of("shell")).await;
    assert_eq!(
        (reply.status, code(&reply)),
        (StatusCode::BAD_REQUEST, json!(-32020))
    );
    let list = [NOW, ("mcp-method", "tools/list")];
    let reply = ask(&home, &tokens, &list, &call_of("echo")).await;
    assert_eq!(
        (reply.status, code(&reply)),
        (StatusCode::BAD_REQUEST, json!(-32020))
    );
    let twice = call_of("echo").replacen('{', "{\"method\":\"tools/list\",", 1);
    let reply = ask(&home, &tokens, &lies, &twice).await;
    assert_eq!(
        (reply.status, code(&reply)),
        (StatusCode::BAD_REQUEST, json!(-32700))
    );
    let several = format!("[{}]", call_of("echo"));
    let reply = ask(&home, &tokens, &lies, &several).await;
    assert_eq!(
        (reply.status, code(&reply)),
        (StatusCode::BAD_REQUEST, json!(-32700))
    );
    // Earlier revisions could say anything.
    for version in [&[][..], &[("mcp-protocol-version", "2025-11-25")]] {
        let reply = ask(&home, &tokens, version, &call_of("echo")).await;
        assert_eq!(
            (reply.status, code(&reply)),
            (StatusCode::BAD_REQUEST, json!(-32022))
        );
        assert_eq!(
            reply.json()["error"]["data"]["supported"],
            json!(["2026-07-28"])
        );
    }
    let large = call_of(&"x".repeat(1_100_000));
    let reply = ask(&home, &tokens, &lies, &large).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(home.upstream.count(), before + 1);
    // Nobody is told anything before they come with a token.
    let nobody = home
        .house
        .browser()
        .bare(Method::POST, "/mcp")
        .body(call_of("shell"))
        .send()
        .await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn earlier_revisions_are_spoken_where_that_is_said_and_their_bodies_count() {
    let home = home_with(&rules(", older_versions = true"), |plan| plan).await;
    let tokens = tokens(&home.house).await;
    let before = home.upstream.count();
    let old = [("mcp-protocol-version", "2025-11-25")];
    let reply = ask(&home, &tokens, &old, &call_of("echo")).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    let several = format!("[{},{}]", call_of("echo"), call_of("shell"));
    for body in [call_of("shell"), several] {
        let reply = ask(&home, &tokens, &old, &body).await;
        assert_eq!(
            (reply.status, code(&reply)),
            (StatusCode::FORBIDDEN, json!(-32602))
        );
    }
    assert_eq!(home.upstream.count(), before + 1);
}

/// A proxy that asks shows no body, and so nothing passes there.
#[tokio::test]
async fn where_no_body_is_seen_nothing_passes() {
    for (tables, expected) in [
        (MCP.to_owned(), StatusCode::ACCEPTED),
        (rules(""), StatusCode::FORBIDDEN),
    ] {
        let home = home_with(&tables, |plan| {
            plan.top("trusted_proxies = [\"127.0.0.1\"]\nforward_auth = \"nginx\"")
        })
        .await;
        let tokens = tokens(&home.house).await;
        let authorization = format!("Bearer {}", tokens.access);
        let browser = home.house.browser();
        let reply = browser
            .bare(Method::GET, "/oauth2/auth")
            .header("authorization", &authorization)
            .header("x-original-uri", "/mcp")
            .header("x-original-method", "POST")
            .send()
            .await;
        assert_eq!(reply.status, expected, "{}", reply.text());
    }
}
