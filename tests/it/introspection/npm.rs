//! Tokens of npm's `oidc-provider`, which are opaque.

use std::time::{Duration, Instant};

use http::StatusCode;

use super::ask;
use crate::support::{
    House, Upstream,
    node_provider::{self, post},
};

const TOLD: &str = "[headers]\nset = { X-Token = \"access_token\" }";

async fn gate(allow: &str, bearer: &str) -> (House, Upstream) {
    let upstream = Upstream::start().await;
    let plan = House::plan().upstream(&upstream).npm().allow(allow);
    let plan = plan.provider_line(bearer).tables(TOLD);
    (plan.route("/api/**", "api").start().await, upstream)
}

const ENGINEERS: &str = "{ groups = [\"engineers\"] }";
const ANYONE: &str = "\"anyone\"";

#[tokio::test]
async fn a_logins_own_token_is_the_same_person_until_it_is_taken_back() {
    let bearer = "bearer = { introspect = true, clients = [\"sidegate\"], token_cache = \"1s\" }";
    let (house, _upstream) = gate(ENGINEERS, bearer).await;
    let browser = house.browser();
    node_provider::sign_in(&browser, "/", "ada").await;
    let by_session = browser.get("/page").await.seen();
    let token = by_session.header("x-token").expect("a token").to_owned();
    assert!(!token.starts_with("eyJ"), "it is opaque");
    let by_token = ask(&house, &token).await.seen();
    for name in [
        "x-user",
        "x-user-id",
        "x-user-email",
        "x-user-groups",
        "x-user-name",
    ] {
        assert_eq!(by_token.header(name), by_session.header(name), "{name}");
    }
    assert_eq!(by_token.header("x-user-auth"), Some("bearer"));
    assert_eq!(by_token.header("x-user-client"), Some("sidegate"));
    let scopes = by_token.header("x-user-scopes").unwrap_or_default();
    assert!(scopes.split(' ').any(|scope| scope == "groups"), "{scopes}");

    post("/token/revocation", "sidegate", &format!("token={token}")).await;
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        match ask(&house, &token).await.status {
            StatusCode::OK => assert!(Instant::now() < end, "it still opens the gate"),
            status => break assert_eq!(status, StatusCode::UNAUTHORIZED),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// `bob` is in no group that may pass, by a token as little as by a login.
#[tokio::test]
async fn who_may_not_sign_in_has_no_token_that_opens_anything() {
    let bearer = "bearer = { introspect = true, clients = [\"sidegate\"] }";
    let (open, _upstream) = gate(ANYONE, bearer).await;
    let browser = open.browser();
    node_provider::sign_in(&browser, "/", "bob").await;
    let seen = browser.get("/page").await.seen();
    let token = seen.header("x-token").expect("a token").to_owned();
    let (house, upstream) = gate(ENGINEERS, bearer).await;
    assert_eq!(ask(&house, &token).await.status, StatusCode::FORBIDDEN);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_clients_own_token_is_the_clients_and_another_clients_is_none() {
    let form = "grant_type=client_credentials&scope=read";
    let answer = post("/token", "cli", form).await;
    let token = answer["access_token"].as_str().expect("a token");
    for (client, status) in [
        ("cli", StatusCode::OK),
        ("sidegate", StatusCode::UNAUTHORIZED),
    ] {
        let bearer = format!("bearer = {{ introspect = true, clients = [\"{client}\"] }}");
        let (house, _upstream) = gate(ANYONE, &bearer).await;
        let reply = ask(&house, token).await;
        assert_eq!(reply.status, status, "{client}");
        if status == StatusCode::OK {
            let seen = reply.seen();
            assert_eq!(seen.header("x-user-id"), Some("npm:client:cli"));
            assert_eq!(seen.header("x-user-scopes"), Some("read"));
        }
    }
}

/// It signs what it says, for whom that asks (RFC 9701).
#[tokio::test]
async fn a_signed_answer_counts_and_one_by_another_algorithm_does_not() {
    let bearer = |more: &str| {
        format!(
            "bearer = {{ introspect = true, clients = [\"cli\"], signed_answers = true{more} }}"
        )
    };
    let form = "grant_type=client_credentials&scope=read";
    let answer = post("/token", "cli", form).await;
    let token = answer["access_token"].as_str().expect("a token");
    let (house, _upstream) = gate(ANYONE, &bearer("")).await;
    let seen = ask(&house, token).await.seen();
    assert_eq!(seen.header("x-user-id"), Some("npm:client:cli"));
    assert_eq!(seen.header("x-user-scopes"), Some("read"));
    // It signs for that, too, when there is no such token.
    let reply = ask(&house, "a-token-that-nobody-knows").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);

    let (house, upstream) = gate(ANYONE, &bearer(", algorithms = [\"ES256\"]")).await;
    let reply = ask(&house, token).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_ne!(reply.header("retry-after"), "");
    assert_eq!(upstream.count(), 0);
    let line = house.access_line("/api/x").await.to_string();
    assert!(line.contains("the signed answer does not hold"), "{line}");
}
