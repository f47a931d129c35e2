//! Starting, stopping, and what the log says.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use http::{Method, StatusCode};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use crate::support::behaviour::TokenEndpoint;
use crate::support::{House, Upstream, node_provider, raw, standard, standard_with, websocket};

#[tokio::test]
async fn sigterm_lets_what_runs_finish() {
    let (mut house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let slow: Vec<_> = (0..5)
        .map(|number| {
            let tab = browser.clone();
            tokio::spawn(async move { tab.get(&format!("/_/slow?ms=1500&n={number}")).await })
        })
        .collect();
    let opened = websocket::open(&house, &browser, "/ws", &[]).await;
    let (mut socket, _) = opened.unwrap_or_else(|refused| panic!("{refused:?}"));
    websocket::expect_echo(&mut socket, "before").await;
    upstream
        .wait_until("all requests", |upstream| upstream.count() >= 7)
        .await;
    // A connection that waits for its next request does not hold the stop up.
    let mut idle = house.connect().await;
    idle.write_all(
        format!(
            "GET /oauth2/ping HTTP/1.1\r\nHost: {}\r\n\r\n",
            house.address
        )
        .as_bytes(),
    )
    .await
    .expect("sent");
    raw::read_until(&mut idle, "\r\n\r\n", Duration::from_secs(5)).await;

    let begin = Instant::now();
    house.process.terminate();
    let goodbye = tokio::time::timeout(Duration::from_secs(5), async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => break frame.code,
                Some(Ok(_)) => {}
                other => panic!("the socket ends without a close frame: {other:?}"),
            }
        }
    });
    assert_eq!(goodbye.await.expect("in time"), CloseCode::Away, "1001");
    for answer in slow {
        assert_eq!(
            answer.await.expect("a tab").status,
            StatusCode::OK,
            "in flight is finished"
        );
    }
    assert!(
        TcpStream::connect(house.address).await.is_err(),
        "nobody new is let in"
    );
    let status = house.process.ended(Duration::from_secs(10)).await;
    assert!(status.success(), "{status}");
    assert!(
        begin.elapsed() < Duration::from_secs(6),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn the_grace_has_an_end() {
    let (mut house, upstream, _provider) =
        standard_with(|plan| plan.top("shutdown_grace = \"1s\"")).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let tab = browser.clone();
    let stuck = tokio::spawn(async move { tab.navigate("/_/drip").begin().await.into_body() });
    upstream
        .wait_until("the request", |upstream| upstream.count() == 2)
        .await;
    let body = stuck.await.expect("it begins");
    let begin = Instant::now();
    house.process.terminate();
    house.process.ended(Duration::from_secs(6)).await;
    assert!(
        begin.elapsed() > Duration::from_millis(800),
        "{:?}",
        begin.elapsed()
    );
    drop(body);
}

#[tokio::test]
async fn an_idle_gate_stops_at_once() {
    let (mut house, _upstream, _provider) = standard().await;
    let begin = Instant::now();
    house.process.terminate();
    assert!(house.process.ended(Duration::from_secs(5)).await.success());
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn one_request_is_one_line() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    browser.get("/page?secret=canary-query").await;
    browser.fetch(Method::POST, "/api").body("x").send().await;
    house.browser().fetch(Method::GET, "/nobody").send().await;
    let line = house.access_line("/page").await;
    assert_eq!(
        (&line["method"], &line["status"], &line["user"]),
        (&"GET".into(), &200.into(), &"ada".into())
    );
    let milliseconds = line["milliseconds"].as_f64().expect("a time");
    assert!((0.0..10_000.0).contains(&milliseconds));
    assert!(
        line["verdict"]
            .as_str()
            .is_some_and(|verdict| !verdict.is_empty())
    );
    let id = line["request_id"].as_str().expect("an id");
    let seen = upstream.seen();
    let told = seen
        .iter()
        .find(|seen| seen.target.starts_with("/page"))
        .expect("a request");
    assert_eq!(
        told.header("x-request-id"),
        Some(id),
        "the app can log the same id"
    );
    let line = house.access_line("/api").await;
    assert_eq!(
        (&line["method"], &line["status"]),
        (&"POST".into(), &200.into())
    );
    let line = house.access_line("/nobody").await;
    assert_eq!(line["status"], 401);
    assert!(line["user"].is_null());
    // Long enough for a line that is one too many.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for path in ["/page", "/api", "/nobody"] {
        let lines = house.access_lines();
        let count = lines.iter().filter(|line| line["path"] == path).count();
        assert_eq!(count, 1, "{path}");
    }
    let log = house.process.log();
    assert!(!log.contains("canary"), "{log}");
    for line in log.lines() {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("JSON: {line}"));
        assert!(
            value["timestamp"].is_string() && value["level"].is_string(),
            "{line}"
        );
    }
}

