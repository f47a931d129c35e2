//! What replicas remember of revocations has a bound, and costs no more where there is much of it.

use std::time::Duration;

use sidegate::{
    clock::{self, Timestamp},
    identity::Identity,
    redis::address::Topology,
    session::{
        Lifetimes, Session,
        revocation::{Capacity, Revocation, Revocations, Target},
    },
};
use tokio::time::sleep;

use super::{LIFETIMES, at, id, replica, replica_of, replica_with, wait_until};
use crate::support::redis::RedisServer;

/// A session of `subject` that began so many seconds ago and rests on the provider's session `sid`.
fn session(subject: &str, sid: &str, ago: u64) -> Session {
    let began = Timestamp(clock::now().0 - ago);
    Session {
        provider_session: Some(sid.into()),
        ..Session::begin(id(), id(), began, Identity::of("corp", subject))
    }
}

fn now_of(target: Target) -> Revocation {
    Revocation {
        target,
        not_before: clock::now(),
    }
}

fn frame(sid: &str) -> Revocation {
    now_of(Target::provider_session("corp", sid))
}

fn small() -> Revocations {
    let capacity = Capacity {
        grants: 100_000,
        authenticated: 1_000,
        unauthenticated: 500,
    };
    Revocations::bounded(LIFETIMES.lifetime, capacity)
}

/// How many members each of the two sets has.
async fn counts(server: &RedisServer) -> [usize; 2] {
    let mut counts = [0; 2];
    for (count, pattern) in counts
        .iter_mut()
        .zip(["*:revocations", "*:revocations:unauthenticated"])
    {
        for key in server.keys(pattern).await {
            let answer = server.ask(&["ZCARD", &key]).await;
            let number = answer
                .lines()
                .next()
                .and_then(|line| line.strip_prefix(':'));
            *count += number.and_then(|number| number.parse().ok()).unwrap_or(0);
        }
    }
    counts
}

