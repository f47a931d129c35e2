//! What the provider knows of the browser that asks: its cookie, and whether a form is our own.

use cookie::Cookie;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{COOKIE, ORIGIN},
};

/// The session's name from the provider's own cookie. Cookies ignore ports, so the name must differ
/// from those of everything else on this host.
pub(super) fn session_name(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(Cookie::split_parse)
        .filter_map(Result::ok)
        .find(|cookie| cookie.name() == COOKIE_NAME)
        .map(|cookie| cookie.value().to_owned())
}

/// The cookie that carries the session's name until the browser ends.
pub(super) fn remember(session_name: &str) -> HeaderValue {
    HeaderValue::try_from(format!(
        "{COOKIE_NAME}={session_name}; Path=/; HttpOnly; SameSite=Lax"
    ))
    .expect("a session's name is base64")
}

/// Takes the cookie away.
pub(super) fn forget() -> HeaderValue {
    HeaderValue::try_from(format!(
        "{COOKIE_NAME}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
    ))
    .expect("the cookie's name is ASCII")
}

/// Whether a form was sent from one of our pages, or by no browser at all. Another site could else
/// sign a visitor in as somebody, or out (cross-site request forgery).
pub(super) fn is_own_form(headers: &HeaderMap, issuer: &str) -> bool {
    const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    match (headers.get(SEC_FETCH_SITE), headers.get(ORIGIN)) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => origin == issuer,
        (None, None) => true,
    }
}

const COOKIE_NAME: &str = "sidegate_demo_provider";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(session_name(&headers), None);
        headers.append(
            COOKIE,
            HeaderValue::from_static("a=b; =; sidegate_demo_provider=x-y_z"),
        );
        assert_eq!(session_name(&headers).as_deref(), Some("x-y_z"));
    }

    #[test]
    fn forms_of_other_sites_are_not_ours() {
        let with = |name, value| {
            let mut headers = HeaderMap::new();
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
            is_own_form(&headers, "http://127.0.0.1:1")
        };
        assert!(with("sec-fetch-site", "same-origin"));
        assert!(!with("sec-fetch-site", "same-site"));
        assert!(!with("sec-fetch-site", "cross-site"));
        assert!(with("origin", "http://127.0.0.1:1"));
        assert!(!with("origin", "http://localhost:4180"));
        assert!(!with("origin", "null"));
    }
}
