//! Own cookies: their names, how they are found in a request, written into a response, and taken out
//! of what the upstream sees. Pure.
//!
//! A `Cookie` header is read as RFC 6265 §5.4 has browsers write it: pieces between semicolons, a name up
//! to the first `=`, no quoting and no trimming behind the name. A piece is ours only by the exact name:
//! browsers match the `__Host-` prefix in any case and let a nameless cookie imitate a named one
//! (RFC 6265bis §5.7), so whatever is merely similar was written by somebody else.

use std::{borrow::Cow, str, time::Duration};

use cookie::{Cookie, SameSite};
use http::{
    HeaderMap, HeaderValue,
    header::{COOKIE, SET_COOKIE},
};
use memchr::{memchr, memchr_iter};

use crate::config::{PublicUrl, SessionConfig};

/// The names and attributes of own cookies, fixed at start.
/// Over https: `__Host-NAME` (Secure, Path=/); over plain http, which cannot have it, `NAME`.
/// The logout hint is `__Secure-NAME_hint` with `Path=PREFIX/sign_out`, the last choice of provider
/// `__Secure-NAME_provider` with `Path=PREFIX`, so that they ride on no other request.
#[derive(Clone, Debug)]
pub struct Cookies {
    /// Begins the names of the parts and of the login cookie, too.
    session: String,
    login: String,
    logout_hint: String,
    logout_hint_path: String,
    provider: String,
    provider_path: String,
    secure: bool,
}

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
    /// The provider of the last login, as anybody may have written it.
    pub provider: Option<&'a str>,
}

/// Where a piece of a `Cookie` header begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: usize,
    end: usize,
}

/// Which of `NAME`, `NAME_0` … `NAME_4` a request carried, so that those not written now are expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCookies(u8);

impl Cookies {
    /// From `session.cookie_name` (a token, RFC 9110 §5.6.2), the public URL's scheme, and the prefix.
    pub fn new(session: &SessionConfig, public_url: &PublicUrl, prefix: &str) -> Self {
        let name = &session.cookie_name;
        let secure = public_url.is_https();
        let (host, secured) = if secure {
            ("__Host-", "__Secure-")
        } else {
            ("", "")
        };
        Self {
            session: format!("{host}{name}"),
            login: format!("{host}{name}_login"),
            logout_hint: format!("{secured}{name}_hint"),
            logout_hint_path: format!("{prefix}/sign_out"),
            provider: format!("{secured}{name}_provider"),
            provider_path: prefix.to_owned(),
            secure,
        }
    }

