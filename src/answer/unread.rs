//! Names a credential that came in a way that the gate does not read. Pure.

use http::{HeaderMap, HeaderName, header::AUTHORIZATION};

use crate::credential::Schemes;

/// What a program has sent in vain, in a sentence; none where nothing looks like a credential, or where the gate takes none.
pub fn unread(headers: &HeaderMap, target: &str, taken: Schemes) -> Option<&'static str> {
    if !taken.any() {
        return None;
    }
    if let Some(value) = headers.get(AUTHORIZATION) {
        let scheme = value.as_bytes().split(|byte| *byte == b' ').next();
        let is = |name: &str| scheme.is_some_and(|one| one.eq_ignore_ascii_case(name.as_bytes()));
        return match (is("bearer"), is("basic")) {
            (true, _) => (!taken.bearer).then_some("Bearer tokens are not accepted here."),
            (_, true) => (!taken.basic).then_some("Names and passwords are not accepted here."),
            (false, false) => Some("The Authorization header is neither Bearer nor Basic."),
        };
    }
    if headers.contains_key(API_KEY) {
        return Some("The header X-API-Key is not read.");
    }
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let mut parameters = query.split('&');
    let is_token = |parameter: &str| parameter.starts_with("access_token=");
    parameters
        .any(is_token)
        .then_some("A token in the query is not read.")
}

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_sent_in_vain_is_named() {
        let bearer = Schemes {
            bearer: true,
            basic: false,
        };
        let of = |name: &'static str, value: &'static str, target: &str, taken| {
            let name = HeaderName::from_static(name);
            let headers = [(name, HeaderValue::from_static(value))].into_iter();
            unread(&headers.collect(), target, taken)
        };
        let scheme = Some("The Authorization header is neither Bearer nor Basic.");
        assert_eq!(of("authorization", "Token abc", "/", bearer), scheme);
        assert_eq!(of("authorization", "abc", "/", bearer), scheme);
        assert_eq!(of("authorization", "bearer abc", "/", bearer), None);
        assert!(of("authorization", "Basic YTpi", "/", bearer).is_some());
        assert!(of("x-api-key", "abc", "/", bearer).is_some());
        assert!(of("accept", "*/*", "/a?b=1&access_token=x", bearer).is_some());
        assert_eq!(of("accept", "*/*", "/a?b=access_token=x", bearer), None);
        // The app's own.
        let none = Schemes::default();
        assert_eq!(of("authorization", "Token abc", "/", none), None);
    }
}
