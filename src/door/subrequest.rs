//! The request that a door is asked about. Pure.
//!
//! Each proxy has its own headers for the original request. It overwrites these, and passes others on as the client wrote them
//! (the class of CVE-2026-40575). So if the proxy is known, only its headers count, each exactly once. If it is not known, all
//! spellings are read, each must pass, and somebody must be signed in.

use std::fmt;

use http::{HeaderMap, HeaderValue, Method, header::HOST};

use crate::{
    clean::original::{METHODS, OriginalHeaders, TARGETS},
    origin::PublicOrigin,
};

/// How a request that is held back is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// All that are known; the proxy is not.
    Any,
    /// `X-Original-URI`, `X-Original-Method`, and the question's own `Host`.
    OriginalUri,
    /// `X-Original-URL`, a whole address, and `X-Original-Method`.
    OriginalUrl,
    /// `X-Forwarded-Uri`, `-Method`, `-Host` and `-Proto`.
    Forwarded,
    /// The question is the request: its method, its `Host`, and what stands below the door's own path.
    Below,
}

/// A question as it came.
#[derive(Clone, Copy, Debug)]
pub struct Came<'a> {
    /// What a trusted proxy said of the original request.
    pub original: &'a OriginalHeaders,
    /// The question's headers.
    pub headers: &'a HeaderMap,
    /// The question's method.
    pub method: &'a Method,
    /// The question's target below the door's path; none where that is all of it.
    pub below: Option<&'a str>,
    /// Whether it came from a trusted proxy.
    pub is_trusted: bool,
    /// The authority that it names itself, as far as it is believed.
    pub seen: &'a HeaderValue,
    /// Whether it names https.
    pub is_https: bool,
}

/// A request that may have to pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The method.
    pub method: Method,
    /// Path and query, not yet looked at; empty, which is no path, where they are not ASCII.
    pub target: String,
    /// The authority; `public_url`'s where it is that one.
    pub host: HeaderValue,
    /// Whether it is `public_url`'s.
    pub is_for_public_url: bool,
    /// Whether the browser came over TLS.
    pub is_https: bool,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subrequest {
    /// All of these must pass. None where nothing was told of a request.
    pub questions: Vec<Question>,
    /// The method that was told, where one was; for the log.
    pub method: Option<Method>,
    /// Whether they are what the proxy serves. Where a client could have said them, somebody must be signed in beside.
    pub is_sure: bool,
}

/// Why a question cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// The peer is not one of `trusted_proxies`.
    Untrusted,
    /// The header did not come.
    Absent(&'static str),
    /// The header came more than once, or more often than anybody means.
    Several(&'static str),
    /// The header says nothing that a proxy would say.
    Malformed(&'static str),
    /// It came for the door itself, and not for a path below it.
    NotBelow,
}

impl fmt::Display for Flaw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted => formatter.write_str("it came from no trusted proxy"),
            Self::Absent(name) => write!(formatter, "the proxy in front did not send {name}"),
            Self::Several(name) => write!(formatter, "{name} came more than once"),
            Self::Malformed(name) => write!(formatter, "{name} is malformed"),
            Self::NotBelow => formatter.write_str("it came for no path below this one"),
        }
    }
}

/// As many values of one header as are looked at.
const MOST_VALUES: usize = 8;

impl Subrequest {
    /// Reads a question.
    ///
    /// # Errors
    /// Why it says nothing that could be judged.
    pub fn read(spelling: Spelling, came: &Came<'_>, public: &PublicOrigin) -> Result<Self, Flaw> {
        if spelling == Spelling::Any {
            return any(came, public);
        }
        if !came.is_trusted {
            return Err(Flaw::Untrusted);
        }
        let one = |name| only(came.original.all(name), name);
        let (method, target, host, is_https) = match spelling {
            Spelling::Any => return any(came, public),
            Spelling::OriginalUri => (
                method(one("x-original-method")?, "x-original-method")?,
                path(
                    text(one("x-original-uri")?, "x-original-uri")?,
                    "x-original-uri",
                )?,
                authority(only(came.headers.get_all(HOST).iter(), "host")?, "host")?,
                came.is_https,
            ),
            Spelling::OriginalUrl => {
                let url = text(one("x-original-url")?, "x-original-url")?;
                let malformed = Flaw::Malformed("x-original-url");
                let (is_https, host, target) = split(url).ok_or_else(|| malformed.clone())?;
                let host = HeaderValue::try_from(host).map_err(|_| malformed)?;
                (
                    method(one("x-original-method")?, "x-original-method")?,
                    path(target, "x-original-url")?,
                    authority(&host, "x-original-url")?,
                    is_https,
                )
            }
            Spelling::Forwarded => (
                method(one("x-forwarded-method")?, "x-forwarded-method")?,
                path(
                    text(one("x-forwarded-uri")?, "x-forwarded-uri")?,
                    "x-forwarded-uri",
                )?,
                authority(one("x-forwarded-host")?, "x-forwarded-host")?,
                scheme(one("x-forwarded-proto")?)?,
            ),
            Spelling::Below => (
                came.method.clone(),
                path(came.below.ok_or(Flaw::NotBelow)?, "the path")?,
                authority(only(came.headers.get_all(HOST).iter(), "host")?, "host")?,
                came.is_https,
            ),
        };
        Self::of(method, target, &host, is_https, public)
    }

