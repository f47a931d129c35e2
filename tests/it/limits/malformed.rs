//! What hyper refuses before it is a request.

use std::fmt::Write as _;

use super::limited;
use crate::support::raw;

#[tokio::test]
async fn what_cannot_be_read_is_answered_with_words_and_leaves_a_line() {
    let (mut house, upstream) = limited("").await;
    for (request, status, word) in [
        (
            "GET /<a> b HTTP/1.1\r\nHost: app\r\n\r\n",
            400,
            "cannot be read",
        ),
        (
            "GET / HTTP/1.1\r\nHost: app\r\nBad Name: x\r\n\r\n",
            400,
            "cannot be read",
        ),
        (
            "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: many\r\n\r\n",
            400,
            "cannot be read",
        ),
        ("GET / HTTP/3.0\r\nHost: app\r\n\r\n", 400, "cannot be read"),
        (
            "GET /a<b HTTP/1.1\r\nHost: app\r\n\r\n",
            400,
            "cannot be read",
        ),
        (
            "GET /a>b HTTP/1.1\r\nHost: app\r\n\r\n",
            400,
            "cannot be read",
        ),
        (
            "GET /a`b HTTP/1.1\r\nHost: app\r\n\r\n",
            400,
            "cannot be read",
        ),
        (
            "GET /a?b=\" HTTP/1.1\r\nHost: app\r\n\r\n",
            400,
            "cannot be read",
        ),
        (
            "GET /a?b< HTTP/1.1\r\nHost: app\r\n\r\n",
            400,
            "cannot be read",
        ),
        (
            "GET /a?b> HTTP/1.1\r\nHost: app\r\n\r\n",
            400,
            "cannot be read",
        ),
    ] {
        let answer = raw::exchange(&house, request.as_bytes()).await;
        assert_eq!(raw::status(&answer), status, "{request}{answer}");
        assert!(answer.contains(word), "{request}{answer}");
    }
    assert_eq!(upstream.count(), 0);
    let line = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        (line["verdict"] == "bad_request").then_some(line)
    };
    let line = house.process.wait_for("a line of the refusal", line).await;
    assert_eq!(line["client"], "127.0.0.1");
    assert_eq!(line["status"], 400);
    assert!(line["detail"].is_string(), "{line}");
}

#[tokio::test]
async fn the_words_come_after_a_request_that_was_good_too() {
    let (house, _upstream) = limited("").await;
    let good = "GET /x HTTP/1.1\r\nHost: app\r\n\r\n";
    let answer = raw::exchange(&house, format!("{good}nonsense\r\n\r\n").as_bytes()).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    assert!(answer.contains("HTTP/1.1 400 Bad Request"), "{answer}");
}

#[tokio::test]
async fn two_hundred_fields_pass_and_more_are_told() {
    let (house, upstream) = limited("").await;
    let with = |count: usize| {
        let mut request = "GET /x HTTP/1.1\r\nHost: app\r\nConnection: close\r\n".to_owned();
        for number in 2..count {
            let _ = write!(request, "X-Field-{number}: {number}\r\n");
        }
        request + "\r\n"
    };
    let answer = raw::exchange(&house, with(200).as_bytes()).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    assert_eq!(upstream.seen()[0].header("x-field-199"), Some("199"));
    let answer = raw::exchange(&house, with(260).as_bytes()).await;
    assert_eq!(raw::status(&answer), 431, "{answer}");
    assert!(answer.contains("more than 200 header fields"), "{answer}");
}
