//! The gate under its public name and under others: what the app is told, where a login begins, and which pages may open
//! a connection in a visitor's name.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt;

use crate::support::{House, h2, raw, standard_with};

/// Sends a request with these lines beside `Host`, and gives the head of the answer.
async fn head(house: &House, line: &str, lines: &[String]) -> String {
    let mut stream = house.connect().await;
    let request = format!("{line} HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"));
    stream.write_all(request.as_bytes()).await.expect("sent");
    raw::read_until(&mut stream, "\r\n\r\n", Duration::from_secs(10)).await
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

const PERSON: [&str; 3] = [
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Site: none",
];

/// As a person opens an address under `host`.
fn person(host: &str, more: &[&str]) -> Vec<String> {
    let mut lines = vec![format!("Host: {host}")];
    lines.extend(PERSON.iter().chain(more).map(ToString::to_string));
    lines
}

/// RFC 6454: scheme, host and port. What only looks like the own origin is another site's.
#[tokio::test]
async fn a_websocket_opens_for_pages_of_the_own_origin_alone() {
    let (house, _upstream, _provider) =
        standard_with(|plan| plan.top("redirect_hosts = [\"other.test\"]")).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let at = house.address;
    for (origins, may) in [
        (vec![format!("http://{at}")], true),
        (vec![format!("HTTP://{at}")], true),
        (vec!["https://other.test".to_owned()], true),
        (vec!["https://other.test:443".to_owned()], true),
        (vec![], true),
        (vec![format!("https://{at}")], false),
        (vec![format!("ftp://{at}")], false),
        (vec![format!("http://{at}/")], false),
        (vec![format!("http://{at}/page")], false),
        (vec![format!("http://user@{at}")], false),
        (vec![format!("{at}")], false),
        (vec!["null".to_owned()], false),
        (vec![String::new()], false),
        (vec!["https://other.test:8443".to_owned()], false),
        (vec!["https://evil.test".to_owned()], false),
        (
            vec![format!("http://{at}"), "https://evil.test".to_owned()],
            false,
        ),
        (vec![format!("http://{at} https://evil.test")], false),
    ] {
        let mut lines = vec![
            format!("Host: {at}"),
            format!("Cookie: {}", browser.cookies("/ws")),
            "Connection: Upgrade".to_owned(),
            "Upgrade: websocket".to_owned(),
            "Sec-WebSocket-Version: 13".to_owned(),
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==".to_owned(),
        ];
        lines.extend(origins.iter().map(|origin| format!("Origin: {origin}")));
        let answer = head(&house, "GET /ws", &lines).await;
        let expected = if may { 101 } else { 403 };
        assert_eq!(raw::status(&answer), expected, "{origins:?}: {answer}");
    }
}

/// Django compares a form's `Origin` with scheme and host as it is told them, and others redirect to https for ever.
#[tokio::test]
async fn the_app_sees_the_public_address_though_tls_ends_in_front_without_a_word() {
    for trusted in ["", "trusted_proxies = [\"127.0.0.1\"]"] {
        let (house, upstream, _provider) = standard_with(|plan| {
            plan.public_url("https://app.test")
                .route("/public/**", "public")
                .top(trusted)
        })
        .await;
        for (host, hop, expected) in [
            ("app.test", None, ("https", "app.test")),
            ("App.Test:443", None, ("https", "app.test")),
            ("app.test", Some("http"), ("https", "app.test")),
            // What came for another name is told as it came.
            ("app.test:80", None, ("http", "app.test:80")),
            ("other.test", None, ("http", "other.test")),
        ] {
            let before = upstream.count();
            let mut lines = vec![
                format!("Host: {host}"),
                "Origin: https://app.test".to_owned(),
                "Content-Length: 0".to_owned(),
            ];
            lines.extend(hop.map(|hop| format!("X-Forwarded-Proto: {hop}")));
            let answer = head(&house, "POST /public/form", &lines).await;
            assert_eq!(raw::status(&answer), 200, "{answer}");
            let seen = upstream.seen().remove(before);
            let told = (
                seen.header("x-forwarded-proto").unwrap_or_default(),
                seen.header("x-forwarded-host").unwrap_or_default(),
            );
            assert_eq!(told, expected, "{host} {hop:?} {trusted}");
        }
    }
}

