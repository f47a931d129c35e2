//! What goes wrong at a renewal, and what must not come of it.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::json;
use tokio::time::sleep;

use super::scene::{OVER, STORES, scene, status};
use crate::support::{
    ScriptedProvider,
    behaviour::{Behaviour, TokenEndpoint},
    keys::Signing,
    provider::now,
};

#[derive(Clone, Copy, Debug)]
enum Outage {
    Token(TokenEndpoint),
    Userinfo,
    Gone,
}

impl Outage {
    async fn set(self, provider: &ScriptedProvider, is_on: bool) {
        match (self, is_on) {
            (Self::Token(fault), true) => provider.set(|behaviour| behaviour.token = fault),
            (Self::Token(fault), false) => {
                provider.set(|behaviour| behaviour.token = TokenEndpoint::Good);
                if fault == TokenEndpoint::Hangs {
                    // Whoever comes back from that has lost what was asked before.
                    provider.server.down();
                    sleep(Duration::from_millis(200)).await;
                    provider.server.up().await;
                }
            }
            (Self::Userinfo, is_on) => {
                provider.set(|behaviour| behaviour.userinfo_is_down = is_on);
            }
            (Self::Gone, true) => provider.server.down(),
            (Self::Gone, false) => provider.server.up().await,
        }
    }
}

