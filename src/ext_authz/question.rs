//! Reads a `CheckRequest`: the original request that Envoy asks about, in the form that the doors use. Pure.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header::HOST};
use prost::Message as _;
use url::form_urlencoded;

use super::message::{AttributeContext, CheckRequest, HttpRequest};
use crate::{
    door::{Flaw, Subrequest},
    origin::PublicOrigin,
};

/// The longest message, in bytes: twice the headers that Envoy accepts, and the rest of the message. `with_request_body` would
/// send bodies, which are not read here.
pub const MAX_MESSAGE: usize = 256 * 1024;
/// The most header fields of a request. Envoy accepts 100 by default.
const MAX_FIELDS: usize = 512;

/// What is asked about, and by whom it was sent.
#[derive(Debug)]
pub struct Question {
    /// The request.
    pub subrequest: Subrequest,
    /// Its headers. Those of HTTP/2 that begin with a colon are not among them.
    pub headers: HeaderMap,
    /// Where it comes from, as Envoy knows it; none of a Unix socket.
    pub source: Option<IpAddr>,
    /// Whether it came over TLS.
    pub is_https: bool,
    /// `allowed_groups` and the like of `context_extensions`, as a query has them.
    pub narrowing: String,
}

/// Why a message is no question.
#[derive(Debug, PartialEq, Eq)]
pub enum NoQuestion {
    /// It is no message of the kind, or not all of one.
    Unreadable,
    /// It is compressed, which nobody asked for.
    Compressed,
    /// What it says cannot be judged.
    Flawed(Flaw),
}

impl Question {
    /// Reads the body of a call: one message behind five bytes that tell its length (gRPC over HTTP/2, "Length-Prefixed-Message").
    ///
    /// # Errors
    /// Why it asks nothing that could be judged.
    pub fn read(body: &[u8], public: &PublicOrigin) -> Result<Self, NoQuestion> {
        let (prefix, message) = body
            .split_first_chunk::<5>()
            .ok_or(NoQuestion::Unreadable)?;
        let [compressed, length @ ..] = *prefix;
        if compressed != 0 {
            return Err(NoQuestion::Compressed);
        }
        if usize::try_from(u32::from_be_bytes(length)).ok() != Some(message.len())
            || message.len() > MAX_MESSAGE
        {
            return Err(NoQuestion::Unreadable);
        }
        let request = CheckRequest::decode(message).map_err(|_| NoQuestion::Unreadable)?;
        Self::of(request, public).map_err(NoQuestion::Flawed)
    }

    fn of(request: CheckRequest, public: &PublicOrigin) -> Result<Self, Flaw> {
        let attributes = request.attributes.ok_or(Flaw::Absent("attributes"))?;
        let source = source(&attributes);
        let narrowing = narrowing(&attributes);
        let http = attributes.request.and_then(|request| request.http);
        let http = http.ok_or(Flaw::Absent("attributes.request.http"))?;
        let method = Method::from_bytes(http.method.as_bytes());
        let method = method.map_err(|_| Flaw::Malformed("the method"))?;
        let is_https = match &*http.scheme {
            "https" => true,
            // Old Envoys do not tell it.
            "http" | "" => false,
            _ => return Err(Flaw::Malformed("the scheme")),
        };
        let host = HeaderValue::try_from(&*http.host).map_err(|_| Flaw::Malformed("the host"))?;
        let mut headers = headers(&http)?;
        // One host, whatever else a client wrote: the one by which Envoy chose its route.
        headers.insert(HOST, host.clone());
        Ok(Self {
            subrequest: Subrequest::of(method, &http.path, &host, is_https, public)?,
            headers,
            source,
            is_https,
            narrowing,
        })
    }
}

fn source(attributes: &AttributeContext) -> Option<IpAddr> {
    let address = attributes.source.as_ref()?.address.as_ref()?;
    let text = &address.socket_address.as_ref()?.address;
    let address: IpAddr = text.parse().ok()?;
    Some(address.to_canonical())
}

/// What a route of Envoy's may ask beside the gate's own, under the names that a question over HTTP has.
fn narrowing(attributes: &AttributeContext) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(&attributes.context_extensions);
    query.finish()
}

fn headers(http: &HttpRequest) -> Result<HeaderMap, Flaw> {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &[u8]| {
        if name.starts_with(':') {
            return Ok(());
        }
        // What cannot be read may be what it must not be.
        let malformed = || Flaw::Malformed("a header");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| malformed())?;
        let value = HeaderValue::from_bytes(value).map_err(|_| malformed())?;
        if headers.len() >= MAX_FIELDS {
            return Err(Flaw::Several(
                "more headers than anybody sends: one of them",
            ));
        }
        headers.append(name, value);
        Ok(())
    };
    for (name, value) in &http.headers {
        add(name, value.as_bytes())?;
    }
    for line in http.header_map.iter().flat_map(|map| &map.headers) {
        let value = if line.raw_value.is_empty() {
            line.value.as_bytes()
        } else {
            &line.raw_value
        };
        add(&line.key, value)?;
    }
    Ok(headers)
}

#[cfg(test)]
mod tests;
