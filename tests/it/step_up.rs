//! `max_age` and `acr_values` of a route: who gets in after a fresh login, and who is kept out without one.

use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{
    Browser, House, Reply, ScriptedProvider, Upstream, arranged, node_provider, provider::now,
    standard_with,
};

const ROUTES: &str = r#"
[[routes]]
path = "/safe/**"
max_age = "10m"

[[routes]]
path = "/gold/**"
acr_values = ["gold", "urn:test:gold"]

[[routes]]
path = "/api/**"
access = "api"
max_age = "10m"
acr_values = ["gold"]

[[routes]]
path = "/pay"
methods = ["POST"]
max_age = "10m"
"#;

async fn house() -> (House, Upstream, ScriptedProvider) {
    standard_with(|plan| plan.tables(ROUTES)).await
}

/// What the provider says of logins from now on.
fn authenticates(provider: &ScriptedProvider, seconds_ago: u64, acr: &str) {
    provider.set(|behaviour| {
        behaviour.id_token = json!({ "auth_time": now() - seconds_ago, "acr": acr });
    });
}

/// Somebody who authenticated so long ago.
async fn signed_in(house: &House, provider: &ScriptedProvider, seconds_ago: u64) -> Browser {
    authenticates(provider, seconds_ago, "tin");
    let browser = house.browser();
    assert_eq!(browser.sign_in("/").await.status, StatusCode::OK);
    browser
}

/// The parameters that the provider was asked with at last.
fn asked(provider: &ScriptedProvider, name: &str) -> Option<String> {
    let call = provider.calls("/authorize").pop().expect("it was asked");
    call.fields.get(name).cloned()
}

