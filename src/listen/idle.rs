//! A worker's idle connections: those of HTTP/1.1 that wait for their next request without a task, and new ones of any kind that have
//! said nothing yet.
//!
//! An idle connection has no timer, and the runtime does not know it. It is an entry in one map, by the order of deadlines, and one
//! epoll watches its socket. One task serves all of them: when a client says something, its connection leaves the map and gets a task
//! again. Each entry has a key that no other one ever has, so that an event which comes late is not taken for another connection's.

use std::{
    collections::BTreeMap,
    future::pending,
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Wake, Waker},
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io::Errno,
    net::{RecvFlags, recv},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Notify,
    time::{Instant, sleep},
};

use super::{
    connection_guard::ConnectionGuard, control::Command, drain::LINGER, ended::Ended,
    socket::Unbound,
};

/// Sockets that the system is asked for at once.
const EVENTS: usize = 64;

/// An idle connection, and what it takes to serve it on.
pub(super) struct IdleConnection {
    /// First, so that it is closed before its place is given back.
    pub(super) socket: Unbound,
    pub(super) client: Option<IpAddr>,
    /// Whether a proxy has told who the client is.
    pub(super) is_proxied: bool,
    /// Whether it has said nothing yet.
    pub(super) is_new: bool,
    pub(super) guard: ConnectionGuard,
}

/// Why one is idle no more.
pub(super) enum IdleEvent {
    /// Its client says something.
    Readable,
    Ended(Ended),
}

/// One worker's idle connections.
pub(super) struct IdleConnections {
    epoll: AsyncFd<OwnedFd>,
    opened: Instant,
    parked: Mutex<Parked>,
    commanded: Arc<Commanded>,
}

#[derive(Default)]
struct Parked {
    /// In boxes: nodes of their size would lie scattered over what a burst of busy connections has left.
    connections: BTreeMap<Key, Box<IdleConnection>>,
    next: u64,
}

impl IdleConnections {
    /// An empty one. Must be called inside a runtime.
    #[expect(
        deprecated,
        reason = "its other form is `unsafe`, for descriptors that somebody else may close; this one is owned"
    )]
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll: AsyncFd::with_interest(epoll, Interest::READABLE)?,
            opened: Instant::now(),
            parked: Mutex::default(),
            commanded: Arc::default(),
        })
    }

    /// Parks a connection for as long as `limit`, or [`LINGER`] where a stop has begun. Given back where the system does not watch it.
    pub(super) fn park(
        &self,
        connection: IdleConnection,
        limit: Duration,
    ) -> Result<(), (IdleConnection, io::Error)> {
        let control = Arc::clone(connection.guard.place.control());
        let is_draining = control.get() != Command::Serve;
        let limit = if is_draining {
            limit.min(LINGER)
        } else {
            limit
        };
        let mut parked = self.lock();
        let key = Key::new(self.opened.elapsed().saturating_add(limit), parked.next);
        let data = EventData::new_u64(key.0);
        // What has come already is told of, too.
        let flags = EventFlags::IN | EventFlags::RDHUP;
        if let Err(error) = epoll::add(self.epoll.get_ref(), &connection.socket, data, flags) {
            return Err((connection, error.into()));
        }
        parked.next += 1;
        parked.connections.insert(key, Box::new(connection));
        let is_next = parked.first() == Some(key);
        drop(parked);
        if is_next {
            self.commanded.notify.notify_one();
        }
        let waker = Waker::from(Arc::new(CommandWaker {
            key,
            commanded: Arc::clone(&self.commanded),
        }));
        // A command that was sent before this woke nobody who could still hear it.
        let is_late = match control.poll(&Context::from_waker(&waker)) {
            Command::Serve => false,
            Command::Drain => !is_draining,
            Command::Close => true,
        };
        if is_late {
            waker.wake();
        }
        Ok(())
    }

    /// Waits until something may be due.
    pub(super) async fn wait(&self) {
        let first = self.lock().first();
        let expiry = async {
            match first {
                Some(first) => sleep(first.deadline().saturating_sub(self.opened.elapsed())).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = self.commanded.notify.notified() => {}
            // It fails only where the runtime ends, and this task with it.
            _ = self.epoll.readable() => {}
            () = expiry => {}
        }
    }

    /// Takes out all that are idle no more, and gives them `to` somebody.
    pub(super) fn take_due(&self, mut to: impl FnMut(IdleConnection, IdleEvent)) {
        self.take_commanded(&mut to);
        self.take_readable(&mut to);
        self.take_expired(&mut to);
    }

    /// Those that were sent a command.
    fn take_commanded(&self, to: &mut impl FnMut(IdleConnection, IdleEvent)) {
        for key in self.commanded.take() {
            let Some(connection) = self.take(key) else {
                continue;
            };
            if connection.guard.place.control().get() == Command::Close {
                to(connection, IdleEvent::Ended(Ended::Evicted));
                continue;
            }
            // A stop: from now on it has another deadline.
            let left = key.deadline().saturating_sub(self.opened.elapsed());
            if let Err((connection, error)) = self.park(connection, left) {
                to(connection, IdleEvent::Ended(Ended::Lost(error)));
            }
        }
    }

    /// Those whose clients speak, or are gone.
    fn take_readable(&self, to: &mut impl FnMut(IdleConnection, IdleEvent)) {
        while let Ok(events) = self.epoll.try_io(Interest::READABLE, ready) {
            for event in events {
                if let Some(connection) = self.take(Key(event.data.u64())) {
                    let event = event_of(&connection.socket, event.flags);
                    to(connection, event);
                }
            }
        }
    }

    fn take_expired(&self, to: &mut impl FnMut(IdleConnection, IdleEvent)) {
        let now = self.opened.elapsed();
        let overdue = || self.lock().first().filter(|first| first.deadline() <= now);
        while let Some(connection) = overdue().and_then(|key| self.take(key)) {
            let ended = match connection.guard.place.control().get() {
                Command::Serve if connection.is_new => Ended::Silent,
                Command::Serve => Ended::KeepAliveTimeout,
                Command::Drain => Ended::Drained,
                Command::Close => Ended::Evicted,
            };
            to(connection, IdleEvent::Ended(ended));
        }
    }

    fn take(&self, key: Key) -> Option<IdleConnection> {
        let connection = self.lock().connections.remove(&key)?;
        // It fails only for what is not watched.
        let _ = epoll::delete(self.epoll.get_ref(), &connection.socket);
        Some(*connection)
    }

    fn lock(&self) -> MutexGuard<'_, Parked> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parked {
    /// Whose deadline comes next.
    fn first(&self) -> Option<Key> {
        self.connections.first_key_value().map(|(key, _)| *key)
    }
}

