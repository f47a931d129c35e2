//! Removes own cookies: from a request before the app sees it, and from an app's response.

use http::{
    HeaderMap, HeaderValue,
    header::{COOKIE, SET_COOKIE},
};
use memchr::memchr;

use super::{
    Cookies,
    find::{Span, pieces},
};

impl Cookies {
    /// Writes into a request's head the `Cookie` line that the app may see: without own cookies. The app's
    /// cookies stay byte for byte; several headers (HTTP/2 may split them, RFC 9113 §8.2.3) become one;
    /// there is no line where nothing is left. `only` is what [`find`](Self::find) found in these `headers`.
    pub fn write_foreign(&self, headers: &HeaderMap, only: Option<Span>, into: &mut Vec<u8>) {
        let line = into.len();
        into.extend_from_slice(b"cookie: ");
        let value = into.len();
        let is_as_it_came = match (only, headers.get(COOKIE)) {
            (Some(only), Some(header)) => {
                only.write_others(header.as_bytes(), into);
                false
            }
            _ => self.write_others(headers, into),
        };
        let is_separator = |byte: &u8| *byte == b';' || byte.is_ascii_whitespace();
        if !is_as_it_came && into[value..].iter().all(is_separator) {
            into.truncate(line);
        } else {
            into.extend_from_slice(b"\r\n");
        }
    }

    /// What [`write_foreign`](Self::write_foreign) writes, as the value of a header; none where nothing is left.
    pub fn foreign(&self, headers: &HeaderMap, only: Option<Span>) -> Option<HeaderValue> {
        let mut line = Vec::new();
        self.write_foreign(headers, only, &mut line);
        let value = line.strip_prefix(b"cookie: ")?.strip_suffix(b"\r\n")?;
        HeaderValue::from_bytes(value).ok()
    }

    /// Writes what is not ours of all headers, as one. Whether that is one header as it came.
    fn write_others(&self, headers: &HeaderMap, into: &mut Vec<u8>) -> bool {
        let value = into.len();
        let mut any_is_ours = false;
        let mut count = 0;
        for header in headers.get_all(COOKIE) {
            count += 1;
            let mut behind_ours = false;
            let mut is_first = true;
            for piece in pieces(header.as_bytes()) {
                if self.own(piece).is_some() {
                    any_is_ours = true;
                    behind_ours = true;
                    continue;
                }
                // The space before a piece belongs to the separator, which goes with ours.
                let piece = if is_first && behind_ours {
                    piece.trim_ascii_start()
                } else {
                    piece
                };
                if !is_first {
                    into.push(b';');
                } else if into.len() > value {
                    into.extend_from_slice(b"; ");
                }
                into.extend_from_slice(piece);
                is_first = false;
            }
        }
        count == 1 && !any_is_ours
    }

    /// Takes `Set-Cookie` of own names out of an upstream's response, so that an app cannot set or
    /// clear the session. Also what a browser would send back under an own name: other cases of the
    /// prefix, and `=NAME=…`, whose name is empty.
    pub fn strip_from_response(&self, headers: &mut HeaderMap) {
        let all = headers.get_all(SET_COOKIE);
        if !all.iter().any(|value| self.sets_own(value.as_bytes())) {
            return;
        }
        let kept: Vec<_> = all
            .iter()
            .filter(|value| !self.sets_own(value.as_bytes()))
            .cloned()
            .collect();
        headers.remove(SET_COOKIE);
        for value in kept {
            headers.append(SET_COOKIE, value);
        }
    }

    /// Whether a browser that gets this `Set-Cookie` may later send something that looks like ours.
    fn sets_own(&self, set_cookie: &[u8]) -> bool {
        let end = memchr(b';', set_cookie).unwrap_or(set_cookie.len());
        let pair = &set_cookie[..end];
        let (name, value) = match memchr(b'=', pair) {
            Some(at) => (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()),
            None => (&b""[..], pair.trim_ascii()),
        };
        if !name.is_empty() {
            return self.is_own_name(name);
        }
        // Nameless: what is sent back is the value alone.
        let sent = &value[..memchr(b'=', value).unwrap_or(value.len())];
        self.is_own_name(sent.trim_ascii())
    }

    fn is_own_name(&self, name: &[u8]) -> bool {
        let is_session = |session: &str| {
            let session = session.as_bytes();
            name.get(..session.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(session))
                && matches!(name[session.len()..], [] | [b'_', b'0'..=b'4'])
        };
        if is_session(&self.session) || self.stale.as_deref().is_some_and(is_session) {
            return true;
        }
        self.others()
            .iter()
            .any(|(own, _)| name.eq_ignore_ascii_case(own.as_bytes()))
    }
}

impl Span {
    /// Writes what stands before and behind.
    fn write_others(self, header: &[u8], into: &mut Vec<u8>) {
        let (before, behind) = (&header[..self.start], &header[self.end..]);
        match before.split_last() {
            // The separator before goes with ours.
            Some((_, before)) => {
                into.extend_from_slice(before);
                into.extend_from_slice(behind);
            }
            // The space behind it, too.
            None => into.extend_from_slice(behind.get(1..).unwrap_or_default().trim_ascii_start()),
        }
    }
}
