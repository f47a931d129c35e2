//! Calls to a provider's API with a user's access token: reads only, bounded in number, pages and time.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, StatusCode,
    header::{AUTHORIZATION, LINK, RETRY_AFTER},
};
use serde_json::{Map, Value};
use tokio::time::sleep;
use url::Url;

use super::pace::RequestPacer;
use crate::{
    provider::{Call, HttpClient, ProviderError, http::HttpError},
    random,
};

/// A provider's API.
pub(super) struct Api {
    pub(super) http: HttpClient,
    /// What each call carries beside our own headers.
    pub(super) headers: &'static [(&'static str, &'static str)],
    /// What the kind can tell of an answer better than its status does.
    pub(super) fault: fn(&Reply) -> Option<ProviderError>,
    /// How often it may be called; none where only the provider counts.
    pub(super) pace: Option<Arc<RequestPacer>>,
}

/// An answer of whatever status.
pub(super) struct Reply {
    pub(super) call: Call,
    pub(super) status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Api {
    /// One object.
    pub(super) async fn object(
        &self,
        call: Call,
        url: &Url,
        token: &str,
    ) -> Result<Map<String, Value>, ProviderError> {
        match self.read(&self.fetch(call, url, token).await?)? {
            Value::Object(members) => Ok(members),
            _ => Err(answer(call, "not a JSON object")),
        }
    }

    /// One list, from all its pages. What lies beyond the last page that is read is as good as not there:
    /// that lets nobody pass, and nobody can keep us reading.
    pub(super) async fn list(
        &self,
        call: Call,
        url: &Url,
        token: &str,
    ) -> Result<Vec<Value>, ProviderError> {
        let mut list = Vec::new();
        let mut page = url.clone();
        for _ in 0..MAX_PAGES {
            let reply = self.fetch(call, &page, token).await?;
            match self.read(&reply)? {
                Value::Array(entries) => list.extend(entries),
                _ => return Err(answer(call, "not a JSON list")),
            }
            let Some(next) = reply.next_page(&page) else {
                return Ok(list);
            };
            // The token goes where the operator said, and nowhere else.
            if next.origin() != url.origin() {
                return Err(answer(call, "the next page is at another origin"));
            }
            page = next;
        }
        tracing::warn!(%call, "more than {MAX_PAGES} pages; the rest is left out");
        Ok(list)
    }

    fn read(&self, reply: &Reply) -> Result<Value, ProviderError> {
        let call = reply.call;
        let status = |status| ProviderError::Http {
            call,
            error: HttpError::Status(status),
        };
        if reply.is_throttled() {
            return Err(status(StatusCode::TOO_MANY_REQUESTS));
        }
        if let Some(fault) = (self.fault)(reply) {
            return Err(fault);
        }
        match reply.status {
            StatusCode::OK => reply.json().ok_or(ProviderError::Http {
                call,
                error: HttpError::NotJson,
            }),
            StatusCode::UNAUTHORIZED => Err(answer(call, "the access token is not accepted")),
            other => Err(status(other)),
        }
    }

    /// A read does no harm twice, so "too often" gets a second try where the wait is short.
    async fn fetch(&self, call: Call, url: &Url, token: &str) -> Result<Reply, ProviderError> {
        let reply = self.fetch_once(call, url, token).await?;
        match reply.pause(random::bytes::<1>()[0]) {
            Some(pause) => {
                sleep(pause).await;
                self.fetch_once(call, url, token).await
            }
            None => Ok(reply),
        }
    }

    async fn fetch_once(&self, call: Call, url: &Url, token: &str) -> Result<Reply, ProviderError> {
        let http = |error| ProviderError::Http { call, error };
        if let Some(pace) = &self.pace {
            // We refuse ourselves what the provider would refuse.
            let full = http(HttpError::Status(StatusCode::TOO_MANY_REQUESTS));
            pace.turn().await.ok_or(full)?;
        }
        let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| answer(call, "the access token is no header text"))?;
        bearer.set_sensitive(true);
        let mut request = Request::get(url.as_str())
            .body(Bytes::new())
            .map_err(|_| http(HttpError::ForbiddenUrl))?;
        request.headers_mut().insert(AUTHORIZATION, bearer);
        for (name, value) in self.headers {
            request.headers_mut().insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let (head, body) = self.http.send(request).await.map_err(http)?.into_parts();
        Ok(Reply {
            call,
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}

impl Reply {
    /// The body, where it is JSON.
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Whether this is about how often we ask. GitHub says so with 403, which elsewhere is a "no".
    pub(super) fn is_throttled(&self) -> bool {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => true,
            StatusCode::FORBIDDEN => self.headers.contains_key(RETRY_AFTER) || self.is_used_up(),
            _ => false,
        }
    }

    fn is_used_up(&self) -> bool {
        let left = self.headers.get("x-ratelimit-remaining");
        left.is_some_and(|left| left == "0")
    }

    /// How long to wait before a second try; none where there is nothing to try again, or no use in it.
    fn pause(&self, jitter: u8) -> Option<Duration> {
        if !self.is_throttled() {
            return None;
        }
        let header = self.headers.get(RETRY_AFTER);
        let said = header
            .and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok())
            // Discord's, with a fraction.
            .or_else(|| self.json()?.get("retry_after")?.as_f64());
        let seconds = match said {
            Some(seconds) => seconds,
            // An hour's calls are used up: that takes longer than anybody waits.
            None if self.is_used_up() => return None,
            None => 1.0 + f64::from(jitter) / 512.0,
        };
        let pause = Duration::try_from_secs_f64(seconds).ok()?;
        (pause <= LONGEST_PAUSE).then_some(pause)
    }

    /// What comes after `page` (RFC 8288), by whatever name it comes.
    fn next_page(&self, page: &Url) -> Option<Url> {
        let links = self.headers.get_all(LINK).iter();
        let target = links
            .filter_map(|value| value.to_str().ok())
            .find_map(next_target)?;
        page.join(target).ok()
    }
}

/// The target whose relation is `next` in a `Link` header's value.
fn next_target(links: &str) -> Option<&str> {
    let mut rest = links;
    loop {
        let (_, link) = rest.split_once('<')?;
        let (target, after) = link.split_once('>')?;
        // Parameters end where the next link begins; targets may have commas, parameters here have none.
        let end = after.find('<').unwrap_or(after.len());
        let is_next = after[..end].split([';', ',']).any(|parameter| {
            let Some((name, value)) = parameter.split_once('=') else {
                return false;
            };
            let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
            name.trim().eq_ignore_ascii_case("rel")
                && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target);
        }
        rest = &after[end..];
    }
}

/// An answer that is of no use.
pub(super) fn answer(call: Call, problem: &'static str) -> ProviderError {
    ProviderError::Answer { call, problem }
}

/// Pages of one list, at 100 entries each: more than any user has.
const MAX_PAGES: usize = 10;

/// The longest pause before a call is repeated. A user is waiting.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
