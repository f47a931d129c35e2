//! Every store keeps the same promises: one table of behaviours, run on each, with real servers.

mod revocations;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use sidegate::{
    clock::{self, Timestamp},
    redis::address::{RedisAddress, Topology},
    session::{
        Id, Lifetimes,
        revocation::{Revocation, Revocations, Target},
        store::{Memory, Record, Redis, Store},
    },
};
use tokio::time::sleep;

use crate::support::redis::{RedisCluster, RedisServer};

const LEASE: Duration = Duration::from_secs(10);

const LIFETIMES: Lifetimes = Lifetimes {
    lifetime: Duration::from_hours(9),
    idle_timeout: Duration::from_hours(1),
};
const ANSWERS: &str = "the store answers";
const GATE: &str = "app.test sidegate";

fn at(nodes: &[&RedisServer], topology: Topology) -> RedisAddress {
    RedisAddress {
        topology,
        tls: false,
        nodes: nodes
            .iter()
            .map(|node| (node.address.ip().to_string(), node.address.port()))
            .collect(),
        username: None,
        password: None,
        database: 0,
    }
}

/// A replica's store, connected.
async fn replica(address: &RedisAddress) -> (Arc<Redis>, Arc<Revocations>) {
    replica_with(address, Revocations::new(LIFETIMES.lifetime)).await
}

async fn replica_with(
    address: &RedisAddress,
    revocations: Revocations,
) -> (Arc<Redis>, Arc<Revocations>) {
    replica_of(address, LIFETIMES, revocations).await
}

async fn replica_of(
    address: &RedisAddress,
    lifetimes: Lifetimes,
    revocations: Revocations,
) -> (Arc<Redis>, Arc<Revocations>) {
    let revocations = Arc::new(revocations);
    let store = Redis::start(address, GATE, lifetimes, &revocations, Vec::new());
    wait_until("the store is connected", || {
        store.is_ready() && revocations.is_known()
    })
    .await;
    (store, revocations)
}

async fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..500 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("not within ten seconds: {what}");
}

fn record(generation: u64, sealed: &'static str) -> Record {
    Record {
        generation,
        sealed: sealed.into(),
    }
}

fn id() -> Id {
    sidegate::random::bytes()
}

/// What every store promises. `shares` where another process's lease counts.
async fn keeps_its_promises(store: &dyn Store, shares: bool) {
    let now = clock::now();
    let end = now.after(LIFETIMES.lifetime);
    finds_what_is_there(store, now, end).await;
    replaces_only_what_is_older(store, now, end).await;
    ends_to_the_second(store, now).await;
    removes(store, now, end).await;
    leases(store, shares).await;
    assert!(store.is_ready());
}

/// What is sealed in a record that is at hand, and when its session was last used before.
fn at_hand(store: &dyn Store, id: &Id, now: Timestamp) -> Option<(Bytes, Timestamp)> {
    let mut found = None;
    let is_at_hand = store.at_hand(id, now, &mut |sealed, seen_at| {
        found = Some((Bytes::copy_from_slice(sealed), seen_at));
        true
    });
    assert_eq!(is_at_hand, found.is_some());
    found
}

async fn finds_what_is_there(store: &dyn Store, now: Timestamp, end: Timestamp) {
    let (one, other) = (id(), id());
    assert_eq!(store.load(&one, now).await, Ok(None));
    assert_eq!(store.reload(&one, now).await, Ok(None));
    assert_eq!(at_hand(store, &one, now), None);
    store
        .create(&one, record(0, "a"), end, now)
        .await
        .expect(ANSWERS);
    let sealed = record(0, "a").sealed;
    assert_eq!(at_hand(store, &one, now), Some((sealed, now)));
    for found in [
        store.load(&one, now).await.expect(ANSWERS),
        store.reload(&one, now).await.expect(ANSWERS),
    ] {
        let found = found.expect("it was just created");
        assert_eq!((found.record, found.seen_at), (record(0, "a"), now));
    }
    assert_eq!(store.load(&other, now).await, Ok(None));
    // Any bytes, and many of them.
    let sealed: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let large = Record {
        generation: u64::from(u32::MAX),
        sealed: sealed.into(),
    };
    store
        .create(&other, large.clone(), end, now)
        .await
        .expect(ANSWERS);
    assert_eq!(
        store
            .reload(&other, now)
            .await
            .expect(ANSWERS)
            .expect("it is there")
            .record,
        large
    );
}

