//! What crosses the border: identity headers are ours or absent, own cookies stay here.

use std::fmt::Write as _;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::spoofing::assert_clean;
use crate::support::{
    Browser, House, ScriptedProvider, Upstream, raw, standard, standard_with, upstream::Seen,
};

#[tokio::test]
async fn no_groups_means_no_groups() {
    let (house, _upstream, provider) = standard().await;
    provider.user("groups", Value::Null);
    let browser = house.browser();
    browser.sign_in("/").await;
    let reply = browser
        .navigate("/")
        .header("X-User-Groups", "admins")
        .send()
        .await;
    assert!(
        reply
            .seen()
            .header("x-user-groups")
            .is_none_or(str::is_empty)
    );
}

#[tokio::test]
async fn headers_that_name_another_path_open_nothing() {
    let (house, upstream, _provider) =
        standard_with(|plan| plan.route("/public/**", "public")).await;
    let browser = house.browser();
    for name in [
        "X-Forwarded-Uri",
        "X-Original-URL",
        "X-Original-URI",
        "X-Rewrite-URL",
        "X-Forwarded-Path",
        "X-Forwarded-Prefix",
        "X-Forwarded-Method",
        "X-HTTP-Method-Override",
    ] {
        let reply = browser
            .navigate("/admin")
            .header(name, "/public/x")
            .send()
            .await;
        assert_eq!(reply.status, StatusCode::FOUND, "{name}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn claims_cannot_break_out_of_their_header() {
    for (name, expected) in [
        ("Zoë", Some("Zo%C3%AB")),
        ("a\r\nX-Injected: 1", None),
        ("a\nX-Injected: 1", None),
        ("a\rb", None),
        ("a\0b", None),
        ("tab\there", None),
        (" spaces around ", None),
        ("100% sure", None),
        ("\u{202e}evil\u{7f}", None),
    ] {
        let (house, _upstream, provider) = standard().await;
        provider.user("name", json!(name));
        provider.user("groups", json!([name, "plain"]));
        let seen = house.browser().sign_in("/").await.seen();
        assert!(seen.all("x-injected").is_empty(), "{name:?}");
        for header in ["x-user-name", "x-user-groups"] {
            let value = seen.header(header).unwrap_or_default();
            assert!(
                value.bytes().all(|byte| (0x20..0x7f).contains(&byte)),
                "{name:?} in {header}: {value:?}"
            );
        }
        if let Some(expected) = expected {
            assert_eq!(seen.header("x-user-name"), Some(expected));
        }
        let groups = seen.header("x-user-groups").unwrap_or_default();
        assert!(groups.split(',').any(|group| group == "plain"), "{groups}");
    }
}

#[tokio::test]
async fn a_very_long_claim_does_not_break_the_request() {
    let (house, _upstream, provider) = standard().await;
    provider.user("name", json!("n".repeat(8_192)));
    let reply = house.browser().follow("/").await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(reply.seen().header("x-user"), Some("ada"));
}

/// The raw `Cookie` header as the upstream gets it.
async fn cookie_seen(house: &House, upstream: &Upstream, cookies: &[String]) -> Option<String> {
    let mut request = format!(
        "GET /c HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
        house.address
    );
    for header in cookies {
        let _ = write!(request, "Cookie: {header}\r\n");
    }
    let answer = raw::exchange(house, format!("{request}\r\n").as_bytes()).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    let seen = upstream.seen().pop().expect("a request");
    seen.header("cookie").map(str::to_owned)
}

#[tokio::test]
async fn own_cookies_stay_here_and_the_apps_stay_as_they_are() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let session = format!(
        "sidegate={}",
        browser.cookie("sidegate").expect("a session")
    );
    let own = browser.cookies("/");
    assert_eq!(cookie_seen(&house, &upstream, &[own]).await, None);
    for (sent, expected) in [
        (vec![format!("a=1; {session}; b=2")], "a=1; b=2"),
        (vec![format!("{session}; a=1; b=2")], "a=1; b=2"),
        (vec![format!("a=1; b=2; {session}")], "a=1; b=2"),
        (
            vec![format!("a=\"x y\"; {session}; b={{\"j\":1}}")],
            "a=\"x y\"; b={\"j\":1}",
        ),
        (
            vec![format!("a=b=c==; {session}; flag; =v")],
            "a=b=c==; flag; =v",
        ),
        (
            vec![format!(
                "a=1; {session}; sidegated=1; xsidegate=2; sidegate2=3"
            )],
            "a=1; sidegated=1; xsidegate=2; sidegate2=3",
        ),
        (
            vec![format!("a=1; {session}; Sidegate=case")],
            "a=1; Sidegate=case",
        ),
        (
            vec!["a=1".to_owned(), session.clone(), "b=2".to_owned()],
            "a=1; b=2",
        ),
    ] {
        let seen = cookie_seen(&house, &upstream, &sent).await;
        assert_eq!(seen.as_deref(), Some(expected), "{sent:?}");
    }
    // Odd separators are the app's business; none may be lost or glued.
    let odd = cookie_seen(&house, &upstream, &[format!("a=1; ; {session};b=2;; c=3")]).await;
    let odd = odd.expect("the app's cookies");
    assert!(
        odd.contains("a=1; ;") && odd.contains("b=2;;") && odd.ends_with("c=3"),
        "{odd}"
    );
    assert!(!odd.contains("sidegate"), "{odd}");
}

#[tokio::test]
async fn without_own_cookies_the_header_is_untouched() {
    let (house, upstream, _provider) = standard_with(|plan| plan.route("/c", "public")).await;
    for sent in [
        "a=1; ; b=2",
        "a=1;b=2",
        "  weird ;; x",
        "a=\"1; b\"",
        "x=\u{e9}",
    ] {
        let seen = cookie_seen(&house, &upstream, &[sent.to_owned()]).await;
        assert_eq!(seen.as_deref(), Some(sent.trim()));
    }
}

#[tokio::test]
async fn an_app_cannot_set_or_clear_the_session() {
    for (public_url, own) in [
        ("http://app.test", ["sidegate", "sidegate_login"].as_slice()),
        ("https://app.test", &["__Host-sidegate"]),
    ] {
        let (house, _upstream, _provider) = standard_with(|plan| plan.public_url(public_url)).await;
        let browser = house.browser();
        browser.sign_in("/").await;
        let reply = browser.get("/_/headers").await;
        let names: Vec<String> = reply
            .set_cookies()
            .iter()
            .filter_map(|header| Some(header.split_once('=')?.0.to_owned()))
            .collect();
        assert!(names.contains(&"app".to_owned()) && names.contains(&"other".to_owned()));
        assert!(
            own.iter().all(|name| !names.contains(&(*name).to_owned())),
            "{names:?}"
        );
        assert_eq!(browser.get("/").await.status, StatusCode::OK);
    }
}

/// A request with forwarding headers of the client's own.
async fn forwarded(browser: &Browser) -> Seen {
    let reply = browser
        .navigate("/public/f")
        .header("X-Forwarded-For", "203.0.113.9, 198.51.100.7")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "evil.example")
        .header("X-Forwarded-Port", "7")
        .header("X-Real-IP", "203.0.113.9")
        .header("Forwarded", "for=203.0.113.9;proto=https;host=evil.example")
        .send()
        .await;
    reply.seen()
}

