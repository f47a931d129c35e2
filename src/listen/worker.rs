//! Workers: one thread and one single-threaded runtime per core, each with its own connections, upstream
//! pool and timers, so that a request never leaves its core.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use hyper_util::rt::TokioExecutor;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{admission::Place, connection, drain::Drain, http1, http2, socket::Accepted};
use crate::{
    forward::{Forwarder, Tunnels, Upstream, UpstreamTarget},
    gate::Gate,
    limits::Limits,
    observe::Recorder,
};

/// Accepted connections that may wait for their worker.
const WAITING_CONNECTIONS: usize = 1024;
/// How often idle upstream connections are looked at.
const SWEEP: Duration = Duration::from_secs(2);
/// How long after a stop has begun answers that have no end go on; WebSockets have as long.
const CUT_AFTER: Duration = Duration::from_secs(2);

/// What the connections of one thread share.
pub(super) struct Worker {
    pub(super) gate: Arc<Gate>,
    pub(super) forwarder: Forwarder,
    pub(super) recorder: Recorder,
    pub(super) http1: hyper::server::conn::http1::Builder,
    pub(super) http2: hyper::server::conn::http2::Builder<TokioExecutor>,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) limits: Arc<Limits>,
    /// Ends answers that have no end, some time after a stop has begun.
    pub(super) cut: CancellationToken,
}

/// What a worker is made of.
#[derive(Clone)]
pub struct Recipe {
    /// The gate, shared by all.
    pub gate: Arc<Gate>,
    /// Where the app is.
    pub upstream: Arc<UpstreamTarget>,
    /// How long the upstream may take to begin its answer.
    pub upstream_timeout: Duration,
    /// What clients, and the app, may take.
    pub limits: Arc<Limits>,
    /// TLS on the listener.
    pub tls: Option<TlsAcceptor>,
    /// How long a stop waits for what runs.
    pub grace: Duration,
}

/// A connection on its way to its worker.
pub(super) struct Dispatched {
    pub(super) socket: Accepted,
    pub(super) place: Place,
}

/// A running worker, as the acceptor sees it.
pub struct Handle {
    queue: mpsc::Sender<Dispatched>,
    open: Arc<AtomicUsize>,
    thread: thread::JoinHandle<()>,
}

impl Handle {
    /// Starts worker number `number`.
    pub fn start(number: usize, recipe: Recipe) -> io::Result<Self> {
        let (queue, accepted) = mpsc::channel(WAITING_CONNECTIONS);
        let open = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&open);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || runtime.block_on(run(recipe, accepted, count)))?;
        Ok(Self {
            queue,
            open,
            thread,
        })
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

    /// Lets all of them finish what they have, within the grace, and waits for their end.
    pub fn finish_all(workers: Vec<Self>) {
        let threads: Vec<_> = workers.into_iter().map(|worker| worker.thread).collect();
        for thread in threads {
            let _ = thread.join();
        }
    }
}

async fn run(recipe: Recipe, mut accepted: mpsc::Receiver<Dispatched>, open: Arc<AtomicUsize>) {
    let upstream = Arc::new(Upstream::new(recipe.upstream));
    let tunnels = Tunnels::default();
    let forwarder = Forwarder::new(
        Arc::clone(&upstream),
        tunnels.clone(),
        Arc::clone(&recipe.gate.cleaning.reserved),
        recipe.gate.sessions.ends(),
        recipe.upstream_timeout,
        &recipe.limits,
        recipe.gate.metrics.limits.clone(),
    );
    let cut = CancellationToken::new();
    let recorder = recipe.gate.metrics.recorder();
    let worker = Arc::new(Worker {
        gate: recipe.gate,
        forwarder,
        recorder,
        http1: http1::protocol(),
        http2: http2::protocol(&recipe.limits),
        tls: recipe.tls,
        limits: recipe.limits,
        cut: cut.clone(),
    });
    let sweeper = tokio::spawn(async move {
        loop {
            tokio::time::sleep(SWEEP).await;
            upstream.sweep();
        }
    });

    let drain = Arc::<Drain>::default();
    let connections = TaskTracker::new();
    while let Some(Dispatched { socket, place }) = accepted.recv().await {
        let counted = Counted(Arc::clone(&open));
        match socket.into_stream() {
            Ok((stream, address)) => {
                let worker = Arc::clone(&worker);
                let registration = drain.register(place.control());
                connections.spawn(async move {
                    connection::serve(worker, stream, address, place).await;
                    drop((registration, counted));
                });
            }
            Err(error) => tracing::debug!(%error, "connection lost"),
        }
    }

    connections.close();
    drain.begin();
    let cutter = tokio::spawn(async move {
        tokio::time::sleep(CUT_AFTER).await;
        cut.cancel();
    });
    let drained = async { tokio::join!(connections.wait(), tunnels.close()) };
    if timeout(recipe.grace, drained).await.is_err() {
        tracing::warn!(
            open = connections.len(),
            "the grace is over; closing what still runs"
        );
    }
    sweeper.abort();
    cutter.abort();
}

/// Counts a connection down when it ends, however it ends.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