async fn replaces_only_what_is_older(store: &dyn Store, now: Timestamp, end: Timestamp) {
    let one = id();
    assert_eq!(store.replace(&one, record(1, "b"), now).await, Ok(false));
    assert_eq!(store.reload(&one, now).await, Ok(None));
    store
        .create(&one, record(1, "a"), end, now)
        .await
        .expect(ANSWERS);
    for (generation, text, is_replaced, left) in [
        (1, "b", false, "a"),
        (0, "b", false, "a"),
        (2, "b", true, "b"),
        (300, "c", true, "c"),
        (255, "d", false, "c"),
        (1 << 33, "e", true, "e"),
    ] {
        let replaced = store.replace(&one, record(generation, text), now).await;
        assert_eq!(replaced, Ok(is_replaced), "{generation}");
        let found = store
            .load(&one, now)
            .await
            .expect(ANSWERS)
            .expect("it is there");
        assert_eq!(found.record.sealed, left, "{generation}");
    }
}

async fn ends_to_the_second(store: &dyn Store, now: Timestamp) {
    let idle = LIFETIMES.idle_timeout;
    let one = id();
    let end = now.after(Duration::from_mins(90));
    store
        .create(&one, record(0, "a"), end, now)
        .await
        .expect(ANSWERS);
    let almost = Timestamp(now.after(idle).0 - 1);
    assert!(store.reload(&one, almost).await.expect(ANSWERS).is_some());
    // A look counts as use, though it may take a second to be told everywhere.
    sleep(Duration::from_millis(1_500)).await;
    let found = store
        .reload(&one, Timestamp(end.0 - 1))
        .await
        .expect(ANSWERS);
    assert_eq!(found.expect("it was used").seen_at, almost);
    for ended in [end, end.after(idle)] {
        assert_eq!(store.load(&one, ended).await, Ok(None));
        assert_eq!(at_hand(store, &one, ended), None);
    }
    let idler = id();
    let end = now.after(LIFETIMES.lifetime);
    store
        .create(&idler, record(0, "a"), end, now)
        .await
        .expect(ANSWERS);
    // What nobody can make anything of was not used.
    assert!(!store.at_hand(&idler, almost, &mut |_, _| false));
    assert_eq!(at_hand(store, &idler, now.after(idle)), None);
    assert_eq!(store.load(&idler, now.after(idle)).await, Ok(None));
}

async fn removes(store: &dyn Store, now: Timestamp, end: Timestamp) {
    let one = id();
    store.remove(&one).await.expect(ANSWERS);
    store
        .create(&one, record(0, "a"), end, now)
        .await
        .expect(ANSWERS);
    store.remove(&one).await.expect(ANSWERS);
    assert_eq!(at_hand(store, &one, now), None);
    assert_eq!(store.load(&one, now).await, Ok(None));
    assert_eq!(store.replace(&one, record(9, "b"), now).await, Ok(false));
    assert_eq!(store.load(&one, now).await, Ok(None));
}

async fn leases(store: &dyn Store, shares: bool) {
    let (one, two, ann, bob) = (id(), id(), id(), id());
    let lease = async |id, holder| store.lease(id, holder, LEASE).await;
    assert_eq!(lease(&one, &ann).await, Ok(true));
    assert_eq!(lease(&one, &ann).await, Ok(true));
    assert_eq!(lease(&one, &bob).await, Ok(!shares));
    store.release(&one, &bob).await;
    assert_eq!(lease(&one, &bob).await, Ok(!shares));
    assert_eq!(lease(&two, &bob).await, Ok(true));
    store.release(&one, &ann).await;
    assert_eq!(lease(&one, &bob).await, Ok(true));
    // The last word on how long it lasts counts.
    let soon = Duration::from_millis(20);
    assert_eq!(store.lease(&one, &bob, soon).await, Ok(true));
    sleep(soon * 5).await;
    assert_eq!(lease(&one, &ann).await, Ok(true));
}

