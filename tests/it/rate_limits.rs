//! `limit` of a route: who counts as one, what counts, and what whoever came too often is told.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{
    Browser, House, Reply, ScriptedProvider, Upstream, house, house::Plan, ports,
    redis::RedisServer, standard_with,
};

const TRUSTING: &str = "trusted_proxies = [\"127.0.0.1\"]";

fn limited(limit: &'static str) -> impl FnOnce(Plan) -> Plan {
    move |plan| {
        plan.top(TRUSTING).admin().tables(&format!(
            "[[routes]]\npath = \"/api/**\"\naccess = \"api\"\nlimit = {limit}\n\
             [[routes]]\npath = \"/admin/**\"\naccess = \"api\"\nallow = {{ groups = [\"nobody\"] }}\nlimit = {limit}\n\
             [[routes]]\npath = \"/open/**\"\naccess = \"public\"\nlimit = {limit}"
        ))
    }
}

async fn ask(browser: &Browser, path: &str, client: &str) -> Reply {
    let ask = browser.fetch(Method::GET, path);
    ask.header("x-forwarded-for", client).send().await
}

/// How many of 40 requests pass before one is refused.
async fn passed(browser: &Browser, path: &str, client: &str) -> usize {
    for number in 0..40 {
        match ask(browser, path, client).await.status {
            StatusCode::OK => {}
            StatusCode::TOO_MANY_REQUESTS => return number,
            other => panic!("{other}"),
        }
    }
    40
}

async fn somebody(house: &House, provider: &ScriptedProvider, subject: &str) -> Browser {
    provider.user("sub", json!(subject));
    let browser = house.browser();
    browser.sign_in("/").await;
    browser
}

/// The block that docs/rate-limits.md begins with.
#[tokio::test]
async fn the_101st_request_of_an_hour_is_refused_and_told_when_to_come_back() {
    let page = house::root().join("docs/rate-limits.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, block) = page.split_once("```toml\n").expect("a block");
    let (block, _) = block.split_once("```").expect("an end");
    let (house, _upstream, provider) = standard_with(|plan| plan.top(TRUSTING).tables(block)).await;
    let ada = somebody(&house, &provider, "ada").await;
    let first = ask(&ada, "/api/x", "203.0.113.1").await;
    assert_eq!(first.header("ratelimit-policy"), "\"user\";q=100;w=3600");
    assert!(first.header("ratelimit").starts_with("\"user\";r=99;t="));
    for number in 1..100 {
        let reply = ask(&ada, "/api/x", "203.0.113.1").await;
        assert_eq!(reply.status, StatusCode::OK, "{number}");
    }
    // Another browser of hers, another address.
    let elsewhere = somebody(&house, &provider, "ada").await;
    let refused = ask(&elsewhere, "/api/y", "203.0.113.2").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=36).contains(&wait), "{wait}");
    assert_eq!(
        refused.header("ratelimit"),
        format!("\"user\";r=0;t={wait}")
    );
    assert_eq!(refused.json()["error"], "rate_limited");
    // Not by any other route, and nobody else.
    assert_eq!(
        ask(&ada, "/page", "203.0.113.1").await.header("ratelimit"),
        ""
    );
    let bob = somebody(&house, &provider, "bob").await;
    assert_eq!(
        ask(&bob, "/api/x", "203.0.113.1").await.status,
        StatusCode::OK
    );
    let line = house
        .access_line_where("a refusal", |line| line["verdict"] == "rate_limited")
        .await;
    assert_eq!(line["detail"], "routes[0].limit: 100/1h per user");
    assert_eq!(line["level"], "INFO");
}

#[tokio::test]
async fn each_kind_counts_what_it_says() {
    let (house, _upstream, provider) = standard_with(limited("\"3/1h per token\"")).await;
    let one = somebody(&house, &provider, "ada").await;
    let other = somebody(&house, &provider, "ada").await;
    assert_eq!(passed(&one, "/api/x", "203.0.113.1").await, 3);
    assert_eq!(passed(&other, "/api/x", "203.0.113.1").await, 3);

    let (house, _upstream, provider) = standard_with(limited("\"3/1h per address\"")).await;
    let ada = somebody(&house, &provider, "ada").await;
    let bob = somebody(&house, &provider, "bob").await;
    assert_eq!(passed(&ada, "/api/x", "2001:db8::1").await, 3);
    assert_eq!(passed(&bob, "/api/x", "2001:db8::2").await, 0);
    assert_eq!(passed(&bob, "/api/x", "2001:db8:0:1::2").await, 3);

    let (house, _upstream, provider) =
        standard_with(limited("[\"3/1h per user\", \"4/1h per route\"]")).await;
    let ada = somebody(&house, &provider, "ada").await;
    let bob = somebody(&house, &provider, "bob").await;
    assert_eq!(passed(&ada, "/api/x", "203.0.113.1").await, 3);
    let last = ask(&bob, "/api/x", "203.0.113.2").await;
    assert!(
        last.header("ratelimit").contains("\"route\";r=0"),
        "{}",
        last.header("ratelimit")
    );
    assert_eq!(passed(&bob, "/api/x", "203.0.113.2").await, 0);
}

