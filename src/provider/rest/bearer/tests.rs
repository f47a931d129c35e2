use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::super::testing::{NOW, answer as script, build, config};
use crate::{
    access::Allow,
    clock::Timestamp,
    credential::Verified,
    provider::{
        BearerMatch, Call, Provider, ProviderError, Subject, SubjectToken,
        bearer::{BearerSettings, TokenFlaw},
        catalog::{DISCORD, FACEBOOK, FORTY_TWO, GITHUB},
        http::HttpError,
        kind::Kind,
        scripted::{Answer, Scripted},
    },
};

/// One that is asked about tokens, of a client `us`.
fn introspecting(kind: &'static Kind, server: &Scripted) -> Arc<dyn Provider> {
    let mut config = config(kind, server, Allow::Anyone);
    config.bearer = Some(BearerSettings {
        audience: Vec::new(),
        introspect: true,
        ..BearerSettings::for_test()
    });
    build(&config, &[])
}

async fn prove(provider: &Arc<dyn Provider>, token: &str) -> Result<Verified, ProviderError> {
    provider.prove_bearer(token, Timestamp(NOW)).await
}

async fn flaw(provider: &Arc<dyn Provider>) -> ProviderError {
    match prove(provider, "t").await {
        Ok(_) => panic!("must be refused"),
        Err(error) => error,
    }
}

const GITHUB_CHECK: &str = "/api/v3/applications/us/token";

fn github_answer() -> Value {
    json!({
        "id": 1, "token": "", "scopes": ["read:user", "repo"], "app": { "name": "gate", "client_id": "us" },
        "user": { "login": "Octo", "id": 583_231 }, "expires_at": "2027-01-15T08:10:00Z",
    })
}

async fn github() -> Scripted {
    let server = Scripted::start().await;
    script(&server, GITHUB_CHECK, &github_answer());
    let user = json!({ "login": "Octo", "id": 583_231 });
    script(&server, "/api/v3/user", &user);
    script(&server, "/api/v3/user/emails", &json!([]));
    server
}

