//! Who signs out here has the provider take the tokens back (RFC 7009).

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::json;

use super::status;
use crate::support::{Browser, House, ScriptedProvider, Upstream, arranged, provider::Call};

/// The calls to the revocation endpoint, once there are so many.
async fn revocations(provider: &ScriptedProvider, count: usize) -> Vec<Call> {
    for _ in 0..800 {
        let calls = provider.calls("/revoke");
        if calls.len() >= count {
            return calls;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("only {} revocations", provider.calls("/revoke").len());
}

async fn revoking(statuses: &[u16], line: &str) -> (House, Upstream, ScriptedProvider, Browser) {
    let (house, upstream, provider) = arranged(
        |behaviour| behaviour.revocation = Some(statuses.to_vec()),
        |plan| plan.provider_line(line),
    )
    .await;
    let browser = house.browser();
    browser.sign_in("/").await;
    (house, upstream, provider, browser)
}

#[tokio::test]
async fn signing_out_has_the_refresh_token_revoked() {
    let (house, _upstream, provider, browser) = revoking(&[200], "").await;
    let reply = browser.fetch(Method::POST, "/oauth2/sign_out").send().await;
    assert_eq!(reply.status, StatusCode::OK);
    let call = revocations(&provider, 1).await.remove(0);
    let token = &call.fields["token"];
    assert!(token.starts_with("canary-refresh-token"), "{token}");
    assert_eq!(call.fields["token_type_hint"], "refresh_token");
    assert!(
        call.headers["authorization"]
            .as_bytes()
            .starts_with(b"Basic ")
    );
    // Once signed out, there is nothing more to revoke.
    browser.fetch(Method::POST, "/oauth2/sign_out").send().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(provider.calls("/revoke").len(), 1);
    assert!(!house.process.log().contains("canary-refresh"));
}

#[tokio::test]
async fn a_revocation_that_fails_is_tried_again_and_nobody_waits() {
    let (_house, _upstream, provider, browser) = revoking(&[503, 503, 200], "").await;
    let begin = Instant::now();
    let reply = browser.fetch(Method::POST, "/oauth2/sign_out").send().await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(begin.elapsed() < Duration::from_millis(500));
    assert_eq!(status(&browser).await, StatusCode::UNAUTHORIZED);
    revocations(&provider, 3).await;

    let (_house, _upstream, provider, browser) = revoking(&[400], "").await;
    browser.fetch(Method::POST, "/oauth2/sign_out").send().await;
    revocations(&provider, 1).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(provider.calls("/revoke").len(), 1, "a no is a no");
}

#[tokio::test]
async fn a_revocation_that_hangs_delays_nothing() {
    let (_house, _upstream, provider, browser) = revoking(&[0], "").await;
    let begin = Instant::now();
    let reply = browser.fetch(Method::POST, "/oauth2/sign_out").send().await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(begin.elapsed() < Duration::from_millis(500));
    revocations(&provider, 1).await;
}

#[tokio::test]
async fn a_stop_does_not_lose_a_revocation() {
    let (mut house, _upstream, provider, browser) = revoking(&[503, 200], "").await;
    browser.fetch(Method::POST, "/oauth2/sign_out").send().await;
    revocations(&provider, 1).await;
    house.process.terminate();
    house.process.ended(Duration::from_secs(20)).await;
    assert_eq!(provider.calls("/revoke").len(), 2);
}

/// Somebody signs out while the provider is about to give new tokens: nobody will ever use these.
#[tokio::test]
async fn tokens_that_a_renewal_brings_after_the_sign_out_are_revoked_too() {
    for store in ["cookie", "memory"] {
        let (house, _upstream, provider) = arranged(
            |behaviour| {
                behaviour.revocation = Some(vec![200]);
                behaviour.expires_in = json!(2);
            },
            |plan| plan.session(&format!("store = \"{store}\"")),
        )
        .await;
        let browser = house.browser();
        browser.sign_in("/").await;
        let cookie = browser.cookie("sidegate").expect("a session");
        tokio::time::sleep(Duration::from_millis(2_050)).await;
        provider.set(|behaviour| behaviour.token_takes = Duration::from_secs(1));
        let waiting = house.browser();
        waiting.plant("sidegate", &cookie);
        let waiting = tokio::spawn(async move { status(&waiting).await });
        let end = Instant::now() + Duration::from_secs(5);
        while provider.renewals() == 0 {
            assert!(Instant::now() < end, "{store}: never under way");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        browser.fetch(Method::POST, "/oauth2/sign_out").send().await;
        assert_eq!(
            waiting.await.expect("no panic"),
            StatusCode::UNAUTHORIZED,
            "{store}"
        );
        let calls = revocations(&provider, 2).await;
        let tokens: Vec<_> = calls
            .iter()
            .map(|call| call.fields["token"].clone())
            .collect();
        let [old, new] = &tokens[..] else {
            panic!("{store}: {} revocations", tokens.len());
        };
        assert!(
            old.ends_with("-2") && new.ends_with("-3"),
            "{store}: {tokens:?}"
        );
    }
}

/// A browser may sign out with the cookie of before a renewal: the tokens of after it are what counts.
#[tokio::test]
async fn who_signs_out_with_an_old_cookie_has_the_newest_tokens_revoked() {
    let (house, _upstream, provider) = arranged(
        |behaviour| {
            behaviour.revocation = Some(vec![200]);
            behaviour.expires_in = json!(2);
        },
        |plan| plan,
    )
    .await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let old = browser.cookie("sidegate").expect("a session");
    tokio::time::sleep(Duration::from_millis(2_050)).await;
    assert_eq!(status(&browser).await, StatusCode::OK);
    assert_eq!(provider.renewals(), 1);
    browser.plant("sidegate", &old);
    browser.fetch(Method::POST, "/oauth2/sign_out").send().await;
    let token = revocations(&provider, 1).await.remove(0).fields["token"].clone();
    let spent = provider.calls("/token");
    let spent = spent
        .iter()
        .filter_map(|call| call.fields.get("refresh_token"));
    assert!(
        spent.clone().count() == 1 && spent.clone().all(|spent| *spent != token),
        "{token}"
    );
}

#[tokio::test]
async fn tokens_are_left_alone_where_that_is_wanted() {
    let (_house, _upstream, provider, browser) = revoking(&[200], "revoke = false").await;
    browser.fetch(Method::POST, "/oauth2/sign_out").send().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(provider.calls("/revoke").len(), 0);
}

/// Who signs in again holds the new session alone; the old tokens go, unless the new ones may go with them.
#[tokio::test]
async fn signing_in_again_has_the_earlier_refresh_token_revoked_where_another_session_rests_on_it()
{
    for (sids, is_revoked) in [
        ([json!("s-1"), json!("s-2")], true),
        ([json!("s-1"), json!("s-1")], false),
        ([json!(null), json!(null)], false),
    ] {
        let (house, _upstream, provider) = arranged(
            |behaviour| behaviour.revocation = Some(vec![200]),
            |plan| plan.session("store = \"memory\""),
        )
        .await;
        let [first, second] = &sids;
        provider.set(|behaviour| behaviour.id_token = json!({ "sid": first }));
        let browser = house.browser();
        browser.sign_in("/").await;
        provider.set(|behaviour| behaviour.id_token = json!({ "sid": second }));
        browser.follow("/oauth2/start?rd=/again").await.seen();
        if is_revoked {
            let call = revocations(&provider, 1).await.remove(0);
            let issued = &call.fields["token"];
            // Two logins give two codes and two tokens: the first is numbered 2.
            assert!(issued.starts_with("canary-refresh-token-2"), "{issued}");
        } else {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let expected = usize::from(is_revoked);
        assert_eq!(provider.calls("/revoke").len(), expected, "{sids:?}");
        assert_eq!(status(&browser).await, StatusCode::OK);
    }
}