fn is_refused(reply: &Reply) {
    assert_eq!(reply.status, StatusCode::FORBIDDEN, "{}", reply.text());
    assert!(
        reply.text().contains("A fresh sign-in is needed"),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn a_dry_run_says_what_a_login_lacks_and_lets_pass() {
    let routes = "[[routes]]\npath = \"/dry/**\"\nmax_age = \"10m\"\ndry_run = true";
    let (house, _upstream, provider) = standard_with(|plan| plan.tables(routes)).await;
    let ada = signed_in(&house, &provider, 1_000).await;
    assert_eq!(ada.get("/dry/old").await.status, StatusCode::OK);
    let line = house.access_line("/dry/old").await;
    let why = line["dry_run"].as_str().expect("what would refuse");
    assert!(why.contains("they authenticated 1"), "{why}");
    let ada = signed_in(&house, &provider, 5).await;
    assert_eq!(ada.get("/dry/young").await.status, StatusCode::OK);
    let line = house.access_line("/dry/young").await;
    assert!(line.get("dry_run").is_none(), "{line}");
    let stranger = house.browser().get("/dry/x").await;
    assert_eq!(stranger.status, StatusCode::FOUND);
}

#[tokio::test]
async fn a_fresh_login_passes_and_an_old_one_is_made_anew() {
    let (house, upstream, provider) = house().await;
    let ada = signed_in(&house, &provider, 100).await;
    assert_eq!(ada.get("/safe/x").await.status, StatusCode::OK);

    let ada = signed_in(&house, &provider, 1_000).await;
    assert_eq!(asked(&provider, "max_age"), None);
    let before = upstream.count();
    let reply = ada.get("/safe/x?y=1").await;
    assert_eq!(reply.status, StatusCode::FOUND, "{}", reply.text());
    assert_eq!(upstream.count(), before);
    let line = house.access_line_where("the refusal", |line| {
        line["path"] == "/safe/x" && line["verdict"] == "step_up"
    });
    let detail = line.await["detail"].clone();
    let detail = detail.as_str().expect("a detail");
    assert!(detail.starts_with("routes[0]: "), "{detail}");
    // Elsewhere the old login is still one.
    assert_eq!(ada.get("/page").await.status, StatusCode::OK);

    authenticates(&provider, 0, "tin");
    let reply = ada.follow_from(reply).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(reply.url.path(), "/safe/x");
    assert_eq!(reply.url.query(), Some("y=1"));
    assert_eq!(asked(&provider, "max_age").as_deref(), Some("600"));
    assert_eq!(asked(&provider, "prompt"), None);
    assert_eq!(ada.get("/safe/z").await.status, StatusCode::OK);
}

#[tokio::test]
async fn who_is_not_signed_in_at_all_signs_in_as_the_route_asks() {
    let (house, _upstream, provider) = house().await;
    authenticates(&provider, 0, "tin");
    let reply = house.browser().follow("/safe/x").await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(asked(&provider, "max_age").as_deref(), Some("600"));
    assert_eq!(provider.calls("/authorize").len(), 1);
}

#[tokio::test]
async fn an_old_login_that_the_provider_gives_again_is_not_believed() {
    let (house, upstream, provider) = house().await;
    let ada = signed_in(&house, &provider, 1_000).await;
    let before = upstream.count();
    let reply = ada.follow("/safe/x").await;
    is_refused(&reply);
    assert_eq!(upstream.count(), before);
    // Once more, and then no more.
    assert_eq!(provider.calls("/authorize").len(), 3);
    assert_eq!(asked(&provider, "prompt").as_deref(), Some("login"));
    let line = house.access_line_where("the callback", |line| line["verdict"] == "login_failed");
    let detail = line.await["detail"].clone();
    assert!(
        detail
            .as_str()
            .is_some_and(|detail| detail.contains("seconds ago")),
        "{detail}"
    );
    // Whoever was signed in still is.
    assert_eq!(ada.get("/page").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_provider_that_does_not_say_when_is_not_believed() {
    let (house, upstream, provider) = house().await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let before = upstream.count();
    let reply = ada.follow("/safe/x").await;
    is_refused(&reply);
    assert_eq!(upstream.count(), before);
    assert_eq!(provider.calls("/authorize").len(), 2);
    // Nor is one that says what cannot be, as milliseconds.
    for never in [
        json!("soon"),
        json!(now() + 100_000),
        json!(now() * 1_000),
        json!(u64::MAX),
    ] {
        provider.set(|behaviour| behaviour.id_token = json!({ "auth_time": never }));
        is_refused(&house.browser().follow("/safe/x").await);
    }
    // Clocks differ a little.
    provider.set(|behaviour| behaviour.id_token = json!({ "auth_time": now() + 20 }));
    assert_eq!(ada.follow("/safe/x").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_class_is_asked_for_and_checked() {
    let (house, upstream, provider) = house().await;
    let ada = signed_in(&house, &provider, 0).await;
    let before = upstream.count();
    let reply = ada.follow("/gold/x").await;
    is_refused(&reply);
    assert_eq!(upstream.count(), before);
    assert_eq!(
        asked(&provider, "acr_values").as_deref(),
        Some("gold urn:test:gold")
    );
    assert_eq!(asked(&provider, "max_age"), None);
    for acr in ["gold", "urn:test:gold"] {
        let ada = signed_in(&house, &provider, 1_000).await;
        authenticates(&provider, 1_000, acr);
        assert_eq!(ada.follow("/gold/x").await.status, StatusCode::OK, "{acr}");
        assert_eq!(ada.get("/gold/y").await.status, StatusCode::OK, "{acr}");
    }
}

#[tokio::test]
async fn programs_get_the_challenge() {
    let (house, upstream, provider) = house().await;
    let ada = signed_in(&house, &provider, 1_000).await;
    let before = upstream.count();
    let reply = ada.get("/api/x").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        reply.header("www-authenticate"),
        "Bearer error=\"insufficient_user_authentication\", \
         error_description=\"A different authentication level is required\", max_age=\"600\", acr_values=\"gold\""
    );
    assert_eq!(reply.header("location"), "");

    let reply = ada.fetch(Method::GET, "/safe/x").send().await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert!(reply.header("www-authenticate").contains("max_age=\"600\""));
    let body = reply.json();
    assert_eq!(body["error"], "insufficient_user_authentication");
    assert_eq!(upstream.count(), before);
    // Whoever opens the address that it names may do it afterwards.
    authenticates(&provider, 0, "gold");
    let login = body["login_url"].as_str().expect("an address");
    assert_eq!(ada.follow(login).await.status, StatusCode::OK);
    let reply = ada.fetch(Method::GET, "/safe/x").send().await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(ada.get("/api/x").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_form_says_where_to_sign_in_again() {
    let (house, upstream, provider) = house().await;
    let ada = signed_in(&house, &provider, 1_000).await;
    assert_eq!(ada.get("/pay").await.status, StatusCode::OK);
    let before = upstream.count();
    let post = || {
        ada.navigate("/pay")
            .method(Method::POST)
            .header("content-type", "application/x-www-form-urlencoded")
            .body("sum=1")
            .send()
    };
    let reply = post().await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(upstream.count(), before);
    assert!(
        reply.text().contains("/oauth2/sign_in?max_age=600"),
        "{}",
        reply.text()
    );
    // The page's own route asks for nothing; the link does.
    authenticates(&provider, 0, "tin");
    ada.follow("/oauth2/sign_in?max_age=600").await;
    assert_eq!(asked(&provider, "max_age").as_deref(), Some("600"));
    assert_eq!(post().await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_doors_ask_for_the_same() {
    let (house, _upstream, provider) = standard_with(|plan| {
        plan.tables(ROUTES)
            .top("trusted_proxies = [\"127.0.0.1\"]\nforward_auth = \"traefik\"")
    })
    .await;
    let ada = signed_in(&house, &provider, 1_000).await;
    let public = house.public_url.clone();
    let host = public.strip_prefix("http://").expect("plain http");
    let ask = |door: &'static str, path: &'static str| {
        ada.navigate(door)
            .header("x-forwarded-method", "GET")
            .header("x-forwarded-proto", "http")
            .header("x-forwarded-host", host)
            .header("x-forwarded-uri", path)
            .send()
    };
    let auth = |path| ask("/oauth2/auth", path);
    let forward = |path| ask("/oauth2/forward", path);
    let reply = auth("/safe/x").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{}", reply.text());
    assert!(
        reply
            .header("www-authenticate")
            .contains("insufficient_user_authentication")
    );
    let login = reply.location();
    assert_eq!(auth("/page").await.status, StatusCode::ACCEPTED);

    let reply = forward("/safe/x").await;
    assert_eq!(reply.status, StatusCode::FOUND, "{}", reply.text());
    assert!(reply.header("location").starts_with(&public));
    assert_eq!(reply.location(), login);

    // nginx's recipes lead to the sign-in page with nothing but the way back.
    authenticates(&provider, 0, "tin");
    let reply = ada.follow("/oauth2/sign_in?rd=%2Fsafe%2Fx").await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(asked(&provider, "max_age").as_deref(), Some("600"));
    assert_eq!(auth("/safe/x").await.status, StatusCode::ACCEPTED);
    assert_eq!(forward("/safe/x").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_renewal_makes_no_login_fresh() {
    let (house, _upstream, provider) = arranged(
        |behaviour| {
            behaviour.expires_in = json!(1);
            behaviour.renews_id_token = true;
        },
        |plan| plan.tables(ROUTES).session("store = \"memory\""),
    )
    .await;
    let ada = signed_in(&house, &provider, 1_000).await;
    // What is renewed says what it said, then nothing, and then what cannot be.
    for id_token in [
        json!({ "auth_time": now() - 1_000 }),
        json!({}),
        json!({ "auth_time": now() * 1_000 }),
    ] {
        provider.set(|behaviour| behaviour.id_token = id_token);
        let renewals = provider.renewals();
        while provider.renewals() < renewals + 1 {
            assert_eq!(ada.get("/page").await.status, StatusCode::OK);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert_eq!(ada.get("/safe/x").await.status, StatusCode::FOUND);
    }
}

#[tokio::test]
async fn a_real_provider_asks_anew_and_tells() {
    let upstream = Upstream::start().await;
    let plan = House::plan().upstream(&upstream).npm().tables(ROUTES);
    let house = plan.start().await;
    let ada = house.browser();
    // It says nothing of when unless it is asked; then it does, and asks nobody anything.
    let reply = node_provider::sign_in(&ada, "/", "ada&acr=tin&age=100").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(
        ada.follow("/safe/x").await.seen().header("x-user"),
        Some("ada")
    );
    // Of another class: it is known there, so it is asked once more.
    let page = ada.follow("/gold/x").await;
    let reply = node_provider::choose(&ada, &page, "ada&acr=gold").await;
    assert_eq!(reply.url.path(), "/gold/x");
    assert_eq!(reply.seen().header("x-user"), Some("ada"));

    let bob = house.browser();
    node_provider::sign_in(&bob, "/", "bob&age=1000").await;
    let page = bob.follow("/safe/x").await;
    let reply = node_provider::choose(&bob, &page, "bob").await;
    assert_eq!(reply.url.path(), "/safe/x");
    assert_eq!(reply.seen().header("x-user"), Some("bob"));
}
