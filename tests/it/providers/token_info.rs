//! Google's access tokens as bearer tokens: Google is asked whose app's they are.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{cases, house};
use crate::support::{
    House, Reply, ScriptedProvider,
    provider::{CLIENT_ID, lay_over, now},
};

const BEARER: &str = "bearer = { introspect = true }\n";

/// What `tokeninfo` says of a good token: its numbers and truths are texts.
fn good() -> Value {
    json!({
        "azp": CLIENT_ID, "aud": CLIENT_ID, "sub": "110169484474386276334",
        "scope": "openid https://www.googleapis.com/auth/userinfo.email https://www.googleapis.com/auth/userinfo.profile",
        "exp": (now() + 3_000).to_string(), "expires_in": "3000", "email": "ada@example.com", "email_verified": "true",
        "access_type": "online",
    })
}

fn knows(provider: &ScriptedProvider, token: &str, changes: &Value) {
    let mut answer = good();
    lay_over(&mut answer, changes);
    provider.set(|behaviour| drop(behaviour.token_info.insert(token.to_owned(), answer)));
}

async fn ask(house: &House, token: &str) -> Reply {
    let program = house.browser();
    let asked = program.bare(Method::GET, "/api/x");
    let authorization = format!("Bearer {token}");
    asked.header("authorization", &authorization).send().await
}

#[tokio::test]
async fn a_token_of_this_client_is_its_holder() {
    let case = cases::google().await;
    let (house, _upstream) = house(&case, "\"anyone\"", BEARER).await;
    let provider = case.backend.openid();
    knows(provider, "ya29.good", &json!({}));
    for _ in 0..3 {
        let seen = ask(&house, "ya29.good").await.seen();
        assert_eq!(seen.header("x-user-id"), Some("one:110169484474386276334"));
        assert_eq!(seen.header("x-user-name"), Some("Ada Lovelace"));
        assert_eq!(seen.header("x-user-client"), Some(CLIENT_ID));
        // Only an ID token says that the address is of a domain for which Google speaks.
        assert_eq!(seen.header("x-user-email"), None);
        let scopes = seen.header("x-user-scopes").unwrap_or_default();
        assert!(
            scopes.starts_with("openid https://www.googleapis.com/"),
            "{scopes}"
        );
        assert_eq!(seen.header("authorization"), None);
    }
    let calls = provider.calls("/tokeninfo");
    assert_eq!(calls.len(), 1, "what it said is cached");
    assert_eq!(calls[0].fields["access_token"], "ya29.good");
    assert!(!house.process.log().contains("ya29.good"));
}

/// The user of another app has given that app their token, and not this one.
#[tokio::test]
async fn another_apps_token_opens_nothing() {
    let case = cases::google().await;
    let (house, upstream) = house(&case, "\"anyone\"", BEARER).await;
    let provider = case.backend.openid();
    let other = "407408718192.apps.googleusercontent.com";
    for (number, changes) in [
        json!({ "aud": other, "azp": other }),
        // Of an app on a phone and the server behind it, which share a project.
        json!({ "azp": other }),
        json!({ "aud": other }),
        json!({ "aud": null, "azp": null }),
        json!({ "aud": [CLIENT_ID] }),
        json!({ "exp": (now() - 120).to_string(), "expires_in": "0" }),
        json!({ "exp": null, "expires_in": null }),
        json!({ "exp": "never", "expires_in": null }),
        json!({ "sub": null }),
        json!({ "sub": 7 }),
        json!({ "sub": "" }),
    ]
    .iter()
    .enumerate()
    {
        let token = format!("ya29.bad-{number}");
        knows(provider, &token, changes);
        let reply = ask(&house, &token).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{changes}");
        let challenge = reply.header("www-authenticate");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    // Taken back, or never given.
    let reply = ask(&house, "ya29.unknown").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    // A token of somebody else's makes nobody of the one that userinfo names.
    knows(provider, "ya29.somebody", &json!({ "sub": "4711" }));
    let reply = ask(&house, "ya29.somebody").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(upstream.count(), 0);
    // What does not look like Google's has nobody asked.
    let asked = provider.calls("/tokeninfo").len();
    let reply = ask(&house, "eyJhbGciOiJub25lIn0.e30.").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(provider.calls("/tokeninfo").len(), asked);
}

/// `clients` names the apps whose tokens count, each by its whole id.
#[tokio::test]
async fn the_apps_of_one_project_may_be_named() {
    let phone = "407408718192-phone.apps.googleusercontent.com";
    let case = cases::google().await;
    let bearer = format!("bearer = {{ introspect = true, clients = [\"{phone}\"] }}\n");
    let (house, _upstream) = house(&case, "\"anyone\"", &bearer).await;
    let provider = case.backend.openid();
    knows(
        provider,
        "ya29.phone",
        &json!({ "aud": phone, "azp": phone }),
    );
    knows(provider, "ya29.gate", &json!({}));
    knows(provider, "ya29.mixed", &json!({ "azp": phone }));
    assert_eq!(ask(&house, "ya29.phone").await.status, StatusCode::OK);
    for token in ["ya29.gate", "ya29.mixed"] {
        let status = ask(&house, token).await.status;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{token}");
    }
}
