//! The chunked coding (RFC 9112 §7.1), read strictly: a length is hexadecimal and fits, a line ends with CRLF.

use std::io::Write as _;

use bytes::{Buf as _, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    BodyEvent, MalformedResponse,
    field_line::{CRLF, write_header},
};

/// A chunk's first line, extensions included.
const MAX_LINE: usize = 4 * 1024;
/// Bytes of all trailer fields together.
const MAX_TRAILERS: usize = 16 * 1024;
/// The most trailer fields.
const MAX_TRAILER_FIELDS: usize = 64;

/// What ends a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// How far a chunked body was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunks {
    /// A chunk's first line comes.
    Size,
    /// So many bytes of a chunk come.
    Data(u64),
    /// The end of a chunk's line comes.
    DataEnd,
    /// Trailer fields come.
    Trailers,
    /// All has come.
    Over,
}

impl Chunks {
    /// Takes from `input` what can be taken; none where more bytes are needed.
    ///
    /// # Errors
    /// When `input` is not the chunked coding.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<BodyEvent>, MalformedResponse> {
        loop {
            match self {
                Self::Size => {
                    let Some(end) = line_end(input, MAX_LINE)? else {
                        return Ok(None);
                    };
                    let size = chunk_size(&input[..end])?;
                    input.advance(end + CRLF.len());
                    *self = if size == 0 {
                        Self::Trailers
                    } else {
                        Self::Data(size)
                    };
                }
                Self::Data(left) => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let length =
                        usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                    *left -= length as u64;
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    return Ok(Some(BodyEvent::Data(input.split_to(length).freeze())));
                }
                Self::DataEnd => {
                    let Some(end) = input.get(..CRLF.len()) else {
                        return Ok(None);
                    };
                    if end != CRLF {
                        return Err(MalformedResponse::Chunk("data without its line end"));
                    }
                    input.advance(CRLF.len());
                    *self = Self::Size;
                }
                Self::Trailers => {
                    let Some((trailers, length)) = trailers(input)? else {
                        return Ok(None);
                    };
                    input.advance(length);
                    *self = Self::Over;
                    return Ok(Some(BodyEvent::End(trailers)));
                }
                Self::Over => return Ok(Some(BodyEvent::End(None))),
            }
        }
    }
}

/// Where the line that `input` begins with ends; none while that is not to be seen.
fn line_end(input: &[u8], limit: usize) -> Result<Option<usize>, MalformedResponse> {
    match memchr::memchr(b'\n', &input[..input.len().min(limit)]) {
        Some(at) if at > 0 && input[at - 1] == b'\r' => Ok(Some(at - 1)),
        Some(_) => Err(MalformedResponse::Chunk("a line end without its CR")),
        None if input.len() >= limit => Err(MalformedResponse::Chunk("a line without end")),
        None => Ok(None),
    }
}

/// `1*HEXDIG [ chunk-ext ]`. Extensions are passed over (RFC 9112 §7.1.1).
fn chunk_size(line: &[u8]) -> Result<u64, MalformedResponse> {
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (digits, extension) = line.split_at(digits);
    if digits.is_empty() || digits.len() > 16 {
        return Err(MalformedResponse::Chunk("a length that is no number"));
    }
    let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    let begins_well = matches!(extension.trim_ascii_start().first(), None | Some(b';'));
    if !begins_well || extension.iter().any(is_control) {
        return Err(MalformedResponse::Chunk("no extension behind the length"));
    }
    Ok(digits.iter().fold(0, |size, digit| {
        let digit = (*digit as char).to_digit(16).unwrap_or_default();
        size << 4 | u64::from(digit)
    }))
}

/// The trailer section and its length, its empty line included; none while that is not to be seen.
fn trailers(input: &[u8]) -> Result<Option<(Option<HeaderMap>, usize)>, MalformedResponse> {
    if input.starts_with(CRLF) {
        return Ok(Some((None, CRLF.len())));
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    let (length, fields) = match httparse::parse_headers(input, &mut fields) {
        Ok(httparse::Status::Complete(parsed)) => parsed,
        Ok(httparse::Status::Partial) if input.len() < MAX_TRAILERS => return Ok(None),
        Ok(httparse::Status::Partial) => {
            return Err(MalformedResponse::Chunk("trailers without end"));
        }
        Err(_) => return Err(MalformedResponse::Chunk("trailers that are no fields")),
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(MalformedResponse::Chunk("trailers that are no fields"));
        };
        trailers.append(name, value);
    }
    Ok(Some((Some(trailers), length)))
}

/// Writes the line before a chunk of `length` bytes.
pub fn begin_chunk(length: usize, into: &mut Vec<u8>) {
    // A vector takes whatever is written.
    let _ = write!(into, "{length:x}\r\n");
}

