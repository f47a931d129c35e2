//! A connection is used again only where it is sure to be between two answers.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};
use tokio::{sync::Barrier, time::sleep};

use super::{
    OK,
    scripted::{Connection, Script, Scripted},
};
use crate::support::house::Plan;

const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

#[tokio::test]
async fn what_comes_behind_an_answer_is_nobodys_answer() {
    for first in [
        format!("{OK}{POISON}"),
        format!("HTTP/1.1 204 No Content\r\n\r\n{POISON}"),
        format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n{POISON}"),
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n{POISON}"
        ),
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n"
            .to_owned(),
    ] {
        let poisoned = Script::default().answer(&first).answer(POISON);
        let scripted = Scripted::play(move |number| match number {
            0 => poisoned.clone(),
            _ => Script::default().answer(OK).answer(OK),
        })
        .await;
        let browser = scripted.browser();
        assert!(!browser.get("/first").await.text().contains("poison"));
        assert_eq!(browser.get("/second").await.text(), "fine", "{first:?}");
        assert_eq!(scripted.connections(), 2, "{first:?}");
    }
}

#[tokio::test]
async fn what_comes_while_nobody_asks_is_nobodys_answer() {
    let scripted = Scripted::play(|number| match number {
        0 => Script::default()
            .answer(OK)
            .rest(100)
            .say(POISON)
            .repeated(),
        _ => Script::default().answer(OK).repeated(),
    })
    .await;
    let browser = scripted.browser();
    assert_eq!(browser.get("/first").await.text(), "fine");
    sleep(Duration::from_millis(400)).await;
    assert_eq!(browser.get("/second").await.text(), "fine");
    assert_eq!(scripted.connections(), 2);
}

/// More connections than a task may look at in one turn.
#[tokio::test]
async fn of_many_idle_connections_none_is_taken_that_has_spoken() {
    const MANY: usize = 300;
    let together = Arc::new(Barrier::new(MANY));
    let scripted = Scripted::start(move |mut connection| {
        let together = Arc::clone(&together);
        async move {
            let speaks = connection.number < MANY;
            while connection.read_head().await {
                if speaks {
                    together.wait().await;
                }
                connection.say(OK).await;
                if speaks {
                    sleep(Duration::from_millis(300)).await;
                    connection.say(POISON).await;
                }
            }
        }
    })
    .await;
    let held = (0..MANY).map(|_| {
        let browser = scripted.browser();
        tokio::spawn(async move { browser.get("/held").await.text() })
    });
    for reply in held.collect::<Vec<_>>() {
        assert_eq!(reply.await.expect("no panic"), "fine");
    }
    sleep(Duration::from_millis(1_500)).await;
    for method in [Method::POST, Method::GET, Method::POST] {
        let reply = scripted.browser().fetch(method, "/after").send().await;
        assert_eq!(
            (reply.status, reply.text()),
            (StatusCode::OK, "fine".to_owned())
        );
    }
}

/// A connection that the upstream closes at the moment of use: what may be sent twice is, and nothing else.
#[tokio::test]
async fn a_connection_closed_at_the_moment_of_use_loses_no_get_and_repeats_no_post() {
    let scripted = Scripted::play(|number| match number % 2 {
        // The second request is read, and its connection closed without a word.
        0 => Script::default().answer(OK).hear(),
        _ => Script::default().answer(OK).answer(OK),
    })
    .await;
    let browser = scripted.browser();
    assert_eq!(browser.get("/1").await.text(), "fine");
    assert_eq!(browser.get("/2").await.text(), "fine");
    assert_eq!(scripted.connections(), 2);
    let asked = |path: &str| {
        let heads = scripted.heads();
        let line = format!(" {path} ");
        heads.iter().filter(|head| head.contains(&line)).count()
    };
    assert_eq!(asked("/2"), 2);

    // The second connection still serves one, and a third is fresh; its second request is dropped.
    assert_eq!(browser.get("/3").await.text(), "fine");
    assert_eq!(browser.get("/4").await.text(), "fine");
    let reply = browser.fetch(Method::POST, "/5").body("once").send().await;
    assert_eq!(reply.status, StatusCode::BAD_GATEWAY);
    assert_eq!(asked("/5"), 1);
}

