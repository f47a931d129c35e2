use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::*;
use crate::{
    listen::{
        admission::{Admission, Bounds, Place},
        capacity::Capacity,
        drain::Drain,
    },
    observe::metrics::Connections,
};

const LONG: Duration = Duration::from_mins(1);

struct Scene {
    idle: IdleConnections,
    admission: Arc<Admission>,
    drain: Arc<Drain>,
    open: Arc<AtomicUsize>,
    connections: TaskTracker,
}

/// A worker's idle connections, with room for so many.
fn scene(connections: usize) -> Scene {
    let bounds = Bounds {
        capacity: Capacity::of(connections, connections),
        trusted_proxies: Vec::new(),
    };
    Scene {
        idle: IdleConnections::new().unwrap(),
        admission: Admission::new(bounds, Connections::default()),
        drain: Arc::default(),
        open: Arc::default(),
        connections: TaskTracker::new(),
    }
}

impl Scene {
    async fn place(&self) -> Place {
        self.admission.admit(None).await.ok().unwrap().place
    }

    /// A connection, and its client's end.
    async fn connection(&self) -> (IdleConnection, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        self.open.fetch_add(1, Ordering::Relaxed);
        let place = self.place().await;
        let connection = IdleConnection {
            socket: Unbound::Unix(near),
            client: None,
            is_proxied: false,
            is_new: false,
            guard: ConnectionGuard::new(place, &self.drain, &self.open, &self.connections),
        };
        (connection, far)
    }

    /// One that is parked, by its client's end.
    async fn parked(&self, limit: Duration) -> UnixStream {
        let (connection, far) = self.connection().await;
        self.park(connection, limit);
        far
    }

    fn park(&self, connection: IdleConnection, limit: Duration) {
        assert!(self.idle.park(connection, limit).is_ok());
    }

    /// What is due next.
    async fn due(&self) -> Vec<(IdleConnection, IdleEvent)> {
        loop {
            self.idle.wait().await;
            let mut left = Vec::new();
            self.idle
                .take_due(|connection, why| left.push((connection, why)));
            if !left.is_empty() {
                return left;
            }
        }
    }

    /// The one that is due next.
    async fn one_due(&self) -> (IdleConnection, IdleEvent) {
        let mut left = timeout(LONG / 2, self.due()).await.unwrap();
        assert_eq!(left.len(), 1);
        left.remove(0)
    }

    fn count(&self) -> usize {
        self.idle.lock().connections.len()
    }

    async fn is_quiet(&self) -> bool {
        let moment = Duration::from_millis(20);
        timeout(moment, self.due()).await.is_err()
    }
}

fn is_closed(far: &mut UnixStream) -> bool {
    far.set_nonblocking(true).unwrap();
    matches!(far.read(&mut [0; 1]), Ok(0))
}

#[tokio::test]
async fn who_speaks_leaves_and_the_others_stay() {
    let scene = scene(9);
    let mut far = Vec::new();
    for _ in 0..3 {
        far.push(scene.parked(LONG).await);
    }
    assert!(scene.is_quiet().await);
    far[1].write_all(b"GET").unwrap();
    let (connection, why) = scene.one_due().await;
    assert!(matches!(why, IdleEvent::Readable));
    assert_eq!(scene.count(), 2);
    // It was told of once, though nobody has read it yet.
    assert!(scene.is_quiet().await);
    // What came before it was parked is seen, too.
    scene.park(connection, LONG);
    let (_connection, why) = scene.one_due().await;
    assert!(matches!(why, IdleEvent::Readable));
}

/// Hundreds in one moment, more than the system is asked for at once.
#[tokio::test]
async fn who_speaks_together_leaves_together() {
    let scene = scene(9 * EVENTS);
    let mut far = Vec::new();
    for _ in 0..4 * EVENTS {
        far.push(scene.parked(LONG).await);
    }
    for far in &mut far {
        far.write_all(b"GET").unwrap();
    }
    let left = timeout(LONG, scene.due()).await.unwrap();
    assert_eq!((left.len(), scene.count()), (far.len(), 0));
    assert!(scene.is_quiet().await);
}

#[tokio::test]
async fn who_is_gone_ends_and_what_was_sent_before_is_served() {
    let scene = scene(9);
    let far = scene.parked(LONG).await;
    drop(far);
    let (_, why) = scene.one_due().await;
    assert!(matches!(why, IdleEvent::Ended(Ended::Closed)));
    let far = scene.parked(LONG).await;
    far.shutdown(Shutdown::Write).unwrap();
    let (_, why) = scene.one_due().await;
    assert!(matches!(why, IdleEvent::Ended(Ended::Closed)));
    let mut far = scene.parked(LONG).await;
    far.write_all(b"GET").unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    let (_, why) = scene.one_due().await;
    assert!(matches!(why, IdleEvent::Readable));
    assert_eq!(scene.open.load(Ordering::Relaxed), 0);
}

/// The longest idle one makes room: at once, and whether it is told before it is parked or after.
#[tokio::test]
async fn an_evicted_one_ends_at_once() {
    let scene = scene(2);
    let mut first = scene.parked(LONG).await;
    let (second, mut far) = scene.connection().await;
    let new = scene.place().await;
    let (connection, why) = scene.one_due().await;
    assert!(matches!(why, IdleEvent::Ended(Ended::Evicted)));
    assert!(!is_closed(&mut first));
    drop(connection);
    assert!(is_closed(&mut first));
    let newer = scene.place().await;
    assert_eq!(second.guard.place.control().get(), Command::Close);
    scene.park(second, LONG);
    let (connection, why) = scene.one_due().await;
    assert!(matches!(why, IdleEvent::Ended(Ended::Evicted)));
    drop(connection);
    assert!(is_closed(&mut far));
    drop((new, newer));
}

