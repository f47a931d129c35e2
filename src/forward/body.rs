//! Bodies on their way: streamed with back-pressure, never collected.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE, HOST,
        SET_COOKIE, TRAILER, TRANSFER_ENCODING,
    },
};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    downstream::OpenBody,
    exchange::{RunningUpload, UploadEnd},
    http1::{BodyReader, Piece, RequestBodyLength},
    live::{Life, SHORT},
    pace::{LeastPace, Pace, TooSlow},
    pool::Lease,
};
use crate::{
    body::{Body, BodyError},
    clean::{forwarding, identity::ReservedNames},
    hop_by_hop,
    observe::{Received, metrics::Limit},
    timer::Timer,
};

/// A request's body on its way to the upstream. Trailers that name an identity, or what frames or routes
/// the message (RFC 9110 §6.5.1), are left out.
pub struct RequestBody {
    /// None once it is known that nothing comes.
    body: Option<Box<Moving>>,
}

struct Moving {
    body: Incoming,
    upload: Arc<Upload>,
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
pub(super) struct Upload {
    frames: AtomicU64,
    /// Whether its answer is under way: then both sides may take their time, for they may be talking with each other.
    is_answered: AtomicBool,
    /// Whether the client was to send more when it was asked last.
    waits_for_client: AtomicBool,
}

impl Upload {
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
        body: Incoming,
        reserved: &Arc<ReservedNames>,
        least: LeastPace,
        received: Option<Received>,
        open: Option<OpenBody>,
        most: Option<u64>,
        life: impl FnOnce() -> Option<Box<Life>>,
    ) -> Self {
        let body = (!body.is_end_stream()).then(|| {
            Box::new(Moving {
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
    pub(super) fn upload(&self) -> Option<Arc<Upload>> {
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

impl Moving {
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
        let polled = Pin::new(&mut moving.body).poll_frame(context);
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

/// An answer's body on its way to the client. Holds the upstream's connection until its end, then gives it
/// back; dropped before (the client is gone), it closes it, which tells the upstream to stop.
pub struct UpstreamBody {
    body: BodyReader,
    lease: Option<Lease>,
    /// The rest of the request, where the answer began before its end.
    upload: Option<RunningUpload>,
    /// None where it is nobody's, or short.
    life: Option<Box<Life>>,
    /// Bounds the wait for the upstream. Given back to its connection at the end.
    timer: Timer,
    patience: Duration,
    /// How much of the request had gone by when the wait began.
    uploaded: u64,
    /// Why it broke off, until that is said.
    broken: Option<io::Error>,
}

impl UpstreamBody {
    /// The body of an answer: all of it where it has come already, else as it comes.
    pub(super) fn begin(
        body: BodyReader,
        mut lease: Lease,
        upload: Option<RunningUpload>,
        (timer, patience): (Timer, Duration),
        life: impl FnOnce() -> Option<Box<Life>>,
    ) -> Body {
        if upload.is_none()
            && let Some(whole) = lease.connection.take_whole(&body)
        {
            lease.give_back();
            return Body::Full(whole);
        }
        let life = match body.left() {
            Some(0..=SHORT) => None,
            _ => life(),
        };
        let mut this = Self {
            body,
            lease: Some(lease),
            upload,
            life,
            timer,
            patience,
            uploaded: 0,
            broken: None,
        };
        this.give_back_at_end();
        Body::Upstream(this)
    }

    fn give_back_at_end(&mut self) {
        if self.body.is_over() {
            self.give_back();
        }
    }

    /// An upload that still runs goes on without the answer, and its connection is good for nothing else.
    fn give_back(&mut self) {
        self.upload = None;
        self.timer = Timer::default();
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }

    /// Looks after the rest of the request. Whether it broke off, and the answer with it.
    fn follow_upload(&mut self, context: &mut Context<'_>) -> bool {
        let (Some(upload), Some(lease)) = (&mut self.upload, &mut self.lease) else {
            return false;
        };
        let Poll::Ready(end) = upload.poll_end(context) else {
            return false;
        };
        self.upload = None;
        match end {
            UploadEnd::Sent(writer) => lease.connection.writer = Some(writer),
            UploadEnd::Refused => {}
            UploadEnd::BrokenOff => return true,
        }
        false
    }

    /// The upstream is waited for: ready when it has been silent for too long. A request that still moves is no
    /// silence.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let uploaded = self.upload.as_ref().map_or(0, RunningUpload::frames);
        if !self.timer.is_set() || uploaded != self.uploaded {
            self.uploaded = uploaded;
            self.timer.set(self.patience);
        }
        self.timer.poll_elapsed(context)
    }

    /// Ends it before its end.
    fn break_off(&mut self) {
        self.life = None;
        self.timer = Timer::default();
        self.lease = None;
        if let Some(upload) = self.upload.take() {
            upload.abort();
        }
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        self.break_off();
    }
}

impl HttpBody for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.follow_upload(context) {
            this.break_off();
            return Poll::Ready(Some(Err(BodyError::Length)));
        }
        let Some(lease) = &mut this.lease else {
            let broken = this.broken.take();
            return Poll::Ready(broken.map(|error| Err(BodyError::Upstream(error))));
        };
        let polled = lease.connection.poll_body(context, &mut this.body);
        if let Some(life) = &mut this.life
            && life.is_over(context, polled.is_pending())
        {
            this.break_off();
            return Poll::Ready(Some(Err(BodyError::SessionOver)));
        }
        let Poll::Ready(polled) = polled else {
            ready!(this.poll_silence(context));
            if let Some(lease) = &this.lease {
                lease.pool.backend.failed();
                tracing::warn!(
                    upstream = %lease.pool.backend,
                    "the app did not continue its answer within limits.response_body_timeout; it is broken off"
                );
            }
            this.break_off();
            return Poll::Ready(Some(Err(BodyError::Silent)));
        };
        this.timer.clear();
        let frame = match polled {
            Err(error) => {
                lease.pool.backend.failed();
                this.break_off();
                this.broken = Some(error.into());
                // The server drops what it has not sent when a body breaks off. One turn later it has sent it,
                // and the client sees as much as came.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Ok(Piece::Data(data)) => Some(Frame::data(data)),
            Ok(Piece::End(trailers)) => trailers.map(|mut trailers| {
                strip_trailers(&mut trailers);
                Frame::trailers(trailers)
            }),
        };
        // A server that knows the length does not ask again after the last byte.
        this.give_back_at_end();
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .left()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Fields that frame, route or authenticate a message have no place behind its body.
pub(super) fn strip_trailers(trailers: &mut HeaderMap) {
    hop_by_hop::strip(trailers);
    for name in [
        AUTHORIZATION,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        COOKIE,
        HOST,
        SET_COOKIE,
        TRAILER,
        TRANSFER_ENCODING,
    ] {
        trailers.remove(name);
    }
}