/// Writes what ends a body with `trailers`.
pub fn end_with_trailers(trailers: &HeaderMap, into: &mut Vec<u8>) {
    into.extend(b"0\r\n");
    for (name, value) in trailers {
        write_header(name, value.as_bytes(), into);
    }
    into.extend(CRLF);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads `input` as it comes in pieces that end at `cuts`.
    fn read(
        input: &[u8],
        cuts: &[usize],
    ) -> Result<(Vec<u8>, Option<HeaderMap>, usize), MalformedResponse> {
        let mut chunks = Chunks::Size;
        let mut buffer = BytesMut::new();
        let mut body = Vec::new();
        let mut at = 0;
        for cut in cuts.iter().copied().chain([input.len()]) {
            let cut = cut.clamp(at, input.len());
            buffer.extend_from_slice(&input[at..cut]);
            at = cut;
            loop {
                match chunks.next(&mut buffer)? {
                    None => break,
                    Some(BodyEvent::Data(data)) => body.extend(data),
                    Some(BodyEvent::End(trailers)) => {
                        let left = buffer.len() + input.len() - at;
                        return Ok((body, trailers, left));
                    }
                }
            }
        }
        Err(MalformedResponse::Truncated)
    }

    #[test]
    fn chunks_extensions_and_trailers_are_read() {
        let input =
            b"4\r\nWiki\r\n00A ;a=\"b\"\r\npedia in c\r\n0;x\r\nX-Sum: 7\r\nx-sum: 8\r\n\r\nHTTP";
        let (body, trailers, left) = read(input, &[]).unwrap();
        assert_eq!(body, b"Wikipedia in c");
        let trailers = trailers.unwrap();
        assert_eq!(trailers.get_all("x-sum").iter().count(), 2);
        assert_eq!(left, 4);
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_refused() {
        for input in [
            &b"4\nWiki\r\n0\r\n\r\n"[..],
            b"+4\r\nWiki\r\n0\r\n\r\n",
            b"-1\r\nWiki\r\n0\r\n\r\n",
            b"0x4\r\nWiki\r\n0\r\n\r\n",
            b" 4\r\nWiki\r\n0\r\n\r\n",
            b"4 4\r\nWiki\r\n0\r\n\r\n",
            b"4\r\nWikipedia\r\n0\r\n\r\n",
            b"4\r\nWiki\n0\r\n\r\n",
            b"4;a\x00\r\nWiki\r\n0\r\n\r\n",
            b"4;a\r\r\nWiki\r\n0\r\n\r\n",
            b"10000000000000000\r\n",
            b"\r\n",
            b";\r\n",
            b"0\r\nno field\r\n\r\n",
            b"0\r\na : b\r\n\r\n",
        ] {
            let refused = read(input, &[]).unwrap_err();
            let shown = String::from_utf8_lossy(input);
            assert_ne!(refused, MalformedResponse::Truncated, "{shown:?}");
        }
    }

    #[test]
    fn nothing_is_waited_for_without_end() {
        let line = [b"4;".to_vec(), vec![b'a'; MAX_LINE]].concat();
        assert!(matches!(read(&line, &[]), Err(MalformedResponse::Chunk(_))));
        let field = [b"0\r\na: ".to_vec(), vec![b'a'; MAX_TRAILERS]].concat();
        assert!(matches!(
            read(&field, &[]),
            Err(MalformedResponse::Chunk(_))
        ));
        let fields = [
            b"0\r\n".to_vec(),
            b"a: b\r\n".repeat(MAX_TRAILER_FIELDS + 1),
        ]
        .concat();
        assert!(matches!(
            read(&fields, &[]),
            Err(MalformedResponse::Chunk(_))
        ));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_however_it_comes(
            body in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..6),
            has_trailers: bool,
            mut cuts in proptest::collection::vec(0..2000_usize, 0..12),
        ) {
            let mut written = Vec::new();
            for chunk in &body {
                begin_chunk(chunk.len(), &mut written);
                written.extend(chunk);
                written.extend(CRLF);
            }
            let mut trailers = None;
            if has_trailers {
                let sent = HeaderMap::from_iter([(
                    HeaderName::from_static("x-sum"),
                    HeaderValue::from_static("7"),
                )]);
                end_with_trailers(&sent, &mut written);
                trailers = Some(sent);
            } else {
                written.extend(LAST_CHUNK);
            }
            written.extend(b"left");
            cuts.sort_unstable();
            let read = read(&written, &cuts).unwrap();
            prop_assert_eq!(read, (body.concat(), trailers, 4));
        }

        #[test]
        fn any_bytes_are_read_alike_however_they_come(
            input in "[0-9a-fA-F;\r\nx: ]{0,60}",
            mut cuts in proptest::collection::vec(0..60_usize, 0..6),
        ) {
            cuts.sort_unstable();
            let whole = read(input.as_bytes(), &[]);
            let pieces = read(input.as_bytes(), &cuts);
            match (whole, pieces) {
                (Ok(whole), Ok(pieces)) => prop_assert_eq!(whole, pieces),
                (Err(_), Err(_)) => {}
                (whole, pieces) => prop_assert!(false, "{whole:?} {pieces:?}"),
            }
        }
    }
}
