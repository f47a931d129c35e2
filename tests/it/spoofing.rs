//! Identity headers are ours or absent: the client's own are removed in every spelling, on every path.

use std::fmt::Write as _;

use http::StatusCode;

use crate::support::{
    House, Upstream, h2, raw, standard, standard_with, upstream::Seen, websocket,
};

/// Names that apps and other proxies take an identity from.
const NAMES: [&str; 27] = [
    "X-User",
    "X-User-Id",
    "X-User-Email",
    "X-User-Name",
    "X-User-Groups",
    "X-User-Provider",
    "X-User-Assertion",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Auth-Request-Groups",
    "X-Auth-Request-Preferred-Username",
    "X-Auth-Request-Access-Token",
    "Remote-User",
    "Remote-Groups",
    "Remote-Email",
    "Remote-Name",
    "X-Remote-User",
    "X-Remote-Group",
    "X-WebAuth-User",
    "X-WebAuth-Email",
    "X-WebAuth-Groups",
    "X-WebAuth-Name",
];

/// The same name in the spellings that one app or another takes for it.
fn spellings(name: &str) -> Vec<String> {
    let odd = name
        .char_indices()
        .map(|(at, letter)| match at % 2 {
            0 => letter.to_ascii_lowercase(),
            _ => letter.to_ascii_uppercase(),
        })
        .collect();
    vec![
        name.to_owned(),
        name.to_lowercase(),
        name.to_uppercase(),
        odd,
        name.replace('-', "_"),
        name.replace('-', "."),
        name.replacen('-', "_", 1),
        name.to_lowercase().replace('-', "_"),
        name.to_lowercase().replace('-', "~"),
    ]
}

fn spoofed() -> Vec<(String, &'static str)> {
    NAMES
        .iter()
        .flat_map(|name| spellings(name))
        .map(|name| (name, "spoofed"))
        .collect()
}

pub fn assert_clean(seen: &Seen, what: &str) {
    let leaked: Vec<_> = seen
        .headers
        .iter()
        .filter(|(_, value)| value.contains("spoofed"))
        .collect();
    assert!(leaked.is_empty(), "{what}: {leaked:?}");
    let leaked: Vec<_> = seen
        .trailers
        .iter()
        .filter(|(_, value)| value.contains("spoofed"))
        .collect();
    assert!(leaked.is_empty(), "{what}, trailers: {leaked:?}");
}

/// A request over a raw connection with every spoofed header, a few at a time as servers bound their number.
async fn spoof(
    house: &House,
    upstream: &Upstream,
    method: &str,
    path: &str,
    cookies: &str,
) -> Vec<Seen> {
    let before = upstream.count();
    let all = spoofed();
    for some in all.chunks(PER_REQUEST) {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            house.address
        );
        for (name, value) in some {
            let _ = write!(request, "{name}: {value}\r\n");
            let _ = write!(request, "{name}: {value} twice\r\n");
        }
        if !cookies.is_empty() {
            let _ = write!(request, "Cookie: {cookies}\r\n");
        }
        let answer = raw::exchange(house, format!("{request}\r\n").as_bytes()).await;
        assert_eq!(raw::status(&answer), 200, "{method} {path}: {answer}");
    }
    let seen = upstream.seen().split_off(before);
    assert_eq!(seen.len(), all.len().div_ceil(PER_REQUEST));
    seen
}

#[tokio::test]
async fn spoofed_names_are_removed_when_signed_in() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    for method in ["GET", "OPTIONS", "DELETE"] {
        for seen in spoof(&house, &upstream, method, "/x", &browser.cookies("/x")).await {
            assert_clean(&seen, method);
            assert_eq!(seen.header("x-user"), Some("ada"), "and ours is there");
            assert_eq!(seen.header("x-user-groups"), Some("engineers"));
        }
    }
}

