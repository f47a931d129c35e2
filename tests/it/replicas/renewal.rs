//! Replicas renew a session once between them, whoever is asked first.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use serde_json::json;
use tokio::time::sleep;

use super::{Street, shared, store, wait_until_ready};
use crate::support::{
    House, Reply, Upstream,
    behaviour::TokenEndpoint,
    browser::is_session,
    node_provider::{self, NodeProvider},
    ports,
    redis::RedisServer,
};

/// How long the provider's tokens last, in seconds.
const LIFETIME: u32 = 4;
/// Requests at once, over all replicas.
const AT_ONCE: usize = 200;
/// Rounds that the environment does not ask for more of.
const ROUNDS: usize = 12;

/// Asks with this cookie and no jar.
async fn ask(house: &House, cookie: &str) -> Reply {
    let browser = house.browser();
    let ask = browser.fetch(Method::GET, "/");
    ask.header("cookie", &format!("sidegate={cookie}"))
        .send()
        .await
}

/// The session cookie that an answer brings.
fn successor(reply: &Reply) -> Option<String> {
    let set = reply.set_cookies();
    let set = set.iter().find(|header| is_session(header))?;
    let (_, rest) = set.split_once('=')?;
    rest.split(';').next().map(str::to_owned)
}

async fn rounds(lines: fn(&RedisServer) -> String, rounds: usize) {
    let redis = RedisServer::start().await;
    let lines = lines(&redis);
    let upstream = Upstream::start().await;
    let provider = NodeProvider::start(LIFETIME);
    let table = format!("{}allow = \"anyone\"\n", provider.renewing_table());
    let public = format!("http://{}", ports::free_address());
    let mut houses = Vec::new();
    for _ in 0..3 {
        let plan = House::plan().upstream(&upstream).named("npm", &table);
        let house = plan
            .public_url(&public)
            .session(&lines)
            .admin()
            .start()
            .await;
        wait_until_ready(&house).await;
        houses.push(house);
    }
    let houses = Arc::new(houses);
    let browser = houses[0].browser();
    node_provider::sign_in(&browser, "/", "ada").await.seen();
    let mut cookie = browser.cookie("sidegate").expect("a session");
    provider.slow(60).await;
    for round in 0..rounds {
        sleep(Duration::from_secs(LIFETIME.into()) + Duration::from_millis(50)).await;
        let (before, _) = provider.token_requests().await;
        let began = Instant::now();
        let asking = (0..AT_ONCE).map(|number| {
            let (houses, cookie) = (Arc::clone(&houses), cookie.clone());
            tokio::spawn(async move { ask(&houses[number % 3], &cookie).await })
        });
        let mut newest = None;
        for asked in asking.collect::<Vec<_>>() {
            let reply = asked.await.expect("no panic");
            let what = format!("{lines} {round}");
            assert_eq!(reply.status, StatusCode::OK, "{what}: {}", reply.text());
            assert_eq!(reply.seen().header("x-user-id"), Some("npm:ada"));
            newest = successor(&reply).or(newest);
        }
        let (after, refused) = provider.token_requests().await;
        let due = node_provider::renewals_due(began.elapsed(), LIFETIME);
        assert!(
            due.contains(&(after - before)) && refused == 0,
            "{lines} {round}: {} token calls, {refused} refused; {due:?} were due",
            after - before
        );
        cookie = newest.unwrap_or(cookie);
    }
    for house in &*houses {
        let log = house.process.log();
        assert!(
            !log.contains("cannot be renewed") && !log.contains("panicked"),
            "{log}"
        );
    }
}

#[tokio::test]
async fn one_token_call_renews_a_session_at_all_replicas() {
    let asked = std::env::var("RENEWAL_ROUNDS").ok();
    let asked = asked.and_then(|rounds| rounds.parse().ok());
    rounds(store, asked.unwrap_or(ROUNDS)).await;
}

#[tokio::test]
async fn one_token_call_renews_a_cookie_at_all_replicas() {
    rounds(shared, 3).await;
}

/// What a replica had sent when it died may be spent: the others send it when nothing else serves any more.
#[tokio::test]
async fn a_replica_that_dies_of_a_renewal_leaves_the_token_unsent_while_it_can() {
    let redis = RedisServer::start().await;
    tokio::join!(died(store(&redis)), died(shared(&redis)));
}

