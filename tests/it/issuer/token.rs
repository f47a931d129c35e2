//! The token endpoint, and what tokens open.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Method, StatusCode};
use serde_json::json;

use super::{
    BACK, MCP, VERIFIER, agree, authorize, call, challenge, client, code, consent_of, decide,
    error, home, home_with, parameter, post, post_with, redeem, register, renew, tokens, tokens_of,
};

#[tokio::test]
async fn t40_t64_m11_a_token_opens_its_resource_and_the_app_never_sees_it() {
    let home = home().await;
    let house = &home.house;
    let client = client(house).await;
    let browser = house.browser();
    let person = browser.sign_in("/").await.seen();
    let back = agree(&browser, house, &client).await;
    assert_eq!(
        parameter(&back, "iss"),
        Some(house.public_url.clone()),
        "M20"
    );
    let reply = redeem(house, &client, &parameter(&back, "code").expect("a code")).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("content-type"), "application/json");
    let answer = reply.json();
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["scope"], "mcp");
    assert!((1..=86_400).contains(&answer["expires_in"].as_u64().expect("an integer")));
    let access = answer["access_token"].as_str().expect("a token");
    let reply = house
        .browser()
        .bare(Method::POST, "/mcp/a?x=y")
        .header("authorization", &format!("Bearer {access}"))
        .header("x-user", "root")
        .header("cookie", "own=1")
        .send()
        .await;
    let seen = reply.seen();
    for name in ["x-user", "x-user-id", "x-user-email"] {
        assert_eq!(seen.header(name), person.header(name), "{name}");
    }
    assert_eq!(seen.header("authorization"), None);
    assert!(!reply.sets_session());
    // No cookie of a session speaks there: any page could send it along.
    let with_cookie = browser.fetch(Method::POST, "/mcp").send().await;
    assert_eq!(with_cookie.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn m10_a_token_is_for_one_resource() {
    let tables = "[issuer]\n[[routes]]\npath = \"/mcp/**\"\nmcp = true\n[[routes]]\npath = \"/mcp-b/**\"\nmcp = true\n\
        [[routes]]\npath = \"/api/**\"\ntokens = true\n[[routes]]\npath = \"/open/**\"\naccess = \"public\"\n";
    let home = home_with(tables, |plan| plan).await;
    let house = &home.house;
    let tokens = tokens(house).await;
    assert_eq!(
        call(house, &tokens.access, "/mcp").await.status,
        StatusCode::OK
    );
    for path in [
        "/mcp-b",
        "/api/x",
        "/",
        "/mcp-b/mcp",
        "/oauth2/account",
        "/oauth2/userinfo",
        "/oauth2/account/grants",
        "/oauth2/account/tokens",
    ] {
        let reply = call(house, &tokens.access, path).await;
        assert!(
            matches!(reply.status.as_u16(), 401 | 404 | 405),
            "{path}: {}",
            reply.status
        );
    }
    // By a public route everybody passes, and the token does not.
    let seen = call(house, &tokens.access, "/open/x").await.seen();
    assert_eq!(seen.header("authorization"), None);
    let seen = call(house, &tokens.refresh, "/open/x").await.seen();
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(
        call(house, &tokens.refresh, "/mcp").await.status,
        StatusCode::UNAUTHORIZED
    );
    // With several resources, who names none gets nothing.
    let browser = house.browser();
    browser.sign_in("/").await;
    let address = authorize(house, &tokens.client, &[("resource", "")]);
    let back = browser.get(&address).await.location();
    assert_eq!(parameter(&back, "error").as_deref(), Some("invalid_target"));
}

#[tokio::test]
async fn t41_t45_a_code_is_good_once() {
    let home = home().await;
    let house = &home.house;
    let client = client(house).await;
    let first = code(house, &client).await;
    let tokens = tokens_of(&client, &redeem(house, &client, &first).await);
    assert_eq!(
        call(house, &tokens.access, "/mcp").await.status,
        StatusCode::OK
    );
    // Who has only seen the code ends nothing.
    let (other, wrong) = (super::client(house).await, "w".repeat(43));
    for (client, verifier) in [(&client, &*wrong), (&other, VERIFIER)] {
        let fields = [
            ("grant_type", "authorization_code"),
            ("client_id", &**client),
            ("code", &*first),
            ("redirect_uri", BACK),
            ("code_verifier", verifier),
        ];
        let reply = post(house, "/oauth2/token", &fields).await;
        assert_eq!(error(&reply), "invalid_grant");
        assert_eq!(
            call(house, &tokens.access, "/mcp").await.status,
            StatusCode::OK
        );
    }
    let again = redeem(house, &client, &first).await;
    assert_eq!(
        (again.status, error(&again).as_str()),
        (StatusCode::BAD_REQUEST, "invalid_grant")
    );
    assert_eq!(
        call(house, &tokens.access, "/mcp").await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        error(&renew(house, &client, &tokens.refresh).await),
        "invalid_grant"
    );

    let second = code(house, &client).await;
    let all = futures_util::future::join_all((0..8).map(|_| redeem(house, &client, &second))).await;
    let good = all
        .iter()
        .filter(|reply| reply.status == StatusCode::OK)
        .count();
    assert!(good <= 1, "{good}");
}

#[tokio::test]
async fn t42_m4_m5_a_code_is_bound_to_all_that_it_was_asked_with() {
    let home = home().await;
    let house = &home.house;
    let (client, other) = (client(house).await, client(house).await);
    let code = code(house, &client).await;
    let wrong = "x".repeat(43);
    let good = [
        ("grant_type", "authorization_code"),
        ("client_id", &*client),
        ("code", &*code),
        ("redirect_uri", BACK),
        ("code_verifier", VERIFIER),
    ];
    for (name, value, expected) in [
        ("code_verifier", &*wrong, "invalid_grant"),
        ("code_verifier", "short", "invalid_grant"),
        ("code_verifier", "", "invalid_request"),
        (
            "redirect_uri",
            "http://127.0.0.1:33418/other",
            "invalid_grant",
        ),
        (
            "redirect_uri",
            "http://127.0.0.1:4/callback",
            "invalid_grant",
        ),
        ("redirect_uri", "", "invalid_request"),
        ("code", "", "invalid_request"),
        ("code", "sgc_x", "invalid_grant"),
        ("client_id", &*other, "invalid_grant"),
        ("client_id", "nobody", "invalid_client"),
        ("client_id", "", "invalid_client"),
        ("resource", "https://other.example/", "invalid_target"),
    ] {
        let mut fields: Vec<_> = good
            .iter()
            .copied()
            .filter(|(known, _)| *known != name)
            .collect();
        if !value.is_empty() {
            fields.push((name, value));
        }
        let reply = post(house, "/oauth2/token", &fields).await;
        assert_eq!(error(&reply), expected, "{name}={value}: {}", reply.text());
        let status = if expected == "invalid_client" {
            401
        } else {
            400
        };
        assert_eq!(reply.status.as_u16(), status);
    }
    // None of it has spent the code.
    assert_eq!(
        post(house, "/oauth2/token", &good).await.status,
        StatusCode::OK
    );
    assert_eq!(challenge(VERIFIER), super::CHALLENGE);
}

#[tokio::test]
async fn t44_m19_only_one_plain_form_is_read() {
    let home = home().await;
    let house = &home.house;
    let client = client(house).await;
    let code = code(house, &client).await;
    let form = format!(
        "grant_type=authorization_code&client_id={client}&code={code}&redirect_uri=http%3A%2F%2F127.0.0.1%3A33418%2Fcallback&code_verifier={VERIFIER}"
    );
    let send = async |method: Method, target: &str, kinds: &[&str], body: String| {
        let browser = house.browser();
        let mut ask = browser.bare(method, target);
        for kind in kinds {
            ask = ask.header("content-type", kind);
        }
        ask.body(body).send().await
    };
    let plain = "application/x-www-form-urlencoded";
    let in_query = format!("/oauth2/token?{form}");
    let twice = format!("{form}&code={code}");
    for (method, target, kinds, body) in [
        (
            Method::POST,
            "/oauth2/token",
            &["application/json"][..],
            "{}".to_owned(),
        ),
        (Method::POST, "/oauth2/token", &[], form.clone()),
        (
            Method::POST,
            "/oauth2/token",
            &["application/json, application/x-www-form-urlencoded"],
            form.clone(),
        ),
        (
            Method::POST,
            "/oauth2/token",
            &[plain, "application/json"],
            form.clone(),
        ),
        (Method::POST, &*in_query, &[plain], String::new()),
        (Method::GET, &*in_query, &[], String::new()),
        (Method::POST, "/oauth2/token", &[plain], twice),
        (
            Method::POST,
            "/oauth2/token",
            &[plain],
            format!("grant_type=password&client_id={client}&username=a&password=b"),
        ),
        (
            Method::POST,
            "/oauth2/token",
            &[plain],
            format!("grant_type=client_credentials&client_id={client}"),
        ),
        (Method::POST, "/oauth2/token", &[plain], "x".repeat(20_000)),
    ] {
        let reply = send(method, target, kinds, body).await;
        assert!(
            reply.status.is_client_error(),
            "{target} {kinds:?}: {}",
            reply.status
        );
    }
    let reply = send(
        Method::POST,
        "/oauth2/token",
        &["application/x-www-form-urlencoded; charset=utf-8"],
        form,
    )
    .await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
}

#[tokio::test]
async fn m18_a_client_proves_itself_in_its_own_way() {
    let home = home().await;
    let house = &home.house;
    let wanted =
        json!({"redirect_uris": [BACK], "token_endpoint_auth_method": "client_secret_basic"});
    let answer = register(house, &wanted).await.json();
    let (id, secret) = (
        answer["client_id"].as_str().expect("an id"),
        answer["client_secret"].as_str().expect("a secret"),
    );
    let basic = |secret: &str| format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    let code = code(house, id).await;
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", &*code),
        ("redirect_uri", BACK),
        ("code_verifier", VERIFIER),
    ];
    let wrong = post_with(
        house,
        "/oauth2/token",
        &fields,
        &[("authorization", &basic("wrong"))],
    )
    .await;
    assert_eq!(
        (wrong.status, error(&wrong).as_str()),
        (StatusCode::UNAUTHORIZED, "invalid_client")
    );
    assert!(wrong.header("www-authenticate").starts_with("Basic "));
    let with = |more: &[(&'static str, &str)]| {
        let all = fields.iter().chain(more);
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<Vec<_>>()
    };
    for more in [
        with(&[("client_id", id)]),
        with(&[("client_id", id), ("client_secret", secret)]),
    ] {
        let more: Vec<_> = more
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            error(&post(house, "/oauth2/token", &more).await),
            "invalid_client"
        );
    }
    let good = post_with(
        house,
        "/oauth2/token",
        &fields,
        &[("authorization", &basic(secret))],
    )
    .await;
    assert_eq!(good.status, StatusCode::OK, "{}", good.text());
}

