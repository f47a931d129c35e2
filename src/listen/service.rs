//! The gate as hyper calls it, for each request of one connection.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Method, header::CONTENT_TYPE};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{Request, Response, body::Incoming, service::Service, upgrade::OnUpgrade};
use tokio::time::Instant;

use super::{
    admission::{RequestCounter, RequestPlace},
    client_io::IoState,
    context::Worker,
    send_budget::StreamBudget,
    streams::{StreamPlace, Streams},
    unread_body,
};
use crate::{
    answer::Reject,
    body_error::BodyError,
    clean::Peer,
    forward::{ClientConnection, Downstream, TunnelHold, is_type},
    observe::metrics::Limit,
    response::Recorded,
    stopping::{CUT_AFTER, LONGEST_WAIT, StopWaker, Stopping},
    timer::{Timer, TimerHome},
};

/// What the requests of one connection share.
pub(super) struct Requests {
    pub(super) worker: Arc<Worker>,
    pub(super) peer: Arc<Peer>,
    counter: RequestCounter,
    timer: Arc<TimerHome>,
    pub(super) connection: Arc<ClientConnection>,
    protocol: Protocol,
}

enum Protocol {
    Http1(Arc<IoState>),
    Http2(Arc<Streams>),
}

impl Requests {
    pub(super) fn new(worker: Arc<Worker>, peer: Peer, counter: RequestCounter) -> Self {
        Self {
            worker,
            peer: Arc::new(peer),
            counter,
            timer: Arc::default(),
            connection: Arc::default(),
            protocol: Protocol::Http1(Arc::default()),
        }
    }

    /// None is under way, and none may be for long: what only a busy connection needs goes.
    pub(super) fn rest(&self) {
        self.timer.clear();
    }

    /// The same over HTTP/1.1, on a socket watched by `io`.
    pub(super) fn with_io(&self, io: Arc<IoState>) -> Self {
        self.with(Protocol::Http1(io))
    }

    /// The same over HTTP/2.
    pub(super) fn with_streams(&self, streams: Arc<Streams>) -> Self {
        self.with(Protocol::Http2(streams))
    }

    fn with(&self, protocol: Protocol) -> Self {
        Self {
            worker: Arc::clone(&self.worker),
            peer: Arc::clone(&self.peer),
            counter: self.counter.clone(),
            timer: Arc::clone(&self.timer),
            connection: Arc::clone(&self.connection),
            protocol,
        }
    }
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

    /// The future lives in a box of its own, so that a connection does not keep its size.
    fn call(&self, request: Request<Incoming>) -> Self::Future {
        Box::pin(self.answer(request))
    }
}

