//! Connections to one address of an app that idle for one client each.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{backend::Backend, connection::Connection};

/// One worker's private connections to `backend` that idle.
pub(super) struct PrivateConnections {
    backend: Arc<Backend>,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// By the order in which they came to idle.
    connections: BTreeMap<u64, Box<Connection>>,
    next: u64,
}

impl PrivateConnections {
    pub(super) fn new(backend: Arc<Backend>) -> Arc<Self> {
        Arc::new(Self {
            backend,
            idle: Mutex::default(),
        })
    }

    /// Has `connection` wait for its client.
    pub(super) fn keep(self: &Arc<Self>, connection: Box<Connection>) -> Reserved {
        self.backend.metrics.rests();
        let mut idle = self.lock();
        let number = idle.next;
        idle.next += 1;
        idle.connections.insert(number, connection);
        drop(idle);
        Reserved {
            among: Arc::clone(self),
            number,
        }
    }

    /// Closes as many as `count`, those that have idled for longest, and says how many.
    pub(super) fn shed(&self, count: usize) -> usize {
        let mut idle = self.lock();
        let oldest = std::iter::from_fn(|| idle.connections.pop_first());
        let shed = oldest.take(count).count();
        for _ in 0..shed {
            self.backend.metrics.stirs();
        }
        shed
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client has of the connection that waits for it. Dropped, it closes that.
pub(super) struct Reserved {
    among: Arc<PrivateConnections>,
    number: u64,
}

impl Reserved {
    /// Whether it leads to `backend`.
    pub(super) fn leads_to(&self, backend: &Arc<Backend>) -> bool {
        Arc::ptr_eq(&self.among.backend, backend)
    }

    /// Whether it still waits: others may have needed its place.
    pub(super) fn is_there(&self) -> bool {
        self.among.lock().connections.contains_key(&self.number)
    }

    /// The connection, if it still waits.
    pub(super) fn take(&self) -> Option<Box<Connection>> {
        let connection = self.among.lock().connections.remove(&self.number)?;
        self.among.backend.metrics.stirs();
        Some(connection)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.take();
    }
}
