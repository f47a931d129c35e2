//! Grants end: by the client, by their owner, by an operator, by the provider.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{
    Home, MCP, Tokens, agree, authorize, call, client, consent_of, decide, error, home, home_with,
    parameter, post, redeem, renew, submit, tokens, tokens_of,
};
use crate::{
    provider_logout::backchannel,
    support::{Browser, House, keys::Signing, ports, raw},
};

/// Within which an end is known everywhere.
const SOON: Duration = Duration::from_secs(5);

async fn is_over(house: &House, tokens: &Tokens) {
    let end = Instant::now() + SOON;
    while call(house, &tokens.access, "/mcp").await.status != StatusCode::UNAUTHORIZED {
        assert!(Instant::now() < end, "still good: {}", house.process.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        error(&renew(house, &tokens.client, &tokens.refresh).await),
        "invalid_grant"
    );
}

async fn signed_in(home: &Home) -> (Browser, Tokens) {
    let house = &home.house;
    let client = client(house).await;
    let browser = house.browser();
    let back = agree(&browser, house, &client).await;
    let reply = redeem(house, &client, &parameter(&back, "code").expect("a code")).await;
    (browser, tokens_of(&client, &reply))
}

#[tokio::test]
async fn t60_a_client_ends_its_own_and_no_others() {
    let home = home().await;
    let house = &home.house;
    let (first, second) = (tokens(house).await, tokens(house).await);
    let revoke = async |client: &str, token: &str| {
        post(
            house,
            "/oauth2/revoke",
            &[("client_id", client), ("token", token)],
        )
        .await
        .status
    };
    for token in [&first.refresh, &first.access, "unknown", "sgr_x"] {
        assert_eq!(revoke(&second.client, token).await, StatusCode::OK);
    }
    assert_eq!(
        call(house, &first.access, "/mcp").await.status,
        StatusCode::OK
    );
    assert_eq!(
        revoke("nobody", &first.access).await,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(revoke(&first.client, &first.refresh).await, StatusCode::OK);
    is_over(house, &first).await;
    assert_eq!(revoke(&second.client, &second.access).await, StatusCode::OK);
    is_over(house, &second).await;
}

/// Who has stolen a session cannot make a grant of it that outlasts the session.
#[tokio::test]
async fn a_grant_ends_no_later_than_the_session_it_began_in() {
    let lines = "lifetime = \"2m\"\nidle_timeout = \"2m\"";
    let home = home_with(MCP, |plan| plan.session(lines)).await;
    let house = &home.house;
    let browser = house.browser();
    browser.sign_in("/").await;
    let client = client(house).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let back = agree(&browser, house, &client).await;
    let reply = redeem(house, &client, &parameter(&back, "code").expect("a code")).await;
    let left = reply.json()["expires_in"].as_u64().expect("a number");
    assert!((1..=117).contains(&left), "{left}");
}

#[tokio::test]
async fn the_owner_sees_and_ends_them() {
    let home = home().await;
    let house = &home.house;
    let (browser, first) = signed_in(&home).await;
    let list = async || {
        browser
            .fetch(Method::GET, "/oauth2/account/grants")
            .send()
            .await
            .json()["grants"]
            .as_array()
            .expect("a list")
            .clone()
    };
    let listed = list().await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["name"], "Probe");
    assert_eq!(listed[0]["resource"], house.url("/mcp"));
    let page = browser.get("/oauth2/account").await.text();
    assert!(
        page.contains("Apps that act for you") && page.contains("Probe"),
        "{page}"
    );
    let id = listed[0]["id"].as_str().expect("an id");
    let foreign = house.browser();
    assert_eq!(
        foreign
            .fetch(Method::DELETE, &format!("/oauth2/account/grants/{id}"))
            .send()
            .await
            .status,
        StatusCode::UNAUTHORIZED
    );
    let token = page
        .split_once("name=\"token\" value=\"")
        .expect("a token")
        .1
        .split('"')
        .next()
        .expect("its end")
        .to_owned();
    let stale = submit(
        &browser,
        "/oauth2/account/grants/end",
        "same-origin",
        format!("id={id}&token=x"),
    )
    .await;
    assert_eq!(stale.status, StatusCode::FORBIDDEN);
    let ended = submit(
        &browser,
        "/oauth2/account/grants/end",
        "same-origin",
        format!("id={id}&token={token}"),
    )
    .await;
    assert_eq!(ended.status, StatusCode::SEE_OTHER, "{}", ended.text());
    is_over(house, &first).await;
    assert!(list().await.is_empty());
}

#[tokio::test]
async fn t62_who_signs_out_everywhere_ends_them_and_their_streams() {
    let home = home().await;
    let house = &home.house;
    let (browser, first) = signed_in(&home).await;
    // Signing out in one browser ends no program's grant.
    let other = house.browser();
    other.sign_in("/").await;
    other.fetch(Method::POST, "/oauth2/sign_out").send().await;
    assert_eq!(
        call(house, &first.access, "/mcp").await.status,
        StatusCode::OK
    );
    let account = browser
        .fetch(Method::GET, "/oauth2/account")
        .send()
        .await
        .json();
    let token = account["sign_out"]["token"].as_str().expect("a token");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let body = format!("scope=everywhere&token={token}");
    let reply = submit(&browser, "/oauth2/account/sign_out", "same-origin", body).await;
    assert!(reply.status.is_redirection(), "{}", reply.text());
    is_over(house, &first).await;
}

/// What guards a stream of the upstream.
const STREAMS: &str = "[issuer]\n[[routes]]\npath = \"/_/**\"\nmcp = true\n";

/// Somebody in a session of that name at the provider, and the tokens of a client that they let in there.
async fn named(home: &Home, sid: &str) -> (Browser, Tokens) {
    let sid = json!({ "sid": sid });
    home.provider.set(|behaviour| behaviour.id_token = sid);
    let house = &home.house;
    let client = client(house).await;
    let browser = house.browser();
    let resource = house.url("/_");
    let asked = authorize(house, &client, &[("resource", &resource)]);
    let page = browser.follow(&asked).await;
    let back = decide(&browser, &consent_of(&page), "allow")
        .await
        .location();
    let reply = redeem(house, &client, &parameter(&back, "code").expect("a code")).await;
    (browser, tokens_of(&client, &reply))
}

/// A stream that runs on an access token.
async fn stream(house: &House, tokens: &Tokens) -> Incoming {
    let authorization = format!("Bearer {}", tokens.access);
    let browser = house.browser();
    let ask = browser
        .bare(Method::GET, "/_/events")
        .header("authorization", &authorization)
        .header("accept", "text/event-stream");
    let reply = ask.begin().await;
    assert_eq!(reply.status(), StatusCode::OK);
    let mut body = reply.into_body();
    goes_on(&mut body).await;
    body
}

async fn goes_on(body: &mut Incoming) {
    for _ in 0..3 {
        let event = body.frame().await.expect("no end");
        event.expect("an event");
    }
}

/// The stream breaks off soon, and neither token brings anything any more.
async fn has_ended(house: &House, tokens: &Tokens, body: &mut Incoming) {
    let reading = async { while let Some(Ok(_)) = body.frame().await {} };
    tokio::time::timeout(SOON, reading)
        .await
        .expect("it breaks off");
    let reply = call(house, &tokens.access, "/_/any").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{}", reply.text());
    assert_eq!(
        error(&renew(house, &tokens.client, &tokens.refresh).await),
        "invalid_grant"
    );
}

async fn is_good(house: &House, tokens: &Tokens, body: &mut Incoming) {
    goes_on(body).await;
    let reply = call(house, &tokens.access, "/_/any").await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
}

#[tokio::test]
async fn t62_signing_out_ends_what_began_in_that_session_and_its_streams() {
    for store in ["cookie", "memory"] {
        let home = home_with(STREAMS, |plan| {
            plan.session(&format!("store = \"{store}\""))
        })
        .await;
        let house = &home.house;
        let (one, first) = named(&home, "s-1").await;
        let (_two, second) = named(&home, "s-2").await;
        let mut streams = (stream(house, &first).await, stream(house, &second).await);
        let reply = one.fetch(Method::POST, "/oauth2/sign_out").send().await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        has_ended(house, &first, &mut streams.0).await;
        is_good(house, &second, &mut streams.1).await;
    }
}

/// A login that takes an earlier one's place, as a fresh one does, throws no program out.
#[tokio::test]
async fn t62_a_fresh_login_ends_no_grant() {
    let home = home_with(STREAMS, |plan| plan).await;
    let house = &home.house;
    let (browser, tokens) = named(&home, "s-1").await;
    browser.follow("/oauth2/start?rd=/").await;
    let mut body = stream(house, &tokens).await;
    is_good(house, &tokens, &mut body).await;
}

#[tokio::test]
async fn t62_the_end_of_a_session_at_the_provider_ends_what_began_in_it_and_its_streams() {
    let home = home_with(STREAMS, |plan| plan).await;
    let house = &home.house;
    let (_one, first) = named(&home, "s-1").await;
    let (_two, second) = named(&home, "s-2").await;
    let mut streams = (stream(house, &first).await, stream(house, &second).await);
    let said = backchannel::token(&home.provider, &json!({ "sid": "s-1" }), Signing::First);
    let reply = backchannel::tell(house, &format!("logout_token={said}")).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    has_ended(house, &first, &mut streams.0).await;
    is_good(house, &second, &mut streams.1).await;
}

#[tokio::test]
async fn t62_an_operator_ends_a_session_and_what_began_in_it() {
    let admin = ports::free_address();
    let home = home_with(STREAMS, |plan| {
        plan.top(&format!("admin_listen = \"{admin}\""))
    })
    .await;
    let house = &home.house;
    let (_one, first) = named(&home, "s-1").await;
    let sessions = async || {
        let (_, listed) = operator(admin, "GET", "/sessions?user=script:ada-1815").await;
        let listed = listed["sessions"].as_array().expect("a list").clone();
        let ids = listed
            .iter()
            .map(|one| one["id"].as_str().expect("an id").to_owned());
        ids.collect::<Vec<_>>()
    };
    let before = sessions().await;
    let (_two, second) = named(&home, "s-2").await;
    let mut streams = (stream(house, &first).await, stream(house, &second).await);
    let [id] = &before[..] else {
        panic!("one session: {before:?}");
    };
    let ended = operator(admin, "DELETE", &format!("/sessions/{id}")).await;
    assert_eq!(ended.0, 200, "{}", ended.1);
    has_ended(house, &first, &mut streams.0).await;
    is_good(house, &second, &mut streams.1).await;
}

async fn operator(address: std::net::SocketAddr, method: &str, target: &str) -> (u16, Value) {
    let request =
        format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = raw::try_exchange(address, false, request.as_bytes())
        .await
        .expect("the admin listener answers");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    (
        raw::status(&answer),
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")),
    )
}

#[tokio::test]
async fn an_operator_lists_and_ends_them() {
    let admin = ports::free_address();
    let home = home_with(MCP, |plan| plan.top(&format!("admin_listen = \"{admin}\""))).await;
    let house = &home.house;
    let (first, second) = (tokens(house).await, tokens(house).await);
    let (status, listed) = operator(admin, "GET", "/grants?user=script:ada-1815").await;
    assert_eq!(
        (status, listed["grants"].as_array().map(Vec::len)),
        (200, Some(2))
    );
    assert!(!listed.to_string().contains(&first.refresh[5..]));
    // The newest is first.
    let id = listed["grants"][0]["id"].as_str().expect("an id");
    assert_eq!(
        operator(admin, "DELETE", &format!("/grants/{id}")).await.0,
        200
    );
    is_over(house, &second).await;
    assert_eq!(
        operator(admin, "DELETE", &format!("/grants/{id}")).await.0,
        404
    );
    assert_eq!(operator(admin, "DELETE", "/grants").await.0, 400);
    assert_eq!(
        call(house, &first.access, "/mcp").await.status,
        StatusCode::OK
    );
    assert_eq!(
        operator(admin, "DELETE", "/sessions?user=script:ada-1815")
            .await
            .0,
        200
    );
    is_over(house, &first).await;
}
