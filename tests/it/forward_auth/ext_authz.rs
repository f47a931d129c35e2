//! Envoy's questions over gRPC.

use std::{net::SocketAddr, time::Duration};

use http::{Method, StatusCode};
use serde_json::Value;
use tokio::{io::AsyncReadExt as _, net::UnixStream};

use crate::support::{
    Browser, House, ScriptedProvider, Upstream,
    envoy::{Envoy, Held, Told, framed},
    house::Plan,
    ports,
};

/// A house that Envoy asks, where it asks, and its first connection.
async fn asked(plan: impl FnOnce(Plan) -> Plan) -> (House, ScriptedProvider, Envoy, SocketAddr) {
    let (upstream, provider) = (Upstream::start().await, ScriptedProvider::start().await);
    let address = ports::free_address();
    let house = House::plan()
        .upstream(&upstream)
        .provider(&provider)
        .top(&format!("ext_authz_listen = \"{address}\""));
    let house = plan(house).start().await;
    (house, provider, Envoy::connect(address).await, address)
}

/// A request of this browser's for `path`.
fn held(browser: &Browser, method: &str, path: &str) -> Held {
    let held = Held::new(method, browser.absolute("/").authority(), path);
    let cookies = browser.cookies("/");
    if cookies.is_empty() {
        held
    } else {
        held.header("cookie", &cookies)
    }
}

fn navigation(held: Held) -> Held {
    held.header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document")
}

#[tokio::test]
async fn browsers_are_led_to_the_login_and_programs_are_told() {
    let (house, _provider, mut envoy, _) = asked(|plan| {
        plan.route("/public/**", "public")
            .route("/closed/**", "deny")
    })
    .await;
    let browser = house.browser();
    let page = navigation(held(&browser, "GET", "/a?b=1&c=%2F"));
    let told = envoy.ask(&page).await;
    assert_eq!(told.status(), 302);
    let login = house.url("/oauth2/sign_in?rd=%2Fa%3Fb%3D1%26c%3D%252F");
    assert_eq!(told.header("location"), login);

    let told = envoy.ask(&held(&browser, "GET", "/api")).await;
    assert_eq!(told.status(), 401);
    assert_eq!(told.header("content-type"), "application/json");
    let Told::Refuse { body, .. } = told else {
        panic!("{told:?}")
    };
    assert!(body.starts_with('{'), "{body}");
    // Envoy makes a status of gRPC of it.
    let grpc = held(&browser, "POST", "/api").header("content-type", "application/grpc");
    assert_eq!(envoy.ask(&grpc).await.status(), 401);

    for path in ["/closed/x", "/oauth2/auth", "/oauth2/sign_in"] {
        let told = envoy.ask(&navigation(held(&browser, "GET", path))).await;
        assert_eq!(told.status(), 403, "{path}");
        assert!(told.header("content-type").starts_with("text/html"));
    }
    for path in ["/public/../closed/x", "/a%", "", "*", "http://evil/"] {
        let told = envoy.ask(&held(&browser, "GET", path)).await;
        assert_eq!(told.status(), 400, "{path}");
    }
    assert_eq!(envoy.ask(&held(&browser, "TRACE", "/")).await.status(), 400);
    assert_eq!(
        envoy
            .ask(&held(&browser, "GET", "/public/x"))
            .await
            .status(),
        200
    );
    let line = house
        .access_line_where("the page", |line| line["original_path"] == "/a")
        .await;
    assert_eq!(line["original_method"], "GET");
    assert_eq!(line["status"], 302);
    assert_eq!(line["client"], "127.0.0.1");
}

