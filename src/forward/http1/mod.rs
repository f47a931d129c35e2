//! HTTP/1.1 with the upstream (RFC 9112): writing the head of a request, reading the head of an answer, and finding where its
//! body ends. Pure: bytes in, bytes out.
//!
//! hyper speaks with clients, whose bytes may be an attack. This side is written by hand because it can be much smaller: what is
//! sent was parsed and cleaned before, and each answer is read by the task that waits for it. Anything that two readers
//! could read in two ways is an error, and its connection is never used again.

mod body;
pub mod chunked;
pub mod field_line;
mod request_head;
mod response_head;

pub use self::{
    body::BodyDecoder,
    field_line::write_header,
    request_head::{RequestBodyLength, begin_request, end_request},
    response_head::{ResponseHead, is_worth_reading, parse},
};

use bytes::Bytes;
use http::HeaderMap;

/// What was read of a body next.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyEvent {
    /// Some of the body, never empty.
    Data(Bytes),
    /// The end. Trailers only where chunks end with them.
    End(Option<HeaderMap>),
}

/// Why an answer cannot be read. For the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedResponse {
    /// Not a head as RFC 9112 §4 has it.
    #[error("its head is malformed: {0}")]
    Head(&'static str),
    /// More than [`response_head::MAX_BYTES`].
    #[error("its head has more than 64 KiB")]
    HeadTooLarge,
    /// No length that can be relied on (RFC 9112 §6.3).
    #[error("its length is unclear: {0}")]
    Length(&'static str),
    /// Not the chunked coding (RFC 9112 §7.1).
    #[error("its chunks are malformed: {0}")]
    Chunk(&'static str),
    /// The connection closed in the middle.
    #[error("it breaks off")]
    Truncated,
}
