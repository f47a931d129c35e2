//! What the connections of one thread share.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper_util::rt::TokioExecutor;
use tokio_rustls::TlsAcceptor;

use super::idle::IdleConnections;
use crate::{
    certificate::Rules,
    gate::Gate,
    limits::Limits,
    net::send_queue::SendQueue,
    observe::{
        Recorder, Throttled,
        metrics::{Limit, Metrics},
    },
    stopping::Stopping,
};

/// One thread's part of all its connections.
pub(super) struct Worker {
    pub(super) current: ArcSwap<Current>,
    pub(super) recorder: Recorder,
    pub(super) metrics: Arc<Metrics>,
    pub(super) http1: hyper::server::conn::http1::Builder,
    /// What waits to be sent, to clients and to apps.
    pub(super) sends: SendQueue,
    /// Its idle connections.
    pub(super) idle: IdleConnections,
    /// Tells of connections without the header that their listener requires.
    pub(super) misread: Throttled,
    /// Tells of connections that were refused once a proxy had said whose they are.
    pub(super) crowded: Throttled,
    /// Tells of client certificates that were refused.
    pub(super) refused_certificate: Throttled,
    /// Tells of client certificates that have no name, or several.
    pub(super) nameless_certificate: Throttled,
    /// Tell of connections that were closed by a limit, each of one.
    pub(super) limit_lines: [Throttled; Limit::NAMES.len()],
    /// Ends answers that have no end, some time after a stop has begun.
    pub(super) stopping: Stopping,
}

/// What the configuration of the moment comes to in one thread.
pub(super) struct Current {
    pub(super) gate: Gate,
    pub(super) http2: hyper::server::conn::http2::Builder<TokioExecutor>,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) limits: Arc<Limits>,
}

impl Current {
    /// How TLS is spoken, and by which rules clients' certificates are read.
    pub(super) fn tls(&self) -> (Option<TlsAcceptor>, Option<Rules>) {
        (self.tls.clone(), self.gate.snapshot.client_certificates)
    }
}

impl Worker {
    /// What serves from here on. No other core counts this handle, so to take it costs next to nothing.
    pub(super) fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// What clients may take, as of now.
    pub(super) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.current.load().limits)
    }
}
