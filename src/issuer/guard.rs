//! What a route that accepts tokens adds to its answers: where a client can get a token (RFC 9728 §5.1), and CORS headers, because clients in
//! pages of other origins use tokens and no cookies. Pure.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
        ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, WWW_AUTHENTICATE,
    },
};

use crate::{origin::WebOrigin, route::Resource};

/// A request that came to a route which takes tokens.
pub struct Guard {
    /// How it takes them.
    pub resource: Resource,
    /// The scopes that its rule asks for.
    scopes: Vec<String>,
    metadata: String,
    comes_from_a_page: bool,
}

impl Guard {
    /// Of a request for `path` of `origin` with these headers. The rule of its route asks for `scopes`.
    pub fn of(
        resource: Resource,
        scopes: &[&str],
        origin: &WebOrigin,
        (path, headers): (&str, &HeaderMap),
    ) -> Self {
        let path = path.strip_suffix('/').unwrap_or(path);
        // It stands between quotes.
        let path = utf8_percent_encode(path, UNQUOTED);
        Self {
            resource,
            scopes: scopes.iter().copied().map(str::to_owned).collect(),
            metadata: format!("{origin}{RESOURCE_METADATA}{path}"),
            comes_from_a_page: headers.contains_key(ORIGIN),
        }
    }

    /// Whether it is by tokens alone.
    pub fn is_mcp(&self) -> bool {
        self.resource == Resource::Mcp
    }

    /// Puts what it says into an answer; `is_refusal` is whether that is the gate's own.
    pub fn complete(&self, is_refusal: bool, status: StatusCode, headers: &mut HeaderMap) {
        if is_refusal && matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            self.challenge(headers);
        }
        if self.is_mcp()
            && self.comes_from_a_page
            && !headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN)
        {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            headers.insert(
                ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static(EXPOSED),
            );
        }
    }

    fn challenge(&self, headers: &mut HeaderMap) {
        let Some(first) = headers
            .get(WWW_AUTHENTICATE)
            .and_then(|value| value.to_str().ok())
        else {
            return;
        };
        // What the request needs beside what each token has (RFC 6750 §3.1): a client asks for all that stands there.
        let (rest, needed) = take_scope(first);
        let mut scopes = vec![self.resource.scope()];
        scopes.extend(self.scopes.iter().map(String::as_str));
        scopes.extend(needed.split(' ').filter(|scope| !scope.is_empty()));
        let mut needed: Vec<&str> = Vec::new();
        for scope in scopes {
            if !needed.contains(&scope) {
                needed.push(scope);
            }
        }
        let challenge = format!(
            "{rest}, resource_metadata=\"{}\", scope=\"{}\"",
            self.metadata,
            needed.join(" ")
        );
        if let Ok(challenge) = HeaderValue::try_from(challenge) {
            // The first, so that clients which look at no other find it.
            let others: Vec<_> = headers
                .get_all(WWW_AUTHENTICATE)
                .iter()
                .skip(1)
                .cloned()
                .collect();
            headers.insert(WWW_AUTHENTICATE, challenge);
            for other in others {
                headers.append(WWW_AUTHENTICATE, other);
            }
        }
    }
}

/// A challenge of the gate's own without its `scope`, and that.
fn take_scope(challenge: &str) -> (String, &str) {
    const BEFORE: &str = ", scope=\"";
    let found = challenge.split_once(BEFORE);
    let found = found.and_then(|(before, rest)| Some((before, rest.split_once('"')?)));
    match found {
        Some((before, (scope, behind))) => (format!("{before}{behind}"), scope),
        None => (challenge.to_owned(), ""),
    }
}

/// Whether it asks what a page of another origin may send (Fetch Standard, CORS preflight). It comes without credentials.
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Says that any page may send what it asks for: no cookies, and so nothing that is not its own.
pub fn allow_pages(request_headers: &HeaderMap, answer: &mut HeaderMap) {
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    answer.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, DELETE"),
    );
    // As asked: parameters of tools are headers too, whatever they are called. `*` would not take `Authorization`.
    let names = request_headers
        .get(ACCESS_CONTROL_REQUEST_HEADERS)
        .filter(|names| names.len() <= LONGEST_NAMES);
    let names = names.cloned().unwrap_or(HeaderValue::from_static(ALLOWED));
    answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
    answer.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(EXPOSED),
    );
    answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    answer.insert(PRIVATE_NETWORK, HeaderValue::from_static("true"));
}

