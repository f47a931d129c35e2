//! Bytes in: sockets, TLS and workers, until a request exists.
//!
//! One acceptor hands each connection to the worker with the fewest; a kernel's own spreading
//! (`SO_REUSEPORT`) goes by a hash and leaves some cores idle when connections are few and long.

mod connection;
mod drain;
mod flat;
mod socket;
pub mod tls;
mod worker;

use std::{io, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

pub use self::{
    socket::{Accepted, Listener, Stream, allow_open_files},
    worker::{Handle as WorkerHandle, Recipe},
};

/// How long accepting pauses when the system has no more file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts on `listener` and spreads the connections, until `stop`.
pub async fn accept(listener: Listener, workers: Arc<Vec<WorkerHandle>>, stop: CancellationToken) {
    let mut next = 0_usize;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(connection) => {
                next = next.wrapping_add(1);
                let count = workers.len();
                let turns = (0..count).map(|turn| &workers[(next + turn) % count]);
                if let Some(worker) = turns.min_by_key(|worker| worker.load()) {
                    worker.take(connection).await;
                }
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections for the moment");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The connection failed before it was accepted; the next one may not.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotConnected
            | io::ErrorKind::InvalidInput
    )
}
