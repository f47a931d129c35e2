use proptest::prelude::*;

use super::*;

fn rules_of(public_url: &str, hosts: &[HostPattern]) -> ReturnRules {
    let public_url = PublicUrl {
        url: public_url.parse().unwrap(),
    };
    ReturnRules::new(&public_url, hosts, "/oauth2")
}

fn hosts() -> Vec<HostPattern> {
    vec![
        HostPattern::Exact("foo.bar".to_owned()),
        HostPattern::Exact("port.bar:8080".to_owned()),
        HostPattern::Subdomains(".bar.foo".to_owned()),
    ]
}

fn rules() -> ReturnRules {
    rules_of("https://app.example.com", &hosts())
}

fn checked(address: &str) -> Option<String> {
    rules().check(address).map(|to| to.as_str().to_owned())
}

#[test]
fn keeps_paths_of_the_public_origin() {
    for address in [
        "/",
        "/redirect",
        "/a?b=1&c=%2F",
        "/app?next=https://example.com/",
        "/a//b",
        "/foo?x=//y",
        "/a?",
        "/a?q='\"<>|{}",
        "/a?x=%0d%0a",
        "/caf%C3%A9/%20",
        "/oauth2x",
        "/OAuth2/start",
        "/a/oauth2/",
        "/@user:1/x@y",
        "/a%2Fb?%5C",
    ] {
        assert_eq!(checked(address).as_deref(), Some(address));
    }
}

#[test]
fn brings_addresses_into_plain_form() {
    for (address, expected) in [
        ("/a#fragment", "/a"),
        ("/a?b#c?d", "/a?b"),
        ("/a/../b", "/b"),
        ("/a/%2e%2e/b", "/b"),
        ("/café?é", "/caf%C3%A9?%C3%A9"),
        ("https://app.example.com", "/"),
        ("https://app.example.com:443/x?y", "/x?y"),
        ("HTTPS://APP.example.com/X", "/X"),
        ("https://foo.bar", "https://foo.bar/"),
        ("https://FOO.bar/x?y#z", "https://foo.bar/x?y"),
    ] {
        assert_eq!(checked(address).as_deref(), Some(expected), "{address}");
    }
}

#[test]
fn refuses_what_leads_elsewhere() {
    for address in [
        "",
        "redirect",
        "foo.bar/redirect",
        "?x",
        "#x",
        "//redirect",
        "//evil",
        "///evil",
        "////evil",
        "/\\evil.com",
        "\\/evil",
        "\\\\evil",
        "/a\\b",
        "/./\\evil.com",
        "/./../../\\evil.com",
        "/..//evil.com",
        "/.//evil.com",
        "/a/..//evil.com",
        "/%2e%2e//evil.com",
        "/%2fevil.com",
        "/%2F/evil.com",
        "/%5cevil.com",
        "/ /evil.com",
        "/ \\evil.com",
        "/\t/evil.com",
        "/\t\\evil.com",
        "/\x0b/evil.com",
        "/\n/evil.com",
        "/\r\\evil.com",
        "/\t\t/\t/evil.com",
        "/%09/evil",
        "/%0a/evil",
        "/%00",
        "/\u{85}/evil",
        "/\u{2028}/evil",
        "/\u{3000}/evil",
        " /evil",
        "\t//evil",
        "/a\0",
        "%2f%2fevil",
        "https:evil",
        "https:/evil",
        "https:///evil",
        "https://",
        "https:foo.bar",
        "javascript:alert(1)",
        "javascript://foo.bar/%0aalert(1)",
        "data:text/html,x",
        "ftp://foo.bar/",
        "https://app.example@evil",
        "https://app.example.com@evil.com/",
        "https://@app.example.com/",
        "https://user@app.example.com/",
        "https://foo.bar:x@foo.bar/",
        "https://foo.bar\\@evil.com",
        "https://evil.com\\@foo.bar",
        "https://app.example.com.evil.com/",
        "https://app.example.com./",
        "https://app.example.com:1/",
        "http://app.example.com/",
        "https://evil/foo.bar",
        "https://evil/?rd=foo.bar",
        "https://evil#foo.bar",
        "https://evil。com/",
        "https://foo.bar%00.evil/",
    ] {
        assert_eq!(checked(address), None, "{address:?}");
    }
}