#[tokio::test]
async fn forwarding_headers_are_rebuilt() {
    let (house, _upstream, _provider) =
        standard_with(|plan| plan.route("/public/**", "public")).await;
    let seen = forwarded(&house.browser()).await;
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(
        seen.header("x-forwarded-host"),
        Some(house.address.to_string().as_str())
    );
    let text = format!("{:?}", seen.headers);
    assert!(
        !text.contains("evil.example") && !text.contains("203.0.113.9"),
        "{text}"
    );
    let line = house.access_line("/public/f").await;
    assert!(!line.to_string().contains("203.0.113.9"), "{line}");
}

#[tokio::test]
async fn a_trusted_proxys_word_counts() {
    let (house, _upstream, _provider) = standard_with(|plan| {
        plan.route("/public/**", "public")
            .top("trusted_proxies = [\"127.0.0.0/8\"]")
    })
    .await;
    let seen = forwarded(&house.browser()).await;
    let chain = seen.header("x-forwarded-for").expect("a chain");
    assert!(
        chain.starts_with("198.51.100.7") || chain.contains("198.51.100.7"),
        "{chain}"
    );
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    let line = house.access_line("/public/f").await.to_string();
    assert!(
        line.contains("198.51.100.7"),
        "the log names the first untrusted from the right: {line}"
    );
}

