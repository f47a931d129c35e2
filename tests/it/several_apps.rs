//! Several apps on several hosts, with one login.

use http::{Method, StatusCode};

use crate::support::{Browser, House, ScriptedProvider, Upstream, house::Plan, raw, standard_with};

const HOSTS: &str = "[[routes]]\nhost = \"app.example.test\"\nupstream = \"app\"\n\
     [[routes]]\nhost = \"*.wiki.example.test\"\n\
     [[routes]]\nhost = \"open.example.test\"\naccess = \"public\"\n";

fn shared(plan: Plan, app: &Upstream) -> Plan {
    plan.public_url("https://login.example.test")
        .session("cookie_domain = \"example.test\"")
        .tables(&format!(
            "[upstreams.app]\nurl = \"http://{}\"\n{HOSTS}",
            app.address
        ))
}

/// A browser for which every host leads to the house, as if something in front had ended TLS.
fn everywhere(house: &House) -> Browser {
    let hosts = [
        "app.example.test",
        "de.wiki.example.test",
        "open.example.test",
    ];
    hosts.iter().fold(house.browser(), |browser, host| {
        browser.knowing(host, house)
    })
}

async fn arranged() -> (House, Upstream, Upstream, ScriptedProvider) {
    let app = Upstream::start().await;
    let (house, upstream, provider) = standard_with(|plan| shared(plan, &app)).await;
    (house, upstream, app, provider)
}

const APP: &str = "https://app.example.test";
const WIKI: &str = "https://de.wiki.example.test";

