//! Redis is not there, dies, comes back: nobody is logged out by it, and nobody let in.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Method, StatusCode, header::RETRY_AFTER};
use tokio::{task::JoinHandle, time::sleep};

use super::{Street, ready, shared, status, store, wait_until_ready};
use crate::support::{Browser, House, Reply, redis::RedisServer};

/// Somebody who asks again and again.
pub(super) struct Steady {
    is_over: Arc<AtomicBool>,
    asking: JoinHandle<(usize, usize)>,
}

impl Steady {
    /// Asks every 20 ms, as a page and as a script, and accepts the app's answer or "come back", nothing else.
    pub(super) fn start(browser: &Browser) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let (browser, over) = (browser.clone(), Arc::clone(&is_over));
        let asking = tokio::spawn(async move {
            let (mut let_in, mut put_off) = (0, 0);
            while !over.load(Ordering::Relaxed) {
                for reply in [
                    browser.get("/").await,
                    browser.fetch(Method::GET, "/").send().await,
                ] {
                    match reply.status {
                        StatusCode::OK => let_in += 1,
                        StatusCode::SERVICE_UNAVAILABLE => {
                            assert!(!reply.header(RETRY_AFTER.as_str()).is_empty());
                            assert!(reply.set_cookies().is_empty());
                            put_off += 1;
                        }
                        other => panic!("{other}: {}", reply.text()),
                    }
                }
                sleep(Duration::from_millis(20)).await;
            }
            (let_in, put_off)
        });
        Self { is_over, asking }
    }

    /// How often the app answered, and how often it was to come back.
    pub(super) async fn end(self) -> (usize, usize) {
        self.is_over.store(true, Ordering::Relaxed);
        self.asking.await.expect("only good answers")
    }
}

#[tokio::test]
async fn a_gate_starts_without_redis_and_recovers() {
    let redis = RedisServer::start().await;
    let street = Street::new().await;
    let home = street.houses(&store(&redis), 1).await;
    let sealed = street.plan("store = \"cookie\"").start().await;
    for (lines, at) in [
        (store as fn(&RedisServer) -> String, &home[0]),
        (shared, &sealed),
    ] {
        let ada = street.signed_in(at, "ada-1815").await;
        let mut absent = RedisServer::prepared(&[]);
        let house = street.plan(&lines(&absent)).start().await;
        let (readiness, text) = ready(&house).await;
        assert_eq!(readiness, 503);
        assert!(text.contains("session store"), "{text}");
        // Who has a session is not sent to sign in, and not let in either.
        let here = ada.moved_to(&house);
        let reply = here.get("/").await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!reply.header(RETRY_AFTER.as_str()).is_empty());
        assert_eq!(house.browser().get("/").await.status, StatusCode::FOUND);
        absent.run().await;
        wait_until_ready(&house).await;
        let bob = street.signed_in(&house, "bob").await;
        assert_eq!(status(&bob).await, StatusCode::OK);
    }
}