#[tokio::test]
async fn another_name_leads_to_the_public_one_before_the_login() {
    let (house, upstream, _provider) = standard_with(|plan| {
        plan.public_url("http://app.test")
            .route("/public/**", "public")
    })
    .await;
    for (line, there) in [
        ("GET /page?x=1&y=%2F", "http://app.test/page?x=1&y=%2F"),
        ("HEAD /page", "http://app.test/page"),
        (
            "GET /oauth2/start?rd=%2Fdeep",
            "http://app.test/oauth2/start?rd=%2Fdeep",
        ),
        (
            "GET /oauth2/sign_in?rd=%2Fdeep",
            "http://app.test/oauth2/sign_in?rd=%2Fdeep",
        ),
    ] {
        for host in ["other.test", "app.test.evil.test", "10.0.0.1:4180"] {
            let answer = head(&house, line, &person(host, &[])).await;
            assert_eq!(raw::status(&answer), 302, "{line} {host}: {answer}");
            assert_eq!(field(&answer, "location"), Some(there), "{line} {host}");
        }
    }
    assert_eq!(upstream.count(), 0);
    // What is no person's navigation is told, not led; and what asks for nobody is served as it is.
    let post = person("other.test", &["Content-Length: 0"]);
    let answer = head(&house, "POST /page", &post).await;
    assert_eq!(raw::status(&answer), 401, "{answer}");
    let script = vec!["Host: other.test".to_owned()];
    let answer = head(&house, "GET /page", &script).await;
    assert_eq!(raw::status(&answer), 401, "{answer}");
    let answer = head(&house, "GET /public/x", &person("other.test", &[])).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    // Under the public name, in whatever spelling, the login begins.
    for host in ["app.test", "APP.test:80"] {
        let answer = head(&house, "GET /page", &person(host, &[])).await;
        assert_eq!(
            field(&answer, "location"),
            Some("/oauth2/sign_in?rd=%2Fpage")
        );
    }
}

/// nginx sends its upstream's name as `Host` unless it is told otherwise. Browsers come by the public name all the same,
/// and must not be led in a circle.
#[tokio::test]
async fn a_proxy_that_writes_another_host_makes_no_circle() {
    let (house, _upstream, _provider) =
        standard_with(|plan| plan.public_url("http://app.test")).await;
    let mut cookies = String::new();
    let mut target = "/page".to_owned();
    for _ in 0..8 {
        let cookie = format!("Cookie: {cookies}");
        let lines = person("127.0.0.1:4180", &[&cookie]);
        let answer = head(&house, &format!("GET {target}"), &lines).await;
        assert_eq!(raw::status(&answer), 302, "{answer}");
        let location = field(&answer, "location").unwrap_or_default().to_owned();
        if location.contains("/authorize") {
            return;
        }
        if let Some(cookie) = field(&answer, "set-cookie") {
            cookies = cookie.split(';').next().unwrap_or_default().to_owned();
        }
        target = location.trim_start_matches("http://app.test").to_owned();
        assert!(target.starts_with('/'), "{location}");
    }
    panic!("no login begins");
}

#[tokio::test]
async fn a_tunnel_over_http2_is_refused_in_words() {
    let (house, upstream, _provider) = standard_with(|plan| plan.route("/**", "public")).await;
    let mut client = h2::connect(&house).await;
    let request = http::Request::builder()
        .method(Method::CONNECT)
        .uri("evil.test:443")
        .body(http_body_util::Full::default())
        .expect("a request");
    let answer = h2::send(&mut client, request).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let text = h2::body(answer).await;
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("CONNECT is not served"), "{text}");
    assert_eq!(upstream.count(), 0);
}
