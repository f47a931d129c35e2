//! What the log tells of a limit, or of the end of a stop, that broke something off: which one it was, and what to do.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{SOON, frames, limited, limited_with, until_closed};
use crate::support::{House, Stream, house::Plan, raw};

const SWITCH: &str =
    "GET /tunnel HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// The line names the limit, and the key that raises it.
fn expect_limit(line: &Value, key: &str) {
    assert_eq!(line["ended"], "limit", "{line}");
    for field in ["detail", "remedy"] {
        let text = line[field].as_str().unwrap_or_default();
        assert!(text.contains(&format!("limits.{key}")), "{field}: {line}");
    }
}

async fn ask(house: &House, path: &str) -> Stream {
    let mut stream = house.connect().await;
    let ask = format!("GET {path} HTTP/1.1\r\nHost: app\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.expect("sent");
    stream
}

/// An app that switches protocols, and then sends without end or closes its half.
async fn tunnelling(sends: bool) -> String {
    let app = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", app.local_addr().expect("an address"));
    tokio::spawn(async move {
        let (mut connection, _) = app.accept().await.expect("a connection");
        let _ = connection.read(&mut [0; 4096]).await;
        let _ = connection.write_all(SWITCHED).await;
        while sends && connection.write_all(&[0; 8192]).await.is_ok() {}
        let _ = connection.shutdown().await;
        let _ = connection.read_to_end(&mut Vec::new()).await;
    });
    url
}

#[tokio::test]
async fn a_client_that_does_not_read_is_told_as_such() {
    let (house, _upstream) = limited("write_timeout = \"1s\"").await;
    let _unread = ask(&house, "/_/drip").await;
    expect_limit(&house.access_line("/_/drip").await, "write_timeout");
}

#[tokio::test]
async fn a_stream_of_which_nobody_reads_is_told_as_such() {
    let (house, _upstream) = limited("write_timeout = \"1s\"").await;
    let stream = TcpStream::connect(house.address).await.expect("accepted");
    let mut stream = frames::Connection::begin(stream).await;
    stream.ask("/_/drip", 1).await;
    expect_limit(&house.access_line("/_/drip").await, "write_timeout");
}

#[tokio::test]
async fn a_tunnel_that_a_limit_ends_says_which() {
    for (sends, key) in [(true, "write_timeout"), (false, "tunnel_close_timeout")] {
        let url = tunnelling(sends).await;
        let limits = format!("{key} = \"600ms\"");
        let (house, _upstream) = limited_with(&limits, |plan| plan.upstream_at(&url)).await;
        let mut stream = house.connect().await;
        stream.write_all(SWITCH.as_bytes()).await.expect("sent");
        expect_limit(&house.access_line("/tunnel").await, key);
    }
}

#[tokio::test]
async fn an_app_that_stops_within_its_answer_is_a_problem_with_a_line() {
    let app = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = app.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        let (mut connection, _) = app.accept().await.expect("a connection");
        let _ = connection.read(&mut [0; 4096]).await;
        let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun";
        let _ = connection.write_all(begun).await;
        let _ = connection.read_to_end(&mut Vec::new()).await;
    });
    let plan = |plan: Plan| plan.upstream_at(&format!("http://{address}"));
    let (house, _upstream) = limited_with("response_body_timeout = \"600ms\"", plan).await;
    let mut stream = ask(&house, "/begun").await;
    until_closed(&mut stream).await;
    let line = house.access_line("/begun").await;
    expect_limit(&line, "response_body_timeout");
    assert_eq!(line["level"], "WARN", "{line}");
    let detail = line["detail"].as_str().expect("a detail");
    assert!(detail.contains(&address), "{line}");
}

