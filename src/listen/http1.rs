//! HTTP/1.1 on one connection. Between requests hyper gives the socket back. It becomes one of the worker's
//! idle connections, which have no task. Only what cannot leave its task waits there: TLS, and a connection to the app that belongs to
//! this client.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::server::conn::http1::{Builder, UpgradeableConnection};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::{
    admission::Place,
    client_io::{ClientIo, ClientSocket, IoState},
    control::Command,
    drain::LINGER,
    ended::Ended,
    service::Requests,
    socket::Unbound,
};
use crate::{forward::ClientConnection, limits::Limits, timer::Alarm};

/// A request's head in bytes.
const MAX_HEAD_BYTES: usize = u16::MAX as usize;
/// A request's header fields. nginx has no such bound; browsers send some twenty.
const MAX_FIELDS: usize = 200;
/// How long an idle connection keeps hyper's state, and a new one its task. A busy client asks before.
pub(super) const PARK_AFTER: Duration = Duration::from_secs(1);
/// How often a connection with a running request is checked.
const BUSY_TICK: Duration = Duration::from_secs(5);

/// How HTTP/1.1 is spoken; the same for every connection.
pub(super) fn protocol() -> Builder {
    let mut builder = Builder::new();
    builder
        // The head's time is kept here: see `Driver::tick`.
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_FIELDS);
    builder
}

/// How serving came to its end.
pub(super) enum Served {
    Ended(Ended),
    /// It waits for its next request, and needs no task for that.
    Idle(Unbound),
    /// The same for its first one.
    Silent(Unbound),
}

impl From<Ended> for Served {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

/// Serves a connection until it ends or is idle. `first` was read from it already, beginning at `since`.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` keeps what it is given twice, and idle connections are many"
)]
pub(super) fn serve<S: ClientSocket>(
    requests: Requests,
    mut socket: S,
    (mut first, mut since): (Bytes, Instant),
    place: Place,
) -> impl Future<Output = Served> + Send {
    async move {
        let mut is_draining = false;
        loop {
            is_draining |= place.control().get() != Command::Serve;
            // In a box of its own, so that an idle connection does not keep its size.
            let mut driver = Driver::boxed(&requests, socket, first, &place, is_draining);
            driver.head_since = Some(since);
            match driver.await {
                Stopped::Ended(ended) => return Served::Ended(ended),
                Stopped::Idle(idle_socket, rest) => (socket, first) = (idle_socket, rest),
            }
            since = Instant::now();
            place.set_idle();
            if !first.is_empty() {
                continue;
            }
            // A connection to the app that is this client's own would be lost with `requests`.
            if !requests.connection.is_bound() {
                match socket.unbind() {
                    Ok(Ok(idle)) => return Served::Idle(idle),
                    Ok(Err(error)) => return Served::Ended(Ended::Lost(error)),
                    Err(kept) => socket = kept,
                }
            }
            requests.rest();
            let limit = requests.worker.limits().keep_alive_timeout;
            match park(&mut socket, &place, limit, &mut is_draining).await {
                Ok(true) => {}
                Ok(false) => return Served::Ended(Ended::KeepAliveTimeout),
                Err(ended) => return Served::Ended(ended),
            }
            since = Instant::now();
        }
    }
}

/// Waits until the client says something, for `limit` at most. Whether it does.
pub(super) async fn park<S: ClientSocket>(
    socket: &mut S,
    place: &Place,
    limit: Duration,
    is_draining: &mut bool,
) -> Result<bool, Ended> {
    let mut timer = std::pin::pin!(tokio::time::sleep(limit));
    std::future::poll_fn(|context| {
        match place.control().poll(context) {
            Command::Close => return Poll::Ready(Err(Ended::Evicted)),
            Command::Drain if !*is_draining => {
                *is_draining = true;
                let end = timer.deadline().min(Instant::now() + LINGER);
                timer.as_mut().reset(end);
            }
            _ => {}
        }
        if let Poll::Ready(ready) = socket.poll_readable(context) {
            return Poll::Ready(ready.map(|()| true).map_err(Ended::Lost));
        }
        timer.as_mut().poll(context).map(|()| {
            if *is_draining {
                Err(Ended::Drained)
            } else {
                Ok(false)
            }
        })
    })
    .await
}

/// How hyper's part came to its end.
enum Stopped<S> {
    Ended(Ended),
    /// Nothing is under way. What was read and not yet used, beside.
    Idle(S, Bytes),
}

/// hyper's connection and the clock beside it.
struct Driver<'a, S: ClientSocket> {
    connection: Option<UpgradeableConnection<TokioIo<ClientIo<S>>, Requests>>,
    io: Arc<IoState>,
    client: Arc<ClientConnection>,
    limits: Arc<Limits>,
    place: &'a Place,
    is_draining: bool,
    tick: Alarm,
    /// Since when a head is being received.
    head_since: Option<Instant>,
    /// Since when the client takes nothing.
    blocked_since: Option<Instant>,
    /// Since when nothing is under way, as far as was looked.
    idle_since: Option<Instant>,
    /// Whether nothing was under way when it was last looked.
    was_idle: bool,
}

