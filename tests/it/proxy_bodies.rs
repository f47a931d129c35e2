//! Bodies stream both ways: nothing is held back, nothing is kept, and whoever leaves is noticed.

use std::time::{Duration, Instant};

use http::StatusCode;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Browser, House, Stream, raw, standard, standard_with};

const GIB: u64 = 1 << 30;

/// Debug builds and the allocator's slack included; a gate that buffers needs a thousand.
const SLACK_KIB: u64 = 48 * 1024;

fn head(house: &House, browser: &Browser, line: &str, more: &str) -> Vec<u8> {
    let cookies = browser.cookies("/");
    let cookie = if cookies.is_empty() {
        String::new()
    } else {
        format!("Cookie: {cookies}\r\n")
    };
    format!(
        "{line} HTTP/1.1\r\nHost: {}\r\n{cookie}{more}\r\n",
        house.address
    )
    .into_bytes()
}

#[tokio::test]
async fn a_gibibyte_down_takes_no_memory() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let before = house.process.memory_kib("VmHWM");
    let mut stream = house.connect().await;
    let request = head(
        &house,
        &browser,
        &format!("GET /_/big?bytes={GIB}"),
        "Connection: close\r\n",
    );
    stream.write_all(&request).await.expect("sent");
    let mut chunk = vec![0; 1 << 20];
    let mut total = 0_u64;
    loop {
        let length = stream.read(&mut chunk).await.expect("the answer goes on");
        if length == 0 {
            break;
        }
        total += length as u64;
    }
    assert!(total > GIB, "{total} bytes came");
    assert_eq!(upstream.sent() as u64, GIB);
    let grown = house.process.memory_kib("VmHWM") - before;
    assert!(grown < SLACK_KIB, "grown by {grown} KiB");
}

#[tokio::test]
async fn a_gibibyte_up_takes_no_memory() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let before = house.process.memory_kib("VmHWM");
    let mut stream = house.connect().await;
    let more = format!("Content-Length: {GIB}\r\nConnection: close\r\n");
    stream
        .write_all(&head(&house, &browser, "POST /up", &more))
        .await
        .expect("sent");
    let chunk = vec![b'y'; 1 << 20];
    for _ in 0..GIB / (1 << 20) {
        stream
            .write_all(&chunk)
            .await
            .expect("the gate goes on reading");
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert_eq!(raw::status(&answer), 200, "{answer}");
    assert_eq!(upstream.seen().pop().expect("a request").body_length, GIB);
    let grown = house.process.memory_kib("VmHWM") - before;
    assert!(grown < SLACK_KIB, "grown by {grown} KiB");
}

#[tokio::test]
async fn a_slow_reader_slows_the_upstream() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let mut stream = house.connect().await;
    let request = head(&house, &browser, &format!("GET /_/big?bytes={GIB}"), "");
    stream.write_all(&request).await.expect("sent");
    let mut some = [0; 4096];
    stream.read_exact(&mut some).await.expect("it begins");
    // Until what the sockets hold is full.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let first = upstream.sent();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(upstream.sent(), first, "nobody reads, so nobody sends");
    assert!(first < 64 << 20, "{first} bytes are under way");
}

