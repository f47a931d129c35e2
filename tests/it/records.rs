//! The record of a request ends with its answer's last byte, and says who broke it off.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::support::{House, Upstream, raw, standard, websocket};

/// Long enough for a debug binary on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

async fn open_house() -> (House, Upstream) {
    let upstream = Upstream::start().await;
    let plan = House::plan().upstream(&upstream).top("workers = 1");
    (plan.route("/**", "public").start().await, upstream)
}

fn number(line: &Value, field: &str) -> f64 {
    line[field]
        .as_f64()
        .unwrap_or_else(|| panic!("{field} in {line}"))
}

#[tokio::test]
async fn a_line_tells_times_bytes_and_whether_the_connection_was_reused() {
    let (house, _upstream) = open_house().await;
    let browser = house.browser();
    let upload = browser.bare(Method::POST, "/_/slow?ms=60");
    let reply = upload.body("x".repeat(70_000)).send().await;
    assert_eq!(reply.status, StatusCode::OK);
    let line = house.access_line("/_/slow").await;
    assert_eq!(line["bytes_received"], 70_000, "{line}");
    assert_eq!(
        line["bytes_sent"].as_u64(),
        Some(reply.text().len() as u64),
        "{line}"
    );
    assert_eq!(line["upstream_reused"], false, "{line}");
    assert!(number(&line, "upstream_milliseconds") >= 60.0, "{line}");
    assert!(number(&line, "milliseconds") >= number(&line, "upstream_milliseconds"));
    assert!(number(&line, "total_milliseconds") >= number(&line, "milliseconds"));
    assert!(line["ended"].is_null(), "{line}");

    let reply = browser.get("/_/big?bytes=3000000").await;
    assert_eq!(reply.body.len(), 3_000_000);
    let line = house.access_line("/_/big").await;
    assert_eq!(line["bytes_sent"], 3_000_000, "{line}");
    assert_eq!(line["bytes_received"], 0, "{line}");
    assert_eq!(line["upstream_reused"], true, "{line}");
    assert!(line["ended"].is_null(), "{line}");

    // What the gate answers itself has nothing to do with the app; an answer to HEAD is whole without its body.
    for method in [Method::GET, Method::HEAD] {
        browser.bare(method.clone(), "/oauth2/nothing").send().await;
        let line = house
            .access_line_where("its line", |line| line["method"] == method.as_str())
            .await;
        assert!(line["ended"].is_null(), "{line}");
    }
    let line = house.access_line("/oauth2/nothing").await;
    assert!(line["upstream_milliseconds"].is_null(), "{line}");
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_is_told() {
    let (house, _upstream) = open_house().await;
    let mut client = house.connect().await;
    client
        .write_all(b"GET /_/drip HTTP/1.1\r\nHost: app\r\n\r\n")
        .await
        .expect("sent");
    raw::read_until(&mut client, "\r\n\r\n", PATIENCE).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let early = house.access_lines();
    assert!(
        early.iter().all(|line| line["path"] != "/_/drip"),
        "it is not over: {early:?}"
    );
    drop(client);
    let line = house.access_line("/_/drip").await;
    assert_eq!(
        (&line["status"], &line["verdict"], &line["ended"]),
        (&200.into(), &"public".into(), &"client".into()),
        "{line}"
    );
    assert_eq!(line["level"], "INFO", "{line}");
    assert!(number(&line, "total_milliseconds") >= 150.0, "{line}");
    assert!(number(&line, "bytes_sent") > 0.0, "{line}");
}

/// An answer that breaks off is no plain 200.
#[tokio::test]
async fn an_app_that_breaks_off_is_told() {
    let app = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", app.local_addr().expect("an address"));
    let serving = tokio::spawn(async move {
        while let Ok((mut connection, _)) = app.accept().await {
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789";
            let _ = connection.write_all(answer).await;
        }
    });
    let plan = House::plan().upstream_at(&url).route("/**", "public");
    let house = plan.start().await;
    let request = b"GET /half HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n";
    raw::exchange(&house, request).await;
    let line = house.access_line("/half").await;
    assert_eq!(
        (&line["status"], &line["verdict"], &line["ended"]),
        (&200.into(), &"public".into(), &"app".into()),
        "{line}"
    );
    assert_eq!(
        (&line["level"], &line["bytes_sent"]),
        (&"WARN".into(), &10.into()),
        "{line}"
    );
    serving.abort();
}

#[tokio::test]
async fn an_answer_that_its_session_outlived_is_told() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let tab = browser.clone();
    let events = tokio::spawn(async move { tab.navigate("/_/events").begin().await.into_body() });
    upstream
        .wait_until("the request", |upstream| upstream.count() >= 2)
        .await;
    let body = events.await.expect("it begins");
    let out = browser.fetch(Method::POST, "/oauth2/sign_out").send().await;
    assert_eq!(out.status, StatusCode::OK, "{}", out.text());
    let line = house.access_line("/_/events").await;
    assert_eq!(
        (&line["status"], &line["ended"]),
        (&200.into(), &"session".into()),
        "{line}"
    );
    drop(body);
}

