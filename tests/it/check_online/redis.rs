//! What `check --online` finds out about Redis.

use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::time::sleep;

use super::{check, scripted};
use crate::support::{
    House, ScriptedProvider, ports,
    redis::{RedisCluster, RedisServer},
};

/// Checks a configuration whose `key` is `address`; the line on it is `start`, in which HERE is host and port, with a
/// hint that has `hint`.
async fn redis_line(key: &str, address: &str, start: &str, hint: &str) {
    let corp = ScriptedProvider::start().await;
    let address = address.replace("CORP", &corp.server.address.to_string());
    let here = address
        .rsplit(['/', '@'])
        .next()
        .expect("behind the scheme");
    let start = start.replace("HERE", here);
    let name = key.trim_start_matches("session.");
    let tables = format!("[session]\n{name} = \"{address}\"\n{}", scripted(&corp));
    let said = check(&tables, true).await;
    let line = said.line(key);
    assert!(
        line.starts_with(&start) && line.contains(hint),
        "{address}: {line}"
    );
    let status = i32::from(start.starts_with("failed"));
    assert_eq!(said.status, Some(status), "{address}: {}", said.text);
    assert!(said.of("corp")[0].starts_with("ok: "), "{}", said.text);
    let all = format!("{}{}", said.text, said.complaints);
    assert!(!all.contains("canary"), "{all}");

    let offline = check(&tables, false).await;
    assert_eq!(offline.status, Some(0), "{}", offline.complaints);
}

const ANSWERS: &str = "ok: Redis answers, after ";
const WRONG: &str = "failed: HERE: Redis does not take the user or password (WRONGPASS); ";

#[tokio::test]
async fn redis_is_signed_in_to_where_sessions_need_it() {
    let mut redis = RedisServer::prepared(&["--requirepass", "canary-right"]);
    redis.password("canary-right");
    redis.run().await;
    let at = redis.address;
    let (right, wrong) = (
        format!("redis://:canary-right@{at}"),
        format!("redis://:canary-wrong@{at}"),
    );
    redis_line("session.store", &right, ANSWERS, "").await;
    redis_line("session.shared", &right, ANSWERS, "").await;
    redis_line("session.store", &wrong, WRONG, "%40").await;
    redis_line("session.shared", &wrong, WRONG, "%40").await;
    let nobody = format!("redis://ann:canary-right@{at}");
    redis_line("session.store", &nobody, WRONG, "%40").await;
    let without = format!("redis://{at}");
    let wants = "failed: HERE: Redis wants a password (NOAUTH); ";
    redis_line("session.store", &without, wants, "redis://:PASSWORD@HOST").await;
    let over_tls = format!("rediss://:canary-right@{at}");
    redis_line(
        "session.store",
        &over_tls,
        "failed: ",
        "redis:// is without",
    )
    .await;
}

#[tokio::test]
async fn a_redis_that_lets_in_and_takes_nothing_is_told() {
    let redis = RedisServer::start().await;
    let (at, not_permitted) = (
        redis.address,
        "failed: HERE: the user may not do in Redis what is needed (NOPERM); ",
    );
    let enough = "~sidegate:* &sidegate:* +@read +@write +@scripting +@pubsub +@connection +role +time +info";
    for (name, rules) in [
        ("whole", enough.to_owned()),
        ("mute", format!("{enough} -@pubsub")),
        ("still", format!("{enough} -@write")),
        ("timeless", format!("{enough} -time")),
        ("elsewhere", enough.replace("~sidegate:", "~other:")),
    ] {
        let mut command = vec!["ACL", "SETUSER", name, "on", ">canary-right", "-@all"];
        command.extend(rules.split(' '));
        let done = redis.ask(&command).await;
        assert!(done.starts_with("+OK"), "{rules}: {done}");
        let address = format!("redis://{name}:canary-right@{at}");
        if name == "whole" {
            redis_line("session.store", &address, ANSWERS, "").await;
        } else {
            redis_line("session.store", &address, not_permitted, "+@write").await;
        }
    }
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let full = "failed: HERE: Redis says OOM; ";
    redis_line("session.shared", &redis.url(), full, "maxmemory").await;
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let corp = ScriptedProvider::start().await;
    let tables = format!(
        "[session]\nstore = \"{}/99\"\n{}",
        redis.url(),
        scripted(&corp)
    );
    let said = check(&tables, true).await;
    let line = said.line("session.store");
    assert!(line.contains("database of the number"), "{line}");
    assert_eq!(redis.keys("*").await, Vec::<String>::new());
}