/// Nothing that a client says of itself reaches the app, and nothing of the gate's own cookies.
#[tokio::test]
async fn the_app_gets_what_the_gate_says_alone() {
    let (house, provider, mut envoy, _) = asked(|plan| plan.route("/public/**", "public")).await;
    provider.set(|behaviour| {
        behaviour.user = serde_json::json!({ "sub": "ada-1815", "preferred_username": "ada" });
    });
    let browser = house.browser();
    browser.plant("theme", "dark");
    browser.sign_in("/").await;
    let forged = |held: Held| {
        [
            "x-user",
            "x_user",
            "x.user",
            "x-user_id",
            "x~user",
            "x-user-email",
            "x-user-groups",
            "x-forwarded-user",
            "remote_user",
            "x-original-url",
            "x-http-method-override",
            "x_forwarded_for",
            "x-forwarded-host",
        ]
        .iter()
        .fold(held, |held, name| held.header(name, "mallory"))
        .header("accept-language", "en")
        .header("x-forwarded-for", "192.0.2.9")
    };
    let told = envoy.ask(&forged(held(&browser, "GET", "/page"))).await;
    let Told::Pass {
        app,
        browser: to_browser,
    } = &told
    else {
        panic!("{told:?}")
    };
    assert!(!format!("{app:?}").contains("mallory"), "{app:?}");
    assert!(to_browser.is_empty(), "{to_browser:?}");
    for (name, value) in [
        ("x-user", "ada"),
        ("x-user-id", "script:ada-1815"),
        ("x-user-provider", "script"),
        ("x-user-email", ""),
        ("x-user-groups", ""),
        ("cookie", "theme=dark"),
        ("accept-language", "en"),
        ("x-forwarded-for", "192.0.2.9"),
    ] {
        assert_eq!(told.header(name), value, "{name}");
    }
    let told = envoy.ask(&forged(held(&browser, "GET", "/public/x"))).await;
    let Told::Pass { app, .. } = &told else {
        panic!("{told:?}")
    };
    let mut names: Vec<_> = app.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept-language", "cookie", "x-forwarded-for"]);
    assert_eq!(told.header("cookie"), "theme=dark");

    // What says the same as `Host` may stay.
    let own = browser.absolute("/").authority().to_owned();
    let agrees = held(&browser, "GET", "/public/x").header("x-forwarded-host", &own);
    assert_eq!(envoy.ask(&agrees).await.header("x-forwarded-host"), own);
    let twice = agrees.header("x-forwarded-host", "evil.test");
    assert_eq!(envoy.ask(&twice).await.header("x-forwarded-host"), "");

    // The session alone leaves none.
    let session = browser.cookie("sidegate").expect("a session");
    let only = Held::new("GET", browser.absolute("/").authority(), "/page")
        .header("cookie", &format!("sidegate={session}"));
    let told = envoy.ask(&only).await;
    assert_eq!((told.header("cookie"), told.header("x-user")), ("", "ada"));
    // Nor do two lines hide it.
    let two = only.header("cookie", "a=1");
    assert_eq!(envoy.ask(&two).await.header("cookie"), "a=1");
}

