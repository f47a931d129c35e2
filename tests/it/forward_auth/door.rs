//! What each door answers.

use http::{Method, StatusCode};
use serde_json::json;

use super::{ask, ask_forward, behind};
use crate::support::{House, ScriptedProvider, raw};

const BROWSER: [(&str, &str); 2] = [
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
];

/// A browser is led to the login by an address that holds wherever the answer is handed on; a program gets a status.
#[tokio::test]
async fn forward_redirects_browsers_to_a_whole_address_and_tells_programs() {
    for proxy in [None, Some("traefik"), Some("caddy")] {
        let (house, upstream, _provider) =
            behind(proxy, |plan| plan.route("/closed", "deny")).await;
        let browser = house.browser();
        let old = [("accept", "text/html,*/*")];
        for (method, headers, status) in [
            ("GET", &BROWSER[..], 302),
            ("HEAD", &BROWSER, 302),
            ("GET", &old, 302),
            ("POST", &BROWSER, 401),
            ("GET", &[], 401),
            (
                "GET",
                &[
                    ("accept", "text/html"),
                    ("x-requested-with", "XMLHttpRequest"),
                ],
                401,
            ),
            ("DELETE", &[("accept", "application/json")], 401),
            ("POST", &[("content-type", "application/grpc")], 401),
        ] {
            let reply = ask_forward(&browser, method, "/a?b=1&c=%2F", headers).await;
            assert_eq!(reply.status.as_u16(), status, "{method} {headers:?}");
            if status == 302 {
                let login = house.url("/oauth2/sign_in?rd=%2Fa%3Fb%3D1%26c%3D%252F");
                assert_eq!(reply.header("location"), login);
            }
        }
        for headers in [&BROWSER[..], &[]] {
            let closed = ask_forward(&browser, "GET", "/closed", headers).await;
            assert_eq!(closed.status, StatusCode::FORBIDDEN);
            let is_page = closed.header("content-type").starts_with("text/html");
            assert_eq!(is_page, !headers.is_empty(), "{}", closed.text());
        }
        let long = format!("/{}", "a".repeat(3_000));
        let reply = ask_forward(&browser, "GET", &long, &BROWSER).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);

        browser.sign_in("/").await;
        for method in ["GET", "POST", "DELETE", "PROPFIND"] {
            let reply = ask_forward(&browser, method, "/a", &BROWSER).await;
            assert_eq!(reply.status, StatusCode::OK, "{method}");
            assert_eq!(reply.header("x-user"), "ada");
        }
        assert_eq!(upstream.count(), 1, "the login's own page");
    }
}

/// What is not told by the proxy that is known, once, is refused: somebody else may have said it.
#[tokio::test]
async fn a_door_believes_one_spelling_once() {
    let routes = |plan: crate::support::house::Plan| plan.route("/public/**", "public");
    let forged = [
        ("x-original-uri", "/public/x"),
        ("x-original-url", "https://app.example/public/x"),
        ("x-original-method", "GET"),
        ("x-forwarded-uri", "/public/x"),
        ("x-forwarded-method", "GET"),
    ];
    for (proxy, own) in [
        (
            "nginx",
            &[("x-original-uri", "/page"), ("x-original-method", "GET")][..],
        ),
        (
            "haproxy",
            &[("x-original-uri", "/page"), ("x-original-method", "GET")],
        ),
        (
            "ingress-nginx",
            &[
                ("x-original-url", "https://app.example/page"),
                ("x-original-method", "GET"),
            ],
        ),
        (
            "traefik",
            &[
                ("x-forwarded-uri", "/page"),
                ("x-forwarded-method", "GET"),
                ("x-forwarded-host", "app.example"),
                ("x-forwarded-proto", "https"),
            ],
        ),
    ] {
        let (house, _upstream, _provider) = behind(Some(proxy), routes).await;
        let stranger = house.browser();
        let is_own = |name: &str| own.iter().any(|(own, _)| *own == name);
        let mut lines: Vec<_> = own.to_vec();
        lines.extend(forged.iter().filter(|(name, _)| !is_own(name)));
        let reply = ask(&stranger, "/oauth2/auth", &lines).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{proxy}");
        // The same for a public path lets pass: so it was the spelling that told.
        let public: Vec<_> = lines
            .iter()
            .map(|(name, value)| match *value {
                "/page" => (*name, "/public/y"),
                "https://app.example/page" => (*name, "https://app.example/public/y"),
                value => (*name, value),
            })
            .collect();
        let reply = ask(&stranger, "/oauth2/auth", &public).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{proxy}");
        assert_eq!(reply.headers.get("x-user").unwrap(), "", "{proxy}");
        for (name, _) in own {
            let without: Vec<_> = public
                .iter()
                .copied()
                .filter(|line| line.0 != *name)
                .collect();
            let reply = ask(&stranger, "/oauth2/auth", &without).await;
            assert_eq!(
                reply.status,
                StatusCode::FORBIDDEN,
                "{proxy} without {name}"
            );
            let mut twice = public.clone();
            twice.extend(public.iter().filter(|line| line.0 == *name));
            let reply = ask(&stranger, "/oauth2/auth", &twice).await;
            assert_eq!(reply.status, StatusCode::FORBIDDEN, "{proxy} twice {name}");
        }
        let is_asked = proxy == "traefik";
        let reply = ask_forward(&stranger, "GET", "/public/y", &[]).await;
        let expected = if is_asked {
            StatusCode::OK
        } else {
            StatusCode::NOT_FOUND
        };
        assert_eq!(reply.status, expected, "{proxy}");
        for path in ["/oauth2/auth/public/x", "/oauth2/forward/public/x"] {
            let reply = ask(&stranger, path, &[]).await;
            assert_eq!(reply.status, StatusCode::NOT_FOUND, "{proxy}");
        }
    }
}

