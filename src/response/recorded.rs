//! The body of an answer, which holds the record of its request until the last byte.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::Body;
use crate::{body_error::BodyError, observe::Record};

/// A body and the record that ends with it. Dropped before its end, it was broken off: by its client, unless somebody
/// says otherwise.
pub struct Recorded {
    body: Body,
    /// None where the record goes on elsewhere, with a tunnel.
    record: Option<Box<Record>>,
}

impl Recorded {
    /// `record` has seen the answer's head.
    pub fn new(body: Body, record: Box<Record>) -> Self {
        let mut this = Self {
            body,
            record: Some(record),
        };
        this.complete_at_end();
        this
    }

    /// A body whose request's record goes on elsewhere.
    pub fn unrecorded(body: Body) -> Self {
        Self { body, record: None }
    }

    /// Says why it is broken off, before it is dropped unfinished. The first to say so counts; one that is complete stays so.
    pub fn break_off(&mut self, error: &BodyError) {
        if let Some(record) = &mut self.record {
            error.note(record);
        }
    }

    /// Lets go of the record once all of the body is on its way.
    fn complete_at_end(&mut self) {
        let is_over = match &self.record {
            Some(record) => !record.has_body() || self.body.is_end_stream(),
            None => false,
        };
        if is_over {
            self.record = None;
        }
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if let Some(record) = &mut self.record {
            record.note_lost();
        }
    }
}

impl HttpBody for Recorded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        match (&frame, &mut this.record) {
            (Some(Ok(frame)), Some(record)) => {
                if let Some(data) = frame.data_ref() {
                    record.note_sent(data.len() as u64);
                }
                // A server that knows the length does not ask again after the last byte.
                this.complete_at_end();
            }
            (Some(Err(error)), Some(record)) => error.note(record),
            (None, record) => *record = None,
            (_, None) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