/// What the system tells without waiting.
fn ready(epoll: &OwnedFd) -> io::Result<Vec<Event>> {
    let mut events = Vec::with_capacity(EVENTS);
    epoll::wait(epoll, spare_capacity(&mut events), Some(&NOW))?;
    if events.is_empty() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    Ok(events)
}

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// What the `flags` of a socket mean. A client that has closed its side may have sent a request before.
fn event_of(socket: &Unbound, flags: EventFlags) -> IdleEvent {
    if !flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
        return IdleEvent::Readable;
    }
    match recv(socket, &mut [0; 1], RecvFlags::PEEK) {
        Ok((_, 0)) => IdleEvent::Ended(Ended::Closed),
        Ok(_) | Err(Errno::AGAIN) => IdleEvent::Readable,
        Err(error) => IdleEvent::Ended(Ended::Lost(error.into())),
    }
}

/// A deadline in milliseconds since the worker's start, and a number that tells it from others with the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u64);

impl Key {
    /// Bits of the number: more than can be parked within a millisecond.
    const NUMBER: u32 = 24;

    /// Rounded up, so that no connection ends before its time.
    fn new(deadline: Duration, number: u64) -> Self {
        let latest = u64::MAX >> Self::NUMBER;
        let millis = deadline.as_nanos().div_ceil(1_000_000);
        let millis = u64::try_from(millis).unwrap_or(latest).min(latest);
        Self(millis << Self::NUMBER | number & ((1 << Self::NUMBER) - 1))
    }

    fn deadline(self) -> Duration {
        Duration::from_millis(self.0 >> Self::NUMBER)
    }
}

/// Which connections were sent a command and have not been looked at since. No more than two entries for each that was parked: a waker
/// is woken once.
#[derive(Default)]
struct Commanded {
    keys: Mutex<Vec<Key>>,
    /// Wakes the task that serves all of them.
    notify: Notify,
}

impl Commanded {
    fn take(&self) -> Vec<Key> {
        std::mem::take(&mut self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Stands for the task that an idle connection does not have: what wakes it notes its key.
struct CommandWaker {
    key: Key,
    commanded: Arc<Commanded>,
}

impl Wake for CommandWaker {
    fn wake(self: Arc<Self>) {
        let mut keys = self
            .commanded
            .keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        keys.push(self.key);
        drop(keys);
        self.commanded.notify.notify_one();
    }
}

#[cfg(test)]
mod tests;