    /// One request that a proxy tells of in whole, by its method, path and query, and authority.
    ///
    /// # Errors
    /// Which of them no request has.
    pub fn of(
        method: Method,
        target: &str,
        host: &HeaderValue,
        is_https: bool,
        public: &PublicOrigin,
    ) -> Result<Self, Flaw> {
        let target = path(target, "the path")?.to_owned();
        let host = authority(host, "the host")?;
        Ok(Self {
            method: Some(method.clone()),
            questions: vec![Question::new(method, target, &host, is_https, public)],
            is_sure: true,
        })
    }

    /// The first target, for the way back after a login.
    pub fn return_to(&self) -> &str {
        self.questions
            .first()
            .map_or("/", |question| question.target.as_str())
    }
}

impl Question {
    /// A browser that came for `public_url` sees that, whatever the last hop was.
    fn new(
        method: Method,
        target: String,
        host: &HeaderValue,
        is_https: bool,
        public: &PublicOrigin,
    ) -> Self {
        let is_for_public_url = public.is_named_by(host);
        Self {
            method,
            target,
            host: if is_for_public_url {
                public.authority.clone()
            } else {
                host.clone()
            },
            is_for_public_url,
            is_https: if is_for_public_url {
                public.is_https
            } else {
                is_https
            },
        }
    }
}

/// Every reading of what came, by every method: who tells the method may be the client, and a rule for GET must not let a
/// POST pass.
fn any(came: &Came<'_>, public: &PublicOrigin) -> Result<Subrequest, Flaw> {
    let all = |names: &[&'static str]| {
        let mut found = Vec::new();
        for name in names {
            found.extend(came.original.all(name));
            if found.len() > MOST_VALUES {
                return Err(Flaw::Several(name));
            }
        }
        Ok(found)
    };
    let named = all(&METHODS)?.into_iter();
    let named: Vec<_> = named
        .filter_map(|value| Method::from_bytes(value.as_bytes()).ok())
        .collect();
    let mut methods = EVERY_METHOD.to_vec();
    for method in &named {
        if !methods.contains(method) {
            methods.push(method.clone());
        }
    }
    let mut questions = Vec::new();
    for value in all(&TARGETS)? {
        let target = path_and_query(value.to_str().unwrap_or_default());
        questions.extend(methods.iter().map(|method| {
            Question::new(
                method.clone(),
                target.to_owned(),
                came.seen,
                came.is_https,
                public,
            )
        }));
    }
    Ok(Subrequest {
        method: named.first().filter(|_| named.len() == 1).cloned(),
        questions,
        is_sure: false,
    })
}

/// The only one. A proxy that appends to what the client sent has not overwritten it.
fn only<'a>(
    mut values: impl Iterator<Item = &'a HeaderValue>,
    name: &'static str,
) -> Result<&'a HeaderValue, Flaw> {
    let first = values.next().ok_or(Flaw::Absent(name))?;
    match values.next() {
        None => Ok(first),
        Some(_) => Err(Flaw::Several(name)),
    }
}

fn text<'a>(value: &'a HeaderValue, name: &'static str) -> Result<&'a str, Flaw> {
    value.to_str().map_err(|_| Flaw::Malformed(name))
}

fn method(value: &HeaderValue, name: &'static str) -> Result<Method, Flaw> {
    Method::from_bytes(value.as_bytes()).map_err(|_| Flaw::Malformed(name))
}

/// A path of some server, which begins with a slash (RFC 9112 §3.2.1).
fn path<'a>(target: &'a str, name: &'static str) -> Result<&'a str, Flaw> {
    if target.starts_with('/') {
        Ok(target)
    } else {
        Err(Flaw::Malformed(name))
    }
}

fn authority(value: &HeaderValue, name: &'static str) -> Result<HeaderValue, Flaw> {
    if value.to_str().is_ok_and(crate::clean::is_authority) {
        Ok(value.clone())
    } else {
        Err(Flaw::Malformed(name))
    }
}

/// Traefik writes `wss` for a WebSocket.
fn scheme(value: &HeaderValue) -> Result<bool, Flaw> {
    match value.as_bytes() {
        b"https" | b"wss" => Ok(true),
        b"http" | b"ws" => Ok(false),
        _ => Err(Flaw::Malformed("x-forwarded-proto")),
    }
}

/// Whether it is https, the authority, and path and query of a whole address.
fn split(url: &str) -> Option<(bool, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let is_https = match scheme {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let (host, target) = rest.split_at(rest.find('/')?);
    Some((is_https, host, target))
}

/// Path and query as they are, or of a whole address.
fn path_and_query(target: &str) -> &str {
    if target.starts_with('/') {
        return target;
    }
    let Some((scheme, rest)) = target.split_once("://") else {
        return "";
    };
    // Otherwise the URL stands in a query or a fragment, whose words are nobody's path.
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if !scheme.bytes().all(is_scheme) {
        return "";
    }
    match rest.find(['/', '?', '#']) {
        Some(place) if !rest[place..].starts_with('#') => &rest[place..],
        _ => "",
    }
}

/// The methods of RFC 9110 §9 that reach an app, and PATCH.
const EVERY_METHOD: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

#[cfg(test)]
mod tests;
