//! Whom an authorization request leads where.

use http::{Method, StatusCode};

use super::{
    BACK, MCP, agree, authorize, client, consent_of, decide, home, home_with, parameter, redeem,
    redeem_at, tokens_of,
};

#[tokio::test]
async fn t20_t21_nobody_is_sent_to_an_unproven_address() {
    let home = home().await;
    let house = &home.house;
    let client = client(house).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let changed = format!("{client}A");
    for id in [
        "",
        "nobody",
        "sgi_AAAA",
        &changed,
        "https://",
        "javascript:x",
    ] {
        let reply = browser
            .get(&authorize(house, id, &[("client_id", id)]))
            .await;
        assert_eq!(
            reply.status,
            StatusCode::BAD_REQUEST,
            "{id}: {}",
            reply.text()
        );
        assert!(reply.headers.get("location").is_none());
    }
    for uri in [
        "",
        "https://evil.example/callback",
        "http://127.0.0.1:33418/callback/",
        "http://127.0.0.1:33418/callback?x",
        "http://127.0.0.1:33418/Callback",
        "http://127.0.0.1:33418/callback#x",
        "http://127.0.0.1:33418@evil.example/callback",
        "http://127.0.0.1.evil.example:33418/callback",
        "https://127.0.0.1:33418/callback",
        "http://localhost:33418/callback",
        "http://127.0.0.1:33418/a/../callback",
        "javascript:alert(1)",
        "//127.0.0.1:33418/callback",
        "http://[::1]:33418/callback",
        "http://127.0.0.1:33418\\callback",
    ] {
        let reply = browser
            .get(&authorize(house, &client, &[("redirect_uri", uri)]))
            .await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{uri}");
        assert!(reply.headers.get("location").is_none());
    }
    for name in ["client_id", "redirect_uri"] {
        let twice = format!(
            "{}&{name}=https%3A%2F%2Fevil.example%2F",
            authorize(house, &client, &[])
        );
        assert_eq!(
            browser.get(&twice).await.status,
            StatusCode::BAD_REQUEST,
            "{name}"
        );
    }
}

#[tokio::test]
async fn t23_t24_t25_t26_what_is_wrong_beside_is_told_to_the_client() {
    let home = home().await;
    let house = &home.house;
    let client = client(house).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let told = async |address: &str| {
        let reply = browser.get(address).await;
        assert_eq!(
            reply.status,
            StatusCode::FOUND,
            "{address}: {}",
            reply.text()
        );
        let back = reply.location();
        assert!(back.as_str().starts_with(BACK), "{back}");
        assert_eq!(parameter(&back, "state").as_deref(), Some("a state"));
        assert_eq!(
            parameter(&back, "iss"),
            Some(house.public_url.clone()),
            "M20"
        );
        assert_eq!(parameter(&back, "code"), None);
        parameter(&back, "error").unwrap_or_default()
    };
    let (other, long) = (house.url("/other"), "n".repeat(1_025));
    let fragment = format!("{}#x", house.url("/mcp"));
    for (name, value, expected) in [
        ("code_challenge", "", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge_method", "", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
        ("resource", "https://other.example/mcp", "invalid_target"),
        ("resource", &*other, "invalid_target"),
        ("resource", &*fragment, "invalid_target"),
        ("prompt", "none", "interaction_required"),
        ("scope", "a\"b", "invalid_scope"),
        ("nonce", &*long, "invalid_request"),
    ] {
        assert_eq!(
            told(&authorize(house, &client, &[(name, value)])).await,
            expected,
            "{name}={value}"
        );
    }
    let twice = |name: &str| format!("{}&{name}=x", authorize(house, &client, &[]));
    assert_eq!(told(&twice("scope")).await, "invalid_request");
    assert_eq!(told(&twice("resource")).await, "invalid_target");
}

/// Anybody may register an address: the gate's name does not lead there for strangers (RFC 9700 §4.11.2).
#[tokio::test]
async fn nobody_is_led_to_a_registered_address_before_they_have_signed_in() {
    let tables = format!(
        "{MCP}[[issuer.clients]]\nid = \"cli\"\nredirect_uris = [\"http://127.0.0.1/callback\"]\n"
    );
    let home = home_with(&tables, |plan| plan).await;
    let house = &home.house;
    let client = client(house).await;
    for (name, value, expected) in [
        ("response_type", "token", "unsupported_response_type"),
        ("code_challenge", "", "invalid_request"),
        ("scope", "a\"b", "invalid_scope"),
        ("resource", "https://other.example/", "invalid_target"),
    ] {
        let address = authorize(house, &client, &[(name, value)]);
        let browser = house.browser();
        let reply = browser.get(&address).await;
        assert_eq!(reply.status, StatusCode::FOUND, "{name}: {}", reply.text());
        let there = reply.location();
        assert!(there.as_str().starts_with(&house.public_url), "{there}");
        // After the login the client is told.
        browser.sign_in("/").await;
        let back = browser.get(&address).await.location();
        assert!(back.as_str().starts_with(BACK), "{back}");
        assert_eq!(parameter(&back, "error").as_deref(), Some(expected));
        // One that the operator has named is told at once.
        let known = authorize(house, "cli", &[(name, value)]);
        let back = house.browser().get(&known).await.location();
        assert_eq!(parameter(&back, "error").as_deref(), Some(expected));
    }
    let silent = [("prompt", "none")];
    let reply = house
        .browser()
        .get(&authorize(house, &client, &silent))
        .await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.text());
    assert!(reply.headers.get("location").is_none());
    let known = house.browser().get(&authorize(house, "cli", &silent)).await;
    assert_eq!(
        parameter(&known.location(), "error").as_deref(),
        Some("login_required")
    );
}

