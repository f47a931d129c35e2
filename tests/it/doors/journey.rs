//! What has to be so behind every proxy.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use tokio_tungstenite::{
    client_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};

use super::{Front, SITE};
use crate::support::{self, browser::Reply, upstream::Seen};

/// The spellings in which identity headers are forged.
const FORGED: [&str; 27] = [
    "X-User",
    "x-user",
    "X_User",
    "X.User",
    "X~User",
    "X!User",
    "X-User+Id",
    "X'User-Email",
    "X-User-Id|Missing",
    "X-User_Id",
    "X_User_Id",
    "X-User-Email",
    "X-User-Groups",
    "X-User-Groups_Missing",
    "X-User-Groups-Missing",
    "X-User-Missing",
    "X-User-Email-Missing",
    "X-User-Email_Missing",
    "X-User-Assertion-Missing",
    "X-User-Provider",
    "X-User-Name",
    "X-User-Assertion",
    "X-User_Assertion",
    "X-User-Auth",
    "X-User-Scopes",
    "X-User_Scopes",
    "X-User-Client",
];

/// What names another path, method or host than the one that was judged. Some apps serve what these name.
pub const MISLEADING: [&str; 19] = [
    "X-Original-URL",
    "X-Original-URI",
    "X-Original-Method",
    "X-Original-Host",
    "X-Rewrite-URL",
    "X-Override-URL",
    "X-HTTP-Method",
    "X-HTTP-Method-Override",
    "X-Method-Override",
    "X-Forwarded-Uri",
    "X-Forwarded-Url",
    "X-Forwarded-Path",
    "X-Forwarded-Method",
    "X-Forwarded",
    "Forwarded",
    "X-Host",
    "X-HTTP-Host-Override",
    "X-Envoy-Original-Path",
    "Proxy",
];

/// How a proxy differs from others.
pub struct Ways {
    /// What the app gets for an identity header that says nothing: none, or an empty one.
    pub nothing: Option<&'static str>,
    /// Whether a renewed cookie reaches the browser.
    pub renews: bool,
    /// Whether the gate itself serves the app.
    pub is_served_by_the_gate: bool,
}

impl Front {
    async fn forged(&self, path: &str) -> Reply {
        let mut ask = self.browser.navigate(path);
        let respelt = [
            "X_Original_URL",
            "X.Rewrite-URL",
            "X-Forwarded-Host",
            "X_Forwarded_Host",
            "X-Forwarded_For",
        ];
        for name in FORGED.into_iter().chain(MISLEADING).chain(respelt) {
            ask = ask.header(name, "mallory");
        }
        ask.send().await
    }
}

/// What the app saw has nothing of what a client said of itself.
fn is_clean(seen: &Seen) {
    let all = format!("{:?}", seen.headers);
    assert!(!all.contains("mallory"), "{all}");
    assert!(!all.contains("__Host-sidegate"), "{all}");
}

/// Login, refusals, headers, cookies, bodies, events, WebSockets, sign-out, and a gate that is away.
pub async fn is_kept(mut front: Front, ways: &Ways) {
    strangers(&front, ways).await;
    somebody(&front, ways).await;
    streams(&front).await;
    if ways.renews {
        renewal(&front).await;
    }
    sign_out(&front).await;
    without_the_gate(&mut front).await;
}