/// Lines are written together, and none is forgotten at the end.
#[tokio::test]
async fn no_line_is_lost_by_a_stop() {
    let upstream = Upstream::start().await;
    let mut house = House::plan()
        .upstream(&upstream)
        .top("workers = 3")
        .route("/**", "public")
        .start()
        .await;
    let tabs: Vec<_> = (0..6)
        .map(|tab| {
            let browser = house.browser();
            tokio::spawn(async move {
                for number in 0..50 {
                    let reply = browser.get(&format!("/page/{tab}/{number}")).await;
                    assert_eq!(reply.status, StatusCode::OK);
                }
            })
        })
        .collect();
    for tab in tabs {
        tab.await.expect("a tab");
    }
    house.process.terminate();
    let status = house.process.ended(Duration::from_secs(10)).await;
    assert!(status.success(), "{status}");
    let log = house.process.whole_log();
    let lines = house.access_lines();
    // A tab's connections are of several workers, and their lines may be written in any order.
    for tab in 0..6 {
        let prefix = format!("/page/{tab}/");
        let mut numbers: Vec<u32> = lines
            .iter()
            .filter_map(|line| line["path"].as_str()?.strip_prefix(&prefix)?.parse().ok())
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..50).collect::<Vec<_>>(), "tab {tab}");
    }
    assert!(log.contains("\"message\":\"stopped\""), "{log}");
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("JSON: {line}"));
    }
}

/// A reader that stalls costs lines, and how many is told; never an answer, nor much memory.
#[tokio::test]
async fn a_log_that_nobody_reads_holds_nothing_up() {
    const REQUESTS: u64 = 800;
    let upstream = Upstream::start().await;
    let plan = || {
        House::plan()
            .upstream(&upstream)
            .top("workers = 1")
            .route("/**", "public")
            .unread()
    };
    // Ten times what a pipe takes.
    let ask = async |house: &House, requests| {
        let browser = house.browser();
        let long = "x".repeat(8_000);
        for number in 0..requests {
            let reply = browser.get(&format!("/{long}/{number}")).await;
            assert_eq!(reply.status, StatusCode::OK);
        }
    };
    let mut unread = plan().start().await;
    ask(&unread, 80).await;
    let begin = Instant::now();
    unread.process.terminate();
    let status = unread.process.ended(Duration::from_secs(10)).await;
    assert!(
        status.success() && begin.elapsed() < Duration::from_secs(5),
        "{status} {:?}",
        begin.elapsed()
    );

    let mut late = plan().start().await;
    ask(&late, REQUESTS).await;
    late.process.read_at_last();
    let lost = late
        .process
        .wait_for("count of lost lines", |line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            line["lines"].as_u64()
        })
        .await;
    let arrived = late.access_lines();
    let arrived = arrived.iter().filter(|line| line["path"] != "/oauth2/ping");
    assert!(lost > 0);
    assert_eq!(arrived.count() as u64 + lost, REQUESTS);
    late.browser().get("/after").await;
    late.access_line("/after").await;
}

#[tokio::test]
async fn log_lines_cannot_be_forged() {
    let (house, _upstream, provider) = standard().await;
    provider.user(
        "preferred_username",
        "ada\n{\"status\":200,\"path\":\"/forged\"}".into(),
    );
    let browser = house.browser();
    browser.follow("/").await;
    let request = format!(
        "GET /x%0a%7b%7d HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        house.address
    );
    raw::exchange(&house, request.as_bytes()).await;
    house.access_line("/").await;
    assert!(
        house
            .access_lines()
            .iter()
            .all(|line| line["path"] != "/forged")
    );
}

#[tokio::test]
async fn rust_log_decides_what_is_said() {
    let upstream = Upstream::start().await;
    let plan = || House::plan().upstream(&upstream).route("/**", "public");
    let quiet = plan().environment("RUST_LOG", "warn").start().await;
    quiet.browser().get("/x").await;
    let loud = plan().start().await;
    loud.browser().get("/x").await;
    loud.access_line("/x").await;
    assert_eq!(quiet.access_lines().len(), 0, "{}", quiet.process.log());
    let by_file = plan().top("log = \"warn\"").start().await;
    by_file.browser().get("/x").await;
    let without = plan()
        .top("log = \"info,sidegate::access=off\"")
        .start()
        .await;
    without.browser().get("/x").await;
    let both = plan()
        .top("log = \"warn\"")
        .environment("RUST_LOG", "info")
        .start()
        .await;
    both.browser().get("/x").await;
    both.access_line("/x").await;
    // As compose has it where the environment names none.
    let unset = plan().environment("RUST_LOG", "").start().await;
    unset.browser().get("/x").await;
    unset.access_line("/x").await;
    assert_eq!(by_file.access_lines().len(), 0);
    assert_eq!(without.access_lines().len(), 0);
    assert!(without.process.log().contains("listening"));
}