#[test]
fn other_hosts_are_allowed_by_pattern() {
    for address in [
        "https://foo.bar/redirect",
        "https://port.bar:8080/redirect",
        "https://baz.bar.foo/redirect",
        "https://a.b.bar.foo/",
        "https://foo.bar/oauth2/start",
        "https://foo.bar//evil",
    ] {
        assert_eq!(checked(address).as_deref(), Some(address));
    }
    for address in [
        "http://foo.bar/redirect",
        "https://baz.foo.bar/redirect",
        "https://foo.bar.evil.corp/redirect",
        "https://foo.bar:3838/redirect",
        "https://foo.bar./",
        "https://evilfoo.bar/",
        "https://bar.foo/redirect",
        "https://.bar.foo/",
        "https://x..bar.foo/",
        "https://evilbar.foo/",
        "https://baz.bar.foo:3838/redirect",
        "https://baz.bar.foo.evil/",
        "https://port.bar/redirect",
        "https://port.bar:3838/redirect",
        "https://a.port.bar:8080/",
    ] {
        assert_eq!(checked(address), None, "{address}");
    }
}

#[test]
fn plain_http_is_allowed_where_the_gate_has_it() {
    let rules = rules_of("http://localhost:4180", &hosts());
    for address in [
        "http://foo.bar/x",
        "https://foo.bar/x",
        "http://port.bar:8080/",
        "http://a.bar.foo/",
    ] {
        let got = rules.check(address);
        assert_eq!(got.as_ref().map(ReturnTo::as_str), Some(address));
    }
    let home = rules.check("http://localhost:4180/x").unwrap();
    assert_eq!(home.as_str(), "/x");
    assert_eq!(rules.check("http://localhost/x"), None);
    assert_eq!(rules.check("https://localhost:4180/x"), None);
}

#[test]
fn patterns_mean_hosts_as_urls_write_them() {
    let allowed = |pattern: HostPattern, address: &str| {
        rules_of("https://app.example.com", &[pattern])
            .check(address)
            .is_some()
    };
    let exact = |authority: &str| HostPattern::Exact(authority.to_owned());
    assert!(allowed(exact("foo.bar:443"), "https://foo.bar/"));
    assert!(allowed(
        exact("bücher.example"),
        "https://xn--bcher-kva.example/"
    ));
    assert!(allowed(exact("bücher.example"), "https://bücher.example/"));
    assert!(allowed(exact("[::1]:8443"), "https://[::1]:8443/"));
    assert!(!allowed(exact("[::1]:8443"), "https://[::1]/"));
    let below = |name: &str| HostPattern::Subdomains(name.to_owned());
    assert!(allowed(below("bar.foo"), "https://x.bar.foo/"));
    assert!(!allowed(below("."), "https://x.bar.foo/"));
    assert!(!allowed(below(".1"), "https://1.1.1.1/"));
}

#[test]
fn own_endpoints_are_no_place_to_return_to() {
    for address in [
        "/oauth2",
        "/oauth2/",
        "/oauth2/sign_out?rd=/",
        "/oauth2?x",
        "/oauth2#x",
        "/%6fauth2/start",
        "/a/../oauth2/start",
        "/oauth2%2Fstart",
        "/oauth2;x/start",
        "https://app.example.com/oauth2/callback",
    ] {
        assert_eq!(checked(address), None, "{address}");
    }
}

#[test]
fn a_callback_outside_the_prefix_is_no_place_to_return_to_either() {
    let rules = rules().without(["/oauth/callback/".to_owned()]);
    let passes = |address: &str| rules.check(address).is_some();
    for address in [
        "/oauth/callback/",
        "/oauth/callback/?code=x",
        "/oauth%2Fcallback/",
        "/oauth/x/../callback/",
        "https://app.example.com/oauth/callback/#x",
    ] {
        assert!(!passes(address), "{address}");
    }
    assert!(passes("/oauth/callback") && passes("/oauth/callback/x"));
}

