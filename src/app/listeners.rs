//! The addresses that are listened at, which a reload may change.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::listen::{self, Acceptor, Admission, Listener, WorkerHandle, settings::ListenAddress};

/// Listens at `address`, which `key` names.
///
/// # Errors
/// Why the system does not let it, and what to do.
pub(super) fn bind(key: &str, address: &ListenAddress) -> io::Result<Listener> {
    Listener::bind(address)
        .map_err(|error| io::Error::new(error.kind(), listen::refusal(key, address, &error)))
}

/// Sockets that are bound and accept nothing yet.
pub(super) type Opened = Vec<(ListenAddress, Listener)>;

/// Where the gate listens now.
pub(super) struct Listeners {
    admission: Arc<Admission>,
    stop: CancellationToken,
    /// Whether clients speak TLS.
    is_tls: Arc<AtomicBool>,
    open: Vec<(ListenAddress, CancellationToken)>,
    acceptors: JoinSet<()>,
}

impl Listeners {
    pub(super) fn new(admission: Arc<Admission>, stop: CancellationToken) -> Self {
        Self {
            admission,
            stop,
            is_tls: Arc::default(),
            open: Vec::new(),
            acceptors: JoinSet::new(),
        }
    }

    /// Binds those of `addresses` that are not listened at already.
    ///
    /// # Errors
    /// Of the first that cannot be bound; then nothing has changed.
    pub(super) fn bind(&self, addresses: &[ListenAddress]) -> io::Result<Opened> {
        let is_open = |address| self.open.iter().any(|(open, _)| open == address);
        addresses
            .iter()
            .filter(|address| !is_open(*address))
            .map(|address| Ok((address.clone(), bind("listen", address)?)))
            .collect()
    }

    /// Accepts connections at what [`bind`](Self::bind) opened.
    pub(super) fn open(&mut self, opened: Opened, workers: &Arc<Vec<WorkerHandle>>, is_tls: bool) {
        self.is_tls.store(is_tls, Ordering::Relaxed);
        for (address, listener) in opened {
            tracing::info!(address = listener.place(), "listening");
            let stop = self.stop.child_token();
            self.open.push((address, stop.clone()));
            let acceptor = Acceptor {
                admission: Arc::clone(&self.admission),
                workers: Arc::clone(workers),
                is_tls: Arc::clone(&self.is_tls),
                stop,
            };
            self.acceptors
                .spawn(async move { acceptor.accept(listener).await });
        }
    }

    /// Accepts no more at addresses that are not among `addresses`. Connections that came there go on.
    pub(super) fn retain(&mut self, addresses: &[ListenAddress]) {
        self.open.retain(|(address, stop)| {
            let stays = addresses.contains(address);
            if !stays {
                tracing::info!(%address, "listening no more");
                stop.cancel();
            }
            stays
        });
        while self.acceptors.try_join_next().is_some() {}
    }

    /// Waits until nothing is accepted any more; the stop has come.
    pub(super) async fn close(mut self) {
        while self.acceptors.join_next().await.is_some() {}
    }
}