/// Within the grace nobody notices; then it is "not now" and not a login; then all is as it was.
async fn outage(store: &str, outage: Outage) {
    let what = format!("{store} {outage:?}");
    let (house, _upstream, provider) = scene(
        store,
        |behaviour| behaviour.claims_in_id_token = false,
        |plan| plan.session("provider_grace = \"6s\""),
    )
    .await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let begin = Instant::now();
    outage.set(&provider, true).await;
    sleep(OVER).await;
    let mut answers = 0;
    while begin.elapsed() < Duration::from_millis(5_200) {
        let asked = Instant::now();
        assert_eq!(
            status(&browser).await,
            StatusCode::OK,
            "{what}: within the grace"
        );
        assert!(
            asked.elapsed() < Duration::from_millis(5_800),
            "{what}: {:?}",
            asked.elapsed()
        );
        answers += 1;
        sleep(Duration::from_millis(150)).await;
    }
    assert!(answers > 0, "{what}");
    sleep(Duration::from_millis(8_600).saturating_sub(begin.elapsed())).await;
    for reply in [
        browser.fetch(Method::GET, "/").send().await,
        browser.get("/").await,
        browser.get("/oauth2/auth").await,
    ] {
        assert_eq!(
            reply.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{what}: {}",
            reply.text()
        );
        assert_ne!(reply.header("retry-after"), "", "{what}");
        assert!(reply.set_cookies().is_empty(), "{what}: the cookie stays");
    }
    outage.set(&provider, false).await;
    let mended = Instant::now();
    loop {
        match status(&browser).await {
            StatusCode::OK => break,
            StatusCode::SERVICE_UNAVAILABLE => {}
            other => panic!("{what}: {other} while the provider recovers"),
        }
        assert!(
            mended.elapsed() < Duration::from_secs(45),
            "{what}: never again"
        );
        sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(
        provider.calls("/authorize").len(),
        1,
        "{what}: no other login"
    );
}

#[tokio::test]
async fn an_outage_of_the_provider_is_not_the_apps() {
    tokio::join!(
        outage("cookie", Outage::Token(TokenEndpoint::Hangs)),
        outage("memory", Outage::Token(TokenEndpoint::Hangs)),
        outage("cookie", Outage::Token(TokenEndpoint::Unavailable)),
        outage("memory", Outage::Token(TokenEndpoint::TooMany)),
        outage("cookie", Outage::Gone),
        outage("memory", Outage::Gone),
        outage("cookie", Outage::Userinfo),
        outage("memory", Outage::Userinfo),
    );
}

#[tokio::test]
async fn the_providers_no_ends_the_session_and_every_copy() {
    for store in STORES {
        let (house, upstream, provider) = scene(store, |_| {}, |plan| plan).await;
        let browser = house.browser();
        browser.sign_in("/").await;
        let copy = house.browser();
        copy.plant("sidegate", &browser.cookie("sidegate").expect("a session"));
        provider.revoke();
        sleep(OVER).await;
        let before = upstream.count();
        assert_eq!(browser.get("/").await.status, StatusCode::FOUND, "{store}");
        assert_eq!(status(&browser).await, StatusCode::UNAUTHORIZED, "{store}");
        assert_eq!(
            status(&copy).await,
            StatusCode::UNAUTHORIZED,
            "{store}: a copy"
        );
        assert_eq!(
            copy.get("/oauth2/auth").await.status,
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(upstream.count(), before, "{store}");
        assert_eq!(provider.renewals(), 1, "{store}: asked once");
        browser.sign_in("/").await;
        assert_eq!(
            status(&copy).await,
            StatusCode::UNAUTHORIZED,
            "{store}: still"
        );
        let log = house.process.log();
        assert!(!log.contains("canary-refresh-token"), "{log}");
    }
}

/// An ID token that does not hold is the provider's fault: nothing of its answer is believed, nobody is logged
/// out, and the new refresh token is not lost.
async fn not_believed(store: &str, what: &str, fault: impl FnOnce(&mut Behaviour)) {
    let (house, _upstream, provider) = scene(
        store,
        |_| {},
        |plan| {
            plan.session("provider_grace = \"1m\"")
                .tables("[headers]\nset = { X-Access = \"access_token\" }")
        },
    )
    .await;
    let browser = house.browser();
    let seen = browser.sign_in("/").await.seen();
    let old_access = seen.header("x-access").map(str::to_owned);
    provider.set(|behaviour| {
        behaviour.access_token_length = 50;
        behaviour.user["name"] = json!("Mallory");
        fault(behaviour);
    });
    sleep(OVER).await;
    for _ in 0..2 {
        let seen = browser.get("/").await.seen();
        assert_eq!(
            seen.header("x-user-id"),
            Some("script:ada-1815"),
            "{store} {what}"
        );
        assert_eq!(
            seen.header("x-user-name"),
            Some("Ada Lovelace"),
            "{store} {what}"
        );
        assert_eq!(
            seen.header("x-access"),
            old_access.as_deref(),
            "{store} {what}"
        );
        sleep(Duration::from_millis(2_500)).await;
    }
    assert!(provider.renewals() >= 2, "{store} {what}: tried again");
    provider.set(|behaviour| {
        behaviour.id_token = json!({});
        behaviour.signing = Signing::First;
    });
    let mended = Instant::now();
    loop {
        let seen = browser.get("/").await.seen();
        if seen.header("x-access") != old_access.as_deref() {
            assert_eq!(
                seen.header("x-user-name"),
                Some("Mallory"),
                "{store} {what}"
            );
            break;
        }
        assert!(
            mended.elapsed() < Duration::from_secs(20),
            "{store} {what}: never again"
        );
        sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(
        provider.calls("/authorize").len(),
        1,
        "{store} {what}: no other login"
    );
}

#[tokio::test]
async fn an_id_token_that_does_not_hold_is_not_believed() {
    tokio::join!(
        not_believed("cookie", "aud", |behaviour| behaviour.id_token =
            json!({ "aud": "others" })),
        not_believed("memory", "forged", |behaviour| behaviour.signing =
            Signing::Forged),
        not_believed("cookie", "tampered", |behaviour| behaviour.signing =
            Signing::Tampered),
        not_believed("memory", "clock", |behaviour| {
            behaviour.id_token = json!({ "iat": now() + 600, "exp": now() + 900 });
        }),
        not_believed("cookie", "slow clock", |behaviour| {
            behaviour.id_token = json!({ "iat": now() - 600, "exp": now() - 300 });
        }),
    );
}
