//! Replicas that share a Redis and not their secrets say so.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{Street, shared, store, wait_until_ready};
use crate::support::{House, redis::RedisServer};

const ONE: &str = "YSBzZWNyZXQgb2Ygb25lIHJlcGxpY2EgYW5kIG5vIG90aGVy";
const TWO: &str = "YSBzZWNyZXQgb2YgdGhlIG90aGVyIHJlcGxpY2EsIGFsYXMh";
const SAID: &str = "a secret that this one does not have";

async fn house(street: &Street, lines: &str, secret: &str) -> House {
    let house = street.plan(lines).secret(secret).start().await;
    wait_until_ready(&house).await;
    house
}

async fn says(house: &House) -> bool {
    super::ready(house).await.1.contains(SAID)
}

async fn differ(lines: String) {
    let street = Street::new().await;
    let old = house(&street, &lines, &format!("\"{ONE}\"")).await;
    let both = house(&street, &lines, &format!("[\"{ONE}\", \"{TWO}\"]")).await;
    sleep(Duration::from_secs(5)).await;
    for house in [&old, &both] {
        assert!(
            !says(house).await,
            "{lines}: what is sealed opens everywhere"
        );
    }
    let other = house(&street, &lines, &format!("\"{TWO}\"")).await;
    let begin = Instant::now();
    // Who has both opens what either seals.
    while !(says(&old).await && says(&other).await) {
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(15), "{lines}: never said");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(!says(&both).await, "{lines}");
    for house in [&old, &other] {
        let log = house.process.log();
        assert_eq!(log.matches(SAID).count(), 1, "{lines}: {log}");
        assert!(!log.contains(ONE) && !log.contains(TWO), "{log}");
    }
    drop(other);
    while says(&old).await {
        let took = begin.elapsed();
        assert!(took < Duration::from_mins(1), "{lines}: for ever");
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn replicas_of_different_secrets_say_so() {
    let redis = RedisServer::start().await;
    tokio::join!(differ(store(&redis)), differ(shared(&redis)));
}
