//! Several gates before one app share sessions, through Redis, as if they were one.

mod faults;
mod renewal;
mod secrets;
mod topologies;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{
    Browser, House, ScriptedProvider, Upstream, house::Plan, ports, redis::RedisServer,
};

/// One app, one provider, and the address that all replicas serve.
pub struct Street {
    upstream: Upstream,
    provider: ScriptedProvider,
    public: SocketAddr,
}

impl Street {
    pub async fn new() -> Self {
        Self {
            upstream: Upstream::start().await,
            provider: ScriptedProvider::start().await,
            public: ports::free_address(),
        }
    }

    /// A replica to be, with these lines in `[session]`.
    pub fn plan(&self, lines: &str) -> Plan {
        House::plan()
            .upstream(&self.upstream)
            .provider(&self.provider)
            .public_url(&format!("http://{}", self.public))
            .session(lines)
            .admin()
    }

    /// Several replicas.
    async fn houses(&self, lines: &str, count: usize) -> Vec<House> {
        let mut houses = Vec::new();
        for _ in 0..count {
            let house = self.plan(lines).start().await;
            wait_until_ready(&house).await;
            houses.push(house);
        }
        houses
    }

    /// Somebody signed in at `house`.
    async fn signed_in(&self, house: &House, subject: &str) -> Browser {
        self.provider.user("sub", json!(subject));
        let browser = house.browser();
        browser.sign_in("/").await;
        browser
    }
}

/// Whether a house is ready, and what it waits for.
async fn ready(house: &House) -> (u16, String) {
    house.ready_in_detail().await
}

