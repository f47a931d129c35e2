//! Return addresses: where a browser goes after a login or logout. Pure.
//!
//! An open redirect puts a phishing page behind a trusted name. Browsers read more into an address than it seems to say: they drop tabs
//! and line breaks, take `\` for `/`, and find a host in `/\evil` and `https:evil`. So an address must have one of two plain forms. It is
//! then resolved as browsers do (WHATWG URL), and only the resulting origin counts.

use url::{Origin, Url};

use crate::{canonical_path::CanonicalPath, public_url::PublicUrl, route};

/// An address that a redirect may name: a path of the public origin, or an absolute URL on an allowed
/// host. The only constructors are the checks in [`ReturnRules`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// `/`
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// As a `Location` header has it. ASCII, no control characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One entry of `redirect_hosts`, lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// `app.example.com` or `app.example.com:8443`: this authority.
    Exact(String),
    /// `.example.com`, dot included: any host below it, with the scheme's default port.
    Subdomains(String),
}

/// What return addresses are checked against.
#[derive(Debug, Clone)]
pub struct ReturnRules {
    public_url: Url,
    public_origin: Origin,
    hosts: Vec<AllowedHost>,
    apps: Vec<route::HostPattern>,
    prefix: String,
    /// The own endpoints that are pages to come back to.
    own_pages: Vec<&'static str>,
    callback_paths: Vec<String>,
}

#[derive(Debug, Clone)]
enum AllowedHost {
    /// The host as a URL writes it; the port where it is not the scheme's default.
    Exact(String, Option<u16>),
    /// With the leading dot.
    Below(String),
}

impl ReturnRules {
    /// The public origin, the allowed hosts, and the prefix (own endpoints are no place to return to,
    /// but for the account's page: loops). A host that no URL can have allows nothing.
    pub fn new(public_url: &PublicUrl, redirect_hosts: &[HostPattern], prefix: &str) -> Self {
        Self {
            public_url: public_url.url.clone(),
            public_origin: public_url.url.origin(),
            hosts: redirect_hosts.iter().filter_map(AllowedHost::new).collect(),
            apps: Vec::new(),
            prefix: prefix.to_owned(),
            own_pages: vec!["/account"],
            callback_paths: Vec::new(),
        }
    }

    /// The same rules; the hosts of the apps that share one login are places to return to as well, under the scheme and the
    /// port of the public origin.
    #[must_use]
    pub fn with_apps(mut self, apps: &[route::HostPattern]) -> Self {
        self.apps.extend_from_slice(apps);
        self
    }

    /// The same rules; an own endpoint is a page to come back to as well.
    #[must_use]
    pub fn with_own_page(mut self, page: &'static str) -> Self {
        self.own_pages.push(page);
        self
    }

    /// The same rules, and callback paths outside the prefix are no place to return to either.
    #[must_use]
    pub fn without(mut self, callback_paths: impl IntoIterator<Item = String>) -> Self {
        self.callback_paths.extend(callback_paths);
        self
    }

    /// Checks `address` (already decoded from a query). At most 8,192 bytes. Query kept byte for byte
    /// where it is ASCII, fragment dropped.
    pub fn check(&self, address: &str) -> Option<ReturnTo> {
        if address.len() > MAX_LENGTH || !is_plain_form(address) {
            return None;
        }
        let url = self.public_url.join(address).ok()?;
        if !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let origin = if url.origin() == self.public_origin {
            if !self.is_place_to_return(url.path()) {
                return None;
            }
            String::new()
        } else if self.is_app(&url) {
            if !self.is_place_to_return(url.path()) {
                return None;
            }
            url.origin().ascii_serialization()
        } else if self.is_allowed_elsewhere(&url) {
            url.origin().ascii_serialization()
        } else {
            return None;
        };
        let mut checked = origin + url.path();
        if let Some(query) = query_as_written(address).or_else(|| url.query()) {
            checked.push('?');
            checked.push_str(query);
        }
        (checked.len() <= MAX_LENGTH).then_some(ReturnTo(checked))
    }

