//! Who may use the listener: programs, and a person who types an address, but no page in a browser. Pure.
//!
//! The listener has no passwords: whoever reaches it may use it. A browser on the same machine or network reaches it too, for any site
//! that is open there. So requests from pages are refused. A site can also make its own name resolve to this address (DNS rebinding). So
//! the listener must be asked by a name that no site has.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use http::{
    HeaderMap, HeaderName,
    header::{HOST, ORIGIN},
};

/// Whether the request is nothing that a page sent; else the sentence that says why not.
pub(super) fn refuse_pages(headers: &HeaderMap) -> Result<(), &'static str> {
    let is_of_a_page = headers.contains_key(ORIGIN)
        || headers
            .get(SEC_FETCH_SITE)
            .is_some_and(|site| site != "none");
    if is_of_a_page {
        return Err("requests from pages in a browser are not served");
    }
    Ok(())
}

/// Whether `Host` is an address or `localhost`, which no site's name is.
pub(super) fn refuse_names(headers: &HeaderMap) -> Result<(), &'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        _ => None,
    };
    if host.is_some_and(is_plain) {
        Ok(())
    } else {
        Err("ask by the listener's IP address or as localhost: a name could be any site's")
    }
}

/// Whole and literal: nothing before an address, nothing behind it but a port.
fn is_plain(host: &str) -> bool {
    host.parse::<SocketAddr>().is_ok()
        || host.parse::<Ipv4Addr>().is_ok()
        || host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .is_some_and(|host| host.parse::<Ipv6Addr>().is_ok())
        || {
            let (name, port) = host.split_once(':').unwrap_or((host, "0"));
            name.eq_ignore_ascii_case("localhost") && port.parse::<u16>().is_ok()
        }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn pages_are_refused() {
        for (line, expected) in [
            (("accept", "*/*"), true),
            (("sec-fetch-site", "none"), true),
            (("sec-fetch-site", "cross-site"), false),
            (("sec-fetch-site", "same-site"), false),
            (("sec-fetch-site", "same-origin"), false),
            (("origin", "http://evil.example"), false),
            (("origin", "null"), false),
            (("origin", "http://127.0.0.1:4181"), false),
        ] {
            assert_eq!(
                refuse_pages(&headers(&[line])).is_ok(),
                expected,
                "{line:?}"
            );
        }
    }

    #[test]
    fn names_that_a_site_could_have_are_refused() {
        for (host, expected) in [
            ("127.0.0.1:4181", true),
            ("10.1.2.3", true),
            ("[::1]:4181", true),
            ("localhost", true),
            ("LOCALHOST:4181", true),
            ("evil.example:4181", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("[::1].evil.example", false),
            ("user@127.0.0.1", false),
            ("localhost:4181@evil.example", false),
            ("localhost:evil", false),
            ("", false),
        ] {
            assert_eq!(
                refuse_names(&headers(&[("host", host)])).is_ok(),
                expected,
                "{host}"
            );
        }
        assert!(refuse_names(&headers(&[])).is_err());
        assert!(refuse_names(&headers(&[("host", "::1"), ("host", "::1")])).is_err());
    }
}