#[tokio::test]
async fn t24_m9_spellings_of_the_resource_and_none_at_all_are_taken() {
    let home = home().await;
    let house = &home.house;
    let client = client(house).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let slash = house.url("/mcp/");
    let upper = house.url("/mcp").replace("http", "HTTP");
    for (resource, scope, granted) in [
        ("", "mcp", "mcp"),
        (&*slash, "", "mcp"),
        (&*upper, "email profile", "mcp"),
        (&*upper, "openid email profile", "mcp openid email profile"),
    ] {
        let page = browser
            .get(&authorize(
                house,
                &client,
                &[("resource", resource), ("scope", scope)],
            ))
            .await;
        let back = decide(&browser, &consent_of(&page), "allow")
            .await
            .location();
        let reply = redeem(house, &client, &parameter(&back, "code").expect("a code")).await;
        assert_eq!(reply.json()["scope"], granted);
        let tokens = tokens_of(&client, &reply);
        assert_eq!(
            super::call(house, &tokens.access, "/mcp").await.status,
            StatusCode::OK
        );
    }
}

#[tokio::test]
async fn m15_a_loopback_client_may_listen_anywhere() {
    let home = home().await;
    let house = &home.house;
    let client = client(house).await;
    let browser = house.browser();
    let there = "http://127.0.0.1:51234/callback";
    let page = browser
        .follow(&authorize(house, &client, &[("redirect_uri", there)]))
        .await;
    let back = decide(&browser, &consent_of(&page), "allow")
        .await
        .location();
    assert!(back.as_str().starts_with(there), "{back}");
}

#[tokio::test]
async fn whoever_may_not_pass_there_gets_no_code() {
    let tables = format!("{MCP}allow = {{ groups = [\"nobody-has-it\"] }}\n");
    let home = home_with(&tables, |plan| plan).await;
    let house = &home.house;
    let client = client(house).await;
    let reply = house
        .browser()
        .follow(&authorize(house, &client, &[]))
        .await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN, "{}", reply.text());
}

#[tokio::test]
async fn a_login_leads_back_and_a_program_is_led_nowhere() {
    let home = home().await;
    let house = &home.house;
    let client = client(house).await;
    let address = authorize(house, &client, &[]);
    let program = house.browser().bare(Method::GET, &address).send().await;
    assert_eq!(program.status, StatusCode::UNAUTHORIZED);
    let browser = house.browser();
    let page = browser.follow(&address).await;
    assert!(page.text().contains("Probe"), "{}", page.text());
    assert_eq!(page.url.path(), "/oauth2/authorize");
    // Nor does a fresh login loop.
    let again = browser
        .follow(&authorize(house, &client, &[("prompt", "login")]))
        .await;
    consent_of(&again);
    // Nobody authenticated in the future: each asks the provider anew.
    let begun = browser
        .get(&authorize(house, &client, &[("max_age", "1")]))
        .await;
    let there = begun.location();
    assert!(
        there.path().ends_with("/sign_in") && there.as_str().contains("max_age=1"),
        "{there}"
    );
    agree(&browser, house, &client).await;
}

