//! The cookie that a browser holds: which answers bring a new one, how large it is, and how long it is good.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::json;
use tokio::time::sleep;

use super::{
    scene::{OVER, STORES, scene, status},
    successor,
};
use crate::support::{
    House, ScriptedProvider, Upstream, behaviour::Behaviour, browser::is_session,
};

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
        let sessions = set.iter().filter(|header| is_session(header));
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
    // A second is lost where a login ends within one; and the other login may have taken a while.
    for _ in 0..2 {
        assert_eq!(status(&busy).await, StatusCode::OK);
        sleep(Duration::from_millis(950)).await;
    }
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
