//! A request's body on its way to the upstream: streamed with back-pressure, never collected.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    downstream::OpenBody,
    http1::RequestBodyLength,
    live::Life,
    pace::{LeastPace, Pace, TooSlow},
};
use crate::{
    body_error::BodyError,
    clean::{forwarding, identity::ReservedNames},
    hop_by_hop::strip_trailers,
    observe::{Received, metrics::Limit},
    timer::Timer,
};

/// A request's body on its way to the upstream. Trailers that name an identity, or what frames or routes
/// the message (RFC 9110 §6.5.1), are left out.
pub struct RequestBody {
    /// None once it is known that nothing comes.
    body: Option<Box<StreamingBody>>,
}

/// Where a request's body comes from.
pub(super) enum Source {
    /// From the client, as it sends it.
    Client(Incoming),
    /// All of it was read before.
    Read(Bytes),
}

impl Source {
    /// What was `read`, where that is all; else what comes.
    pub(super) fn of(body: Incoming, read: Option<Bytes>) -> Self {
        read.map_or(Self::Client(body), Self::Read)
    }

    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self {
            Self::Client(body) => Pin::new(body).poll_frame(context),
            Self::Read(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Read(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Client(body) => body.is_end_stream(),
            Self::Read(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Client(body) => body.size_hint(),
            Self::Read(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

struct StreamingBody {
    body: Source,
    upload: Arc<UploadProgress>,
    reserved: Arc<ReservedNames>,
    received: Received,
    /// Until it was read to its end.
    open: Option<OpenBody>,
    /// None where it is nobody's.
    life: Option<Box<Life>>,
    /// How many bytes of it may still come, where that is bounded.
    room: Option<u64>,
    pace: Pace,
    /// Bounds the wait for the client. Of its own, since it may outlast the answer.
    timer: Timer,
}

/// A request's body, seen from outside.
#[derive(Default)]
pub(super) struct UploadProgress {
    frames: AtomicU64,
    /// Whether its answer is under way: then both sides may take their time, for they may be talking with each other.
    is_answered: AtomicBool,
    /// Whether the client was to send more when it was asked last.
    waits_for_client: AtomicBool,
}

impl UploadProgress {
    /// Says whether its answer is under way.
    pub(super) fn set_answered(&self, is_answered: bool) {
        self.is_answered.store(is_answered, Ordering::Relaxed);
    }

    /// Whether the client is to send more before anything can go on.
    pub(super) fn waits_for_client(&self) -> bool {
        self.waits_for_client.load(Ordering::Relaxed)
    }

    /// The frames that have gone by.
    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }
}

impl RequestBody {
    /// `body` as it comes, its trailers held against `reserved`. It breaks off where `life` ends, and where the client
    /// does not keep the `least` pace, or sends more than `most` bytes.
    pub(super) fn new(
        body: Source,
        reserved: &Arc<ReservedNames>,
        least: LeastPace,
        received: Option<Received>,
        open: Option<OpenBody>,
        most: Option<u64>,
        life: impl FnOnce() -> Option<Box<Life>>,
    ) -> Self {
        let body = (!body.is_end_stream()).then(|| {
            Box::new(StreamingBody {
                body,
                upload: Arc::default(),
                reserved: Arc::clone(reserved),
                received: received.unwrap_or_default(),
                open,
                life: life(),
                room: most,
                pace: Pace::new(least),
                timer: Timer::default(),
            })
        });
        Self { body }
    }

    /// None at all.
    pub(super) fn empty() -> Self {
        Self { body: None }
    }

    /// Follows the body on its way; none where there is nothing to come.
    pub(super) fn upload(&self) -> Option<Arc<UploadProgress>> {
        self.body.as_ref().map(|moving| Arc::clone(&moving.upload))
    }

    /// How it is framed on its way.
    pub(super) fn length(&self) -> RequestBodyLength {
        if self.is_end_stream() {
            return RequestBodyLength::None;
        }
        let length = self.size_hint().exact();
        length.map_or(RequestBodyLength::Unknown, RequestBodyLength::Exactly)
    }
}

impl StreamingBody {
    /// The client is waited for. Ready when it is too slow.
    fn poll_too_slow(&mut self, context: &mut Context<'_>) -> Poll<TooSlow> {
        if self.upload.is_answered.load(Ordering::Relaxed) {
            self.pace.rest();
            self.timer.clear();
            return Poll::Pending;
        }
        if !self.pace.is_waiting() {
            self.timer.set_at(self.pace.wait(Instant::now()));
        }
        loop {
            ready!(self.timer.poll_elapsed(context));
            let now = Instant::now();
            if let Err(too_slow) = self.pace.judge(now) {
                return Poll::Ready(too_slow);
            }
            self.timer.set_at(self.pace.wait(now));
        }
    }

    /// Something has come.
    fn note(&mut self, frame: Option<&Result<Frame<Bytes>, hyper::Error>>) {
        if self.pace.is_waiting() {
            let data = frame.and_then(|frame| frame.as_ref().ok()?.data_ref());
            self.pace.moved(data.map_or(0, Bytes::len), Instant::now());
            self.timer.clear();
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(moving) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = moving.body.poll_frame(context);
        let waits = &moving.upload.waits_for_client;
        waits.store(polled.is_pending(), Ordering::Relaxed);
        if let Some(life) = &mut moving.life
            && life.is_over(context, polled.is_pending())
        {
            self.body = None;
            return Poll::Ready(Some(Err(BodyError::SessionOver)));
        }
        let Poll::Ready(frame) = polled else {
            let error = match ready!(moving.poll_too_slow(context)) {
                TooSlow::Silent => BodyError::TooSlow(Limit::RequestBodyTimeout),
                TooSlow::Trickling => BodyError::TooSlow(Limit::RequestBodyRate),
            };
            self.body = None;
            return Poll::Ready(Some(Err(error)));
        };
        moving.note(frame.as_ref());
        moving.upload.frames.fetch_add(1, Ordering::Relaxed);
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, Bytes::len);
            moving.received.add(length as u64);
            if let Some(room) = &mut moving.room {
                let Some(left) = room.checked_sub(length as u64) else {
                    self.body = None;
                    return Poll::Ready(Some(Err(BodyError::TooLarge)));
                };
                *room = left;
            }
        }
        if frame.is_none() || moving.body.is_end_stream() {
            moving.open.take().into_iter().for_each(OpenBody::end);
        }
        Poll::Ready(frame.map(|frame| {
            frame
                .map_err(BodyError::of_client)
                .map(|frame| match frame.into_trailers() {
                    Ok(mut trailers) => {
                        moving.reserved.strip(&mut trailers);
                        forwarding::strip(&mut trailers);
                        strip_trailers(&mut trailers);
                        Frame::trailers(trailers)
                    }
                    Err(data) => data,
                })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body
            .as_ref()
            .is_none_or(|moving| moving.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |moving| moving.body.size_hint())
    }
}
