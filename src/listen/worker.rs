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

use hyper_util::{rt::TokioExecutor, server::conn::auto};
use tokio::{sync::mpsc, time::timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::{connection, drain::Drain, socket::Accepted};
use crate::{
    deadline::Deadlines,
    forward::{Forwarder, Tunnels, Upstream, UpstreamTarget},
    gate::Gate,
    limits::Limits,
    observe::RequestIds,
};

/// Accepted connections that may wait for their worker.
const WAITING_CONNECTIONS: usize = 1024;
/// How often idle upstream connections are looked at.
const SWEEP: Duration = Duration::from_secs(2);

/// What the connections of one thread share.
pub struct Worker {
    pub(super) gate: Arc<Gate>,
    pub(super) forwarder: Forwarder,
    pub(super) ids: RequestIds,
    pub(super) protocol: auto::Builder<TokioExecutor>,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) drain: Drain,
    pub(super) deadlines: Arc<Deadlines>,
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
    /// See [`Forwarder::new`].
    pub limits: Limits,
    /// TLS on the listener.
    pub tls: Option<TlsAcceptor>,
    /// How long a stop waits for what runs.
    pub grace: Duration,
}

/// A running worker, as the acceptor sees it.
pub struct Handle {
    queue: mpsc::Sender<Accepted>,
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

    /// Hands over a connection.
    pub async fn take(&self, connection: Accepted) {
        self.open.fetch_add(1, Ordering::Relaxed);
        // Fails only when the worker is gone, and the connection closes with it.
        let _ = self.queue.send(connection).await;
    }

    /// Lets all of them finish what they have, within the grace, and waits for their end.
    pub fn finish_all(workers: Vec<Self>) {
        let threads: Vec<_> = workers.into_iter().map(|worker| worker.thread).collect();
        for thread in threads {
            let _ = thread.join();
        }
    }
}

async fn run(recipe: Recipe, mut accepted: mpsc::Receiver<Accepted>, open: Arc<AtomicUsize>) {
    let deadlines = Deadlines::new();
    let upstream = Arc::new(Upstream::new(recipe.upstream));
    let tunnels = Tunnels::default();
    let forwarder = Forwarder::new(
        Arc::clone(&upstream),
        tunnels.clone(),
        Arc::clone(&recipe.gate.cleaning.reserved),
        recipe.gate.sessions.ends(),
        recipe.upstream_timeout,
        &recipe.limits,
    );
    let worker = Arc::new(Worker {
        gate: recipe.gate,
        forwarder,
        ids: RequestIds::new(),
        protocol: connection::protocol(),
        tls: recipe.tls,
        drain: Drain::default(),
        deadlines: Arc::clone(&deadlines),
    });
    let clock = tokio::spawn(async move { deadlines.run().await });
    let sweeper = tokio::spawn(async move {
        loop {
            tokio::time::sleep(SWEEP).await;
            upstream.sweep();
        }
    });

    let connections = TaskTracker::new();
    while let Some(accepted) = accepted.recv().await {
        let counted = Counted(Arc::clone(&open));
        match accepted.into_stream() {
            Ok((stream, address)) => {
                let worker = Arc::clone(&worker);
                connections.spawn(async move {
                    connection::serve(worker, stream, address).await;
                    drop(counted);
                });
            }
            Err(error) => tracing::debug!(%error, "connection lost"),
        }
    }

    connections.close();
    worker.drain.begin();
    let drained = async { tokio::join!(connections.wait(), tunnels.close()) };
    if timeout(recipe.grace, drained).await.is_err() {
        tracing::warn!(
            open = connections.len(),
            "the grace is over; closing what still runs"
        );
    }
    sweeper.abort();
    clock.abort();
}

/// Counts a connection down when it ends, however it ends.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