/// What replicas promise each other.
async fn replicas_agree(address: &RedisAddress) {
    let ((ann, news), (bob, heard)) = (replica(address).await, replica(address).await);
    let now = clock::now();
    let end = now.after(LIFETIMES.lifetime);
    let one = id();
    ann.create(&one, record(0, "a"), end, now)
        .await
        .expect(ANSWERS);
    assert_eq!(
        bob.load(&one, now)
            .await
            .expect(ANSWERS)
            .expect("it is there")
            .record,
        record(0, "a")
    );
    assert!(at_hand(&*bob, &one, clock::now()).is_some());
    assert_eq!(ann.replace(&one, record(1, "b"), now).await, Ok(true));
    wait_until("a replaced record is forgotten", || {
        at_hand(&*bob, &one, clock::now()).is_none_or(|(sealed, _)| sealed == record(1, "b").sealed)
    })
    .await;
    assert_eq!(
        bob.load(&one, now)
            .await
            .expect(ANSWERS)
            .expect("it is there")
            .record,
        record(1, "b")
    );
    bob.remove(&one).await.expect(ANSWERS);
    wait_until("a removed record is forgotten", || {
        at_hand(&*ann, &one, clock::now()).is_none()
    })
    .await;
    assert_eq!(ann.load(&one, now).await, Ok(None));

    let mut changes = heard.changes();
    let target = Target::user("corp", "ada");
    news.revoke(Revocation {
        target,
        not_before: now,
    });
    let arrived = tokio::time::timeout(Duration::from_secs(5), changes.changed()).await;
    assert!(arrived.is_ok(), "a revocation is not heard of");
    // One that begins later learns what was before it.
    let (_late, late) = replica(address).await;
    assert_eq!(*late.changes().borrow(), 1);
    // Another gate's replicas have nothing to do with it.
    let others = Arc::new(Revocations::new(LIFETIMES.lifetime));
    let other = Redis::start(
        address,
        "other.test sidegate",
        LIFETIMES,
        &others,
        Vec::new(),
    );
    wait_until("the other gate is connected", || {
        other.is_ready() && others.is_known()
    })
    .await;
    assert_eq!(*others.changes().borrow(), 0);
}

#[tokio::test]
async fn in_memory() {
    keeps_its_promises(&Memory::new(1_000, LIFETIMES), false).await;
}

#[tokio::test]
async fn in_redis() {
    let server = RedisServer::start().await;
    let address = at(&[&server], Topology::Single);
    keeps_its_promises(&*replica(&address).await.0, true).await;
    replicas_agree(&address).await;
    // No id is in Redis, and nothing stays for ever.
    for key in server.keys("*").await {
        let digits = key.matches(|letter: char| letter.is_ascii_hexdigit());
        assert!(digits.count() >= 16, "{key}");
        let rest = server.ask(&["PTTL", &key]).await;
        let rest: i64 = rest[1..]
            .lines()
            .next()
            .expect("a number")
            .parse()
            .expect("a number");
        // By another lifetime, sessions may last for longer than by this one.
        let hours = if key.ends_with(":revocations") {
            400 * 24
        } else {
            9
        };
        assert!(
            rest > 0 && rest <= hours * 3_600_000 + 60_000,
            "{key}: {rest}"
        );
    }
}

#[tokio::test]
async fn in_another_database() {
    let server = RedisServer::start().await;
    let mut address = at(&[&server], Topology::Single);
    address.database = 3;
    keeps_its_promises(&*replica(&address).await.0, true).await;
    assert!(server.ask(&["INFO", "keyspace"]).await.contains("db3"));
    assert!(server.keys("*").await.is_empty());
}

#[tokio::test]
async fn in_a_cluster() {
    let cluster = RedisCluster::start().await;
    let nodes: Vec<_> = cluster.nodes.iter().collect();
    let address = at(&nodes, Topology::Cluster);
    keeps_its_promises(&*replica(&address).await.0, true).await;
    replicas_agree(&address).await;
    let (store, _) = replica(&address).await;
    let now = clock::now();
    for _ in 0..60 {
        let end = now.after(LIFETIMES.lifetime);
        store
            .create(&id(), record(0, "a"), end, now)
            .await
            .expect(ANSWERS);
    }
    for node in &cluster.nodes {
        assert!(!node.keys("*").await.is_empty(), "a node has no share");
    }
}

/// The timers of this process's connections to `port`, as the system writes them.
fn timers(port: u16) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let peer = format!(":{port:04X}");
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|line| line.len() > 5 && line[2].ends_with(&peer) && line[3] == "01")
        .map(|line| line[5].to_owned())
        .collect()
}

/// A server that vanishes without a word is noticed by the system's probes: each connection has a timer for them.
#[tokio::test]
async fn silent_connections_are_probed() {
    let server = RedisServer::start().await;
    let cluster = RedisCluster::start().await;
    let nodes: Vec<_> = cluster.nodes.iter().collect();
    let single = replica(&at(&[&server], Topology::Single)).await;
    let many = replica(&at(&nodes, Topology::Cluster)).await;
    for server in nodes.into_iter().chain([&server]) {
        let port = server.address.port();
        wait_until("every connection has a timer", || {
            // Another timer runs while bytes are on their way.
            let timers = timers(port);
            !timers.is_empty() && timers.iter().all(|timer| timer.starts_with("02:"))
        })
        .await;
    }
    drop((single, many));
}