/// From a peer that is no trusted proxy nothing is believed, whatever it spells.
#[tokio::test]
async fn a_peer_that_is_not_trusted_is_not_answered() {
    let provider = ScriptedProvider::start().await;
    for (proxy, path, status) in [
        (None, "/oauth2/auth", 401),
        (None, "/oauth2/forward", 400),
        (Some("nginx"), "/oauth2/auth", 403),
        (Some("ingress-nginx"), "/oauth2/auth", 403),
        (Some("traefik"), "/oauth2/auth", 403),
        (Some("caddy"), "/oauth2/forward", 400),
        (Some("envoy"), "/oauth2/auth/public/x", 403),
        (Some("envoy"), "/oauth2/forward/public/x", 400),
    ] {
        let key = proxy.map(|proxy| format!("forward_auth = \"{proxy}\""));
        let house = House::plan()
            .provider(&provider)
            .top("trusted_proxies = [\"192.0.2.1/32\"]")
            .top(&key.unwrap_or_default())
            .route("/public/**", "public")
            .start()
            .await;
        let stranger = house.browser();
        let own = stranger.absolute("/").authority().to_owned();
        let url = format!("http://{own}/public/x");
        let lines = [
            ("x-original-uri", "/public/x"),
            ("x-original-url", url.as_str()),
            ("x-original-method", "GET"),
            ("x-forwarded-uri", "/public/x"),
            ("x-forwarded-method", "GET"),
            ("x-forwarded-host", own.as_str()),
            ("x-forwarded-proto", "http"),
        ];
        let reply = ask(&stranger, path, &lines).await;
        assert_eq!(reply.status.as_u16(), status, "{proxy:?} {path}");
    }
}

/// Envoy asks below the door, by the request's own method, and takes 200 alone for a yes.
#[tokio::test]
async fn envoy_asks_below_the_door() {
    let (house, upstream, _provider) = behind(Some("envoy"), |plan| {
        plan.route("/public/**", "public")
            .tables("[[routes]]\npath = \"/feed\"\nmethods = [\"GET\"]\naccess = \"public\"\n")
    })
    .await;
    let browser = house.browser();
    for door in ["auth", "forward"] {
        for (method, path, status) in [
            (Method::GET, "/public/x?allowed_groups=nobody", 200),
            (Method::POST, "/public/x", 200),
            (Method::GET, "/feed", 200),
            (Method::HEAD, "/feed", 200),
            (Method::POST, "/feed", 401),
            (Method::GET, "/page", 401),
            (Method::GET, "/oauth2/sign_in", 403),
            (
                Method::GET,
                "/public%2Fx",
                if door == "auth" { 403 } else { 400 },
            ),
        ] {
            let asked = format!("/oauth2/{door}{path}");
            let forged = browser
                .bare(method.clone(), &asked)
                .header("x-forwarded-uri", "/public/y");
            let reply = forged.header("x-original-uri", "/public/y").send().await;
            assert_eq!(reply.status.as_u16(), status, "{method} {asked}");
        }
        let reply = browser
            .navigate(&format!("/oauth2/{door}/page?a=1"))
            .send()
            .await;
        let login = house.url("/oauth2/sign_in?rd=%2Fpage%3Fa%3D1");
        assert_eq!(reply.header("location"), login);
        let expected = if door == "auth" { 401 } else { 302 };
        assert_eq!(reply.status.as_u16(), expected);
        let bare = browser.get(&format!("/oauth2/{door}")).await;
        assert!(bare.status.is_client_error(), "{}", bare.status);
    }
    browser.sign_in("/").await;
    for door in ["auth", "forward"] {
        let reply = browser
            .get(&format!("/oauth2/{door}/page?allowed_groups=nobody"))
            .await;
        assert_eq!(reply.status, StatusCode::OK, "the query is the app's");
        assert_eq!(reply.header("x-user"), "ada");
    }
    assert_eq!(upstream.count(), 1);
}

