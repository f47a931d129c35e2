//! HTTP/2 on one connection: how much it may hold, how many streams its client may reset, and when it ends.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use hyper::server::conn::http2::{Builder, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    admission::Place,
    client_io::{ClientIo, ClientSocket, IoState},
    context::Worker,
    control::Command,
    ended::Ended,
    frames_sent::{FramesSent, MalformedRequests},
    service::Requests,
    streams::Streams,
};
use crate::{limits::Limits, observe::metrics::Limit, random};

/// A request's header list in bytes (RFC 9113 §6.5.2).
const MAX_HEADER_LIST: u32 = u16::MAX as u32;
/// Bytes of a request's body in flight.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes of the bodies of all requests in flight.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What h2 buffers of one answer before hyper waits. The bound over all streams is `limits.http2_buffer`.
const STREAM_SEND_BUFFER: usize = 32 * 1024;
/// How long a client may take to close a connection without streams after GOAWAY.
const GOAWAY_GRACE: Duration = Duration::from_secs(10);
/// The window in which resets are counted.
const RESET_WINDOW: Duration = Duration::from_mins(1);
/// How often a connection is looked at; more often where a limit is short.
const TICK: Duration = Duration::from_secs(1);
/// What the log says of a request that h2 refuses.
const MALFORMED: &str = "HTTP/2: a malformed request, such as <, > or ` in its path, a field `connection`, or a wrong \
                         content-length; its stream was reset";