#[tokio::test]
async fn t61_introspection_is_for_clients_of_the_configuration() {
    let hash = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let tables = format!(
        "{MCP}[[issuer.clients]]\nid = \"rs\"\nsecret_hash = [\"{hash}\"]\n\
         [[issuer.clients]]\nid = \"app\"\nsecret_hash = [\"{hash}\"]\nredirect_uris = [\"{BACK}\"]\n\
         [[issuer.clients]]\nid = \"both\"\nsecret_hash = [\"{hash}\"]\nredirect_uris = [\"{BACK}\"]\nintrospect = true\n\
         [[issuer.clients]]\nid = \"neither\"\nsecret_hash = [\"{hash}\"]\nintrospect = false\n"
    );
    let home = home_with(&tables, |plan| plan).await;
    let house = &home.house;
    let tokens = tokens(house).await;
    let fields = [("token", &*tokens.access)];
    assert_eq!(
        post(house, "/oauth2/introspect", &fields).await.status,
        StatusCode::UNAUTHORIZED
    );
    let public = [("token", &*tokens.access), ("client_id", &*tokens.client)];
    assert_eq!(
        post(house, "/oauth2/introspect", &public).await.status,
        StatusCode::UNAUTHORIZED
    );
    let ask_as = async |id: &str, token: &str| {
        let basic = format!("Basic {}", STANDARD.encode(format!("{id}:secret")));
        post_with(
            house,
            "/oauth2/introspect",
            &[("token", token)],
            &[("authorization", &basic)],
        )
        .await
        .json()
    };
    let ask = async |token: &str| ask_as("rs", token).await;
    let answer = ask(&tokens.access).await;
    assert_eq!(answer["active"], true);
    assert_eq!(answer["sub"], "script:ada-1815");
    assert_eq!(answer["aud"], house.url("/mcp"));
    assert_eq!(answer["scope"], "mcp");
    for token in ["x", "sga_x", &tokens.refresh] {
        assert_eq!(ask(token).await, json!({"active": false}));
    }
    // What leaks into an app tells it nothing (RFC 7662 §4); its own it may ask about.
    for (id, active) in [("app", false), ("both", true), ("neither", false)] {
        assert_eq!(ask_as(id, &tokens.access).await["active"], active, "{id}");
    }
    let code = code(house, "app").await;
    let basic = format!("Basic {}", STANDARD.encode("app:secret"));
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", &*code),
        ("redirect_uri", BACK),
        ("code_verifier", VERIFIER),
    ];
    let headers = [("authorization", &*basic)];
    let reply = post_with(house, "/oauth2/token", &fields, &headers).await;
    let own = tokens_of("app", &reply);
    assert_eq!(ask_as("app", &own.access).await["active"], true);
    assert_eq!(ask(&own.access).await["active"], true);
}

