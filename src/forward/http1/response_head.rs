//! The head of an answer (RFC 9112 §4), and what it says about the body (§6.3).

use bytes::{Buf as _, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
};
use httparse::{ParserConfig, Response, Status};
use hyper::ext::ReasonPhrase;

use super::{MalformedResponse, body::BodyDecoder};
use crate::hop_by_hop;

/// The longest head that is read.
pub const MAX_BYTES: usize = 64 * 1024;
/// The most fields that are read.
const MAX_FIELDS: usize = 256;

/// What an answer begins with.
#[derive(Debug)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// Every field, those of the hop included; without a `Content-Length` that does not count.
    pub headers: HeaderMap,
    /// Which fields that matter to a hop there are.
    pub noted: hop_by_hop::HeaderFlags,
    /// The status in words, where they are not the usual ones.
    pub reason: Option<ReasonPhrase>,
    /// Reads the body.
    pub body: BodyDecoder,
    /// Whether the connection may serve another request after the body.
    pub is_persistent: bool,
}

/// Reads a head off `input`; none while it is not whole. `is_head` is whether the request was a `HEAD`, whose
/// answers have no body.
///
/// # Errors
/// When it is no head, or does not say clearly how long its body is.
pub fn parse(
    input: &mut BytesMut,
    is_head: bool,
) -> Result<Option<ResponseHead>, MalformedResponse> {
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        input,
        &mut fields,
    );
    let length = match parsed {
        Ok(Status::Complete(length)) if length <= MAX_BYTES => length,
        Ok(Status::Partial) if input.len() < MAX_BYTES => return Ok(None),
        Ok(_) => return Err(MalformedResponse::HeadTooLarge),
        Err(error) => return Err(MalformedResponse::Head(said(error))),
    };
    let head = read(&response, is_head)?;
    input.advance(length);
    Ok(Some(head))
}

fn read(response: &Response<'_, '_>, is_head: bool) -> Result<ResponseHead, MalformedResponse> {
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(MalformedResponse::Head("a status that is none"))?;
    let is_old = response.version == Some(0);
    let mut noted = hop_by_hop::HeaderFlags::default();
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for field in response.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(MalformedResponse::Head("a field that is none"));
        };
        noted.note(name.as_str());
        headers.append(name, value);
    }
    let is_doubtful = noted.transfer_encoding() && headers.contains_key(CONTENT_LENGTH);
    let body = body(status, is_head, is_old, noted, &mut headers)?;
    let says = |token| noted.connection() && nominates(&headers, token);
    let is_persistent = if is_old {
        says("keep-alive")
    } else {
        !says("close")
    };
    Ok(ResponseHead {
        status,
        noted,
        reason: unusual_reason(status, response.reason),
        is_persistent: is_persistent && !is_doubtful && body.is_self_delimited(),
        headers,
        body,
    })
}

/// Whether a head that was not whole when it had `seen` bytes is worth reading again: its end has come, or so much
/// more that the mistake in it is found in time. So a head that comes byte by byte is not read from its beginning
/// with each of them.
pub fn is_worth_reading(input: &[u8], seen: usize) -> bool {
    // The end may have begun before.
    let new = &input[seen.saturating_sub(3).min(input.len())..];
    let may_end = |at: usize| matches!(new.get(at + 1..), Some([b'\n', ..] | [b'\r', b'\n', ..]));
    input.len() >= seen.saturating_mul(2)
        || input.len() >= MAX_BYTES
        || memchr::memchr_iter(b'\n', new).any(may_end)
}

/// Where the body ends (RFC 9112 §6.3). A length beside chunks, or of what has no body, does not count and is taken
/// out; but a `304` and an answer to `HEAD` say with it what a `GET` would get.
fn body(
    status: StatusCode,
    is_head: bool,
    is_old: bool,
    noted: hop_by_hop::HeaderFlags,
    headers: &mut HeaderMap,
) -> Result<BodyDecoder, MalformedResponse> {
    let has_none = is_head
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if noted.transfer_encoding() {
        headers.remove(CONTENT_LENGTH);
        if has_none {
            return Ok(BodyDecoder::empty());
        }
        let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
        let is_chunked = codings
            .next()
            .is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
        if !is_chunked || codings.next().is_some() {
            return Err(MalformedResponse::Length(
                "a Transfer-Encoding other than chunked",
            ));
        }
        if is_old {
            // RFC 9112 §6.1: HTTP/1.0 knows no Transfer-Encoding, so somebody on the way has not seen it.
            return Err(MalformedResponse::Length("a Transfer-Encoding in HTTP/1.0"));
        }
        return Ok(BodyDecoder::chunked());
    }
    let length = content_length(headers)?;
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        // RFC 9110 §8.6: never in these, and clients of HTTP/2 take it for a mistake.
        headers.remove(CONTENT_LENGTH);
    }
    Ok(match length {
        _ if has_none => BodyDecoder::empty(),
        Some(length) => BodyDecoder::of_length(length),
        None => BodyDecoder::until_close(),
    })
}

