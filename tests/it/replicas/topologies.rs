//! Redis in its other shapes: behind TLS and a password, in a cluster, watched over by sentinels.

use std::time::Duration;

use http::StatusCode;
use tokio::time::sleep;

use super::{
    Street,
    faults::{Steady, assert_no_secret},
    ready, status, until_nobody, wait_until_ready,
};
use crate::support::{
    ports,
    process::Process,
    redis::{RedisCluster, RedisServer},
    tls,
};

const PASSWORD: &str = "canary/p@ss#word";
const ESCAPED: &str = "canary%2Fp%40ss%23word";

#[tokio::test]
async fn tls_and_a_user_with_few_rights() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cert, key) = tls::write_files(folder.path());
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let port = ports::free_address().port().to_string();
    let rule = format!(">{PASSWORD}");
    let mut redis = RedisServer::prepared(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &cert,
        "--tls-auth-clients",
        "no",
        "--requirepass",
        "of the tests",
        "--user",
        "gate",
        "on",
        &rule,
        "~sidegate:*",
        "&sidegate:*",
        "+@read",
        "+@write",
        "+@scripting",
        "+@pubsub",
        "+@connection",
        "+role",
        "+time",
    ]);
    redis.password("of the tests");
    redis.run().await;
    let street = Street::new().await;
    let lines = format!("store = \"rediss://gate:{ESCAPED}@localhost:{port}\"");
    let plan = || street.plan(&lines).environment("SSL_CERT_FILE", &cert);
    let houses = [plan().start().await, plan().start().await];
    for house in &houses {
        wait_until_ready(house).await;
    }
    let ada = street.signed_in(&houses[0], "ada-1815").await;
    let elsewhere = houses[1].browser();
    elsewhere.plant("sidegate", &ada.cookie("sidegate").expect("a session"));
    assert_eq!(status(&elsewhere).await, StatusCode::OK);
    ada.fetch(http::Method::POST, "/oauth2/sign_out")
        .send()
        .await;
    assert!(until_nobody(&elsewhere).await < Duration::from_secs(5));

    // A certificate that nobody vouches for, a password that is wrong.
    let untrusted = street.plan(&lines).start().await;
    let wrong = lines.replace(ESCAPED, "canary-of-another");
    let wrong = street
        .plan(&wrong)
        .environment("SSL_CERT_FILE", &cert)
        .start()
        .await;
    sleep(Duration::from_secs(1)).await;
    for (house, told) in [
        (untrusted, "Redis is away"),
        (wrong, "Redis refuses the gate"),
    ] {
        assert_eq!(ready(&house).await.0, 503);
        assert!(
            house.process.log().contains(told),
            "{}",
            house.process.log()
        );
        assert_no_secret(&[house]);
    }
    assert_no_secret(&houses);
}

/// A wrong password does not become right by waiting: whoever reads the log is sent to the setting, not to the server.
#[tokio::test]
async fn a_redis_that_refuses_the_gate_is_told_from_one_that_is_not_there() {
    let mut redis = RedisServer::prepared(&[
        "--requirepass",
        "of the tests",
        "--user",
        "idler",
        "on",
        ">canary-idler",
        "~*",
        "&*",
        "+ping",
        "+publish",
    ]);
    redis.password("of the tests");
    redis.run().await;
    let at = redis.address;
    let street = Street::new().await;
    for (lines, told) in [
        (format!("store = \"redis://{at}\""), "NOAUTH"),
        (
            format!("store = \"redis://:canary-wrong@{at}\""),
            "WRONGPASS",
        ),
        (
            format!("store = \"redis-cluster://:canary-wrong@{at}\""),
            "WRONGPASS",
        ),
        (
            format!("shared = \"redis://ann:canary-wrong@{at}\""),
            "WRONGPASS",
        ),
        (
            format!("store = \"redis://idler:canary-idler@{at}\""),
            "NOPERM",
        ),
    ] {
        let house = street.plan(&lines).start().await;
        let end = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            let (status, text) = ready(&house).await;
            assert_eq!(status, 503, "{lines}");
            let log = house.process.log();
            if text.contains("session.store") && log.contains(told) {
                assert!(text.contains("refuses"), "{text}");
                assert!(!text.contains("canary"), "{text}");
                let mut warnings = log.lines().filter(|line| line.contains(told));
                assert!(warnings.any(|line| line.contains("session.store")), "{log}");
                assert!(log.contains("Redis refuses"), "{log}");
                assert!(!log.contains("Redis is away"), "{log}");
                break;
            }
            assert!(std::time::Instant::now() < end, "{lines}: {text}\n{log}");
            sleep(Duration::from_millis(100)).await;
        }
        assert_no_secret(&[house]);
    }
    // Once the password is the right one, it goes on by itself.
    redis
        .ask(&["CONFIG", "SET", "requirepass", "another"])
        .await;
    redis.password("another");
    let lines = format!("store = \"redis://:of%20the%20tests@{at}\"");
    let house = street.plan(&lines).start().await;
    sleep(Duration::from_secs(1)).await;
    assert!(ready(&house).await.1.contains("session.store"));
    redis
        .ask(&["CONFIG", "SET", "requirepass", "of the tests"])
        .await;
    wait_until_ready(&house).await;
}

