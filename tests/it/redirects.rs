//! Return addresses: whatever `rd` says, a browser never leaves for a host that nobody allowed.

use http::{Method, StatusCode};
use url::{Url, form_urlencoded::byte_serialize};

use crate::support::{Browser, House, arranged, raw, standard, standard_with};

const EVIL: [&str; 48] = [
    "//evil.example",
    "//evil.example/x",
    "///evil.example",
    "////evil.example",
    "/\\evil.example",
    "\\/evil.example",
    "\\\\evil.example",
    "/\\/evil.example",
    "\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r/evil.example",
    "\t//evil.example",
    " //evil.example",
    "//\tevil.example",
    "/%09/evil.example",
    "/%5cevil.example",
    "/%2fevil.example",
    "%2f%2fevil.example",
    "%2F%2Fevil.example",
    "https:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "https://evil.example",
    "http://evil.example/",
    "HTTPS://EVIL.example/",
    "https:\\\\evil.example",
    "https://app.example.com@evil.example/",
    "https://app.example.com:443@evil.example/",
    "https://user:pass@app.example.com/",
    "https://app.example.com.evil.example/",
    "https://evilapp.example.com.evil/",
    "https://evilexample.com/",
    "https://example.com.evil/",
    "https://evil.example#.example.com",
    "https://evil.example?.example.com",
    "https://evil.example/.example.com",
    "https://evil.example\\.example.com",
    "https://evil.example%00.example.com/",
    "https://app.example.com\u{3002}evil.example/",
    "javascript:alert(1)",
    "JavaScript:alert(1)//.example.com",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "ftp://x.example.com/",
    "/..//evil.example",
    "/.//evil.example",
    "/x\r\nLocation: https://evil.example/",
];

