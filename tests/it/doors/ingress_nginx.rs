//! ingress-nginx, by what its template sends. The nginx below it is the one that `nginx.rs` runs.

use super::{
    Page, SITE,
    scripted::{Client, Outcome, list_after},
    with_lines,
};
use crate::support::{House, ScriptedProvider, Upstream};

/// `X-Original-URL` is `$scheme://$http_host$request_uri`, and `Host` the name in `auth-url`.
fn question(client: &Client<'_>) -> String {
    let (method, uri) = (client.method, client.uri);
    let own = [
        "x-original-url",
        "x-original-method",
        "x-real-ip",
        "x-forwarded-for",
        "x-auth-request-redirect",
        "x-sent-from",
        "connection",
        "upgrade",
    ];
    let copied = client.lines(|name| !own.contains(&name));
    format!(
        "GET /oauth2/auth HTTP/1.1\r\nHost: sidegate.default.svc.cluster.local\r\n\
         X-Original-URL: https://app.example.com{uri}\r\nX-Original-Method: {method}\r\n\
         X-Sent-From: nginx-ingress-controller\r\nX-Real-IP: 192.0.2.7\r\nX-Forwarded-For: 192.0.2.7\r\n\
         X-Auth-Request-Redirect: {uri}\r\n{copied}\r\n"
    )
}

#[tokio::test]
async fn ingress_nginx_asks_the_gate() {
    let page = Page::open("ingress-nginx");
    let recipe = page.block("yaml");
    let copied = list_after(&recipe, "auth-response-headers: ");
    // To sign in at; what the proxy serves is not asked here.
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let lines = page.block("toml").replace("10.0.0.0/8", "127.0.0.0/8");
    let plan = House::plan()
        .public_url(SITE)
        .upstream(&upstream)
        .provider(&provider)
        .route("/public/**", "public")
        .route("/internal/**", "deny");
    let house = with_lines(plan, &lines).start().await;
    let browser = house.browser();
    let ask = async |client: Client<'_>| {
        // What nginx drops by itself (`ignore_invalid_headers`, `underscores_in_headers`).
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let client = client.without(|name| !name.bytes().all(is_plain));
        let answer = client.exchange(&house, &question(&client)).await;
        client.outcome(&answer, &copied, false)
    };
    let stranger = |uri| Client::navigating(uri).forged();
    for (uri, status) in [("/a", 401), ("/internal/x", 403), ("/public/../a", 403)] {
        let outcome = ask(stranger(uri)).await;
        let Outcome::Answer(its, _) = outcome else {
            panic!("{uri}: {outcome:?}")
        };
        assert_eq!(its, status, "{uri}");
    }
    let forged = stranger("/a").header("x-original-uri", "/public/x");
    let forged = ask(forged.header("x-forwarded-uri", "/public/x")).await;
    assert!(matches!(forged, Outcome::Answer(401, _)), "{forged:?}");
    let Outcome::Passes(seen) = ask(stranger("/public/x")).await else {
        panic!("anybody passes")
    };
    assert!(!format!("{seen:?}").contains("mallory"), "{seen:?}");
    browser.sign_in("/").await;
    let cookie = format!("theme=dark; {}", browser.cookies("/"));
    let ada = || stranger("/a").header("cookie", &cookie);
    let Outcome::Passes(seen) = ask(ada()).await else {
        panic!("she passes")
    };
    let all = format!("{seen:?}");
    assert!(
        !all.contains("mallory") && !all.contains("__Host-"),
        "{all}"
    );
    for (name, value) in [("x-user", "ada"), ("cookie", "theme=dark")] {
        assert!(
            seen.contains(&(name.to_owned(), value.to_owned())),
            "{name}: {all}"
        );
    }
    let socket = ada()
        .header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")
        .header("origin", "https://evil.example");
    assert!(matches!(ask(socket).await, Outcome::Answer(403, _)));
    let out = browser.fetch(http::Method::POST, "/oauth2/sign_out");
    out.header("origin", SITE).send().await;
    assert!(matches!(ask(ada()).await, Outcome::Answer(401, _)));
}
