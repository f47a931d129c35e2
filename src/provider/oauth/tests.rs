use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::StatusCode;
use url::form_urlencoded;

use super::*;
use crate::{
    access::StepUp,
    clock::Timestamp,
    provider::{
        http::HttpError,
        scripted::{Answer, Scripted, Seen},
    },
    secret::Secret,
};

fn client(secret: Option<&str>) -> OAuthClient {
    OAuthClient::new(&ProviderSettings {
        client_id: "my app".to_owned(),
        client_secrets: secret
            .map(|text| Secret::new(text.to_owned()))
            .into_iter()
            .collect(),
        scopes: vec!["openid".to_owned(), "email".to_owned()],
        ..ProviderSettings::for_test("test", "")
    })
}

fn back() -> Url {
    Url::parse("https://app.example.com/oauth2/callback/test").unwrap()
}

async fn exchange(
    server: &Scripted,
    secret: Option<&str>,
    authentication: ClientAuthentication,
) -> Result<GrantTokens, ProviderError> {
    let grant = CodeGrant {
        code: "the/code",
        redirect_uri: &back(),
        pkce_verifier: "verifier",
        nonce: "nonce",
        now: Timestamp(1000),
    };
    let url = server.url("/token");
    let endpoint = TokenEndpoint {
        url: &url,
        authentication,
    };
    client(secret)
        .exchange(&HttpClient::for_test(), &endpoint, &grant)
        .await
}

fn form(seen: &Seen) -> HashMap<String, String> {
    form_urlencoded::parse(seen.body.as_bytes())
        .into_owned()
        .collect()
}

const GOOD: &str =
    r#"{"access_token":"at","token_type":"Bearer","expires_in":"60","id_token":"i.d.t"}"#;

#[test]
fn the_authorization_request_has_all_it_needs() {
    let endpoint = Url::parse("https://id.example.com/auth?x=1").unwrap();
    let request = AuthorizeRequest {
        redirect_uri: &back(),
        state: "s&=",
        nonce: "n",
        pkce_challenge: "c",
        switch_account: false,
        step_up: &StepUp::default(),
        reauthenticate: false,
    };
    let url = client(None).authorize_url(&endpoint, &request, &[("nonce", "n")]);
    let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
    for (name, value) in [
        ("x", "1"),
        ("response_type", "code"),
        ("client_id", "my app"),
        ("redirect_uri", back().as_str()),
        ("scope", "openid email"),
        ("state", "s&="),
        ("code_challenge", "c"),
        ("code_challenge_method", "S256"),
        ("nonce", "n"),
    ] {
        assert_eq!(query[name], value);
    }
    assert_eq!(query.len(), 9);
}