#[tokio::test]
async fn a_slow_upstream_slows_the_sender() {
    let (house, _upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let mut stream = house.connect().await;
    let more = format!("Content-Length: {GIB}\r\n");
    stream
        .write_all(&head(&house, &browser, "POST /_/hang", &more))
        .await
        .expect("sent");
    let chunk = vec![b'y'; 1 << 20];
    let mut taken = 0_u64;
    while let Ok(Ok(())) =
        tokio::time::timeout(Duration::from_millis(700), stream.write_all(&chunk)).await
    {
        taken += 1;
        assert!(taken < 64, "{taken} MiB were taken that nobody reads");
    }
}

#[tokio::test]
async fn a_body_is_passed_on_while_it_comes() {
    let (house, _upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let mut stream = house.connect().await;
    let request = head(
        &house,
        &browser,
        "POST /_/mirror",
        "Transfer-Encoding: chunked\r\n",
    );
    stream.write_all(&request).await.expect("sent");
    // Each word comes back before the next is sent: neither side waits for more.
    for word in ["first", "second", "third"] {
        let chunk = format!("{:x}\r\n{word}\r\n", word.len());
        stream.write_all(chunk.as_bytes()).await.expect("sent");
        let seen = raw::read_until(&mut stream, word, Duration::from_secs(5)).await;
        assert!(seen.contains(word), "{word} comes back at once: {seen}");
    }
}

#[tokio::test]
async fn a_body_that_is_none_is_the_clients_fault() {
    let (house, _upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    for (what, framing, body) in [
        ("no size", "Transfer-Encoding: chunked\r\n", "zz\r\nx\r\n"),
        (
            "a size too long",
            "Transfer-Encoding: chunked\r\n",
            "ffffffffffffffffff\r\nx\r\n",
        ),
        (
            "a chunk that does not end",
            "Transfer-Encoding: chunked\r\n",
            "1\r\nxy\r\n0\r\n\r\n",
        ),
    ] {
        let mut request = head(&house, &browser, "POST /x", framing);
        request.extend_from_slice(body.as_bytes());
        let answer = raw::exchange(&house, &request).await;
        assert_eq!(raw::status(&answer), 400, "{what}: {answer}");
        assert!(answer.contains("body"), "{what}: {answer}");
    }
}

#[tokio::test]
async fn events_arrive_when_they_happen() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let response = browser.navigate("/_/events").begin().await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert!(!response.headers().contains_key("content-length"));
    let mut body = response.into_body();
    let begin = Instant::now();
    for number in 0..4 {
        let frame = tokio::time::timeout(Duration::from_secs(2), body.frame()).await;
        let frame = frame.expect("in time").expect("more").expect("a frame");
        let data = frame.into_data().expect("data");
        assert_eq!(
            data,
            format!("data: {number}\n\n").as_bytes(),
            "one event at a time"
        );
    }
    let took = begin.elapsed();
    assert!(
        took > Duration::from_millis(200) && took < Duration::from_secs(2),
        "{took:?}"
    );
    drop(body);
    upstream
        .wait_until("the reader has left", |upstream| upstream.aborted() == 1)
        .await;
}

#[tokio::test]
async fn whoever_leaves_cancels_the_upstream() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    // Before the answer begins.
    let mut stream = house.connect().await;
    stream
        .write_all(&head(&house, &browser, "GET /_/hang", ""))
        .await
        .expect("sent");
    upstream
        .wait_until("the request", |upstream| {
            upstream.seen().iter().any(|seen| seen.target == "/_/hang")
        })
        .await;
    drop(stream);
    upstream
        .wait_until("it was given up", |upstream| upstream.aborted() == 1)
        .await;
    // In the middle of it.
    let mut stream = house.connect().await;
    stream
        .write_all(&head(&house, &browser, "GET /_/drip", ""))
        .await
        .expect("sent");
    let mut some = [0; 4096];
    stream.read_exact(&mut some).await.expect("it begins");
    drop(stream);
    upstream
        .wait_until("it was given up", |upstream| upstream.aborted() == 2)
        .await;
    // In the middle of the request's own body.
    let mut stream = house.connect().await;
    let request = head(&house, &browser, "POST /half", "Content-Length: 1000\r\n");
    stream.write_all(&request).await.expect("sent");
    stream.write_all(b"only this").await.expect("sent");
    upstream
        .wait_until("the request", |upstream| {
            upstream.seen().iter().any(|seen| seen.target == "/half")
        })
        .await;
    drop(stream);
    upstream
        .wait_until("it was given up", |upstream| upstream.aborted() == 3)
        .await;
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let more =
        "Transfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: X-Sum\r\nConnection: close\r\n";
    let mut request = head(&house, &browser, "POST /up", more);
    request.extend_from_slice(b"5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n");
    let answer = raw::exchange(&house, &request).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    let seen = upstream.seen().pop().expect("a request");
    assert_eq!(seen.trailers, [("x-sum".to_owned(), "42".to_owned())]);

    let request = head(
        &house,
        &browser,
        "GET /_/trailers",
        "TE: trailers\r\nConnection: close\r\n",
    );
    let answer = raw::exchange(&house, &request).await;
    assert!(
        answer.to_lowercase().contains("x-checksum: abc"),
        "{answer}"
    );
}

async fn expecting(house: &House, browser: &Browser, length: usize) -> Stream {
    let mut stream = house.connect().await;
    let more = format!("Expect: 100-continue\r\nContent-Length: {length}\r\n");
    stream
        .write_all(&head(house, browser, "POST /expected", &more))
        .await
        .expect("sent");
    stream
}

#[tokio::test]
async fn nobody_is_asked_for_a_body_that_will_not_be_taken() {
    let (house, upstream, _provider) = standard().await;
    let mut stream = expecting(&house, &house.browser(), 1_000_000).await;
    let answer = raw::read_until(&mut stream, "\r\n\r\n", Duration::from_secs(5)).await;
    assert_eq!(
        raw::status(&answer),
        401,
        "the answer comes before the body: {answer}"
    );
    assert!(!answer.contains("100 Continue"));
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn whoever_may_pass_is_asked_for_the_body() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let mut stream = expecting(&house, &browser, 5).await;
    let answer = raw::read_until(&mut stream, "\r\n\r\n", Duration::from_secs(5)).await;
    assert!(answer.starts_with("HTTP/1.1 100"), "{answer}");
    stream.write_all(b"hello").await.expect("sent");
    let answer = raw::read_until(&mut stream, "\"hello\"", Duration::from_secs(5)).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    assert_eq!(upstream.seen().pop().expect("a request").body, "hello");
}

#[tokio::test]
async fn an_unread_body_does_not_poison_the_connection() {
    let (house, upstream, _provider) = standard().await;
    let mut stream = house.connect().await;
    let nobody = house.browser();
    let smuggled = "GET /oauth2/ping HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut request = head(
        &house,
        &nobody,
        "POST /x",
        &format!("Content-Length: {}\r\n", smuggled.len()),
    );
    request.extend_from_slice(smuggled.as_bytes());
    stream.write_all(&request).await.expect("sent");
    let answer = raw::read_until(&mut stream, "never", Duration::from_millis(700)).await;
    assert_eq!(raw::status(&answer), 401, "{answer}");
    assert_eq!(
        answer.matches("HTTP/1.1 ").count(),
        1,
        "the body is no request: {answer}"
    );
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn public_bodies_of_any_length_pass() {
    let (house, _upstream, _provider) = standard_with(|plan| plan.route("/**", "public")).await;
    let browser = house.browser();
    for (length, more) in [(0, ""), (1, ""), (70_000, ""), (3_000_000, "")] {
        let reply = browser
            .bare(http::Method::PUT, "/put")
            .header("x-more", more)
            .body(vec![b'z'; length])
            .send()
            .await;
        assert_eq!(reply.seen().body_length, length as u64);
    }
}
