//! Connections and protocols: HTTP/1.1 and HTTP/2 in, upgrades through, hop-by-hop headers nowhere.

use std::time::Duration;

use futures_util::StreamExt;
use http::{Method, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{
    Browser, House, ScriptedProvider, Upstream, h2, raw, standard, standard_with, websocket,
};

async fn signed_in() -> (House, Upstream, ScriptedProvider, Browser) {
    let (house, upstream, provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    (house, upstream, provider, browser)
}

#[tokio::test]
async fn a_websocket_echoes() {
    let (house, _upstream, _provider, browser) = signed_in().await;
    let opened = websocket::open(&house, &browser, "/ws", &[]).await;
    let (mut socket, response) = opened.unwrap_or_else(|refused| panic!("{refused:?}"));
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    for text in ["one", "two", &"long ".repeat(20_000)] {
        websocket::expect_echo(&mut socket, text).await;
    }
}

#[tokio::test]
async fn a_subprotocol_is_negotiated_by_the_upstream() {
    let (house, upstream, _provider, browser) = signed_in().await;
    let offered = [("sec-websocket-protocol", "v1.other, v2.echo")];
    let opened = websocket::open(&house, &browser, "/ws", &offered).await;
    let (mut socket, response) = opened.unwrap_or_else(|refused| panic!("{refused:?}"));
    assert_eq!(response.headers()["sec-websocket-protocol"], "v2.echo");
    websocket::expect_echo(&mut socket, "hello").await;
    let seen = upstream.seen().pop().expect("a request");
    assert_eq!(
        seen.header("sec-websocket-protocol"),
        Some("v1.other, v2.echo")
    );
    assert_eq!(seen.header("x-user"), Some("ada"));
}

#[tokio::test]
async fn an_upgrade_that_the_upstream_refuses_is_an_answer() {
    let (house, _upstream, _provider, browser) = signed_in().await;
    for (path, status, text) in [
        ("/_/refuse-upgrade", StatusCode::FORBIDDEN, "refused"),
        ("/_/upgrade-ignored", StatusCode::OK, "not a tunnel"),
    ] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            house.address,
            browser.cookies("/"),
        );
        let answer = raw::exchange(&house, request.as_bytes()).await;
        assert_eq!(raw::status(&answer), status.as_u16(), "{answer}");
        assert!(answer.contains(text), "{answer}");
    }
}

#[tokio::test]
async fn closing_a_websocket_closes_both_ends() {
    let (house, upstream, _provider, browser) = signed_in().await;
    let opened = websocket::open(&house, &browser, "/ws", &[]).await;
    let (mut socket, _) = opened.unwrap_or_else(|refused| panic!("{refused:?}"));
    websocket::expect_echo(&mut socket, "hello").await;
    // The upstream goes without a word: the client notices.
    websocket::expect_echo(&mut socket, "go away").await;
    let end = tokio::time::timeout(Duration::from_secs(5), async {
        while let Some(Ok(_)) = socket.next().await {}
    });
    end.await.expect("the socket ends with its upstream");
    upstream
        .wait_until("its own end", |upstream| upstream.aborted() == 1)
        .await;
    // The client goes without a word: the upstream notices.
    let opened = websocket::open(&house, &browser, "/ws", &[]).await;
    let (mut socket, _) = opened.unwrap_or_else(|refused| panic!("{refused:?}"));
    websocket::expect_echo(&mut socket, "hello").await;
    drop(socket);
    upstream
        .wait_until("the client's end", |upstream| upstream.aborted() == 2)
        .await;
}

#[tokio::test]
async fn other_upgrades_make_no_tunnel() {
    let (house, upstream, _provider, browser) = signed_in().await;
    // What is HTTP again, or beneath it, is between two hops; of the rest the app decides, which here knows none.
    for (upgrade, handed_on) in [
        ("h2c", None),
        ("TLS/1.0", None),
        ("connect-ip", Some("connect-ip")),
    ] {
        let request = format!(
            "GET /other HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\nConnection: Upgrade, HTTP2-Settings, close\r\n\
             Upgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
            house.address,
            browser.cookies("/"),
        );
        let answer = raw::exchange(&house, request.as_bytes()).await;
        assert_eq!(raw::status(&answer), 200, "{upgrade}: {answer}");
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!(seen.target, "/other");
        assert_eq!(seen.header("upgrade"), handed_on);
        assert_eq!(seen.header("http2-settings"), None);
    }
}