/// A login that cannot be kept is not begun, so that nobody goes to the provider for nothing; one that was under way
/// when Redis went is not lost.
#[tokio::test]
async fn who_cannot_be_kept_signed_in_is_told_before_the_provider_asks() {
    let mut redis = RedisServer::start().await;
    let street = Street::new().await;
    let house = &street.houses(&store(&redis), 1).await[0];
    let under_way = house.browser();
    let callback = under_way.up_to_callback("/deep?x=1").await;
    redis.kill();
    let told = |reply: &Reply| {
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!reply.header(RETRY_AFTER.as_str()).is_empty());
        let text = reply.text();
        assert!(text.contains("Signing in is not possible"), "{text}");
        assert!(text.contains(r#"href="">Try again"#), "{text}");
    };
    told(&under_way.get(callback.as_str()).await);
    let end = Instant::now() + Duration::from_secs(10);
    let late = house.browser();
    let mut reply = late.follow("/").await;
    while reply.status != StatusCode::SERVICE_UNAVAILABLE || reply.url.path() != "/oauth2/sign_in" {
        assert!(Instant::now() < end, "{}: {}", reply.url, reply.text());
        sleep(Duration::from_millis(200)).await;
        reply = late.follow("/").await;
    }
    told(&reply);
    let asked = street.provider.calls("/authorize").len();
    assert_eq!(
        late.follow("/").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(street.provider.calls("/authorize").len(), asked);
    redis.run().await;
    wait_until_ready(house).await;
    // The page's link leads to where it stands.
    let redeemed = street.provider.token_requests();
    let reply = under_way.get(callback.as_str()).await;
    assert_eq!(reply.location().path(), "/deep", "{}", reply.text());
    assert_eq!(status(&under_way).await, StatusCode::OK);
    assert_eq!(street.provider.token_requests(), redeemed);
    late.sign_in("/").await;
    assert_eq!(status(&late).await, StatusCode::OK);
}

#[tokio::test]
async fn redis_killed_and_restarted_logs_nobody_out() {
    let mut redis = RedisServer::start().await;
    let street = Street::new().await;
    let houses = street.houses(&store(&redis), 2).await;
    let mut people = Vec::new();
    for number in 0..8 {
        people.push(
            street
                .signed_in(&houses[0], &format!("user-{number}"))
                .await,
        );
    }
    let (busy, quiet) = people.split_at(4);
    let steady: Vec<_> = busy.iter().map(Steady::start).collect();
    let mut seen = Vec::new();
    sleep(Duration::from_millis(1_500)).await;
    for outage in [800, 2_500] {
        redis.kill();
        sleep(Duration::from_millis(300)).await;
        // Whom this replica has not seen cannot be let in now, and is not sent away.
        let reply = quiet[0].moved_to(&houses[1]).get("/").await;
        seen.push(reply.status);
        sleep(Duration::from_millis(outage)).await;
        redis.run().await;
        sleep(Duration::from_secs(2)).await;
        for person in &people {
            for house in &houses {
                assert_eq!(status(&person.moved_to(house)).await, StatusCode::OK);
            }
        }
    }
    assert_eq!(seen[0], StatusCode::SERVICE_UNAVAILABLE);
    for steady in steady {
        let (let_in, put_off) = steady.end().await;
        // A busy session's copy vouches: hardly anybody is put off.
        assert!(
            let_in > 100 && put_off <= let_in / 50,
            "{let_in} in, {put_off} put off"
        );
    }
    assert_no_secret(&houses);
}

#[tokio::test]
async fn a_redis_that_hangs_holds_nobody_up_for_long() {
    let redis = RedisServer::start_with(&["--enable-debug-command", "yes"]).await;
    let street = Street::new().await;
    let houses = street.houses(&store(&redis), 2).await;
    let ada = street.signed_in(&houses[0], "ada-1815").await;
    let stranger = ada.moved_to(&houses[1]);
    let sleeping = redis.ask(&["DEBUG", "SLEEP", "4"]);
    let asking = async {
        sleep(Duration::from_millis(100)).await;
        let begin = Instant::now();
        assert_eq!(status(&ada).await, StatusCode::OK);
        assert_eq!(status(&stranger).await, StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            begin.elapsed() < Duration::from_secs(3),
            "{:?}",
            begin.elapsed()
        );
    };
    let (answer, ()) = tokio::join!(sleeping, asking);
    assert!(answer.contains("+OK"), "{answer}");
    wait_until_ready(&houses[1]).await;
    assert_eq!(status(&stranger).await, StatusCode::OK);
}

/// What is lost when Redis loses everything is lost, and nobody is let in for it.
#[tokio::test]
async fn a_redis_that_forgets_ends_sessions_and_opens_nothing() {
    let redis = RedisServer::start().await;
    let street = Street::new().await;
    let houses = street.houses(&store(&redis), 1).await;
    let ada = street.signed_in(&houses[0], "ada-1815").await;
    assert_eq!(status(&ada).await, StatusCode::OK);
    redis.ask(&["FLUSHALL"]).await;
    let took = super::until_nobody(&ada).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    ada.sign_in("/").await;
    assert_eq!(status(&ada).await, StatusCode::OK);
}

/// A copy of a cookie that was signed out is nobody's at once, and Redis is not asked for it.
#[tokio::test]
async fn who_signed_out_is_nobody_even_without_redis() {
    let mut redis = RedisServer::start().await;
    let street = Street::new().await;
    let house = &street.houses(&store(&redis), 1).await[0];
    let ada = street.signed_in(house, "ada-1815").await;
    let copy = house.browser();
    copy.plant("sidegate", &ada.cookie("sidegate").expect("a session"));
    ada.fetch(Method::POST, "/oauth2/sign_out").send().await;
    redis.kill();
    assert_eq!(status(&copy).await, StatusCode::UNAUTHORIZED);
}

/// Also where the replica that was asked could not read whose session it was: the tokens are taken back in the end.
#[tokio::test]
async fn a_sign_out_while_redis_is_gone_has_the_tokens_taken_back_later() {
    let mut redis = RedisServer::start().await;
    let street = Street::new().await;
    street
        .provider
        .set(|behaviour| behaviour.revocation = Some(vec![200]));
    let houses = street.houses(&store(&redis), 2).await;
    let ada = street.signed_in(&houses[0], "ada-1815").await;
    redis.kill();
    let elsewhere = ada.moved_to(&houses[1]);
    let reply = elsewhere.fetch(Method::POST, "/oauth2/sign_out").send();
    assert_eq!(reply.await.status, StatusCode::OK);
    redis.run().await;
    let end = Instant::now() + Duration::from_secs(20);
    while street.provider.calls("/revoke").is_empty() || !redis.keys("*:session").await.is_empty() {
        assert!(Instant::now() < end, "never");
        sleep(Duration::from_millis(50)).await;
    }
    let calls = street.provider.calls("/revoke");
    assert!(calls[0].fields["token"].starts_with("canary-refresh-token"));
    assert_no_secret(&houses);
}

pub(super) fn assert_no_secret(houses: &[House]) {
    for house in houses {
        let log = house.process.log();
        assert!(
            !log.contains("canary") && !log.contains("panicked"),
            "{log}"
        );
    }
}
