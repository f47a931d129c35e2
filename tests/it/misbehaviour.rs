//! A provider that misbehaves: no session, no text of its own on our pages, and a bounded time.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{
    arranged,
    behaviour::{Behaviour, ResponseIssuer, TokenEndpoint},
    keys::Signing,
    provider::now,
    standard, standard_with,
};

/// Runs a login against the changed provider: an error page, nothing else. Then against the healed one, to show
/// that the change alone was the reason.
async fn refused(change: impl FnOnce(&mut Behaviour)) {
    let (house, upstream, provider) = standard().await;
    provider.set(change);
    let begin = Instant::now();
    let browser = house.browser();
    let callback = browser.up_to_callback("/").await;
    let reply = browser.get(callback.as_str()).await;
    assert!(
        reply.status.is_client_error() || reply.status.is_server_error(),
        "{} {:?}",
        reply.status,
        reply.headers
    );
    assert!(!reply.sets_session(), "{:?}", reply.set_cookies());
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "{:?}",
        begin.elapsed()
    );
    let text = reply.text();
    assert!(
        !text.contains("<script") && !text.contains("canary") && !text.contains("alert("),
        "{text}"
    );
    assert!(
        reply
            .header("content-security-policy")
            .contains("default-src 'none'")
    );
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(
        browser.get("/").await.status,
        StatusCode::FOUND,
        "nobody is logged in"
    );
    assert_eq!(upstream.count(), 0);
    house.access_line("/oauth2/callback/script").await;
    let log = house.process.log();
    assert!(!log.contains("canary"), "{log}");

    provider.set(|behaviour| *behaviour = Behaviour::default());
    house.browser().sign_in("/healed").await;
}

fn claims(overlay: Value) -> impl FnOnce(&mut Behaviour) {
    move |behaviour| behaviour.id_token = overlay
}

fn signed(signing: Signing) -> impl FnOnce(&mut Behaviour) {
    move |behaviour| behaviour.signing = signing
}

fn answering(token: TokenEndpoint) -> impl FnOnce(&mut Behaviour) {
    move |behaviour| behaviour.token = token
}

macro_rules! refused {
    ($($name:ident: $change:expr;)*) => {
        $(#[tokio::test]
        async fn $name() {
            refused($change).await;
        })*
    };
}

refused! {
    a_wrong_nonce: claims(json!({ "nonce": "another" }));
    no_nonce: claims(json!({ "nonce": null }));
    another_issuer: claims(json!({ "iss": "https://other.example" }));
    another_audience: claims(json!({ "aud": "another" }));
    no_audience: claims(json!({ "aud": null }));
    several_audiences_without_a_party: claims(json!({ "aud": ["sidegate", "another"] }));
    another_authorized_party: claims(json!({ "aud": ["sidegate", "x"], "azp": "x" }));
    an_expired_token: claims(json!({ "iat": now() - 7200, "exp": now() - 3600 }));
    no_expiry: claims(json!({ "exp": null }));
    a_token_from_tomorrow: claims(json!({ "iat": now() + 86_400, "exp": now() + 90_000 }));
    a_token_not_valid_yet: claims(json!({ "nbf": now() + 3600 }));
    no_subject: claims(json!({ "sub": null }));
    an_empty_subject: claims(json!({ "sub": "" }));
    a_subject_that_is_no_text: claims(json!({ "sub": 7 }));
    no_signature: signed(Signing::None);
    no_algorithm_but_a_signature: signed(Signing::NoneWithSignature);
    the_public_key_as_hmac_secret: signed(Signing::HmacWithPublicKey);
    the_client_secret_as_hmac_secret: signed(Signing::HmacWithClientSecret);
    a_forged_signature: signed(Signing::Forged);
    changed_claims: signed(Signing::Tampered);
    a_key_that_nobody_published: signed(Signing::UnknownKid);
    no_token_at_all: signed(Signing::Garbage);
    a_token_endpoint_that_hangs: answering(TokenEndpoint::Hangs);
    an_error_inside_200: answering(TokenEndpoint::ErrorInside200);
    a_refused_code: answering(TokenEndpoint::InvalidGrant);
    a_broken_token_endpoint: answering(TokenEndpoint::Unavailable);
    html_instead_of_tokens: answering(TokenEndpoint::Html);
    an_answer_without_id_token: answering(TokenEndpoint::NoIdToken);
    an_answer_without_end: answering(TokenEndpoint::Endless);
    a_redirecting_token_endpoint: answering(TokenEndpoint::Redirects);
    another_issuer_in_the_response: |behaviour| behaviour.response_issuer = ResponseIssuer::Wrong;
    no_issuer_in_the_response: |behaviour| behaviour.response_issuer = ResponseIssuer::Missing;
    userinfo_about_somebody_else: |behaviour| {
        behaviour.claims_in_id_token = false;
        behaviour.userinfo = json!({ "sub": "mallory" });
    };
}

