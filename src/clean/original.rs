//! The request that a proxy in front holds back while it asks the forward-auth endpoint. Pure.

use http::{HeaderMap, HeaderName, Method};

/// The request that the proxy asks about, as its headers say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Original {
    /// Path and query; one for each header that came.
    pub targets: Vec<Vec<u8>>,
    /// All methods where none is told: nginx asks by GET whatever the client sent, and a rule for GET
    /// must not let a POST pass.
    pub methods: Vec<Method>,
}

impl Original {
    /// What the headers of a trusted proxy say; for others it is [`Original::default`].
    pub fn read(headers: &HeaderMap) -> Self {
        let values = |names: &[HeaderName]| -> Vec<Vec<u8>> {
            let all = names.iter().flat_map(|name| headers.get_all(name));
            all.map(|value| value.as_bytes().to_vec()).collect()
        };
        let named = values(&[X_ORIGINAL_METHOD, X_FORWARDED_METHOD]);
        let methods = if named.is_empty() {
            EVERY_METHOD.to_vec()
        } else {
            // A value that is no method falls under the rules for all of them.
            named
                .iter()
                .flat_map(|name| match Method::from_bytes(name) {
                    Ok(method) => vec![method],
                    Err(_) => EVERY_METHOD.to_vec(),
                })
                .collect()
        };
        Self { targets: values(&[X_ORIGINAL_URI, X_FORWARDED_URI]), methods }
    }

    /// The first target, for the way back after a login.
    pub fn return_to(&self) -> String {
        let target = self.targets.first().map(|target| String::from_utf8_lossy(target));
        target.map_or_else(|| "/".to_owned(), std::borrow::Cow::into_owned)
    }
}

const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");

/// The methods of RFC 9110 and PATCH; a rule that names another one names no harm done by these.
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
    use http::HeaderValue;

    use super::*;

    fn read(lines: &[(&'static str, &'static str)]) -> Original {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Original::read(&headers)
    }

    #[test]
    fn every_spelling_that_came_counts() {
        let original = read(&[
            ("x-original-uri", "/public/x"),
            ("x-forwarded-uri", "/admin?a=1"),
            ("x-forwarded-uri", "/other"),
            ("x-forwarded-method", "POST"),
            ("x-original-method", "GET"),
        ]);
        assert_eq!(original.targets, [&b"/public/x"[..], b"/admin?a=1", b"/other"]);
        assert_eq!(original.methods, [Method::GET, Method::POST]);
        assert_eq!(original.return_to(), "/public/x");
    }

    #[test]
    fn an_untold_method_is_any_method() {
        assert_eq!(read(&[("x-original-uri", "/a")]).methods, EVERY_METHOD);
        assert_eq!(read(&[("x-original-method", "no method")]).methods, EVERY_METHOD);
        assert_eq!(read(&[]).return_to(), "/");
    }
}
