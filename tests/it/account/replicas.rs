//! The list that replicas keep in one Redis.

use std::time::{Duration, Instant};

use http::StatusCode;

use super::{account, form, is_signed_in, others, sessions, token};
use crate::support::{House, ScriptedProvider, Upstream, redis::RedisServer, standard_with};

/// Replicas with one Redis list what any of them has seen, and Redis' owner reads none of it.
#[tokio::test]
async fn replicas_list_each_others_sessions_and_sign_them_out() {
    for cookie in [false, true] {
        let redis = RedisServer::start().await;
        let upstream = Upstream::start().await;
        let provider = ScriptedProvider::start().await;
        let url = redis.url();
        let line = if cookie {
            format!("store = \"cookie\"\nshared = \"{url}\"")
        } else {
            format!("store = \"{url}\"")
        };
        let plan = || {
            let plan = House::plan().upstream(&upstream).provider(&provider);
            plan.public_url("http://app.test").session(&line).start()
        };
        let (one, two) = (plan().await, plan().await);
        for house in [&one, &two] {
            let end = Instant::now() + Duration::from_secs(20);
            let browser = house.browser();
            while browser.get("/oauth2/ready").await.status != StatusCode::OK {
                assert!(Instant::now() < end, "{}", house.process.log());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let (phone, mine) = (one.browser(), two.browser());
        phone.sign_in("/").await;
        mine.sign_in("/").await;
        let end = Instant::now() + Duration::from_secs(5);
        let mut known = account(&mine).await;
        while others(&known).is_empty() {
            assert!(Instant::now() < end, "{known}");
            tokio::time::sleep(Duration::from_millis(50)).await;
            known = account(&mine).await;
        }
        let keys = redis.ask(&["KEYS", "sidegate:*:user"]).await;
        let key = keys.lines().find(|line| line.starts_with("sidegate:"));
        let key = key
            .unwrap_or_else(|| panic!("a list in Redis: {keys}"))
            .trim();
        let dump = redis.ask(&["HGETALL", key]).await;
        // Long words alone: three letters stand in random bytes now and then.
        for told in ["ada-1815", "script", "Browser", "persona"] {
            assert!(
                !dump.contains(told) && !keys.contains(told),
                "{told}: {dump}"
            );
        }
        let reply = form(&mine, &format!("token={}&scope=others", token(&mine).await));
        assert_eq!(reply.send().await.status, StatusCode::SEE_OTHER);
        let end = Instant::now() + Duration::from_secs(5);
        while is_signed_in(&phone).await {
            assert!(Instant::now() < end, "the other replica hears of it");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(is_signed_in(&mine).await);
        assert!(others(&account(&mine).await).is_empty());
    }
}

/// Whoever signs in without end fills neither Redis nor the page: the sessions not seen for longest go off the list.
#[tokio::test]
async fn a_list_in_redis_has_a_bound() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let (house, _upstream, _provider) =
        standard_with(|plan| plan.session(&format!("store = \"{url}\""))).await;
    let end = Instant::now() + Duration::from_secs(20);
    while house.browser().get("/oauth2/ready").await.status != StatusCode::OK {
        assert!(Instant::now() < end, "{}", house.process.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let listed = async || {
        let keys = redis.ask(&["KEYS", "sidegate:*:user"]).await;
        let key = keys.lines().find(|line| line.starts_with("sidegate:"));
        let answer = redis.ask(&["HLEN", key.unwrap_or_default().trim()]).await;
        let line = answer.lines().next().unwrap_or_default().to_owned();
        line.trim_start_matches(':').parse::<usize>().unwrap_or(0)
    };
    let first = house.browser();
    first.sign_in("/").await;
    let mut most = 0;
    let mut last = first.clone();
    for number in 0..115 {
        last = house.browser();
        last.sign_in("/").await;
        if number % 5 == 0 {
            most = most.max(listed().await);
        }
    }
    // Notes are written behind the answers.
    let wait = Instant::now() + Duration::from_secs(10);
    while listed().await > 100 {
        assert!(Instant::now() < wait, "room is made");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!((60..=101).contains(&most), "{most}");
    let now = listed().await;
    assert!((50..=100).contains(&now), "{now}");
    let account = account(&last).await;
    assert!(sessions(&account).len() <= 100, "{account}");
    // Off the list is not out: what it no longer names is still good.
    assert!(is_signed_in(&first).await);
    let this = sessions(&account)
        .into_iter()
        .filter(|session| session["this"] == true);
    assert_eq!(this.count(), 1, "{account}");
    let everywhere = format!("token={}&scope=everywhere", token(&last).await);
    form(&last, &everywhere).send().await;
    assert!(
        !is_signed_in(&first).await,
        "everywhere is everywhere, listed or not"
    );
}
