//! What asks for nobody waits for nobody: neither for a store nor for a provider.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::sleep;

use super::scene::{OVER, scene};
use crate::support::{
    Browser, House, ScriptedProvider, Upstream, behaviour::TokenEndpoint, house::Plan,
    redis::RedisServer, standard_with,
};

fn rules(plan: Plan) -> Plan {
    plan.route("/public/**", "public")
        .route("/closed", "deny")
        .top("trusted_proxies = [\"127.0.0.1\"]")
}

/// Each is answered before whoever asked for `/` a moment earlier, and has to wait, is.
async fn nobody_is_waited_for(browser: &Browser) {
    for (path, headers, status) in [
        ("/public/x", &[][..], StatusCode::OK),
        ("/closed", &[], StatusCode::FORBIDDEN),
        // A proxy that asks whether a closed path may pass.
        (
            "/oauth2/auth",
            &[("x-original-uri", "/closed")],
            StatusCode::FORBIDDEN,
        ),
    ] {
        let waiting = tokio::spawn({
            let browser = browser.clone();
            async move { browser.fetch(Method::GET, "/").send().await.status }
        });
        sleep(Duration::from_millis(20)).await;
        let mut ask = browser.bare(Method::GET, path);
        for (name, value) in headers {
            ask = ask.header(name, value);
        }
        assert_eq!(ask.send().await.status, status, "{path}");
        assert!(!waiting.is_finished(), "{path} waited");
        waiting.abort();
    }
}

#[tokio::test]
async fn public_and_closed_paths_wait_for_no_provider() {
    let (house, _upstream, provider) = scene(
        "cookie",
        |_| {},
        |plan| rules(plan).session("provider_grace = \"1s\""),
    )
    .await;
    let browser = house.browser();
    browser.sign_in("/").await;
    provider.set(|behaviour| behaviour.token = TokenEndpoint::Hangs);
    // Beyond token and grace.
    sleep(OVER + Duration::from_millis(1_100)).await;
    nobody_is_waited_for(&browser).await;
}

#[tokio::test]
async fn public_and_closed_paths_wait_for_no_store() {
    let mut redis = RedisServer::start().await;
    let (upstream, provider) = (Upstream::start().await, ScriptedProvider::start().await);
    let plan = || {
        rules(House::plan().upstream(&upstream).provider(&provider))
            .public_url("http://app.test")
            .session(&format!("store = \"{}\"", redis.url()))
    };
    let house = plan().start().await;
    // Another replica, which has the session neither in its memory nor at hand.
    let replica = plan().start().await;
    for house in [&house, &replica] {
        while house.browser().get("/oauth2/ready").await.status == StatusCode::SERVICE_UNAVAILABLE {
            sleep(Duration::from_millis(50)).await;
        }
    }
    let browser = house.browser();
    browser.sign_in("/").await;
    redis.kill();
    nobody_is_waited_for(&browser.moved_to(&replica)).await;
}

/// A page of the app that stays open and fetches public pictures is no use of the session.
#[tokio::test]
async fn public_paths_keep_no_session_from_its_idle_end() {
    for store in ["cookie", "memory"] {
        let (house, _upstream, _provider) = standard_with(|plan| {
            rules(plan)
                .session(&format!("store = \"{store}\""))
                .session("idle_timeout = \"2s\"")
        })
        .await;
        let browser = house.browser();
        browser.sign_in("/").await;
        for _ in 0..8 {
            sleep(Duration::from_millis(500)).await;
            let picture = browser.fetch(Method::GET, "/public/x").send().await;
            assert_eq!(picture.status, StatusCode::OK);
        }
        let page = browser.fetch(Method::GET, "/").send().await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{store}");
    }
}
