//! The request id from a trusted proxy, so that all logs have the same id. Pure.
//!
//! Proxies often pass on what their client sent. So the id has a maximum length, and no characters that are special in a page, a
//! shell or a log.

use http::HeaderMap;

use super::X_REQUEST_ID;
use crate::text::Text;

/// The one name in the headers of a trusted proxy, if it is fit to be one.
pub(crate) fn given(headers: &HeaderMap) -> Option<Text> {
    let mut names = headers.get_all(&X_REQUEST_ID).iter();
    match (names.next(), names.next()) {
        (Some(name), None) => name.to_str().ok().filter(|name| is_fit(name)),
        _ => None,
    }
    .map(Text::from)
}

fn is_fit(name: &str) -> bool {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~:/+=@".contains(&byte);
    (1..=LONGEST).contains(&name.len()) && name.bytes().all(fit)
}

/// A UUID has 36, Amazon's trace ids some 70.
const LONGEST: usize = 128;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn given_of(lines: &[&'static [u8]]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&X_REQUEST_ID, HeaderValue::from_bytes(line).unwrap());
        }
        given(&headers).map(|name| name.to_string())
    }

    #[test]
    fn usual_names_are_taken() {
        for name in [
            "7b445f4e-93a6-9f3e-8b5f-2d1c0a9e8f7d",
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "Root=1-67891233-abcdef012345678912345678",
            "host/pkUrEzpnHh-000001",
            "Zm9v+w==",
            "x",
        ] {
            assert_eq!(given_of(&[name.as_bytes()]).as_deref(), Some(name));
        }
        let longest = vec![b'a'; LONGEST].leak();
        assert!(given_of(&[longest]).is_some());
    }

    #[test]
    fn what_is_no_name_is_none() {
        let too_long = vec![b'a'; LONGEST + 1].leak();
        for name in [
            &b""[..],
            b"a b",
            b"a, b",
            b"a\tb",
            b"\"",
            b"<script>",
            b"$(id)",
            b"a\\n",
            b"caf\xc3\xa9",
            too_long,
        ] {
            assert_eq!(given_of(&[name]), None, "{name:?}");
        }
        assert_eq!(
            given_of(&[b"a", b"a"]),
            None,
            "one of them may be the client's"
        );
        assert_eq!(given_of(&[]), None);
    }
}
