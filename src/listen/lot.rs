//! The parking lot of a worker: its connections of HTTP/1.1 that wait for their next request.
//!
//! A parked connection is no task, has no timer, and is unknown to the runtime. It is an entry in one map, by the order of
//! deadlines, and its socket is watched by one epoll. One task looks after all of them: when a client says something, the connection
//! leaves the lot and is served on. Each entry has a ticket that no other one ever has, so that nothing which comes late is taken
//! for another's.

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

use super::{control::Command, drain::LINGER, ended::Ended, seat::Seat, socket::Unbound};

/// Sockets that the system is asked for at once.
const EVENTS: usize = 64;

/// A parked connection, and what it takes to serve it on.
pub(super) struct Guest {
    /// First, so that it is closed before its place is given back.
    pub(super) socket: Unbound,
    pub(super) client: Option<IpAddr>,
    /// Whether a proxy has told who the client is.
    pub(super) is_proxied: bool,
    pub(super) seat: Seat,
}

/// Why one leaves the lot.
pub(super) enum Departure {
    /// Its client says something.
    Readable,
    Ended(Ended),
}

/// One worker's parked connections.
pub(super) struct Lot {
    epoll: AsyncFd<OwnedFd>,
    opened: Instant,
    guests: Mutex<Guests>,
    calls: Arc<Calls>,
}

#[derive(Default)]
struct Guests {
    /// In boxes: nodes of their size would lie scattered over what a burst of busy connections has left.
    parked: BTreeMap<Ticket, Box<Guest>>,
    next: u64,
}

impl Lot {
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
            guests: Mutex::default(),
            calls: Arc::default(),
        })
    }

    /// Parks a connection for as long as `limit`, or [`LINGER`] where a stop has begun. Given back where the system does not watch it.
    pub(super) fn park(&self, guest: Guest, limit: Duration) -> Result<(), (Guest, io::Error)> {
        let control = Arc::clone(guest.seat.place.control());
        let is_draining = control.get() != Command::Serve;
        let limit = if is_draining {
            limit.min(LINGER)
        } else {
            limit
        };
        let mut guests = self.lock();
        let ticket = Ticket::new(self.opened.elapsed().saturating_add(limit), guests.next);
        let data = EventData::new_u64(ticket.0);
        // What has come already is told of, too.
        let flags = EventFlags::IN | EventFlags::RDHUP;
        if let Err(error) = epoll::add(self.epoll.get_ref(), &guest.socket, data, flags) {
            return Err((guest, error.into()));
        }
        guests.next += 1;
        guests.parked.insert(ticket, Box::new(guest));
        let is_next = guests.first() == Some(ticket);
        drop(guests);
        if is_next {
            self.calls.bell.notify_one();
        }
        let waker = Waker::from(Arc::new(Call {
            ticket,
            calls: Arc::clone(&self.calls),
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

    /// Waits until somebody may have to leave.
    pub(super) async fn wait(&self) {
        let first = self.lock().first();
        let expiry = async {
            match first {
                Some(first) => sleep(first.deadline().saturating_sub(self.opened.elapsed())).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = self.calls.bell.notified() => {}
            // It fails only where the runtime ends, and this task with it.
            _ = self.epoll.readable() => {}
            () = expiry => {}
        }
    }

    /// Gives `to` all who have to leave now.
    pub(super) fn let_go(&self, mut to: impl FnMut(Guest, Departure)) {
        self.answer_calls(&mut to);
        self.hear_clients(&mut to);
        self.end_overdue(&mut to);
    }

    /// Looks at those who were sent a command.
    fn answer_calls(&self, to: &mut impl FnMut(Guest, Departure)) {
        for ticket in self.calls.take() {
            let Some(guest) = self.take(ticket) else {
                continue;
            };
            if guest.seat.place.control().get() == Command::Close {
                to(guest, Departure::Ended(Ended::Evicted));
                continue;
            }
            // A stop: from now on it has another deadline.
            let left = ticket.deadline().saturating_sub(self.opened.elapsed());
            if let Err((guest, error)) = self.park(guest, left) {
                to(guest, Departure::Ended(Ended::Lost(error)));
            }
        }
    }

    /// Takes those out whose clients speak, or are gone.
    fn hear_clients(&self, to: &mut impl FnMut(Guest, Departure)) {
        while let Ok(events) = self.epoll.try_io(Interest::READABLE, ready) {
            for event in events {
                if let Some(guest) = self.take(Ticket(event.data.u64())) {
                    let departure = departure(&guest.socket, event.flags);
                    to(guest, departure);
                }
            }
        }
    }

    fn end_overdue(&self, to: &mut impl FnMut(Guest, Departure)) {
        let now = self.opened.elapsed();
        let overdue = || self.lock().first().filter(|first| first.deadline() <= now);
        while let Some(guest) = overdue().and_then(|ticket| self.take(ticket)) {
            let ended = match guest.seat.place.control().get() {
                Command::Serve => Ended::KeepAliveTimeout,
                Command::Drain => Ended::Drained,
                Command::Close => Ended::Evicted,
            };
            to(guest, Departure::Ended(ended));
        }
    }

    fn take(&self, ticket: Ticket) -> Option<Guest> {
        let guest = self.lock().parked.remove(&ticket)?;
        // It fails only for what is not watched.
        let _ = epoll::delete(self.epoll.get_ref(), &guest.socket);
        Some(*guest)
    }

    fn lock(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guests {
    /// Whose deadline comes next.
    fn first(&self) -> Option<Ticket> {
        self.parked.first_key_value().map(|(ticket, _)| *ticket)
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

/// Why a client whose socket has `flags` leaves. One that has closed its side may have sent a request before.
fn departure(socket: &Unbound, flags: EventFlags) -> Departure {
    if !flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
        return Departure::Readable;
    }
    match recv(socket, &mut [0; 1], RecvFlags::PEEK) {
        Ok((_, 0)) => Departure::Ended(Ended::Closed),
        Ok(_) | Err(Errno::AGAIN) => Departure::Readable,
        Err(error) => Departure::Ended(Ended::Lost(error.into())),
    }
}

/// A deadline in milliseconds since the lot was opened, and a number that tells it from others with the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ticket(u64);

impl Ticket {
    /// Bits of the number: more than can be parked within a millisecond.
    const NUMBER: u32 = 24;

    /// Rounded up, so that nobody leaves before the time.
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

/// Who was sent a command, and has not been looked at since. No more than two for each who was parked: one is woken once.
#[derive(Default)]
struct Calls {
    called: Mutex<Vec<Ticket>>,
    /// Wakes the task that looks after the lot.
    bell: Notify,
}

impl Calls {
    fn take(&self) -> Vec<Ticket> {
        std::mem::take(&mut self.called.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Stands for the task that a parked connection does not have: to wake it is to call the lot.
struct Call {
    ticket: Ticket,
    calls: Arc<Calls>,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        let mut called = self
            .calls
            .called
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        called.push(self.ticket);
        drop(called);
        self.calls.bell.notify_one();
    }
}

#[cfg(test)]
mod tests;