#[tokio::test]
async fn spoofed_names_are_removed_on_public_paths() {
    let (house, upstream, _provider) =
        standard_with(|plan| plan.route("/public/**", "public")).await;
    let browser = house.browser();
    for method in ["GET", "OPTIONS", "HEAD"] {
        for seen in spoof(&house, &upstream, method, "/public/x", "").await {
            assert_clean(&seen, method);
            assert_eq!(seen.header("x-user"), None);
        }
    }
    // Who is signed in is not told on a public path either, and the session does not leak there.
    browser.sign_in("/").await;
    for seen in spoof(
        &house,
        &upstream,
        "GET",
        "/public/x",
        &browser.cookies("/public/x"),
    )
    .await
    {
        assert_clean(&seen, "signed in");
        assert_eq!((seen.header("x-user"), seen.header("cookie")), (None, None));
    }
}

#[tokio::test]
async fn spoofed_names_are_removed_over_http2() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let cookies = browser.cookies("/");
    let lower: Vec<String> = NAMES
        .iter()
        .flat_map(|name| [name.to_lowercase(), name.to_lowercase().replace('-', "_")])
        .collect();
    let mut headers: Vec<(&str, &str)> = lower
        .iter()
        .map(|name| (name.as_str(), "spoofed"))
        .collect();
    headers.push(("cookie", &cookies));
    let mut client = h2::connect(&house).await;
    let response = h2::send(
        &mut client,
        h2::request("GET", &house.url("/two"), &headers),
    )
    .await;
    assert_eq!(response.status(), StatusCode::OK);
    let seen = upstream.seen().pop().expect("a request");
    assert_clean(&seen, "HTTP/2");
    assert_eq!(seen.header("x-user"), Some("ada"));
}

#[tokio::test]
async fn spoofed_names_are_removed_from_a_websocket_handshake() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let extra = [
        ("x-user", "spoofed"),
        ("x_user", "spoofed"),
        ("remote-user", "spoofed"),
    ];
    let (mut socket, _) = websocket::open(&house, &browser, "/ws", &extra)
        .await
        .unwrap_or_else(|refused| panic!("{refused:?}"));
    websocket::expect_echo(&mut socket, "hello").await;
    let seen = upstream.seen().pop().expect("a request");
    assert_clean(&seen, "WebSocket");
    assert_eq!(seen.header("x-user"), Some("ada"));
    assert_eq!(seen.header("cookie"), None);
}

#[tokio::test]
async fn spoofed_names_are_removed_from_trailers() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let request = format!(
        "POST /t HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\
         Trailer: X-User, X-Fine\r\n\r\n3\r\nabc\r\n0\r\nX-User: spoofed\r\nX_User_Email: spoofed\r\n\
         Remote-User: spoofed\r\nAuthorization: spoofed\r\nX-Fine: kept\r\n\r\n",
        house.address,
        browser.cookies("/t"),
    );
    let answer = raw::exchange(&house, request.as_bytes()).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    let seen = upstream.seen().pop().expect("a request");
    assert_eq!(seen.body, "abc");
    assert_clean(&seen, "trailers");
}

#[tokio::test]
async fn a_connection_header_cannot_take_ours_away() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    for nominated in [
        "X-User",
        "x-user, X-User-Id, X-User-Groups",
        "X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host",
        "Host",
        "Cookie, Content-Length",
    ] {
        let request = format!(
            "POST /c HTTP/1.1\r\nHost: {}\r\nCookie: app=1; {}\r\nX-User: spoofed\r\nContent-Length: 3\r\n\
             Connection: close, {nominated}\r\n\r\nabc",
            house.address,
            browser.cookies("/c"),
        );
        let answer = raw::exchange(&house, request.as_bytes()).await;
        assert_eq!(raw::status(&answer), 200, "{nominated}: {answer}");
        let seen = upstream.seen().pop().expect("a request");
        assert_clean(&seen, nominated);
        assert_eq!(seen.header("x-user"), Some("ada"), "{nominated}");
        assert_eq!(
            seen.header("x-user-id"),
            Some("script:ada-1815"),
            "{nominated}"
        );
        assert!(seen.header("x-forwarded-for").is_some(), "{nominated}");
        assert!(seen.header("host").is_some(), "{nominated}");
        assert_eq!(seen.body, "abc", "{nominated}");
    }
}

/// Names in one request, each twice: a request has a hundred headers at most.
const PER_REQUEST: usize = 45;