async fn strangers(front: &Front, ways: &Ways) {
    let browser = &front.browser;
    let wanted = "/deep/page?a=1&b=two%20words&c=%26";
    let first = browser.get(wanted).await;
    assert_eq!(first.status, StatusCode::FOUND, "{}", first.text());
    let next = first.location();
    assert_eq!(next.authority(), "app.example.com", "{next}");
    assert_eq!(next.path(), "/oauth2/sign_in", "{next}");
    assert!(
        first.header("location").starts_with(SITE) || ways.is_served_by_the_gate,
        "{next}"
    );
    for method in [Method::GET, Method::POST] {
        let status = browser.fetch(method, "/api").send().await.status;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    for (name, value) in [
        ("x-original-uri", "/public/x"),
        ("x-original-url", "https://app.example.com/public/x"),
        ("x-forwarded-uri", "/public/x"),
        ("x-forwarded-method", "GET"),
        ("x-forwarded-prefix", "/public"),
        ("x-forwarded-host", "evil.example"),
    ] {
        let forged = browser.navigate("/page").header(name, value);
        assert_eq!(forged.send().await.status, StatusCode::FOUND, "{name}");
    }
    let denied = browser.get("/internal/x").await.status;
    assert_eq!(denied, StatusCode::FORBIDDEN);
    for path in ["/public/..%2finternal/x", "/public/%2e%2e/internal/x"] {
        let raw =
            format!("GET {path} HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\n\r\n");
        let answer = support::raw::try_exchange(front.address, true, raw.as_bytes()).await;
        let status = support::raw::status(&answer.unwrap());
        assert!((400..500).contains(&status), "{path}: {status}");
    }
    assert_eq!(front.app.count(), 0, "nothing reaches the app");

    let seen = front.forged("/public/x").await.seen();
    is_clean(&seen);
    assert_eq!(seen.header("x-user"), ways.nothing);
}

async fn somebody(front: &Front, ways: &Ways) {
    let browser = &front.browser;
    let wanted = "/deep/page?a=1&b=two%20words&c=%26";
    let landed = browser.follow(wanted).await;
    assert_eq!(landed.url, browser.absolute(wanted));
    assert_eq!(landed.seen().target, wanted);
    browser.plant("theme", "dark");
    for path in ["/page", "/public/x"] {
        let seen = front.forged(path).await.seen();
        is_clean(&seen);
        let is_told = path == "/page";
        for (name, value) in [
            ("x-user", "ada"),
            ("x-user-id", "script:ada-1815"),
            ("x-user-provider", "script"),
        ] {
            let expected = if is_told { Some(value) } else { ways.nothing };
            assert_eq!(seen.header(name), expected, "{name} {path}");
        }
        assert_eq!(seen.header("x-user-email"), ways.nothing);
        assert_eq!(seen.header("cookie"), Some("theme=dark"), "{path}");
    }
    // A proxy drops what `Connection` names (RFC 9110 §7.6.1): a client's must not name the gate's.
    let hop = "close, X-User, X-User-Id, X-User-Missing";
    let seen = browser.navigate("/page").header("connection", hop);
    let seen = seen.send().await.seen();
    for (name, value) in [("x-user", "ada"), ("x-user-id", "script:ada-1815")] {
        assert_eq!(seen.header(name), Some(value), "{name} is dropped");
    }
    let body = "x".repeat(100_000);
    let sent = browser.fetch(Method::POST, "/upload").body(body);
    let seen = sent.send().await.seen();
    assert_eq!((&*seen.method, seen.body_length), ("POST", 100_000));
    let denied = browser.get("/internal/x").await.status;
    assert_eq!(denied, StatusCode::FORBIDDEN);
    let account = browser.get("/oauth2/account").await;
    assert_eq!(account.status, StatusCode::OK, "own pages are the gate's");
    // It begins as a door does, and is none.
    let own = browser.get("/oauth2/authorize").await;
    assert!(
        own.headers.contains_key("x-content-type-options"),
        "not the gate's: {own:?}"
    );
    if ways.is_served_by_the_gate {
        // Who writes a path anew has judged it.
        let path = "/public/a%2Fb;v=1//e|f";
        assert_eq!(browser.get(path).await.seen().target, path);
    } else {
        // They would read the app's cookies to a script.
        for door in [
            "/oauth2/auth",
            "/oauth2/auth/page",
            "/oauth2/forward",
            "/oauth2/forward/x",
            "/oauth2/%61uth",
            "/oauth2/%61uth/page",
            "/oauth2/%66orward",
            "/oauth2/auth;x",
            "/oauth2/forward%2F",
        ] {
            let mut asked = browser.fetch(Method::GET, door);
            for (name, value) in [
                ("x-original-uri", "/"),
                ("x-original-method", "GET"),
                ("x-forwarded-uri", "/"),
                ("x-forwarded-method", "GET"),
            ] {
                asked = asked.header(name, value);
            }
            let reply = asked.send().await;
            let shut = [
                StatusCode::NOT_FOUND,
                StatusCode::FORBIDDEN,
                StatusCode::BAD_REQUEST,
            ];
            assert!(shut.contains(&reply.status), "{door}: {}", reply.status);
            for name in ["cookie", "x-user"] {
                assert!(!reply.headers.contains_key(name), "{door}: {name}");
            }
        }
    }
}

async fn streams(front: &Front) {
    let browser = &front.browser;
    let mut came = String::new();
    // The app says eleven bytes ten times a second: who buffers a page of them takes a minute.
    let enough = async {
        let mut events = browser.fetch(Method::GET, "/_/events").begin().await;
        assert_eq!(events.status(), StatusCode::OK);
        while !came.contains("data: 3\n\n") {
            let frame = events.body_mut().frame().await.unwrap().unwrap();
            came.push_str(&String::from_utf8_lossy(&frame.into_data().unwrap()));
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), enough).await;
    assert!(in_time.is_ok(), "events are held back");

    let mut socket = open_websocket(front, SITE).await.unwrap();
    let seen = front.app.seen().pop().unwrap();
    assert_eq!(seen.header("x-user"), Some("ada"), "{seen:?}");
    socket.send(Message::text("hello")).await.unwrap();
    let echo = socket.next().await.unwrap().unwrap();
    assert_eq!(echo.into_text().unwrap().as_str(), "hello");
    let refused = open_websocket(front, "https://evil.example").await;
    assert_eq!(refused.err(), Some(StatusCode::FORBIDDEN));
}

type Socket = support::websocket::Socket;

/// Opens a WebSocket as a page of `origin` does. Fails with the status where it is refused.
async fn open_websocket(front: &Front, origin: &str) -> Result<Socket, StatusCode> {
    let mut request = "ws://app.example.com/ws".into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("origin", origin.parse().unwrap());
    headers.insert("connection", "Upgrade, X-User".parse().unwrap());
    headers.insert("sec-fetch-mode", "websocket".parse().unwrap());
    headers.insert("cookie", front.browser.cookies("/ws").parse().unwrap());
    match client_async(request, support::connect(front.address, true).await).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => Err(response.status()),
        Err(error) => panic!("the handshake fails without an answer: {error}"),
    }
}

