//! The body of an app's answer, whatever protocol it comes by.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{http1_body::Http1Body, http2::Http2Body};
use crate::body_error::BodyError;

/// An answer's body.
pub struct UpstreamBody(Kind);

enum Kind {
    /// All of it has come.
    Whole(Bytes),
    Http1(Box<Http1Body>),
    Http2(Box<Http2Body>),
}

impl UpstreamBody {
    /// None at all.
    pub(super) fn empty() -> Self {
        Self(Kind::Whole(Bytes::new()))
    }
}

impl From<Result<Box<Http1Body>, Bytes>> for UpstreamBody {
    fn from(body: Result<Box<Http1Body>, Bytes>) -> Self {
        Self(match body {
            Ok(body) => Kind::Http1(body),
            Err(whole) => Kind::Whole(whole),
        })
    }
}

impl From<Http2Body> for UpstreamBody {
    fn from(body: Http2Body) -> Self {
        Self(Kind::Http2(Box::new(body)))
    }
}

impl HttpBody for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Kind::Http1(body) => Pin::new(body).poll_frame(context),
            Kind::Http2(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Http1(body) => body.is_end_stream(),
            Kind::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Http1(body) => body.size_hint(),
            Kind::Http2(body) => body.size_hint(),
        }
    }
}