/// An app that closes an idle connection says so, or what was left of an older answer comes: neither is meant for the
/// request that was just sent.
#[tokio::test]
async fn what_a_closing_connection_says_is_nobodys_answer() {
    for last in [
        "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 4\r\n\r\nlate",
        "0\r\n\r\n",
        "HTTP/1.1 2",
    ] {
        let scripted = Scripted::play(move |number| match number {
            0 => Script::default().answer(OK).answer(last),
            _ => Script::default().answer(OK).answer(last).repeated(),
        })
        .await;
        let browser = scripted.browser();
        assert_eq!(browser.get("/1").await.text(), "fine");
        let reply = browser.get("/2").await;
        assert_eq!(
            (reply.status, reply.text()),
            (StatusCode::OK, "fine".to_owned()),
            "{last:?}"
        );
        assert_eq!(scripted.connections(), 2);
    }
    // To a request on a fresh connection, and to one that cannot be sent again, it is the answer.
    let late = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let scripted = Scripted::play(move |number| match number {
        0 => Script::default().answer(OK).answer(late),
        _ => Script::default().answer(late),
    })
    .await;
    let browser = scripted.browser();
    assert_eq!(browser.get("/1").await.text(), "fine");
    let reply = browser.fetch(Method::POST, "/2").body("once").send().await;
    assert_eq!(reply.status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(browser.get("/3").await.status, StatusCode::REQUEST_TIMEOUT);
    // What has been said by then tells that the connection is over.
    for method in [Method::POST, Method::DELETE] {
        let scripted = Scripted::play(move |number| match number {
            0 => Script::default().answer(OK).rest(50).say(late).rest(5_000),
            _ => Script::default().answer(OK),
        })
        .await;
        let browser = scripted.browser();
        assert_eq!(browser.get("/1").await.text(), "fine");
        sleep(Duration::from_millis(300)).await;
        let reply = browser.fetch(method, "/2").body("once").send().await;
        assert_eq!(reply.text(), "fine");
        assert_eq!(scripted.connections(), 2);
    }
}

/// One answer too many is a race that the gate may lose; so it is told, and the race is not run again.
#[tokio::test]
async fn an_app_that_loses_count_is_told_of_and_its_connections_are_not_used_again() {
    let scripted = Scripted::play(|number| match number {
        0 => Script::default().answer(&format!("{OK}{POISON}")),
        _ => Script::default().answer(OK).repeated(),
    })
    .await;
    let browser = scripted.browser();
    for expected in 1..=4 {
        assert_eq!(browser.get("/").await.text(), "fine");
        assert_eq!(scripted.connections(), expected);
    }
    let log = scripted.log_with("upstream_reuse = false").await;
    assert_eq!(log.matches("upstream_reuse = false").count(), 1, "{log}");
}

/// Also where that connection ends with the answer: the app loses count on others, too.
#[tokio::test]
async fn an_app_that_says_too_much_on_its_last_word_is_told_of() {
    let last = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine";
    let scripted = Scripted::play(move |number| match number {
        0 => Script::default().answer(&format!("{last}{POISON}")),
        _ => Script::default().answer(OK).repeated(),
    })
    .await;
    let browser = scripted.browser();
    assert_eq!(browser.get("/").await.text(), "fine");
    scripted.log_with("upstream_reuse = false").await;
    for expected in 2..=3 {
        assert_eq!(browser.get("/").await.text(), "fine");
        assert_eq!(scripted.connections(), expected);
    }
}

#[tokio::test]
async fn without_reuse_each_request_has_a_connection_of_its_own() {
    let script = |connection: Connection| Script::default().answer(OK).repeated().play(connection);
    let plan = |plan: Plan| plan.top("upstream_reuse = false");
    let scripted = Scripted::start_with(script, plan).await;
    let browser = scripted.browser();
    for expected in 1..=3 {
        assert_eq!(browser.get("/").await.text(), "fine");
        assert_eq!(scripted.connections(), expected);
    }
}