/// How HTTP/2 is spoken; the same for every connection.
pub(super) fn protocol(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        // No pings: the answer to one stands behind whatever the client has not read yet, so that they would end slow
        // readers. TCP asks whether a client is still there.
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buf_size(STREAM_SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .enable_connect_protocol();
    builder
}

/// Serves a connection to its end. `first` was read from it already.
pub(super) fn serve<S: ClientSocket>(
    requests: &Requests,
    socket: S,
    first: Bytes,
    place: Place,
) -> impl Future<Output = Ended> + use<S> {
    let worker = Arc::clone(&requests.worker);
    let current = worker.current();
    let limits = Arc::clone(&current.limits);
    let io = Arc::<IoState>::default();
    let streams = Streams::new(&limits, &worker.metrics.limits);
    let socket = ClientIo::new(socket, first, Arc::clone(&io), Some(place.clone()));
    let malformed = Arc::<MalformedRequests>::default();
    let socket = FramesSent::new(socket, Arc::clone(&malformed));
    let client = requests.peer.address();
    let requests = requests.with_streams(Arc::clone(&streams));
    let connection = current
        .http2
        .serve_connection(TokioIo::new(socket), requests);
    let now = Instant::now();
    // Not all at one time: connections that began together would begin anew together.
    let jitter = f64::from(random::bytes::<1>()[0]) / 1024.0;
    Driver {
        connection: Box::pin(connection),
        io,
        streams,
        malformed,
        client,
        place,
        draining_since: None,
        tick: Box::pin(sleep_until(now + tick(&limits))),
        opened: now,
        max_age: limits.http2_max_age.mul_f64(1.0 - jitter),
        worker,
        limits,
        idle_since: now,
        blocked_since: None,
        sent: 0,
        stuck_since: None,
        stalled: 0,
        resets_since: now,
        seen: 0,
    }
}

type HyperConnection<S> = Connection<TokioIo<FramesSent<ClientIo<S>>>, Requests, TokioExecutor>;

struct Driver<S: ClientSocket> {
    connection: Pin<Box<HyperConnection<S>>>,
    io: Arc<IoState>,
    streams: Arc<Streams>,
    malformed: Arc<MalformedRequests>,
    client: Option<IpAddr>,
    worker: Arc<Worker>,
    limits: Arc<Limits>,
    place: Place,
    /// Since when the client is asked to open no more streams.
    draining_since: Option<Instant>,
    tick: Pin<Box<Sleep>>,
    opened: Instant,
    max_age: Duration,
    /// Since when there has been no stream, as far as was looked.
    idle_since: Instant,
    blocked_since: Option<Instant>,
    /// What has left of all bodies, and since when that is no more although there is more, as far as was looked.
    sent: usize,
    stuck_since: Option<Instant>,
    /// Streams that wait for nothing but their client.
    stalled: u32,
    resets_since: Instant,
    /// Requests begun when it was last looked.
    seen: u32,
}

fn tick(limits: &Limits) -> Duration {
    TICK.min(limits.header_timeout / 4)
        .min(limits.write_timeout / 4)
        .min(limits.http2_idle_timeout / 4)
        .min(limits.http2_max_age / 4)
}

impl<S: ClientSocket> Driver<S> {
    /// What time has to say.
    fn tick(&mut self, now: Instant) -> Option<Ended> {
        if self.io.is_write_blocked() && !self.io.take_written() {
            let since = *self.blocked_since.get_or_insert(now);
            if now - since >= self.limits.write_timeout {
                return Some(Ended::WriteTimeout);
            }
        } else {
            self.blocked_since = None;
        }
        let budget = &self.streams.budget;
        let has_unsent = budget.has_unsent();
        let has_moved = budget.sent() != self.sent;
        self.sent = budget.sent();
        let stuck_since = match self.stuck_since {
            _ if !has_unsent => None,
            Some(since) if !has_moved => Some(since),
            // What is held may be there since a moment ago.
            _ => Some(now),
        };
        self.stuck_since = stuck_since;
        if stuck_since.is_some_and(|since| now - since >= self.limits.write_timeout)
            && !self.has_open_streams()
        {
            return Some(Ended::WriteTimeout);
        }
        let stalled = self.streams.take_stalled(now, self.limits.write_timeout);
        for _ in 0..stalled.taken {
            self.hit(Limit::WriteTimeout);
        }
        self.stalled = stalled.open;
        if now - self.resets_since >= RESET_WINDOW {
            self.resets_since = now;
            self.streams.resets.store(0, Ordering::Relaxed);
        }
        if self.has_open_streams() {
            self.idle_since = now;
            // One that was stuck may have gone on.
            self.place.set_busy();
        } else if let Some(since) = stuck_since {
            // Whether it says something else does not count: it could hold what it does not take for ever.
            self.idle_since = now;
            if now - since >= self.limits.write_timeout / 4 {
                self.place.set_idle();
            } else {
                self.place.set_busy();
            }
        } else {
            self.place.set_idle();
            let idle = now - self.idle_since;
            if self.seen == 0 && idle >= self.limits.header_timeout {
                return Some(Ended::Silent);
            }
            if idle >= self.limits.http2_idle_timeout {
                self.drain(now, Limit::Http2IdleTimeout);
            }
            if let Some(since) = self.draining_since
                && idle.min(now - since) >= GOAWAY_GRACE
            {
                return Some(Ended::GoneAway);
            }
        }
        if now - self.opened >= self.max_age {
            self.drain(now, Limit::Http2MaxAge);
        }
        None
    }

    /// Whether there are streams that wait for more than their client.
    fn has_open_streams(&self) -> bool {
        self.streams.open.load(Ordering::Relaxed) > self.stalled
    }

    /// Asks the client to open no more streams here (GOAWAY, RFC 9113 §6.8).
    fn go_away(&mut self, now: Instant) {
        self.draining_since = Some(now);
        self.connection.as_mut().graceful_shutdown();
    }

    /// The same for a limit that was reached.
    fn drain(&mut self, now: Instant, limit: Limit) {
        if self.draining_since.is_none() {
            self.hit(limit);
            self.go_away(now);
        }
    }

    /// Tells of requests that h2 has refused.
    fn tell_malformed(&self) {
        for _ in 0..self.malformed.take() {
            let recorder = &self.worker.recorder;
            recorder.refused(self.client, StatusCode::BAD_REQUEST, MALFORMED);
        }
    }

    fn hit(&self, limit: Limit) {
        self.worker.metrics.limits.hit(limit);
    }
}

impl<S: ClientSocket> Future for Driver<S> {
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended> {
        let this = self.get_mut();
        let ended = ready!(this.poll_end(context));
        if let Some(limit) = ended.limit() {
            this.streams.give_up(limit);
        }
        Poll::Ready(ended)
    }
}

impl<S: ClientSocket> Driver<S> {
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        loop {
            let polled = self.connection.as_mut().poll(context);
            self.tell_malformed();
            match polled {
                Poll::Ready(Ok(())) => return Poll::Ready(Ended::Closed),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Ended::of_hyper(&error));
                }
                Poll::Pending => {}
            }
            let begun = self.streams.begun.load(Ordering::Relaxed);
            if begun != self.seen {
                self.seen = begun;
                self.place.set_busy();
            }
            if self.streams.resets.load(Ordering::Relaxed) > self.limits.http2_resets {
                return Poll::Ready(Ended::TooManyResets);
            }
            match self.place.control().poll(context) {
                Command::Close if !self.has_open_streams() => {
                    return Poll::Ready(Ended::Evicted);
                }
                Command::Drain | Command::Close if self.draining_since.is_none() => {
                    self.go_away(Instant::now());
                    continue;
                }
                _ => {}
            }
            if self.tick.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if let Some(ended) = self.tick(now) {
                return Poll::Ready(ended);
            }
            let next = now + tick(&self.limits);
            self.tick.as_mut().reset(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::{Response, service::service_fn};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::{pause, timeout},
    };

    use super::*;

    /// It may read what it was sent long ago, and answers nothing meanwhile.
    #[tokio::test]
    async fn a_client_that_answers_nothing_for_minutes_keeps_its_connection() {
        pause();
        let (near, mut far) = duplex(64 * 1024);
        let answer = service_fn(async |_| Ok::<_, Infallible>(Response::new(String::new())));
        let served = protocol(&Limits::default()).serve_connection(TokioIo::new(near), answer);
        let served = tokio::spawn(served);
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat();
        far.write_all(&preface).await.unwrap();
        let mut bytes = [0; 1024];
        while timeout(Duration::from_mins(5), far.read(&mut bytes))
            .await
            .is_ok_and(|length| length.unwrap() > 0)
        {}
        assert!(!served.is_finished());
        served.abort();
    }
}
