//! What goes wrong at a renewal, and what must not come of it.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::successor;
use crate::support::{
    Browser, House, ScriptedProvider, Upstream, arranged,
    behaviour::{Behaviour, Renewal, TokenEndpoint},
    house::Plan,
    keys::Signing,
    provider::now,
};

/// Until a token of two seconds is over.
const OVER: Duration = Duration::from_millis(2_050);

const STORES: [&str; 2] = ["cookie", "memory"];

/// A house whose provider gives tokens of two seconds.
async fn scene(
    store: &str,
    behave: impl FnOnce(&mut Behaviour),
    change: impl FnOnce(Plan) -> Plan,
) -> (House, Upstream, ScriptedProvider) {
    let behave = |behaviour: &mut Behaviour| {
        behaviour.expires_in = json!(2);
        behave(behaviour);
    };
    arranged(behave, |plan| {
        change(plan.session(&format!("store = \"{store}\"")))
    })
    .await
}

async fn status(browser: &Browser) -> StatusCode {
    browser.fetch(Method::GET, "/").send().await.status
}

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
            (Self::Token(_), false) => {
                provider.set(|behaviour| behaviour.token = TokenEndpoint::Good);
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

#[tokio::test]
async fn another_subject_ends_the_session() {
    for (store, renews_id_token) in [("cookie", true), ("memory", false)] {
        let (house, upstream, provider) = scene(store, |_| {}, |plan| plan).await;
        let browser = house.browser();
        browser.sign_in("/").await;
        provider.set(|behaviour| behaviour.renews_id_token = renews_id_token);
        provider.user("sub", json!("mallory"));
        sleep(OVER).await;
        let before = upstream.count();
        assert_eq!(browser.get("/").await.status, StatusCode::FOUND, "{store}");
        assert_eq!(status(&browser).await, StatusCode::UNAUTHORIZED, "{store}");
        assert_eq!(upstream.count(), before, "{store}");
    }
}

/// Wherever the provider says it.
async fn group_lost(store: &str, in_id_token: bool, renews_id_token: bool, gone: Value) {
    let what = format!("{store} {in_id_token} {renews_id_token} {gone}");
    let (house, upstream, provider) = scene(
        store,
        |behaviour| {
            behaviour.claims_in_id_token = in_id_token;
            behaviour.renews_id_token = renews_id_token;
        },
        |plan| plan.allow("{ groups = [\"engineers\"] }"),
    )
    .await;
    let browser = house.browser();
    browser.sign_in("/").await;
    provider.set(|behaviour| {
        behaviour.userinfo = json!({ "groups": gone });
        behaviour.user["groups"] = json!(["dismissed"]);
    });
    sleep(OVER).await;
    let before = upstream.count();
    let reply = browser.get("/").await;
    assert_eq!(
        reply.status,
        StatusCode::FORBIDDEN,
        "{what}: {}",
        reply.text()
    );
    assert!(reply.text().contains("ada"), "{what}: who is signed in");
    assert_eq!(upstream.count(), before, "{what}");
    provider.set(|behaviour| behaviour.userinfo = json!({}));
    provider.user("groups", json!(["engineers"]));
    sleep(OVER).await;
    assert_eq!(
        browser.get("/").await.status,
        StatusCode::OK,
        "{what}: given back"
    );
    assert_eq!(
        provider.calls("/authorize").len(),
        1,
        "{what}: no other login"
    );
}

#[tokio::test]
async fn a_group_that_is_lost_is_felt_without_a_new_login() {
    tokio::join!(
        group_lost("cookie", true, true, json!([])),
        group_lost("memory", true, true, json!([])),
        group_lost("cookie", false, true, json!(null)),
        group_lost("memory", false, false, json!(["others"])),
        group_lost("cookie", false, false, json!(null)),
    );
}

#[tokio::test]
async fn what_a_renewal_leaves_out_stays() {
    for store in STORES {
        let (house, _upstream, provider) = scene(
            store,
            |behaviour| behaviour.renewal = Renewal::OmitsRefreshToken,
            |plan| plan,
        )
        .await;
        let browser = house.browser();
        browser.sign_in("/").await;
        for _ in 0..2 {
            sleep(OVER).await;
            browser.get("/").await.seen();
        }
        assert_eq!(provider.renewals(), 2, "{store}");
        // No word of how long the token lasts: not at once again.
        provider.set(|behaviour| behaviour.expires_in = json!(null));
        sleep(OVER).await;
        for _ in 0..3 {
            let seen = browser.get("/").await.seen();
            assert_eq!(seen.header("x-user-groups"), Some("engineers"));
            sleep(Duration::from_millis(700)).await;
        }
        assert_eq!(provider.renewals(), 3, "{store}");
        let calls = provider.calls("/token");
        let mut spent: Vec<&str> = calls
            .iter()
            .filter_map(|call| call.fields.get("refresh_token").map(String::as_str))
            .collect();
        spent.dedup();
        assert_eq!(spent.len(), 1, "{store}: always the old one");
    }
}

#[tokio::test]
async fn a_gate_that_is_stopped_finishes_what_it_renews() {
    let (mut house, upstream, provider) =
        scene("cookie", |_| {}, |plan| plan.public_url("http://app.test")).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let old = browser.cookie("sidegate").expect("a session");
    sleep(OVER).await;
    provider.set(|behaviour| {
        behaviour.token_takes = Duration::from_millis(1_500);
        behaviour.expires_in = json!(300);
    });
    let asking = browser.clone();
    let asked = tokio::spawn(async move { asking.get("/").await });
    sleep(Duration::from_millis(400)).await;
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

/// A cookie that a shared cache may keep is everybody's.
#[tokio::test]
async fn a_successor_goes_only_into_answers_that_no_shared_cache_keeps() {
    let (house, _upstream, provider) = scene("cookie", |_| {}, |plan| plan).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let old = browser.cookie("sidegate").expect("a session");
    sleep(OVER).await;
    provider.set(|behaviour| behaviour.expires_in = json!(300));
    for (said, told) in [
        ("", Some("private")),
        ("no-cache", Some("no-cache, private")),
        (
            "No-Cache, must-revalidate",
            Some("No-Cache, must-revalidate, private"),
        ),
        ("private, max-age=60", Some("private, max-age=60")),
        ("no-store", Some("no-store")),
        ("max-age=60", None),
        ("public", None),
        ("no-cache, public", None),
        ("no-cache, s-maxage=60", None),
    ] {
        // The old cookie again: each answer to it would bring the new one.
        browser.plant("sidegate", &old);
        let query = url::form_urlencoded::byte_serialize(said.as_bytes());
        let path = format!("/_/cached?as={}", query.collect::<String>());
        let reply = browser.get(&path).await;
        assert_eq!(reply.status, StatusCode::OK, "{said}");
        assert_eq!(reply.sets_session(), told.is_some(), "{said}");
        let lines = reply.headers.get_all("cache-control").iter();
        let lines: Vec<_> = lines.filter_map(|line| line.to_str().ok()).collect();
        assert_eq!(lines.join(", "), told.unwrap_or(said), "{said}");
    }
    assert_eq!(provider.renewals(), 1, "one renewal for all of them");
}

/// As Keycloak has it.
fn keycloak(behaviour: &mut Behaviour) {
    behaviour.access_token_length = 1_180;
    behaviour.refresh_token_length = 880;
    behaviour.expires_in = json!(300);
    let groups: Vec<String> = (10..30)
        .map(|number| format!("/company/department-{number}"))
        .collect();
    behaviour.user["groups"] = json!(groups);
    behaviour.user["sub"] = json!("8f3c1c3e-6d0e-4f0b-9c55-0a2f4b1f7d11");
    behaviour.id_token = json!({ "sid": "f0a3b6d2-7c1e-4a55-9d3f-2b8e6c4a1d90", "acr": "1" });
}

#[tokio::test]
async fn a_keycloak_login_fits_into_one_cookie_and_a_ticket_is_small() {
    for store in STORES {
        let (house, _upstream, _provider) = scene(store, keycloak, |plan| plan).await;
        let browser = house.browser();
        let callback = browser.up_to_callback("/").await;
        let reply = browser.get(callback.as_str()).await;
        let set = reply.set_cookies();
        let sessions = set
            .iter()
            .filter(|header| crate::support::browser::is_session(header));
        let sessions: Vec<&String> = sessions.collect();
        let [header] = sessions[..] else {
            panic!("{store}: {} cookies", sessions.len());
        };
        assert!(header.len() < 4_096, "{store}: {} bytes", header.len());
        let value = successor(&reply).expect("a session");
        if store == "memory" {
            assert!(value.len() < 120, "{} characters", value.len());
        } else {
            assert!(value.len() > 880, "the refresh token is in it");
        }
        let seen = browser.get("/").await.seen();
        let groups = seen.header("x-user-groups").unwrap_or_default();
        assert_eq!(groups.split(',').count(), 20);
    }
}

#[tokio::test]
async fn a_new_secret_seals_anew_and_logs_nobody_out() {
    const OLD: &str = "b2xkIHNlY3JldCB0aGF0IHNlYWxlZCB1cCB0byBub3c";
    const NEW: &str = "bmV3IHNlY3JldCB0aGF0IHNlYWxzIGZyb20gbm93IG9u";
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let plan = |secrets: &str| {
        let plan = House::plan().upstream(&upstream).provider(&provider);
        plan.public_url("http://app.test").secret(secrets).start()
    };
    let before = plan(&format!("\"{OLD}\"")).await;
    let ada = before.browser();
    ada.sign_in("/").await;
    let both = plan(&format!("[\"{NEW}\", \"{OLD}\"]")).await;
    let ada = ada.moved_to(&both);
    let reply = ada.get("/").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.sets_session(), "sealed anew");
    assert!(!ada.get("/").await.sets_session(), "once");
    let after = plan(&format!("\"{NEW}\"")).await;
    assert_eq!(ada.moved_to(&after).get("/").await.status, StatusCode::OK);
    assert_eq!(provider.calls("/authorize").len(), 1);
}

#[tokio::test]
async fn in_memory_both_ends_are_kept_to_the_second() {
    let (house, _upstream, _provider) = scene(
        "memory",
        |behaviour| behaviour.expires_in = json!(300),
        |plan| {
            plan.session("idle_timeout = \"3s\"")
                .session("lifetime = \"8s\"")
        },
    )
    .await;
    let (busy, idle) = (house.browser(), house.browser());
    busy.sign_in("/").await;
    idle.sign_in("/").await;
    let begin = Instant::now();
    let cookie = idle.cookie("sidegate").expect("a session");
    // A second is lost where a login ends within one.
    sleep(Duration::from_millis(1_900)).await;
    assert_eq!(
        status(&idle).await,
        StatusCode::OK,
        "a use within the idle time"
    );
    let used = Instant::now();
    while begin.elapsed() < Duration::from_millis(6_700) {
        assert_eq!(status(&busy).await, StatusCode::OK, "{:?}", begin.elapsed());
        sleep(Duration::from_millis(200)).await;
        if used.elapsed() > Duration::from_millis(3_050)
            && used.elapsed() < Duration::from_millis(3_400)
        {
            assert_eq!(
                status(&idle).await,
                StatusCode::UNAUTHORIZED,
                "idle for three seconds"
            );
        }
    }
    idle.plant("sidegate", &cookie);
    assert_eq!(status(&idle).await, StatusCode::UNAUTHORIZED);
    let cookie = busy.cookie("sidegate").expect("a session");
    sleep(Duration::from_millis(8_050).saturating_sub(begin.elapsed())).await;
    busy.plant("sidegate", &cookie);
    assert_eq!(
        status(&busy).await,
        StatusCode::UNAUTHORIZED,
        "eight seconds old"
    );
}
