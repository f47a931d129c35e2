//! Workers: one thread and one single-threaded runtime per core, each with its own connections, upstream
//! pool and timers, so that a request never leaves its core.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::{
    admission::Place,
    connection,
    connection_guard::ConnectionGuard,
    context::{Current, Worker},
    drain::Drain,
    http1, http2,
    idle::{IdleConnections, IdleEvent},
    socket::Accepted,
};
use crate::{
    forward::{ConnectionLimit, Tunnels, Upstream},
    gate::Gate,
    net::send_queue::SendQueue,
    observe::{Throttled, metrics::Limit},
    snapshot::Snapshot,
    stopping::Stopping,
};

/// Accepted connections that may wait for their worker.
const WAITING_CONNECTIONS: usize = 1024;
/// How often idle upstream connections are checked.
const SWEEP: Duration = Duration::from_secs(2);
/// The interval between two log lines about the same problem.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What a worker serves by.
#[derive(Clone)]
pub struct WorkerConfig {
    /// What the configuration decides.
    pub snapshot: Arc<Snapshot>,
    /// TLS on the listener.
    pub tls: Option<TlsAcceptor>,
    /// For connections to apps.
    pub connection_limit: Arc<ConnectionLimit>,
    /// How long a stop of the gate lets what runs go on.
    pub grace: Duration,
}

/// A connection on its way to its worker.
pub(super) struct Dispatched {
    pub(super) socket: Accepted,
    pub(super) place: Place,
    /// Whether it begins with a header of the PROXY protocol.
    pub(super) is_proxied: bool,
}

/// Work that a worker does beside its connections.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Another configuration on its way, and who waits until it is in force.
type Adoption = (WorkerConfig, oneshot::Sender<()>);

/// A running worker, as the acceptor sees it.
pub struct Handle {
    queue: mpsc::Sender<Dispatched>,
    adoptions: mpsc::Sender<Adoption>,
    work: mpsc::Sender<Work>,
    open: Arc<AtomicUsize>,
    thread: thread::JoinHandle<()>,
}

impl Handle {
    /// Starts worker number `number`.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(number: usize, config: WorkerConfig) -> io::Result<Self> {
        let (queue, accepted) = mpsc::channel(WAITING_CONNECTIONS);
        let (adoptions, adopted) = mpsc::channel(1);
        let (work, given) = mpsc::channel(WAITING_CONNECTIONS);
        let open = Arc::<AtomicUsize>::default();
        let inbox = Inbox {
            accepted,
            adopted,
            given,
            open: Arc::clone(&open),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let idle = {
            let _inside = runtime.enter();
            IdleConnections::new()?
        };
        let thread = thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || runtime.block_on(run(config, inbox, idle)))?;
        Ok(Self {
            queue,
            adoptions,
            work,
            open,
            thread,
        })
    }

    /// For tests: one that takes nothing, though `waiting` connections may wait for it. With what holds these.
    #[cfg(test)]
    pub(super) fn stuck(waiting: usize) -> (Self, impl Send) {
        let (queue, accepted) = mpsc::channel(waiting);
        let (adoptions, adopted) = mpsc::channel(1);
        let (work, given) = mpsc::channel(1);
        let handle = Self {
            queue,
            adoptions,
            work,
            open: Arc::default(),
            thread: thread::spawn(|| {}),
        };
        (handle, (accepted, adopted, given))
    }

    /// Connections it serves or will serve.
    pub fn load(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Hands over a connection. Gives it back where the worker has too many that it has not even begun to serve.
    pub(super) fn dispatch(&self, connection: Dispatched) -> Result<(), Dispatched> {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(connection).map_err(|error| {
            self.open.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(connection) | TrySendError::Closed(connection) => connection,
            }
        })
    }

    /// Has it do `work`, a connection of another kind. A stop waits for its end, within the grace. Whether it does: it may
    /// have too much that it has not even begun.
    pub fn run(&self, work: Work) -> bool {
        self.work.try_send(work).is_ok()
    }

    /// Answers every request that comes from here on by `config`. Those under way end as they began. Returns when it
    /// is so.
    pub async fn adopt(&self, config: WorkerConfig) {
        let (done, is_done) = oneshot::channel();
        // A worker that is gone serves nobody by the old one either.
        if self.adoptions.send((config, done)).await.is_ok() {
            let _ = is_done.await;
        }
    }

    /// Lets all of them finish what they have, within the grace, and waits for their end.
    pub fn finish_all(workers: Vec<Self>) {
        let threads: Vec<_> = workers.into_iter().map(|worker| worker.thread).collect();
        for thread in threads {
            let _ = thread.join();
        }
    }
}

/// What comes to a worker.
struct Inbox {
    accepted: mpsc::Receiver<Dispatched>,
    adopted: mpsc::Receiver<Adoption>,
    given: mpsc::Receiver<Work>,
    open: Arc<AtomicUsize>,
}