#[tokio::test]
async fn a_wrong_response_issuer_is_seen_before_the_code_is_spent() {
    for issuer in [ResponseIssuer::Wrong, ResponseIssuer::Missing] {
        let (house, _upstream, provider) = standard().await;
        provider.set(|behaviour| behaviour.response_issuer = issuer);
        let reply = house.browser().follow("/").await;
        // Anybody can write an address: the provider is not to blame for it.
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{issuer:?}");
        assert!(!reply.sets_session());
        assert_eq!(provider.token_requests(), 0, "{issuer:?}");
    }
}

#[tokio::test]
async fn a_provider_without_response_issuer_is_fine() {
    let (house, _upstream, _provider) = arranged(
        |behaviour| behaviour.response_issuer = ResponseIssuer::Unsupported,
        |plan| plan,
    )
    .await;
    house.browser().sign_in("/").await;
}

#[tokio::test]
async fn a_provider_that_denies_is_answered_by_a_page() {
    let (house, upstream, provider) = standard().await;
    let text = "<script>alert('canary')</script>\"'><img src=x onerror=alert(1)>";
    for error in ["access_denied", "<script>alert(1)</script>", "server_error"] {
        provider.set(|behaviour| behaviour.error = Some((error.to_owned(), text.to_owned())));
        let browser = house.browser();
        let reply = browser.follow("/").await;
        assert!(
            reply.status.is_client_error() || reply.status.is_server_error(),
            "{error}: {}",
            reply.status
        );
        assert!(!reply.sets_session());
        assert!(
            !reply.text().contains("<script") && !reply.text().contains("<img"),
            "{}",
            reply.text()
        );
        assert!(reply.header("content-type").starts_with("text/html"));
    }
    assert_eq!(provider.token_requests(), 0);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn discovery_that_names_another_issuer_is_not_believed() {
    let (house, upstream, provider) = standard_with(|plan| plan).await;
    // A second house that meets the lie first: nothing of the truth is kept from before.
    provider
        .set(|behaviour| behaviour.discovered_issuer = Some("https://other.example".to_owned()));
    let admin = crate::support::ports::free_address();
    let liar = crate::support::House::plan()
        .upstream(&upstream)
        .provider(&provider)
        .top(&format!("admin_listen = \"{admin}\""))
        .start()
        .await;
    let page = liar.browser().follow("/").await;
    assert!(page.status.is_server_error(), "{}", page.status);
    let (_, why) = liar.ask_admin(admin, "/ready").await;
    assert!(why.contains("waiting for provider script"), "{why}");
    drop(house);
}

#[tokio::test]
async fn keys_rotate_without_a_restart() {
    let (house, _upstream, provider) = standard().await;
    house.browser().sign_in("/before").await;
    let before = provider.calls("/jwks").len();
    provider.set(|behaviour| {
        behaviour.signing = Signing::Second;
        behaviour.publishes_second_key_only = true;
    });
    // Keys may be asked for anew only so often; a first unknown one is asked for at once.
    house.browser().sign_in("/after").await;
    assert_eq!(provider.calls("/jwks").len(), before + 1);
}

#[tokio::test]
async fn unknown_keys_do_not_make_a_flood() {
    let (house, _upstream, provider) = standard().await;
    house.browser().sign_in("/").await;
    let before = provider.calls("/jwks").len();
    provider.set(|behaviour| behaviour.signing = Signing::UnknownKid);
    for _ in 0..5 {
        let reply = house.browser().follow("/").await;
        assert!(!reply.status.is_success());
    }
    let asked = provider.calls("/jwks").len() - before;
    assert!(asked <= 2, "{asked} requests for keys in a second");
}

#[tokio::test]
async fn large_tokens_cost_no_cookies() {
    let (house, _upstream, provider) = standard().await;
    provider.set(|behaviour| {
        behaviour.access_token_length = 12_000;
        behaviour.id_token = json!({ "padding": "x".repeat(8_700) });
    });
    let browser = house.browser();
    browser.sign_in("/").await;
    let length = browser.cookies("/").len();
    assert!(length < 1_200, "the Cookie header has {length} bytes");
}

#[tokio::test]
async fn what_does_not_fit_into_cookies_ends_in_a_page_not_in_a_loop() {
    let (house, _upstream, provider) =
        standard_with(|plan| plan.tables("[headers]\nset = { X-Api-Token = \"access_token\" }"))
            .await;
    provider.set(|behaviour| behaviour.access_token_length = 8_000);
    let seen = house.browser().sign_in("/").await.seen();
    assert_eq!(
        seen.header("x-api-token").map(str::len),
        Some(8_000 + "canary-access-token-".len())
    );

    provider.set(|behaviour| behaviour.access_token_length = 60_000);
    let reply = house.browser().follow("/").await;
    assert!(reply.status.is_client_error() || reply.status.is_server_error());
    assert!(!reply.sets_session());
}

#[tokio::test]
async fn two_hundred_groups_are_no_trouble() {
    let (house, _upstream, provider) = standard().await;
    let groups: Vec<String> = (0..200)
        .map(|number| format!("department-{number}"))
        .collect();
    provider.user("groups", json!(groups));
    let seen = house.browser().sign_in("/").await.seen();
    assert_eq!(
        seen.header("x-user-groups"),
        Some(groups.join(",").as_str())
    );
}
