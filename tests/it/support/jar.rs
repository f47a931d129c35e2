//! A cookie jar as browsers have it (RFC 6265bis): by host, not by port; prefixes and sizes enforced; `Secure`
//! only over https, loopback included, as Safari does.

use std::time::{Duration, Instant};

use cookie::Cookie;
use url::Url;

/// What a browser keeps of name and value together.
const LARGEST: usize = 4096;

/// One cookie that was taken.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    host: String,
    host_only: bool,
    path: String,
    secure: bool,
    ends: Option<Instant>,
}

/// The jar.
#[derive(Default)]
pub struct Jar {
    cookies: Vec<Stored>,
    /// Every `Set-Cookie` that a browser would not take, with the reason.
    pub refused: Vec<String>,
}

impl Jar {
    /// Takes one `Set-Cookie` of an answer from `origin`.
    pub fn take(&mut self, header: &str, origin: &Url) {
        match Self::check(header, origin) {
            Ok(stored) => {
                self.cookies.retain(|old| {
                    (old.name.as_str(), old.host.as_str(), old.path.as_str())
                        != (&stored.name, &stored.host, &stored.path)
                });
                if stored.ends.is_none_or(|end| end > Instant::now()) {
                    self.cookies.push(stored);
                }
            }
            Err(reason) => self.refused.push(format!("{reason}: {header}")),
        }
    }

    fn check(header: &str, origin: &Url) -> Result<Stored, &'static str> {
        let cookie = Cookie::parse(header).map_err(|_| "malformed")?;
        let (name, value) = (cookie.name(), cookie.value());
        if name.len() + value.len() > LARGEST {
            return Err("larger than browsers keep");
        }
        let host = origin.host_str().expect("http has a host");
        let secure = cookie.secure() == Some(true);
        if secure && origin.scheme() != "https" {
            return Err("Secure over http");
        }
        let domain = cookie.domain().map(|domain| domain.trim_start_matches('.'));
        if domain.is_some_and(|domain| domain != host && !host.ends_with(&format!(".{domain}"))) {
            return Err("another site's Domain");
        }
        let path = cookie
            .path()
            .filter(|path| path.starts_with('/'))
            .map_or_else(|| default_path(origin.path()), str::to_owned);
        if name.starts_with("__Host-")
            && !(secure && domain.is_none() && cookie.path() == Some("/"))
        {
            return Err("__Host- without its attributes");
        }
        if name.starts_with("__Secure-") && !secure {
            return Err("__Secure- without Secure");
        }
        let ends = match (cookie.max_age(), cookie.expires_datetime()) {
            (Some(age), _) if !age.is_positive() => Some(Instant::now()),
            (Some(age), _) => {
                Some(Instant::now() + Duration::from_secs(age.whole_seconds().unsigned_abs()))
            }
            (None, Some(date)) if date.year() < 2000 => Some(Instant::now()),
            _ => None,
        };
        Ok(Stored {
            name: name.to_owned(),
            value: value.to_owned(),
            host: domain.unwrap_or(host).to_owned(),
            host_only: domain.is_none(),
            path,
            secure,
            ends,
        })
    }

    /// The `Cookie` header for a request to `url`.
    pub fn header(&self, url: &Url) -> Option<String> {
        let mut fitting: Vec<&Stored> = self.for_url(url).collect();
        // RFC 6265 §5.4: longer paths first, else in the order they came.
        fitting.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<String> = fitting
            .iter()
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// The cookies that go with a request to `url`.
    pub fn for_url<'a>(&'a self, url: &'a Url) -> impl Iterator<Item = &'a Stored> {
        let host = url.host_str().unwrap_or_default();
        let now = Instant::now();
        self.cookies.iter().filter(move |cookie| {
            let host_fits = cookie.host == host
                || !cookie.host_only && host.ends_with(&format!(".{}", cookie.host));
            host_fits
                && path_fits(&cookie.path, url.path())
                && (!cookie.secure || url.scheme() == "https")
                && cookie.ends.is_none_or(|end| end > now)
        })
    }

    /// Puts a cookie into the jar, as a script or an attacker on a sibling host would.
    pub fn plant(&mut self, name: &str, value: &str, url: &Url) {
        let stored = Stored {
            name: name.to_owned(),
            value: value.to_owned(),
            host: url.host_str().expect("http has a host").to_owned(),
            host_only: true,
            path: "/".to_owned(),
            secure: false,
            ends: None,
        };
        self.cookies
            .retain(|old| old.name != name || old.host != stored.host);
        self.cookies.push(stored);
    }

    /// Forgets the cookies of that name.
    pub fn forget(&mut self, name: &str) {
        self.cookies.retain(|cookie| cookie.name != name);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.cookies.clear();
    }
}

fn default_path(path: &str) -> String {
    match path.rfind('/') {
        Some(0) | None => "/".to_owned(),
        Some(end) => path[..end].to_owned(),
    }
}

fn path_fits(cookie: &str, request: &str) -> bool {
    request == cookie
        || request
            .strip_prefix(cookie)
            .is_some_and(|rest| cookie.ends_with('/') || rest.starts_with('/'))
}