/// The gate of one thread under `config`. Connections to apps that `earlier` has are kept where they are the same apps.
fn gate(
    config: &WorkerConfig,
    earlier: Option<&Gate>,
    (tunnels, stopping): (&Tunnels, &Stopping),
    sends: &SendQueue,
) -> Gate {
    let known = earlier.map_or(&[][..], Gate::upstreams);
    let targets = config.snapshot.upstreams.iter();
    let upstreams = targets.map(|target| {
        let known = known.iter().find(|upstream| upstream.is_of(target));
        let fresh = || Arc::new(Upstream::new(Arc::clone(target), sends));
        known.map_or_else(fresh, Arc::clone)
    });
    let upstreams = upstreams.collect();
    Gate::new(
        Arc::clone(&config.snapshot),
        upstreams,
        tunnels.clone(),
        stopping.clone(),
    )
}

fn current(
    config: WorkerConfig,
    earlier: Option<&Gate>,
    ends: (&Tunnels, &Stopping),
    sends: &SendQueue,
) -> Current {
    let limits = Arc::clone(&config.snapshot.limits);
    Current {
        gate: gate(&config, earlier, ends, sends),
        http2: http2::protocol(&limits),
        tls: config.tls,
        limits,
    }
}

fn worker(
    config: WorkerConfig,
    tunnels: &Tunnels,
    sends: SendQueue,
    idle: IdleConnections,
    stopping: Stopping,
) -> Worker {
    let metrics = Arc::clone(&config.snapshot.metrics);
    Worker {
        current: ArcSwap::from_pointee(current(config, None, (tunnels, &stopping), &sends)),
        recorder: metrics.recorder(),
        metrics,
        http1: http1::protocol(),
        sends,
        idle,
        misread: Throttled::new(LOG_EVERY),
        crowded: Throttled::new(LOG_EVERY),
        refused_certificate: Throttled::new(LOG_EVERY),
        nameless_certificate: Throttled::new(LOG_EVERY),
        limit_lines: [const { Throttled::new(LOG_EVERY) }; Limit::NAMES.len()],
        stopping,
    }
}

async fn run(config: WorkerConfig, mut inbox: Inbox, idle: IdleConnections) {
    let mut grace = config.grace;
    let tunnels = Tunnels::default();
    let sends = SendQueue::default();
    tokio::spawn(sends.clone().run());
    let stopping = Stopping::default();
    let connection_limit = Arc::clone(&config.connection_limit);
    let worker = Arc::new(worker(config, &tunnels, sends, idle, stopping.clone()));
    let sweeper = tokio::spawn(sweep(Arc::clone(&worker), connection_limit));
    let resumer = tokio::spawn(resume_idle(Arc::clone(&worker)));

    let drain = Arc::<Drain>::default();
    let connections = TaskTracker::new();
    loop {
        let Dispatched {
            socket,
            place,
            is_proxied,
        } = tokio::select! {
            biased;
            Some((config, done)) = inbox.adopted.recv() => {
                grace = config.grace;
                let earlier = worker.current();
                let known = Some(&earlier.gate);
                let ends = (&tunnels, &stopping);
                let current = current(config, known, ends, &worker.sends);
                worker.current.store(Arc::new(current));
                // Nobody may wait for it any more.
                let _ = done.send(());
                continue;
            }
            Some(work) = inbox.given.recv() => {
                connections.spawn(work);
                continue;
            }
            dispatched = inbox.accepted.recv() => match dispatched {
                Some(dispatched) => dispatched,
                None => break,
            },
        };
        let guard = ConnectionGuard::new(place, &drain, &inbox.open, &connections);
        match socket.into_stream() {
            Ok((stream, address)) => {
                if let Err(error) = stream.outlast(worker.limits().write_timeout) {
                    tracing::debug!(%error, "connection lost");
                    continue;
                }
                let worker = Arc::clone(&worker);
                tokio::spawn(connection::serve(
                    worker, stream, address, is_proxied, guard,
                ));
            }
            Err(error) => tracing::debug!(%error, "connection lost"),
        }
    }

    connections.close();
    // Before connections are told, whose requests then look at it.
    stopping.begin();
    drain.begin();
    let drained = async { tokio::join!(connections.wait(), tunnels.close()) };
    if timeout(grace, drained).await.is_err() {
        worker.recorder.end();
        tracing::warn!(
            open = connections.len(),
            "the grace is over; closing what still runs"
        );
    }
    sweeper.abort();
    resumer.abort();
    // The task that sends ends with the runtime.
    worker.sends.send_all();
}

/// Closes idle connections to apps: those that have idled for too long, and where others are wanted, as many of the rest.
async fn sweep(worker: Arc<Worker>, connection_limit: Arc<ConnectionLimit>) {
    let mut wanted = connection_limit.wanted();
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                for upstream in worker.current().gate.upstreams() {
                    upstream.sweep();
                }
            }
            mut wanted = wanted.next() => {
                for upstream in worker.current().gate.upstreams() {
                    wanted -= upstream.shed(wanted);
                }
            }
        }
    }
}

/// Serves idle connections on when their clients say something.
async fn resume_idle(worker: Arc<Worker>) {
    loop {
        worker.idle.wait().await;
        worker.idle.take_due(|connection, event| match event {
            IdleEvent::Readable => {
                tokio::spawn(connection::resume(Arc::clone(&worker), connection));
            }
            IdleEvent::Ended(ended) => connection::report(&ended, connection.client, &worker),
        });
    }
}