/// Strangers can make up logouts in frames without number: they are refused beyond a bound, and what else is
/// remembered stays.
#[tokio::test]
async fn a_flood_of_logouts_drives_no_sign_out_from_redis() {
    let server = RedisServer::start().await;
    let address = at(&[&server], Topology::Single);
    let (_store, revocations) = replica_with(&address, small()).await;
    let (_other, elsewhere) = replica_with(&address, small()).await;
    let (ada, bob, eve) = (
        session("ada", "s-1", 60),
        session("bob", "s-2", 60),
        session("eve", "s-3", 60),
    );
    revocations.revoke(now_of(Target::Session(ada.id)));
    assert_eq!(revocations.revoke_unsigned(frame("s-2")), Ok(()));
    let mut accepted = 0;
    for number in 0..5_000 {
        accepted += usize::from(
            revocations
                .revoke_unsigned(frame(&format!("x-{number}")))
                .is_ok(),
        );
        if number % 100 == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!(accepted, 499);
    let refused = || revocations.revoke_unsigned(frame("one more")).is_err();
    wait_until("the bound is reached", refused).await;
    wait_until("the other one refuses as well", || {
        elsewhere.revoke_unsigned(frame("one more")).is_err()
    })
    .await;
    let [authenticated, unauthenticated] = counts(&server).await;
    assert_eq!(authenticated, 1);
    assert!((500..=551).contains(&unauthenticated), "{unauthenticated}");
    // Among a flood, a user's sign-out is told at once all the same.
    revocations.revoke(now_of(Target::user("corp", "eve")));
    wait_until("it is told", || elsewhere.has_revoked(&eve)).await;
    let (_late, late) = replica_with(&address, small()).await;
    let carol = session("carol", "s-4", 60);
    for known in [&revocations, &elsewhere, &late] {
        assert!(known.has_revoked(&ada) && known.has_revoked(&bob) && known.has_revoked(&eve));
        assert!(!known.has_revoked(&carol), "nobody else's session ends");
    }
}

/// More sign-outs than are remembered: whoever signed out stays out, and it is the oldest sessions that pay for it.
#[tokio::test]
async fn beyond_the_bound_of_redis_whoever_signed_out_stays_out() {
    let server = RedisServer::start().await;
    let address = at(&[&server], Topology::Single);
    let (_store, revocations) = replica_with(&address, small()).await;
    let begin = clock::now().0 - 2_000;
    // One each second, of a session that began ten minutes before.
    let signed_out = |number: u64| Session {
        created_at: Timestamp(begin + number - 600),
        id: [number.to_be_bytes(), [7; 8]]
            .concat()
            .try_into()
            .expect("16"),
        ..session("ada", "s-1", 0)
    };
    for number in 0..1_500 {
        revocations.revoke(Revocation {
            target: Target::Session(signed_out(number).id),
            not_before: Timestamp(begin + number),
        });
    }
    let last = signed_out(1_499);
    let (_other, elsewhere) = replica_with(&address, Revocations::new(LIFETIMES.lifetime)).await;
    wait_until("all are told", || elsewhere.has_revoked(&last)).await;
    assert!(counts(&server).await[0] <= 1_001);
    // It has read nothing of what was let go of.
    let (_late, late) = replica_with(&address, Revocations::new(LIFETIMES.lifetime)).await;
    for known in [&revocations, &late] {
        for number in 0..1_500 {
            assert!(known.has_revoked(&signed_out(number)), "{number}");
        }
        assert!(
            known.has_revoked(&session("bob", "s-2", 2_001)),
            "of before"
        );
        assert!(
            !known.has_revoked(&session("bob", "s-2", 1_400)),
            "of after"
        );
    }
}

/// Has what is in a set there for ten minutes more than it is.
async fn age(server: &RedisServer, pattern: &str) {
    let [key] = &server.keys(pattern).await[..] else {
        panic!("one set");
    };
    let script = "for _, one in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do \
                  redis.call('ZINCRBY', KEYS[1], -600000, one) end";
    server.ask(&["EVAL", script, "1", key]).await;
}

/// What a replica whose sessions are short lets go of would be needed by one whose sessions are long, there at the same time
/// or later: it takes those sessions with it.
#[tokio::test]
async fn what_counts_no_more_for_a_shorter_lifetime_stays_revoked_for_a_longer_one() {
    let server = RedisServer::start().await;
    let address = at(&[&server], Topology::Single);
    let ago = |target, ago| Revocation {
        target,
        not_before: Timestamp(clock::now().0 - ago),
    };
    let (ada, bob) = (session("ada", "s-1", 900), session("bob", "s-2", 900));
    let (carol, dave) = (session("carol", "s-3", 900), session("dave", "s-4", 300));
    let (long, revocations) = replica(&address).await;
    revocations.revoke(ago(Target::Session(ada.id), 600));
    revocations.revoke(ago(Target::user("corp", "bob"), 600));
    let carols = ago(Target::provider_session("corp", "s-3"), 500);
    assert_eq!(revocations.revoke_unsigned(carols), Ok(()));
    for _ in 0..500 {
        if counts(&server).await == [2, 1] {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(counts(&server).await, [2, 1]);
    drop((long, revocations));
    for set in ["*:revocations", "*:revocations:unauthenticated"] {
        age(&server, set).await;
    }

    let short = Lifetimes {
        lifetime: Duration::from_mins(2),
        idle_timeout: Duration::from_mins(2),
    };
    let eve = session("eve", "s-5", 60);
    let revocations = Revocations::new(short.lifetime);
    let (_short, revocations) = replica_of(&address, short, revocations).await;
    revocations.revoke(now_of(Target::Session(eve.id)));
    assert_eq!(revocations.revoke_unsigned(frame("s-6")), Ok(()));
    let (_other, elsewhere) = replica(&address).await;
    wait_until("it is told", || elsewhere.has_revoked(&eve)).await;
    wait_until("they are told", || elsewhere.has_revoked(&carol)).await;
    // Those that were let go of, and one in their place.
    assert_eq!(counts(&server).await, [2, 2]);

    let (_late, late) = replica(&address).await;
    for known in [&elsewhere, &late] {
        assert!(known.has_revoked(&ada) && known.has_revoked(&bob) && known.has_revoked(&carol));
        assert!(!known.has_revoked(&dave), "who began after that stays");
    }
    // Where nobody signs out for long, too.
    for set in ["*:revocations", "*:revocations:unauthenticated"] {
        let [key] = &server.keys(set).await[..] else {
            panic!("one set");
        };
        let left = server.ask(&["PTTL", key]).await;
        let left = left.lines().next().and_then(|line| line.strip_prefix(':'));
        let left = left.and_then(|left| left.parse().ok());
        let left = Duration::from_millis(left.expect("a number"));
        assert!(left > Duration::from_hours(399 * 24), "{set}: {left:?}");
    }
}

/// What counts no more takes nobody's room: what is admitted by what counts is told.
#[tokio::test]
async fn aged_logouts_take_no_room() {
    let server = RedisServer::start().await;
    let address = at(&[&server], Topology::Single);
    let (_store, revocations) = replica_with(&address, small()).await;
    let (_other, elsewhere) = replica(&address).await;
    assert_eq!(revocations.revoke_unsigned(frame("s-1")), Ok(()));
    let carol = session("carol", "s-1", 60);
    wait_until("it is told", || elsewhere.has_revoked(&carol)).await;
    // Beside it there is no more room, and the others have just aged.
    let lifetime = LIFETIMES.lifetime.as_secs();
    let aged = clock::now().0 - lifetime - lifetime / 32;
    let script = "for one = 1, 549 do \
                  local member = 'p' .. string.rep('x', 8) .. struct.pack('>I8I8', one, ARGV[1]) \
                  redis.call('ZADD', KEYS[1], string.format('%.0f', ARGV[1] * 1000), member) end";
    let [key] = &server.keys("*:revocations:unauthenticated").await[..] else {
        panic!("one set");
    };
    let aged = aged.to_string();
    server.ask(&["EVAL", script, "1", key, &aged]).await;
    assert_eq!(counts(&server).await, [0, 550]);

    assert_eq!(revocations.revoke_unsigned(frame("s-2")), Ok(()));
    let dave = session("dave", "s-2", 60);
    wait_until("it is told, too", || elsewhere.has_revoked(&dave)).await;
    // The oldest, and one in their place.
    assert_eq!(counts(&server).await, [0, 550 - 6 + 1 + 1]);
    let eve = session("eve", "s-3", 60);
    assert!(!elsewhere.has_revoked(&eve), "nobody else's session ends");
}

/// Bytes that the server has sent.
async fn sent(server: &RedisServer) -> u64 {
    let stats = server.ask(&["INFO", "stats"]).await;
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("total_net_output_bytes:"));
    line.and_then(|bytes| bytes.trim().parse().ok())
        .expect("a number")
}

/// Looking for what is new costs no more where much is old.
#[tokio::test]
async fn a_look_for_revocations_reads_only_what_is_new() {
    let server = RedisServer::start().await;
    let address = at(&[&server], Topology::Single);
    let (_store, revocations) = replica(&address).await;
    for number in 0..8_000 {
        let sign_out = now_of(Target::user("corp", &number.to_string()));
        revocations.revoke(sign_out);
        let frame = revocations.revoke_unsigned(frame(&number.to_string()));
        frame.expect("far from the bound");
        if number % 1_000 == 0 {
            sleep(Duration::from_millis(100)).await;
        }
    }
    for _ in 0..500 {
        if counts(&server).await == [8_000, 8_000] {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(counts(&server).await, [8_000, 8_000]);
    let (_late, late) = replica(&address).await;
    for number in [0, 3_999, 7_999] {
        assert!(
            late.has_revoked(&session(&number.to_string(), "none", 60)),
            "{number}"
        );
        assert!(
            late.has_revoked(&session("bob", &number.to_string(), 60)),
            "{number}"
        );
    }
    sleep(Duration::from_millis(2_500)).await;
    let before = sent(&server).await;
    sleep(Duration::from_secs(7)).await;
    let bytes = sent(&server).await - before;
    assert!(bytes < 30_000, "three looks of two replicas: {bytes} bytes");

    // Where the set is another one, as after a failover, all of it is read again: nobody has heard of what is in there.
    let [key] = &server.keys("*:revocations").await[..] else {
        panic!("one set");
    };
    let ada = session("ada", "none", 60);
    let now = clock::now().0.to_be_bytes();
    let member = [&b"s"[..], &ada.id, &now].concat();
    assert!(!late.has_revoked(&ada));
    server.ask(&["DEL", key]).await;
    server
        .ask_bytes(&[b"ZADD", key.as_bytes(), b"100000", &member])
        .await;
    let (_later, later) = replica(&address).await;
    for known in [&revocations, &late, &later] {
        wait_until("it is learnt", || known.has_revoked(&ada)).await;
    }
}
