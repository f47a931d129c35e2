use std::time::Instant;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::provider::scripted::{Answer, Scripted};

fn api() -> Api {
    Api {
        http: HttpClient::for_test(),
        headers: &[("accept", "application/vnd.test+json"), ("x-version", "1")],
        fault: |_| None,
        pace: None,
    }
}

async fn list(server: &Scripted) -> Result<Vec<Value>, ProviderError> {
    api()
        .list(Call::Emails, &server.url("/list?per_page=2"), "tok")
        .await
}

fn page(entries: &Value, link: &str) -> Answer {
    Answer::json(&entries.to_string()).header("link", link)
}

fn throttled() -> ProviderError {
    ProviderError::Http {
        call: Call::Emails,
        error: HttpError::Status(StatusCode::TOO_MANY_REQUESTS),
    }
}

#[tokio::test]
async fn a_list_is_read_to_its_end() {
    let server = Scripted::start().await;
    let second = format!(
        "<{}>; rel=\"prev\", <{}>; rel=\"next\"",
        server.url("/list"),
        server.url("/second?after=a,b")
    );
    server.answer("/list", page(&json!([1, 2]), &second));
    server.answer("/second", page(&json!([3]), "</third>; rel=next"));
    server.answer("/third", Answer::json("[4]"));
    assert_eq!(list(&server).await.unwrap(), [1, 2, 3, 4]);
    let seen = server.requests("/second").remove(0);
    assert_eq!(seen.query.as_deref(), Some("after=a,b"));
    assert_eq!(seen.headers["authorization"], "Bearer tok");
    assert_eq!(seen.headers["accept"], "application/vnd.test+json");
    assert_eq!(seen.headers["x-version"], "1");
    assert!(seen.headers.contains_key("user-agent"));
}

#[tokio::test]
async fn a_list_without_end_is_left() {
    let server = Scripted::start().await;
    server.answer("/list", page(&json!([1]), "</list>; rel=\"next\""));
    assert_eq!(list(&server).await.unwrap().len(), MAX_PAGES);
    assert_eq!(server.requests("/list").len(), MAX_PAGES);
}

#[tokio::test]
async fn the_token_does_not_leave_its_origin() {
    let (server, other) = (Scripted::start().await, Scripted::start().await);
    other.answer("/list", Answer::json("[2]"));
    for target in [
        other.url("/list").to_string(),
        format!("//{}/list", other.authority()),
    ] {
        let link = format!("<{target}>; rel=\"next\"");
        server.answer("/list", page(&json!([1]), &link));
        assert!(list(&server).await.is_err());
    }
    assert!(other.requests("/list").is_empty());
}

#[tokio::test]
async fn too_often_gets_a_second_try_and_no_third() {
    let server = Scripted::start().await;
    let too_often =
        || Answer::text("429 Too Many Requests (Spam Rate Limit Exceeded)").with_status(429);
    let said = || too_often().header("retry-after", "0");
    let discord =
        Answer::json(r#"{"message":"m","retry_after":0.01,"global":false}"#).with_status(429);
    let github = Answer::json("{}")
        .with_status(403)
        .header("retry-after", "0");
    for no in [said(), discord, github] {
        server.answer_in_turn("/list", [no, Answer::json("[1]")]);
        assert_eq!(list(&server).await.unwrap(), [1]);
    }
    let before = server.requests("/list").len();
    server.answer("/list", said());
    assert_eq!(list(&server).await, Err(throttled()));
    assert_eq!(server.requests("/list").len(), before + 2);

    // Nothing said: a second or so.
    server.answer_in_turn("/list", [too_often(), Answer::json("[1]")]);
    let start = Instant::now();
    assert_eq!(list(&server).await.unwrap(), [1]);
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_long_wait_is_not_waited_for() {
    let server = Scripted::start().await;
    for no in [
        Answer::status(429).header("retry-after", "60"),
        Answer::status(403).header("retry-after", "60"),
        Answer::json(r#"{"retry_after":64.57}"#).with_status(429),
        Answer::json("{}")
            .with_status(403)
            .header("x-ratelimit-remaining", "0"),
        Answer::json("{}")
            .with_status(429)
            .header("x-ratelimit-remaining", "0"),
    ] {
        server.answer_in_turn("/list", [no, Answer::json("[1]")]);
        let before = server.requests("/list").len();
        let error = list(&server).await.unwrap_err();
        assert_eq!(error, throttled());
        assert!(error.is_outage());
        assert_eq!(server.requests("/list").len(), before + 1);
    }
}

#[tokio::test]
async fn no_is_no() {
    let server = Scripted::start().await;
    for (no, is_outage) in [
        (Answer::json("{}"), false),
        (Answer::text("<html>"), false),
        (Answer::json("[]").with_status(401), false),
        (Answer::json("[]").with_status(403), false),
        (
            Answer::json("[]")
                .with_status(302)
                .header("location", "/ok"),
            false,
        ),
        (Answer::json("[]").with_status(201), false),
        (Answer::json("[]").with_status(500), true),
    ] {
        server.answer("/list", no);
        let error = list(&server).await.unwrap_err();
        assert_eq!(error.is_outage(), is_outage, "{error}");
    }
}

#[test]
fn next_is_found_whatever_is_around_it() {
    for (links, expected) in [
        ("<a>; rel=\"next\"", Some("a")),
        (
            "<a>; rel=\"prev\", <b?x=1,2;3>; title=\"t\"; REL=next",
            Some("b?x=1,2;3"),
        ),
        ("<a>; rel=\"prev\"; title=\"next\"", None),
        ("<a>; rel=\"last next\"", Some("a")),
        ("<a>; rel=\"nextish\"", None),
        ("<a>, <b>; rel=next", Some("b")),
        ("<a; rel=next", None),
        ("", None),
    ] {
        assert_eq!(next_target(links), expected, "{links}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_no_panic(links in "[<>;,=\" a-z]*|.*") {
        let _ = next_target(&links);
    }
}
