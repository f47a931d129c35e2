//! The body of an answer over HTTP/1.1 on its way to the client.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{
    exchange::{UploadOutcome, UploadTask},
    http1::{BodyDecoder, BodyEvent},
    live::{Life, SHORT},
    pool::Lease,
    silence::Silence,
};
use crate::{body_error::BodyError, hop_by_hop::strip_trailers, timer::Timer};

/// An answer's body on its way to the client. Holds the upstream's connection until its end, then gives it
/// back; dropped before (the client is gone), it closes it, which tells the upstream to stop.
pub struct Http1Body {
    body: BodyDecoder,
    lease: Option<Lease>,
    /// The rest of the request, where the answer began before its end.
    upload: Option<UploadTask>,
    /// None where it is nobody's, or short.
    life: Option<Box<Life>>,
    silence: Silence,
    /// Why it broke off, until that is said.
    broken: Option<io::Error>,
}

impl Http1Body {
    /// The body of an answer as it comes.
    ///
    /// # Errors
    /// All of it, where it has come already.
    pub(super) fn begin(
        body: BodyDecoder,
        mut lease: Lease,
        upload: Option<UploadTask>,
        (timer, patience): (Timer, Duration),
        life: impl FnOnce() -> Option<Box<Life>>,
    ) -> Result<Box<Self>, Bytes> {
        if upload.is_none()
            && let Some(whole) = lease.connection.take_whole(&body)
        {
            lease.give_back();
            return Err(whole);
        }
        let life = match body.left() {
            Some(0..=SHORT) => None,
            _ => life(),
        };
        // Boxed, so that an answer that has come already, as most have, is small.
        let mut this = Box::new(Self {
            body,
            lease: Some(lease),
            upload,
            life,
            silence: Silence::new(timer, patience),
            broken: None,
        });
        this.give_back_at_end();
        Ok(this)
    }

    fn give_back_at_end(&mut self) {
        if self.body.is_over() {
            self.give_back();
        }
    }

    /// An upload that still runs goes on without the answer, and its connection is good for nothing else.
    fn give_back(&mut self) {
        self.upload = None;
        self.silence.end();
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
            UploadOutcome::Sent(writer) => lease.connection.writer = Some(writer),
            UploadOutcome::Refused => {}
            UploadOutcome::BrokenOff => return true,
        }
        false
    }

    /// Ends it before its end.
    fn break_off(&mut self) {
        self.life = None;
        self.silence.end();
        self.lease = None;
        if let Some(upload) = self.upload.take() {
            upload.abort();
        }
    }
}

impl Drop for Http1Body {
    fn drop(&mut self) {
        self.break_off();
    }
}

impl HttpBody for Http1Body {
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
            let uploaded = this.upload.as_ref().map_or(0, UploadTask::frames);
            ready!(this.silence.poll(uploaded, context));
            lease.pool.backend.failed();
            let upstream = lease.pool.backend.to_string();
            this.break_off();
            return Poll::Ready(Some(Err(BodyError::Silent(upstream))));
        };
        this.silence.clear();
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
            Ok(BodyEvent::Data(data)) => Some(Frame::data(data)),
            Ok(BodyEvent::End(trailers)) => trailers.map(|mut trailers| {
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
