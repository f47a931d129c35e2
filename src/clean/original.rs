//! The request that a proxy in front holds back while it asks the forward-auth endpoint. Pure.
//!
//! Each proxy has its own spelling: `X-Original-URI` and `X-Original-Method` in nginx's snippets,
//! `X-Original-URL` in ingress-nginx, `X-Forwarded-Uri` and `X-Forwarded-Method` in Traefik and Caddy.
//! A proxy overwrites its own spelling and passes the others on, so that a client behind Traefik can
//! send an `X-Original-URI` of its choice (the class of CVE-2026-40575). So no spelling wins: all that
//! came are kept, and each must pass beside the question that is always asked, whether somebody is
//! signed in.

use http::{HeaderMap, HeaderValue, Method};

/// The headers in which a proxy tells of it, as they came. Every request behind a trusted proxy keeps them, and
/// hardly any has one, so they are read where they are asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OriginalHeaders {
    targets: Vec<HeaderValue>,
    methods: Vec<HeaderValue>,
}

impl OriginalHeaders {
    /// Those of a trusted proxy; of others none is believed.
    pub(super) fn keep(headers: &HeaderMap) -> Self {
        let values = |names: &[&str]| {
            names
                .iter()
                .flat_map(|name| headers.get_all(*name))
                .cloned()
                .collect()
        };
        Self {
            targets: values(&TARGETS),
            methods: values(&METHODS),
        }
    }

    /// Whether `name`, in lower case, is one of them.
    pub(super) fn has(name: &str) -> bool {
        TARGETS.contains(&name) || METHODS.contains(&name)
    }

    /// What they say.
    pub fn read(&self) -> Original {
        let targets = self
            .targets
            .iter()
            .map(|value| path_and_query(value.to_str().unwrap_or_default()).to_owned())
            .collect();
        let mut methods = Vec::new();
        for value in &self.methods {
            match Method::from_bytes(value.as_bytes()) {
                Ok(method) => methods.push(method),
                // What is no method falls under the rules for all of them.
                Err(_) => methods.extend(EVERY_METHOD),
            }
        }
        if methods.is_empty() {
            methods.extend(EVERY_METHOD);
        }
        Original { targets, methods }
    }
}

/// What a proxy says of the request it asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// Path and query, one for each header that came; empty, which is no path, where it is not ASCII.
    pub targets: Vec<String>,
    /// All methods where none is told: nginx asks by GET whatever the client sent, and a rule for GET
    /// must not let a POST pass.
    pub methods: Vec<Method>,
}

impl Original {
    /// The one method that is told, for the log.
    pub fn method(&self) -> Option<&Method> {
        let (first, rest) = self.methods.split_first()?;
        rest.iter().all(|method| method == first).then_some(first)
    }

    /// The first target, for the way back after a login.
    pub fn return_to(&self) -> &str {
        self.targets.first().map_or("/", String::as_str)
    }
}

/// A whole URL, as ingress-nginx sends it, without its scheme and authority.
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

const TARGETS: [&str; 3] = ["x-original-uri", "x-original-url", "x-forwarded-uri"];
const METHODS: [&str; 2] = ["x-original-method", "x-forwarded-method"];

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
mod tests {
    use super::*;

    fn read(lines: &[(&'static str, &'static str)]) -> Original {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        OriginalHeaders::keep(&headers).read()
    }

    #[test]
    fn every_spelling_that_came_counts() {
        let original = read(&[
            ("x-forwarded-uri", "/admin?a=1"),
            ("x-forwarded-uri", "/other"),
            ("x-original-uri", "/public/x"),
            ("x-original-url", "https://app.example/public/y?b=2"),
            ("x-forwarded-method", "POST"),
            ("x-original-method", "GET"),
        ]);
        let expected = ["/public/x", "/public/y?b=2", "/admin?a=1", "/other"];
        assert_eq!(original.targets, expected);
        assert_eq!(original.methods, [Method::GET, Method::POST]);
    }

    #[test]
    fn of_a_url_in_a_query_or_fragment_nothing_is_a_path() {
        for (target, expected) in [
            ("https://app.example", ""),
            ("https://app.example?a=1", "?a=1"),
            ("https://app.example/a#b", "/a#b"),
            ("https://app.example#b/c", ""),
            ("q?next=https://app.example/reset/secret", ""),
            ("#https://app.example/secret", ""),
            ("a b://app.example/secret", ""),
        ] {
            assert_eq!(path_and_query(target), expected, "{target}");
        }
    }

    #[test]
    fn an_untold_method_is_any_method() {
        let methods = |lines| read(lines).methods;
        assert_eq!(methods(&[("x-original-uri", "/a")]), EVERY_METHOD);
        let odd = [("x-original-uri", "/a"), ("x-original-method", "no method")];
        assert_eq!(methods(&odd), EVERY_METHOD);
    }

    #[test]
    fn a_method_is_named_where_it_is_the_only_one() {
        for (lines, expected) in [
            (&[("x-original-uri", "/a")][..], None),
            (&[("x-original-method", "PUT")], Some(Method::PUT)),
            (
                &[("x-original-method", "PUT"), ("x-forwarded-method", "PUT")],
                Some(Method::PUT),
            ),
            (
                &[("x-original-method", "PUT"), ("x-forwarded-method", "GET")],
                None,
            ),
        ] {
            assert_eq!(read(lines).method(), expected.as_ref(), "{lines:?}");
        }
        assert_eq!(OriginalHeaders::default().read().method(), None);
        assert_eq!(OriginalHeaders::default().read().targets, [""; 0]);
    }

    #[test]
    fn the_way_back_is_the_first_target() {
        assert_eq!(read(&[]).return_to(), "/");
        assert_eq!(read(&[("x-forwarded-uri", "/a?b")]).return_to(), "/a?b");
    }

    #[test]
    fn what_is_no_target_is_no_path_either() {
        for (target, expected) in [
            ("https://app.example", ""),
            ("https://app.example?x=1", "?x=1"),
            ("app.example/public", ""),
            ("", ""),
            ("//app.example/x", "//app.example/x"),
            ("http:///admin", "/admin"),
        ] {
            assert_eq!(path_and_query(target), expected, "{target}");
        }
        let mut headers = HeaderMap::new();
        headers.append("x-original-uri", HeaderValue::from_bytes(b"/\xff").unwrap());
        assert_eq!(OriginalHeaders::keep(&headers).read().targets, [""]);
    }
}
