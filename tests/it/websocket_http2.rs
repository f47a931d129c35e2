//! WebSockets over HTTP/2 (RFC 8441): an extended CONNECT from the client, HTTP/1.1 to the app.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, ext::Protocol};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::protocol::{Message, Role},
};

use crate::support::{
    Browser, Duplex, House, h2,
    h2::Client,
    standard_with,
    websocket::{Socket, expect_echo},
};

/// A connection whose settings have come: before that no client may ask (§3).
async fn connect(house: &House) -> Client {
    let mut client = h2::connect(house).await;
    let ping = h2::request("GET", &house.url("/oauth2/ping"), &[]);
    assert_eq!(h2::send(&mut client, ping).await.status(), StatusCode::OK);
    client
}

async fn ask(
    client: &mut Client,
    house: &House,
    path: &str,
    protocol: &'static str,
    headers: &[(&str, &str)],
) -> Response<Incoming> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(house.url(path))
        .extension(Protocol::from_static(protocol))
        .header("sec-websocket-version", "13");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::default()).expect("a request");
    h2::send(client, request).await
}

/// The tunnel of an answer that opened one.
async fn socket(response: Response<Incoming>) -> Socket {
    assert_eq!(response.status(), StatusCode::OK);
    let tunnel = hyper::upgrade::on(response).await.expect("a tunnel");
    let stream: Box<dyn Duplex> = Box::new(TokioIo::new(tunnel));
    WebSocketStream::from_raw_socket(stream, Role::Client, None).await
}

async fn open(client: &mut Client, house: &House, browser: &Browser) -> Socket {
    let cookies = browser.cookies("/ws");
    let headers = [("cookie", &*cookies), ("origin", &house.public_url)];
    socket(ask(client, house, "/ws", "websocket", &headers).await).await
}

#[tokio::test]
async fn a_websocket_opens_over_http2_as_over_http1() {
    for tls in [false, true] {
        let (house, upstream, _provider) =
            standard_with(|plan| if tls { plan.tls() } else { plan }).await;
        let browser = house.browser();
        browser.sign_in("/").await;
        let mut client = connect(&house).await;
        let cookies = browser.cookies("/ws");
        let headers = [
            ("cookie", &*cookies),
            ("origin", &house.public_url),
            // The handshake's key is between the gate and the app.
            ("sec-websocket-key", "bm90IHRoZSBnYXRlJ3MhIQ=="),
            ("x-user", "forged"),
        ];
        let response = ask(&mut client, &house, "/ws?x=1", "websocket", &headers).await;
        for name in [
            "sec-websocket-accept",
            "connection",
            "upgrade",
            "content-length",
        ] {
            assert!(!response.headers().contains_key(name), "{name}");
        }
        let mut opened = socket(response).await;
        expect_echo(&mut opened, "over HTTP/2").await;
        expect_echo(&mut opened, &"x".repeat(100_000)).await;
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!(
            (&*seen.method, &*seen.version, &*seen.target),
            ("GET", "HTTP/1.1", "/ws?x=1")
        );
        assert_eq!(seen.header("upgrade"), Some("websocket"));
        assert_eq!(seen.header("x-user"), Some("ada"));
        assert_eq!(seen.all("sec-websocket-key").len(), 1);
        assert_ne!(
            seen.header("sec-websocket-key"),
            Some("bm90IHRoZSBnYXRlJ3MhIQ==")
        );
        assert!(
            !seen
                .header("cookie")
                .unwrap_or_default()
                .contains("sidegate")
        );
        // Beside it the connection serves requests, and more tunnels.
        let mut second = open(&mut client, &house, &browser).await;
        expect_echo(&mut second, "another").await;
        expect_echo(&mut opened, "still here").await;
        let page = h2::request("GET", &house.url("/page"), &[("cookie", &cookies)]);
        assert_eq!(h2::send(&mut client, page).await.status(), StatusCode::OK);
        opened.close(None).await.expect("closed");
        while let Some(Ok(_)) = opened.next().await {}
        // Its own half of the stream ends with it.
        drop(opened);
        let line = house.access_line("/ws").await;
        assert_eq!(line["status"], 200, "{line}");
    }
}