#[tokio::test]
async fn hop_by_hop_headers_stop_here_on_the_way_in() {
    let (house, upstream, _provider, browser) = signed_in().await;
    let request = format!(
        "GET /hop HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\nConnection: close, X-Hop, Keep-Alive\r\nX-Hop: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\n\
         TE: gzip, trailers\r\nX-End-To-End: kept\r\n\r\n",
        house.address,
        browser.cookies("/"),
    );
    let answer = raw::exchange(&house, request.as_bytes()).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    let seen = upstream.seen().pop().expect("a request");
    for name in [
        "x-hop",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "transfer-encoding",
        "upgrade",
    ] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert!(
        seen.header("te").is_none_or(|value| value == "trailers"),
        "{seen:?}"
    );
    assert!(
        seen.header("connection")
            .is_none_or(|value| !value.to_lowercase().contains("hop"))
    );
    assert_eq!(seen.header("x-end-to-end"), Some("kept"));
}

#[tokio::test]
async fn hop_by_hop_headers_stop_here_on_the_way_out() {
    let (_house, _upstream, _provider, browser) = signed_in().await;
    let reply = browser.get("/_/headers").await;
    for name in [
        "x-hop",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
    ] {
        assert!(!reply.headers.contains_key(name), "{name}");
    }
    assert_eq!(reply.header("x-end-to-end"), "kept");
    assert_eq!(
        reply.header("cache-control"),
        "max-age=7",
        "the app's own business"
    );
    assert!(
        !reply.headers.contains_key("content-security-policy"),
        "our pages' headers stay ours"
    );
}

#[tokio::test]
async fn statuses_pass_as_they_are() {
    let (_house, _upstream, _provider, browser) = signed_in().await;
    for code in [201, 204, 301, 304, 401, 403, 404, 418, 500, 503, 599] {
        let reply = browser.get(&format!("/_/status?code={code}")).await;
        assert_eq!(reply.status.as_u16(), code);
        if ![204, 304].contains(&code) {
            assert_eq!(reply.text(), format!("status {code}"));
        }
    }
}

#[tokio::test]
async fn connections_to_the_upstream_are_kept() {
    let (_house, upstream, _provider, browser) = signed_in().await;
    for _ in 0..30 {
        assert_eq!(browser.get("/").await.status, StatusCode::OK);
    }
    let connections = upstream.server.connections();
    assert!(
        connections <= 4,
        "{connections} connections for 31 requests"
    );
}

#[tokio::test]
async fn a_restarted_upstream_is_found_again() {
    let (house, upstream, _provider, browser) = signed_in().await;
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    upstream.server.down();
    let reply = browser.get("/").await;
    assert_eq!(reply.status, StatusCode::BAD_GATEWAY);
    let text = reply.text();
    assert!(
        !text.contains(&upstream.address.to_string())
            && !text.contains(&upstream.address.port().to_string())
    );
    assert!(
        !text.to_lowercase().contains("refused") && !text.contains("os error"),
        "{text}"
    );
    assert_eq!(reply.header("cache-control"), "no-store");
    house
        .access_line_where("502", |line| line["status"] == 502)
        .await;
    upstream.server.up().await;
    for _ in 0..5 {
        assert_eq!(
            browser.get("/").await.status,
            StatusCode::OK,
            "a stale connection is no error"
        );
    }
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_given_up() {
    let (house, upstream, _provider) =
        standard_with(|plan| plan.top("upstream_timeout = \"1s\"")).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let reply = browser.get("/_/hang").await;
    assert_eq!(reply.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(!reply.text().contains(&upstream.address.to_string()));
    let fetch = browser.fetch(Method::GET, "/_/hang").send().await;
    assert_eq!(fetch.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(fetch.header("content-type").starts_with("application/json"));
    upstream
        .wait_until("they were given up", |upstream| upstream.aborted() == 2)
        .await;
    // The time is until the answer begins, not until it ends.
    let response = browser.navigate("/_/events").begin().await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let mut body = response.into_body();
    for _ in 0..16 {
        let frame = http_body_util::BodyExt::frame(&mut body).await;
        assert!(
            frame.is_some_and(|frame| frame.is_ok()),
            "the stream goes on"
        );
    }
}

/// An upstream that answers each connection with `answer` and closes.
async fn rude_upstream(answer: &'static [u8]) -> (House, Browser) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 16_384];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer).await;
        }
    });
    let plan = House::plan().upstream_at(&format!("http://{address}"));
    let house = plan.route("/**", "public").start().await;
    let browser = house.browser();
    (house, browser)
}

