//! Bodies on their way: streamed with back-pressure, never collected.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    HeaderMap,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE, HOST,
        SET_COOKIE, TRAILER, TRANSFER_ENCODING,
    },
};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{
    hop,
    live::{Life, SHORT},
    upstream::Lease,
};
use crate::{
    body::BodyError,
    clean::{forwarding, identity::ReservedNames},
    deadline::{Busy, Wait},
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
    /// None where it is nobody's.
    life: Option<Box<Life>>,
    /// The answer may be over before: then the client is still sending, and its connection does not rest.
    _busy: Busy,
}

/// How far a request's body has come, seen from outside.
#[derive(Default)]
pub(super) struct Upload {
    frames: AtomicU64,
    ended: AtomicBool,
}

impl Upload {
    /// The frames that have gone by, so that a wait can tell a long body from a silent one.
    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Whether all of it has gone by. Before, its connection is good for nothing else: an answer may come
    /// and end while the upload still runs.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

impl RequestBody {
    /// `body` as it comes, its trailers held against `reserved`; `wait` is that of its connection. It breaks off
    /// where `life` ends.
    pub(super) fn new(
        body: Incoming,
        reserved: &Arc<ReservedNames>,
        wait: &Arc<Wait>,
        life: impl FnOnce() -> Option<Box<Life>>,
    ) -> Self {
        let body = (!body.is_end_stream()).then(|| {
            Box::new(Moving {
                body,
                upload: Arc::default(),
                reserved: Arc::clone(reserved),
                life: life(),
                _busy: wait.busy(),
            })
        });
        Self { body }
    }

    /// Follows the body on its way; none where there is nothing to come.
    pub(super) fn upload(&self) -> Option<Arc<Upload>> {
        self.body.as_ref().map(|moving| Arc::clone(&moving.upload))
    }

    /// Another body as empty as this one; none when this one is not empty.
    pub(super) fn empty_copy(&self) -> Option<Self> {
        self.is_end_stream().then_some(Self { body: None })
    }
}

impl Body for RequestBody {
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
        if let Some(life) = &mut moving.life
            && life.is_over(context, polled.is_pending())
        {
            self.body = None;
            return Poll::Ready(Some(Err(BodyError::SessionOver)));
        }
        let frame = ready!(polled);
        moving.upload.frames.fetch_add(1, Ordering::Relaxed);
        if frame.is_none() || moving.body.is_end_stream() {
            moving.upload.ended.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame.map(|frame| {
            frame
                .map_err(BodyError::Broken)
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
    body: Incoming,
    lease: Option<Lease>,
    upload: Option<Arc<Upload>>,
    /// None where it is nobody's, or short.
    life: Option<Box<Life>>,
}

impl UpstreamBody {
    pub(super) fn new(
        body: Incoming,
        lease: Lease,
        upload: Option<Arc<Upload>>,
        life: impl FnOnce() -> Option<Box<Life>>,
    ) -> Self {
        let length = body.size_hint().exact();
        let mut this = Self {
            life: match length {
                Some(0..=SHORT) => None,
                _ => life(),
            },
            body,
            lease: Some(lease),
            upload,
        };
        this.give_back_at_end();
        this
    }

    fn give_back_at_end(&mut self) {
        if self.body.is_end_stream() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        let is_idle = self.upload.as_ref().is_none_or(|upload| upload.has_ended());
        if let Some(lease) = self.lease.take().filter(|_| is_idle) {
            lease.give_back();
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Some(life) = &mut self.life
            && life.is_over(context, polled.is_pending())
        {
            self.life = None;
            self.lease = None;
            return Poll::Ready(Some(Err(BodyError::SessionOver)));
        }
        match ready!(polled) {
            None => {
                self.give_back();
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                self.lease = None;
                Poll::Ready(Some(Err(error.into())))
            }
            Some(Ok(frame)) => {
                // A server that knows the length does not ask again after the last byte.
                self.give_back_at_end();
                Poll::Ready(Some(Ok(match frame.into_trailers() {
                    Ok(mut trailers) => {
                        strip_trailers(&mut trailers);
                        Frame::trailers(trailers)
                    }
                    Err(data) => data,
                })))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Fields that frame, route or authenticate a message have no place behind its body.
fn strip_trailers(trailers: &mut HeaderMap) {
    hop::strip(trailers);
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
