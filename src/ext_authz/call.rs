//! gRPC calls over HTTP/2 with one message in and one out.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header::CONTENT_TYPE};
use http_body::{Body as HttpBody, Frame};
use prost::Message;

/// How a call ends that has no answer (gRPC, "Status codes and their use").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Its message cannot be read.
    InvalidArgument,
    /// It took too long.
    DeadlineExceeded,
    /// Too many, or too much.
    ResourceExhausted,
    /// Nothing of that name, or by that coding, is served here.
    Unimplemented,
}

impl Failure {
    fn code(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::InvalidArgument => "3",
            Self::DeadlineExceeded => "4",
            Self::ResourceExhausted => "8",
            Self::Unimplemented => "12",
        })
    }
}

/// An answer: a message and trailers, or nothing.
#[derive(Default)]
pub(super) struct CallBody {
    message: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

/// A call that ended well.
pub(super) fn answer(message: &impl Message) -> Response<CallBody> {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    // An answer is some kilobytes.
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    bytes.extend_from_slice(&message.encode_to_vec());
    let ok = (GRPC_STATUS, HeaderValue::from_static("0"));
    head(CallBody {
        message: Some(bytes.freeze()),
        trailers: Some(HeaderMap::from_iter([ok])),
    })
}

/// A call that failed, which Envoy takes for a no.
pub(super) fn fail(failure: Failure) -> Response<CallBody> {
    let mut response = head(CallBody::default());
    response.headers_mut().insert(GRPC_STATUS, failure.code());
    response
}

fn head(body: CallBody) -> Response<CallBody> {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

impl HttpBody for CallBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = match self.message.take() {
            Some(message) => Some(Frame::data(message)),
            None => self.trailers.take().map(Frame::trailers),
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.message.is_none() && self.trailers.is_none()
    }
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