#[test]
fn the_operators_parameters_are_added_but_never_replace_the_logins() {
    let params = [
        ("access_type", "offline"),
        ("state", "theirs"),
        ("code_challenge_method", "plain"),
        ("request_uri", "https://evil.example/"),
        ("response_mode", "fragment"),
        ("prompt", "none"),
        ("x", "2"),
    ];
    let client = OAuthClient::new(&ProviderSettings {
        authorize_params: params
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..ProviderSettings::for_test("test", "")
    });
    let endpoint = Url::parse("https://id.example.com/auth?x=1").unwrap();
    let request = AuthorizeRequest {
        redirect_uri: &back(),
        state: "s",
        nonce: "n",
        pkce_challenge: "c",
        switch_account: false,
        step_up: &StepUp::default(),
        reauthenticate: false,
    };
    let url = client.authorize_url(&endpoint, &request, &[("prompt", "login")]);
    let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let said = |name: &str| -> Vec<&str> {
        let named = query.iter().filter(|(said, _)| said == name);
        named.map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(said("access_type"), ["offline"]);
    assert_eq!(said("state"), ["s"]);
    assert_eq!(said("code_challenge_method"), ["S256"]);
    assert_eq!(said("prompt"), ["login"]);
    assert_eq!(said("x"), ["1"]);
    assert!(said("request_uri").is_empty() && said("response_mode").is_empty());
}

#[tokio::test]
async fn a_secret_goes_into_the_header_or_the_body_but_never_both() {
    let server = Scripted::start().await;
    server.answer("/token", Answer::json(GOOD));
    let secret = "a+b/c=:é%";
    let tokens = exchange(&server, Some(secret), ClientAuthentication::Basic)
        .await
        .unwrap();
    assert_eq!(tokens.access.as_str(), "at");
    assert_eq!(tokens.id.as_deref(), Some("i.d.t"));
    assert_eq!(tokens.expires, Some(Timestamp(1060)));
    exchange(&server, Some(secret), ClientAuthentication::Post)
        .await
        .unwrap();
    exchange(&server, None, ClientAuthentication::Basic)
        .await
        .unwrap();
    let seen = server.requests("/token");

    let basic = seen[0].headers["authorization"].to_str().unwrap();
    let basic = STANDARD
        .decode(basic.strip_prefix("Basic ").unwrap())
        .unwrap();
    let expected = "my+app:a%2Bb%2Fc%3D%3A%C3%A9%25";
    assert_eq!(String::from_utf8(basic).unwrap(), expected);
    let sent = form(&seen[0]);
    assert!(!sent.contains_key("client_secret"));
    assert_eq!(sent["grant_type"], "authorization_code");
    assert_eq!(sent["code"], "the/code");
    assert_eq!(sent["code_verifier"], "verifier");
    assert_eq!(sent["redirect_uri"], back().as_str());
    assert_eq!(seen[0].query, None);

    assert!(!seen[1].headers.contains_key("authorization"));
    assert_eq!(form(&seen[1])["client_secret"], secret);
    assert_eq!(form(&seen[1])["client_id"], "my app");

    assert!(!seen[2].headers.contains_key("authorization"));
    assert_eq!(form(&seen[2])["client_id"], "my app");
}

#[tokio::test]
async fn the_other_secret_has_its_turn_only_where_the_client_is_turned_away() {
    let server = Scripted::start().await;
    let client = OAuthClient::new(&ProviderSettings {
        client_secrets: ["old", "new"]
            .map(|text| Secret::new(text.to_owned()))
            .into(),
        ..ProviderSettings::for_test("test", "")
    });
    let (url, http) = (server.url("/token"), HttpClient::for_test());
    let endpoint = TokenEndpoint {
        url: &url,
        authentication: ClientAuthentication::Post,
    };
    let redirect_uri = back();
    let grant = CodeGrant {
        code: "the/code",
        redirect_uri: &redirect_uri,
        pkce_verifier: "verifier",
        nonce: "nonce",
        now: Timestamp(1000),
    };
    let sent = || -> Vec<String> {
        let seen = server.requests("/token");
        seen.iter()
            .map(|seen| form(seen)["client_secret"].clone())
            .collect()
    };
    for other in [
        Answer::json(r#"{"error":"invalid_grant"}"#).with_status(400),
        Answer::json(r#"{"error":"invalid_client"}"#).with_status(503),
        Answer::text("Retry later").with_status(429),
        Answer::text("").with_status(403),
    ] {
        server.answer("/token", other);
        assert!(client.exchange(&http, &endpoint, &grant).await.is_err());
    }
    assert_eq!(sent(), ["old"; 4]);

    let turned_away = [
        Answer::json(r#"{"error":"invalid_client"}"#).with_status(401),
        Answer::json(r#"{"error":"incorrect_client_credentials"}"#),
        Answer::text("").with_status(401),
    ];
    for (no, (from, to)) in
        turned_away
            .into_iter()
            .zip([("old", "new"), ("new", "old"), ("old", "new")])
    {
        server.answer_in_turn("/token", [no, Answer::json(GOOD)]);
        let before = sent().len();
        assert!(client.exchange(&http, &endpoint, &grant).await.is_ok());
        assert_eq!(sent()[before..], [from, to]);
        assert_eq!(client.secret(), Some(to));
    }
    // What works is asked first from now on; where neither works, that is the outcome.
    server.answer(
        "/token",
        Answer::json(r#"{"error":"invalid_client"}"#).with_status(401),
    );
    let before = sent().len();
    let error = client
        .exchange(&http, &endpoint, &grant)
        .await
        .err()
        .unwrap();
    assert!(error.is_invalid_client());
    assert_eq!(sent()[before..], ["new", "old"]);
}

#[tokio::test]
async fn refusals_keep_their_meaning() {
    let server = Scripted::start().await;
    let refused = ProviderError::Refused {
        code: "invalid_grant".to_owned(),
        description: None,
    };
    let error = r#"{"error":"invalid_grant"}"#;
    for (answer, expected) in [
        (Answer::json(error), refused.clone()),
        (Answer::json(error).with_status(400), refused),
        (
            Answer::text("Retry later").with_status(429),
            ProviderError::Http {
                call: Call::Token,
                error: HttpError::Status(StatusCode::TOO_MANY_REQUESTS),
            },
        ),
        (
            Answer::text("<html>"),
            ProviderError::Answer {
                call: Call::Token,
                problem: "neither JSON nor a form",
            },
        ),
    ] {
        server.answer("/token", answer);
        let result = exchange(&server, None, ClientAuthentication::Basic).await;
        assert_eq!(result.err(), Some(expected));
    }
}
