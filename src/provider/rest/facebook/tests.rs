use serde_json::json;

use super::{
    super::testing::{
        answer as script, anyone, build, config, identity, last_form, parameters, refused, rule,
    },
    *,
};
use crate::{
    access::Allow,
    provider::{
        catalog::FACEBOOK,
        scripted::{Answer, Scripted},
    },
    secret::Secret,
};

async fn server() -> Scripted {
    let server = Scripted::start().await;
    let tokens = json!({ "access_token": "EAA1", "token_type": "bearer", "expires_in": 5_183_944 });
    script(&server, "/v25.0/oauth/access_token", &tokens);
    let me = json!({ "id": "10215000000000001", "name": "J Doe", "email": "j@x.example",
        "picture": { "data": { "url": "https://pictures.example/j" } } });
    script(&server, "/v25.0/me", &me);
    server
}

fn error(code: u32, subcode: u32) -> Answer {
    let error = json!({ "error": { "message": "m", "type": "OAuthException", "code": code,
        "error_subcode": subcode, "fbtrace_id": "x" } });
    Answer::json(&error.to_string()).with_status(400)
}

#[tokio::test]
async fn somebody_signs_in_without_an_address_that_counts() {
    let server = server().await;
    let identity = identity(&anyone(&FACEBOOK, &server)).await;
    assert_eq!(identity.subject.as_str(), "10215000000000001");
    assert_eq!(identity.name.as_deref(), Some("J Doe"));
    assert_eq!(
        identity.picture.as_deref(),
        Some("https://pictures.example/j")
    );
    assert_eq!((identity.email, identity.login), (None, None));
    let seen = server.requests("/v25.0/me").remove(0);
    assert_eq!(seen.headers["authorization"], "Bearer EAA1");
    let query = seen.query.unwrap();
    assert!(
        query.starts_with("fields=id%2Cname%2Cemail%2Cpicture&appsecret_proof="),
        "{query}"
    );
    assert!(query.ends_with(&proof("shh", "EAA1")) && !query.contains("EAA1"));
    let form = last_form(&server, "/v25.0/oauth/access_token");
    assert_eq!(form["client_secret"], "shh");
    assert!(!form.contains_key("code_verifier"));
}

#[test]
fn the_proof_is_a_keyed_hash_in_hex() {
    // RFC 4231 §4.3.
    let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(proof("Jefe", "what do ya want for nothing?"), expected);
}

#[tokio::test]
async fn the_proof_is_made_with_the_secret_that_works() {
    let server = server().await;
    let mut two = config(&FACEBOOK, &server, Allow::Anyone);
    two.client_secrets = ["old", "new"]
        .map(|text| Secret::new(text.to_owned()))
        .into();
    let wrong = json!({ "error": { "message": "Error validating client secret.", "type": "OAuthException", "code": 1 } });
    let tokens = json!({ "access_token": "EAA2", "token_type": "bearer" });
    server.answer_in_turn(
        "/v25.0/oauth/access_token",
        [
            Answer::json(&wrong.to_string()).with_status(400),
            Answer::json(&tokens.to_string()),
        ],
    );
    identity(&build(&two, &[])).await;
    let query = server.requests("/v25.0/me").remove(0).query.unwrap();
    assert!(query.ends_with(&proof("new", "EAA2")));
}

#[tokio::test]
async fn a_browser_is_sent_with_commas_and_without_pkce() {
    let server = server().await;
    let provider = anyone(&FACEBOOK, &server);
    let sent = parameters(&provider, false).await;
    assert_eq!(sent["scope"], "public_profile,email");
    assert_eq!(sent["state"], "s");
    assert!(!sent.contains_key("code_challenge") && !sent.contains_key("auth_type"));
    let sent = parameters(&provider, true).await;
    assert_eq!(sent["auth_type"], "reauthenticate");
}

#[tokio::test]
async fn each_list_lets_pass_and_denies() {
    let server = server().await;
    let id = "10215000000000001";
    assert_eq!(rule(&FACEBOOK, &server, "users", &["1", id]).await, None);
    assert_eq!(
        rule(&FACEBOOK, &server, "claims.name", &["J Doe"]).await,
        None
    );
    for (key, entry) in [
        ("users", "10215000000000002"),
        ("users", "J Doe"),
        ("emails", "j@x.example"),
        ("domains", "x.example"),
        ("claims.name", "j doe"),
        ("claims.email", "j@x.example"),
    ] {
        let denied = rule(&FACEBOOK, &server, key, &[entry]).await;
        assert_eq!(denied.as_deref(), Some(key), "{entry}");
    }
}

#[tokio::test]
async fn an_absent_address_is_no_trouble() {
    let server = server().await;
    script(&server, "/v25.0/me", &json!({ "id": "1", "name": "J" }));
    assert_eq!(
        identity(&anyone(&FACEBOOK, &server)).await.subject.as_str(),
        "1"
    );
    script(&server, "/v25.0/me", &json!({ "name": "J" }));
    refused(&anyone(&FACEBOOK, &server)).await;
}

#[tokio::test]
async fn errors_are_objects() {
    let server = server().await;
    let provider = anyone(&FACEBOOK, &server);
    for (code, subcode, is_outage) in [
        (4, 0, true),
        (17, 0, true),
        (32, 0, true),
        (613, 0, true),
        (2, 0, true),
        (190, 463, false),
        (100, 0, false),
    ] {
        server.answer("/v25.0/me", error(code, subcode));
        assert_eq!(refused(&provider).await.is_outage(), is_outage, "{code}");
    }
    server.answer("/v25.0/me", error(190, 0).with_status(200));
    refused(&provider).await;
    server.answer("/v25.0/oauth/access_token", error(4, 0));
    assert!(refused(&provider).await.is_outage());
    for subcode in [36_007, 36_009] {
        server.answer("/v25.0/oauth/access_token", error(100, subcode));
        assert!(refused(&provider).await.is_invalid_grant());
    }
}