/// Everything secret that a login, its use and its end bring forth, and none of it in the log.
#[tokio::test]
async fn nothing_secret_is_logged_at_any_level() {
    let (house, _upstream, provider) = standard_with(|plan| {
        plan.environment("RUST_LOG", "trace")
            .tables("[headers]\nset = { X-Api-Token = \"access_token\" }")
    })
    .await;
    let browser = house.browser();
    browser.plant("app", "canary-app-cookie");
    let callback = browser.up_to_callback("/page?token=canary-query").await;
    let mut secrets: Vec<String> = callback
        .query_pairs()
        .filter(|(name, _)| name != "iss")
        .map(|(_, value)| value.into_owned())
        .collect();
    secrets.push(
        browser
            .cookies("/oauth2/callback/script")
            .split('=')
            .next_back()
            .expect("a value")
            .to_owned(),
    );
    browser.follow(callback.as_str()).await;
    secrets.push(browser.cookie("sidegate").expect("a session"));
    let bearer = browser
        .fetch(Method::GET, "/api")
        .header("authorization", "Bearer canary-bearer");
    bearer.send().await;
    browser.get("/oauth2/userinfo").await;
    for call in provider.calls("/token") {
        secrets.push(call.fields["code_verifier"].clone());
        secrets.extend(
            call.headers
                .get("authorization")
                .map(|value| value.to_str().expect("ASCII").to_owned()),
        );
    }
    secrets.extend(
        provider
            .calls("/authorize")
            .iter()
            .map(|call| call.fields["nonce"].clone()),
    );
    let out = browser.get("/oauth2/sign_out").await;
    if let Some((_, hint)) = out
        .location()
        .query_pairs()
        .find(|(name, _)| name == "id_token_hint")
    {
        secrets.push(hint.into_owned());
    }
    // Failures talk more than successes.
    browser.get(&format!("{callback}&x=canary-extra")).await;
    provider.set(|behaviour| behaviour.token = TokenEndpoint::InvalidGrant);
    house.browser().follow("/").await;
    let late = house.browser();
    let callback = late.up_to_callback("/").await;
    provider.server.down();
    let reply = late.get(callback.as_str()).await;
    assert!(reply.status.is_server_error(), "{}", reply.status);

    secrets.push("canary".to_owned());
    secrets.push(crate::support::house::SECRET.to_owned());
    house.access_line("/oauth2/sign_out").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let log = house.process.log();
    assert!(
        log.contains("/oauth2/callback/script"),
        "the login is in the log:\n{log}"
    );
    for secret in secrets {
        assert!(secret.len() >= 6, "a secret to look for: {secret}");
        if let Some(line) = log.lines().find(|line| line.contains(&secret)) {
            panic!("{secret} is logged: {line}");
        }
    }
}

#[tokio::test]
async fn nothing_secret_of_a_strict_provider_is_logged() {
    let upstream = Upstream::start().await;
    let plan = House::plan()
        .upstream(&upstream)
        .npm()
        .environment("RUST_LOG", "trace");
    let house = plan.start().await;
    let browser = house.browser();
    node_provider::sign_in(&browser, "/page?x=canary-query", "ada").await;
    let session = browser.cookie("sidegate").expect("a session");
    house.access_line("/page").await;
    let log = house.process.log();
    for secret in [
        "canary",
        "npm-client-secret",
        "code=",
        "state=",
        &session,
        "eyJ",
    ] {
        if let Some(line) = log.lines().find(|line| line.contains(secret)) {
            panic!("{secret} is logged: {line}");
        }
    }
}

#[tokio::test]
async fn without_a_secret_one_is_made_and_said_once() {
    let upstream = Upstream::start().await;
    let house = House::plan()
        .upstream(&upstream)
        .without_secret()
        .start()
        .await;
    house.browser().get("/").await;
    let log = house.process.log();
    let warnings: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("WARN") && line.contains("secret"))
        .collect();
    assert_eq!(warnings.len(), 1, "{log}");
}
