//! While a renewal is under way the gate is stopped, or its user signs out.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::json;
use tokio::time::sleep;

use super::{
    scene::{OVER, scene},
    successor,
};
use crate::support::House;

#[tokio::test]
async fn a_gate_that_is_stopped_finishes_what_it_renews() {
    let (mut house, upstream, provider) =
        scene("cookie", |_| {}, |plan| plan.public_url("http://app.test")).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let old = browser.cookie("sidegate").expect("a session");
    sleep(OVER).await;
    provider.set(|behaviour| {
        behaviour.token_takes = Duration::from_millis(700);
        behaviour.expires_in = json!(300);
    });
    let asking = browser.clone();
    let asked = tokio::spawn(async move { asking.get("/").await });
    sleep(Duration::from_millis(200)).await;
    assert_eq!(provider.renewals(), 1);
    house.process.terminate();
    let reply = asked.await.expect("no panic");
    assert_eq!(reply.status, StatusCode::OK);
    let new = successor(&reply).expect("the new cookie");
    assert!(house.process.ended(Duration::from_secs(10)).await.success());
    let next = House::plan()
        .upstream(&upstream)
        .provider(&provider)
        .public_url("http://app.test")
        .start()
        .await;
    let browser = next.browser();
    browser.plant("sidegate", &new);
    browser.get("/").await.seen();
    assert_eq!(provider.renewals(), 1, "the new token is good");
    // Whoever comes with the old one now uses a refresh token twice, as a thief would.
    browser.plant("sidegate", &old);
    assert_eq!(browser.get("/").await.status, StatusCode::FOUND);
}

#[tokio::test]
async fn a_gate_that_is_stopped_waits_for_a_renewal_that_nobody_waits_for() {
    let (mut house, _upstream, provider) = scene("memory", |_| {}, |plan| plan).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    sleep(OVER).await;
    provider.set(|behaviour| behaviour.token_takes = Duration::from_millis(1_500));
    let asking = browser.clone();
    let asked = tokio::spawn(async move { asking.get("/").await });
    sleep(Duration::from_millis(300)).await;
    asked.abort();
    sleep(Duration::from_millis(100)).await;
    house.process.terminate();
    let begin = Instant::now();
    assert!(house.process.ended(Duration::from_secs(10)).await.success());
    assert!(
        begin.elapsed() > Duration::from_millis(800),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(provider.calls("/userinfo").len() + provider.renewals(), 1);
}

/// Somebody signs out in one tab while another one waits for the renewal: that one must not pass.
async fn signed_out_meanwhile(store: &str) {
    let (house, upstream, provider) = scene(store, |_| {}, |plan| plan).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let cookie = browser.cookie("sidegate").expect("a session");
    sleep(OVER).await;
    provider.set(|behaviour| behaviour.token_takes = Duration::from_millis(1_500));
    let before = upstream.count();
    let waiting = house.browser();
    waiting.plant("sidegate", &cookie);
    let asked = tokio::spawn(async move {
        let begin = Instant::now();
        let reply = waiting.fetch(Method::GET, "/").send().await;
        (reply, begin.elapsed())
    });
    sleep(Duration::from_millis(500)).await;
    assert_eq!(provider.renewals(), 1, "{store}: the renewal is under way");
    let reply = browser.fetch(Method::POST, "/oauth2/sign_out").send().await;
    assert_eq!(reply.status, StatusCode::OK, "{store}");
    let (reply, took) = asked.await.expect("no panic");
    assert!(took > Duration::from_secs(1), "{store}: it waited {took:?}");
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{store}");
    assert!(!reply.sets_session(), "{store}: no successor");
    assert_eq!(upstream.count(), before, "{store}: the app saw nothing");
}

#[tokio::test]
async fn who_waits_for_a_renewal_of_a_session_that_is_signed_out_does_not_pass() {
    tokio::join!(
        signed_out_meanwhile("cookie"),
        signed_out_meanwhile("memory")
    );
}
