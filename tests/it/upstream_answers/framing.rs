//! Where an answer's head and body end.

use http::{Method, StatusCode};

use super::{
    OK,
    scripted::{Script, Scripted},
};
use crate::support::{h2, raw};

#[tokio::test]
async fn chunks_count_and_a_length_beside_them_does_not() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let scripted = Scripted::play(|_| Script::default().answer(answer).repeated()).await;
    let reply = scripted.browser().get("/").await;
    assert_eq!(reply.text(), "hello");
    assert_ne!(
        reply
            .headers
            .get("content-length")
            .map(http::HeaderValue::as_bytes),
        Some(&b"3"[..])
    );
}

#[tokio::test]
async fn answers_without_a_body_keep_their_connection() {
    let scripted = Scripted::play(|_| {
        Script::default()
            .answer("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")
            .answer("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: \"a\"\r\n\r\n")
            .answer("HTTP/1.1 204 No Content\r\n\r\n")
            .answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n")
            .answer(OK)
    })
    .await;
    let browser = scripted.browser();
    let head = browser.fetch(Method::HEAD, "/").send().await;
    assert_eq!(head.header("content-length"), "7");
    assert_eq!(browser.get("/").await.status, StatusCode::NOT_MODIFIED);
    assert_eq!(browser.get("/").await.status, StatusCode::NO_CONTENT);
    assert_eq!(browser.get("/").await.text(), "fine");
    assert_eq!(browser.get("/").await.text(), "fine");
    assert_eq!(scripted.connections(), 1);
}

#[tokio::test]
async fn interim_answers_stay_here_and_have_an_end() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    let scripted = Scripted::play(|_| {
        Script::default()
            .answer(interim)
            .rest(50)
            .say(OK)
            .repeated()
    })
    .await;
    let reply = scripted.browser().get("/").await;
    assert_eq!(
        (reply.status, reply.text()),
        (StatusCode::OK, "fine".to_owned())
    );
    assert!(!reply.headers.contains_key("link"));

    let endless =
        Scripted::play(|_| Script::default().answer(&interim.repeat(20)).repeated()).await;
    let reply = endless.browser().get("/").await;
    assert_eq!(reply.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn old_servers_end_their_answer_with_the_connection() {
    let scripted = Scripted::play(|_| {
        Script::default()
            .answer("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello ")
            .rest(50)
            .say("world")
    })
    .await;
    let browser = scripted.browser();
    for _ in 0..2 {
        assert_eq!(browser.get("/").await.text(), "hello world");
    }
    assert_eq!(scripted.connections(), 2);
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte() {
    let scripted = Scripted::play(|_| {
        let bytes = OK.split_inclusive(|_| true);
        bytes
            .fold(Script::default().hear(), |script, byte| {
                script.say(byte).rest(2)
            })
            .repeated()
    })
    .await;
    assert_eq!(scripted.browser().get("/").await.text(), "fine");
}

#[tokio::test]
async fn two_hundred_and_fifty_fields_pass() {
    let fields = |count: usize| {
        (0..count).fold(String::new(), |fields, number| {
            fields + &format!("X-Field-{number}: {number}\r\n")
        })
    };
    for (count, status) in [(250, 200), (257, 502)] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{}\r\n",
            fields(count)
        );
        let scripted = Scripted::play(move |_| Script::default().answer(&answer)).await;
        let ask = b"GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n";
        let answer = raw::exchange(&scripted.house, ask).await;
        assert_eq!(raw::status(&answer), status, "{answer}");
        let passed = answer.to_lowercase().matches("x-field-").count();
        assert_eq!(passed, if status == 200 { count } else { 0 });
    }
}

/// RFC 9110 §8.6; clients of HTTP/2 take it for a mistake.
#[tokio::test]
async fn what_has_no_content_has_no_length() {
    let answer = "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n";
    let scripted = Scripted::play(|_| Script::default().answer(answer).repeated()).await;
    let mut client = h2::connect(&scripted.house).await;
    let reply = h2::send(
        &mut client,
        h2::request("GET", &scripted.house.url("/"), &[]),
    )
    .await;
    assert_eq!(reply.status(), StatusCode::NO_CONTENT);
    assert!(!reply.headers().contains_key("content-length"));
}