#[tokio::test]
async fn a_websocket_has_its_line_at_its_end() {
    let (house, _upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let opened = websocket::open(&house, &browser, "/ws", &[]).await;
    let (mut socket, _) = opened.unwrap_or_else(|refused| panic!("{refused:?}"));
    websocket::expect_echo(&mut socket, &"x".repeat(1000)).await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(
        house
            .access_lines()
            .iter()
            .all(|line| line["path"] != "/ws"),
        "it is not over"
    );
    socket.close(None).await.expect("closed");
    drop(socket);
    let line = house.access_line("/ws").await;
    assert_eq!(
        (&line["status"], &line["verdict"], &line["user"]),
        (&101.into(), &"pass".into(), &"ada".into()),
        "{line}"
    );
    assert!(number(&line, "total_milliseconds") >= 250.0, "{line}");
    for field in ["bytes_received", "bytes_sent"] {
        let bytes = number(&line, field);
        assert!((1_000.0..2_000.0).contains(&bytes), "{field}: {line}");
    }
    assert!(line["ended"].is_null(), "{line}");
}

/// A refusal, a broken app: the line says what to do.
#[tokio::test]
async fn a_line_of_what_went_wrong_says_what_to_do() {
    let plan = House::plan()
        .route("/open/**", "public")
        .route("/closed/**", "deny");
    let house = plan.start().await;
    let browser = house.browser();
    for (path, expected) in [("/open/x", "upstream"), ("/closed/x", "access")] {
        browser.get(path).await;
        let line = house.access_line(path).await;
        let remedy = line["remedy"].as_str();
        assert!(
            remedy.is_some_and(|remedy| remedy.contains(expected)),
            "{line}"
        );
    }
}

/// A log that cannot be written costs lines, and how many is counted; nobody is served less.
#[tokio::test]
async fn a_full_disk_for_the_log_holds_nothing_up() {
    let admin = crate::support::ports::free_address();
    let upstream = Upstream::start().await;
    let plan = House::plan().upstream(&upstream).route("/**", "public");
    let plan = plan.top(&format!("admin_listen = \"{admin}\""));
    let mut house = plan.log_to("/dev/full").start().await;
    let browser = house.browser();
    for number in 0..200 {
        let reply = browser.get(&format!("/{number}")).await;
        assert_eq!(reply.status, StatusCode::OK);
    }
    let end = Instant::now() + PATIENCE;
    loop {
        let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let text = raw::try_exchange(admin, false, request)
            .await
            .expect("the admin listener answers");
        let lost = text
            .lines()
            .find_map(|line| line.strip_prefix("sidegate_log_lines_lost_total "));
        let lost: u64 = lost.expect("a count").parse().expect("a number");
        if lost >= 200 {
            break;
        }
        assert!(Instant::now() < end, "{lost} lines");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    house.process.terminate();
    assert!(house.process.ended(PATIENCE).await.success());
}