impl<'a, S: ClientSocket> Driver<'a, S> {
    fn boxed(
        requests: &Requests,
        socket: S,
        first: Bytes,
        place: &'a Place,
        is_draining: bool,
    ) -> Pin<Box<Self>> {
        let io = Arc::new(IoState::http1());
        let requests = requests.with_io(Arc::clone(&io));
        let client = Arc::clone(&requests.connection);
        let limits = requests.worker.limits();
        let socket = TokioIo::new(ClientIo::new(
            socket,
            first,
            Arc::clone(&io),
            Some(place.clone()),
        ));
        let worker = Arc::clone(&requests.worker);
        let builder = &worker.http1;
        let connection = if is_draining {
            builder
                .clone()
                .keep_alive(false)
                .serve_connection(socket, requests)
        } else {
            builder.serve_connection(socket, requests)
        };
        let now = Instant::now();
        Box::pin(Self {
            connection: Some(connection.with_upgrades()),
            io,
            client,
            tick: Alarm::new(now + idle_tick(&limits)),
            limits,
            place,
            is_draining,
            // Something has come, or it would be parked.
            head_since: Some(now),
            blocked_since: None,
            idle_since: None,
            was_idle: false,
        })
    }

    /// hyper's part as it is.
    fn take(&mut self) -> Stopped<S> {
        let parts = self
            .connection
            .take()
            .and_then(UpgradeableConnection::into_parts);
        let Some(parts) = parts else {
            return Stopped::Ended(Ended::Closed);
        };
        let (socket, unread) = parts.io.into_inner().into_parts();
        // hyper has taken what came first before it read on.
        let rest = if unread.is_empty() {
            parts.read_buf
        } else {
            unread
        };
        // Empty, it would still hold hyper's buffer.
        let rest = if rest.is_empty() { Bytes::new() } else { rest };
        Stopped::Idle(socket, rest)
    }

    /// What time has to say: after how long to look again, or how it ends. Without an end, nothing is under way, and hyper
    /// gives the socket back.
    fn tick(&mut self, now: Instant) -> Result<Duration, Option<Ended>> {
        let (is_busy, was_idle) = (self.io.is_busy(), self.was_idle);
        self.was_idle = !is_busy;
        if self.io.is_write_blocked() && !self.io.take_written() {
            let since = *self.blocked_since.get_or_insert(now);
            if now - since >= self.limits.write_timeout {
                self.io.give_up();
                return Err(Some(Ended::WriteTimeout));
            }
            return Ok(idle_tick(&self.limits).max(self.limits.write_timeout / 8));
        }
        self.blocked_since = None;
        if is_busy {
            (self.head_since, self.idle_since) = (None, None);
            return Ok(BUSY_TICK.min(self.limits.write_timeout / 4));
        }
        // However slowly it sends a head, it makes room for others.
        if was_idle {
            self.place.set_idle();
        }
        let idle_since = *self.idle_since.get_or_insert(now);
        // While hyper has bytes to write, or a request's body to read, it alone knows where the next message begins.
        if !self.is_between_messages() {
            if now - idle_since >= self.limits.keep_alive_timeout {
                return Err(Some(Ended::KeepAliveTimeout));
            }
            return Ok(idle_tick(&self.limits));
        }
        if self.io.has_received() {
            let since = *self.head_since.get_or_insert(now);
            if now - since >= self.limits.header_timeout {
                return Err(Some(Ended::HeaderTimeout));
            }
            return Ok(idle_tick(&self.limits));
        }
        self.head_since = None;
        if was_idle {
            Err(None)
        } else {
            Ok(idle_tick(&self.limits))
        }
    }

    /// Whether the last answer has left whole and its request has come whole, so that nothing is lost with hyper's state
    /// but what [`Self::take`] saves.
    fn is_between_messages(&self) -> bool {
        self.io.is_settled() && !self.client.has_open_body()
    }
}

/// How often a connection without a request is looked at.
fn idle_tick(limits: &Limits) -> Duration {
    PARK_AFTER
        .min(limits.header_timeout / 4)
        .min(limits.keep_alive_timeout / 4)
}

impl<S: ClientSocket> Future for Driver<'_, S> {
    type Output = Stopped<S>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Stopped<S>> {
        let this = self.get_mut();
        loop {
            let Some(connection) = &mut this.connection else {
                return Poll::Ready(Stopped::Ended(Ended::Closed));
            };
            match Pin::new(&mut *connection).poll(context) {
                Poll::Ready(Ok(())) => return Poll::Ready(Stopped::Ended(Ended::Closed)),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Stopped::Ended(Ended::of_hyper(&error)));
                }
                Poll::Pending => {}
            }
            if this.io.take_begun() {
                // Told to close just now, it answers this one request.
                this.place.set_busy();
            }
            match this.place.control().poll(context) {
                Command::Close if !this.io.is_busy() => {
                    return Poll::Ready(Stopped::Ended(Ended::Evicted));
                }
                Command::Drain | Command::Close if !this.is_draining => {
                    this.is_draining = true;
                    if this.io.is_busy() {
                        Pin::new(connection).graceful_shutdown();
                        continue;
                    }
                    if this.is_between_messages() {
                        return Poll::Ready(this.take());
                    }
                    if let Some(connection) = &mut this.connection {
                        Pin::new(connection).graceful_shutdown();
                    }
                    continue;
                }
                _ => {}
            }
            if this.tick.poll(context).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            match this.tick(now) {
                Ok(after) => this.tick.reset(now + after),
                Err(Some(ended)) => return Poll::Ready(Stopped::Ended(ended)),
                Err(None) => return Poll::Ready(this.take()),
            }
        }
    }
}

impl<S: ClientSocket> Drop for Driver<'_, S> {
    fn drop(&mut self) {
        self.io.leave();
    }
}