/// What Redis loses is told where it can be asked, and where it cannot, that is.
#[tokio::test]
async fn a_redis_that_would_lose_sessions_in_a_crash_is_told() {
    let redis = RedisServer::start().await;
    let corp = ScriptedProvider::start().await;
    let rules = "ACL SETUSER mute on >canary-right ~* &* +@all -info";
    let command: Vec<&str> = rules.split(' ').collect();
    assert!(redis.ask(&command).await.starts_with("+OK"));
    redis.ask(&["CONFIG", "SET", "appendonly", "no"]).await;
    let mute = format!("redis://mute:canary-right@{}", redis.address);
    for (address, told) in [
        (redis.url(), "warning: a crash of Redis loses"),
        (mute, "warning: whether Redis throws sessions away"),
    ] {
        let tables = format!("[session]\nstore = \"{address}\"\n{}", scripted(&corp));
        let said = check(&tables, true).await;
        let lines = said.of("session.store");
        assert!(lines[0].starts_with(ANSWERS), "{}", said.text);
        assert!(lines[1].starts_with(told), "{}", said.text);
        assert_eq!((lines.len(), said.status), (2, Some(0)), "{}", said.text);
    }
}

/// Found when Redis is full, it is too late: people are logged out, and a sign-out is forgotten.
#[tokio::test]
async fn a_redis_that_throws_sessions_away_is_told() {
    let redis = RedisServer::start().await;
    let corp = ScriptedProvider::start().await;
    let store = format!("store = \"{}\"", redis.url());
    let tables = format!("[session]\n{store}\n{}", scripted(&corp));
    let set = async |key, value| redis.ask(&["CONFIG", "SET", key, value]).await;
    set("maxmemory-policy", "allkeys-lru").await;
    for (maxmemory, is_told) in [("0", false), ("100mb", true)] {
        set("maxmemory", maxmemory).await;
        let said = check(&tables, true).await;
        assert_eq!(said.status, Some(0), "{}", said.text);
        let lines = said.of("session.store");
        assert!(lines[0].starts_with(ANSWERS), "{}", said.text);
        let is_warned = lines[1..].iter().any(|line| {
            line.starts_with("warning: when Redis is full") && line.contains("noeviction")
        });
        assert_eq!(is_warned, is_told, "{}", said.text);
        let house = House::plan().provider(&corp).session(&store).start().await;
        let end = Instant::now() + Duration::from_secs(20);
        while house.browser().get("/oauth2/ready").await.status != StatusCode::OK {
            assert!(Instant::now() < end, "{}", house.process.log());
            sleep(Duration::from_millis(20)).await;
        }
        let is_logged = || house.process.log().contains("allkeys-lru");
        while is_told && !is_logged() {
            assert!(Instant::now() < end, "{}", house.process.log());
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(is_logged(), is_told);
    }
}

#[tokio::test]
async fn where_no_redis_is_the_line_says_what_to_look_at() {
    let nobody = format!("redis://{}", ports::free_address());
    let refused = "failed: HERE: connection refused; ";
    redis_line("session.store", &nobody, refused, "whether it runs").await;
    let unknown = "redis://nobody.invalid";
    let start = "failed: nobody.invalid:6379: the host's name does not resolve; ";
    redis_line("session.store", unknown, start, "is right").await;
    let other = "failed: HERE: what answers is no Redis; ";
    redis_line("session.store", "redis://CORP", other, "something else").await;
}

#[tokio::test]
async fn a_redis_that_is_silent_takes_no_writes_or_is_a_cluster_is_told_apart() {
    let corp = ScriptedProvider::start().await;
    let with = |address: &str| format!("[session]\nstore = \"{address}\"\n{}", scripted(&corp));

    // Connections wait in its backlog.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("it is bound");
    let said = check(&with(&format!("redis://{address}")), true).await;
    let line = said.line("session.store");
    let start = format!("failed: {address}: no answer in time; ");
    assert!(line.starts_with(&start), "{line}");

    let master = RedisServer::start().await;
    let port = master.address.port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]).await;
    let said = check(&with(&replica.url()), true).await;
    let line = said.line("session.store");
    assert!(
        line.starts_with("failed: ") && line.contains("a replica"),
        "{line}"
    );

    let cluster = RedisCluster::start().await;
    let said = check(&with(&cluster.url()), true).await;
    let line = said.line("session.store");
    assert!(line.starts_with("ok: Redis answers, after "), "{line}");

    // A server that is no sentinel cannot say who the master is.
    let address = format!("redis-sentinel://{}/main", master.address);
    let said = check(&with(&address), true).await;
    let line = said.line("session.store");
    let start = format!("failed: {}: sentinel: ", master.address);
    assert!(line.starts_with(&start), "{line}");
    assert_eq!(said.status, Some(1), "{}", said.text);

    // Each by the other's scheme.
    let address = cluster.url().replace("redis-cluster://", "redis://");
    let address = address.split(',').next().expect("a node");
    let said = check(&with(address), true).await;
    let line = said.line("session.store");
    let is_told = line.starts_with("failed: ") && line.contains("write redis-cluster://");
    assert!(is_told, "{line}");
    assert_eq!(said.status, Some(1), "{}", said.text);
    let address = format!("redis-cluster://{}", master.address);
    let said = check(&with(&address), true).await;
    let line = said.line("session.store");
    let start = format!(
        "failed: {}: this Redis is no cluster; write redis://",
        master.address
    );
    assert!(line.starts_with(&start), "{line}");
    assert_eq!(said.status, Some(1), "{}", said.text);
}
