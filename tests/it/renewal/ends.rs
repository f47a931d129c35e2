//! What has ended stays ended, whatever is configured later.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::sleep;

use super::scene::status;
use crate::support::{House, ScriptedProvider, Upstream, redis::RedisServer};

const SECRET: &str = "YW5kIGl0IGlzIHRoZSBzYW1lIGFmdGVyIGEgcmVzdGFydA";

/// A gate that keeps sessions in cookies, and its lifetimes.
async fn house(upstream: &Upstream, provider: &ScriptedProvider, lifetimes: &str) -> House {
    let plan = House::plan().upstream(upstream).provider(provider);
    let plan = plan.public_url("http://app.test").session(lifetimes);
    plan.secret(&format!("\"{SECRET}\"")).start().await
}

const LONG: &str = "lifetime = \"7d\"\nidle_timeout = \"7d\"";

#[tokio::test]
async fn a_longer_lifetime_brings_back_no_session() {
    for (short, lasts) in [
        ("lifetime = \"3s\"\nidle_timeout = \"3s\"", 3_100),
        ("lifetime = \"1h\"\nidle_timeout = \"3s\"", 3_100),
    ] {
        let upstream = Upstream::start().await;
        let provider = ScriptedProvider::start().await;
        let before = house(&upstream, &provider, short).await;
        let (ended, signed_out) = (before.browser(), before.browser());
        ended.sign_in("/").await;
        signed_out.sign_in("/").await;
        let copy = signed_out.cookie("sidegate").expect("a session");
        let kept = ended.cookie("sidegate").expect("a session");
        let sign_out = signed_out.fetch(Method::POST, "/oauth2/sign_out");
        assert_eq!(sign_out.send().await.status, StatusCode::OK);
        signed_out.plant("sidegate", &copy);
        assert_eq!(status(&signed_out).await, StatusCode::UNAUTHORIZED);
        sleep(Duration::from_millis(lasts)).await;
        ended.plant("sidegate", &kept);
        assert_eq!(status(&ended).await, StatusCode::UNAUTHORIZED, "{short}");
        drop(before);

        let after = house(&upstream, &provider, LONG).await;
        for (browser, cookie) in [(ended, &kept), (signed_out, &copy)] {
            let browser = browser.moved_to(&after);
            browser.plant("sidegate", cookie);
            assert_eq!(status(&browser).await, StatusCode::UNAUTHORIZED, "{short}");
        }
        // New ones last as long as they are told to.
        let browser = after.browser();
        browser.sign_in("/").await;
        assert_eq!(status(&browser).await, StatusCode::OK);
    }
}

/// What replicas share of sign-outs is let go of by the shorter lifetime, and sessions of the longer one are not yet over.
#[tokio::test]
async fn a_lifetime_that_was_shorter_for_a_while_brings_back_nobody_who_signed_out() {
    let redis = RedisServer::start().await;
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let shared = |lifetimes: &str| format!("shared = \"{}\"\n{lifetimes}", redis.url());
    let before = house(&upstream, &provider, &shared(LONG)).await;
    let browser = before.browser();
    browser.sign_in("/").await;
    let copy = browser.cookie("sidegate").expect("a session");
    let sign_out = browser.fetch(Method::POST, "/oauth2/sign_out");
    assert_eq!(sign_out.send().await.status, StatusCode::OK);
    drop(before);
    let [key] = &redis.keys("*:revocations").await[..] else {
        panic!("one set");
    };
    // As if that had been two minutes ago.
    let age = "for _, one in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do \
               redis.call('ZINCRBY', KEYS[1], -120000, one) end";
    redis.ask(&["EVAL", age, "1", key]).await;
    sleep(Duration::from_secs(1)).await;

    let short = shared("lifetime = \"3s\"\nidle_timeout = \"3s\"");
    let between = house(&upstream, &provider, &short).await;
    let other = between.browser();
    other.sign_in("/").await;
    let sign_out = other.fetch(Method::POST, "/oauth2/sign_out");
    assert_eq!(sign_out.send().await.status, StatusCode::OK);
    drop(between);

    let after = house(&upstream, &provider, &shared(LONG)).await;
    let new = after.browser();
    new.sign_in("/").await;
    assert_eq!(status(&new).await, StatusCode::OK);
    let browser = browser.moved_to(&after);
    browser.plant("sidegate", &copy);
    assert_eq!(status(&browser).await, StatusCode::UNAUTHORIZED);
}