#[tokio::test]
async fn an_open_tunnel_is_one_request_under_way() {
    let (house, _upstream, _provider) = standard_with(|plan| {
        plan.tables("[limits]\nconnections_per_client = 9\nrequests_per_client = 2\n")
    })
    .await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let mut client = connect(&house).await;
    let _first = open(&mut client, &house, &browser).await;
    let _second = open(&mut client, &house, &browser).await;
    let cookies = browser.cookies("/ws");
    let headers = [("cookie", &*cookies), ("origin", &house.public_url)];
    let third = ask(&mut client, &house, "/ws", "websocket", &headers).await;
    assert_eq!(third.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn what_may_not_pass_over_http1_may_not_over_http2() {
    let (house, upstream, _provider) =
        standard_with(|plan| plan.route("/closed/**", "deny").route("/open/**", "public")).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let cookies = browser.cookies("/ws");
    let own = house.public_url.clone();
    let before = upstream.count();
    let mut client = connect(&house).await;
    for (path, protocol, cookie, origin, expected) in [
        ("/ws", "websocket", "", &*own, 401),
        ("/ws", "websocket", &*cookies, "https://evil.test", 403),
        ("/ws", "websocket", &cookies, "null", 403),
        ("/closed/ws", "websocket", &cookies, &own, 403),
        ("/ws", "connect-udp", &cookies, &own, 400),
        ("/ws", "WebSocket", &cookies, &own, 400),
        ("/open/%2e%2e/ws", "websocket", "", &own, 400),
        ("/oauth2/ping", "websocket", &cookies, &own, 400),
    ] {
        let mut headers = vec![("origin", origin)];
        if !cookie.is_empty() {
            headers.push(("cookie", cookie));
        }
        let answer = ask(&mut client, &house, path, protocol, &headers).await;
        assert_eq!(
            answer.status().as_u16(),
            expected,
            "{path} {protocol} {origin}"
        );
    }
    assert_eq!(upstream.count(), before);
    // An app that does not switch opens no tunnel, whatever it says.
    let headers = [("origin", &*own), ("cookie", &cookies)];
    let answer = ask(&mut client, &house, "/page", "websocket", &headers).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(upstream.count(), before + 1);
}

#[tokio::test]
async fn a_tunnel_ends_with_its_session() {
    let (house, _upstream, _provider) = standard_with(|plan| plan).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let mut client = connect(&house).await;
    let mut opened = open(&mut client, &house, &browser).await;
    expect_echo(&mut opened, "before").await;
    let out = browser.fetch(Method::POST, "/oauth2/sign_out").send().await;
    assert_eq!(out.status, StatusCode::OK);
    let last = tokio::time::timeout(Duration::from_secs(20), opened.next()).await;
    let Some(Ok(Message::Close(Some(frame)))) = last.expect("it is closed") else {
        panic!("no close frame");
    };
    assert_eq!(u16::from(frame.code), 1008);
}

/// Its connection has no answer under way, and is not idle.
#[tokio::test]
async fn a_connection_with_a_tunnel_is_not_idle() {
    let (house, _upstream, _provider) = standard_with(|plan| {
        plan.admin()
            .tables("[limits]\nhttp2_idle_timeout = \"1s\"\nhttp2_resets = 1\n")
    })
    .await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let mut client = connect(&house).await;
    let mut tunnels = Vec::new();
    // Nor is a tunnel a reset: of these the client may have one.
    for _ in 0..4 {
        tunnels.push(open(&mut client, &house, &browser).await);
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    for tunnel in &mut tunnels {
        expect_echo(tunnel, "still here").await;
    }
    drop((tunnels, client));
    // Without one it is.
    let mut idle = connect(&house).await;
    house.limit_is_hit("http2_idle_timeout").await;
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while idle.ready().await.is_ok() {
        assert!(std::time::Instant::now() < end, "an idle connection ends");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
