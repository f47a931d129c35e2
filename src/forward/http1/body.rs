//! The body of an answer, read to its end and not one byte further (RFC 9112 §6.3).

use bytes::BytesMut;

use super::{BodyEvent, MalformedResponse, chunked::Chunks};

/// How far a body was read.
#[derive(Debug, PartialEq, Eq)]
pub struct BodyDecoder(Framing);

#[derive(Debug, PartialEq, Eq)]
enum Framing {
    /// So many bytes.
    Bytes(u64),
    Chunks(Chunks),
    /// Whatever comes until the connection closes.
    UntilClose,
}

impl BodyDecoder {
    /// No body.
    pub fn empty() -> Self {
        Self::of_length(0)
    }

    /// A body of `length` bytes.
    pub fn of_length(length: u64) -> Self {
        Self(Framing::Bytes(length))
    }

    /// A body in chunks.
    pub fn chunked() -> Self {
        Self(Framing::Chunks(Chunks::Size))
    }

    /// A body that ends with its connection.
    pub fn until_close() -> Self {
        Self(Framing::UntilClose)
    }

    /// Whether the end can be told from the bytes.
    pub fn is_self_delimited(&self) -> bool {
        self.0 != Framing::UntilClose
    }

    /// Whether all of it was read.
    pub fn is_over(&self) -> bool {
        matches!(self.0, Framing::Bytes(0) | Framing::Chunks(Chunks::Over))
    }

    /// How many bytes are left, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self.0 {
            Framing::Bytes(left) => Some(left),
            Framing::Chunks(Chunks::Over) => Some(0),
            Framing::Chunks(_) | Framing::UntilClose => None,
        }
    }

    /// Takes from `input` what can be taken; none where more bytes are needed.
    ///
    /// # Errors
    /// When chunks are malformed.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<BodyEvent>, MalformedResponse> {
        let length = match &mut self.0 {
            Framing::Bytes(0) => return Ok(Some(BodyEvent::End(None))),
            Framing::Bytes(left) => {
                let length =
                    usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= length as u64;
                length
            }
            Framing::Chunks(chunks) => return chunks.next(input),
            Framing::UntilClose => input.len(),
        };
        Ok((length > 0).then(|| BodyEvent::Data(input.split_to(length).freeze())))
    }

    /// What the end of the connection means, where more was needed.
    ///
    /// # Errors
    /// When the body is cut short by it.
    pub fn close(&mut self) -> Result<(), MalformedResponse> {
        match self.0 {
            Framing::UntilClose => {
                self.0 = Framing::Bytes(0);
                Ok(())
            }
            _ if self.is_over() => Ok(()),
            _ => Err(MalformedResponse::Truncated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_read_to_its_end_and_not_further() {
        let mut body = BodyDecoder::of_length(5);
        let mut input = BytesMut::from("abc");
        assert_eq!(
            body.next(&mut input).unwrap(),
            Some(BodyEvent::Data("abc".into()))
        );
        assert_eq!(body.next(&mut input).unwrap(), None);
        assert_eq!(body.close(), Err(MalformedResponse::Truncated));
        input.extend_from_slice(b"deHTTP");
        assert_eq!(
            body.next(&mut input).unwrap(),
            Some(BodyEvent::Data("de".into()))
        );
        assert!(body.is_over());
        assert_eq!(body.next(&mut input).unwrap(), Some(BodyEvent::End(None)));
        assert_eq!(input, "HTTP");
    }

    #[test]
    fn the_end_of_the_connection_ends_what_has_no_other_end() {
        let mut body = BodyDecoder::until_close();
        let mut input = BytesMut::from("abc");
        assert_eq!(body.left(), None);
        assert_eq!(
            body.next(&mut input).unwrap(),
            Some(BodyEvent::Data("abc".into()))
        );
        assert_eq!(body.close(), Ok(()));
        assert_eq!(body.next(&mut input).unwrap(), Some(BodyEvent::End(None)));
        assert_eq!(
            BodyDecoder::chunked().close(),
            Err(MalformedResponse::Truncated)
        );
    }
}