#[tokio::test]
async fn routes_go_by_host_method_network_and_what_envoy_says_beside() {
    let (house, _provider, mut envoy, _) = asked(|plan| {
        plan.top("trusted_proxies = [\"198.51.100.0/24\"]\ncross_site = \"refuse\"")
            .tables(
                "[[routes]]\nhost = \"wiki.test\"\naccess = \"public\"\n\
                 [[routes]]\npath = \"/feed\"\nmethods = [\"GET\"]\naccess = \"public\"\n\
                 [[routes]]\npath = \"/near\"\naccess = \"public\"\nallow = { networks = [\"192.0.2.0/24\"] }\n",
            )
    })
    .await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let stranger = house.browser();
    let own = browser.absolute("/").authority().to_owned();
    for (method, host, path, status) in [
        ("GET", "wiki.test", "/x", 200),
        ("GET", "evil.test", "/x", 421),
        ("GET", "wiki.test@evil", "/x", 400),
        ("GET", &own, "/feed", 200),
        ("HEAD", &own, "/feed", 200),
        ("POST", &own, "/feed", 401),
    ] {
        let told = envoy.ask(&Held::new(method, host, path)).await;
        assert_eq!(told.status(), status, "{method} {host} {path}");
    }
    for (source, forwarded, status) in [
        ("192.0.2.7", "", 200),
        ("::ffff:192.0.2.7", "", 200),
        ("203.0.113.1", "192.0.2.7", 403),
        ("198.51.100.1", "192.0.2.7", 200),
        ("198.51.100.1", "203.0.113.1", 403),
        ("", "192.0.2.7", 403),
    ] {
        let mut near = held(&stranger, "GET", "/near");
        near.source = source.to_owned();
        if !forwarded.is_empty() {
            near = near.header("x-forwarded-for", forwarded);
        }
        let told = envoy.ask(&near).await;
        assert_eq!(told.status(), status, "{source} {forwarded}");
    }
    for (groups, status) in [("engineers", 200), ("admins", 403), ("", 403)] {
        let mut page = held(&browser, "GET", "/page");
        page.extensions = vec![("allowed_groups".to_owned(), groups.to_owned())];
        assert_eq!(envoy.ask(&page).await.status(), status, "{groups}");
    }
    for (method, site, status) in [
        ("POST", "cross-site", 403),
        ("GET", "cross-site", 200),
        ("POST", "same-origin", 200),
    ] {
        let form = held(&browser, method, "/form").header("sec-fetch-site", site);
        assert_eq!(envoy.ask(&form).await.status(), status, "{method} {site}");
    }
}

/// Over HTTP/2 a handshake has no key; Envoy writes it as one of HTTP/1.1.
#[tokio::test]
async fn no_other_site_opens_a_websocket() {
    let (house, _provider, mut envoy, _) = asked(|plan| plan).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    for sign in [
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ("upgrade", "websocket"),
        ("sec-fetch-mode", "websocket"),
    ] {
        for (origin, status) in [(&*house.public_url, 200), ("https://evil.example", 403)] {
            let socket = held(&browser, "GET", "/socket")
                .header(sign.0, sign.1)
                .header("origin", origin);
            assert_eq!(envoy.ask(&socket).await.status(), status, "{sign:?}");
        }
    }
}

