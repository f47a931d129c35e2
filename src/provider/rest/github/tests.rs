use serde_json::json;

use super::{
    super::testing::{
        answer as script, anyone, build, config, identity, last_form, parameters, redeem, refused,
        rule,
    },
    *,
};
use crate::{
    access::Allow,
    provider::{
        catalog::GITHUB,
        scripted::{Answer, Scripted},
        settings::ProviderSettings,
    },
};

async fn server() -> Scripted {
    let server = Scripted::start().await;
    let form =
        Answer::text("access_token=gho_1&scope=read%3Auser%2Cuser%3Aemail&token_type=bearer")
            .header("content-type", "application/x-www-form-urlencoded");
    server.answer("/login/oauth/access_token", form);
    let user = json!({ "login": "Octo", "id": 583_231, "name": null, "email": "public@profile.example",
        "avatar_url": "https://avatars.example/1" });
    script(&server, "/api/v3/user", &user);
    let emails = json!([
        { "email": "first@x.example", "primary": false, "verified": true },
        { "email": "boss@corp.example", "primary": false, "verified": false },
        { "email": "octo@corp.example", "primary": true, "verified": true, "visibility": "private" },
    ]);
    script(&server, "/api/v3/user/emails", &emails);
    let org = |login: &str, state: &str| json!({ "state": state, "role": "member", "organization": { "login": login, "id": 7 } });
    let orgs = json!([org("Acme", "active"), org("invited", "pending"), { "organization": { "login": "odd" } }]);
    script(&server, "/api/v3/user/memberships/orgs", &orgs);
    let first =
        json!([{ "id": 41, "slug": "devs", "name": "Devs", "organization": { "login": "Acme" } }]);
    let second =
        json!([{ "id": 42, "slug": "ops", "name": "Ops", "organization": { "login": "Acme" } }]);
    let link = format!("<{}>; rel=\"next\"", server.url("/api/v3/user/teams/2"));
    server.answer(
        "/api/v3/user/teams",
        Answer::json(&first.to_string()).header("link", &link),
    );
    script(&server, "/api/v3/user/teams/2", &second);
    server
}

#[tokio::test]
async fn somebody_signs_in_with_the_address_that_is_primary_and_verified() {
    let server = server().await;
    let identity = identity(&anyone(&GITHUB, &server)).await;
    assert_eq!(identity.subject.as_str(), "583231");
    assert_eq!(identity.login.as_deref(), Some("Octo"));
    assert_eq!(identity.email.as_deref(), Some("octo@corp.example"));
    assert_eq!(identity.name, None);
    assert_eq!(
        identity.picture.as_deref(),
        Some("https://avatars.example/1")
    );
    for path in ["/api/v3/user", "/api/v3/user/emails"] {
        let seen = server.requests(path).remove(0);
        assert_eq!(seen.headers["accept"], "application/vnd.github+json");
        assert_eq!(seen.headers["x-github-api-version"], "2022-11-28");
        assert_eq!(seen.headers["authorization"], "Bearer gho_1");
        assert!(
            seen.headers["user-agent"]
                .to_str()
                .unwrap()
                .starts_with("sidegate")
        );
    }
    let token = server.requests("/login/oauth/access_token").remove(0);
    assert_eq!(token.headers["accept"], "application/json");
    assert_eq!(
        last_form(&server, "/login/oauth/access_token")["code_verifier"],
        "v"
    );
    // Nobody asked for these.
    assert!(server.requests("/api/v3/user/teams").is_empty());
    assert!(server.requests("/api/v3/user/memberships/orgs").is_empty());
}

#[tokio::test]
async fn no_other_address_counts() {
    let server = server().await;
    for emails in [
        json!([{ "email": "a@x.example", "primary": true, "verified": false }]),
        json!([{ "email": "a@x.example", "primary": false, "verified": true }]),
        json!([{ "email": "a@x.example", "primary": "true", "verified": true }]),
        json!([]),
    ] {
        script(&server, "/api/v3/user/emails", &emails);
        assert_eq!(
            identity(&anyone(&GITHUB, &server)).await.email,
            None,
            "{emails}"
        );
    }
    for status in [404, 403] {
        server.answer(
            "/api/v3/user/emails",
            Answer::json("{}").with_status(status),
        );
        assert_eq!(identity(&anyone(&GITHUB, &server)).await.email, None);
        let denied = rule(&GITHUB, &server, "domains", &["profile.example"]).await;
        assert_eq!(denied.as_deref(), Some("domains"));
    }
    // An outage is none of these.
    server.answer("/api/v3/user/emails", Answer::status(502));
    assert!(refused(&anyone(&GITHUB, &server)).await.is_outage());
}

