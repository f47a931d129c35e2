//! What one HTTP/2 connection may hold, and when it ends.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};

use super::{SOON, frames, limited, limited_with, until_closed};
use crate::support::{House, h2, house::Plan, raw};

const PAGE: &[u8] = b"GET /x HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n";

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

/// An app that answers everything with a file of so many bytes, as fast as it is read.
async fn files(bytes: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(&vec![b'x'; bytes]).await;
            });
        }
    });
    url
}

/// Asks for `path` over a connection that takes little at once.
async fn small_buffers(house: &House, path: &str) -> frames::Connection {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(64 * 1024).expect("a small one");
    let stream = socket.connect(house.address).await.expect("accepted");
    let mut stream = frames::Connection::begin(stream).await;
    stream.ask(path, 1).await;
    stream
}

/// Reads the answer with a pause of 20 ms after each `step` bytes, and says how many there are.
async fn read_slowly(stream: &mut frames::Connection, step: usize) -> usize {
    let mut read = 0;
    loop {
        let before = read / step;
        let frame = stream.read().await;
        assert_ne!(frame.kind, 3, "the stream is reset after {read} bytes");
        if frame.kind == 0 {
            read += frame.length;
            if frame.is_last {
                return read;
            }
        }
        if read / step > before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The app is faster than the client, so that as much of the file waits for it at any moment.
#[tokio::test]
async fn a_slow_reader_that_reads_is_served_to_the_end() {
    const BYTES: usize = 32 * 1024 * 1024;
    let url = files(BYTES).await;
    let change = |plan: Plan| plan.upstream_at(&url);
    let (house, _upstream) = limited_with("write_timeout = \"2s\"", change).await;
    let mut stream = small_buffers(&house, "/file").await;
    assert_eq!(read_slowly(&mut stream, 128 * 1024).await, BYTES);
}

/// The app has more all the time, and is asked for nothing.
#[tokio::test]
async fn a_pause_of_the_client_is_none_of_the_app() {
    const BYTES: usize = 32 * 1024 * 1024;
    let (mut house, _upstream) = limited_with("http2_buffer = 8192", Plan::admin).await;
    let mut stream = small_buffers(&house, &format!("/_/big?bytes={BYTES}")).await;
    house.limit_is_hit("http2_buffer").await;
    house.process.terminate();
    // Longer than an app may pause in a stop.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(read_slowly(&mut stream, BYTES).await, BYTES);
    assert!(house.process.ended(SOON).await.success());
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
        // Once, though the stream is as stuck as its connection.
        let hits = "sidegate_limit_hits_total{limit=\"write_timeout\"} 1";
        house.until_metrics_say(hits).await;
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
    let end = tokio::time::Instant::now() + SOON;
    let status = loop {
        let mut stream = house.connect().await;
        // Who is refused may be told before it has asked.
        let _ = stream.write_all(PAGE).await;
        let status = raw::status(&until_closed(&mut stream).await);
        if status != 503 || tokio::time::Instant::now() > end {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(status, 200);
}

/// One that makes room and then goes on makes none any more.
#[tokio::test]
async fn a_connection_that_was_stuck_and_goes_on_keeps_its_place() {
    let (house, _upstream) =
        limited_with("connections = 1\nwrite_timeout = \"8s\"", Plan::admin).await;
    let stream = TcpStream::connect(house.address).await.expect("accepted");
    let mut stuck = frames::Connection::begin_shut(stream).await;
    stuck.ask("/_/drip", 1).await;
    house.until_metrics_say("sidegate_connections_idle 0").await;
    house.until_metrics_say("sidegate_connections_idle 1").await;
    for stream in [0, 1] {
        stuck.widen(stream).await;
    }
    let reading = tokio::spawn(async move { stuck.until_closed().await });
    house.until_metrics_say("sidegate_connections_idle 0").await;
    let mut other = house.connect().await;
    let answer = until_closed(&mut other).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    reading.abort();
}

/// What the gate takes away is no reset of the client's.
#[tokio::test]
async fn streams_that_a_limit_ends_are_no_resets() {
    const STUCK: [u32; 3] = [3, 5, 7];
    let lines = "write_timeout = \"1s\"\nhttp2_resets = 2";
    let (house, upstream) = limited(lines).await;
    let stream = TcpStream::connect(house.address).await.expect("accepted");
    let mut stream = frames::Connection::begin_shut(stream).await;
    // As long as it waits for the app, the connection goes on.
    stream.ask("/_/hang", 1).await;
    for number in STUCK {
        stream.ask("/_/drip", number).await;
    }
    upstream
        .wait_until("the answers are given up", |upstream| {
            upstream.aborted() == STUCK.len()
        })
        .await;
    stream.widen(0).await;
    for number in STUCK {
        stream.widen(number).await;
    }
    let mut resets = 0;
    while resets < STUCK.len() {
        resets += usize::from(stream.read().await.kind == 3);
    }
    stream.ask("/x", 101).await;
    let is_answered = |frame: frames::Frame| frame.kind == 1 && frame.stream == 101;
    while !is_answered(stream.read().await) {}
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

/// Its client does not close it, and one limit alone is told of.
#[tokio::test]
async fn an_idle_connection_that_is_not_closed_ends_all_the_same() {
    let (house, _upstream) = limited_with("http2_idle_timeout = \"1s\"", Plan::admin).await;
    let stream = TcpStream::connect(house.address).await.expect("accepted");
    let mut stream = frames::Connection::begin(stream).await;
    stream.ask("/x", 1).await;
    let closed = tokio::time::timeout(2 * SOON, stream.until_closed());
    closed.await.expect("the connection ends");
    for (key, hits) in [("http2_idle_timeout", 1), ("keep_alive_timeout", 0)] {
        let line = format!("sidegate_limit_hits_total{{limit=\"{key}\"}} {hits}");
        house.until_metrics_say(&line).await;
    }
}

/// Browsers open such in advance: nothing is wrong with that.
#[tokio::test]
async fn a_connection_that_asks_nothing_ends_without_a_word() {
    let (house, _upstream) = limited_with("header_timeout = \"500ms\"", Plan::admin).await;
    let stream = TcpStream::connect(house.address).await.expect("accepted");
    let mut stream = frames::Connection::begin(stream).await;
    let closed = tokio::time::timeout(SOON, stream.until_closed());
    closed.await.expect("the connection ends");
    house.limit_is_hit("header_timeout").await;
    let log = house.process.log();
    assert!(!log.contains("a connection was closed"), "{log}");
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
