//! Stops the gate: every open connection is asked once to finish its requests and accept no more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::control::{Command, Control};

/// How long idle connections are still served after a stop has begun: a request may be on its way to them.
pub(super) const LINGER: Duration = Duration::from_millis(500);

/// One worker's open connections.
#[derive(Default)]
pub(super) struct Drain(Mutex<Open>);

#[derive(Default)]
struct Open {
    has_begun: bool,
    next: u64,
    connections: HashMap<u64, Arc<Control>>,
}

/// A connection's entry; removed when it is dropped.
pub(super) struct Registration {
    drain: Arc<Drain>,
    number: u64,
}

impl Drain {
    /// Tells every connection, those that register later included.
    pub(super) fn begin(&self) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.has_begun = true;
        for connection in open.connections.values() {
            connection.send(Command::Drain);
        }
    }

    pub(super) fn register(self: &Arc<Self>, connection: &Arc<Control>) -> Registration {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.has_begun {
            connection.send(Command::Drain);
        }
        let number = open.next;
        open.next += 1;
        open.connections.insert(number, Arc::clone(connection));
        Registration {
            drain: Arc::clone(self),
            number,
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut open = self.drain.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.connections.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_is_told() {
        let drain = Arc::<Drain>::default();
        let [early, gone, late] = [(); 3].map(|()| Arc::<Control>::default());
        let registration = drain.register(&early);
        drop(drain.register(&gone));
        drain.begin();
        let _late = drain.register(&late);
        let commands = [&early, &gone, &late].map(|control| control.get());
        assert_eq!(commands, [Command::Drain, Command::Serve, Command::Drain]);
        drop(registration);
        assert_eq!(drain.0.lock().unwrap().connections.len(), 1);
    }
}
