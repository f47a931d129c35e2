//! Which upstream a request reaches, and what that one sees of it.

use http::{Method, StatusCode};

use crate::support::{Browser, House, Upstream, raw};

const PUBLIC: &str = "access = \"public\"\n";

async fn two(table: &str) -> (House, Upstream, Upstream) {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    let url = format!("http://{}", second.address);
    let tables = format!(
        "[[routes]]\npath = \"/wiki/**\"\nupstream = \"wiki\"\n{PUBLIC}\
         [[routes]]\npath = \"/**\"\n{PUBLIC}\
         [upstreams.wiki]\nurl = \"{url}\"\n{table}"
    );
    let plan = House::plan()
        .top("workers = 1")
        .upstream(&first)
        .tables(&tables)
        .admin();
    (plan.start().await, first, second)
}

fn browser(house: &House) -> Browser {
    house.browser()
}

#[tokio::test]
async fn the_route_alone_says_which_upstream_a_request_reaches() {
    let (house, first, second) = two("").await;
    let stranger = browser(&house);
    assert_eq!(stranger.get("/a").await.status, StatusCode::OK);
    let seen = stranger.get("/wiki/a?b=c").await.seen();
    assert_eq!(seen.target, "/wiki/a?b=c");
    assert_eq!(
        seen.header("host"),
        Some(house.address.to_string().as_str())
    );
    assert_eq!((first.count(), second.count()), (1, 1));
    // Nothing that a client says leads elsewhere.
    for (name, value) in [
        ("X-Forwarded-Host", "wiki"),
        ("X-Original-URL", "/wiki/a"),
        ("X-Forwarded-Prefix", "/wiki"),
    ] {
        let reply = stranger.navigate("/b").header(name, value).send().await;
        assert_eq!(reply.seen().target, "/b");
    }
    assert_eq!((first.count(), second.count()), (4, 1));
    let (_, metrics) = house.admin_says("/metrics").await;
    for line in [
        "sidegate_upstream_dials_total{upstream=\"default\"} 1",
        "sidegate_upstream_dials_total{upstream=\"wiki\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

/// A connection that a login belongs to leads to one app and is no way to another.
#[tokio::test]
async fn a_private_connection_serves_its_own_upstream_alone() {
    let (house, first, second) = two("").await;
    let request = |path: &str, close: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: NTLM YQ==\r\n{close}\r\n",
            house.address
        )
    };
    let both = [
        request("/wiki/1", ""),
        request("/2", ""),
        request("/wiki/3", "Connection: close\r\n"),
    ];
    let text = raw::exchange(&house, both.concat().as_bytes()).await;
    assert_eq!(text.matches("HTTP/1.1 200").count(), 3, "{text}");
    let targets = |upstream: &Upstream| {
        let seen = upstream.seen().into_iter();
        seen.map(|seen| seen.target).collect::<Vec<_>>()
    };
    assert_eq!(targets(&first), ["/2"]);
    assert_eq!(targets(&second), ["/wiki/1", "/wiki/3"]);
}

#[tokio::test]
async fn a_prefix_is_cut_off_and_told() {
    let (house, _first, second) =
        two("strip_prefix = \"/wiki\"\nhost = \"wiki.internal:81\"\n").await;
    let stranger = browser(&house);
    for (path, target) in [
        ("/wiki/a/b?c=/wiki/", "/a/b?c=/wiki/"),
        ("/wiki/", "/"),
        ("/wiki?a", "/?a"),
        ("/%77iki/x", "/x"),
        ("/wiki/wiki/x", "/wiki/x"),
    ] {
        let seen = stranger
            .navigate(path)
            .header("X-Forwarded-Prefix", "/forged")
            .send()
            .await
            .seen();
        assert_eq!(seen.target, target, "{path}");
        assert_eq!(seen.header("x-forwarded-prefix"), Some("/wiki"));
        assert_eq!(seen.header("host"), Some("wiki.internal:81"));
        let asked = house.address.to_string();
        assert_eq!(seen.header("x-forwarded-host"), Some(asked.as_str()));
    }
    // What is cut off leaves a path that begins with one slash.
    let request = format!(
        "GET /wiki//evil.example/ HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        house.address
    );
    raw::exchange(&house, request.as_bytes()).await;
    for seen in second.seen() {
        assert!(!seen.target.starts_with("//"), "{}", seen.target);
    }
}

#[tokio::test]
async fn the_upstreams_own_name_can_be_its_host() {
    let (house, _first, second) = two("host = \"upstream\"\n").await;
    let seen = browser(&house).get("/wiki/a").await.seen();
    let own = second.address.to_string();
    assert_eq!(seen.header("host"), Some(own.as_str()));
}

#[tokio::test]
async fn a_body_is_as_long_as_the_upstream_takes() {
    let (house, first, second) = two("max_body = 1000\n").await;
    let browser = browser(&house);
    let send = async |path: &str, length: usize| {
        let ask = browser.fetch(Method::POST, path).body(vec![b'x'; length]);
        ask.send().await.status
    };
    assert_eq!(send("/wiki/a", 1_000).await, StatusCode::OK);
    assert_eq!(send("/wiki/a", 1_001).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(send("/a", 100_000).await, StatusCode::OK);
    assert_eq!((first.count(), second.count()), (1, 1));
    // A body that does not say how long it is, is counted.
    let chunk = "x".repeat(0x258);
    let request = format!(
        "POST /wiki/b HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         258\r\n{chunk}\r\n258\r\n{chunk}\r\n0\r\n\r\n",
        house.address
    );
    let text = raw::exchange(&house, request.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    let line = house.access_line("/wiki/b").await;
    assert!(
        line["detail"]
            .as_str()
            .unwrap_or_default()
            .contains("max_body"),
        "{line}"
    );
}

#[tokio::test]
async fn each_upstream_has_its_own_times() {
    let (house, _first, _second) =
        two("head_timeout = \"300ms\"\nidle_timeout = \"300ms\"\n").await;
    let browser = browser(&house);
    let status = async |path: &str| browser.get(path).await.status;
    assert_eq!(status("/wiki/_/slow").await, StatusCode::OK);
    // The echo answers anything below /_/ by its whole path, so only the first app is slow there.
    assert_eq!(status("/_/slow?ms=900").await, StatusCode::OK);
    let (house, _first, _second) =
        two("head_timeout = \"300ms\"\nidle_timeout = \"300ms\"\nstrip_prefix = \"/wiki\"\n").await;
    let browser = house.browser();
    let reply = browser.get("/wiki/_/slow?ms=60000").await;
    assert_eq!(reply.status, StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn a_reload_moves_a_route_and_keeps_what_is_the_same() {
    let (house, first, second) = two("").await;
    let browser = browser(&house);
    browser.get("/wiki/a").await;
    browser.get("/a").await;
    let connections = (first.server.connections(), second.server.connections());
    house.rewrite("path = \"/wiki/**\"", "path = \"/book/**\"");
    for _ in 0..500 {
        browser.get("/book/a").await;
        if second.count() > 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(second.count(), 2);
    let now = (first.server.connections(), second.server.connections());
    assert!(
        now.0 + now.1 <= connections.0 + connections.1 + 1,
        "{connections:?} {now:?}"
    );
}
