//! Connections to the app.

use std::io;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use rustix::io::Errno;

/// Why there is no connection to the app, or no answer on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialFailure {
    /// Nobody listens, the name is unknown, or TLS failed.
    Refused,
    /// It was not made in time.
    TimedOut,
    /// The process may not open more files.
    OpenFiles,
}

impl DialFailure {
    const NAMES: [&str; 3] = ["refused", "timed_out", "open_files"];
}

impl From<&io::Error> for DialFailure {
    fn from(error: &io::Error) -> Self {
        let number = error.raw_os_error();
        let is_short = [Errno::MFILE, Errno::NFILE]
            .iter()
            .any(|short| number == Some(short.raw_os_error()));
        match error.kind() {
            _ if is_short => Self::OpenFiles,
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

/// Counts connections to one app. Each call is one atomic addition.
#[derive(Clone, Debug, Default)]
pub struct Upstream {
    open: Gauge,
    idle: Gauge,
    dials: Counter,
    failures: [Counter; DialFailure::NAMES.len()],
    reused: Counter,
    unasked: Counter,
    ejections: Counter,
    retries: Counter,
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
        self.failures[why as usize].inc();
    }

    /// A connection serves another request.
    pub fn reused(&self) {
        self.reused.inc();
    }

    /// The app sent bytes that nobody had asked for; the connection is not used again.
    pub fn unasked(&self) {
        self.unasked.inc();
    }

    /// An address of the app gets no requests for a while.
    pub fn ejected(&self) {
        self.ejections.inc();
    }

    /// A request is sent to another address of the app.
    pub fn retried(&self) {
        self.retries.inc();
    }
}

type Labels = [(&'static str, String); 1];
type FailureLabels = (
    [(&'static str, String); 1],
    [(&'static str, &'static str); 1],
);

/// The counts of every app, by its name.
#[derive(Clone, Debug, Default)]
pub struct Upstreams {
    open: Family<Labels, Gauge>,
    idle: Family<Labels, Gauge>,
    dials: Family<Labels, Counter>,
    failures: Family<FailureLabels, Counter>,
    reused: Family<Labels, Counter>,
    unasked: Family<Labels, Counter>,
    ejections: Family<Labels, Counter>,
    retries: Family<Labels, Counter>,
}

impl Upstreams {
    /// What is counted of the app that operators call `name`.
    pub fn of(&self, name: &str) -> Upstream {
        let labels = &[("upstream", name.to_owned())];
        let failures = DialFailure::NAMES.map(|reason| {
            let labels = (labels.clone(), [("reason", reason)]);
            self.failures.get_or_create(&labels).clone()
        });
        Upstream {
            open: self.open.get_or_create(labels).clone(),
            idle: self.idle.get_or_create(labels).clone(),
            dials: self.dials.get_or_create(labels).clone(),
            failures,
            reused: self.reused.get_or_create(labels).clone(),
            unasked: self.unasked.get_or_create(labels).clone(),
            ejections: self.ejections.get_or_create(labels).clone(),
            retries: self.retries.get_or_create(labels).clone(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "sidegate_upstream_connections",
            "Open connections to the app",
            self.open.clone(),
        );
        registry.register(
            "sidegate_upstream_connections_idle",
            "Idle connections to the app",
            self.idle.clone(),
        );
        registry.register(
            "sidegate_upstream_dials",
            "Attempts to connect to the app",
            self.dials.clone(),
        );
        registry.register(
            "sidegate_upstream_dial_failures",
            "Failed attempts to connect to the app, by reason",
            self.failures.clone(),
        );
        registry.register(
            "sidegate_upstream_reused",
            "Requests that were sent on a reused connection to the app",
            self.reused.clone(),
        );
        registry.register(
            "sidegate_upstream_unasked_bytes",
            "Connections that were closed because the app sent more than its answer announced",
            self.unasked.clone(),
        );
        registry.register(
            "sidegate_upstream_ejections",
            "Times that an address of the app was taken out because it failed",
            self.ejections.clone(),
        );
        registry.register(
            "sidegate_upstream_retries",
            "Requests that were sent to a second address of the app because the first gave no answer",
            self.retries.clone(),
        );
    }
}
