//! Programs without a browser, let in by a code that their users type.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    MCP, call, error, home, home_with, post, post_with, register, renew, submit, tokens_of,
};
use crate::support::{Browser, House, Reply};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

async fn device_client(house: &House) -> String {
    let reply = register(
        house,
        &json!({"client_name": "A terminal", "grant_types": [GRANT]}),
    )
    .await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text());
    reply.json()["client_id"]
        .as_str()
        .expect("an id")
        .to_owned()
}

async fn begin(house: &House, client: &str) -> Value {
    let resource = house.url("/mcp");
    let reply = post(
        house,
        "/oauth2/device_authorization",
        &[("client_id", client), ("resource", &resource)],
    )
    .await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    reply.json()
}

/// The address that its user is shown would be that of whoever visits the page.
#[tokio::test]
async fn no_page_begins_a_flow_in_its_visitors_browser() {
    let home = home().await;
    let house = &home.house;
    let client = device_client(house).await;
    let resource = house.url("/mcp");
    let path = "/oauth2/device_authorization";
    let fields = [("client_id", &*client), ("resource", &*resource)];
    for header in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", &*house.public_url),
        ("sec-fetch-site", "cross-site"),
    ] {
        let reply = post_with(house, path, &fields, &[header]).await;
        let found = (reply.status, error(&reply));
        assert_eq!(
            found,
            (StatusCode::BAD_REQUEST, "invalid_request".to_owned()),
            "{header:?}"
        );
        assert!(reply.headers.get("access-control-allow-origin").is_none());
    }
    let browser = house.browser();
    let mut ask = browser.bare(Method::OPTIONS, path);
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "POST"),
    ] {
        ask = ask.header(name, value);
    }
    let preflight = ask.send().await;
    assert!(
        preflight
            .headers
            .get("access-control-allow-origin")
            .is_none()
    );
    begin(house, &client).await;
}

async fn poll(house: &House, client: &str, begun: &Value) -> Reply {
    let code = begun["device_code"].as_str().expect("a code");
    post(
        house,
        "/oauth2/token",
        &[
            ("grant_type", GRANT),
            ("client_id", client),
            ("device_code", code),
        ],
    )
    .await
}

/// The token of the form of a page.
pub fn token_of(page: &Reply) -> String {
    let text = page.text();
    let (_, rest) = text
        .split_once("name=\"token\" value=\"")
        .unwrap_or_else(|| panic!("no form: {text}"));
    rest.split('"').next().expect("a value").to_owned()
}

pub async fn send(browser: &Browser, token: &str, code: &str, decision: Option<&str>) -> Reply {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs([("token", token), ("user_code", code)]);
    if let Some(decision) = decision {
        form.append_pair("decision", decision);
    }
    submit(browser, "/oauth2/device", "same-origin", form.finish()).await
}