#[tokio::test]
async fn each_list_lets_pass_and_denies() {
    let server = server().await;
    for (key, good, bad) in [
        (
            "orgs",
            vec!["acme"],
            vec!["invited", "odd", "corp", "acme2"],
        ),
        (
            "teams",
            vec!["acme/devs", "acme/ops", "42"],
            vec!["acme/admins", "evil/devs", "devs", "acme", "43"],
        ),
        ("users", vec!["octo"], vec!["583231", "octo2"]),
        (
            "emails",
            vec!["octo@corp.example"],
            vec!["boss@corp.example", "public@profile.example"],
        ),
        (
            "domains",
            vec!["corp.example"],
            vec!["x.example", "profile.example"],
        ),
        ("claims.id", vec!["583231"], vec!["1"]),
    ] {
        for entry in good {
            assert_eq!(
                rule(&GITHUB, &server, key, &["nobody", entry]).await,
                None,
                "{key} {entry}"
            );
        }
        for entry in bad {
            let denied = rule(&GITHUB, &server, key, &[entry]).await;
            assert_eq!(denied.as_deref(), Some(key), "{key} {entry}");
        }
    }
    let request = server.requests("/api/v3/user/memberships/orgs").remove(0);
    assert_eq!(request.query.as_deref(), Some("per_page=100&state=active"));
}

#[tokio::test]
async fn scopes_are_what_the_lists_need() {
    let server = server().await;
    let scope = async |config: &ProviderSettings| {
        parameters(&build(config, &[]), false).await.remove("scope")
    };
    let anyone = config(&GITHUB, &server, Allow::Anyone);
    assert_eq!(
        scope(&anyone).await.as_deref(),
        Some("read:user user:email")
    );
    for key in ["orgs", "teams"] {
        let mut guarded = config(&GITHUB, &server, Allow::for_test(&[(key, &["acme"])]));
        assert_eq!(
            scope(&guarded).await.as_deref(),
            Some("read:user user:email read:org")
        );
        guarded.scopes.insert(0, "read:org".to_owned());
        assert_eq!(
            scope(&guarded).await.as_deref(),
            Some("read:org read:user user:email")
        );
        // A GitHub App has permissions instead.
        guarded.scopes.clear();
        assert_eq!(scope(&guarded).await, None);
    }
    let sent = parameters(&build(&anyone, &[]), true).await;
    assert_eq!(sent["prompt"], "select_account");
    assert_eq!(sent["code_challenge"], "challenge");
}

#[tokio::test]
async fn an_error_with_status_200_is_an_error() {
    let server = server().await;
    let spent = json!({ "error": "bad_verification_code", "error_description": "The code passed is incorrect or expired." });
    script(&server, "/login/oauth/access_token", &spent);
    let error = refused(&anyone(&GITHUB, &server)).await;
    assert!(error.is_invalid_grant() && !error.is_outage(), "{error}");
    assert!(server.requests("/api/v3/user").is_empty());
}

#[tokio::test]
async fn a_403_is_a_limit_or_a_no() {
    let server = server().await;
    let acme = Allow::for_test(&[("orgs", &["acme"])]);
    let provider = build(&config(&GITHUB, &server, acme), &[]);
    for path in [
        "/api/v3/user",
        "/api/v3/user/emails",
        "/api/v3/user/memberships/orgs",
    ] {
        let server = self::server().await;
        let acme = Allow::for_test(&[("orgs", &["acme"])]);
        let provider = build(&config(&GITHUB, &server, acme), &[]);
        let limited = Answer::json("{}")
            .with_status(403)
            .header("x-ratelimit-remaining", "0");
        server.answer(path, limited);
        assert!(refused(&provider).await.is_outage(), "{path}");
    }
    server.answer(
        "/api/v3/user/memberships/orgs",
        Answer::json("{}").with_status(403),
    );
    let error = refused(&provider).await;
    assert!(!error.is_outage());
    assert!(error.to_string().contains("read:org"), "{error}");
    server.answer("/api/v3/user/memberships/orgs", Answer::json("[]"));
    assert!(redeem(&provider).await.is_ok());
}

#[tokio::test]
async fn the_issuer_is_compared_where_it_is_there() {
    let server = server().await;
    let below = format!("{}/login/oauth", server.origin());
    let provider = anyone(&GITHUB, &server);
    assert_eq!(provider.check_issuer(None).await, Ok(()));
    assert_eq!(provider.check_issuer(Some(&below)).await, Ok(()));
    let default = "https://github.com/login/oauth";
    assert_eq!(
        provider.check_issuer(Some(default)).await,
        Err(ProviderError::Issuer)
    );
    let mut github = config(&GITHUB, &server, Allow::Anyone);
    for endpoint in GITHUB.endpoints {
        github
            .endpoints
            .insert(endpoint.key, endpoint.default.unwrap().to_owned());
    }
    let github = build(&github, &[]);
    assert_eq!(github.check_issuer(Some(default)).await, Ok(()));
    for other in [
        "https://github.com/login/oauth/",
        "https://evil.example/login/oauth",
        "",
    ] {
        assert_eq!(
            github.check_issuer(Some(other)).await,
            Err(ProviderError::Issuer)
        );
    }
}
