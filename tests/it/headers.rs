//! What crosses the border: identity headers are ours or absent, own cookies stay here.

use futures_util::StreamExt;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    Browser, House, Upstream, h2, raw, standard, standard_with, upstream::Seen, websocket,
};

/// Names that apps and other proxies take an identity from.
const NAMES: [&str; 28] = [
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
    "X-Access-Token",
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

fn assert_clean(seen: &Seen, what: &str) {
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
    for some in all.chunks(60) {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            house.address
        );
        for (name, value) in some {
            request += &format!("{name}: {value}\r\n");
            request += &format!("{name}: {value} twice\r\n");
        }
        if !cookies.is_empty() {
            request += &format!("Cookie: {cookies}\r\n");
        }
        let answer = raw::exchange(house, format!("{request}\r\n").as_bytes()).await;
        assert_eq!(raw::status(&answer), 200, "{method} {path}: {answer}");
    }
    let seen = upstream.seen().split_off(before);
    assert_eq!(seen.len(), all.len().div_ceil(60));
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
    drop(socket.next());
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

#[tokio::test]
async fn no_groups_means_no_groups() {
    let (house, _upstream, provider) = standard().await;
    provider.user("groups", Value::Null);
    let browser = house.browser();
    browser.sign_in("/").await;
    let reply = browser
        .navigate("/")
        .header("X-User-Groups", "admins")
        .send()
        .await;
    assert!(
        reply
            .seen()
            .header("x-user-groups")
            .is_none_or(str::is_empty)
    );
}

#[tokio::test]
async fn headers_that_name_another_path_open_nothing() {
    let (house, upstream, _provider) =
        standard_with(|plan| plan.route("/public/**", "public")).await;
    let browser = house.browser();
    for name in [
        "X-Forwarded-Uri",
        "X-Original-URL",
        "X-Original-URI",
        "X-Rewrite-URL",
        "X-Forwarded-Path",
        "X-Forwarded-Prefix",
        "X-Forwarded-Method",
        "X-HTTP-Method-Override",
    ] {
        let reply = browser
            .navigate("/admin")
            .header(name, "/public/x")
            .send()
            .await;
        assert_eq!(reply.status, StatusCode::FOUND, "{name}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn claims_cannot_break_out_of_their_header() {
    for (name, expected) in [
        ("Zoë", Some("Zo%C3%AB")),
        ("a\r\nX-Injected: 1", None),
        ("a\nX-Injected: 1", None),
        ("a\rb", None),
        ("a\0b", None),
        ("tab\there", None),
        (" spaces around ", None),
        ("100% sure", None),
        ("\u{202e}evil\u{7f}", None),
    ] {
        let (house, _upstream, provider) = standard().await;
        provider.user("name", json!(name));
        provider.user("groups", json!([name, "plain"]));
        let seen = house.browser().sign_in("/").await.seen();
        assert!(seen.all("x-injected").is_empty(), "{name:?}");
        for header in ["x-user-name", "x-user-groups"] {
            let value = seen.header(header).unwrap_or_default();
            assert!(
                value.bytes().all(|byte| (0x20..0x7f).contains(&byte)),
                "{name:?} in {header}: {value:?}"
            );
        }
        if let Some(expected) = expected {
            assert_eq!(seen.header("x-user-name"), Some(expected));
        }
        let groups = seen.header("x-user-groups").unwrap_or_default();
        assert!(groups.split(',').any(|group| group == "plain"), "{groups}");
    }
}

#[tokio::test]
async fn a_very_long_claim_does_not_break_the_request() {
    let (house, _upstream, provider) = standard().await;
    provider.user("name", json!("n".repeat(8_192)));
    let reply = house.browser().follow("/").await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(reply.seen().header("x-user"), Some("ada"));
}

/// The raw `Cookie` header as the upstream gets it.
async fn cookie_seen(house: &House, upstream: &Upstream, cookies: &[String]) -> Option<String> {
    let mut request = format!(
        "GET /c HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
        house.address
    );
    for header in cookies {
        request += &format!("Cookie: {header}\r\n");
    }
    let answer = raw::exchange(house, format!("{request}\r\n").as_bytes()).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    let seen = upstream.seen().pop().expect("a request");
    seen.header("cookie").map(str::to_owned)
}

#[tokio::test]
async fn own_cookies_stay_here_and_the_apps_stay_as_they_are() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let session = format!(
        "sidegate={}",
        browser.cookie("sidegate").expect("a session")
    );
    let own = browser.cookies("/");
    assert_eq!(cookie_seen(&house, &upstream, &[own]).await, None);
    for (sent, expected) in [
        (vec![format!("a=1; {session}; b=2")], "a=1; b=2"),
        (vec![format!("{session}; a=1; b=2")], "a=1; b=2"),
        (vec![format!("a=1; b=2; {session}")], "a=1; b=2"),
        (
            vec![format!("a=\"x y\"; {session}; b={{\"j\":1}}")],
            "a=\"x y\"; b={\"j\":1}",
        ),
        (
            vec![format!("a=b=c==; {session}; flag; =v")],
            "a=b=c==; flag; =v",
        ),
        (
            vec![format!(
                "a=1; {session}; sidegated=1; xsidegate=2; sidegate2=3"
            )],
            "a=1; sidegated=1; xsidegate=2; sidegate2=3",
        ),
        (
            vec![format!("a=1; {session}; Sidegate=case")],
            "a=1; Sidegate=case",
        ),
        (
            vec!["a=1".to_owned(), session.clone(), "b=2".to_owned()],
            "a=1; b=2",
        ),
    ] {
        let seen = cookie_seen(&house, &upstream, &sent).await;
        assert_eq!(seen.as_deref(), Some(expected), "{sent:?}");
    }
    // Odd separators are the app's business; none may be lost or glued.
    let odd = cookie_seen(&house, &upstream, &[format!("a=1; ; {session};b=2;; c=3")]).await;
    let odd = odd.expect("the app's cookies");
    assert!(
        odd.contains("a=1; ;") && odd.contains("b=2;;") && odd.ends_with("c=3"),
        "{odd}"
    );
    assert!(!odd.contains("sidegate"), "{odd}");
}

#[tokio::test]
async fn without_own_cookies_the_header_is_untouched() {
    let (house, upstream, _provider) = standard_with(|plan| plan.route("/c", "public")).await;
    for sent in [
        "a=1; ; b=2",
        "a=1;b=2",
        "  weird ;; x",
        "a=\"1; b\"",
        "x=\u{e9}",
    ] {
        let seen = cookie_seen(&house, &upstream, &[sent.to_owned()]).await;
        assert_eq!(seen.as_deref(), Some(sent.trim()));
    }
}

#[tokio::test]
async fn an_app_cannot_set_or_clear_the_session() {
    let (house, _upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let reply = browser.get("/_/headers").await;
    let names: Vec<String> = reply
        .set_cookies()
        .iter()
        .filter_map(|header| Some(header.split_once('=')?.0.to_owned()))
        .collect();
    assert_eq!(names, ["app", "other"]);
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
}

/// A request with forwarding headers of the client's own.
async fn forwarded(browser: &Browser) -> Seen {
    let reply = browser
        .navigate("/public/f")
        .header("X-Forwarded-For", "203.0.113.9, 198.51.100.7")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "evil.example")
        .header("X-Forwarded-Port", "7")
        .header("X-Real-IP", "203.0.113.9")
        .header("Forwarded", "for=203.0.113.9;proto=https;host=evil.example")
        .send()
        .await;
    reply.seen()
}

#[tokio::test]
async fn forwarding_headers_are_rebuilt() {
    let (house, _upstream, _provider) =
        standard_with(|plan| plan.route("/public/**", "public")).await;
    let seen = forwarded(&house.browser()).await;
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(
        seen.header("x-forwarded-host"),
        Some(house.address.to_string().as_str())
    );
    let text = format!("{:?}", seen.headers);
    assert!(
        !text.contains("evil.example") && !text.contains("203.0.113.9"),
        "{text}"
    );
    let line = house.access_line("/public/f").await;
    assert!(!line.to_string().contains("203.0.113.9"), "{line}");
}

#[tokio::test]
async fn a_trusted_proxys_word_counts() {
    let (house, _upstream, _provider) = standard_with(|plan| {
        plan.route("/public/**", "public")
            .top("trusted_proxies = [\"127.0.0.0/8\"]")
    })
    .await;
    let seen = forwarded(&house.browser()).await;
    let chain = seen.header("x-forwarded-for").expect("a chain");
    assert!(
        chain.starts_with("198.51.100.7") || chain.contains("198.51.100.7"),
        "{chain}"
    );
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    let line = house.access_line("/public/f").await.to_string();
    assert!(
        line.contains("198.51.100.7"),
        "the log names the first untrusted from the right: {line}"
    );
}

#[tokio::test]
async fn headers_of_the_configuration_are_set_and_guarded() {
    let (house, upstream, provider) = standard_with(|plan| {
        plan.route("/public/**", "public").tables(
            "[headers]\nset = { X-Campus = \"claims.campus.0.name\", X-Api-Token = \"access_token\" }",
        )
    })
    .await;
    provider.user("campus", json!([{ "name": "Paris" }]));
    let browser = house.browser();
    let seen = browser.sign_in("/").await.seen();
    assert_eq!(seen.header("x-campus"), Some("Paris"));
    assert!(
        seen.header("x-api-token")
            .is_some_and(|token| token.starts_with("canary-access-token"))
    );
    assert_eq!(seen.header("x-user"), Some("ada"), "the preset stays");
    let reply = house
        .browser()
        .bare(Method::GET, "/public/x")
        .header("X-Campus", "spoofed")
        .header("X_Api_Token", "spoofed")
        .send()
        .await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_clean(
        &upstream.seen().pop().expect("a request"),
        "configured names",
    );
}

#[tokio::test]
async fn the_apps_authorization_header_is_the_apps() {
    let (house, _upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let reply = browser
        .navigate("/")
        .header("authorization", "Bearer of-the-app")
        .send()
        .await;
    assert_eq!(
        reply.seen().header("authorization"),
        Some("Bearer of-the-app")
    );
}
