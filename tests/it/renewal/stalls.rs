//! A provider that stalls, or breaks off when the refresh token is spent already, logs nobody out: what may have been
//! spent is not sent again while the session can do without.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::json;
use tokio::time::sleep;

use super::scene::{OVER, STORES, scene, status};
use crate::support::{
    Browser, House, Reply, ScriptedProvider, Upstream,
    behaviour::{Behaviour, TokenEndpoint},
};

/// Longer than any other call to a provider is waited for.
const STALL: Duration = Duration::from_secs(13);

async fn signed_in(house: &House, count: usize) -> Vec<Browser> {
    let mut browsers = Vec::new();
    for _ in 0..count {
        let browser = house.browser();
        browser.sign_in("/").await;
        browsers.push(browser);
    }
    browsers
}

/// Asks, and says how long it took.
async fn timed(browser: &Browser) -> (Reply, Duration) {
    let begin = Instant::now();
    let reply = browser.fetch(Method::GET, "/").send().await;
    (reply, begin.elapsed())
}

/// Everybody is served while the provider says nothing, and has its new tokens when it has said them.
async fn stalled(store: &str) {
    let (house, _upstream, provider) = scene(
        store,
        |_| {},
        |plan| plan.session("provider_grace = \"1m\""),
    )
    .await;
    let browsers = signed_in(&house, 6).await;
    sleep(OVER).await;
    provider.set(|behaviour| {
        behaviour.token_held_back = STALL;
        behaviour.expires_in = json!(300);
    });
    let begin = Instant::now();
    while begin.elapsed() < STALL + Duration::from_secs(4) {
        for browser in &browsers {
            let (reply, took) = timed(browser).await;
            assert_eq!(reply.status, StatusCode::OK, "{store}: {}", reply.text());
            assert!(took < Duration::from_secs(3), "{store}: {took:?}");
        }
        sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(provider.renewals(), 6, "{store}: each token is sent once");
    assert_eq!(provider.calls("/authorize").len(), 6, "{store}");
    // Nothing was spent twice, so what they hold now is good.
    provider.set(|behaviour| behaviour.token_held_back = Duration::ZERO);
    for browser in &browsers {
        assert_eq!(status(browser).await, StatusCode::OK, "{store}");
    }
}

#[tokio::test]
async fn a_provider_that_stalls_logs_nobody_out() {
    tokio::join!(stalled("cookie"), stalled("memory"));
}

/// When the grace is over nothing can be served meanwhile: requests are told so soon, and the answer is waited for all the same.
async fn without_grace(store: &str) {
    let (house, _upstream, provider) = scene(
        store,
        |_| {},
        |plan| plan.session("provider_grace = \"1s\""),
    )
    .await;
    let browser = house.browser();
    browser.sign_in("/").await;
    sleep(OVER + Duration::from_secs(1)).await;
    provider.set(|behaviour| {
        behaviour.token_held_back = Duration::from_secs(5);
        behaviour.expires_in = json!(300);
    });
    let begin = Instant::now();
    let (reply, took) = timed(&browser).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{store}");
    assert_ne!(reply.header("retry-after"), "", "{store}");
    assert!(took < Duration::from_millis(2_500), "{store}: {took:?}");
    // A person's page asks again by itself.
    let page = browser.get("/").await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{store}");
    assert_ne!(page.header("refresh"), "", "{store}");
    loop {
        match status(&browser).await {
            StatusCode::OK => break,
            StatusCode::SERVICE_UNAVAILABLE => {}
            other => panic!("{store}: {other}"),
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{store}: never");
        sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(provider.renewals(), 1, "{store}");
}

#[tokio::test]
async fn a_request_that_needs_the_renewal_waits_a_second_for_it() {
    tokio::join!(without_grace("cookie"), without_grace("memory"));
}

/// What the gate cannot know the fate of stays unsent for as long as the session can do without.
async fn not_sent_again(store: &str, fault: TokenEndpoint) {
    let what = format!("{store} {fault:?}");
    let (house, _upstream, provider) = scene(
        store,
        |_| {},
        |plan| plan.session("provider_grace = \"1m\""),
    )
    .await;
    let browsers = signed_in(&house, 3).await;
    sleep(OVER).await;
    provider.set(|behaviour| behaviour.token = fault);
    for browser in &browsers {
        assert_eq!(status(browser).await, StatusCode::OK, "{what}");
    }
    provider.set(|behaviour| behaviour.token = TokenEndpoint::Good);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(6) {
        for browser in &browsers {
            assert_eq!(status(browser).await, StatusCode::OK, "{what}");
        }
        sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(provider.renewals(), 3, "{what}: each token is sent once");
    assert_eq!(provider.calls("/authorize").len(), 3, "{what}");
}

#[tokio::test]
async fn a_connection_that_breaks_when_the_token_is_spent_logs_nobody_out() {
    for fault in [TokenEndpoint::BreaksOff, TokenEndpoint::BadGateway] {
        tokio::join!(
            not_sent_again(STORES[0], fault),
            not_sent_again(STORES[1], fault)
        );
    }
}

/// When nothing serves any more it is sent once more: the provider may never have seen it.
async fn sent_when_needed(store: &str) {
    let (house, _upstream, provider) = scene(
        store,
        |_| {},
        |plan| plan.session("provider_grace = \"8s\""),
    )
    .await;
    let browser = house.browser();
    browser.sign_in("/").await;
    sleep(OVER).await;
    provider.set(|behaviour| {
        behaviour.token = TokenEndpoint::BreaksOffUndone;
        behaviour.expires_in = json!(300);
    });
    assert_eq!(status(&browser).await, StatusCode::OK, "{store}");
    provider.set(|behaviour| behaviour.token = TokenEndpoint::Good);
    let begin = Instant::now();
    while provider.renewals() < 2 {
        assert_ne!(status(&browser).await, StatusCode::UNAUTHORIZED, "{store}");
        assert!(begin.elapsed() < Duration::from_secs(30), "{store}: never");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(
        begin.elapsed() > Duration::from_secs(6),
        "{store}: too soon"
    );
    let begin = Instant::now();
    while status(&browser).await != StatusCode::OK {
        assert!(begin.elapsed() < Duration::from_secs(10), "{store}: never");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(provider.calls("/authorize").len(), 1, "{store}");
}

#[tokio::test]
async fn what_may_have_been_spent_is_sent_again_when_nothing_else_serves() {
    tokio::join!(sent_when_needed("cookie"), sent_when_needed("memory"));
}

/// Nothing was sent: that is tried again soon.
#[tokio::test]
async fn a_provider_that_refused_the_connection_is_asked_again_soon() {
    for store in STORES {
        let (house, _upstream, provider) = scene(
            store,
            |_| {},
            |plan| plan.session("provider_grace = \"1m\""),
        )
        .await;
        let browser = house.browser();
        browser.sign_in("/").await;
        provider.server.down();
        sleep(OVER).await;
        assert_eq!(status(&browser).await, StatusCode::OK, "{store}");
        provider.server.up().await;
        let begin = Instant::now();
        while provider.renewals() < 1 {
            assert_eq!(status(&browser).await, StatusCode::OK, "{store}");
            assert!(begin.elapsed() < Duration::from_secs(15), "{store}: never");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Nothing is renewed over and over for a provider that says its tokens last no time at all.
#[tokio::test]
async fn tokens_that_are_said_to_last_no_time_do_not_hammer_the_provider() {
    for store in STORES {
        let (house, _upstream, provider): (House, Upstream, ScriptedProvider) = scene(
            store,
            |behaviour: &mut Behaviour| behaviour.expires_in = json!(0),
            |plan| plan,
        )
        .await;
        let browser = house.browser();
        browser.sign_in("/").await;
        for _ in 0..5 {
            assert_eq!(status(&browser).await, StatusCode::OK, "{store}");
            sleep(Duration::from_millis(300)).await;
        }
        assert_eq!(provider.renewals(), 0, "{store}");
    }
}