    /// Own cookies in the request. Names are exact and case-sensitive; a name that comes twice counts
    /// as absent (cookie tossing).
    pub fn find<'a>(&self, headers: &'a HeaderMap) -> Found<'a> {
        let mut found = Found::default();
        let mut session = Once::Absent;
        let mut parts = [Once::Absent; MAX_PARTS];
        let mut login = Once::Absent;
        let mut logout_hint = Once::Absent;
        let mut provider = Once::Absent;
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
                        session.see(value);
                    }
                    Own::Part(index) => {
                        found.session_cookies.insert_part(index);
                        parts[index].see(value);
                    }
                    Own::Login => login.see(value),
                    Own::LogoutHint => logout_hint.see(value),
                    Own::Provider => provider.see(value),
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
        found
    }

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

    /// `Set-Cookie` values that store `sealed`, split above 3,800 bytes, and expire every other one of
    /// `present`. None when it would take more than five cookies.
    pub fn write_session(
        &self,
        sealed: &str,
        max_age: Duration,
        present: SessionCookies,
    ) -> Option<Vec<HeaderValue>> {
        let mut written = SessionCookies::default();
        let mut values = Vec::with_capacity(1);
        if self.session.len() + 1 + sealed.len() <= MAX_COOKIE {
            written.insert_whole();
            values.push(self.write(&self.session, sealed, "/", max_age));
        } else {
            let room = MAX_COOKIE.checked_sub(self.session.len() + "_0=".len())?;
            let mut rest = sealed;
            for index in 0..MAX_PARTS {
                let (part, after) = rest.split_at_checked(room).unwrap_or((rest, ""));
                written.insert_part(index);
                values.push(self.write(&self.part(index), part, "/", max_age));
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            if !rest.is_empty() {
                return None;
            }
        }
        self.expire(present.without(written), &mut values);
        Some(values)
    }

    /// `Set-Cookie` values that expire every session cookie of `present` (at least the unsplit one).
    pub fn expire_session(&self, mut present: SessionCookies) -> Vec<HeaderValue> {
        present.insert_whole();
        let mut values = Vec::with_capacity(1);
        self.expire(present, &mut values);
        values
    }

    /// `Set-Cookie` of the login cookie.
    pub fn write_login(&self, value: &str, max_age: Duration) -> HeaderValue {
        self.write(&self.login, value, "/", max_age)
    }

    /// `Set-Cookie` that expires the login cookie.
    pub fn expire_login(&self) -> HeaderValue {
        self.write_login("", Duration::ZERO)
    }

    /// `Set-Cookie` of the logout hint; none when it does not fit into one cookie.
    pub fn write_logout_hint(&self, sealed: &str, max_age: Duration) -> Option<HeaderValue> {
        (self.logout_hint.len() + 1 + sealed.len() <= MAX_COOKIE)
            .then(|| self.write(&self.logout_hint, sealed, &self.logout_hint_path, max_age))
    }

    /// `Set-Cookie` that expires the logout hint.
    pub fn expire_logout_hint(&self) -> HeaderValue {
        self.write(
            &self.logout_hint,
            "",
            &self.logout_hint_path,
            Duration::ZERO,
        )
    }

    /// `Set-Cookie` that remembers the provider of a login. `name` is a configured one.
    pub fn write_provider(&self, name: &str) -> HeaderValue {
        self.write(&self.provider, name, &self.provider_path, LONGEST_MEMORY)
    }

    fn expire(&self, present: SessionCookies, values: &mut Vec<HeaderValue>) {
        if present.has_whole() {
            values.push(self.write(&self.session, "", "/", Duration::ZERO));
        }
        for index in (0..MAX_PARTS).filter(|index| present.has_part(*index)) {
            values.push(self.write(&self.part(index), "", "/", Duration::ZERO));
        }
    }

    /// One `Set-Cookie`. Expiring takes the attributes of writing: a browser drops a `__Host-` cookie
    /// without them, and the old one would stay.
    fn write(&self, name: &str, value: &str, path: &str, max_age: Duration) -> HeaderValue {
        let seconds = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
        let cookie = Cookie::build((name, value))
            .path(path)
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(self.secure)
            .max_age(time::Duration::seconds(seconds));
        let mut value = HeaderValue::try_from(cookie.to_string())
            .expect("names, path and values of own cookies are visible ASCII");
        value.set_sensitive(true);
        value
    }

    fn part(&self, index: usize) -> String {
        format!("{}_{index}", self.session)
    }

    /// Which own cookie the piece of a `Cookie` header is, and its value.
    fn own<'a>(&self, piece: &'a [u8]) -> Option<(Own, &'a [u8])> {
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
                _ => {
                    if let Some(value) = rest.strip_prefix(b"_login=") {
                        return Some((Own::Login, value));
                    }
                }
            }
        }
        for (name, own) in [
            (&self.logout_hint, Own::LogoutHint),
            (&self.provider, Own::Provider),
        ] {
            if let Some([b'=', value @ ..]) = piece.strip_prefix(name.as_bytes()) {
                return Some((own, value));
            }
        }
        None
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
        let session = self.session.as_bytes();
        if name.len() >= session.len() && name[..session.len()].eq_ignore_ascii_case(session) {
            let rest = &name[session.len()..];
            if matches!(rest, [] | [b'_', b'0'..=b'4']) {
                return true;
            }
        }
        name.eq_ignore_ascii_case(self.login.as_bytes())
            || name.eq_ignore_ascii_case(self.logout_hint.as_bytes())
            || name.eq_ignore_ascii_case(self.provider.as_bytes())
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

impl SessionCookies {
    const WHOLE: u8 = 1 << MAX_PARTS;

    /// Whether the request carried none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn insert_whole(&mut self) {
        self.0 |= Self::WHOLE;
    }

    fn has_whole(self) -> bool {
        self.0 & Self::WHOLE != 0
    }

    fn insert_part(&mut self, index: usize) {
        self.0 |= 1 << index;
    }

    fn has_part(self, index: usize) -> bool {
        self.0 & (1 << index) != 0
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Session,
    Part(usize),
    Login,
    LogoutHint,
    Provider,
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
    fn see(&mut self, value: &'a [u8]) {
        *self = match self {
            Self::Absent => Self::Seen(value),
            _ => Self::Twice,
        };
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
fn pieces(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr_iter(b';', header)
        .chain([header.len()])
        .map(move |end| {
            let piece = &header[start..end];
            start = end + 1;
            piece
        })
}

/// Name, `=` and value. Browsers take 4,096 bytes (RFC 6265bis §5.6); some proxies count the attributes.
const MAX_COOKIE: usize = 3_800;
const MAX_PARTS: usize = 5;

/// No browser keeps a cookie longer than 400 days (RFC 6265bis §5.5).
const LONGEST_MEMORY: Duration = Duration::from_hours(400 * 24);

#[cfg(test)]
mod tests;