#[tokio::test]
async fn a_session_that_is_used_goes_on_and_one_that_ended_is_over() {
    let (house, _provider, mut envoy, _) =
        asked(|plan| plan.session("idle_timeout = \"4s\"")).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let mut renewed = false;
    for _ in 0..200 {
        let told = envoy.ask(&held(&browser, "GET", "/page")).await;
        let Told::Pass { browser: lines, .. } = told else {
            panic!("{told:?}")
        };
        let cookie = lines.iter().find(|(name, _)| name == "set-cookie");
        if let Some((_, cookie)) = cookie {
            assert!(cookie.starts_with("sidegate="), "{cookie}");
            assert!(lines.contains(&("cache-control".to_owned(), "private".to_owned())));
            renewed = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(renewed, "no cookie came");
    let cookies = browser.cookies("/");
    let out = browser.fetch(Method::POST, "/oauth2/sign_out");
    let out = out.header("origin", &house.public_url).send().await;
    assert_ne!(out.status, StatusCode::FORBIDDEN);
    let after = Held::new("GET", browser.absolute("/").authority(), "/page");
    let told = envoy.ask(&after.header("cookie", &cookies)).await;
    assert_eq!(told.status(), 401);
}

#[tokio::test]
async fn what_is_no_question_is_no_yes() {
    let (house, _provider, mut envoy, address) = asked(|plan| plan).await;
    let check = "/envoy.service.auth.v3.Authorization/Check";
    let long = vec![0x7a; 256 * 1024];
    for (method, body, code) in [
        (
            "/envoy.service.auth.v2.Authorization/Check",
            framed(b""),
            "12",
        ),
        ("/", framed(b""), "12"),
        (check, vec![], "3"),
        (check, framed(b"\xff\xff"), "3"),
        (check, [&[1], &framed(b"")[1..]].concat(), "12"),
        (check, framed(&[&long[..], b"x"].concat()), "8"),
    ] {
        let failed = envoy.call(method, &body).await.unwrap_err();
        assert_eq!(failed, code, "{method}");
    }
    // Each has its line, whatever was called.
    for method in ["/envoy.service.auth.v2.Authorization/Check", "/", check] {
        let line = house.access_line(method).await;
        assert!(
            ["bad_request", "unavailable"]
                .map(Value::from)
                .contains(&line["verdict"]),
            "{line}"
        );
    }
    // It goes on, and HTTP/1.1 is not spoken here.
    let told = envoy.ask(&Held::new("GET", "app.test", "/")).await;
    assert_eq!(told.status(), 401);
    let request = b"GET /oauth2/ping HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = crate::support::raw::try_exchange(address, false, request).await;
    assert!(!answer.unwrap_or_default().starts_with("HTTP/1.1 200"));
}

/// A question that does not come to its end fails, and a connection that asks nothing is closed. Both bounds are in
/// docs/limits.md.
#[tokio::test]
async fn whoever_says_nothing_is_not_waited_for() {
    let (_house, _provider, mut envoy, address) = asked(|plan| plan).await;
    let mut silent = crate::support::connect(address, false).await;
    let half = tokio::time::timeout(Duration::from_mins(1), envoy.begin());
    let closed = async {
        let mut said = Vec::new();
        // Perhaps a preface of HTTP/2 (RFC 9113 §3.4), and then the end.
        let _ = silent.read_to_end(&mut said).await;
    };
    let closed = tokio::time::timeout(Duration::from_mins(2), closed);
    let (half, closed) = tokio::join!(half, closed);
    assert_eq!(half.expect("a question is waited for"), "4");
    assert!(closed.is_ok(), "a silent connection is kept");
}

/// Over a Unix socket; by the configuration of the moment; and a stop waits for nobody that is silent.
#[tokio::test]
async fn a_unix_socket_and_a_reload() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("authz.sock");
    let mut house = House::plan()
        .top(&format!("ext_authz_listen = \"unix:{}\"", path.display()))
        .route("/a/**", "public")
        .start()
        .await;
    let stream = UnixStream::connect(&path).await.unwrap();
    let mut envoy = Envoy::over(Box::new(stream)).await;
    let ask = Held::new("GET", "app.test", "/a/x");
    assert_eq!(envoy.ask(&ask).await.status(), 200);
    house.rewrite("path = \"/a/**\"", "path = \"/b/**\"");
    house.process.signal("HUP");
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while envoy.ask(&ask).await.status() != 401 {
        assert!(tokio::time::Instant::now() < end, "{}", house.process.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    house.process.terminate();
    let status = house.process.ended(Duration::from_secs(20)).await;
    assert!(status.success(), "{status}");
    assert!(!path.exists());
}

#[tokio::test]
async fn who_comes_too_often_is_told_as_by_the_road() {
    let (house, _provider, mut envoy, _) = asked(|plan| {
        plan.tables("[[routes]]\npath = \"/open/**\"\naccess = \"public\"\nlimit = \"1/1h\"\n")
    })
    .await;
    let browser = house.browser();
    let told = envoy.ask(&held(&browser, "GET", "/open/x")).await;
    let Told::Pass { app, browser: back } = &told else {
        panic!("{told:?}")
    };
    let state = back.iter().find(|(name, _)| name == "ratelimit");
    assert!(state.is_some_and(|(_, value)| value.starts_with("\"user\";r=0;t=")));
    assert!(app.iter().all(|(name, _)| !name.starts_with("ratelimit")));
    let told = envoy.ask(&held(&browser, "GET", "/open/x")).await;
    assert_eq!(told.status(), 429);
    assert!(told.header("retry-after").parse::<u64>().is_ok());
    assert!(told.header("ratelimit").contains("r=0"));
}
