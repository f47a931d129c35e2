//! Tokens end: by their owner, by an operator, on every replica.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{SOON, TABLE, bearer, becomes, home, list, make, signed_in};
use crate::{
    live,
    support::{House, ScriptedProvider, Upstream, house::Plan, ports, raw, redis::RedisServer},
};

#[tokio::test]
async fn the_owner_ends_one_or_all() {
    let home = home(|plan| plan).await;
    let house = &home.house;
    let (browser, first, id) = signed_in(&home).await;
    let (second, _) = make(&browser, &json!({"name": "b"})).await;
    let (third, _) = make(&browser, &json!({"name": "c"})).await;
    let delete = async |path: &str| browser.fetch(Method::DELETE, path).send().await;
    let reply = delete(&format!("/oauth2/account/tokens/{id}")).await;
    assert_eq!(
        (reply.status, reply.json()),
        (StatusCode::OK, json!({"ended": 1}))
    );
    let again = delete(&format!("/oauth2/account/tokens/{id}")).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    assert_eq!(again.json()["message"], "You have no such token.");
    // Only a session manages tokens, however good another credential is.
    let program = bearer(house, "sgp_any", "/oauth2/account/tokens").await;
    assert_eq!(program.status, StatusCode::FORBIDDEN);
    assert_eq!(
        program.json()["message"],
        "Only a browser session manages tokens."
    );
    assert_eq!(
        bearer(house, &first, "/").await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(bearer(house, &second, "/").await.status, StatusCode::OK);
    let all = delete("/oauth2/account/tokens").await;
    assert_eq!(all.json(), json!({"ended": 2}));
    for token in [second, third] {
        assert_eq!(
            bearer(house, &token, "/").await.status,
            StatusCode::UNAUTHORIZED
        );
    }
    // Signing out ends no token: programs go on.
    let (left, _) = make(&browser, &json!({"name": "d"})).await;
    browser.fetch(Method::POST, "/oauth2/sign_out").send().await;
    assert_eq!(bearer(house, &left, "/").await.status, StatusCode::OK);
}

/// An event stream of a program that comes with `token`.
async fn stream(house: &House, token: &str) -> Incoming {
    let browser = house.browser();
    let request = browser.bare(Method::GET, "/_/events");
    let authorization = format!("Bearer {token}");
    let request = request.header("authorization", &authorization);
    let mut body = request.begin().await.into_body();
    live::next_event(&mut body).await.expect("an event");
    body
}

/// What is open by a token ends with it, whoever ends it; what is open by another goes on, and so it does when its owner signs out.
#[tokio::test]
async fn what_a_token_has_opened_ends_with_it() {
    let home = home(Plan::admin).await;
    let house = &home.house;
    let admin = house.admin_address();
    let (browser, first, id) = signed_in(&home).await;
    let (second, _) = make(&browser, &json!({"name": "b"})).await;
    let (mut firsts, mut seconds) = (stream(house, &first).await, stream(house, &second).await);
    let path = format!("/oauth2/account/tokens/{id}");
    browser.fetch(Method::DELETE, &path).send().await;
    live::broken_off(&mut firsts).await;
    browser.fetch(Method::POST, "/oauth2/sign_out").send().await;
    for _ in 0..20 {
        live::next_event(&mut seconds)
            .await
            .expect("the stream goes on");
    }
    operator(admin, "DELETE", "/tokens?user=script:ada-1815").await;
    live::broken_off(&mut seconds).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (_, third, _) = signed_in(&home).await;
    let mut thirds = stream(house, &third).await;
    operator(admin, "DELETE", "/tokens?all=true").await;
    live::broken_off(&mut thirds).await;
}

async fn operator(address: std::net::SocketAddr, method: &str, target: &str) -> (u16, Value) {
    let request =
        format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = raw::try_exchange(address, false, request.as_bytes()).await;
    let answer = answer.expect("the admin listener answers");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    (raw::status(&answer), body)
}

#[tokio::test]
async fn an_operator_lists_and_ends_them() {
    let admin = ports::free_address();
    let home = home(|plan| plan.top(&format!("admin_listen = \"{admin}\""))).await;
    let house = &home.house;
    let (browser, first, id) = signed_in(&home).await;
    let (second, _) = make(&browser, &json!({"name": "b"})).await;
    let (status, listed) = operator(admin, "GET", "/tokens?user=script:ada-1815").await;
    assert_eq!(status, 200);
    let tokens = listed["tokens"].as_array().expect("a list");
    assert_eq!(tokens.len(), 2);
    assert!(!listed.to_string().contains(&first[10..]));
    assert_eq!(operator(admin, "GET", "/tokens").await.0, 400);
    assert_eq!(operator(admin, "DELETE", "/tokens").await.0, 400);
    assert_eq!(operator(admin, "DELETE", "/tokens/xyz").await.0, 404);
    assert_eq!(
        operator(admin, "DELETE", &format!("/tokens/{id}")).await.0,
        200
    );
    assert_eq!(
        bearer(house, &first, "/").await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(bearer(house, &second, "/").await.status, StatusCode::OK);
    // Who is out is out, with their programs.
    assert_eq!(
        operator(admin, "DELETE", "/sessions?user=script:ada-1815")
            .await
            .0,
        200
    );
    assert_eq!(
        bearer(house, &second, "/").await.status,
        StatusCode::UNAUTHORIZED
    );

    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (browser, third, _) = signed_in(&home).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let everybody = operator(admin, "DELETE", "/tokens?all=true").await;
    assert_eq!(everybody, (200, json!({"ended": "everybody"})));
    assert_eq!(
        bearer(house, &third, "/").await.status,
        StatusCode::UNAUTHORIZED
    );
    assert!(list(&browser).await.is_empty());
}

#[tokio::test]
async fn replicas_know_each_others_tokens_and_their_ends() {
    let redis = RedisServer::start().await;
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let session = format!("store = \"{}\"", redis.url());
    let plan = || {
        let plan = House::plan().upstream(&upstream).provider(&provider);
        plan.public_url("http://app.test")
            .session(&session)
            .tables(TABLE)
            .start()
    };
    let (one, two) = (plan().await, plan().await);
    for house in [&one, &two] {
        let end = Instant::now() + Duration::from_secs(20);
        while house.browser().get("/oauth2/ready").await.status != StatusCode::OK {
            assert!(Instant::now() < end, "{}", house.process.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let browser = one.browser();
    browser.sign_in("/").await;
    let (token, id) = make(&browser, &json!({"name": "a"})).await;
    for house in [&one, &two, &one, &two] {
        assert_eq!(bearer(house, &token, "/").await.status, StatusCode::OK);
    }
    let keys = redis.ask(&["KEYS", "sidegate:*"]).await;
    for told in ["ada-1815", &token[4..]] {
        assert!(!keys.contains(told), "{told}: {keys}");
    }
    let mut open = stream(&two, &token).await;
    let ended = browser
        .fetch(Method::DELETE, &format!("/oauth2/account/tokens/{id}"))
        .send()
        .await;
    assert_eq!(ended.status, StatusCode::OK);
    live::broken_off(&mut open).await;
    assert_eq!(
        bearer(&one, &token, "/").await.status,
        StatusCode::UNAUTHORIZED
    );
    becomes(&two, &token, StatusCode::UNAUTHORIZED, SOON).await;
    assert!(list(&browser).await.is_empty());
}

/// Nobody is let in, and nobody is told that their token is false, while Redis is away.
#[tokio::test]
async fn while_redis_is_away_nothing_is_known() {
    let redis = RedisServer::start().await;
    let session = format!("shared = \"{}\"", redis.url());
    let (house, _upstream, _provider) =
        crate::support::standard_with(|plan| plan.session(&session).tables(TABLE)).await;
    let end = Instant::now() + Duration::from_secs(20);
    while house.browser().get("/oauth2/ready").await.status != StatusCode::OK {
        assert!(Instant::now() < end, "{}", house.process.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let browser = house.browser();
    browser.sign_in("/").await;
    let (token, _) = make(&browser, &json!({"name": "a"})).await;
    drop(redis);
    becomes(&house, &token, StatusCode::SERVICE_UNAVAILABLE, SOON * 4).await;
}
