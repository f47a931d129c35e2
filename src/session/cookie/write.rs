//! Writes own cookies: the `Set-Cookie` values of a response.

use std::time::Duration;

use cookie::{Cookie, SameSite};
use http::HeaderValue;

use super::{Cookies, MAX_PARTS, SessionCookies};

impl Cookies {
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
        self.unhide(present, &mut values);
        if self.session.len() + 1 + sealed.len() <= MAX_COOKIE {
            written.insert_whole();
            values.push(self.write_shared(&self.session, sealed, "/", max_age));
        } else {
            let room = MAX_COOKIE.checked_sub(self.session.len() + "_0=".len())?;
            let mut rest = sealed;
            for index in 0..MAX_PARTS {
                let (part, after) = rest.split_at_checked(room).unwrap_or((rest, ""));
                written.insert_part(index);
                values.push(self.write_shared(&self.part(index), part, "/", max_age));
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
        self.unhide(present, &mut values);
        self.expire(present, &mut values);
        values
    }

    /// `Set-Cookie` values that take away what hides the session here: cookies of the same names that were set for this
    /// host alone, by a script or before hosts shared it over plain http. None where nothing does.
    pub fn expire_hiding(&self, present: SessionCookies) -> Vec<HeaderValue> {
        let mut values = Vec::new();
        self.unhide(present, &mut values);
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
            .then(|| self.write_shared(&self.logout_hint, sealed, &self.logout_hint_path, max_age))
    }

    /// `Set-Cookie` that expires the logout hint.
    pub fn expire_logout_hint(&self) -> HeaderValue {
        self.write_shared(
            &self.logout_hint,
            "",
            &self.logout_hint_path,
            Duration::ZERO,
        )
    }

    /// `Set-Cookie` that remembers the provider of a login. `name` is a configured one.
    pub fn write_provider(&self, name: &str) -> HeaderValue {
        self.write(&self.provider, name, &self.prefix, LONGEST_MEMORY)
    }

    /// `Set-Cookie` that remembers who has signed in, sealed.
    pub fn write_known(&self, sealed: &str) -> HeaderValue {
        self.write(&self.known, sealed, &self.prefix, LONGEST_MEMORY)
    }

    /// `Set-Cookie` that says for which address the browser was led to `public_url`.
    pub fn write_led(&self, mark: &str) -> HeaderValue {
        self.write(&self.led, mark, "/", LED)
    }

    fn expire(&self, present: SessionCookies, values: &mut Vec<HeaderValue>) {
        if present.has_whole() {
            values.push(self.write_shared(&self.session, "", "/", Duration::ZERO));
        }
        for index in (0..MAX_PARTS).filter(|index| present.has_part(*index)) {
            values.push(self.write_shared(&self.part(index), "", "/", Duration::ZERO));
        }
    }

    /// Takes away what hides the session: cookies of its names for this host alone, or for another domain. Stands before
    /// what is written: a browser that tells them apart by their host alone keeps what comes last.
    fn unhide(&self, present: SessionCookies, values: &mut Vec<HeaderValue>) {
        if !present.has_twice() {
            return;
        }
        let others = self.earlier_domains.iter().map(|domain| Some(&**domain));
        let host_alone = self.domain.is_some().then_some(None);
        let parts = (0..MAX_PARTS).filter(|index| present.has_part(*index));
        let names: Vec<_> = (present
            .has_whole()
            .then(|| self.session.clone())
            .into_iter())
        .chain(parts.map(|index| self.part(index)))
        .collect();
        for domain in host_alone.into_iter().chain(others) {
            let expired = |name: &String| self.write_for(domain, name, "", "/", Duration::ZERO);
            values.extend(names.iter().map(expired));
        }
    }

    /// A cookie of this host alone.
    fn write(&self, name: &str, value: &str, path: &str, max_age: Duration) -> HeaderValue {
        self.write_for(None, name, value, path, max_age)
    }

    /// A cookie of all hosts that share the session.
    fn write_shared(&self, name: &str, value: &str, path: &str, max_age: Duration) -> HeaderValue {
        self.write_for(self.domain.as_deref(), name, value, path, max_age)
    }

    /// One `Set-Cookie`. Expiring takes the attributes of writing: a browser drops a `__Host-` cookie
    /// without them, and the old one would stay.
    fn write_for(
        &self,
        domain: Option<&str>,
        name: &str,
        value: &str,
        path: &str,
        max_age: Duration,
    ) -> HeaderValue {
        let seconds = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
        let mut cookie = Cookie::build((name, value));
        if let Some(domain) = domain {
            cookie = cookie.domain(domain);
        }
        let cookie = cookie
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
}

/// Name, `=` and value. Browsers take 4,096 bytes (RFC 6265bis §5.6); some proxies count the attributes.
pub(super) const MAX_COOKIE: usize = 3_800;

/// How long the mark of a redirect to `public_url` lasts: longer than the redirect takes, and short enough not to affect a later one.
const LED: Duration = Duration::from_secs(10);

/// No browser keeps a cookie longer than 400 days (RFC 6265bis §5.5).
const LONGEST_MEMORY: Duration = Duration::from_hours(400 * 24);