#[tokio::test]
async fn one_login_serves_every_host_and_comes_back_to_the_one_it_was_for() {
    let (house, upstream, app, _provider) = arranged().await;
    let browser = everywhere(&house);
    let page = format!("{APP}/page?x=1&y=%2F");
    let led = browser.get(&page).await;
    assert_eq!(led.status, StatusCode::FOUND);
    assert_eq!(
        led.header("location"),
        "https://login.example.test/oauth2/sign_in?rd=https%3A%2F%2Fapp.example.test%2Fpage%3Fx%3D1%26y%3D%252F"
    );
    let back = browser.follow(&page).await;
    assert_eq!((back.status, back.url.as_str()), (StatusCode::OK, &*page));
    let seen = back.seen();
    assert_eq!(seen.header("x-user"), Some("ada"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("app.example.test"));
    assert_eq!(
        seen.header("cookie"),
        None,
        "no cookie of ours reaches the app"
    );
    assert_eq!((app.count(), upstream.count()), (1, 0));
    assert!(
        browser.jar().refused.is_empty(),
        "{:?}",
        browser.jar().refused
    );
    // At the others they are signed in already.
    for page in [&format!("{WIKI}/page"), "https://login.example.test/page"] {
        let page = browser.get(page).await;
        assert_eq!(page.seen().header("x-user"), Some("ada"));
    }
}

#[tokio::test]
async fn the_session_has_a_domain_and_the_login_stays_one_hosts() {
    let (house, _upstream, _app, _provider) = arranged().await;
    let browser = everywhere(&house);
    let callback = browser.up_to_callback("/").await;
    let reply = browser.get(callback.as_str()).await;
    let cookies = reply.set_cookies();
    let session = cookies
        .iter()
        .find(|line| line.starts_with("__Secure-sidegate="));
    let session = session.expect("a session");
    assert!(session.contains("Domain=example.test"), "{session}");
    assert!(
        session.contains("Secure") && session.contains("HttpOnly"),
        "{session}"
    );
    for line in cookies.iter().filter(|line| line.contains("Domain=")) {
        let is_shared = ["__Secure-sidegate=", "__Secure-sidegate_hint="]
            .iter()
            .any(|name| line.starts_with(name));
        assert!(is_shared, "{line}");
    }
    let login = browser
        .jar()
        .header(&browser.absolute("/"))
        .unwrap_or_default();
    assert!(login.contains("__Host-sidegate_login="), "{login}");
    let elsewhere = browser.cookies(&format!("{APP}/"));
    assert!(elsewhere.contains("__Secure-sidegate="), "{elsewhere}");
    assert!(!elsewhere.contains("login"), "{elsewhere}");
}

#[tokio::test]
async fn signing_out_of_one_host_signs_out_of_all() {
    for leaving in [APP, WIKI, "https://login.example.test"] {
        let (house, _upstream, _app, _provider) = arranged().await;
        let browser = everywhere(&house);
        browser.follow(&format!("{APP}/page")).await;
        let copy = browser.cookies(&format!("{WIKI}/"));
        let out = browser
            .fetch(Method::POST, &format!("{leaving}/oauth2/sign_out"))
            .send()
            .await;
        assert_eq!(out.status, StatusCode::OK, "{}", out.text());
        for host in [APP, WIKI, "https://login.example.test"] {
            assert!(
                !browser.cookies(host).contains("__Secure-sidegate="),
                "{host}"
            );
            let page = browser
                .fetch(Method::GET, &format!("{host}/page"))
                .send()
                .await;
            assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{host}");
            // Nor does a copy that was kept.
            let page = house
                .browser()
                .knowing("app.example.test", &house)
                .knowing("de.wiki.example.test", &house)
                .fetch(Method::GET, &format!("{host}/page"))
                .header("cookie", &copy)
                .send()
                .await;
            assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{host}");
        }
    }
}

/// Without Fetch Metadata a form's origin has to be the host's own.
#[tokio::test]
async fn a_form_of_the_app_may_sign_out_and_a_strangers_may_not() {
    let (house, _upstream, _app, _provider) = arranged().await;
    for (origin, is_own) in [
        (APP, true),
        ("https://evil.example.test", false),
        ("http://app.example.test", false),
        (WIKI, false),
    ] {
        let browser = everywhere(&house);
        browser.follow(&format!("{APP}/page")).await;
        let _reply = browser
            .bare(Method::POST, &format!("{APP}/oauth2/sign_out"))
            .header("origin", origin)
            .header("accept", "text/html")
            .send()
            .await;
        let is_out = !browser.cookies(APP).contains("__Secure-sidegate=");
        assert_eq!(is_out, is_own, "{origin}");
    }
}

#[tokio::test]
async fn own_pages_of_another_host_lead_to_the_one_where_logins_are() {
    let (house, _upstream, _app, _provider) = arranged().await;
    let browser = everywhere(&house);
    let login = "https://login.example.test/oauth2";
    for (asked, expected) in [
        (
            "/oauth2/start?rd=%2Fdeep",
            "/start?rd=https%3A%2F%2Fapp.example.test%2Fdeep",
        ),
        (
            "/oauth2/start/script",
            "/start/script?rd=https%3A%2F%2Fapp.example.test%2F",
        ),
        (
            "/oauth2/sign_in?switch=1&rd=%2Fa%3Fb%3Dc",
            "/sign_in?switch=1&rd=https%3A%2F%2Fapp.example.test%2Fa%3Fb%3Dc",
        ),
        (
            "/oauth2/sign_in?rd=https%3A%2F%2Fde.wiki.example.test%2F",
            "/sign_in?rd=https%3A%2F%2Fde.wiki.example.test%2F",
        ),
    ] {
        let reply = browser.get(&format!("{APP}{asked}")).await;
        assert_eq!(
            reply.header("location"),
            format!("{login}{expected}"),
            "{asked}"
        );
    }
    // A script is told the whole way.
    let script = browser
        .fetch(Method::GET, &format!("{WIKI}/api"))
        .send()
        .await;
    assert_eq!(script.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        script.json()["login_url"],
        format!("{login}/sign_in?rd=https%3A%2F%2Fde.wiki.example.test%2Fapi")
    );
}

#[tokio::test]
async fn a_way_back_names_hosts_of_routes_and_no_others() {
    let (house, _upstream, _app, _provider) = arranged().await;
    for (rd, lands) in [
        (
            "https://app.example.test/page",
            "https://app.example.test/page",
        ),
        (
            "https://de.wiki.example.test/page",
            "https://de.wiki.example.test/page",
        ),
        ("https://example.test/page", "https://login.example.test/"),
        (
            "https://other.example.test/page",
            "https://login.example.test/",
        ),
        (
            "http://app.example.test/page",
            "https://login.example.test/",
        ),
        (
            "https://app.example.test:8443/page",
            "https://login.example.test/",
        ),
        (
            "https://app.example.test.evil.test/",
            "https://login.example.test/",
        ),
    ] {
        let browser = everywhere(&house);
        let rd: String = url::form_urlencoded::byte_serialize(rd.as_bytes()).collect();
        let back = browser
            .follow(&format!("/oauth2/start/script?rd={rd}"))
            .await;
        assert_eq!(back.url.as_str(), lands, "{rd}");
    }
}

#[tokio::test]
async fn the_gates_own_addresses_are_misdirected_under_a_host_that_nobody_names() {
    let (house, _upstream, _app, _provider) = arranged().await;
    for (host, path, expected) in [
        ("evil.test", "/page", 421),
        ("example.test", "/page", 421),
        ("wiki.example.test", "/page", 421),
        ("evil.test", "/oauth2/userinfo", 421),
        ("evil.test", "/oauth2/sign_in", 421),
        ("evil.test", "/oauth2/sign_out", 421),
        ("evil.test", "/oauth2/start", 421),
        ("evil.test", "/oauth2/callback/script?code=x&state=y", 421),
        ("evil.test", "/oauth2/ping", 200),
        ("evil.test", "/oauth2/ready", 200),
        ("open.example.test", "/page", 200),
        ("app.example.test", "/oauth2/userinfo", 401),
        ("login.example.test", "/oauth2/userinfo", 401),
    ] {
        let ask = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw::exchange(&house, ask.as_bytes()).await;
        assert_eq!(raw::status(&answer), expected, "{host} {path}: {answer}");
    }
}

/// What a script of one host has set there would keep its visitor out for ever.
#[tokio::test]
async fn a_planted_cookie_makes_no_circle() {
    let (house, _upstream, _app, _provider) = arranged().await;
    let browser = everywhere(&house);
    browser.follow(&format!("{WIKI}/page")).await;
    let app = browser.absolute(APP);
    // The jar tells them apart by their hosts, as browsers do.
    browser.jar().plant("__Secure-sidegate", "planted", &app);
    let page = browser.follow(&format!("{APP}/page")).await;
    assert_eq!(page.seen().header("x-user"), Some("ada"));
}

#[tokio::test]
async fn a_websocket_opens_for_pages_of_its_own_host_alone() {
    let (house, _upstream, _app, _provider) = arranged().await;
    let browser = everywhere(&house);
    browser.follow(&format!("{APP}/page")).await;
    for (origin, may) in [
        (APP, true),
        (WIKI, false),
        ("https://login.example.test", false),
    ] {
        let ask = format!(
            "GET /ws HTTP/1.1\r\nHost: app.example.test\r\nCookie: {}\r\nOrigin: {origin}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            browser.cookies(APP)
        );
        let mut stream = house.connect().await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, ask.as_bytes())
            .await
            .expect("sent");
        let head =
            raw::read_until(&mut stream, "\r\n\r\n", std::time::Duration::from_secs(10)).await;
        assert_eq!(
            raw::status(&head),
            if may { 101 } else { 403 },
            "{origin}: {head}"
        );
    }
}

