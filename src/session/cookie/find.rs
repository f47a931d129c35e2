//! Finds own cookies in a request.
//!
//! A `Cookie` header is read as browsers write it (RFC 6265 §5.4): pieces between semicolons, a name up to the first `=`, no quoting and
//! no trimming after the name. Only the exact name counts. Browsers match the `__Host-` prefix in any case, and a cookie without a name
//! can imitate one with a name (RFC 6265bis §5.7). So whatever is merely similar was written by somebody else.

use std::{borrow::Cow, str};

use http::{HeaderMap, header::COOKIE};
use memchr::memchr_iter;

use super::{Cookies, MAX_PARTS, SessionCookies};

/// What the `Cookie` headers of one request say, in one pass. No `Debug`: the values are credentials.
#[derive(Default, PartialEq, Eq)]
pub struct Found<'a> {
    /// The sealed session, its parts joined; none when absent, incomplete or there twice. The unsplit
    /// cookie wins over parts: whoever of the two is stale, only one of them opens by itself.
    pub session: Option<Cow<'a, [u8]>>,
    /// Whether any own cookie (a session, a part, a stale sibling, a login) was there.
    pub any: bool,
    /// Which session cookies were there, whatever they are worth.
    pub session_cookies: SessionCookies,
    /// Where the only own cookie stands in the only header: nearly always there is one of each.
    pub only: Option<Span>,
    /// The login cookie's value.
    pub login: Option<&'a str>,
    /// The sealed logout hint.
    pub logout_hint: Option<&'a str>,
    /// Which address the browser was led to `public_url` for, a moment ago.
    pub led: Option<&'a str>,
    /// The sealed name of somebody who has signed in here before.
    pub known: Option<&'a str>,
    /// The provider of the last login, as anybody may have written it.
    pub provider: Option<&'a str>,
}

/// Where a piece of a `Cookie` header begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Cookies {
    /// Own cookies in the request. Names are exact and case-sensitive; a name that comes twice counts
    /// as absent (cookie tossing).
    pub fn find<'a>(&self, headers: &'a HeaderMap) -> Found<'a> {
        let mut found = Found::default();
        let mut session = Once::Absent;
        let mut parts = [Once::Absent; MAX_PARTS];
        let mut login = Once::Absent;
        let mut logout_hint = Once::Absent;
        let mut provider = Once::Absent;
        let (mut led, mut known) = (Once::Absent, Once::Absent);
        let mut headers_seen = 0;
        for header in headers.get_all(COOKIE) {
            headers_seen += 1;
            let header = header.as_bytes();
            for piece in pieces(header) {
                let Some((own, value)) = self.own(piece) else {
                    continue;
                };
                let start = piece.as_ptr().addr() - header.as_ptr().addr();
                let end = start + piece.len();
                found.only = (!found.any).then_some(Span { start, end });
                found.any = true;
                match own {
                    Own::Session => {
                        found.session_cookies.insert_whole();
                        if session.see(value) {
                            found.session_cookies.insert_twice();
                        }
                    }
                    Own::Part(index) => {
                        found.session_cookies.insert_part(index);
                        if parts[index].see(value) {
                            found.session_cookies.insert_twice();
                        }
                    }
                    Own::Login => _ = login.see(value),
                    Own::LogoutHint => _ = logout_hint.see(value),
                    Own::Provider => _ = provider.see(value),
                    Own::Led => _ = led.see(value),
                    Own::Known => _ = known.see(value),
                    Own::Stale => {}
                }
            }
        }
        if headers_seen > 1 {
            found.only = None;
        }
        found.session = match session {
            Once::Seen(value) => Some(Cow::Borrowed(value)),
            Once::Twice => None,
            Once::Absent => join(&parts).map(Cow::Owned),
        };
        found.login = login.text();
        found.logout_hint = logout_hint.text();
        found.provider = provider.text();
        found.led = led.text();
        found.known = known.text();
        found
    }

    /// The own cookies beside the session's.
    pub(super) fn others(&self) -> [(&str, Own); 5] {
        [
            (&self.login, Own::Login),
            (&self.logout_hint, Own::LogoutHint),
            (&self.provider, Own::Provider),
            (&self.led, Own::Led),
            (&self.known, Own::Known),
        ]
    }

    /// Which own cookie the piece of a `Cookie` header is, and its value.
    pub(super) fn own<'a>(&self, piece: &'a [u8]) -> Option<(Own, &'a [u8])> {
        let piece = piece.trim_ascii_start();
        let first = piece.first();
        if first != self.session.as_bytes().first() && first != self.provider.as_bytes().first() {
            return None;
        }
        // Over https most own names begin so.
        if let Some(rest) = piece.strip_prefix(self.session.as_bytes()) {
            match rest {
                [b'=', value @ ..] => return Some((Own::Session, value)),
                [b'_', digit @ b'0'..=b'4', b'=', value @ ..] => {
                    return Some((Own::Part(usize::from(digit - b'0')), value));
                }
                _ => {}
            }
        }
        if let Some(stale) = &self.stale
            && let Some([b'=', value @ ..] | [b'_', b'0'..=b'4', b'=', value @ ..]) =
                piece.strip_prefix(stale.as_bytes())
        {
            return Some((Own::Stale, value));
        }
        for (name, own) in self.others() {
            if let Some([b'=', value @ ..]) = piece.strip_prefix(name.as_bytes()) {
                return Some((own, value));
            }
        }
        None
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    Session,
    Part(usize),
    Login,
    LogoutHint,
    Provider,
    Led,
    Known,
    Stale,
}

/// A value that must come once. Two cookies of one name were set for two paths or domains, and nothing
/// in the header tells which one is ours.
#[derive(Clone, Copy)]
enum Once<'a> {
    Absent,
    Seen(&'a [u8]),
    Twice,
}

impl<'a> Once<'a> {
    /// Whether it is not the first.
    fn see(&mut self, value: &'a [u8]) -> bool {
        let is_first = matches!(self, Self::Absent);
        *self = if is_first {
            Self::Seen(value)
        } else {
            Self::Twice
        };
        !is_first
    }

    fn value(self) -> Option<&'a [u8]> {
        match self {
            Self::Seen(value) => Some(value),
            Self::Absent | Self::Twice => None,
        }
    }

    fn text(self) -> Option<&'a str> {
        str::from_utf8(self.value()?).ok()
    }
}

/// The parts as one text: two or more, without a gap, and nothing behind the gap.
fn join(parts: &[Once<'_>; MAX_PARTS]) -> Option<Vec<u8>> {
    let count = parts
        .iter()
        .rposition(|part| !matches!(part, Once::Absent))?
        + 1;
    if count < 2 {
        return None;
    }
    let values: Option<Vec<_>> = parts[..count].iter().map(|part| part.value()).collect();
    Some(values?.concat())
}

/// What stands between the semicolons, spaces included.
pub(super) fn pieces(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr_iter(b';', header)
        .chain([header.len()])
        .map(move |end| {
            let piece = &header[start..end];
            start = end + 1;
            piece
        })
}
