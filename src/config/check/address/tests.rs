//! Single addresses, good and bad.

use proptest::prelude::*;

use super::*;

const HERE: &Origin = &Origin::Nowhere;

#[test]
fn origins_are_scheme_host_and_port() {
    for text in [
        "https://app.example.com",
        "https://app.example.com/",
        "http://localhost:4180",
        "https://[2001:db8::1]:8443",
        "https://my_app:8000",
        "https://bücher.example",
    ] {
        assert!(origin_url(text, HERE, "k").is_ok(), "{text}");
    }
    for text in [
        "app.example.com",
        "https:app",
        "https:///app",
        "ftp://app",
        "HTTPS://app",
        "https://",
        "https://a/b",
        "https://a?",
        "https://a#",
        "https://u@a",
        "https://u:p@a",
        "https://:p@a",
        "https://a b",
        "https://a\\b",
        "https://a\t",
        "https://a.",
        "https://-a",
        "https://a..b",
        "https://a:99999",
        "https://a:0",
        "https://*.a",
        "https://a%00b",
    ] {
        assert!(origin_url(text, HERE, "k").is_err(), "{text}");
    }
}

#[test]
fn hosts_to_return_to() {
    let host = |text| host_pattern(text, HERE).ok();
    assert_eq!(
        host("App.example.com"),
        Some(HostPattern::Exact("app.example.com".into()))
    );
    assert_eq!(
        host("a.b:8443"),
        Some(HostPattern::Exact("a.b:8443".into()))
    );
    assert_eq!(
        host(".Example.com"),
        Some(HostPattern::Subdomains(".example.com".into()))
    );
    for text in [
        "",
        ".",
        "..a",
        "*.a.b",
        "https://a",
        "a/b",
        "a@b",
        "a:443",
        ".com",
        ".a.b:1",
        ".1.2.3.4",
        "a b",
        "a?b",
        "a#b",
        "%61.b",
    ] {
        assert_eq!(host(text), None, "{text}");
    }
}

#[test]
fn networks_begin_where_they_begin() {
    assert!(network("10.0.0.0/8", HERE).is_ok());
    assert!(network("::1", HERE).is_ok());
    assert!(network("10.0.0.1/8", HERE).is_err());
    assert!(network("10.0.0.0/33", HERE).is_err());
    assert!(network("proxy", HERE).is_err());
}

#[test]
fn knows_its_own_address() {
    let leads = |upstream: &str, listen: &str| {
        leads_to(
            &UpstreamAddress::Network(upstream.parse().unwrap()),
            &listen_address(listen, HERE).ok().unwrap(),
        )
    };
    assert!(leads("http://127.0.0.1:4180", "0.0.0.0:4180"));
    assert!(leads("http://localhost:4180", "[::]:4180"));
    assert!(leads("http://10.0.0.1", "10.0.0.1:80"));
    assert!(!leads("http://127.0.0.1:8000", "0.0.0.0:4180"));
    assert!(!leads("http://10.0.0.2:4180", "10.0.0.1:4180"));
    assert!(!leads("http://app:4180", "0.0.0.0:4180"));
}

proptest! {
    #[test]
    fn never_panics(text in ".{0,40}") {
        let _ = listen_address(&text, HERE);
        let _ = origin_url(&text, HERE, "k");
        let _ = network(&text, HERE);
        let _ = host_pattern(&text, HERE);
    }

    #[test]
    fn an_accepted_origin_is_an_origin(text in "https?://[a-zA-Z0-9.:@/?#\\[\\]_-]{1,20}") {
        if let Ok(url) = origin_url(&text, HERE, "k") {
            prop_assert_eq!(url.path(), "/");
            prop_assert!(url.username().is_empty() && url.query().is_none());
        }
    }
}