#[tokio::test]
async fn nobody_counts_by_address_and_what_is_refused_does_not_count() {
    let (house, upstream, provider) = standard_with(limited("\"3/1h\"")).await;
    let nobody = house.browser();
    assert_eq!(passed(&nobody, "/open/x", "203.0.113.1").await, 3);
    assert_eq!(passed(&nobody, "/open/x", "203.0.113.2").await, 3);
    let ada = somebody(&house, &provider, "ada").await;
    // Signed in or not: nobody is asked there.
    assert_eq!(passed(&ada, "/open/x", "203.0.113.1").await, 0);
    for _ in 0..5 {
        let refused = ask(&ada, "/admin/x", "203.0.113.1").await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert_eq!(refused.header("ratelimit"), "");
        let refused = ask(&nobody, "/api/x", "203.0.113.1").await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    }
    let before = upstream.count();
    assert_eq!(passed(&ada, "/api/x", "203.0.113.1").await, 3);
    assert_eq!(upstream.count(), before + 3, "a refusal got to the app");
    let (_, metrics) = house.admin_says("/metrics").await;
    let line = "sidegate_rate_limited_total{per=\"user\"} 4";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_question_counts_like_the_request_that_it_is_about() {
    let (house, _upstream, provider) =
        standard_with(|plan| limited("\"3/1h\"")(plan).top("forward_auth = \"nginx\"")).await;
    let ada = somebody(&house, &provider, "ada").await;
    let question = async |door: &str| {
        let ask = ada.bare(Method::GET, door);
        let ask = ask.header("x-original-uri", "/api/x");
        ask.header("x-original-method", "GET").send().await
    };
    assert_eq!(
        ask(&ada, "/api/x", "203.0.113.1").await.status,
        StatusCode::OK
    );
    let asked = question("/oauth2/auth").await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    assert!(asked.header("ratelimit").starts_with("\"user\";r=1;"));
    assert_eq!(question("/oauth2/auth").await.status, StatusCode::ACCEPTED);
    let refused = question("/oauth2/auth").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(
        ask(&ada, "/api/x", "203.0.113.1").await.status,
        StatusCode::TOO_MANY_REQUESTS
    );

    let (house, _upstream, provider) =
        standard_with(|plan| limited("\"1/1h\"")(plan).top("forward_auth = \"traefik\"")).await;
    let ada = somebody(&house, &provider, "ada").await;
    let question = async || {
        let ask = ada.bare(Method::GET, "/oauth2/forward");
        let host = house.public_url.trim_start_matches("http://");
        let ask = ask
            .header("x-forwarded-uri", "/api/x")
            .header("x-forwarded-method", "GET");
        ask.header("x-forwarded-host", host)
            .header("x-forwarded-proto", "http")
            .send()
            .await
    };
    assert_eq!(question().await.status, StatusCode::OK);
    let refused = question().await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(!refused.header("retry-after").is_empty());
}

#[tokio::test]
async fn a_reload_keeps_the_counts() {
    let (house, _upstream, provider) = standard_with(limited("\"3/1h\"")).await;
    let ada = somebody(&house, &provider, "ada").await;
    assert_eq!(passed(&ada, "/api/x", "203.0.113.1").await, 3);
    house.rewrite("path = \"/open/**\"", "path = \"/opened/**\"");
    house.process.signal("HUP");
    for _ in 0..1_000 {
        if house.process.log().contains("was read again") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(house.process.log().contains("was read again"));
    assert_eq!(passed(&ada, "/api/x", "203.0.113.1").await, 0);
}

#[tokio::test]
async fn replicas_count_together_and_alone_without_redis() {
    let mut redis = RedisServer::start().await;
    let (upstream, provider) = (Upstream::start().await, ScriptedProvider::start().await);
    let public = ports::free_address();
    let plan = || {
        let plan = House::plan().upstream(&upstream).provider(&provider);
        let plan = plan.public_url(&format!("http://{public}"));
        let plan = plan.session("store = \"cookie\"");
        limited("\"6/1h\"")(plan.session(&format!("shared = \"{}\"", redis.url())))
    };
    let (one, other) = (plan().start().await, plan().start().await);
    for house in [&one, &other] {
        for _ in 0..1_000 {
            if house.process.log().contains("connected to Redis") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let ada = somebody(&one, &provider, "ada").await;
    let there = ada.moved_to(&other);
    for _ in 0..3 {
        assert_eq!(
            ask(&ada, "/api/x", "203.0.113.1").await.status,
            StatusCode::OK
        );
        assert_eq!(
            ask(&there, "/api/x", "203.0.113.1").await.status,
            StatusCode::OK
        );
    }
    let refused = ask(&ada, "/api/x", "203.0.113.1").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=600).contains(&wait), "{wait}");
    assert_eq!(passed(&there, "/api/x", "203.0.113.1").await, 0);
    let keys = redis.keys("sidegate:*:limit:*").await;
    assert_eq!(keys.len(), 1, "{keys:?}");

    redis.kill();
    // Alone each has the whole of it, and nobody is kept out.
    assert_eq!(passed(&ada, "/api/x", "203.0.113.1").await, 6);
    assert_eq!(passed(&there, "/api/x", "203.0.113.1").await, 6);
    assert!(
        one.process
            .log()
            .contains("each replica counts for limits alone")
    );
}