fn encode(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

/// The `Location` header as it was sent, and made absolute.
fn location(reply: &crate::support::Reply) -> (String, Url) {
    (reply.header("location").to_owned(), reply.location())
}

/// Where the callback sends a browser whose login began with this `rd`.
async fn landing(browser: &Browser, rd: &str) -> (String, Url) {
    let callback = browser
        .up_to_callback(&format!("/oauth2/start?rd={}", encode(rd)))
        .await;
    let reply = browser.get(callback.as_str()).await;
    assert!(
        reply.sets_session(),
        "{rd}: the login succeeds: {} {}",
        reply.status,
        reply.text()
    );
    location(&reply)
}

fn assert_home(house: &House, rd: &str, (raw, url): &(String, Url)) {
    let home = Url::parse(&house.public_url).expect("a URL");
    assert_eq!(url.origin(), home.origin(), "{rd:?} → {raw:?}");
    let local = raw.strip_prefix(&house.public_url).unwrap_or(raw);
    assert!(
        local.starts_with('/') && !local.starts_with("//") && !local.starts_with("/\\"),
        "{rd:?} → {raw:?}"
    );
    assert!(
        raw.bytes()
            .all(|byte| (0x21..0x7f).contains(&byte) && byte != b'\\'),
        "{rd:?} → {raw:?}"
    );
}

#[tokio::test]
async fn a_login_never_ends_on_another_host() {
    let (house, _upstream, _provider) = standard_with(|plan| {
        plan.public_url("https://app.example.com")
            .top("redirect_hosts = [\".example.com\"]")
    })
    .await;
    for rd in EVIL {
        assert_home(&house, rd, &landing(&house.browser(), rd).await);
    }
}

#[tokio::test]
async fn a_logout_never_ends_on_another_host() {
    let (house, _upstream, _provider) = arranged(
        |behaviour| behaviour.offers_logout = false,
        |plan| {
            plan.public_url("https://app.example.com")
                .top("redirect_hosts = [\".example.com\"]")
        },
    )
    .await;
    let browser = house.browser();
    for rd in EVIL {
        let reply = browser
            .get(&format!("/oauth2/sign_out?rd={}", encode(rd)))
            .await;
        if reply.status.is_redirection() {
            assert_home(&house, rd, &location(&reply));
        } else {
            assert_eq!(reply.status, StatusCode::OK, "{rd}");
            assert!(!reply.text().contains("evil"), "{rd}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn a_logout_at_the_provider_names_no_other_host() {
    let (house, _upstream, _provider) = standard().await;
    for rd in EVIL {
        let browser = house.browser();
        browser.sign_in("/").await;
        let next = browser
            .get(&format!("/oauth2/sign_out?rd={}", encode(rd)))
            .await
            .location();
        let back = next.query_pairs().find_map(|(name, value)| {
            (name == "post_logout_redirect_uri").then(|| value.into_owned())
        });
        if let Some(back) = back {
            let back = Url::parse(&back).expect("a URL");
            let home = Url::parse(&house.public_url).expect("a URL");
            assert_eq!(back.origin(), home.origin(), "{rd}");
        }
    }
}

#[tokio::test]
async fn the_sign_in_page_links_to_no_other_host() {
    let (house, _upstream, provider) = standard_with(|plan| {
        plan.public_url("https://app.example.com")
            .top("redirect_hosts = [\".example.com\"]")
    })
    .await;
    for rd in EVIL {
        let browser = house.browser();
        let mut reply = browser
            .get(&format!("/oauth2/sign_in?rd={}", encode(rd)))
            .await;
        let mut hops = 0;
        while reply.status.is_redirection() && hops < 10 {
            let next = reply.location();
            let fine = next.as_str().starts_with(&provider.issuer())
                || next.as_str().starts_with("https://app.example.com/");
            assert!(fine, "{rd}: {next}");
            reply = browser.get(next.as_str()).await;
            hops += 1;
        }
        assert!(
            !reply.text().contains("href=\"//evil") && !reply.text().contains("<script"),
            "{rd}"
        );
    }
}

#[tokio::test]
async fn allowed_hosts_are_allowed() {
    let (house, _upstream, _provider) = standard_with(|plan| {
        plan.public_url("https://app.example.com")
            .top("redirect_hosts = [\".example.com\", \"other.test:8443\"]")
    })
    .await;
    for (rd, expected) in [
        ("https://x.example.com/", "https://x.example.com/"),
        (
            "https://x.example.com/a?b=1&c=%2F",
            "https://x.example.com/a?b=1&c=%2F",
        ),
        ("https://a.b.example.com/", "https://a.b.example.com/"),
        ("https://other.test:8443/x", "https://other.test:8443/x"),
        ("https://app.example.com/x", "https://app.example.com/x"),
        ("/x?y=%2F&z", "https://app.example.com/x?y=%2F&z"),
    ] {
        let (raw, url) = landing(&house.browser(), rd).await;
        assert_eq!(url.as_str(), expected, "{rd} → {raw}");
    }
    for rd in [
        "https://other.test/",
        "https://other.test:8444/",
        "https://x.example.com:8443/",
        "https://x.other.test:8443/",
    ] {
        assert_home(&house, rd, &landing(&house.browser(), rd).await);
    }
}

#[tokio::test]
async fn without_allowed_hosts_only_home_is() {
    let (house, _upstream, _provider) = standard().await;
    for rd in [
        "https://x.example.com/",
        "http://127.0.0.1:1/",
        "http://127.0.0.1/",
        "http://localhost/",
    ] {
        assert_home(&house, rd, &landing(&house.browser(), rd).await);
    }
    let (_, url) = landing(&house.browser(), &house.url("/x?y=1")).await;
    assert_eq!(url.as_str(), house.url("/x?y=1"));
}

#[tokio::test]
async fn own_endpoints_are_no_place_to_return_to() {
    let (house, _upstream, _provider) = standard().await;
    for rd in [
        "/oauth2/sign_out",
        "/oauth2/start",
        "/oauth2/callback/script?code=x",
        "/oauth2/../oauth2/sign_out",
    ] {
        let (raw, _) = landing(&house.browser(), rd).await;
        assert!(!raw.contains("oauth2"), "{rd} → {raw}");
    }
}

#[tokio::test]
async fn a_target_that_looks_like_a_host_leads_home() {
    let (house, _upstream, _provider) = standard().await;
    for target in [
        "//evil.example/x",
        "/\\evil.example",
        "///evil.example",
        "//evil.example@x/",
        "/.//evil.example",
    ] {
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n\
             Accept: text/html\r\nConnection: close\r\n\r\n",
            house.address
        );
        let answer = raw::exchange(&house, request.as_bytes()).await;
        if raw::status(&answer) == 400 {
            continue;
        }
        let first = answer
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .starts_with("location: ")
                    .then(|| line[10..].to_owned())
            })
            .unwrap_or_else(|| panic!("{target}: {answer}"));
        let browser = house.browser();
        let callback = browser.up_to_callback(&first).await;
        let reply = browser.get(callback.as_str()).await;
        let (raw, url) = location(&reply);
        let home = Url::parse(&house.public_url).expect("a URL");
        assert_eq!(url.origin(), home.origin(), "{target} → {raw}");
    }
}

#[tokio::test]
async fn a_long_address_is_not_carried_along() {
    let (house, _upstream, _provider) = standard().await;
    let long = format!("/{}", "x".repeat(9_000));
    let browser = house.browser();
    let reply = browser.follow(&format!("/oauth2/start?rd={long}")).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{}", reply.text());
    assert!(reply.text().contains("too long"), "{}", reply.text());
    assert_eq!(browser.cookies("/"), "");
    let fetch = house.browser().fetch(Method::GET, &long).send().await;
    assert_eq!(fetch.status, StatusCode::UNAUTHORIZED);
}

/// A deep link comes back, or the page says that it is too long to: it never ends at the front page without a word.
#[tokio::test]
async fn a_long_deep_link_comes_back_or_the_page_says_why_not() {
    let (house, _upstream, _provider) = standard().await;
    for length in [100, 1_000, 2_000, 3_000, 8_000] {
        let link = format!("/deep?q={}", "x".repeat(length));
        for path in [
            link.clone(),
            format!("/oauth2/sign_in?rd={link}"),
            format!("/oauth2/start?rd={link}"),
        ] {
            let browser = house.browser();
            let reply = browser.follow(&path).await;
            if length <= 2_000 {
                assert_eq!(reply.seen().target, link);
                continue;
            }
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{length}");
            let text = reply.text();
            assert!(
                text.contains("this address is too long to be kept while you"),
                "{text}"
            );
            assert!(text.contains("/oauth2/sign_in"), "{text}");
            // As it says: signed in elsewhere, the same address is reached by a reload.
            browser.sign_in("/").await;
            if !path.starts_with("/oauth2/start") {
                assert_eq!(browser.follow(&path).await.seen().target, link, "{length}");
            }
        }
    }
}

/// Browsers, and what makes links quicker, fetch ahead of a person's wish: that neither signs out nor in.
#[tokio::test]
async fn what_is_fetched_ahead_neither_signs_out_nor_begins_a_login() {
    let (house, _upstream, _provider) = standard().await;
    for (name, value) in [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("purpose", "prefetch"),
        ("x-purpose", "prefetch"),
        ("x-purpose", "preview"),
        ("x-moz", "prefetch"),
    ] {
        let browser = house.browser();
        let begun = browser.bare(Method::GET, "/oauth2/start");
        let begun = begun.header("accept", "text/html").header(name, value);
        let begun = begun.send().await;
        assert_eq!(begun.status, StatusCode::UNAUTHORIZED, "{name}");
        browser.sign_in("/").await;
        for accept in ["*/*", "text/html"] {
            let ask = browser.bare(Method::GET, "/oauth2/sign_out");
            let ask = ask.header("accept", accept).header(name, value);
            ask.send().await;
            let page = browser.fetch(Method::GET, "/").send().await;
            assert_eq!(page.status, StatusCode::OK, "{name} {accept}");
        }
    }
}
