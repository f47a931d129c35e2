//! The head of a request as the app gets it: what is left of the client's headers, and the gate's own.

use std::io;

use http::{
    HeaderMap, HeaderValue, Uri,
    header::{CONNECTION, COOKIE, FORWARDED, HOST, UPGRADE},
    request::Parts,
    uri::PathAndQuery,
};

use super::{
    ForwardError, OwnCookies,
    http1::{self, RequestBodyLength},
    http2,
    identity::{AppUser, IdentityHeaders},
};
use crate::{
    clean::{X_REQUEST_ID, forwarding::Forwarding},
    observe::RequestId,
};

/// What the upstream is told before a request's body.
pub(super) struct RequestHead<'a> {
    /// The client's own words, as far as they were left.
    pub(super) head: &'a Parts,
    /// The protocol to switch to.
    pub(super) upgrade: Option<&'a HeaderValue>,
    pub(super) forwarding: &'a Forwarding,
    pub(super) id: Option<RequestId>,
    pub(super) app_user: Option<AppUser<'a>>,
    /// Whether the app is reached over TLS.
    pub(super) is_tls: bool,
}

impl RequestHead<'_> {
    pub(super) fn write(
        &self,
        identity: &IdentityHeaders,
        own: OwnCookies<'_>,
        length: RequestBodyLength,
        into: &mut Vec<u8>,
    ) {
        let Parts {
            method,
            uri,
            headers,
            ..
        } = self.head;
        let write_cookies = |headers: &HeaderMap, into: &mut Vec<u8>| {
            own.cookies.write_foreign(headers, own.only, into);
        };
        http1::begin_request(method, uri.path_and_query(), headers, write_cookies, into);
        for (name, value) in self.forwarding.lines() {
            http1::write_header(name, value, into);
        }
        into.extend_from_slice(b"forwarded: ");
        self.forwarding.write_forwarded(into);
        into.extend_from_slice(b"\r\n");
        if let Some(id) = self.id {
            http1::write_header(&X_REQUEST_ID, &id.hex(), into);
        }
        identity.write(self.app_user, into);
        if let Some(protocol) = self.upgrade {
            http1::write_header(&CONNECTION, b"upgrade", into);
            http1::write_header(&UPGRADE, protocol.as_bytes(), into);
        }
        http1::end_request(method, length, headers, into);
    }

    /// The same for HTTP/2. Nothing asks to switch there: an app that HTTP/2 is spoken with has no other protocol.
    ///
    /// # Errors
    /// When the host is none that HTTP/2 can name.
    pub(super) fn to_http2(
        &self,
        identity: &IdentityHeaders,
        own: OwnCookies<'_>,
        is_repeatable: bool,
    ) -> Result<http2::Head, ForwardError> {
        let refused =
            |error| ForwardError::Broken(io::Error::new(io::ErrorKind::InvalidInput, error));
        let mut headers = self.head.headers.clone();
        let host = headers
            .remove(HOST)
            .filter(|host| !host.is_empty())
            .unwrap_or(HeaderValue::from_static("localhost"));
        let cookies = own.cookies.foreign(&headers, own.only);
        http2::strip_framing(&mut headers);
        if let Some(cookies) = cookies {
            headers.insert(COOKIE, cookies);
        }
        let id = self.id.map(RequestId::hex);
        let id = id.as_ref().map(|id| (&X_REQUEST_ID, &id[..]));
        for (name, value) in self.forwarding.lines().chain(id) {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(name, value);
            }
        }
        let mut forwarded = Vec::new();
        self.forwarding.write_forwarded(&mut forwarded);
        if let Ok(value) = HeaderValue::try_from(forwarded) {
            headers.append(FORWARDED, value);
        }
        identity.insert(self.app_user, &mut headers);
        let target = self
            .head
            .uri
            .path_and_query()
            .map_or("/", PathAndQuery::as_str);
        let slash = if target.starts_with('?') { "/" } else { "" };
        let uri = Uri::builder()
            .scheme(if self.is_tls { "https" } else { "http" })
            .authority(host.as_bytes())
            .path_and_query(format!("{slash}{target}"));
        Ok(http2::Head {
            method: self.head.method.clone(),
            uri: uri.build().map_err(refused)?,
            headers,
            is_repeatable,
        })
    }
}
