//! Requests that two readers read in two ways, by host, length or size, are refused.

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::house;
use crate::support::{h2, raw};

#[tokio::test]
async fn a_host_that_contradicts_the_target_is_refused() {
    let (house, upstream, _provider) = house().await;
    let at = house.address;
    for (request, fine) in [
        (
            format!("GET http://{at}/public/x HTTP/1.1\r\nHost: {at}\r\n"),
            true,
        ),
        (
            format!("GET http://public.example/public/x HTTP/1.1\r\nHost: {at}\r\n"),
            false,
        ),
        (
            format!("GET http://{at}/public/x HTTP/1.1\r\nHost: evil.example\r\n"),
            false,
        ),
        (
            format!("GET http://user@{at}/public/x HTTP/1.1\r\nHost: {at}\r\n"),
            false,
        ),
        ("GET /public/x HTTP/1.1\r\n".to_owned(), false),
        (
            format!("GET /public/x HTTP/1.1\r\nHost: {at}\r\nHost: evil.example\r\n"),
            false,
        ),
        (format!("GET /public/x HTTP/1.1\r\nHost: {at}/x\r\n"), false),
        (format!("GET public/x HTTP/1.1\r\nHost: {at}\r\n"), false),
        (format!("GET * HTTP/1.1\r\nHost: {at}\r\n"), false),
        (
            format!("CONNECT evil.example:443 HTTP/1.1\r\nHost: {at}\r\n"),
            false,
        ),
        (format!("CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n"), false),
    ] {
        let before = upstream.count();
        let answer = raw::exchange(
            &house,
            format!("{request}Connection: close\r\n\r\n").as_bytes(),
        )
        .await;
        let status = raw::status(&answer);
        if fine {
            assert_eq!(status, 200, "{request}: {answer}");
            let seen = upstream.seen().pop().expect("a request");
            assert_eq!(seen.target, "/public/x");
        } else {
            assert!((400..500).contains(&status), "{request}: {answer}");
            assert_eq!(upstream.count(), before, "{request}");
        }
    }
}

#[tokio::test]
async fn over_http2_host_and_authority_agree() {
    let (house, upstream, _provider) = house().await;
    let mut client = h2::connect(&house).await;
    let url = house.url("/public/two");
    let response = h2::send(
        &mut client,
        h2::request("GET", &url, &[("host", "evil.example")]),
    )
    .await;
    let status = response.status();
    if status == StatusCode::OK {
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!(
            seen.header("host"),
            Some(house.address.to_string().as_str()),
            "the authority wins"
        );
    } else {
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn smuggling_is_refused() {
    let (house, upstream, _provider) = house().await;
    let at = house.address;
    let tail = "0\r\n\r\nGET /public/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    for (name, head) in [
        ("two lengths", "Content-Length: 4\r\nContent-Length: 5\r\n"),
        ("a list of lengths", "Content-Length: 4, 5\r\n"),
        ("a signed length", "Content-Length: +4\r\n"),
        (
            "a space before the colon",
            "Transfer-Encoding : chunked\r\n",
        ),
        ("a folded header", "X-Fold: a\r\n b\r\n"),
        ("an unknown coding", "Transfer-Encoding: xchunked\r\n"),
        ("one more coding", "Transfer-Encoding: gzip, chunked\r\n"),
        ("an empty coding", "Transfer-Encoding: ,chunked\r\n"),
        (
            "the coding twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ),
        (
            "chunked twice removed",
            "Transfer-Encoding: chunked, identity\r\n",
        ),
        ("a NUL in a value", "X-Nul: a\0b\r\n"),
        ("a name with a space", "X Y: 1\r\n"),
        (
            "a bare CR in a value",
            "X-Cr: a\rTransfer-Encoding: chunked\r\n",
        ),
    ] {
        let request = format!("POST /public/x HTTP/1.1\r\nHost: {at}\r\n{head}\r\n{tail}");
        let before = upstream.count();
        let answer = raw::exchange(&house, request.as_bytes()).await;
        assert_eq!(raw::status(&answer), 400, "{name}: {answer}");
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1,
            "{name}: one answer, then closed: {answer}"
        );
        assert_eq!(upstream.count(), before, "{name}");
    }
}

/// RFC 9112 §6.3: the coding wins over the length, which goes no further, and the connection is closed: what stands behind
/// is no request.
#[tokio::test]
async fn of_both_lengths_the_coding_wins_and_nothing_comes_behind() {
    for lengths in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Transfer-Encoding: chunked\r\nContent-Length: 4, 9",
    ] {
        let (house, upstream, _provider) = house().await;
        let request = format!(
            "POST /public/x HTTP/1.1\r\nHost: {}\r\n{lengths}\r\n\r\n\
             0\r\n\r\nGET /public/smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
            house.address
        );
        let answer = raw::exchange(&house, request.as_bytes()).await;
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1,
            "{lengths}: {answer}"
        );
        assert_eq!(raw::status(&answer), 200, "{lengths}: {answer}");
        let seen = upstream.seen();
        assert_eq!(seen.len(), 1, "{lengths}: {seen:?}");
        assert_eq!(
            (seen[0].body_length, seen[0].header("content-length")),
            (0, None)
        );
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let (house, upstream, _provider) = house().await;
    let at = house.address;
    let long = "a".repeat(100_000);
    for request in [
        format!("GET /public/{long} HTTP/1.1\r\nHost: {at}\r\n"),
        format!(
            "GET /public/x HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer {long}{long}{long}{long}{long}\r\n"
        ),
        format!(
            "GET /public/x HTTP/1.1\r\nHost: {at}\r\n{}",
            "X-Many: 1\r\n".repeat(2_000)
        ),
    ] {
        // It is answered before it was sent to its end, so it is listened to meanwhile.
        let (mut reading, mut writing) = tokio::io::split(house.connect().await);
        let whole = format!("{request}Connection: close\r\n\r\n");
        let sending = tokio::spawn(async move {
            // The rest may find nobody.
            let _ = writing.write_all(whole.as_bytes()).await;
            writing
        });
        let mut answer = [0; 12];
        let read = reading.read_exact(&mut answer).await;
        assert!(read.is_ok(), "no answer: {read:?}: {}", &request[..40]);
        let answer = String::from_utf8_lossy(&answer);
        assert_eq!(raw::status(&answer), 431, "{answer}: {}", &request[..40]);
        sending.abort();
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(
        house.browser().get("/oauth2/ping").await.status,
        StatusCode::OK
    );
}
