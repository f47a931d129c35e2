//! A field line (RFC 9112 §5), as it is written into a head and into trailers.

use http::HeaderName;

/// What ends a line, and a chunk's data.
pub const CRLF: &[u8] = b"\r\n";

/// Writes one line. `value` is a header's value by its type or its making: without CR, LF and NUL.
#[inline]
pub fn write_header(name: &HeaderName, value: &[u8], into: &mut Vec<u8>) {
    let name = name.as_str().as_bytes();
    into.reserve(name.len() + value.len() + 4);
    into.extend_from_slice(name);
    into.extend_from_slice(b": ");
    into.extend_from_slice(value);
    into.extend_from_slice(CRLF);
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_line_stays_a_line(value: Vec<u8>) {
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let mut line = Vec::new();
            write_header(&HeaderName::from_static("x-a"), value.as_bytes(), &mut line);
            prop_assert_eq!(memchr::memchr_iter(b'\n', &line).collect::<Vec<_>>(), [line.len() - 1]);
            prop_assert_eq!(memchr::memchr_iter(b'\r', &line).count(), 1);
        }
    }
}