/// An answer, a tunnel, and a request that has none yet.
#[tokio::test]
async fn what_the_end_of_a_stop_cuts_off_is_told_as_such() {
    let (mut house, upstream) = limited_with("", |plan| plan.top("shutdown_grace = \"1s\"")).await;
    let mut drip = ask(&house, "/_/drip").await;
    raw::read_until(&mut drip, "\r\n\r\n", SOON).await;
    let _hang = ask(&house, "/_/hang").await;
    upstream
        .wait_until("both requests", |upstream| upstream.count() == 2)
        .await;
    house.process.terminate();
    assert!(house.process.ended(SOON).await.success());
    for path in ["/_/drip", "/_/hang"] {
        let line = house.access_line(path).await;
        assert_eq!(line["ended"], "stop", "{line}");
        for field in ["detail", "remedy"] {
            let text = line[field].as_str().unwrap_or_default();
            assert!(text.contains("shutdown_grace"), "{line}");
        }
    }
}

/// What ends a connection before there was a request has a line that says what to do, one for many.
#[tokio::test]
async fn slow_beginnings_are_told() {
    for (key, is_tls, begins) in [
        ("header_timeout", false, &b"GET /x HTTP/1.1\r\nHos"[..]),
        ("handshake_timeout", true, &[22, 3, 1]),
    ] {
        let limits = format!("{key} = \"500ms\"");
        let plan = |plan: Plan| if is_tls { plan.tls() } else { plan };
        let (mut house, _upstream) =
            limited_with(&limits, |base| plan(base).top("workers = 1")).await;
        for _ in 0..3 {
            let mut stream = TcpStream::connect(house.address).await.expect("accepted");
            stream.write_all(begins).await.expect("sent");
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        let told = |line: &str| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["limit"] == key).then_some(line)
        };
        let line = house.process.wait_for("the line", told).await;
        assert_eq!(line["client"], "127.0.0.1", "{line}");
        assert_eq!(line["level"], "INFO", "{line}");
        let remedy = line["remedy"].as_str().unwrap_or_default();
        assert!(remedy.contains(key), "{line}");
        let log = house.process.log();
        assert_eq!(log.matches("a connection was closed").count(), 1, "{log}");
    }
}

/// The lines of what was refused before it was a request.
fn refused_lines(house: &House) -> Vec<String> {
    let log = house.process.log();
    let lines = log.lines().filter(|line| line.contains("bad_request"));
    lines.map(str::to_owned).collect()
}

/// A byte in an address, and a field of HTTP/1: h2 resets the stream. A name in capitals ends the connection.
#[tokio::test]
async fn what_http2_refuses_leaves_a_line() {
    // Lines of several come in any order.
    let (house, upstream) = limited_with("", |plan| plan.top("workers = 1")).await;
    let refused: [(&str, &[(&str, &str)]); 4] = [
        ("/a<b", &[]),
        ("/a?b=\"", &[]),
        ("/a", &[("connection", "close")]),
        ("/a", &[("X-Upper", "1")]),
    ];
    for (number, (path, more)) in refused.iter().enumerate() {
        let mut fields = vec![(":method", "GET"), (":scheme", "http"), (":path", path)];
        fields.push((":authority", "app"));
        fields.extend(*more);
        let stream = TcpStream::connect(house.address).await.expect("accepted");
        let mut stream = frames::Connection::begin(stream).await;
        stream.send(&fields, 1).await;
        let end = Instant::now() + SOON;
        let lines = loop {
            let lines = refused_lines(&house);
            if lines.len() > number {
                break lines;
            }
            assert!(Instant::now() < end, "{number} has no line");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(lines.len(), number + 1, "{lines:?}");
        let line: Value = serde_json::from_str(&lines[number]).expect("a line");
        assert_eq!(line["client"], "127.0.0.1", "{line}");
        assert_eq!(line["verdict"], "bad_request", "{line}");
        assert_eq!(line["status"], 400, "{line}");
        let detail = line["detail"].as_str().unwrap_or_default();
        assert!(detail.starts_with("HTTP/2: "), "{line}");
    }
    assert_eq!(upstream.count(), 0);
}