impl Requests {
    fn answer(
        &self,
        mut request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Answer>, Infallible>> + Send + use<> {
        let worker = Arc::clone(&self.worker);
        let (downstream, turn) = match &self.protocol {
            Protocol::Http1(io) => {
                io.begin_request();
                let connection = Arc::clone(&self.connection);
                connection.begin_request(request.body().is_end_stream());
                (
                    Downstream::http1(self.timer.take(), Arc::clone(&connection)),
                    Turn::Http1(EndOfRequest(Arc::clone(io)), connection),
                )
            }
            // Its requests are tasks, and each has a timer of its own.
            Protocol::Http2(streams) => (
                Downstream::http2(Timer::default()),
                Turn::Http2(streams.begin()),
            ),
        };
        let place = self.counter.take().map(Arc::new);
        if request.extensions().get::<OnUpgrade>().is_some() {
            // As long as a tunnel is open, it is a request under way, and over HTTP/2 a stream: the same one, counted once.
            let stream = match &self.protocol {
                Protocol::Http1(_) => None,
                Protocol::Http2(streams) => Some(streams.keep_open()),
            };
            let kept = TunnelHold::new((stream, place.clone()));
            request.extensions_mut().insert(kept);
        }
        let is_tunnel = request.method() == Method::CONNECT;
        // The one configuration under which it is answered, whatever comes meanwhile.
        let current = worker.current();
        let begun = current.gate.begin(request, &self.peer, &worker.recorder);
        async move {
            let response = if place.is_some() {
                current.gate.finish(begun, downstream).await
            } else {
                worker.metrics.limits.hit(Limit::RequestsPerClient);
                current.gate.refuse(begun, &Reject::TooManyRequests)
            };
            let (head, body) = response.into_parts();
            let has_length = body.size_hint().exact().is_some();
            let cut = Cut::of(&head.headers, has_length, matches!(turn, Turn::Http2(_)));
            let (body, end) = match turn {
                Turn::Http1(end, connection) => {
                    if connection.has_open_body() {
                        unread_body::settle().await;
                    }
                    (AnswerBody::Http1(body), Some(end))
                }
                Turn::Http2(stream) => {
                    if is_tunnel && head.status.is_success() {
                        // hyper lets go of the answer as soon as its head is sent: that is no reset.
                        stream.complete();
                    }
                    (
                        AnswerBody::Http2(Box::new(StreamBody::new(body, stream))),
                        None,
                    )
                }
            };
            let answer = Answer {
                worker,
                body,
                cut,
                end,
                _place: place,
            };
            Ok(Response::from_parts(head, answer))
        }
    }
}

/// How a stop ends an answer that may have no end.
struct Cut {
    /// It goes on for as long as both sides want it to.
    is_endless: bool,
    /// Whether what has come so far is whole.
    is_clean: bool,
    /// Whether a task serves this answer alone.
    is_own_task: bool,
    /// Bytes since the stop has begun.
    moved: usize,
    /// Since when the app has paused, in a stop.
    quiet_since: Option<Instant>,
    waker: StopWaker,
}

/// An answer of unknown length that has got fewer bytes than this in the longest wait of a stop is no download.
const TRICKLE: usize = 8 * 1024;
/// Types of answers that go on without an end, by their beginnings.
const ENDLESS: [&str; 4] = [
    EVENTS,
    "application/grpc",
    "application/connect+",
    "multipart/x-mixed-replace",
];
const EVENTS: &str = "text/event-stream";

impl Cut {
    /// Of an answer that tells no length, and of any stream of events: some servers tell one that none will reach.
    fn of(headers: &HeaderMap, has_length: bool, is_own_task: bool) -> Option<Self> {
        let kind = headers.get(CONTENT_TYPE);
        let is = |beginning: &str| is_type(kind, beginning);
        let has_events = is(EVENTS);
        if has_length && !has_events {
            return None;
        }
        Some(Self {
            is_endless: ENDLESS.into_iter().any(is),
            // A stream of events may end after any event, and its reader asks again.
            is_clean: has_events && !has_length,
            is_own_task,
            moved: 0,
            quiet_since: None,
            waker: StopWaker::default(),
        })
    }

    /// When the answer ends, in a stop that has begun at `since`; none where it may end by itself.
    fn deadline(&self, since: Instant) -> Option<Instant> {
        if self.is_endless {
            return Some(since + CUT_AFTER);
        }
        let quiet = self.quiet_since.map(|quiet| quiet + CUT_AFTER);
        let trickle = (self.moved < TRICKLE).then_some(since + LONGEST_WAIT);
        [quiet, trickle].into_iter().flatten().min()
    }

    /// Whether the answer ends, whatever the app has to say now.
    fn is_due(&self, stopping: &Stopping) -> bool {
        let deadline = stopping.since().and_then(|since| self.deadline(since));
        deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Nothing comes, as the app pauses, or as it `is_asked` for nothing while the client does not read: ready when the answer
    /// ends for that.
    fn poll_quiet(
        &mut self,
        is_asked: bool,
        stopping: &Stopping,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let waker = &mut self.waker;
        let Some(since) = waker.poll_since(stopping, self.is_own_task, context) else {
            return Poll::Pending;
        };
        self.quiet_since = is_asked.then(|| self.quiet_since.unwrap_or_else(Instant::now));
        match self.deadline(since) {
            Some(deadline) => self.waker.poll_at(deadline, context),
            None => Poll::Pending,
        }
    }

    /// The app goes on.
    fn note(&mut self, stopping: &Stopping, length: usize) {
        if stopping.since().is_some() {
            self.moved = self.moved.saturating_add(length);
            self.quiet_since = None;
        }
    }
}

/// What ends with a request's answer.
enum Turn {
    Http1(EndOfRequest, Arc<ClientConnection>),
    Http2(StreamPlace),
}

struct EndOfRequest(Arc<IoState>);

impl Drop for EndOfRequest {
    fn drop(&mut self) {
        self.0.end_request();
    }
}

/// An answer's body, and all that ends with it.
pub(super) struct Answer {
    worker: Arc<Worker>,
    body: AnswerBody,
    cut: Option<Cut>,
    end: Option<EndOfRequest>,
    _place: Option<Arc<RequestPlace>>,
}

impl Drop for Answer {
    /// One that has not come to its end may have been let go of with its connection, which knows why.
    fn drop(&mut self) {
        let given_up = match (&self.end, &self.body) {
            (Some(EndOfRequest(io)), _) => io.given_up(),
            (None, AnswerBody::Http2(body)) => body.place.given_up(),
            (None, AnswerBody::Http1(_)) => None,
        };
        if let Some(error) = given_up {
            self.body.break_off(&error);
        }
    }
}

enum AnswerBody {
    Http1(Recorded),
    Http2(Box<StreamBody>),
}

impl AnswerBody {
    /// Whether its connection may hold more of it. If not, the task of `context` is woken when it may.
    fn has_room(&self, context: &Context<'_>) -> bool {
        match self {
            Self::Http1(_) => true,
            Self::Http2(stream) => stream.budget.poll_room(context).is_ready(),
        }
    }

