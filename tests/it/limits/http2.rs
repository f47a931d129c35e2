//! What one HTTP/2 connection may hold, and when it ends.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{SOON, frames, limited, limited_with};
use crate::support::{House, h2, house::Plan};

/// A client with windows wide open: what it is sent is bounded by nothing but itself.
async fn wide_open(house: &House) -> (h2::Client, JoinHandle<hyper::Result<()>>) {
    let stream = TcpStream::connect(house.address).await.expect("accepted");
    let (client, connection) = Builder::new(TokioExecutor::new())
        .initial_stream_window_size((1 << 31) - 1)
        .initial_connection_window_size((1 << 31) - 1)
        .handshake(TokioIo::new(stream))
        .await
        .expect("an HTTP/2 connection");
    (client, tokio::spawn(connection))
}

fn ask(path: &str) -> Request<Full<Bytes>> {
    h2::request("GET", &format!("http://app{path}"), &[])
}

/// Answers without end, asked for 100 times on each of five connections, of which nobody reads a byte.
#[tokio::test]
async fn a_connection_that_nobody_reads_holds_little() {
    const CONNECTIONS: u64 = 5;
    let (house, upstream) = limited_with("", Plan::admin).await;
    let (mut first, _connection) = wide_open(&house).await;
    let answer = first.send_request(ask("/x")).await.expect("an answer");
    answer.into_body().collect().await.expect("whole");
    let before = house.process.memory_kib("VmRSS");
    let mut stalled = Vec::new();
    for number in 1..=CONNECTIONS {
        let stream = TcpStream::connect(house.address).await.expect("accepted");
        let mut stream = frames::Connection::begin(stream).await;
        for stream_number in 0..100_u32 {
            stream.ask("/_/drip", 2 * stream_number + 1).await;
        }
        stalled.push(stream);
        let expected = usize::try_from(number * 100).expect("few") + 1;
        upstream
            .wait_until("the requests", |upstream| upstream.count() >= expected)
            .await;
    }
    house
        .process
        .shrinks_below(before + 4 * 1024 * CONNECTIONS)
        .await;
    house.limit_is_hit("http2_buffer").await;
    let answer = first
        .send_request(ask("/x"))
        .await
        .expect("others are served");
    answer.into_body().collect().await.expect("whole");
}

/// An app that answers everything with pieces of one byte, for ever.
async fn crumbs() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let mut next = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
                while stream.write_all(next.as_bytes()).await.is_ok() {
                    next = "1\r\nx\r\n".repeat(10_000);
                }
            });
        }
    });
    url
}

/// Most of what such pieces take is not their bytes.
#[tokio::test]
async fn small_pieces_that_nobody_reads_hold_little() {
    let plan = House::plan().upstream_at(&crumbs().await);
    let house = plan.route("/**", "public").admin().start().await;
    let before = house.process.memory_kib("RssAnon");
    let stream = TcpStream::connect(house.address).await.expect("accepted");
    let mut stream = frames::Connection::begin(stream).await;
    for number in 0..120_u32 {
        stream.ask("/x", 2 * number + 1).await;
    }
    house.limit_is_hit("http2_buffer").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let now = house.process.memory_kib("RssAnon");
    // Four, and what 120 requests take.
    assert!(now < before + 8 * 1024, "{before} KiB, and then {now}");
}

/// Such a client holds what it is sent, and answers pings for as long as it likes.
#[tokio::test]
async fn a_connection_whose_client_has_no_window_ends() {
    for path in ["/x", "/_/drip"] {
        let (house, _upstream) = limited_with("write_timeout = \"1s\"", Plan::admin).await;
        let stream = TcpStream::connect(house.address).await.expect("accepted");
        let mut stream = frames::Connection::begin_shut(stream).await;
        stream.ask(path, 1).await;
        let closed = tokio::time::timeout(SOON, stream.until_closed());
        closed.await.expect("the connection ends");
        house.limit_is_hit("write_timeout").await;
    }
}

#[tokio::test]
async fn a_connection_whose_client_has_no_window_makes_room() {
    let (house, upstream) = limited("connections = 1\nwrite_timeout = \"8s\"").await;
    let stream = TcpStream::connect(house.address).await.expect("accepted");
    let mut stuck = frames::Connection::begin_shut(stream).await;
    stuck.ask("/x", 1).await;
    upstream
        .wait_until("the request", |upstream| upstream.count() == 1)
        .await;
    // It keeps its place for a quarter of the time.
    tokio::time::sleep(Duration::from_millis(4_500)).await;
    let (mut client, _connection) = wide_open(&house).await;
    let answer = client.send_request(ask("/x")).await.expect("an answer");
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn an_idle_connection_ends_by_itself() {
    let (house, _upstream) = limited("http2_idle_timeout = \"1s\"").await;
    let (mut client, connection) = wide_open(&house).await;
    let answer = client.send_request(ask("/x")).await.expect("an answer");
    answer.into_body().collect().await.expect("whole");
    let ended = tokio::time::timeout(SOON, connection).await;
    ended
        .expect("in time")
        .expect("no panic")
        .expect("a polite end");
    drop(client);
}

#[tokio::test]
async fn an_old_connection_ends_and_what_runs_on_it_does_not() {
    let (house, _upstream) = limited("http2_max_age = \"1s\"").await;
    let (mut client, _connection) = wide_open(&house).await;
    let slow = client.send_request(ask("/_/slow?ms=3000"));
    let answer = slow.await.expect("what runs goes on");
    answer.into_body().collect().await.expect("whole");
    let again = tokio::time::timeout(SOON, async {
        while client.send_request(ask("/x")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    again.await.expect("the connection takes no more");
}

#[tokio::test]
async fn a_client_that_resets_without_end_is_closed() {
    let (mut house, upstream) = limited("http2_resets = 20").await;
    let (mut client, connection) = wide_open(&house).await;
    for number in 1..1000 {
        if client.ready().await.is_err() {
            break;
        }
        let asked = client.send_request(ask("/_/hang"));
        let given_up = tokio::time::timeout(Duration::from_millis(20), asked).await;
        assert!(given_up.is_err() || given_up.is_ok_and(|answer| answer.is_err()));
        assert!(number < 200, "{number} resets on one connection");
    }
    let _ = tokio::time::timeout(SOON, connection)
        .await
        .expect("closed");
    assert!(upstream.count() < 200);
    let line = |line: &str| line.contains("limits.http2_resets").then_some(());
    house.process.wait_for("the reason", line).await;
}

#[tokio::test]
async fn more_streams_than_may_be_wait_for_their_turn() {
    let (house, upstream) = limited_with("http2_streams = 2", Plan::admin).await;
    let (mut client, _connection) = wide_open(&house).await;
    // By then the client knows the bound.
    let answer = client.send_request(ask("/x")).await.expect("an answer");
    answer.into_body().collect().await.expect("whole");
    let asked: Vec<_> = (0..6)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { client.send_request(ask("/_/slow?ms=200")).await })
        })
        .collect();
    for one in asked {
        let answer = one.await.expect("no panic").expect("an answer");
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(upstream.count(), 7);
    house.limit_is_hit("http2_streams").await;
}