#[tokio::test]
async fn a_client_of_the_configuration_is_asked_for_nothing_where_it_is_first_party() {
    const HERE: &str = "https://app.example/callback";
    let tables = format!(
        "{MCP}[[issuer.clients]]\nid = \"app\"\nname = \"Our app\"\nredirect_uris = [\"{HERE}\"]\nfirst_party = true\n"
    );
    let home = home_with(&tables, |plan| plan).await;
    let house = &home.house;
    let browser = house.browser();
    browser.sign_in("/").await;
    let address = authorize(house, "app", &[("redirect_uri", HERE)]);
    let back = browser.get(&address).await.location();
    let code = parameter(&back, "code").unwrap_or_else(|| panic!("no code: {back}"));
    let tokens = tokens_of("app", &redeem_at(house, "app", &code, HERE).await);
    let seen = super::call(house, &tokens.access, "/mcp").await.seen();
    assert_eq!(seen.header("x-user"), Some("ada"));
    let silent = [("redirect_uri", HERE), ("prompt", "none")];
    let back = browser.get(&authorize(house, "app", &silent)).await;
    assert!(parameter(&back.location(), "code").is_some());
}

#[tokio::test]
async fn another_account_is_offered_where_a_client_asks_for_that_and_once() {
    let home = home().await;
    let house = &home.house;
    let client = client(house).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let asked = authorize(house, &client, &[("prompt", "select_account")]);
    let offered = browser.get(&asked).await.location();
    assert!(offered.path().ends_with("/sign_in"), "{offered}");
    assert_eq!(parameter(&offered, "switch").as_deref(), Some("1"));
    let return_to = parameter(&offered, "rd").expect("where it leads back");
    consent_of(&browser.get(&return_to).await);
    // What else is asked for stays so.
    let asked = authorize(house, &client, &[("prompt", "login select_account")]);
    let offered = browser.get(&asked).await.location();
    let return_to = parameter(&offered, "rd").expect("where it leads back");
    assert!(
        return_to.contains("prompt=login") && !return_to.contains("select_account"),
        "{return_to}"
    );
}

/// Any program on the machine may wait there, by the client's name (RFC 8252 §8.6).
#[tokio::test]
async fn a_first_party_client_that_any_program_may_be_is_asked_about() {
    let hash = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let uris = "redirect_uris = [\"http://127.0.0.1/callback\", \"com.example.cli:/callback\"]\nfirst_party = true\n";
    let tables = format!(
        "{MCP}[[issuer.clients]]\nid = \"cli\"\nname = \"Our CLI\"\n{uris}\
         [[issuer.clients]]\nid = \"known\"\nsecret_hash = \"{hash}\"\n{uris}"
    );
    let home = home_with(&tables, |plan| plan).await;
    let house = &home.house;
    let browser = house.browser();
    browser.sign_in("/").await;
    for uri in [BACK, "com.example.cli:/callback"] {
        let page = browser
            .get(&authorize(house, "cli", &[("redirect_uri", uri)]))
            .await;
        assert!(page.text().contains("Our CLI"), "{}", page.text());
        let back = decide(&browser, &consent_of(&page), "allow").await;
        assert!(parameter(&back.location(), "code").is_some(), "{uri}");
        // A page of an attacker's that opens the address gets nothing by itself.
        let silent = [("redirect_uri", uri), ("prompt", "none")];
        let back = browser.get(&authorize(house, "cli", &silent)).await;
        let why = parameter(&back.location(), "error");
        assert_eq!(why.as_deref(), Some("interaction_required"), "{uri}");
        // Nobody gets tokens for this code without the secret.
        let back = browser
            .get(&authorize(house, "known", &[("redirect_uri", uri)]))
            .await;
        let code = parameter(&back.location(), "code").expect("a code");
        let reply = redeem_at(house, "known", &code, uri).await;
        assert_eq!(super::error(&reply), "invalid_client", "{}", reply.text());
    }
}
