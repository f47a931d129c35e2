//! Requests that are pushed ahead (RFC 9126).

use http::{Method, StatusCode};

use super::{
    CHALLENGE, MCP, authorize, client, consent_of, decide, error,
    openid::{HERE, app, login, with_app, without_logout},
    parameter, post, redeem_at, text,
};

fn pushed<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![
        ("client_id", "app"),
        ("response_type", "code"),
        ("redirect_uri", HERE),
        ("state", "pushed"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("scope", "openid"),
    ];
    fields.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    fields.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    fields
}

fn asks(fields: &[(&str, &str)]) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    format!("/oauth2/authorize?{query}")
}

#[tokio::test]
async fn a_request_that_was_pushed_counts_and_nothing_beside_it() {
    let home = with_app().await;
    let house = &home.house;
    let reply = post(house, "/oauth2/par", &pushed(&[])).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text());
    assert_eq!(reply.header("cache-control"), "no-store");
    assert!((5..=600).contains(&reply.json()["expires_in"].as_u64().expect("a number")));
    let uri = text(&reply, "request_uri");
    assert!(
        uri.starts_with("urn:ietf:params:oauth:request_uri:"),
        "{uri}"
    );
    let address = asks(&[
        ("client_id", "app"),
        ("request_uri", &*uri),
        ("redirect_uri", "https://evil.example/"),
        ("state", "another"),
        ("scope", "openid email"),
    ]);
    // By way of a login, which leads back to the same address.
    let browser = house.browser();
    let mut reply = browser.get(&address).await;
    while !reply.location().as_str().starts_with(HERE) {
        reply = browser.get(reply.location().as_str()).await;
    }
    let back = reply.location();
    assert_eq!(parameter(&back, "state").as_deref(), Some("pushed"));
    assert_eq!(parameter(&back, "iss"), Some(house.public_url.clone()));
    let code = parameter(&back, "code").expect("a code");
    let tokens = redeem_at(house, "app", &code, HERE).await;
    assert_eq!(tokens.json()["scope"], "openid");
    // It is of one client, and of nobody who makes one up.
    let fresh = text(
        &post(house, "/oauth2/par", &pushed(&[])).await,
        "request_uri",
    );
    let other = client(house).await;
    let made_up = format!("{fresh}A");
    for (client, uri) in [(&*other, &*fresh), ("app", &made_up), ("app", "urn:x")] {
        let reply = browser
            .get(&asks(&[("client_id", client), ("request_uri", uri)]))
            .await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{client} {uri}");
    }
    // Nothing else was wrong with it.
    let reply = browser
        .get(&asks(&[("client_id", "app"), ("request_uri", &*fresh)]))
        .await;
    assert!(parameter(&reply.location(), "code").is_some());
}

#[tokio::test]
async fn a_bad_request_is_refused_where_it_is_pushed() {
    let home = with_app().await;
    let house = &home.house;
    let long = "x".repeat(4_097);
    for (name, value, expected) in [
        ("client_id", "nobody", "invalid_client"),
        ("client_id", "", "invalid_client"),
        ("redirect_uri", "https://evil.example/", "invalid_request"),
        ("redirect_uri", "", "invalid_request"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
        ("request_uri", "urn:x", "invalid_request"),
        ("request", "eyJ", "invalid_request"),
        ("state", &*long, "invalid_request"),
    ] {
        let reply = post(house, "/oauth2/par", &pushed(&[(name, value)])).await;
        assert_eq!(error(&reply), expected, "{name}={value}: {}", reply.text());
    }
}

#[tokio::test]
async fn a_pushed_request_is_answered_once() {
    let tables = format!(
        "{MCP}{}{}",
        app("app", "first_party = true"),
        app("other", "")
    );
    let home = without_logout(&tables).await;
    let house = &home.house;
    let browser = house.browser();
    browser.sign_in("/").await;
    let pushed_by = async |client: &str| {
        let reply = post(house, "/oauth2/par", &pushed(&[("client_id", client)])).await;
        let uri = text(&reply, "request_uri");
        asks(&[("client_id", client), ("request_uri", &*uri)])
    };
    let address = pushed_by("app").await;
    let first = browser.get(&address).await;
    assert!(parameter(&first.location(), "code").is_some());
    let again = browser.get(&address).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST, "{}", again.text());
    // Who reloads the page of consent has not answered.
    let address = pushed_by("other").await;
    let pages = [browser.get(&address).await, browser.get(&address).await];
    let [first, second] = pages.map(|page| consent_of(&page));
    let answer = decide(&browser, &first, "allow").await.location();
    assert!(parameter(&answer, "code").is_some(), "{answer}");
    for decision in ["allow", "deny"] {
        let late = decide(&browser, &second, decision).await;
        assert_eq!(late.status, StatusCode::BAD_REQUEST, "{}", late.text());
    }
    // An error is an answer, too.
    let silent = pushed(&[("client_id", "other"), ("prompt", "none")]);
    let uri = text(&post(house, "/oauth2/par", &silent).await, "request_uri");
    let address = asks(&[("client_id", "other"), ("request_uri", &*uri)]);
    let told = browser.get(&address).await.location();
    assert_eq!(
        parameter(&told, "error").as_deref(),
        Some("interaction_required")
    );
    let again = browser.get(&address).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST, "{}", again.text());
}

#[tokio::test]
async fn requests_may_have_to_be_pushed() {
    const LINE: &str = "require_pushed_authorization_requests = true";
    let one = format!(
        "{MCP}{}{}",
        app("app", &format!("first_party = true\n{LINE}")),
        app("other", "")
    );
    let all = format!(
        "{}{}",
        MCP.replace("[issuer]\n", &format!("[issuer]\n{LINE}\n")),
        app("app", "first_party = true")
    );
    for (tables, for_all) in [(one, false), (all, true)] {
        let home = without_logout(&tables).await;
        let house = &home.house;
        let browser = house.browser();
        browser.sign_in("/").await;
        let refused = browser.get(&login(house, &[])).await.location();
        assert_eq!(
            parameter(&refused, "error").as_deref(),
            Some("invalid_request")
        );
        let uri = text(
            &post(house, "/oauth2/par", &pushed(&[])).await,
            "request_uri",
        );
        let address = asks(&[("client_id", "app"), ("request_uri", &*uri)]);
        let answer = browser.get(&address).await.location();
        assert!(parameter(&answer, "code").is_some(), "{answer}");
        let path = "/.well-known/oauth-authorization-server";
        let metadata = house.browser().bare(Method::GET, path).send().await.json();
        assert_eq!(metadata["require_pushed_authorization_requests"], for_all);
        if !for_all {
            let resource = house.url("/mcp");
            let changes = [("resource", &*resource), ("scope", "mcp")];
            let page = browser.get(&authorize(house, "other", &changes)).await;
            assert_eq!(page.status, StatusCode::OK, "{}", page.text());
        }
    }
}