#[tokio::test]
async fn github_is_asked_whether_a_token_is_this_apps() {
    let server = github().await;
    let provider = introspecting(&GITHUB, &server);
    let verified = prove(&provider, "gho_1").await.unwrap();
    assert_eq!(verified.identity.subject.as_str(), "583231");
    assert_eq!(verified.identity.login.as_deref(), Some("Octo"));
    let scopes = verified.scopes.unwrap_or_default();
    assert_eq!(scopes.len(), 2);
    assert_eq!(verified.client.as_deref(), Some("us"));
    assert_eq!(verified.expires_at, Some(Timestamp(NOW + 600)));
    let seen = server.requests(GITHUB_CHECK).remove(0);
    assert_eq!(seen.body, r#"{"access_token":"gho_1"}"#);
    assert_eq!(seen.headers["authorization"], "Basic dXM6c2ho");
    assert_eq!(
        server.requests("/api/v3/user")[0].headers["authorization"],
        "Bearer gho_1"
    );
}

/// The check knows this app's tokens alone, and what it answers is held against that.
#[tokio::test]
async fn another_apps_token_opens_nothing_at_github() {
    let server = github().await;
    let provider = introspecting(&GITHUB, &server);
    for status in [404, 422] {
        server.answer(GITHUB_CHECK, Answer::status(status));
        let inactive = ProviderError::Token(TokenFlaw::Inactive);
        assert_eq!(flaw(&provider).await, inactive);
    }
    let mut other = github_answer();
    other["app"]["client_id"] = json!("them");
    script(&server, GITHUB_CHECK, &other);
    assert_eq!(flaw(&provider).await, TokenFlaw::Client.into());
    let mut other = github_answer();
    other["user"]["id"] = json!(7);
    script(&server, GITHUB_CHECK, &other);
    assert_eq!(flaw(&provider).await, TokenFlaw::Unreadable.into());
    for odd in [
        json!({}),
        json!([]),
        json!({ "app": { "client_id": "us" } }),
    ] {
        script(&server, GITHUB_CHECK, &odd);
        assert_eq!(flaw(&provider).await, TokenFlaw::Unreadable.into());
    }
    // That nobody answers is no fault of the token.
    for status in [401, 403, 429, 500] {
        server.answer(GITHUB_CHECK, Answer::status(status));
        let error = flaw(&provider).await;
        assert!(!error.is_of_token(), "{status}: {error}");
    }
}

const INTRA_CHECK: &str = "/oauth/token/info";

fn intra_answer() -> Value {
    json!({
        "resource_owner_id": 123_456, "scopes": ["public"], "expires_in_seconds": 7174,
        "application": { "uid": "us" }, "created_at": NOW,
    })
}

#[tokio::test]
async fn the_intra_is_asked_whose_apps_token_it_is() {
    let server = Scripted::start().await;
    script(&server, INTRA_CHECK, &intra_answer());
    let me = json!({ "id": 123_456, "login": "jdoe", "kind": "student" });
    script(&server, "/v2/me", &me);
    let provider = introspecting(&FORTY_TWO, &server);
    let verified = prove(&provider, "t").await.unwrap();
    assert_eq!(verified.identity.subject.as_str(), "123456");
    assert_eq!(verified.expires_at, Some(Timestamp(NOW + 7174)));
    let seen = server.requests(INTRA_CHECK).remove(0);
    assert_eq!(seen.headers["authorization"], "Bearer t");
    let mut other = intra_answer();
    other["application"]["uid"] = json!("them");
    script(&server, INTRA_CHECK, &other);
    assert_eq!(flaw(&provider).await, TokenFlaw::Client.into());
    let mut other = intra_answer();
    other["resource_owner_id"] = json!(7);
    script(&server, INTRA_CHECK, &other);
    assert_eq!(flaw(&provider).await, TokenFlaw::Unreadable.into());
    server.answer(INTRA_CHECK, Answer::status(401));
    assert_eq!(flaw(&provider).await, TokenFlaw::Inactive.into());
    let busy = ProviderError::Http {
        call: Call::Introspection,
        error: HttpError::Status(StatusCode::SERVICE_UNAVAILABLE),
    };
    server.answer(INTRA_CHECK, Answer::status(503));
    assert_eq!(flaw(&provider).await, busy);
}

/// A token of the app itself (client credentials) names nobody.
#[tokio::test]
async fn a_token_of_the_app_is_the_apps() {
    let server = Scripted::start().await;
    let mut own = intra_answer();
    own["resource_owner_id"] = Value::Null;
    script(&server, INTRA_CHECK, &own);
    let provider = introspecting(&FORTY_TWO, &server);
    let verified = prove(&provider, "t").await.unwrap();
    assert_eq!(verified.identity.subject.as_str(), "client:us");
    assert!(server.requests("/v2/me").is_empty());
}

#[tokio::test]
async fn no_signed_token_of_others_is_shown_to_them() {
    let server = Scripted::start().await;
    let github = introspecting(&GITHUB, &server);
    let of_other = Some("https://id.example.com");
    assert_eq!(github.matches_bearer("e.y.J", of_other), BearerMatch::None);
    assert_eq!(github.matches_bearer("x", None), BearerMatch::Possible);
    assert_eq!(github.matches_bearer("gho_1", None), BearerMatch::Certain);
    let silent = super::super::testing::anyone(&GITHUB, &server);
    assert_eq!(silent.matches_bearer("gho_1", None), BearerMatch::None);
}

/// What a client gets for `token` that it brings in exchange, at a provider that takes no bearer tokens.
async fn exchanged(
    provider: &Arc<dyn Provider>,
    token: SubjectToken<'_>,
) -> Result<Subject, ProviderError> {
    provider.prove_subject(token, Timestamp(NOW)).await
}

const DEBUG: &str = "/v25.0/debug_token";

fn debugged() -> Value {
    json!({ "data": {
        "app_id": "us", "type": "USER", "application": "gate", "is_valid": true, "issued_at": NOW - 60,
        "expires_at": NOW + 5_000, "scopes": ["email", "public_profile"], "user_id": "1021",
    } })
}

#[tokio::test]
async fn a_token_of_this_app_is_exchanged_and_no_other_is() {
    let server = Scripted::start().await;
    script(&server, INTRA_CHECK, &intra_answer());
    script(
        &server,
        "/v2/me",
        &json!({ "id": 123_456, "login": "jdoe", "kind": "student" }),
    );
    script(&server, GITHUB_CHECK, &github_answer());
    script(
        &server,
        "/api/v3/user",
        &json!({ "login": "Octo", "id": 583_231 }),
    );
    script(&server, "/api/v3/user/emails", &json!([]));
    script(&server, DEBUG, &debugged());
    script(
        &server,
        "/v25.0/me",
        &json!({ "id": "1021", "name": "J Doe" }),
    );
    let mut others = [intra_answer(), github_answer(), debugged()];
    others[0]["application"]["uid"] = json!("them");
    others[1]["app"]["client_id"] = json!("them");
    others[2]["data"]["app_id"] = json!("them");
    let kinds = [
        (&FORTY_TWO, INTRA_CHECK, "123456"),
        (&GITHUB, GITHUB_CHECK, "583231"),
        (&FACEBOOK, DEBUG, "1021"),
    ];
    for ((kind, check, subject), other) in kinds.into_iter().zip(&others) {
        let provider = super::super::testing::anyone(kind, &server);
        let found = exchanged(&provider, SubjectToken::Access("t"))
            .await
            .unwrap();
        assert_eq!(found.identity.subject.as_str(), subject, "{kind:?}");
        script(&server, check, other);
        let refused = exchanged(&provider, SubjectToken::Access("t"))
            .await
            .unwrap_err();
        assert_eq!(refused, TokenFlaw::Client.into(), "{kind:?}");
        // They have none.
        let refused = exchanged(&provider, SubjectToken::Id("e30.e30.x"))
            .await
            .unwrap_err();
        assert_eq!(refused, TokenFlaw::Kind.into(), "{kind:?}");
    }
    // The app itself has signed in nowhere.
    let mut own = intra_answer();
    own["resource_owner_id"] = Value::Null;
    script(&server, INTRA_CHECK, &own);
    let provider = super::super::testing::anyone(&FORTY_TWO, &server);
    let refused = exchanged(&provider, SubjectToken::Access("t"))
        .await
        .unwrap_err();
    assert_eq!(refused, TokenFlaw::Nobody.into());
    // Nobody says whose app's token it is.
    let provider = super::super::testing::anyone(&DISCORD, &server);
    let refused = exchanged(&provider, SubjectToken::Access("t"))
        .await
        .unwrap_err();
    assert!(refused.is_of_token(), "{refused}");
}

#[tokio::test]
async fn facebook_is_asked_as_the_app() {
    let server = Scripted::start().await;
    script(&server, DEBUG, &debugged());
    script(
        &server,
        "/v25.0/me",
        &json!({ "id": "1021", "name": "J Doe" }),
    );
    let provider = introspecting(&FACEBOOK, &server);
    let verified = prove(&provider, "EAA 1").await.unwrap();
    assert_eq!(verified.identity.subject.as_str(), "1021");
    assert_eq!(verified.client.as_deref(), Some("us"));
    assert_eq!(verified.expires_at, Some(Timestamp(NOW + 5_000)));
    let seen = server.requests(DEBUG).remove(0);
    assert_eq!(seen.headers["authorization"], "Bearer us|shh");
    assert_eq!(seen.query.as_deref(), Some("input_token=EAA+1"));
    for (name, value, flaw_of_it) in [
        ("is_valid", json!(false), TokenFlaw::Inactive),
        ("is_valid", json!("true"), TokenFlaw::Inactive),
        ("app_id", json!("them"), TokenFlaw::Client),
        ("app_id", Value::Null, TokenFlaw::Unreadable),
        ("type", json!("PAGE"), TokenFlaw::Unreadable),
        ("type", json!("APP"), TokenFlaw::Unreadable),
        ("user_id", json!("7"), TokenFlaw::Unreadable),
        ("expires_at", json!(NOW - 120), TokenFlaw::Expired),
    ] {
        let mut other = debugged();
        other["data"][name] = value;
        script(&server, DEBUG, &other);
        assert_eq!(flaw(&provider).await, flaw_of_it.into(), "{name}");
    }
}