#[tokio::test]
async fn nonsense_from_the_upstream_is_502() {
    for answer in [
        &b""[..],
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 99999 What\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX-Canary-Upstream: a\0b\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nsmuggled",
    ] {
        let (_house, browser) = rude_upstream(answer).await;
        let reply = browser.get("/x").await;
        assert_eq!(reply.status, StatusCode::BAD_GATEWAY, "{}", String::from_utf8_lossy(answer));
        assert!(!reply.text().to_lowercase().contains("canary"));
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_breaks_off_here_too() {
    let (house, _browser) =
        rude_upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this").await;
    let request = format!("GET /x HTTP/1.1\r\nHost: {}\r\n\r\n", house.address);
    let answer = raw::exchange(&house, request.as_bytes()).await;
    assert!(answer.ends_with("only this"), "{answer}");
    assert!(
        answer.to_lowercase().contains("content-length: 100"),
        "the client can tell: {answer}"
    );
}

#[tokio::test]
async fn http2_in_cleartext_with_prior_knowledge() {
    let (house, upstream, _provider, browser) = signed_in().await;
    let mut client = h2::connect(&house).await;
    let cookies = browser.cookies("/");
    let asked: Vec<_> = (0..20)
        .map(|number| {
            let url = house.url(&format!("/two/{number}"));
            client.send_request(h2::request("GET", &url, &[("cookie", &cookies)]))
        })
        .collect();
    for (number, response) in asked.into_iter().enumerate() {
        let response = response.await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        let seen: crate::support::upstream::Seen =
            serde_json::from_slice(&h2::body(response).await).expect("the echo");
        assert_eq!(seen.target, format!("/two/{number}"));
        assert_eq!(seen.version, "HTTP/1.1");
        assert_eq!(
            seen.header("host"),
            Some(house.address.to_string().as_str())
        );
    }
    // Browsers split the cookie header in HTTP/2 (RFC 9113 §8.2.3).
    let request = h2::request(
        "GET",
        &house.url("/split"),
        &[("cookie", "a=1"), ("cookie", &cookies), ("cookie", "b=2")],
    );
    assert_eq!(
        h2::send(&mut client, request).await.status(),
        StatusCode::OK
    );
    assert_eq!(
        upstream.seen().pop().expect("a request").header("cookie"),
        Some("a=1; b=2")
    );
}

#[tokio::test]
async fn tls_speaks_both_versions() {
    let (house, _upstream, _provider) = standard_with(crate::support::house::Plan::tls).await;
    let browser = house.browser();
    let seen = browser.sign_in("/secure").await.seen();
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert!(browser.cookie("__Host-sidegate").is_some());
    let mut client = h2::connect(&house).await;
    let cookies = browser.cookies("/");
    let request = h2::request("GET", &house.url("/two"), &[("cookie", &cookies)]);
    assert_eq!(
        h2::send(&mut client, request).await.status(),
        StatusCode::OK
    );
    let opened = websocket::open(&house, &browser, "/ws", &[]).await;
    let (mut socket, _) = opened.unwrap_or_else(|refused| panic!("{refused:?}"));
    websocket::expect_echo(&mut socket, "within TLS").await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (house, _upstream, _provider) = standard_with(|plan| plan.route("/**", "public")).await;
    let at = house.address;
    let request = format!(
        "GET /_/slow?ms=200 HTTP/1.1\r\nHost: {at}\r\n\r\nGET /second HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n"
    );
    let answer = raw::exchange(&house, request.as_bytes()).await;
    let first = answer.find("/_/slow").expect("the first answer");
    let second = answer.find("/second").expect("the second answer");
    assert!(first < second);
}

#[tokio::test]
async fn http_1_0_is_served() {
    let (house, _upstream, _provider) = standard_with(|plan| plan.route("/**", "public")).await;
    let request = format!("GET /old HTTP/1.0\r\nHost: {}\r\n\r\n", house.address);
    let answer = raw::exchange(&house, request.as_bytes()).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    assert!(
        !answer.to_lowercase().contains("transfer-encoding"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_unix_socket_listens_and_answers() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gate.sock");
    let address = crate::support::ports::free_address();
    let upstream = Upstream::start().await;
    let line = format!("listen = [\"{address}\", \"unix:{}\"]", path.display());
    let house = House::plan()
        .upstream(&upstream)
        .listen(&line)
        .start_at(address)
        .await;
    let mut stream = tokio::net::UnixStream::connect(&path)
        .await
        .expect("the socket is there");
    stream
        .write_all(b"GET /oauth2/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert_eq!(raw::status(&answer), 200, "{answer}");
    drop(house);
}