#[tokio::test]
async fn a_cluster() {
    let cluster = RedisCluster::start().await;
    let street = Street::new().await;
    let houses = street
        .houses(&format!("store = \"{}\"", cluster.url()), 2)
        .await;
    let mut people = Vec::new();
    for number in 0..6 {
        people.push(
            street
                .signed_in(&houses[0], &format!("user-{number}"))
                .await,
        );
    }
    for person in &people {
        assert_eq!(status(&person.moved_to(&houses[1])).await, StatusCode::OK);
    }
    let elsewhere = houses[1].browser();
    elsewhere.plant(
        "sidegate",
        &people[0].cookie("sidegate").expect("a session"),
    );
    people[0]
        .fetch(http::Method::POST, "/oauth2/sign_out")
        .send()
        .await;
    assert!(until_nobody(&elsewhere).await < Duration::from_secs(5));
    for person in &people[1..] {
        assert_eq!(status(&person.moved_to(&houses[1])).await, StatusCode::OK);
    }
}

/// A third of the sessions, and maybe the revocations, lose their server, and find them again at its replica.
#[tokio::test]
async fn a_cluster_and_a_failover() {
    let mut cluster = RedisCluster::start().await;
    let street = Street::new().await;
    let houses = street
        .houses(&format!("store = \"{}\"", cluster.url()), 2)
        .await;
    let replica = cluster.replica_of(0).await;
    let mut people = Vec::new();
    // A few more than it takes for each server to have one.
    for number in 0..10 {
        people.push(
            street
                .signed_in(&houses[0], &format!("user-{number}"))
                .await,
        );
    }
    let leaver = people.pop().expect("somebody");
    let left = houses[1].browser();
    left.plant("sidegate", &leaver.cookie("sidegate").expect("a session"));
    leaver
        .fetch(http::Method::POST, "/oauth2/sign_out")
        .send()
        .await;
    assert!(until_nobody(&left).await < Duration::from_secs(5));
    let lost = cluster.nodes[0].keys("*:session").await;
    assert!(!lost.is_empty(), "the server that dies holds sessions");
    // What it was told a moment ago is at its replica.
    sleep(Duration::from_millis(500)).await;
    assert_eq!(replica.keys("*:session").await, lost);

    let steady: Vec<_> = people.iter().map(Steady::start).collect();
    sleep(Duration::from_millis(500)).await;
    cluster.nodes[0].kill();
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while !replica.ask(&["ROLE"]).await.contains("master") {
        assert!(std::time::Instant::now() < end, "{}", replica.log());
        sleep(Duration::from_millis(100)).await;
    }
    for house in &houses {
        wait_until_ready(house).await;
        for person in &people {
            let person = person.moved_to(house);
            while status(&person).await != StatusCode::OK {
                assert!(std::time::Instant::now() < end, "{}", house.process.log());
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    // Nobody was sent to sign in meanwhile.
    for one in steady {
        let (let_in, put_off) = one.end().await;
        assert!(let_in > 0, "{let_in} in, {put_off} put off");
    }
    assert_eq!(
        status(&left).await,
        StatusCode::UNAUTHORIZED,
        "who signed out stays out"
    );
    // One that starts now knows only what it reads there. The dead server is still in its address.
    let late = street
        .plan(&format!("store = \"{}\"", cluster.url()))
        .start()
        .await;
    wait_until_ready(&late).await;
    assert_eq!(
        status(&left.moved_to(&late)).await,
        StatusCode::UNAUTHORIZED
    );
    for person in &people {
        assert_eq!(status(&person.moved_to(&late)).await, StatusCode::OK);
    }
    // What is written now is written there, and a sign-out is heard of.
    let eve = street.signed_in(&houses[1], "eve").await;
    let elsewhere = eve.moved_to(&houses[0]);
    assert_eq!(status(&elsewhere).await, StatusCode::OK);
    let copy = houses[0].browser();
    copy.plant("sidegate", &eve.cookie("sidegate").expect("a session"));
    eve.fetch(http::Method::POST, "/oauth2/sign_out")
        .send()
        .await;
    assert!(until_nobody(&copy).await < Duration::from_secs(5));
}

#[tokio::test]
async fn sentinels_and_a_failover() {
    let mut master = RedisServer::start().await;
    let port = master.address.port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]).await;
    while !replica
        .ask(&["INFO", "replication"])
        .await
        .contains("master_link_status:up")
    {
        sleep(Duration::from_millis(50)).await;
    }
    let sentinel = ports::free_address();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sentinel.conf");
    let text = format!(
        "port {}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {port} 1\n\
         sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n",
        sentinel.port(),
        folder.path().display()
    );
    std::fs::write(&file, text).expect("the configuration is written");
    let mut command = std::process::Command::new("redis-server");
    command.arg(&file).arg("--sentinel");
    let _watching = Process::start(command);

    let street = Street::new().await;
    let lines = format!("store = \"redis-sentinel://127.0.0.1:9,{sentinel}/main/0\"");
    let houses = street.houses(&lines, 2).await;
    let ada = street.signed_in(&houses[0], "ada-1815").await;
    let bob = street.signed_in(&houses[0], "bob").await;
    // Sentinels learn of replicas by and by.
    sleep(Duration::from_secs(2)).await;
    let steady = Steady::start(&ada);
    sleep(Duration::from_millis(500)).await;
    master.kill();
    sleep(Duration::from_secs(1)).await;
    for house in &houses {
        wait_until_ready(house).await;
        assert_eq!(status(&bob.moved_to(house)).await, StatusCode::OK);
    }
    let (let_in, put_off) = steady.end().await;
    assert!(let_in > put_off, "{let_in} in, {put_off} put off");
    assert!(replica.ask(&["ROLE"]).await.contains("master"));
    // What is written now is written there.
    let eve = street.signed_in(&houses[1], "eve").await;
    assert_eq!(status(&eve.moved_to(&houses[0])).await, StatusCode::OK);
}