/// Of thousands only those are looked at who were told.
#[tokio::test]
async fn evictions_are_heard_by_whom_they_are_for() {
    const MANY: usize = 1_000;
    let scene = scene(MANY);
    let mut far = Vec::new();
    for _ in 0..MANY {
        far.push(scene.parked(LONG).await);
    }
    let mut places = Vec::new();
    for _ in 0..100 {
        places.push(scene.place().await);
    }
    let left = scene.due().await;
    assert_eq!((left.len(), scene.count()), (100, MANY - 100));
    drop(left);
    let closed = far
        .iter_mut()
        .filter_map(|far| is_closed(far).then_some(()));
    assert_eq!(closed.count(), 100);
}

/// A command for one that has left already is nobody else's, and is not lost.
#[tokio::test]
async fn a_late_command_hits_nobody_else() {
    let scene = scene(2);
    let mut early = scene.parked(LONG).await;
    early.write_all(b"GET").unwrap();
    let (early, _) = scene.one_due().await;
    let _late = scene.parked(LONG).await;
    let _new = scene.place().await;
    assert_eq!(early.guard.place.control().get(), Command::Close);
    assert!(scene.is_quiet().await);
    assert_eq!(scene.count(), 1);
    scene.park(early, LONG);
    let (_, why) = scene.one_due().await;
    assert!(matches!(why, IdleEvent::Ended(Ended::Evicted)));
}

#[tokio::test(start_paused = true)]
async fn each_has_the_time_that_held_when_it_was_parked() {
    let scene = scene(9);
    let begun = Instant::now();
    let _far = scene.parked(Duration::from_secs(30)).await;
    let _later = scene.parked(Duration::from_secs(20)).await;
    let _for_ever = scene.parked(Duration::MAX).await;
    let _soonest = scene.parked(Duration::from_secs(10)).await;
    for seconds in [10, 20, 30] {
        let left = timeout(LONG, scene.due()).await.unwrap();
        let [(_, IdleEvent::Ended(Ended::KeepAliveTimeout))] = &left[..] else {
            panic!("{} left", left.len());
        };
        assert_eq!(begun.elapsed().as_secs(), seconds);
    }
    assert_eq!(scene.count(), 1);
}

/// The task may sleep until the end of one that has long, or of none, when one with less is parked.
#[tokio::test(start_paused = true)]
async fn a_nearer_end_is_not_slept_through() {
    let scene = scene(9);
    for sleeps in [None, Some(LONG)] {
        let _long = match sleeps {
            Some(limit) => Some(scene.parked(limit).await),
            None => None,
        };
        let begun = Instant::now();
        let (left, _far) = tokio::join!(scene.due(), async {
            tokio::task::yield_now().await;
            scene.parked(Duration::from_secs(2)).await
        });
        assert_eq!((left.len(), begun.elapsed().as_secs()), (1, 2));
    }
}

/// Parked ones have a moment more, and hold the worker no longer than that.
#[tokio::test(start_paused = true)]
async fn a_stop_leaves_a_moment() {
    let scene = scene(9);
    let _silent = scene.parked(LONG).await;
    let _shorter = scene.parked(LINGER / 4).await;
    let (told_before, _far) = scene.connection().await;
    let begun = Instant::now();
    scene.drain.begin();
    scene.connections.close();
    scene.park(told_before, LONG);
    let (connection, why) = scene.one_due().await;
    assert!(matches!(why, IdleEvent::Ended(Ended::Drained)));
    assert!(begun.elapsed() < LINGER / 2);
    drop(connection);
    while scene.count() > 0 {
        for (_, why) in scene.due().await {
            assert!(matches!(why, IdleEvent::Ended(Ended::Drained)));
        }
    }
    assert!(begun.elapsed() >= LINGER && begun.elapsed() < 2 * LINGER);
    scene.connections.wait().await;
    assert_eq!(scene.open.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn who_speaks_after_a_stop_has_begun_is_served() {
    let scene = scene(9);
    let mut far = scene.parked(LONG).await;
    scene.drain.begin();
    scene.idle.take_due(|_, _| panic!("nobody leaves yet"));
    far.write_all(b"GET").unwrap();
    let (connection, why) = scene.one_due().await;
    assert!(matches!(why, IdleEvent::Readable));
    assert_eq!(connection.guard.place.control().get(), Command::Drain);
}

/// One that is told to stop is heard when it is told to close, too.
#[tokio::test]
async fn an_eviction_after_a_stop_is_heard() {
    let scene = scene(2);
    let _first = scene.parked(LONG).await;
    let _second = scene.parked(LONG).await;
    scene.drain.begin();
    scene.idle.take_due(|_, _| panic!("nobody leaves yet"));
    let _new = scene.place().await;
    let (_, why) = scene.one_due().await;
    assert!(matches!(why, IdleEvent::Ended(Ended::Evicted)));
}

#[test]
fn keys_are_by_deadline_and_never_early() {
    let second = Duration::from_secs(1);
    let keys = [
        Key::new(Duration::ZERO, u64::MAX),
        Key::new(second, 1),
        Key::new(second, 2),
        Key::new(second + Duration::from_nanos(1), 0),
        Key::new(Duration::MAX, 0),
    ];
    assert!(keys.is_sorted() && keys[1] != keys[2]);
    assert_eq!(keys[1].deadline(), second);
    assert_eq!(keys[3].deadline(), second + Duration::from_millis(1));
    assert!(keys[4].deadline() > Duration::from_hours(30 * 365 * 24));
}

/// There are thousands of them.
#[test]
fn a_parked_connection_is_small() {
    let size = size_of::<IdleConnection>();
    assert!(size <= 80, "{size}");
}
