//! The listeners, which a reload may change.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::listen::{
    self, Acceptor, Admission, Listener, WorkerHandle,
    settings::{Listen, ListenAddress},
};

/// Listens at the address that `key` names, if it names one.
///
/// # Errors
/// Why the system does not let it, and what to do.
pub(super) fn bind(key: &str, address: Option<&ListenAddress>) -> io::Result<Option<Listener>> {
    let bound = address.map(|address| bind_at(key, address));
    bound.transpose()
}

fn bind_at(key: &str, address: &ListenAddress) -> io::Result<Listener> {
    Listener::bind(address)
        .map_err(|error| io::Error::new(error.kind(), listen::refusal(key, address, &error)))
}

/// Sockets that are bound and accept nothing yet.
pub(super) type Opened = Vec<(Listen, Listener)>;

/// A place that is listened at.
struct Open {
    address: ListenAddress,
    is_proxied: Arc<AtomicBool>,
    stop: CancellationToken,
}

/// Where the gate listens now.
pub(super) struct Listeners {
    admission: Arc<Admission>,
    stop: CancellationToken,
    /// Whether clients speak TLS.
    is_tls: Arc<AtomicBool>,
    open: Vec<Open>,
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

    /// Binds those of `listen` that are not listened at already.
    ///
    /// # Errors
    /// Of the first that cannot be bound; then nothing has changed.
    pub(super) fn bind(&self, listen: &[Listen]) -> io::Result<Opened> {
        let is_open =
            |address: &ListenAddress| self.open.iter().any(|open| open.address == *address);
        listen
            .iter()
            .filter(|listen| !is_open(&listen.address))
            .map(|listen| Ok((listen.clone(), bind_at("listen", &listen.address)?)))
            .collect()
    }

    /// Accepts connections at what [`bind`](Self::bind) opened.
    pub(super) fn open(&mut self, opened: Opened, workers: &Arc<Vec<WorkerHandle>>, is_tls: bool) {
        self.is_tls.store(is_tls, Ordering::Relaxed);
        for (listen, listener) in opened {
            tracing::info!(address = listener.place(), "listening");
            let stop = self.stop.child_token();
            let is_proxied = Arc::new(AtomicBool::new(listen.is_proxied));
            self.open.push(Open {
                address: listen.address,
                is_proxied: Arc::clone(&is_proxied),
                stop: stop.clone(),
            });
            let acceptor = Acceptor {
                admission: Arc::clone(&self.admission),
                workers: Arc::clone(workers),
                is_tls: Arc::clone(&self.is_tls),
                is_proxied,
                stop,
            };
            self.acceptors
                .spawn(async move { acceptor.accept(listener).await });
        }
    }

    /// Accepts no more at places that are not in `listen`, where connections that came go on; at the others connections
    /// begin as it says from here on.
    pub(super) fn retain(&mut self, listen: &[Listen]) {
        self.open.retain(|open| {
            let address = &open.address;
            let Some(listen) = listen.iter().find(|listen| listen.address == *address) else {
                tracing::info!(%address, "listening no more");
                open.stop.cancel();
                return false;
            };
            open.is_proxied.store(listen.is_proxied, Ordering::Relaxed);
            true
        });
        while self.acceptors.try_join_next().is_some() {}
    }

    /// Waits until nothing is accepted any more; the stop has come.
    pub(super) async fn close(mut self) {
        while self.acceptors.join_next().await.is_some() {}
    }
}