    /// Ends it for a stop. What is told of that, unless it is whole.
    fn cut_off(&mut self, is_clean: bool) -> Option<Result<Frame<Bytes>, BodyError>> {
        self.break_off(&BodyError::Stopping);
        if let Self::Http2(stream) = self {
            stream.place.complete();
        }
        (!is_clean).then_some(Err(BodyError::Stopping))
    }

    /// Says why it is broken off.
    fn break_off(&mut self, error: &BodyError) {
        match self {
            Self::Http1(body) => body.break_off(error),
            Self::Http2(stream) => {
                let mut body = stream.body.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(body) = &mut *body {
                    body.break_off(error);
                }
            }
        }
    }
}

/// A body of HTTP/2, which its connection can take away: hyper does not ask a stalled stream for anything.
struct StreamBody {
    body: Arc<Mutex<Option<Recorded>>>,
    budget: StreamBudget,
    place: StreamPlace,
}

impl StreamBody {
    fn new(body: Recorded, mut place: StreamPlace) -> Self {
        let body = Arc::new(Mutex::new(Some(body)));
        let budget = place.answer(&body);
        Self {
            body,
            budget,
            place,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(body) = &mut *body else {
            self.place.complete();
            return Poll::Ready(Some(Err(BodyError::Stalled)));
        };
        let frame = ready!(Pin::new(body).poll_frame(context));
        // What breaks off at the other end is not the client's reset.
        if !matches!(frame, Some(Ok(_))) {
            self.place.complete();
        }
        Poll::Ready(
            frame.map(|frame| frame.map(|frame| frame.map_data(|bytes| self.budget.hold(bytes)))),
        )
    }

    fn with<T>(&self, look: impl FnOnce(&Recorded) -> T) -> Option<T> {
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        body.as_ref().map(look)
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let stopping = &this.worker.stopping;
        if let Some(cut) = &this.cut
            && cut.is_due(stopping)
        {
            return Poll::Ready(this.body.cut_off(cut.is_clean));
        }
        let is_asked = this.body.has_room(context);
        let polled = match &mut this.body {
            _ if !is_asked => Poll::Pending,
            AnswerBody::Http1(body) => Pin::new(body).poll_frame(context),
            AnswerBody::Http2(body) => body.poll(context),
        };
        if let Some(cut) = &mut this.cut {
            let is_over = match &polled {
                Poll::Pending => cut.poll_quiet(is_asked, stopping, context).is_ready(),
                Poll::Ready(Some(Ok(frame))) => {
                    cut.note(stopping, frame.data_ref().map_or(0, Bytes::len));
                    false
                }
                Poll::Ready(_) => false,
            };
            if is_over {
                return Poll::Ready(this.body.cut_off(cut.is_clean));
            }
        }
        if let Poll::Ready(Some(Err(BodyError::Silent(_)))) = &polled {
            let limits = &this.worker.metrics.limits;
            limits.hit(Limit::ResponseBodyTimeout);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            AnswerBody::Http1(body) => body.is_end_stream(),
            AnswerBody::Http2(body) => {
                let is_over = body.with(HttpBody::is_end_stream).unwrap_or_default();
                if is_over {
                    body.place.complete();
                }
                is_over
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            AnswerBody::Http1(body) => body.size_hint(),
            AnswerBody::Http2(body) => body.with(HttpBody::size_hint).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every request in flight takes so much, and it is moved into its box.
    #[test]
    fn the_future_of_a_request_is_small() {
        fn size<'a, F>(_: impl Fn(&'a Requests, Request<Incoming>) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(Requests::answer);
        assert!(size <= 1_024, "{size}");
    }
}
