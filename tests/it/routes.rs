//! `[[routes]]`: what each option lets in, and whom it keeps out.

use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{Browser, House, ScriptedProvider, Upstream, raw, standard_with};

async fn house(routes: &str) -> (House, Upstream, ScriptedProvider) {
    standard_with(|plan| plan.tables(routes)).await
}

async fn person(
    house: &House,
    provider: &ScriptedProvider,
    claims: &[(&str, serde_json::Value)],
) -> Browser {
    for (name, value) in claims {
        provider.user(name, value.clone());
    }
    let browser = house.browser();
    assert_eq!(browser.sign_in("/").await.status, StatusCode::OK);
    browser
}

async fn status(browser: &Browser, path: &str) -> u16 {
    browser.get(path).await.status.as_u16()
}

#[tokio::test]
async fn optional_tells_who_it_is_and_lets_everybody_pass() {
    let (house, _upstream, provider) = house(
        "[[routes]]\npath = \"/home\"\naccess = \"optional\"\n\
         [[routes]]\npath = \"/staff\"\naccess = \"optional\"\nallow = { groups = [\"staff\"] }\n",
    )
    .await;
    let stranger = house.browser();
    let reply = stranger.get("/home").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.seen().header("x-user"), None);
    let forged = stranger
        .navigate("/home")
        .header("X-User", "root")
        .send()
        .await;
    assert_eq!(forged.seen().header("x-user"), None);

    let ada = person(&house, &provider, &[("groups", json!(["users"]))]).await;
    assert_eq!(ada.get("/home").await.seen().header("x-user"), Some("ada"));
    // Whom the lists do not name is nobody there.
    let reply = ada.get("/staff").await;
    assert_eq!(
        (reply.status, reply.seen().header("x-user")),
        (StatusCode::OK, None)
    );
}

#[tokio::test]
async fn api_leads_nobody_to_the_login() {
    let (house, upstream, provider) =
        house("[[routes]]\npath = \"/api/**\"\naccess = \"api\"\n").await;
    let stranger = house.browser();
    let reply = stranger.get("/api/x").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert!(reply.header("www-authenticate").starts_with("Bearer"));
    assert_eq!(reply.header("location"), "");
    assert_eq!(upstream.count(), 0);
    let ada = person(&house, &provider, &[]).await;
    assert_eq!(ada.get("/api/x").await.seen().header("x-user"), Some("ada"));
}

#[tokio::test]
async fn lists_of_a_route_let_in_and_keep_out() {
    let (house, upstream, provider) = house(
        "[[routes]]\npath = \"/admin/**\"\nallow = { groups = [\"admins\", \"ops\"] }\ndeny_message = \"Ask Grace.\"\n\
         [[routes]]\npath = \"/team/**\"\nallow = { emails = [\"ada@example.com\"], claims = { level = [\"7\"] } }\n\
         [[routes]]\npath = \"/corp/**\"\nallow = { providers = [\"script\"] }\n\
         [[routes]]\npath = \"/either/**\"\nany = [{ groups = [\"admins\"] }, { emails = [\"eve@example.com\"] }]\n",
    )
    .await;
    let ada = person(
        &house,
        &provider,
        &[("groups", json!(["ops", "users"])), ("level", json!(7))],
    )
    .await;
    for path in ["/admin/x", "/team/x", "/corp/x", "/elsewhere"] {
        assert_eq!(status(&ada, path).await, 200, "{path}");
    }
    let before = upstream.count();
    assert_eq!(status(&ada, "/either/x").await, 403);
    let eve = person(
        &house,
        &provider,
        &[
            ("sub", json!("eve")),
            ("preferred_username", json!("eve")),
            ("email", json!("eve@example.com")),
            ("groups", json!(["users"])),
            ("level", json!(6)),
        ],
    )
    .await;
    let seen = upstream.count() - before;
    let refused = eve.get("/admin/x").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text().contains("Ask Grace."), "{}", refused.text());
    let line = house
        .access_line_where("the refusal", |line| {
            line["path"] == "/admin/x" && line["status"] == 403
        })
        .await;
    let detail = line["detail"].as_str().expect("a detail");
    assert!(
        detail.contains("routes[0]") && detail.contains("groups") && detail.contains("users"),
        "{detail}"
    );
    assert_eq!(status(&eve, "/team/x").await, 403);
    assert_eq!(upstream.count() - before, seen, "nothing reached the app");
    assert_eq!(status(&eve, "/either/x").await, 200);
    assert_eq!(status(&eve, "/").await, 200);
}