#[tokio::test]
async fn t81_a_user_lets_a_terminal_in_once() {
    let home = home().await;
    let house = &home.house;
    let client = device_client(house).await;
    let begun = begin(house, &client).await;
    assert_eq!(begun["verification_uri"], house.url("/oauth2/device"));
    assert_eq!(
        (&begun["expires_in"], &begun["interval"]),
        (&json!(600), &json!(5))
    );
    assert_eq!(
        error(&poll(house, &client, &begun).await),
        "authorization_pending"
    );
    assert_eq!(error(&poll(house, &client, &begun).await), "slow_down");

    let complete = begun["verification_uri_complete"]
        .as_str()
        .expect("an address");
    // Nobody is shown anything before they have signed in.
    assert_eq!(
        house.browser().get(complete).await.status,
        StatusCode::FOUND
    );
    let browser = house.browser();
    let page = browser.follow(complete).await;
    let code = begun["user_code"].as_str().expect("a code");
    assert!(page.text().contains(code), "{}", page.text());
    let token = token_of(&page);
    let typed = code.to_lowercase().replace('-', " ");
    let asked = send(&browser, &token, &typed, None).await;
    let text = asked.text();
    for shown in [
        "A terminal",
        code,
        "127.0.0.1",
        "on the phone",
        &house.url("/mcp"),
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert!(
        asked
            .header("content-security-policy")
            .contains("frame-ancestors 'none'")
    );
    let done = send(&browser, &token, code, Some("allow")).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text());

    let reply = poll(house, &client, &begun).await;
    let tokens = tokens_of(&client, &reply);
    assert_eq!(
        call(house, &tokens.access, "/mcp")
            .await
            .seen()
            .header("x-user"),
        Some("ada")
    );
    assert_eq!(error(&poll(house, &client, &begun).await), "expired_token");
    assert_eq!(
        renew(house, &client, &tokens.refresh).await.status,
        StatusCode::OK
    );
    // What was typed is spent.
    assert_eq!(
        send(&browser, &token, code, Some("allow")).await.status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn t81_no_is_no_and_another_client_gets_nothing() {
    let home = home().await;
    let house = &home.house;
    let (client, other) = (device_client(house).await, device_client(house).await);
    let begun = begin(house, &client).await;
    let code = begun["user_code"].as_str().expect("a code");
    let browser = house.browser();
    let token = token_of(&browser.follow("/oauth2/device").await);
    assert_eq!(
        send(&browser, "x", code, Some("allow")).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        send(&browser, &token, code, Some("deny")).await.status,
        StatusCode::OK
    );
    assert_eq!(error(&poll(house, &other, &begun).await), "expired_token");
    assert_eq!(error(&poll(house, &client, &begun).await), "access_denied");
    let bad = post(
        house,
        "/oauth2/device_authorization",
        &[
            ("client_id", &client),
            ("resource", "https://other.example/"),
        ],
    )
    .await;
    assert_eq!(error(&bad), "invalid_target");
}

#[tokio::test]
async fn t81_nobody_guesses_a_code() {
    let home = home().await;
    let house = &home.house;
    let client = device_client(house).await;
    let begun = begin(house, &client).await;
    let browser = house.browser();
    let token = token_of(&browser.follow("/oauth2/device").await);
    for wrong in [
        "BBBB-BBBB",
        "CCCC-CCCC",
        "DDDD-DDDD",
        "FFFF-FFFF",
        "GGGG-GGGG",
    ] {
        let reply = send(&browser, &token, wrong, None).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert!(
            reply.text().contains("No program waits"),
            "{}",
            reply.text()
        );
    }
    let code = begun["user_code"].as_str().expect("a code");
    let stopped = send(&browser, &token, code, Some("allow")).await;
    assert!(
        stopped.text().contains("Too many wrong codes"),
        "{}",
        stopped.text()
    );
    assert_eq!(
        error(&poll(house, &client, &begun).await),
        "authorization_pending"
    );
}

/// Whoever could use it in the name of any app would phish with that app's name.
#[tokio::test]
async fn t81_who_did_not_ask_for_the_device_flow_does_not_get_it() {
    let tables = format!(
        "{MCP}[[issuer.clients]]\nid = \"web\"\nredirect_uris = [\"https://app.example/cb\"]\n\
         [[issuer.clients]]\nid = \"terminal\"\ndevice_flow = true\n"
    );
    let home = home_with(&tables, |plan| plan).await;
    let house = &home.house;
    let resource = house.url("/mcp");
    let registered = super::client(house).await;
    for client in [registered.as_str(), "web"] {
        let fields = [("client_id", client), ("resource", &*resource)];
        let reply = post(house, "/oauth2/device_authorization", &fields).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{client}");
        assert_eq!(error(&reply), "unauthorized_client", "{client}");
        let reply = poll(house, client, &json!({"device_code": "sgd_x"})).await;
        assert_eq!(error(&reply), "unauthorized_client", "{client}");
    }
    begin(house, "terminal").await;
}

#[tokio::test]
async fn t81_of_two_answers_at_once_one_counts_and_leaves_one_grant() {
    let home = home().await;
    let house = &home.house;
    let client = device_client(house).await;
    let begun = begin(house, &client).await;
    let code = begun["user_code"].as_str().expect("a code");
    let browser = house.browser();
    let token = token_of(&browser.follow("/oauth2/device").await);
    let answers = (0..8).map(|_| send(&browser, &token, code, Some("allow")));
    let answers = futures_util::future::join_all(answers).await;
    let counted = answers
        .iter()
        .filter(|reply| reply.status == StatusCode::OK);
    assert_eq!(counted.count(), 1);
    let tokens = tokens_of(&client, &poll(house, &client, &begun).await);
    let listed = browser
        .fetch(Method::GET, "/oauth2/account/grants")
        .send()
        .await
        .json();
    assert_eq!(listed["grants"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        call(house, &tokens.access, "/mcp").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn the_device_flow_can_be_switched_off() {
    let tables = MCP.replacen("[issuer]\n", "[issuer]\ndevice_flow = false\n", 1);
    let home = home_with(&tables, |plan| plan).await;
    let house = &home.house;
    let client = device_client(house).await;
    assert_eq!(
        post(
            house,
            "/oauth2/device_authorization",
            &[("client_id", &client)]
        )
        .await
        .status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        house.browser().get("/oauth2/device").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        error(&poll(house, &client, &json!({"device_code": "sgd_x"})).await),
        "unsupported_grant_type"
    );
    let metadata = house
        .browser()
        .bare(Method::GET, "/.well-known/oauth-authorization-server")
        .send()
        .await
        .json();
    assert!(metadata.get("device_authorization_endpoint").is_none());
}
