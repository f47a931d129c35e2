//! Client connections.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use super::label::ByLabel;

/// What there was too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// `limits.connections` is reached.
    Connections,
    /// `limits.connections_per_client` is reached.
    ConnectionsPerClient,
    /// The process may not open more files.
    OpenFiles,
}

impl Shortage {
    const NAMES: [&str; 3] = ["connections", "connections_per_client", "open_files"];

    /// The label's value.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// Counts connections of clients. Each call is one atomic addition.
#[derive(Clone, Debug)]
pub struct Connections {
    open: Gauge,
    idle: Gauge,
    accepted: Counter,
    refused: ByLabel<3>,
    evicted: ByLabel<3>,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            open: Gauge::default(),
            idle: Gauge::default(),
            accepted: Counter::default(),
            refused: ByLabel::new("reason", Shortage::NAMES),
            evicted: ByLabel::new("reason", Shortage::NAMES),
        }
    }
}

impl Connections {
    /// One was accepted and is served from now on.
    pub fn opened(&self) {
        self.open.inc();
        self.accepted.inc();
    }

    /// One that was [`opened`](Self::opened) is no more.
    pub fn closed(&self) {
        self.open.dec();
    }

    /// One waits for its next request.
    pub fn rests(&self) {
        self.idle.inc();
    }

    /// One that [`rests`](Self::rests) does so no more: a request came, or it closes.
    pub fn stirs(&self) {
        self.idle.dec();
    }

    /// One was not let in.
    pub fn refused(&self, why: Shortage) {
        self.refused.inc(why as usize);
    }

    /// One that was idle was closed to make room.
    pub fn evicted(&self, why: Shortage) {
        self.evicted.inc(why as usize);
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "sidegate_connections",
            "Open client connections",
            self.open.clone(),
        );
        registry.register(
            "sidegate_connections_idle",
            "Idle client connections",
            self.idle.clone(),
        );
        registry.register(
            "sidegate_connections_accepted",
            "Client connections that were accepted",
            self.accepted.clone(),
        );
        registry.register(
            "sidegate_connections_refused",
            "Client connections that were refused, by the limit that was reached",
            self.refused.clone(),
        );
        registry.register(
            "sidegate_connections_evicted",
            "Idle client connections that were closed to make room, by the limit that was reached",
            self.evicted.clone(),
        );
    }
}