/// A session that is used goes on, and the app's own cookies arrive beside.
async fn renewal(front: &Front) {
    for _ in 0..200 {
        let reply = front.browser.get("/_/cookie").await;
        assert_eq!(reply.status, StatusCode::OK);
        let cookies = reply.set_cookies();
        let begin = |name: &str| {
            cookies
                .iter()
                .filter(|cookie| cookie.starts_with(name))
                .count()
        };
        assert_eq!(begin("seen=1"), 1, "{cookies:?}");
        if begin("__Host-sidegate=") == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("no cookie was renewed");
}

async fn sign_out(front: &Front) {
    let browser = &front.browser;
    browser.sign_in("/").await;
    let out = browser.fetch(Method::POST, "/oauth2/sign_out");
    let out = out.header("origin", SITE).send().await;
    assert!(!out.status.is_client_error(), "{}", out.status);
    assert_eq!(browser.get("/").await.status, StatusCode::FOUND);
}

async fn without_the_gate(front: &mut Front) {
    let before = front.app.count();
    front.house.process.terminate();
    front.house.process.ended(Duration::from_secs(30)).await;
    for path in ["/", "/public/x"] {
        let status = front.browser.get(path).await.status;
        assert!(status.is_server_error(), "{path}: {status}");
    }
    assert_eq!(front.app.count(), before);
}