/// Clients of the first revisions with a login (2025-03-26, 2025-06-18) know the server's metadata at the origin and no `resource`; they keep a
/// session by a header, and have streams.
#[tokio::test]
async fn m23_earlier_clients_log_in_and_keep_their_session() {
    let home = home_with(&MCP.replace("/mcp", "/_"), |plan| plan).await;
    let house = &home.house;
    let browser = house.browser();
    let path = "/.well-known/oauth-authorization-server";
    let found = browser
        .bare(Method::GET, path)
        .header("mcp-protocol-version", "2025-03-26");
    let found = found.send().await.json();
    let at = |name: &str| found[name].as_str().expect("an address").to_owned();
    let wanted = json!({
        "client_name": "Earlier", "redirect_uris": [BACK], "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"], "token_endpoint_auth_method": "none",
    });
    let ask = browser.bare(Method::POST, &at("registration_endpoint"));
    let ask = ask.header("content-type", "application/json");
    let client = ask.body(wanted.to_string()).send().await.json();
    let client = client["client_id"].as_str().expect("an id").to_owned();
    let changes = [("resource", ""), ("scope", ""), ("state", "")];
    let page = browser.follow(&authorize(house, &client, &changes)).await;
    let back = decide(&browser, &consent_of(&page), "allow").await;
    let code = parameter(&back.location(), "code").expect("a code");
    let tokens = tokens_of(&client, &redeem(house, &client, &code).await);
    let tokens = tokens_of(&client, &renew(house, &client, &tokens.refresh).await);

    let authorization = format!("Bearer {}", tokens.access);
    for method in [Method::POST, Method::GET, Method::DELETE] {
        let mut ask = browser
            .bare(method.clone(), "/_/x")
            .header("authorization", &authorization);
        for (name, value) in [
            ("accept", "application/json, text/event-stream"),
            ("mcp-session-id", "a-session"),
            ("mcp-protocol-version", "2025-06-18"),
            ("last-event-id", "7"),
        ] {
            ask = ask.header(name, value);
        }
        let seen = ask.send().await.seen();
        assert_eq!(seen.method, method.as_str());
        for (name, value) in [("mcp-session-id", "a-session"), ("last-event-id", "7")] {
            assert_eq!(seen.header(name), Some(value), "{method} {name}");
        }
        assert_eq!(seen.header("authorization"), None);
    }
    let stream = browser
        .bare(Method::GET, "/_/events")
        .header("authorization", &authorization)
        .header("accept", "text/event-stream");
    let stream = stream.begin().await;
    assert_eq!(stream.status(), StatusCode::OK);
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
}