async fn died(lines: String) {
    let street = Street::new().await;
    street
        .provider
        .set(|behaviour| behaviour.expires_in = json!(2));
    let lines = format!("{lines}\nprovider_grace = \"12s\"");
    let mut houses = street.houses(&lines, 3).await;
    let browser = street.signed_in(&houses[0], "ada-1815").await;
    let signed_in = Instant::now();
    let cookie = browser.cookie("sidegate").expect("a session");
    sleep(Duration::from_millis(2_050)).await;
    street
        .provider
        .set(|behaviour| behaviour.token = TokenEndpoint::Hangs);
    let dying = houses.remove(0);
    let (address, public) = (dying.address, dying.public_url.clone());
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nCookie: sidegate={cookie}\r\nConnection: close\r\n\r\n",
        public.trim_start_matches("http://")
    );
    let asking = tokio::spawn(async move {
        crate::support::raw::try_exchange(address, false, request.as_bytes()).await
    });
    while street.provider.renewals() == 0 {
        sleep(Duration::from_millis(20)).await;
    }
    // kill -9
    drop(dying);
    let _ = asking.await;
    street
        .provider
        .set(|behaviour| behaviour.token = TokenEndpoint::Good);
    while signed_in.elapsed() < Duration::from_secs(12) {
        for house in &houses {
            let reply = ask(house, &cookie).await;
            assert_eq!(reply.status, StatusCode::OK, "{lines}: {}", reply.text());
        }
        assert_eq!(street.provider.renewals(), 1, "{lines}: not sent again");
        sleep(Duration::from_millis(300)).await;
    }
    let begin = Instant::now();
    while street.provider.renewals() < 2 {
        for house in &houses {
            let status = ask(house, &cookie).await.status;
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{lines}");
        }
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(40), "{lines}: {took:?}");
    }
    for house in &houses {
        let begin = Instant::now();
        loop {
            match ask(house, &cookie).await.status {
                StatusCode::OK => break,
                StatusCode::SERVICE_UNAVAILABLE => {}
                other => panic!("{lines}: {other}"),
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "{lines}");
            sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Who is asked, where, and what is told of them.
async fn served(
    street: &Street,
    houses: &[House],
    cookies: &[String],
    lasts: Duration,
    what: &str,
) {
    let begin = Instant::now();
    while begin.elapsed() < lasts {
        for cookie in cookies {
            for house in houses {
                let asked = Instant::now();
                let reply = ask(house, cookie).await;
                assert_eq!(reply.status, StatusCode::OK, "{what}: {}", reply.text());
                let took = asked.elapsed();
                assert!(took < Duration::from_secs(3), "{what}: {took:?}");
            }
        }
        sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(
        street.provider.renewals(),
        cookies.len(),
        "{what}: each token is sent once"
    );
}

async fn stalled(lines: String, fault: Option<TokenEndpoint>) {
    let street = Street::new().await;
    street
        .provider
        .set(|behaviour| behaviour.expires_in = json!(2));
    let houses = street
        .houses(&format!("{lines}\nprovider_grace = \"1m\""), 2)
        .await;
    let mut cookies = Vec::new();
    for _ in 0..3 {
        let browser = street.signed_in(&houses[0], "ada-1815").await;
        cookies.push(browser.cookie("sidegate").expect("a session"));
    }
    sleep(Duration::from_millis(2_050)).await;
    let what = format!("{lines} {fault:?}");
    if let Some(fault) = fault {
        street.provider.set(|behaviour| behaviour.token = fault);
        for cookie in &cookies {
            ask(&houses[0], cookie).await;
        }
        street
            .provider
            .set(|behaviour| behaviour.token = TokenEndpoint::Good);
        served(&street, &houses, &cookies, Duration::from_secs(6), &what).await;
    } else {
        street.provider.set(|behaviour| {
            behaviour.token_held_back = Duration::from_secs(13);
            behaviour.expires_in = json!(300);
        });
        served(&street, &houses, &cookies, Duration::from_secs(18), &what).await;
    }
}

#[tokio::test]
async fn a_provider_that_stalls_or_breaks_off_is_asked_once_by_all_replicas() {
    let redis = RedisServer::start().await;
    tokio::join!(
        stalled(store(&redis), None),
        stalled(shared(&redis), None),
        stalled(store(&redis), Some(TokenEndpoint::BreaksOff)),
        stalled(shared(&redis), Some(TokenEndpoint::BreaksOff)),
    );
}