/// Whether a page of this origin may speak to a server of the Model Context Protocol: one of the gate's own, of this machine, where
/// developers' tools are, or one that nobody on the way can have written. Else it may be one that a name was bent to
/// (DNS rebinding).
pub fn may_speak(headers: &HeaderMap, own: &WebOrigin) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return true;
    };
    let one = origin.to_str().ok().filter(|_| origins.next().is_none());
    let Some(origin) = one.and_then(WebOrigin::parse) else {
        return false;
    };
    let is_loopback = matches!(origin.host(), "localhost" | "127.0.0.1" | "[::1]");
    origin == *own || is_loopback || origin.is_https()
}

/// Where the metadata of a resource is: in front of its path (RFC 9728 §3.1).
pub const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource";
/// Where the metadata of the authorization server is (RFC 8414 §3).
pub const SERVER_METADATA: &str = "/.well-known/oauth-authorization-server";

const PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");
const EXPOSED: &str = "WWW-Authenticate, Mcp-Session-Id, MCP-Protocol-Version";
const ALLOWED: &str = "Authorization, Content-Type, Accept, MCP-Protocol-Version, Mcp-Method, Mcp-Name, Mcp-Session-Id, Last-Event-ID";
/// The bytes of the header names that a page asks for.
const LONGEST_NAMES: usize = 1_024;

/// What a path may have and a quoted text may not.
const UNQUOTED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'\\').add(b'<').add(b'>');

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> WebOrigin {
        WebOrigin::parse("http://gate.example").unwrap()
    }

    #[test]
    fn m24_a_page_that_a_name_was_bent_to_may_not_speak() {
        for (origins, expected) in [
            (&[][..], true),
            (&["http://gate.example"], true),
            (&["http://localhost:6274"], true),
            (&["https://app.example"], true),
            (&["http://evil.example"], false),
            (&["http://gate.example:81"], false),
            (&["null"], false),
            (&["https://a.example", "https://b.example"], false),
            (&["file://"], false),
        ] {
            let headers = origins
                .iter()
                .map(|&text| (ORIGIN, HeaderValue::from_static(text)))
                .collect();
            assert_eq!(may_speak(&headers, &own()), expected, "{origins:?}");
        }
    }

    #[test]
    fn a_challenge_names_all_scopes_that_a_request_needs_once() {
        let guard = Guard::of(Resource::Mcp, &[], &own(), ("/mcp", &HeaderMap::new()));
        let completed = |written: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(written));
            guard.complete(true, StatusCode::FORBIDDEN, &mut headers);
            headers[WWW_AUTHENTICATE].to_str().unwrap().to_owned()
        };
        let metadata =
            "resource_metadata=\"http://gate.example/.well-known/oauth-protected-resource/mcp\"";
        assert_eq!(
            completed(
                "Bearer realm=\"h\", error=\"insufficient_scope\", scope=\"files mcp write\""
            ),
            format!(
                "Bearer realm=\"h\", error=\"insufficient_scope\", {metadata}, scope=\"mcp files write\""
            )
        );
    }

    #[test]
    fn no_path_ends_the_quotes_that_it_stands_in() {
        let path = "/a\"b\\c%22d";
        let guard = Guard::of(Resource::Mcp, &[], &own(), (path, &HeaderMap::new()));
        let mut headers = HeaderMap::new();
        headers.insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"h\""),
        );
        guard.complete(true, StatusCode::UNAUTHORIZED, &mut headers);
        assert_eq!(
            headers[WWW_AUTHENTICATE],
            "Bearer realm=\"h\", resource_metadata=\"http://gate.example/.well-known/oauth-protected-resource/a%22b%5Cc%22d\", scope=\"mcp\""
        );
    }

    #[test]
    fn m1_the_challenge_stays_first_and_leads_to_the_metadata() {
        let guard = Guard::of(
            Resource::Mcp,
            &["files"],
            &own(),
            ("/a/mcp/", &HeaderMap::new()),
        );
        let mut headers = HeaderMap::new();
        headers.append(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"h\""),
        );
        headers.append(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"h\""),
        );
        guard.complete(true, StatusCode::UNAUTHORIZED, &mut headers);
        let all: Vec<_> = headers.get_all(WWW_AUTHENTICATE).iter().collect();
        assert_eq!(
            all[0],
            "Bearer realm=\"h\", resource_metadata=\"http://gate.example/.well-known/oauth-protected-resource/a/mcp\", scope=\"mcp files\""
        );
        assert_eq!(all[1], "Basic realm=\"h\"");
        assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
    }
}
