//! What a connection takes up for as long as it is open, with a task or idle.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::{
    admission::Place,
    drain::{Drain, Registration},
};

/// What one connection takes up. All of it is given back when it is dropped.
pub(super) struct ConnectionGuard {
    /// Among all connections of the process.
    pub(super) place: Place,
    _registration: Registration,
    _counted: Counted,
    /// The worker does not end before. Last, so that whoever waits for that finds the rest given back.
    _tracked: TaskTrackerToken,
}

impl ConnectionGuard {
    /// For a connection that is told of a stop by `drain`. It was counted in `open` already, and is one of `connections`.
    pub(super) fn new(
        place: Place,
        drain: &Arc<Drain>,
        open: &Arc<AtomicUsize>,
        connections: &TaskTracker,
    ) -> Self {
        Self {
            _registration: drain.register(place.control()),
            place,
            _counted: Counted(Arc::clone(open)),
            _tracked: connections.token(),
        }
    }
}

/// Counts a connection down when it ends, however it ends.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
