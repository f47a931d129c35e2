//! Sockets, TLS and workers: everything before a request exists.
//!
//! One acceptor gives each connection to the worker with the fewest. The kernel's own distribution (`SO_REUSEPORT`) uses a hash
//! and leaves some cores idle when connections are few and long.
//!
//! [`admission`] bounds how many connections there are. A connection is only a socket until its client sends something. On a
//! listener with the PROXY protocol [`proxied`] reads the client's address. [`connection`] detects the protocol. [`http1`] and
//! [`http2`] serve it, and call the gate through [`service`]. Between two requests of HTTP/1.1 it is one of the [`idle`] connections.

mod admission;
pub mod app;
mod capacity;
mod client_io;
mod connection;
mod connection_guard;
mod context;
mod control;
mod drain;
mod ended;
mod frames_sent;
mod http1;
mod http2;
mod idle;
mod proxied;
pub mod proxy_protocol;
mod refusal;
mod send_budget;
mod service;
pub mod settings;
mod side;
mod socket;
mod streams;
pub mod tls;
mod unread_body;
mod worker;
mod write_timeout;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use self::worker::Dispatched;
pub use self::{
    admission::{Admission, Bounds},
    capacity::{Capacity, OpenFiles, memory_limit},
    refusal::refusal,
    side::{SideEnd, SideService, serve as serve_aside},
    socket::{Accepted, Listener, Stream, allow_open_files},
    worker::{Handle as WorkerHandle, WorkerConfig},
};
use crate::observe::Throttled;

/// How long accepting pauses when the system has no more file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// What a connection is told that there is no room for.
const NO_ROOM: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 48\r\nretry-after: 5\r\ncache-control: no-store\r\nconnection: close\r\n\r\n\
    There are too many connections. Try again soon.\n";

/// Accepts connections and spreads them over the workers.
pub struct Acceptor {
    /// Who may connect.
    pub admission: Arc<Admission>,
    /// Who serves.
    pub workers: Arc<Vec<WorkerHandle>>,
    /// Whether clients speak TLS, in which no refusal can be worded.
    pub is_tls: Arc<AtomicBool>,
    /// Whether connections begin with a header of the PROXY protocol.
    pub is_proxied: Arc<AtomicBool>,
    /// Ends accepting.
    pub stop: CancellationToken,
}

impl Acceptor {
    /// Accepts on `listener`, until the stop.
    pub async fn accept(&self, listener: Listener) {
        let full = Throttled::new(LOG_EVERY);
        let mut next = 0_usize;
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok(socket) => {
                    next = next.wrapping_add(1);
                    if let Some(refused) = self.admit(socket, next, &full).await {
                        let is_tls = self.is_tls.load(Ordering::Relaxed);
                        refused.socket.refuse(if is_tls { b"" } else { NO_ROOM });
                    }
                }
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => {
                    // One of ours is worth less than the next one.
                    self.admission.close_longest_idle();
                    if let Some(held_back) = full.turn(Instant::now()) {
                        tracing::warn!(
                            %error,
                            held_back,
                            "cannot accept connections; raise the limit on open files (LimitNOFILE, ulimit -n) or lower \
                             limits.connections"
                        );
                    }
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        () = tokio::time::sleep(PAUSE) => {}
                    }
                }
            }
        }
    }

    /// Hands a connection to the worker with the fewest. Gives it back where there is no room.
    async fn admit(&self, socket: Accepted, turn: usize, full: &Throttled) -> Option<Accepted> {
        let is_proxied = self.is_proxied.load(Ordering::Relaxed);
        // Whose connection it is the header tells, which is still to come.
        let client = socket.address().filter(|_| !is_proxied);
        let admitted = match self.admission.admit(client).await {
            Ok(admitted) => admitted,
            Err(whose) => {
                if let Some(held_back) = full.turn(Instant::now()) {
                    let limit = whose.key();
                    tracing::warn!(
                        client = client.map(tracing::field::display),
                        held_back,
                        limit,
                        "a connection was refused: the limit is reached and no connection is idle; raise {limit}"
                    );
                }
                return Some(socket);
            }
        };
        if let Some(whose) = admitted.evicted
            && let Some(held_back) = full.turn(Instant::now())
        {
            let limit = whose.key();
            tracing::warn!(
                client = client.map(tracing::field::display),
                held_back,
                limit,
                "an idle connection was closed for a new one: the limit is reached; raise {limit}"
            );
        }
        let mut connection = Dispatched {
            socket,
            place: admitted.place,
            is_proxied,
        };
        let count = self.workers.len();
        let turns = (0..count).map(|place| &self.workers[(turn + place) % count]);
        let mut workers: Vec<_> = turns.collect();
        workers.sort_by_key(|worker| worker.load());
        for worker in workers {
            match worker.dispatch(connection) {
                Ok(()) => return None,
                Err(back) => connection = back,
            }
        }
        if let Some(held_back) = full.turn(Instant::now()) {
            tracing::warn!(
                held_back,
                "a connection was refused: no worker accepts any; the machine is overloaded"
            );
        }
        Some(connection.socket)
    }
}

/// The interval between two log lines about the same problem.
const LOG_EVERY: Duration = Duration::from_secs(10);

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

#[cfg(test)]
mod tests;
