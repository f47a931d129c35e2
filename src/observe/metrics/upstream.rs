//! Connections to the app.

use std::io;

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use super::label::ByLabel;

/// Why there is no connection to the app, or no answer on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialFailure {
    /// Nobody listens, the name is unknown, or TLS failed.
    Refused,
    /// It was not made in time.
    TimedOut,
}

impl DialFailure {
    const NAMES: [&str; 2] = ["refused", "timed_out"];
}

impl From<&io::Error> for DialFailure {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Refused,
        }
    }
}

/// A connection to the app that is open.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts connections to the app. Each call is one atomic addition.
#[derive(Clone, Debug)]
pub struct Upstream {
    open: Gauge,
    idle: Gauge,
    dials: Counter,
    failures: ByLabel<2>,
    reused: Counter,
    unasked: Counter,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            open: Gauge::default(),
            idle: Gauge::default(),
            dials: Counter::default(),
            failures: ByLabel::new("reason", DialFailure::NAMES),
            reused: Counter::default(),
            unasked: Counter::default(),
        }
    }
}

impl Upstream {
    /// A connection was made; it counts as open as long as what is given back lives.
    pub fn open(&self) -> OpenConnection {
        self.open.inc();
        OpenConnection(self.open.clone())
    }

    /// A connection waits for its next request.
    pub fn rests(&self) {
        self.idle.inc();
    }

    /// A connection that [`rests`](Self::rests) does so no more: a request took it, or it closes.
    pub fn stirs(&self) {
        self.idle.dec();
    }

    /// A connection is about to be made.
    pub fn dialled(&self) {
        self.dials.inc();
    }

    /// A connection could not be made.
    pub fn failed(&self, why: DialFailure) {
        self.failures.inc(why as usize);
    }

    /// A connection serves another request.
    pub fn reused(&self) {
        self.reused.inc();
    }

    /// The app sent bytes that nobody had asked for; the connection is not used again.
    pub fn unasked(&self) {
        self.unasked.inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "sidegate_upstream_connections",
            "Connections to the app that are open",
            self.open.clone(),
        );
        registry.register(
            "sidegate_upstream_connections_idle",
            "Connections to the app that wait for their next request",
            self.idle.clone(),
        );
        registry.register(
            "sidegate_upstream_dials",
            "Attempts to connect to the app",
            self.dials.clone(),
        );
        registry.register(
            "sidegate_upstream_dial_failures",
            "Attempts to connect to the app that failed, by how",
            self.failures.clone(),
        );
        registry.register(
            "sidegate_upstream_reused",
            "Requests that were sent on a connection to the app that had served another",
            self.reused.clone(),
        );
        registry.register(
            "sidegate_upstream_unasked_bytes",
            "Connections closed because the app sent more than it was asked for",
            self.unasked.clone(),
        );
    }
}
