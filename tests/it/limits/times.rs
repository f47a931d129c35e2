//! How long a client may take.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;

use super::{SOON, limited, limited_with, until_closed};
use crate::support::{House, house::Plan, raw};

#[tokio::test]
async fn a_head_has_a_whole_time_that_trickling_does_not_extend() {
    let (house, _upstream) = limited("header_timeout = \"1s\"").await;
    let mut stream = house.connect().await;
    let begin = Instant::now();
    for byte in
        b"GET / HTTP/1.1\r\nHost: app\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            .iter()
            .cycle()
    {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(begin.elapsed() < SOON, "a trickling head goes on");
    }
    assert!(begin.elapsed() >= Duration::from_secs(1));
}

/// What might become HTTP/2 is a head, too.
#[tokio::test]
async fn the_time_of_a_head_begins_with_its_first_byte() {
    let (house, _upstream) = limited("header_timeout = \"4s\"").await;
    let mut stream = house.connect().await;
    stream.write_all(b"P").await.expect("accepted");
    let begin = Instant::now();
    tokio::time::sleep(Duration::from_millis(3_600)).await;
    stream.write_all(b"OST / HTTP/1.1\r\n").await.expect("open");
    until_closed(&mut stream).await;
    assert!(begin.elapsed() < Duration::from_millis(7_500));
}

#[tokio::test]
async fn who_never_speaks_is_closed() {
    for is_tls in [false, true] {
        let (house, _upstream) = limited_with("header_timeout = \"500ms\"", |plan| {
            if is_tls { plan.tls() } else { plan }
        })
        .await;
        let stream = tokio::net::TcpStream::connect(house.address)
            .await
            .expect("accepted");
        let mut stream: crate::support::Stream = Box::new(stream);
        assert_eq!(until_closed(&mut stream).await, "");
    }
}

#[tokio::test]
async fn a_handshake_has_a_time() {
    let (house, _upstream) = limited_with("handshake_timeout = \"500ms\"", Plan::tls).await;
    let stream = tokio::net::TcpStream::connect(house.address)
        .await
        .expect("accepted");
    let mut stream: crate::support::Stream = Box::new(stream);
    // The beginning of a record.
    stream.write_all(&[22, 3, 1]).await.expect("sent");
    assert_eq!(until_closed(&mut stream).await, "");
}

#[tokio::test]
async fn the_pause_between_requests_has_a_time_and_a_request_none_of_it() {
    let (house, _upstream) = limited("keep_alive_timeout = \"1s\"").await;
    let mut stream = house.connect().await;
    let slow = b"GET /_/slow?ms=2500 HTTP/1.1\r\nHost: app\r\n\r\n";
    stream.write_all(slow).await.expect("sent");
    assert_eq!(
        raw::status(&raw::read_until(&mut stream, "\r\n\r\n", SOON).await),
        200
    );
    until_closed(&mut stream).await;
}

/// Somebody asks for something large and reads nothing: the app's connection is free again.
#[tokio::test]
async fn a_client_that_does_not_read_lets_go_of_the_app() {
    let (house, upstream) = limited("write_timeout = \"1s\"").await;
    let mut stream = house.connect().await;
    let ask = b"GET /_/drip HTTP/1.1\r\nHost: app\r\n\r\n";
    stream.write_all(ask).await.expect("sent");
    upstream
        .wait_until("the answer is given up", |upstream| upstream.aborted() == 1)
        .await;
    assert!(upstream.sent() > 0);
    drop(stream);
}

#[tokio::test]
async fn a_slow_reader_that_reads_is_served_to_the_end() {
    let (house, _upstream) = limited("write_timeout = \"1s\"").await;
    read_slowly(&house, 8 * 1024 * 1024, (1024 * 1024, SOON)).await;
}

/// The system holds megabytes for a client that is near, and does not tell of each that it takes.
#[tokio::test]
async fn a_reader_that_is_near_and_slow_is_served_to_the_end() {
    let (house, _upstream) = limited("write_timeout = \"2s\"").await;
    read_slowly(
        &house,
        16 * 1024 * 1024,
        (32 * 1024, Duration::from_secs(6)),
    )
    .await;
}

/// Reads an answer of so many bytes whole: every tenth of a second a `piece` at most, and after `slow_for` as fast as can be.
async fn read_slowly(house: &House, bytes: usize, (piece, slow_for): (usize, Duration)) {
    let mut stream = house.connect().await;
    let ask =
        format!("GET /_/big?bytes={bytes} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.expect("sent");
    let began = Instant::now();
    let mut read = 0;
    let mut buffer = vec![0; piece];
    loop {
        let length = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer)
            .await
            .expect("the answer goes on");
        if length == 0 {
            break;
        }
        read += length;
        if began.elapsed() < slow_for {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    assert!(read > bytes, "{read}");
}

/// What the house of other tests relies on.
#[tokio::test]
async fn limits_that_cannot_be_are_refused() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(
        file.path(),
        "[limits]\nconnections = 0\nheader_timeout = \"soon\"\nconections = 3\n",
    )
    .expect("written");
    let checked = crate::support::house::sidegate()
        .args(["check", "-c"])
        .arg(file.path())
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&checked.stderr);
    for word in [
        "`connections` cannot be 0",
        "`soon` is no duration",
        "did you mean `connections`?",
    ] {
        assert!(told.contains(word), "{word} in {told}");
    }
}

/// What comes of a request's body is no beginning of the next head.
#[tokio::test]
async fn a_connection_rests_after_an_upload_as_after_any_request() {
    let (house, _upstream) = limited("header_timeout = \"600ms\"").await;
    let mut stream = house.connect().await;
    let head = b"POST /x HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\n";
    for _ in 0..2 {
        stream.write_all(head).await.expect("sent");
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.write_all(b"body").await.expect("sent");
        let answer = raw::read_until(&mut stream, "}", SOON).await;
        assert_eq!(raw::status(&answer), 200, "{answer}");
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}