/// A provider names neither an address nor a kind of credential.
#[tokio::test]
async fn a_refusal_says_what_the_request_itself_shows() {
    let (house, _upstream, provider) = house(
        "[[routes]]\npath = \"/near/**\"\nany = [{ networks = [\"10.0.0.0/8\"] }, { groups = [\"admins\"] }]\n\
         [[routes]]\npath = \"/tokens/**\"\nallow = { credentials = [\"bearer\"] }\n",
    )
    .await;
    let ada = person(&house, &provider, &[]).await;
    for (path, shown, names_provider) in [
        ("/near/x", "Your network address is 127.0.0.1. Or: ", true),
        ("/tokens/x", "Your kind of credential is session.", false),
    ] {
        let page = ada.get(path).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN);
        let text = page.text();
        assert!(text.contains(shown), "{text}");
        // Of groups alone it has said something.
        assert_eq!(text.contains("Your provider"), names_provider, "{text}");
    }
}

#[tokio::test]
async fn networks_are_judged_before_anybody_signs_in() {
    let (house, upstream, provider) = standard_with(|plan| {
        plan.top("trusted_proxies = [\"127.0.0.1/32\"]\n").tables(
            "[[routes]]\npath = \"/inside/**\"\nallow = { networks = [\"10.0.0.0/8\"] }\n\
             [[routes]]\npath = \"/metrics\"\naccess = \"public\"\nallow = { networks = [\"10.0.0.0/8\", \"192.0.2.7/32\"] }\n",
        )
    })
    .await;
    let from = |client: &str, path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nX-Forwarded-For: {client}\r\nAccept: text/html\r\nConnection: close\r\n\r\n",
            house.address
        )
    };
    for (client, path, expected) in [
        ("10.1.2.3", "/metrics", 200),
        ("192.0.2.7", "/metrics", 200),
        ("192.0.2.8", "/metrics", 403),
        ("192.0.2.8", "/inside/x", 403),
        ("10.1.2.3", "/inside/x", 302),
    ] {
        let answer = raw::exchange(&house, from(client, path).as_bytes()).await;
        let status = raw::status(&answer);
        assert!(
            status == expected || (expected == 302 && status == 401),
            "{client} {path}: {answer}"
        );
    }
    assert_eq!(upstream.count(), 2);
    let ada = person(&house, &provider, &[]).await;
    let inside = ada
        .navigate("/inside/x")
        .header("X-Forwarded-For", "10.9.9.9")
        .send()
        .await;
    assert_eq!(inside.status, StatusCode::OK);
    let outside = ada
        .navigate("/inside/x")
        .header("X-Forwarded-For", "192.0.2.1")
        .send()
        .await;
    assert_eq!(outside.status, StatusCode::FORBIDDEN);
    // What the client says of itself beyond the proxy's word counts for nothing.
    let forged = ada
        .navigate("/inside/x")
        .header("X-Forwarded-For", "10.9.9.9, 192.0.2.1")
        .send()
        .await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_host_has_its_own_rules_and_strange_hosts_are_misdirected() {
    let (house, upstream, _provider) = house(
        "[[routes]]\nhost = \"open.example\"\naccess = \"public\"\n\
         [[routes]]\nhost = \"*.shut.example\"\npath = \"/x\"\naccess = \"deny\"\n",
    )
    .await;
    let own = house.address.to_string();
    for (host, path, expected) in [
        ("open.example", "/x", 200),
        ("OPEN.example:8080", "/x", 200),
        ("a.shut.example", "/x", 403),
        ("evil.example", "/x", 421),
        ("open.example.evil.example", "/x", 421),
        (own.as_str(), "/x", 401),
        ("evil.example", "/oauth2/ping", 200),
    ] {
        let ask = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw::exchange(&house, ask.as_bytes()).await;
        assert_eq!(raw::status(&answer), expected, "{host} {path}: {answer}");
    }
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_refused_and_lets_pass() {
    let (house, upstream, provider) = house(
        "[[routes]]\npath = \"/dry/**\"\nallow = { groups = [\"admins\"] }\ndry_run = true\n\
         [[routes]]\npath = \"/strict/**\"\nallow = { groups = [\"admins\"] }\n",
    )
    .await;
    let stranger = house.browser();
    assert_eq!(status(&stranger, "/dry/x").await, 302);
    assert_eq!(upstream.count(), 0);
    let eve = person(&house, &provider, &[("groups", json!(["users"]))]).await;
    assert_eq!(status(&eve, "/strict/x").await, 403);
    let passed = eve.get("/dry/seen").await;
    assert_eq!(passed.status, StatusCode::OK);
    assert_eq!(passed.seen().header("x-user"), Some("ada"));
    let line = house.access_line("/dry/seen").await;
    assert_eq!(line["verdict"], "pass");
    let why = line["dry_run"].as_str().expect("what would refuse");
    assert!(why.contains("routes[0]") && why.contains("groups"), "{why}");
    let log = house.process.log();
    let raw = log.lines().find(|line| line.contains("/dry/seen"));
    assert!(raw.is_some_and(|line| line.contains("WARN")), "{log}");
    // Who fits leaves no such mark.
    let ada = person(&house, &provider, &[("groups", json!(["admins"]))]).await;
    assert_eq!(status(&ada, "/dry/fits").await, 200);
    let line = house.access_line("/dry/fits").await;
    assert!(line.get("dry_run").is_none(), "{line}");
}

#[tokio::test]
async fn other_sites_change_nothing_where_they_are_refused() {
    let routes = "[[routes]]\npath = \"/public/**\"\naccess = \"public\"\n";
    for (key, refused) in [("cross_site = \"refuse\"", true), ("", false)] {
        let (house, upstream, _provider) = standard_with(|plan| plan.top(key).tables(routes)).await;
        let ask = async |method: &str, path: &str, sites: &[&str]| {
            let lines = sites
                .iter()
                .map(|site| format!("Sec-Fetch-Site: {site}\r\n"));
            let lines: String = lines.collect();
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: {}\r\n{lines}Content-Length: 0\r\nConnection: close\r\n\r\n",
                house.address
            );
            raw::status(&raw::exchange(&house, request.as_bytes()).await)
        };
        let when = if refused { 403 } else { 200 };
        if refused {
            let browser = house.browser();
            let form = browser.navigate("/public/x").method(Method::POST);
            let page = form.header("sec-fetch-site", "cross-site").send().await;
            let text = page.text();
            assert!(
                text.contains("another site") && !text.contains("everybody"),
                "{text}"
            );
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "FROBNICATE"] {
            assert_eq!(
                ask(method, "/public/x", &["cross-site"]).await,
                when,
                "{method}"
            );
        }
        let twice = ["same-origin", "cross-site"];
        assert_eq!(ask("POST", "/public/x", &twice).await, when);
        let reached = upstream.count();
        assert_eq!(reached, if refused { 0 } else { 6 });
        for (method, sites) in [
            ("GET", &["cross-site"][..]),
            ("OPTIONS", &["cross-site"]),
            ("POST", &["same-origin"]),
            ("POST", &["same-site"]),
            ("POST", &["none"]),
            ("POST", &[]),
        ] {
            assert_eq!(
                ask(method, "/public/x", sites).await,
                200,
                "{method} {sites:?}"
            );
        }
        assert_eq!(upstream.count(), reached + 6);
        // Own addresses look after themselves.
        assert_eq!(ask("GET", "/oauth2/ping", &["cross-site"]).await, 200);
    }
}