/// RFC 7239: believed from trusted proxies, and rebuilt for the app whoever sent it.
#[tokio::test]
async fn the_standard_header_is_read_as_the_others_are() {
    let told = "for=203.0.113.9;proto=http;host=evil.example, for=198.51.100.7;proto=https;host=other.example";
    let both = [("Forwarded", told), ("X-Forwarded-For", "198.51.100.8")];
    for (top, sent, client, seen) in [
        ("", &both[..1], "127.0.0.1", ("http", None)),
        (
            "trusted_proxies = [\"127.0.0.0/8\"]",
            &both[..1],
            "198.51.100.7",
            ("https", Some("other.example")),
        ),
        (
            "trusted_proxies = [\"127.0.0.0/8\"]",
            &both,
            "198.51.100.8",
            ("http", None),
        ),
        (
            "trusted_proxies = [\"127.0.0.0/8\"]\nforwarding_headers = \"forwarded\"",
            &both,
            "198.51.100.7",
            ("https", Some("other.example")),
        ),
        (
            "trusted_proxies = [\"127.0.0.0/8\"]\nforwarding_headers = \"x-forwarded\"",
            &both[..1],
            "127.0.0.1",
            ("http", None),
        ),
    ] {
        let (house, _upstream, _provider) =
            standard_with(|plan| plan.route("/public/**", "public").top(top)).await;
        let own = house.address.to_string();
        let (proto, host) = (seen.0, seen.1.unwrap_or(&own));
        let browser = house.browser();
        let mut ask = browser.navigate("/public/f");
        for (name, value) in sent {
            ask = ask.header(name, value);
        }
        let seen = ask.send().await.seen();
        assert_eq!(seen.header("x-real-ip"), Some(client), "{top}");
        assert_eq!(seen.header("x-forwarded-proto"), Some(proto), "{top}");
        assert_eq!(seen.header("x-forwarded-host"), Some(host), "{top}");
        let quoted = if host.contains(':') {
            format!("\"{host}\"")
        } else {
            host.to_owned()
        };
        let mut expected = format!("for={client};host={quoted};proto={proto}");
        if client != "127.0.0.1" {
            expected = format!("{expected}, for=127.0.0.1;host={quoted};proto={proto}");
        }
        assert_eq!(seen.all("forwarded"), [expected], "{top}");
        let line = house.access_line("/public/f").await;
        assert_eq!(line["client"], client, "{top}");
    }
}

#[tokio::test]
async fn headers_of_the_configuration_are_set_and_guarded() {
    let (house, upstream, provider) = standard_with(|plan| {
        plan.route("/public/**", "public").tables(
            "[headers]\nset = { X-Campus = \"claims.campus.0.name\", X-Api-Token = \"access_token\" }",
        )
    })
    .await;
    provider.user("campus", json!([{ "name": "Paris" }]));
    let browser = house.browser();
    let seen = browser.sign_in("/").await.seen();
    assert_eq!(seen.header("x-campus"), Some("Paris"));
    assert!(
        seen.header("x-api-token")
            .is_some_and(|token| token.starts_with("canary-access-token"))
    );
    assert_eq!(seen.header("x-user"), Some("ada"), "the preset stays");
    let reply = house
        .browser()
        .bare(Method::GET, "/public/x")
        .header("X-Campus", "spoofed")
        .header("X_Api_Token", "spoofed")
        .send()
        .await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_clean(
        &upstream.seen().pop().expect("a request"),
        "configured names",
    );
}