    /// Whether a page of this origin (RFC 6454 §7.1) may act as one of the gate's own would: the operator has named its host
    /// in `redirect_hosts`, or it is the public one, unless what it asks is of an app with a host of its own.
    pub fn names_origin(&self, origin: &str, is_of_app: bool) -> bool {
        Url::parse(origin).is_ok_and(|url| {
            (url.origin() == self.public_origin && !is_of_app) || self.is_allowed_elsewhere(&url)
        })
    }

    /// Whether it is of an app that shares the login.
    fn is_app(&self, url: &Url) -> bool {
        let public = &self.public_url;
        let is_beside = url.scheme() == public.scheme()
            && url.port_or_known_default() == public.port_or_known_default();
        let host = url.host_str().filter(|_| is_beside);
        host.is_some_and(|host| {
            !host.starts_with('.')
                && !host.ends_with('.')
                && !host.contains("..")
                && self.apps.iter().any(|app| app.matches(host))
        })
    }

    /// Whether a path of an own origin stays there as a `Location`, and is no own endpoint in either
    /// reading, but for the one that is a page of its own.
    fn is_place_to_return(&self, path: &str) -> bool {
        // `/..//evil` leads to `//evil`, which names a host. Some frameworks decode a `Location`.
        let second = path.get(1..).unwrap_or_default();
        if ["/", "\\", "%2f", "%2F", "%5c", "%5C"]
            .iter()
            .any(|slash| second.starts_with(slash))
        {
            return false;
        }
        let Ok(path) = CanonicalPath::parse(path) else {
            return false;
        };
        path.judge(|path| {
            path.strip_prefix(&self.prefix).is_some_and(|rest| {
                (rest.is_empty() || rest.starts_with('/')) && !self.own_pages.contains(&rest)
            }) || self.callback_paths.iter().any(|own| own == path)
        }) == Some(false)
    }

    fn is_allowed_elsewhere(&self, url: &Url) -> bool {
        let is_fitting_scheme = match url.scheme() {
            "https" => true,
            "http" => self.public_url.scheme() == "http",
            _ => false,
        };
        let Some(host) = url.host_str().filter(|_| is_fitting_scheme) else {
            return false;
        };
        self.hosts.iter().any(|allowed| match allowed {
            AllowedHost::Exact(name, port) => {
                let default = if url.scheme() == "https" { 443 } else { 80 };
                host == name && url.port().unwrap_or(default) == port.unwrap_or(default)
            }
            AllowedHost::Below(suffix) => {
                url.port().is_none()
                    && host
                        .strip_suffix(suffix.as_str())
                        .is_some_and(|label| !label.is_empty() && !label.ends_with('.'))
            }
        })
    }
}

impl AllowedHost {
    fn new(pattern: &HostPattern) -> Option<Self> {
        match pattern {
            HostPattern::Exact(authority) => {
                // The parser drops 443; over plain http it is not the default.
                let url = Url::parse(&format!("https://{authority}/")).ok()?;
                let port = match url.port() {
                    None if authority.ends_with(":443") => Some(443),
                    port => port,
                };
                Some(Self::Exact(url.host_str()?.to_owned(), port))
            }
            HostPattern::Subdomains(name) => {
                let name = name.trim_start_matches('.');
                let url = Url::parse(&format!("https://{name}/")).ok()?;
                Some(Self::Below(format!(".{}", url.domain()?)))
            }
        }
    }
}

/// A path that begins with one slash, or `http://` or `https://` and a host; in neither a character that
/// browsers drop or replace.
fn is_plain_form(address: &str) -> bool {
    let is_misread =
        |character: char| character.is_control() || character.is_whitespace() || character == '\\';
    if address.contains(is_misread) {
        return false;
    }
    if let Some(rest) = address.strip_prefix('/') {
        return !rest.starts_with('/');
    }
    let Some((scheme, rest)) = address.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    (scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http"))
        && !authority.is_empty()
        && !authority.contains('@')
}

/// The query before it was normalised; the app may compare it byte for byte with what it sent.
fn query_as_written(address: &str) -> Option<&str> {
    let end = address.find('#').unwrap_or(address.len());
    let (_, query) = address[..end].split_once('?')?;
    query.is_ascii().then_some(query)
}

/// Bytes of a return address. It is more than a login carries: a user who is signed in by then is redirected to a long address
/// all the same.
const MAX_LENGTH: usize = 8_192;

#[cfg(test)]
mod tests;