/// Forward-auth judges by the same rules.
#[tokio::test]
async fn lists_of_a_route_hold_for_forward_auth() {
    let (house, _upstream, provider) = standard_with(|plan| {
        plan.top("trusted_proxies = [\"127.0.0.1/32\"]\n")
            .tables("[[routes]]\npath = \"/admin/**\"\nallow = { groups = [\"admins\"] }\n")
    })
    .await;
    let ada = person(&house, &provider, &[("groups", json!(["users"]))]).await;
    for (path, expected) in [("/page", 202), ("/admin/x", 403)] {
        let reply = ada
            .fetch(Method::GET, "/oauth2/auth")
            .header("X-Original-URI", path)
            .send()
            .await;
        assert_eq!(reply.status.as_u16(), expected, "{path}");
    }
}

/// The app goes by `Host`, and a client writes `X-Forwarded-Host` through a proxy that does not overwrite it.
#[tokio::test]
async fn a_forwarded_host_opens_no_other_hosts_routes() {
    let (house, upstream, _provider) = standard_with(|plan| {
        plan.top("trusted_proxies = [\"127.0.0.1/32\"]\n").tables(
            "[[routes]]\nhost = \"shut.example\"\naccess = \"deny\"\n\
             [[routes]]\nhost = \"open.example\"\naccess = \"public\"\n",
        )
    })
    .await;
    let own = house.address.to_string();
    for (host, told, expected) in [
        ("shut.example", "open.example", 421),
        (own.as_str(), "open.example", 421),
        ("open.example", "shut.example", 403),
        ("backend:8080", "open.example", 200),
        ("open.example", "OPEN.example:443", 200),
    ] {
        let ask = format!(
            "GET /x HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Host: {told}\r\nConnection: close\r\n\r\n"
        );
        let answer = raw::exchange(&house, ask.as_bytes()).await;
        let status = raw::status(&answer);
        // Refused either way: by the host that is told, or for want of agreement.
        let is_refused = expected != 200 && matches!(status, 403 | 421);
        assert!(status == expected || is_refused, "{host} {told}: {answer}");
    }
    assert_eq!(upstream.count(), 2);
}

