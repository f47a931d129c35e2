//! Whoever is not signed in gets an answer that their client can use.

use http::{Method, StatusCode};
use serde_json::Value;

use crate::support::{House, Reply, h2, standard, standard_with, websocket};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// What all answers to nobody have in common.
fn assert_plain(reply: &Reply, what: &str) {
    assert_eq!(reply.header("cache-control"), "no-store", "{what}");
    assert!(reply.headers.get("x-user").is_none(), "{what}");
}

fn assert_unauthorized(reply: &Reply, what: &str) {
    assert_plain(reply, what);
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{what}");
    assert!(!reply.header("www-authenticate").is_empty(), "{what}");
    assert!(
        reply.set_cookies().is_empty(),
        "{what}: a 401 sets no cookie"
    );
    assert!(reply.headers.get("location").is_none(), "{what}");
    assert!(
        reply.header("content-type").starts_with("application/json"),
        "{what}"
    );
    let login = reply.json()["login_url"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(login.contains("/oauth2/"), "{what}: {login}");
}

type Headers<'a> = &'a [(&'a str, &'a str)];

const TO_LOGIN: [(&str, Headers<'_>); 6] = [
    (
        "typed address",
        &[
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
            ("sec-fetch-site", "none"),
            ("accept", BROWSER),
        ],
    ),
    (
        "link from elsewhere",
        &[
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
            ("sec-fetch-site", "cross-site"),
            ("accept", BROWSER),
        ],
    ),
    (
        "navigation that accepts anything",
        &[
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
            ("accept", "*/*"),
        ],
    ),
    (
        "frame",
        &[
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "iframe"),
            ("accept", BROWSER),
        ],
    ),
    ("old browser", &[("accept", BROWSER)]),
    ("old browser, plain list", &[("accept", "text/html")]),
];

const TO_401: [(&str, Headers<'_>); 17] = [
    (
        "fetch",
        &[
            ("sec-fetch-mode", "cors"),
            ("sec-fetch-dest", "empty"),
            ("sec-fetch-site", "same-origin"),
            ("accept", "*/*"),
        ],
    ),
    (
        "fetch that wants HTML",
        &[
            ("sec-fetch-mode", "cors"),
            ("sec-fetch-dest", "empty"),
            ("accept", BROWSER),
        ],
    ),
    (
        "same-origin fetch",
        &[
            ("sec-fetch-mode", "same-origin"),
            ("sec-fetch-dest", "empty"),
            ("accept", "*/*"),
        ],
    ),
    (
        "image",
        &[
            ("sec-fetch-mode", "no-cors"),
            ("sec-fetch-dest", "image"),
            ("accept", "image/avif,*/*"),
        ],
    ),
    (
        "script",
        &[
            ("sec-fetch-mode", "no-cors"),
            ("sec-fetch-dest", "script"),
            ("accept", "*/*"),
        ],
    ),
    (
        "style sheet",
        &[
            ("sec-fetch-mode", "no-cors"),
            ("sec-fetch-dest", "style"),
            ("accept", "text/css,*/*"),
        ],
    ),
    (
        "font",
        &[
            ("sec-fetch-mode", "cors"),
            ("sec-fetch-dest", "font"),
            ("accept", "*/*"),
        ],
    ),
    (
        "event source",
        &[
            ("sec-fetch-mode", "cors"),
            ("sec-fetch-dest", "empty"),
            ("accept", "text/event-stream"),
        ],
    ),
    (
        "prefetch",
        &[
            ("sec-fetch-mode", "no-cors"),
            ("sec-fetch-dest", "empty"),
            ("sec-purpose", "prefetch"),
            ("accept", BROWSER),
        ],
    ),
    (
        "XHR of an old browser",
        &[
            ("x-requested-with", "XMLHttpRequest"),
            ("accept", "text/html, */*; q=0.01"),
        ],
    ),
    ("JSON client", &[("accept", "application/json")]),
    (
        "JSON client that takes HTML too",
        &[("accept", "application/json, text/plain, */*")],
    ),
    ("curl", &[("accept", "*/*"), ("user-agent", "curl/8.0")]),
    ("nothing at all", &[]),
    (
        "bearer token",
        &[("authorization", "Bearer anything"), ("accept", "*/*")],
    ),
    (
        "bearer token that takes HTML",
        &[("authorization", "Bearer anything"), ("accept", BROWSER)],
    ),
    (
        "HTML refused",
        &[("accept", "text/html;q=0, application/json")],
    ),
];

#[tokio::test]
async fn navigations_go_to_the_login() {
    let (house, upstream, _provider) = standard().await;
    for (name, headers) in TO_LOGIN {
        for method in [Method::GET, Method::HEAD] {
            let browser = house.browser();
            let ask = browser.bare(method.clone(), "/page?x=1");
            let reply = headers
                .iter()
                .fold(ask, |ask, (key, value)| ask.header(key, value))
                .send()
                .await;
            assert_eq!(
                reply.status,
                StatusCode::FOUND,
                "{name} {method}: {}",
                reply.text()
            );
            assert_plain(&reply, name);
            let reply = browser.follow_from(reply).await;
            assert_eq!(reply.seen().target, "/page?x=1", "{name}");
        }
    }
    assert!(
        upstream
            .seen()
            .iter()
            .all(|seen| seen.header("x-user") == Some("ada"))
    );
}

#[tokio::test]
async fn programs_get_401() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    for (name, headers) in TO_401 {
        for method in [Method::GET, Method::POST, Method::PUT] {
            let ask = browser.bare(method, "/api?x=1").body("{}");
            let reply = headers
                .iter()
                .fold(ask, |ask, (key, value)| ask.header(key, value))
                .send()
                .await;
            assert_unauthorized(&reply, name);
        }
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn the_login_url_of_a_401_leads_to_a_login() {
    let (house, _upstream, _provider) = standard().await;
    let browser = house.browser();
    let reply = browser.fetch(Method::GET, "/api?x=1").send().await;
    let login = reply.json()["login_url"]
        .as_str()
        .expect("a login_url")
        .to_owned();
    let landed = browser.follow(&login).await;
    assert_eq!(landed.status, StatusCode::OK, "{}", landed.text());
    assert_eq!(
        browser.fetch(Method::GET, "/api?x=1").send().await.status,
        StatusCode::OK
    );
}

/// What a program reads that has sent nothing, or something that nobody reads.
#[tokio::test]
async fn a_program_is_told_what_it_can_send() {
    const ROUTES: &str = "[issuer]\n[[routes]]\npath = \"/mcp/**\"\nmcp = true\n\
                          [[routes]]\npath = \"/tokens/**\"\ntokens = true\n\
                          [[routes]]\npath = \"/api/**\"\naccess = \"api\"\n";
    const TOKEN: &str = "[[service_tokens]]\nname = \"ci\"\n\
                         hash = \"sha256:5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e\"\n";
    const MCP: &str = "This address accepts access tokens, API tokens and service tokens only. WWW-Authenticate names the metadata with the login.";
    const SIGN_IN: &str = "Nobody is signed in. Send the user to login_url.";
    const BEARER: &str = "A program sends `Authorization: Bearer TOKEN`.";
    const API: &str =
        "No credential came. Send `Authorization: Bearer TOKEN`, or the cookie of a session.";
    const SCHEME: &str = "The Authorization header is neither Bearer nor Basic.";
    let told = async |house: &House, path: &str, header: Option<(&str, &str)>| {
        let browser = house.browser();
        let ask = browser.bare(Method::GET, path);
        let ask = match header {
            Some((name, value)) => ask.header(name, value),
            None => ask,
        };
        let reply = ask.header("accept", "application/json").send().await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
        let body = reply.json();
        assert_eq!(
            body["login_url"].is_null(),
            !path.starts_with("/tokens") && path != "/page"
        );
        body["message"].as_str().expect("a message").to_owned()
    };
    let (house, _upstream, _provider) = standard_with(|plan| plan.tables(ROUTES)).await;
    assert_eq!(told(&house, "/mcp/x", None).await, MCP);
    assert_eq!(
        told(&house, "/tokens/x", None).await,
        format!("{SIGN_IN} {BEARER}")
    );
    assert_eq!(told(&house, "/page", None).await, SIGN_IN);
    assert_eq!(
        told(&house, "/api/x", None).await,
        "No credential came. Send the cookie of a session."
    );
    let (house, _upstream, _provider) =
        standard_with(|plan| plan.tables(&format!("{ROUTES}{TOKEN}"))).await;
    assert_eq!(
        told(&house, "/page", None).await,
        format!("{SIGN_IN} {BEARER}")
    );
    assert_eq!(told(&house, "/api/x", None).await, API);
    let scheme = Some(("authorization", "Token abc"));
    assert_eq!(
        told(&house, "/api/x", scheme).await,
        format!("{SCHEME} {API}")
    );
    assert_eq!(
        told(&house, "/mcp/x", scheme).await,
        format!("{SCHEME} {MCP}")
    );
    house.until_logged(SCHEME).await;
    let key = Some(("x-api-key", "abc"));
    assert_eq!(
        told(&house, "/api/x", key).await,
        format!("The header X-API-Key is not read. {API}")
    );
    let query = told(&house, "/api/x?access_token=abc", None).await;
    assert_eq!(query, format!("A token in the query is not read. {API}"));
    let wrong = told(&house, "/api/x", Some(("authorization", "Bearer abc"))).await;
    assert!(
        wrong.starts_with("The token or the password that came with this request is wrong"),
        "{wrong}"
    );
}

#[tokio::test]
async fn a_form_post_is_never_turned_into_a_get() {
    let (house, upstream, provider) = standard().await;
    let browser = house.browser();
    for content_type in [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "weird;;;",
    ] {
        let mut ask = browser
            .navigate("/form?step=2")
            .method(Method::POST)
            .body("a=1&b=canary-body");
        if !content_type.is_empty() {
            ask = ask.header("content-type", content_type);
        }
        let reply = ask.send().await;
        assert!(reply.status.is_client_error(), "{}", reply.status);
        assert!(reply.headers.get("location").is_none());
        assert!(
            reply.header("content-type").starts_with("text/html"),
            "a person reads this"
        );
        assert!(!reply.text().contains("canary-body"));
        assert_plain(&reply, "form");
    }
    assert_eq!(
        (upstream.count(), provider.calls("/authorize").len()),
        (0, 0)
    );
}

#[tokio::test]
async fn a_websocket_gets_401() {
    let (house, upstream, _provider) = standard().await;
    let opened = websocket::open(&house, &house.browser(), "/ws", &[]).await;
    let refused = opened.err().expect("no WebSocket without a session");
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(refused.headers().contains_key("www-authenticate"));
    assert!(!refused.headers().contains_key("set-cookie"));
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn grpc_gets_a_grpc_status() {
    let (house, upstream, _provider) = standard().await;
    let mut client = h2::connect(&house).await;
    for content_type in ["application/grpc", "application/grpc+proto"] {
        let headers = [("content-type", content_type), ("te", "trailers")];
        let request = h2::request("POST", &house.url("/pkg.Service/Method"), &headers);
        let response = h2::send(&mut client, request).await;
        assert_eq!(response.status(), StatusCode::OK, "{content_type}");
        let header = |name: &str| {
            let value = response.headers().get(name);
            value
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        };
        assert_eq!(
            header("grpc-status"),
            "16",
            "UNAUTHENTICATED, in a trailers-only answer"
        );
        assert!(header("content-type").starts_with("application/grpc"));
        assert_eq!(header("set-cookie"), "");
        assert!(h2::body(response).await.is_empty());
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn an_options_request_without_session_is_not_forwarded() {
    let (house, upstream, _provider) = standard().await;
    let reply = house
        .browser()
        .bare(Method::OPTIONS, "/api")
        .header("origin", "https://other.example")
        .header("access-control-request-method", "POST")
        .header("sec-fetch-mode", "cors")
        .send()
        .await;
    assert!(reply.status.is_client_error(), "{}", reply.status);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn pages_are_strict_about_what_they_load() {
    let (house, _upstream, provider) = standard().await;
    let browser = house.browser();
    provider.set(|behaviour| behaviour.error = Some(("access_denied".to_owned(), String::new())));
    let page = browser.follow("/").await;
    let policy = page.header("content-security-policy");
    for wanted in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(wanted), "{policy}");
    }
    assert!(
        !policy.contains("unsafe-inline") && !policy.contains("unsafe-eval"),
        "{policy}"
    );
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert!(!page.header("referrer-policy").is_empty());
    assert!(!page.text().to_lowercase().contains("<script"));
    assert!(page.text().contains("viewport"), "fit for a phone");
    assert!(page.text().contains("lang="));
    let line: Value = house.access_line("/oauth2/callback/script").await;
    let id = line["request_id"].as_str().expect("a request id");
    assert!(
        page.text().contains(id),
        "the page shows the request id that the log has"
    );
}