/// A recipe replaces what the client sent by what is here: each header has to be here.
#[tokio::test]
async fn each_identity_header_and_the_apps_cookies_are_on_a_yes() {
    let (house, _upstream, provider) =
        behind(Some("traefik"), |plan| plan.route("/public/**", "public")).await;
    provider.set(|behaviour| behaviour.user = json!({ "sub": "ada-1815" }));
    let browser = house.browser();
    browser.sign_in("/").await;
    browser.plant("theme", "dark");
    for (path, id) in [("/page", "script:ada-1815"), ("/public/x", "")] {
        let reply = ask_forward(
            &browser,
            "GET",
            path,
            &[("x-user-email", "forged@example.com")],
        )
        .await;
        assert_eq!(reply.status, StatusCode::OK);
        for (name, expected) in [
            ("x-user-id", id),
            ("x-user-email", ""),
            ("x-user-name", ""),
            ("x-user-groups", ""),
            ("x-user-groups-missing", ""),
            ("cookie", "theme=dark"),
        ] {
            let values: Vec<_> = reply.headers.get_all(name).iter().collect();
            assert_eq!(values, [expected], "{path} {name}");
        }
    }
    let stranger = house.browser();
    let reply = ask_forward(&stranger, "GET", "/public/x", &[]).await;
    assert_eq!(reply.headers.get("cookie").unwrap(), "");
    let refused = ask_forward(&stranger, "GET", "/page", &[]).await;
    for name in ["x-user", "x-user-id", "cookie"] {
        assert!(refused.headers.get(name).is_none(), "{name}");
    }
}

/// A WebSocket that a page of another site opens in the visitor's name is refused as the gate itself refuses it.
#[tokio::test]
async fn a_websocket_of_another_site_may_not_pass() {
    let (house, _upstream, _provider) = behind(Some("traefik"), |plan| plan).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let own = browser.absolute("/").origin().ascii_serialization();
    let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    for (origin, status) in [
        (own.as_str(), 200),
        ("https://evil.example", 403),
        ("null", 403),
    ] {
        let reply = ask_forward(&browser, "GET", "/socket", &[key, ("origin", origin)]).await;
        assert_eq!(reply.status.as_u16(), status, "{origin}");
        let reply = ask_forward(&browser, "GET", "/socket", &[("origin", origin)]).await;
        assert_eq!(reply.status, StatusCode::OK, "{origin}: no socket");
    }
}

/// What the gate refuses a page of another origin, each door does: a name may have been bent to this machine (DNS rebinding).
#[tokio::test]
async fn a_page_of_another_origin_speaks_to_no_mcp_server_by_a_door() {
    let (house, _upstream, _provider) = behind(Some("traefik"), |plan| {
        plan.tables("[issuer]\n[[routes]]\npath = \"/mcp/**\"\nmcp = true\n")
    })
    .await;
    let browser = house.browser();
    for (origin, expected) in [
        (None, StatusCode::UNAUTHORIZED),
        (Some("https://claude.example"), StatusCode::UNAUTHORIZED),
        (Some("http://evil.example"), StatusCode::FORBIDDEN),
        (Some("null"), StatusCode::FORBIDDEN),
    ] {
        let headers: Vec<_> = origin.iter().map(|origin| ("origin", *origin)).collect();
        let reply = ask_forward(&browser, "POST", "/mcp", &headers).await;
        assert_eq!(reply.status, expected, "{origin:?}");
        let mut ask = browser.bare(Method::POST, "/mcp");
        for (name, value) in headers {
            ask = ask.header(name, value);
        }
        assert_eq!(ask.send().await.status, expected, "{origin:?}, the gate");
    }
}

/// A proxy shuts the doors to its clients by their paths as they are written here, the whole of them: nothing else leads there.
#[tokio::test]
async fn no_other_spelling_leads_to_a_door() {
    let (house, _upstream, _provider) = behind(Some("traefik"), |plan| plan).await;
    for (path, is_door) in [
        ("/oauth2/auth", true),
        ("/oauth2/forward", true),
        ("/oauth2/./auth", false),
        ("/oauth2/%61uth", false),
        ("/oauth2/auth/../auth", false),
        ("/oauth2/auth/.", false),
        ("/oauth2/auth;x", false),
        ("/oauth2/auth%2F", false),
        ("/oauth2/forward/../forward", false),
        ("/oauth2/forward;x=/../forward", false),
        ("/oauth2//forward", false),
    ] {
        let ask = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Uri: /\r\nX-Forwarded-Host: x\r\n\
             X-Forwarded-Proto: http\r\nConnection: close\r\n\r\n"
        );
        let answer = raw::exchange(&house, ask.as_bytes()).await;
        let status = raw::status(&answer);
        assert_eq!(status == 401, is_door, "{path}: {answer}");
        assert!(is_door || [400, 404].contains(&status), "{path}: {answer}");
    }
}