pub async fn wait_until_ready(house: &House) {
    let end = Instant::now() + Duration::from_secs(20);
    while ready(house).await.0 != 200 {
        assert!(
            Instant::now() < end,
            "never ready:\n{}",
            house.process.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What `fetch` gets.
async fn status(browser: &Browser) -> StatusCode {
    browser.fetch(Method::GET, "/").send().await.status
}

/// How long it takes until `browser` is nobody.
async fn until_nobody(browser: &Browser) -> Duration {
    let begin = Instant::now();
    loop {
        match status(browser).await {
            StatusCode::UNAUTHORIZED => return begin.elapsed(),
            StatusCode::OK => {}
            other => panic!("neither in nor out: {other}"),
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "never out");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn store(redis: &RedisServer) -> String {
    format!("store = \"{}\"", redis.url())
}

fn shared(redis: &RedisServer) -> String {
    format!("store = \"cookie\"\nshared = \"{}\"", redis.url())
}

#[tokio::test]
async fn a_login_at_one_replica_is_one_at_all() {
    let redis = RedisServer::start().await;
    let street = Street::new().await;
    let houses = street.houses(&store(&redis), 3).await;
    let browser = street.signed_in(&houses[0], "ada-1815").await;
    let cookie = browser.cookie("sidegate").expect("a session");
    assert!(cookie.len() < 120, "{} characters: {cookie}", cookie.len());
    for house in &houses {
        let here = browser.moved_to(house);
        for _ in 0..3 {
            let reply = here.get("/").await;
            assert_eq!(reply.status, StatusCode::OK);
            assert_eq!(reply.seen().header("x-user-id"), Some("script:ada-1815"));
        }
    }
}

#[tokio::test]
async fn a_busy_session_costs_no_round_trip() {
    let redis = RedisServer::start().await;
    let street = Street::new().await;
    let houses = street.houses(&store(&redis), 1).await;
    let ada = street.signed_in(&houses[0], "ada-1815").await;
    redis.ask(&["CONFIG", "RESETSTAT"]).await;
    for _ in 0..300 {
        assert_eq!(status(&ada).await, StatusCode::OK);
    }
    let stats = redis.ask(&["INFO", "commandstats"]).await;
    let reads = stats.lines().find_map(|line| {
        let calls = line.strip_prefix("cmdstat_get:calls=")?;
        calls.split(',').next()?.parse::<u32>().ok()
    });
    assert!(reads.unwrap_or(0) < 10, "{stats}");
}

#[tokio::test]
async fn a_sign_out_at_one_replica_is_felt_at_all_within_five_seconds() {
    let redis = RedisServer::start().await;
    let street = Street::new().await;
    for lines in [store(&redis), shared(&redis)] {
        let houses = street.houses(&lines, 2).await;
        let ada = street.signed_in(&houses[0], "ada-1815").await;
        let bob = street.signed_in(&houses[0], "bob").await;
        // A copy of the cookie, which the sign-out does not reach.
        let elsewhere = houses[1].browser();
        elsewhere.plant("sidegate", &ada.cookie("sidegate").expect("a session"));
        for _ in 0..3 {
            assert_eq!(status(&elsewhere).await, StatusCode::OK, "{lines}");
        }
        ada.fetch(Method::POST, "/oauth2/sign_out").send().await;
        let took = until_nobody(&elsewhere).await;
        assert!(took < Duration::from_secs(5), "{lines}: {took:?}");
        assert_eq!(status(&bob.moved_to(&houses[1])).await, StatusCode::OK);
        // One that starts afterwards knows as well.
        let late = &street.houses(&lines, 1).await[0];
        assert_eq!(
            status(&elsewhere.moved_to(late)).await,
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(status(&bob.moved_to(late)).await, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_sign_out_while_redis_is_gone_is_told_when_it_is_back() {
    let mut redis = RedisServer::start().await;
    let street = Street::new().await;
    let houses = street.houses(&shared(&redis), 2).await;
    let ada = street.signed_in(&houses[0], "ada-1815").await;
    let elsewhere = houses[1].browser();
    elsewhere.plant("sidegate", &ada.cookie("sidegate").expect("a session"));
    redis.kill();
    ada.fetch(Method::POST, "/oauth2/sign_out").send().await;
    assert_eq!(status(&elsewhere).await, StatusCode::OK);
    redis.run().await;
    let took = until_nobody(&elsewhere).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// A Redis that lost what it was told (emptied, put back to an older state, failed over too soon) opens nothing that was
/// closed, for as long as one replica lives that knows.
#[tokio::test]
async fn a_sign_out_that_redis_forgets_is_told_again() {
    let redis = RedisServer::start().await;
    let street = Street::new().await;
    let stores = [store(&redis), shared(&redis)];
    // Whether a look has come between, or the loss is of what was told at the last moment.
    for (lines, is_read) in stores
        .iter()
        .flat_map(|lines| [(lines, true), (lines, false)])
    {
        redis.ask(&["FLUSHALL"]).await;
        let house = &street.houses(lines, 1).await[0];
        let ada = street.signed_in(house, "ada-1815").await;
        let copy = ada.cookie("sidegate").expect("a session");
        let mut records = Vec::new();
        for key in redis.keys("*:session").await {
            records.push((key.clone(), redis.value(&key).await));
        }
        ada.fetch(Method::POST, "/oauth2/sign_out").send().await;
        let is_told = async || !redis.keys("*:revocations").await.is_empty();
        let end = Instant::now() + Duration::from_secs(20);
        while !is_told().await {
            assert!(Instant::now() < end, "{lines}: never told");
        }
        if is_read {
            tokio::time::sleep(Duration::from_millis(2_500)).await;
        }
        redis.ask(&["FLUSHALL"]).await;
        for (key, value) in &records {
            redis.ask_bytes(&[b"SET", key.as_bytes(), value]).await;
        }
        while !is_told().await {
            assert!(Instant::now() < end, "{lines}: never told again");
        }
        let late = &street.houses(lines, 1).await[0];
        let browser = late.browser();
        browser.plant("sidegate", &copy);
        assert_eq!(status(&browser).await, StatusCode::UNAUTHORIZED, "{lines}");
    }
}

/// Two apps of one host, each with its own gate and cookie, may have one secret and one Redis: they are no replicas.
#[tokio::test]
async fn a_gate_with_another_cookie_takes_none_of_these_sessions() {
    let redis = RedisServer::start().await;
    let street = Street::new().await;
    for lines in [store(&redis), shared(&redis)] {
        let ours = &street.houses(&lines, 1).await[0];
        let others = format!("{lines}\ncookie_name = \"other\"");
        let theirs = &street.houses(&others, 1).await[0];
        let ada = street.signed_in(ours, "ada-1815").await;
        assert_eq!(status(&ada).await, StatusCode::OK);
        let there = theirs.browser();
        there.plant("other", &ada.cookie("sidegate").expect("a session"));
        assert_eq!(status(&there).await, StatusCode::UNAUTHORIZED, "{lines}");
    }
}

#[tokio::test]
async fn a_dump_of_the_store_tells_nothing() {
    let redis = RedisServer::start().await;
    let street = Street::new().await;
    let houses = street.houses(&store(&redis), 1).await;
    let ada = street.signed_in(&houses[0], "ada-1815").await;
    let bob = street.signed_in(&houses[0], "bob-1832").await;
    bob.fetch(Method::POST, "/oauth2/sign_out").send().await;
    assert_eq!(status(&ada).await, StatusCode::OK);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(redis.keys("*:session").await.len(), 1);
    assert_eq!(redis.keys("*:revocations").await.len(), 1);
    let mut bytes = Vec::new();
    // Everything that was ever written, the deleted included.
    let folders = [
        redis.folder().to_owned(),
        redis.folder().join("appendonlydir"),
    ];
    for entry in folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).expect("a folder"))
    {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            bytes.extend(std::fs::read(path).expect("a file"));
        }
    }
    let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    assert!(text.contains(":session"), "{text}");
    // Long words alone: three letters stand in random bytes now and then.
    for told in [
        "ada-1815",
        "bob-1832",
        "lovelace",
        "example.com",
        "engineers",
        "canary",
        "eyjhbgci",
        "eyj0exai",
        "script",
    ] {
        assert!(!text.contains(told), "{told}");
    }
}

#[tokio::test]
async fn a_record_in_another_sessions_place_does_not_open() {
    let redis = RedisServer::start().await;
    let street = Street::new().await;
    let houses = street.houses(&store(&redis), 1).await;
    let ada = street.signed_in(&houses[0], "ada-1815").await;
    let [adas] = &redis.keys("*:session").await[..] else {
        panic!("not one session");
    };
    let bob = street.signed_in(&houses[0], "bob").await;
    let keys = redis.keys("*:session").await;
    let bobs = keys.iter().find(|key| *key != adas).expect("two sessions");
    let (record, own) = (redis.value(adas).await, redis.value(bobs).await);
    redis.ask_bytes(&[b"SET", bobs.as_bytes(), &record]).await;
    // Without a copy of what was there.
    let fresh = &street.houses(&store(&redis), 1).await[0];
    assert_eq!(status(&bob.moved_to(fresh)).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&ada.moved_to(fresh)).await, StatusCode::OK);
    let mut damaged = own.clone();
    *damaged.last_mut().expect("a record") ^= 1;
    for (value, expected) in [(&damaged, StatusCode::UNAUTHORIZED), (&own, StatusCode::OK)] {
        redis.ask_bytes(&[b"SET", bobs.as_bytes(), value]).await;
        let fresh = &street.houses(&store(&redis), 1).await[0];
        assert_eq!(status(&bob.moved_to(fresh)).await, expected);
    }
}

#[tokio::test]
async fn idle_sessions_end_and_used_ones_do_not() {
    let redis = RedisServer::start().await;
    let street = Street::new().await;
    let lines = format!("{}\nidle_timeout = \"3s\"", store(&redis));
    let houses = street.houses(&lines, 2).await;
    let idler = street.signed_in(&houses[0], "bob").await;
    let ada = street.signed_in(&houses[0], "ada-1815").await;
    // Used at one replica only; the other has a copy from the beginning.
    assert_eq!(status(&ada.moved_to(&houses[1])).await, StatusCode::OK);
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(status(&ada).await, StatusCode::OK);
    }
    assert_eq!(status(&ada.moved_to(&houses[1])).await, StatusCode::OK);
    assert_eq!(status(&idler).await, StatusCode::UNAUTHORIZED);
    tokio::time::sleep(Duration::from_millis(4_100)).await;
    assert_eq!(status(&ada).await, StatusCode::UNAUTHORIZED);
    assert!(redis.keys("*:session").await.is_empty());
}

/// When Redis says that the only session was used last, in seconds.
async fn last_use(redis: &RedisServer) -> u64 {
    let keys = redis.keys("*:session").await;
    let record = redis.value(&keys[0]).await;
    u64::from_be_bytes(record[17..25].try_into().expect("eight bytes"))
}

#[tokio::test]
async fn redis_learns_of_a_use_after_a_pause_at_once_and_of_the_last_one_for_sure() {
    let redis = RedisServer::start().await;
    let street = Street::new().await;
    let mut houses = street.houses(&store(&redis), 1).await;
    let ada = street.signed_in(&houses[0], "ada-1815").await;
    let begun = last_use(&redis).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(status(&ada).await, StatusCode::OK);
    let end = Instant::now() + Duration::from_secs(5);
    while last_use(&redis).await == begun {
        assert!(Instant::now() < end, "never told");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told = last_use(&redis).await;
    // Busy now: it is told in a while, and before the replica ends.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(status(&ada).await, StatusCode::OK);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(last_use(&redis).await, told);
    houses[0].process.terminate();
    houses[0].process.ended(Duration::from_secs(10)).await;
    assert!(last_use(&redis).await > told);
}