/// The one length that `Content-Length` says, however often (RFC 9110 §8.6).
fn content_length(headers: &mut HeaderMap) -> Result<Option<u64>, MalformedResponse> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else {
        return Ok(None);
    };
    let unclear =
        MalformedResponse::Length("more than one Content-Length, or none that is a number");
    let number = |text: &[u8]| {
        let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(text).ok().filter(|_| is_number)?;
        text.parse::<u64>().ok()
    };
    if let (Some(length), None) = (number(first.as_bytes()), lengths.next()) {
        return Ok(Some(length));
    }
    let all: Option<Vec<u64>> = headers
        .get_all(CONTENT_LENGTH)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|text| number(text.trim_ascii()))
        .collect();
    let all = all.ok_or(unclear)?;
    let first = *all.first().ok_or(unclear)?;
    if all.iter().any(|length| *length != first) {
        return Err(unclear);
    }
    headers.insert(CONTENT_LENGTH, first.into());
    Ok(Some(first))
}

fn nominates(headers: &HeaderMap, wanted: &str) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
}

fn unusual_reason(status: StatusCode, said: Option<&str>) -> Option<ReasonPhrase> {
    let said = said.filter(|said| !said.is_empty() && Some(*said) != status.canonical_reason())?;
    ReasonPhrase::try_from(said.as_bytes()).ok()
}

