//! The head of a request as it is sent (RFC 9112 §3). Its parts were parsed before, so no byte of them can end a line. Only the
//! gate says how long the body is.

use http::{
    HeaderMap, Method,
    header::{CONTENT_LENGTH, COOKIE, TRANSFER_ENCODING},
    uri::PathAndQuery,
};

use super::field_line::{CRLF, write_header};

/// How a request's body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestBodyLength {
    /// There is none.
    None,
    /// So many bytes.
    Exactly(u64),
    /// Nobody knows: it is sent in chunks.
    Unknown,
}

/// Writes the request line and `headers`, all but those that frame the body and but `Cookie`, of which
/// `write_cookies` writes what the upstream may see.
pub fn begin_request(
    method: &Method,
    target: Option<&PathAndQuery>,
    headers: &HeaderMap,
    write_cookies: impl FnOnce(&HeaderMap, &mut Vec<u8>),
    into: &mut Vec<u8>,
) {
    into.extend_from_slice(method.as_str().as_bytes());
    into.push(b' ');
    let target = target.map_or("/", PathAndQuery::as_str);
    // `http://app?query` has no path, which means `/` (RFC 9110 §4.2.3).
    if target.starts_with('?') {
        into.push(b'/');
    }
    into.extend_from_slice(target.as_bytes());
    into.extend_from_slice(b" HTTP/1.1\r\n");
    let mut has_cookies = false;
    for (name, value) in headers {
        if *name == COOKIE {
            has_cookies = true;
        } else if *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING {
            write_header(name, value.as_bytes(), into);
        }
    }
    if has_cookies {
        write_cookies(headers, into);
    }
}

/// Writes how long the body is, and the empty line. Where there is none, an app may ask for a length all the same
/// (RFC 9110 §8.6): of a method that has a body as a rule, or where the client, whose `headers` these are, said one.
pub fn end_request(
    method: &Method,
    length: RequestBodyLength,
    headers: &HeaderMap,
    into: &mut Vec<u8>,
) {
    match length {
        RequestBodyLength::None => {
            let never = [Method::GET, Method::HEAD].contains(method);
            let always = [Method::POST, Method::PUT, Method::PATCH].contains(method);
            if always || !never && headers.contains_key(CONTENT_LENGTH) {
                into.extend_from_slice(b"content-length: 0\r\n");
            }
        }
        RequestBodyLength::Exactly(length) => {
            let length = length.to_string();
            write_header(&CONTENT_LENGTH, length.as_bytes(), into);
        }
        RequestBodyLength::Unknown => {
            into.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
    }
    into.extend_from_slice(CRLF);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn written(
        method: &Method,
        target: &str,
        headers: &HeaderMap,
        length: RequestBodyLength,
    ) -> String {
        let target = PathAndQuery::try_from(target).unwrap();
        let mut bytes = Vec::new();
        let cookies = |_: &HeaderMap, into: &mut Vec<u8>| into.extend(b"cookie: a=1\r\n");
        begin_request(method, Some(&target), headers, cookies, &mut bytes);
        end_request(method, length, headers, &mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_gate_alone_says_how_long_the_body_is() {
        let headers: HeaderMap = [("host", "a"), ("cookie", "own=2"), ("content-length", "7")]
            .into_iter()
            .chain([("transfer-encoding", "chunked"), ("x-one", "1")])
            .map(|(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            })
            .collect();
        let begin = "POST /a?b HTTP/1.1\r\nhost: a\r\nx-one: 1\r\ncookie: a=1\r\n";
        for (length, end) in [
            (RequestBodyLength::None, "content-length: 0\r\n\r\n"),
            (RequestBodyLength::Exactly(12), "content-length: 12\r\n\r\n"),
            (
                RequestBodyLength::Unknown,
                "transfer-encoding: chunked\r\n\r\n",
            ),
        ] {
            let got = written(&Method::POST, "/a?b", &headers, length);
            assert_eq!(got, format!("{begin}{end}"));
        }
    }

    #[test]
    fn a_target_begins_with_its_path() {
        let headers = HeaderMap::new();
        let got = written(&Method::GET, "?a=/b", &headers, RequestBodyLength::None);
        assert_eq!(got, "GET /?a=/b HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn a_get_without_a_body_says_nothing_of_one() {
        let got = written(
            &Method::GET,
            "/",
            &HeaderMap::new(),
            RequestBodyLength::None,
        );
        assert_eq!(got, "GET / HTTP/1.1\r\n\r\n");
    }
}