/// A proxy asks in the name of another host.
#[tokio::test]
async fn forward_auth_leads_back_to_the_host_that_was_asked_for() {
    let app = Upstream::start().await;
    let (house, _upstream, _provider) =
        standard_with(|plan| shared(plan, &app).top("trusted_proxies = [\"127.0.0.1/32\"]")).await;
    let reply = everywhere(&house)
        .navigate("/oauth2/forward")
        .header("X-Forwarded-Method", "GET")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "app.example.test")
        .header("X-Forwarded-Uri", "/deep?x=1")
        .send()
        .await;
    assert_eq!(
        reply.header("location"),
        "https://login.example.test/oauth2/sign_in?rd=https%3A%2F%2Fapp.example.test%2Fdeep%3Fx%3D1"
    );
}

/// A name written in full, with its dot, is the same host, to the app behind, too: no rule is left out by it.
#[tokio::test]
async fn a_dot_at_the_end_of_a_host_leads_past_no_rule() {
    let app = Upstream::start().await;
    let (house, _upstream, _provider) =
        standard_with(|plan| shared(plan, &app).top("trusted_proxies = [\"127.0.0.1/32\"]")).await;
    for (more, expected) in [("X-Forwarded-Host: open.example.test\r\n", 421), ("", 401)] {
        for host in [
            "app.example.test",
            "app.example.test.",
            "APP.example.test.:443",
        ] {
            let ask = format!("GET /x HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n");
            let answer = raw::exchange(&house, ask.as_bytes()).await;
            assert_eq!(raw::status(&answer), expected, "{host} {more}: {answer}");
        }
    }
}