fn said(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a field's name",
        httparse::Error::HeaderValue => "a field's value",
        httparse::Error::Status => "its status line",
        httparse::Error::TooManyHeaders => "more than 256 fields",
        httparse::Error::Version => "it is not HTTP/1",
        httparse::Error::NewLine | httparse::Error::Token => "a character that has no place there",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<Option<ResponseHead>, MalformedResponse> {
        parse(&mut BytesMut::from(text), false)
    }

    fn whole(text: &str) -> ResponseHead {
        parsed(text).unwrap().unwrap()
    }

    #[test]
    fn a_head_is_read_and_what_is_behind_it_is_left() {
        let mut input = BytesMut::from(
            "HTTP/1.1 200 Fine\r\nServer: x\r\nContent-Length: 3\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\nabcHTTP",
        );
        let head = parse(&mut input, false).unwrap().unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(head.headers.get_all("set-cookie").iter().count(), 2);
        assert!(head.noted.set_cookie() && head.is_persistent);
        assert_eq!(head.reason.unwrap().as_bytes(), b"Fine");
        assert_eq!(head.body, BodyDecoder::of_length(3));
        assert_eq!(input, "abcHTTP");
    }

    #[test]
    fn as_many_fields_as_may_be_are_read_and_no_more() {
        let with = |count: usize| {
            let fields = "X-Field: y\r\n".repeat(count);
            parsed(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"))
        };
        assert_eq!(with(MAX_FIELDS).unwrap().unwrap().headers.len(), MAX_FIELDS);
        assert!(with(MAX_FIELDS + 1).is_err());
    }

    #[test]
    fn the_length_is_as_the_standard_has_it() {
        for (text, body, is_persistent) in [
            ("200 OK\r\n", BodyDecoder::until_close(), false),
            (
                "200 OK\r\ncontent-length: 0\r\n",
                BodyDecoder::empty(),
                true,
            ),
            (
                "200 OK\r\ncontent-length: 7, 7\r\n",
                BodyDecoder::of_length(7),
                true,
            ),
            (
                "200 OK\r\ncontent-length: 7\r\nContent-Length: 7\r\n",
                BodyDecoder::of_length(7),
                true,
            ),
            (
                "200 OK\r\ntransfer-encoding: Chunked\r\n",
                BodyDecoder::chunked(),
                true,
            ),
            (
                "200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 7\r\n",
                BodyDecoder::chunked(),
                false,
            ),
            ("204 No Content\r\n", BodyDecoder::empty(), true),
            (
                "204 No Content\r\ncontent-length: 7\r\n",
                BodyDecoder::empty(),
                true,
            ),
            (
                "304 Not Modified\r\ncontent-length: 7\r\n",
                BodyDecoder::empty(),
                true,
            ),
            ("100 Continue\r\n", BodyDecoder::empty(), true),
            (
                "200 OK\r\ncontent-length: 1\r\nconnection: x, Close\r\n",
                BodyDecoder::of_length(1),
                false,
            ),
        ] {
            let head = whole(&format!("HTTP/1.1 {text}\r\n"));
            assert_eq!(
                (head.body, head.is_persistent),
                (body, is_persistent),
                "{text}"
            );
        }
        let chunked =
            whole("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 7\r\n\r\n");
        assert!(!chunked.headers.contains_key(CONTENT_LENGTH));
    }

    #[test]
    fn what_never_has_a_body_says_no_length() {
        for (status, is_kept) in [
            ("204 No Content", false),
            ("101 Up", false),
            ("304 Same", true),
        ] {
            let head = whole(&format!("HTTP/1.1 {status}\r\ncontent-length: 7\r\n\r\n"));
            assert_eq!(
                head.headers.contains_key(CONTENT_LENGTH),
                is_kept,
                "{status}"
            );
        }
    }

    #[test]
    fn a_head_is_read_again_once_its_end_has_come() {
        let head = b"HTTP/1.1 200 OK\r\nserver: x\r\n\r\n";
        for seen in 1..head.len() {
            assert!(is_worth_reading(head, seen), "{seen}");
        }
        let reads = (1..head.len()).filter(|end| is_worth_reading(&head[..*end], end - 1));
        assert!(reads.count() <= 2);
        // Bare line feeds end a head, too.
        assert!(is_worth_reading(b"HTTP/1.1 200 OK\na: b\n\n", 21));
        assert!(!is_worth_reading(b"HTTP/1.1 200 OK\na: b\n", 20));
        // A mistake is found although no end comes.
        assert!(is_worth_reading(&[b'x'; 200], 100));
        assert!(is_worth_reading(&vec![b'x'; MAX_BYTES], MAX_BYTES - 1));
    }

    #[test]
    fn an_answer_to_head_has_no_body() {
        let mut input = BytesMut::from("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n");
        let head = parse(&mut input, true).unwrap().unwrap();
        assert_eq!(head.body, BodyDecoder::empty());
        assert_eq!(head.headers[CONTENT_LENGTH], "7");
    }

    #[test]
    fn old_servers_close_unless_they_say_otherwise() {
        assert!(!whole("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n").is_persistent);
        let kept = "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\n";
        assert!(whole(kept).is_persistent);
    }

    #[test]
    fn what_is_unclear_is_refused() {
        for text in [
            "content-length: 1, 2\r\n",
            "content-length: 1\r\ncontent-length: 2\r\n",
            "content-length: +1\r\n",
            "content-length: -1\r\n",
            "content-length: 0x1\r\n",
            "content-length:\r\n",
            "content-length: 1,\r\n",
            "content-length: 18446744073709551616\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: gzip\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: xchunked\r\n",
            "transfer-encoding: \r\n",
        ] {
            let refused = parsed(&format!("HTTP/1.1 200 OK\r\n{text}\r\n")).unwrap_err();
            assert!(matches!(refused, MalformedResponse::Length(_)), "{text}");
        }
        let old = "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert!(matches!(parsed(old), Err(MalformedResponse::Length(_))));
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for text in [
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
            "HTTP/1.1 200 OK\r\na : c\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: c\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: \0\r\n\r\n",
            "SSH-2.0-OpenSSH_9.2\r\n",
        ] {
            assert!(
                matches!(parsed(text), Err(MalformedResponse::Head(_))),
                "{text:?}"
            );
        }
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(MAX_BYTES));
        assert_eq!(parsed(&long).unwrap_err(), MalformedResponse::HeadTooLarge);
        let many = format!(
            "HTTP/1.1 200 OK\r\n{}\r\n",
            "a: b\r\n".repeat(MAX_FIELDS + 1)
        );
        assert!(matches!(parsed(&many), Err(MalformedResponse::Head(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(input: Vec<u8>, text in "HTTP/1.1 [0-9]{3} [ -~\r\n]{0,80}") {
            for bytes in [&input[..], text.as_bytes()] {
                let mut buffer = BytesMut::from(bytes);
                if let Ok(Some(_)) = parse(&mut buffer, false) {
                    prop_assert!(buffer.len() < bytes.len());
                } else {
                    prop_assert_eq!(&buffer[..], bytes);
                }
            }
        }

        #[test]
        fn a_head_is_found_at_the_same_byte_however_it_comes(
            text in "HTTP/1.1 200 OK\r?\n(a: [b-d]{0,9}\r?\n){0,4}\r?\nrest",
            step in 1..9_usize,
        ) {
            let whole = parsed(&text).map(|head| head.map(|head| head.headers));
            let mut input = BytesMut::new();
            let mut seen = 0;
            let mut found = Ok(None);
            for piece in text.as_bytes().chunks(step) {
                input.extend_from_slice(piece);
                if seen == 0 || is_worth_reading(&input, seen) {
                    found = parse(&mut input, false).map(|head| head.map(|head| head.headers));
                    seen = input.len();
                }
                if !matches!(found, Ok(None)) {
                    break;
                }
            }
            prop_assert_eq!(found, whole);
        }

        #[test]
        fn a_part_of_a_head_is_waited_for(cut in 0..70_usize) {
            let text = "HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 3\r\netag: \"abcdefgh\"\r\n\r\n";
            let cut = cut.min(text.len() - 1);
            prop_assert!(parsed(&text[..cut]).unwrap().is_none());
        }
    }
}