#[tokio::test]
async fn a_preset_writes_what_its_apps_read() {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    provider.user("groups", json!(["eng"]));
    for (preset, expected) in [
        (
            "oauth2-proxy",
            &[
                ("x-forwarded-user", "ada-1"),
                ("x-forwarded-email", "ada@example.com"),
                ("x-forwarded-groups", "eng"),
                ("x-forwarded-preferred-username", "ada"),
                ("x-auth-request-user", "ada-1"),
                ("x-auth-request-email", "ada@example.com"),
                ("x-auth-request-groups", "eng"),
                ("x-auth-request-preferred-username", "ada"),
            ][..],
        ),
        ("remote-user", &[("remote-user", "ada")]),
        (
            "grafana",
            &[
                ("x-webauth-user", "ada"),
                ("x-webauth-email", "ada@example.com"),
                ("x-webauth-groups", "eng"),
            ],
        ),
        (
            "authelia",
            &[
                ("remote-user", "ada"),
                ("remote-email", "ada@example.com"),
                ("remote-groups", "eng"),
            ],
        ),
        (
            "pomerium",
            &[
                ("x-pomerium-claim-user", "ada-1"),
                ("x-pomerium-claim-email", "ada@example.com"),
                ("x-pomerium-claim-groups", "eng"),
            ],
        ),
        (
            "cloudflare-access",
            &[("cf-access-authenticated-user-email", "ada@example.com")],
        ),
        (
            "google-iap",
            &[
                (
                    "x-goog-authenticated-user-email",
                    "accounts.google.com:ada@example.com",
                ),
                ("x-goog-authenticated-user-id", "accounts.google.com:ada-1"),
            ],
        ),
        ("aws-alb", &[("x-amzn-oidc-identity", "ada-1")]),
    ] {
        provider.user("sub", json!("ada-1"));
        let house = House::plan()
            .upstream(&upstream)
            .provider(&provider)
            .tables(&format!("[headers]\npreset = \"{preset}\""))
            .start()
            .await;
        let browser = house.browser();
        let seen = browser.sign_in("/").await.seen();
        for (name, value) in expected {
            assert_eq!(seen.header(name), Some(*value), "{preset}: {name}");
        }
        assert_eq!(seen.header("x-user"), None, "{preset}");
        let mut forged = browser.navigate("/");
        for (name, _) in expected {
            forged = forged.header(&name.replace('-', "_"), "spoofed");
            forged = forged.header(&name.to_uppercase(), "spoofed");
        }
        assert_clean(&forged.send().await.seen(), preset);
    }
}

#[tokio::test]
async fn a_secret_of_the_app_is_on_every_request_and_on_no_answer() {
    let (house, upstream, _provider) = standard_with(|plan| {
        plan.route("/public/**", "public")
            .environment("APP_PASSWORD", "shared-password")
            .environment("SIDEGATE_HEADERS__SET__X_LATER__ENV", "APP_PASSWORD")
            .tables(
                "[headers.set]\nX-Gate = { value = \"shared-secret\" }\n\
                 X-Forwarded-User = \"user\"\n\
                 Authorization = { basic = \"email\", password = { env = \"APP_PASSWORD\" } }\n",
            )
    })
    .await;
    let stranger = house.browser();
    let reply = stranger
        .bare(Method::GET, "/public/x")
        .header("X_Gate", "spoofed")
        .header("Authorization", "Basic spoofed")
        .send()
        .await;
    let seen = reply.seen();
    assert_eq!(seen.all("x-gate"), ["shared-secret"]);
    assert_eq!(seen.header("x-later"), Some("shared-password"));
    assert_eq!(seen.header("authorization"), None);
    assert_clean(&seen, "a public route");

    let browser = house.browser();
    let seen = browser.sign_in("/").await.seen();
    assert_eq!(seen.all("x-gate"), ["shared-secret"]);
    assert_eq!(seen.header("x-forwarded-user"), Some("ada"));
    // "ada@example.com:shared-password"
    let basic = "Basic YWRhQGV4YW1wbGUuY29tOnNoYXJlZC1wYXNzd29yZA==";
    assert_eq!(seen.header("authorization"), Some(basic));

    // Whoever is signed in can ask there by hand.
    let before = upstream.count();
    let reply = browser.fetch(Method::GET, "/oauth2/auth").send().await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    assert_eq!(reply.header("x-forwarded-user"), "ada");
    assert_eq!(
        (reply.header("x-gate"), reply.header("authorization")),
        ("", "")
    );
    assert_eq!(upstream.count(), before);
    let page = browser.navigate("/oauth2/account").send().await.text();
    assert!(!page.contains("shared-"), "{page}");
    assert!(!house.process.log().contains("shared-"));
}

#[tokio::test]
async fn the_apps_authorization_header_is_the_apps() {
    let (house, _upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let reply = browser
        .navigate("/")
        .header("authorization", "Bearer of-the-app")
        .send()
        .await;
    assert_eq!(
        reply.seen().header("authorization"),
        Some("Bearer of-the-app")
    );
}