#[test]
fn the_hosts_of_apps_are_places_to_return_to_beside_the_public_one() {
    let apps = ["wiki.example.com", "*.apps.example.com"];
    let apps = apps.map(|host| route::HostPattern::parse(host).unwrap());
    let of = |public: &str| {
        let url = public.parse().unwrap();
        ReturnRules::new(&PublicUrl { url }, &[], "/oauth2").with_apps(&apps)
    };
    let checked = |rules: &ReturnRules, address: &str| {
        let checked = rules.check(address)?;
        Some(checked.as_str().to_owned())
    };
    let rules = of("https://login.example.com");
    for good in [
        "https://wiki.example.com/page?x=1",
        "https://a.apps.example.com/",
        "https://a.b.apps.example.com/x",
    ] {
        assert_eq!(checked(&rules, good).as_deref(), Some(good));
    }
    for bad in [
        "http://wiki.example.com/",
        "https://wiki.example.com:8443/",
        "https://wiki.example.com./",
        "https://example.com/",
        "https://apps.example.com/",
        "https://.apps.example.com/",
        "https://a..apps.example.com/",
        "https://evil.test/.apps.example.com",
        "https://evilapps.example.com/",
        "https://user@wiki.example.com/",
        "//wiki.example.com/",
        "https:wiki.example.com/",
        "https://wiki.example.com/oauth2/sign_out",
        "https://wiki.example.com/oauth2%2Fsign_out",
        "https://wiki.example.com//evil.test",
        "https://wiki.example.com.evil.test/",
    ] {
        assert_eq!(checked(&rules, bad), None, "{bad}");
    }
    let rules = of("http://login.example.com:8080");
    for (address, expected) in [
        ("http://wiki.example.com:8080/", true),
        ("http://wiki.example.com/", false),
        ("https://wiki.example.com:8080/", false),
    ] {
        assert_eq!(checked(&rules, address).is_some(), expected, "{address}");
    }
    // They do not speak for each other.
    assert!(!rules.names_origin("http://wiki.example.com:8080", false));
    assert!(rules.names_origin("http://login.example.com:8080", false));
    assert!(!rules.names_origin("http://login.example.com:8080", true));
}

#[test]
fn length_is_bounded_before_and_after() {
    let longest = format!("/{}", "a".repeat(MAX_LENGTH - 1));
    assert_eq!(checked(&longest).as_deref(), Some(&*longest));
    assert_eq!(checked(&format!("{longest}a")), None);
    assert_eq!(checked(&format!("/{}", "é".repeat(2_000))), None);
}

proptest! {
    #[test]
    fn what_passes_stays_here_and_passes_again(
        address in r"(/|//|https?:|//|\\|[\t\n\x00 ]|\.|@|:|#|\?|%2e|%2f|%5c|evil|foo\.bar|app\.example\.com|bar\.foo|8080|é|。|oauth2){0,10}",
    ) {
        if let Some(to) = rules().check(&address) {
            let location = to.as_str();
            prop_assert!(location.is_ascii() && !location.contains(|c: char| c.is_ascii_control()));
            let base = Url::parse("https://app.example.com/oauth2/callback").unwrap();
            let landed = base.join(location).unwrap();
            let host = landed.host_str().unwrap();
            prop_assert_eq!(landed.scheme(), "https");
            let is_known = host == "app.example.com" && location.starts_with('/') && !location.starts_with("//")
                || host == "foo.bar"
                || host == "port.bar"
                || host.ends_with(".bar.foo");
            prop_assert!(is_known, "{}", location);
            prop_assert_eq!(rules().check(location), Some(to.clone()));
        }
    }

    #[test]
    fn any_text_is_checked_without_harm(address: String) {
        let _ = rules().check(&address);
        let _ = rules().check(&format!("/{address}"));
        let _ = rules().check(&format!("https://{address}"));
    }
}