/// A list in a question's address narrows on public routes too: nobody is on no list.
#[tokio::test]
async fn a_list_in_the_address_keeps_strangers_out_of_public_routes() {
    let (house, _upstream, _provider) = standard_with(|plan| {
        plan.top("trusted_proxies = [\"127.0.0.1/32\"]\nforward_auth = \"nginx\"\n")
            .route("/pub/**", "public")
    })
    .await;
    for (query, expected) in [("", 202), ("?allowed_groups=admins", 401)] {
        let reply = house
            .browser()
            .bare(Method::GET, &format!("/oauth2/auth{query}"))
            .header("X-Original-URI", "/pub/x")
            .header("X-Original-Method", "GET")
            .send()
            .await;
        assert_eq!(reply.status.as_u16(), expected, "{query}");
    }
}

/// Without a known proxy the headers may be the client's: a method that it adds narrows nothing, and where nothing tells
/// the path, nobody passes whom some route would keep out.
#[tokio::test]
async fn without_a_known_proxy_no_header_opens_what_a_route_closes() {
    let (house, _upstream, provider) = standard_with(|plan| {
        plan.top("trusted_proxies = [\"127.0.0.1/32\"]\n").tables(
            "[[routes]]\npath = \"/w/**\"\nmethods = [\"POST\"]\nallow = { groups = [\"admins\"] }\n",
        )
    })
    .await;
    let bob = person(&house, &provider, &[("groups", json!(["users"]))]).await;
    for (headers, expected) in [
        (&[("X-Original-URI", "/page")][..], 202),
        (&[("X-Original-URI", "/w/x")], 403),
        (
            &[("X-Original-URI", "/w/x"), ("X-Original-Method", "GET")],
            403,
        ),
        (
            &[("X-Original-URI", "/w/x"), ("X-Forwarded-Method", "GET")],
            403,
        ),
        (&[], 403),
    ] {
        let mut ask = bob.fetch(Method::GET, "/oauth2/auth");
        for (name, value) in headers {
            ask = ask.header(name, value);
        }
        assert_eq!(ask.send().await.status.as_u16(), expected, "{headers:?}");
    }
}
