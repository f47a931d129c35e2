//! Own cookies: their names, finding them in a request, removing them from what the upstream sees and sets, and writing them into a
//! response. Pure.

mod cut;
mod find;
mod write;

pub use self::find::{Found, Span};

use url::Url;

use crate::{public_url::PublicUrl, session::settings::SessionSettings};

/// The names and attributes of own cookies, fixed at start.
/// Over https: `__Host-NAME` (Secure, Path=/), or `__Secure-NAME` where several hosts share it, which `__Host-` rules out;
/// over plain http, which can have neither, `NAME`. What belongs to a login under way stays one host's in any case.
/// The logout hint is `__Secure-NAME_hint` with `Path=PREFIX/sign_out`, the last choice of provider
/// `__Secure-NAME_provider` with `Path=PREFIX` like the name of who has signed in before, `__Secure-NAME_known`, so that
/// they ride on no other request.
#[derive(Clone, Debug)]
pub struct Cookies {
    /// Begins the names of the parts and of the login cookie, too.
    session: String,
    login: String,
    logout_hint: String,
    logout_hint_path: String,
    led: String,
    known: String,
    provider: String,
    prefix: String,
    secure: bool,
    /// Every host at or below it gets the session and its logout hint.
    domain: Option<String>,
    /// What the session was called before `session.cookie_domain` was set, or taken out: it is cut like the others, for it
    /// may still open, and never read.
    stale: Option<String>,
    /// The other domains for which a cookie of the session's name may stand, from before `session.cookie_domain` changed.
    earlier_domains: Vec<String>,
}

/// Which of `NAME`, `NAME_0` … `NAME_4` a request carried, so that those not written now are expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCookies(u8);

impl Cookies {
    /// From `session.cookie_name` (a token, RFC 9110 §5.6.2), the public URL's scheme, and the prefix.
    pub fn new(session: &SessionSettings, public_url: &PublicUrl, prefix: &str) -> Self {
        let name = &session.cookie_name;
        let secure = public_url.is_https();
        let (host, secured) = if secure {
            ("__Host-", "__Secure-")
        } else {
            ("", "")
        };
        let domain = session.cookie_domain.clone();
        let (current, stale) = match &domain {
            Some(_) => (secured, host),
            None => (host, secured),
        };
        Self {
            session: format!("{current}{name}"),
            login: format!("{host}{name}_login"),
            logout_hint: format!("{secured}{name}_hint"),
            logout_hint_path: format!("{prefix}/sign_out"),
            provider: format!("{secured}{name}_provider"),
            led: format!("{host}{name}_led"),
            known: format!("{secured}{name}_known"),
            prefix: prefix.to_owned(),
            secure,
            stale: secure.then(|| format!("{stale}{name}")),
            earlier_domains: match &domain {
                // `__Host-` names have no domain.
                None if secure => Vec::new(),
                _ => domains(&public_url.url, domain.as_deref()),
            },
            domain,
        }
    }
}

/// The host of `url` and what it is below, of two labels or more, but for `current`.
fn domains(url: &Url, current: Option<&str>) -> Vec<String> {
    let host = url.domain().unwrap_or_default();
    let below = host.match_indices('.').map(|(dot, _)| &host[dot + 1..]);
    let all = [host].into_iter().chain(below);
    all.filter(|domain| domain.contains('.') && Some(*domain) != current)
        .map(str::to_owned)
        .collect()
}

impl SessionCookies {
    const WHOLE: u8 = 1 << MAX_PARTS;
    const TWICE: u8 = Self::WHOLE << 1;

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

    /// One of them came twice: another was set for this host alone, and hides the one that hosts share.
    fn insert_twice(&mut self) {
        self.0 |= Self::TWICE;
    }

    fn has_twice(self) -> bool {
        self.0 & Self::TWICE != 0
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Cookies that one session is split over.
const MAX_PARTS: usize = 5;

#[cfg(test)]
mod tests;
