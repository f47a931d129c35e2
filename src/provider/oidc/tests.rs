//! A whole exchange with a scripted provider on loopback, in its good and its bad moods.

use std::{collections::HashMap, time::Duration};

use serde_json::json;

use super::{
    super::scripted::{Answer, Scripted},
    *,
};
use crate::jose::{JwtError, TestKey};
use crate::provider::catalog;
use crate::{
    access::{Allow, StepUp, allow},
    clock::Timestamp,
    identity::Identity,
    provider::{
        Call,
        http::{HttpError, Limits},
    },
};

pub(super) const NOW: u64 = 1_800_000_000;

/// A vendor's table whose `base_url` is a scripted server, with these lists.
pub(super) fn moved(
    kind: &'static crate::provider::kind::Kind,
    server: &Scripted,
    lists: &[(&str, &[&str])],
) -> ProviderSettings {
    let endpoints = kind.endpoints.iter();
    ProviderSettings {
        kind,
        endpoints: endpoints
            .filter_map(|endpoint| {
                let path = endpoint.below_base?;
                Some((endpoint.key, format!("{}{path}", server.origin())))
            })
            .collect(),
        allow: kind.allow_for_test(lists),
        ..ProviderSettings::for_test("corp", "")
    }
}

/// Who signs in with a token of these claims, or why nobody does.
pub(super) async fn signed_in(
    config: &ProviderSettings,
    headers: &[HeaderSource],
    server: &Scripted,
    id_token: &str,
) -> Result<Identity, ProviderError> {
    give(server, id_token);
    let headers: Vec<&HeaderSource> = headers.iter().collect();
    let provider = build(config, &headers, &HttpClient::for_test());
    Ok(redeem(provider.as_ref()).await?.identity)
}

/// The list that keeps somebody out; none where they may pass.
pub(super) async fn barred(
    config: &ProviderSettings,
    server: &Scripted,
    id_token: &str,
) -> Option<String> {
    let identity = signed_in(config, &[], server, id_token)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    allow::check(&config.allow, &identity)
        .err()
        .map(|denied| denied.rule)
}

/// The parameters that a browser is sent away with.
pub(super) async fn authorize_parameters(
    config: &ProviderSettings,
    switch_account: bool,
) -> HashMap<String, String> {
    let provider = build(config, &[], &HttpClient::for_test());
    let request = AuthorizeRequest {
        redirect_uri: &Url::parse("https://app.example.com/back").unwrap(),
        state: "s",
        nonce: "n",
        pkce_challenge: "c",
        switch_account,
        step_up: &StepUp::default(),
        reauthenticate: false,
    };
    let url = provider.authorize(&request).await.unwrap();
    url.query_pairs().into_owned().collect()
}

pub(super) fn provider(server: &Scripted, allow: Allow, headers: &[HeaderSource]) -> Oidc {
    let config = ProviderSettings {
        allow,
        ..ProviderSettings::for_test("corp", server.origin())
    };
    let headers: Vec<&HeaderSource> = headers.iter().collect();
    let limits = Limits {
        connect: Duration::from_millis(500),
        total: Duration::from_millis(500),
        body: 100_000,
    };
    let http = HttpClient::with(
        crate::trust::client_config_with(rustls::RootCertStore::empty()),
        limits,
    );
    Oidc::new(&config, &VendorProfile::STANDARD, &headers, http)
}

fn anyone(server: &Scripted) -> Oidc {
    provider(server, Allow::Anyone, &[])
}

pub(super) fn claims(server: &Scripted) -> Value {
    json!({
        "iss": server.origin(), "sub": "1", "aud": "us", "nonce": "n",
        "exp": NOW + 300, "iat": NOW,
    })
}

pub(super) fn give(server: &Scripted, id_token: &str) {
    let answer = json!({ "access_token": "at", "token_type": "Bearer", "id_token": id_token });
    server.answer("/token", Answer::json(&answer.to_string()));
}

pub(super) async fn redeem(provider: &dyn Provider) -> Result<Grant, ProviderError> {
    let redirect_uri = Url::parse("https://app.example.com/oauth2/callback/corp").unwrap();
    let grant = CodeGrant {
        code: "c",
        redirect_uri: &redirect_uri,
        pkce_verifier: "v",
        nonce: "n",
        now: Timestamp(NOW),
    };
    provider.redeem(&grant).await
}

async fn refused(provider: &Oidc) -> ProviderError {
    match redeem(provider).await {
        Ok(_) => panic!("must be refused"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_code_becomes_an_identity() {
    let server = Scripted::start().await;
    let key = TestKey::rsa("a");
    server.publish(&[&key]);
    give(&server, &key.sign(&claims(&server)));
    let provider = anyone(&server);
    assert!(!provider.is_ready());
    let grant = redeem(&provider)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(provider.is_ready());
    assert_eq!(grant.identity.subject.as_str(), "1");
    assert_eq!(grant.identity.provider.as_str(), "corp");
    assert!(grant.tokens.id.is_some());
    assert!(server.requests("/userinfo").is_empty());
}

#[tokio::test]
async fn rotated_keys_are_found_at_once() {
    let server = Scripted::start().await;
    let (old, new) = (TestKey::ec("old"), TestKey::ec("new"));
    server.publish(&[&old]);
    let provider = anyone(&server);
    give(&server, &old.sign(&claims(&server)));
    assert!(redeem(&provider).await.is_ok());
    server.publish(&[&new]);
    give(&server, &new.sign(&claims(&server)));
    assert!(redeem(&provider).await.is_ok());
    assert_eq!(server.requests("/keys").len(), 2);
    give(&server, &old.sign(&claims(&server)));
    let error = refused(&provider).await;
    assert_eq!(error, ProviderError::IdToken(JwtError::UnknownKey));
    assert_eq!(server.requests("/keys").len(), 2);
}

#[tokio::test]
async fn bad_token_answers_end_the_login_with_their_reason() {
    let server = Scripted::start().await;
    let key = TestKey::ec("a");
    server.publish(&[&key]);
    let provider = anyone(&server);
    server.answer("/token", Answer::json(r#"{"error":"invalid_grant"}"#));
    assert!(matches!(
        refused(&provider).await,
        ProviderError::Refused { .. }
    ));
    server.answer("/token", Answer::Hang);
    let error = refused(&provider).await;
    let timeout = ProviderError::Http {
        call: Call::Token,
        error: HttpError::Timeout,
    };
    assert_eq!(error, timeout);
    assert!(error.is_outage());
    server.answer(
        "/token",
        Answer::json(r#"{"access_token":"a","token_type":"bearer"}"#),
    );
    assert_eq!(
        refused(&provider).await,
        ProviderError::IdToken(JwtError::Missing)
    );
    let mut other = claims(&server);
    other["nonce"] = json!("another");
    give(&server, &key.sign(&other));
    assert_eq!(
        refused(&provider).await,
        ProviderError::IdToken(JwtError::Nonce)
    );
}

#[tokio::test]
async fn userinfo_fills_what_the_id_token_lacks() {
    let server = Scripted::start().await;
    let key = TestKey::ec("a");
    server.publish(&[&key]);
    give(&server, &key.sign(&claims(&server)));
    let userinfo = json!({ "sub": "1", "email": "a@x.example", "email_verified": "true" });
    server.answer("/userinfo", Answer::json(&userinfo.to_string()));
    let provider = provider(&server, Allow::Anyone, &[HeaderSource::Email]);
    let grant = redeem(&provider)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(grant.identity.email.as_deref(), Some("a@x.example"));
    let seen = server.requests("/userinfo").remove(0);
    assert_eq!(seen.headers["authorization"], "Bearer at");
    let somebody_else = json!({ "sub": "2", "email": "b@x.example", "email_verified": true });
    server.answer("/userinfo", Answer::json(&somebody_else.to_string()));
    let error = refused(&provider).await;
    assert!(matches!(
        error,
        ProviderError::Answer {
            call: Call::Userinfo,
            ..
        }
    ));
}

#[tokio::test]
async fn a_broken_userinfo_matters_only_where_it_says_who_somebody_is() {
    let server = Scripted::start().await;
    let key = TestKey::ec("a");
    server.publish(&[&key]);
    give(&server, &key.sign(&claims(&server)));
    server.answer("/userinfo", Answer::status(503));
    let decorated = provider(
        &server,
        Allow::Anyone,
        &[HeaderSource::Name, HeaderSource::Groups],
    );
    assert!(redeem(&decorated).await.is_ok());
    let guarded = provider(&server, Allow::for_test(&[("groups", &["g"])]), &[]);
    assert!(refused(&guarded).await.is_outage());
}

#[tokio::test]
async fn the_browser_is_sent_with_nonce_and_prompt() {
    let server = Scripted::start().await;
    server.publish(&[]);
    let provider = anyone(&server);
    let redirect_uri = Url::parse("https://app.example.com/back").unwrap();
    let mut request = AuthorizeRequest {
        redirect_uri: &redirect_uri,
        state: "s",
        nonce: "n",
        pkce_challenge: "c",
        switch_account: false,
        step_up: &StepUp::default(),
        reauthenticate: false,
    };
    let url = provider.authorize(&request).await.unwrap();
    assert!(url.as_str().starts_with(server.url("/authorize").as_str()));
    let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
    assert_eq!(query["nonce"], "n");
    assert!(!query.contains_key("prompt"));
    request.switch_account = true;
    let url = provider.authorize(&request).await.unwrap();
    let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
    assert_eq!(query["prompt"], "select_account");
}

#[tokio::test]
async fn the_issuer_of_an_answer_is_checked() {
    let server = Scripted::start().await;
    for (promised, absent) in [(true, Err(ProviderError::Issuer)), (false, Ok(()))] {
        let mut metadata = server.metadata();
        metadata["authorization_response_iss_parameter_supported"] = promised.into();
        server.answer(
            "/.well-known/openid-configuration",
            Answer::json(&metadata.to_string()),
        );
        let provider = anyone(&server);
        assert_eq!(provider.check_issuer(None).await, absent);
        assert_eq!(provider.check_issuer(Some(server.origin())).await, Ok(()));
        for other in [
            format!("{}/", server.origin()),
            "https://evil.example".to_owned(),
        ] {
            assert_eq!(
                provider.check_issuer(Some(&other)).await,
                Err(ProviderError::Issuer)
            );
        }
    }
}

#[tokio::test]
async fn the_session_ends_at_the_provider_too() {
    let server = Scripted::start().await;
    server.publish(&[]);
    let provider = anyone(&server);
    let back = Url::parse("https://app.example.com/").unwrap();
    let request = LogoutRequest {
        id_token_hint: Some("i.d.t"),
        post_logout_redirect_uri: &back,
        state: Some("s"),
    };
    assert_eq!(provider.end_session(&request), None);
    provider.discovery.obtain().await.unwrap();
    let url = provider.end_session(&request).unwrap();
    let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let expected = [
        ("id_token_hint", "i.d.t"),
        ("client_id", "us"),
        ("post_logout_redirect_uri", "https://app.example.com/"),
        ("state", "s"),
    ];
    assert!(
        query
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .eq(expected)
    );
}

#[tokio::test]
async fn addresses_may_be_set_by_themselves() {
    let server = Scripted::start().await;
    let key = TestKey::ec("a");
    server.publish(&[&key]);
    let mut config = moved(&catalog::OIDC, &server, &[]);
    config.allow = Allow::Anyone;
    config
        .endpoints
        .insert("token_url", server.url("/elsewhere").into());
    config
        .endpoints
        .insert("authorize_url", server.url("/there").into());
    let token = key.sign(&claims(&server));
    assert!(signed_in(&config, &[], &server, &token).await.is_err());
    let answer = json!({ "access_token": "at", "token_type": "Bearer", "id_token": token });
    server.answer("/elsewhere", Answer::json(&answer.to_string()));
    assert!(signed_in(&config, &[], &server, &token).await.is_ok());
    assert!(server.requests("/token").is_empty());
}

#[tokio::test]
async fn lists_by_path_and_by_login_deny() {
    let server = Scripted::start().await;
    let key = TestKey::ec("a");
    server.publish(&[&key]);
    let userinfo = json!({ "sub": "1", "preferred_username": "Jane", "org": { "id": 7 } });
    server.answer("/userinfo", Answer::json(&userinfo.to_string()));
    let token = key.sign(&claims(&server));
    for (list, good, bad) in [
        ("users", "Jane", "jane"),
        ("claims.org.id", "7", "8"),
        ("groups", "", "ops"),
    ] {
        let denied = moved(&catalog::OIDC, &server, &[(list, &[bad])]);
        assert_eq!(
            barred(&denied, &server, &token).await.as_deref(),
            Some(list)
        );
        if !good.is_empty() {
            let passes = moved(&catalog::OIDC, &server, &[(list, &[good])]);
            assert_eq!(barred(&passes, &server, &token).await, None);
        }
    }
}

#[tokio::test]
async fn what_is_kept_elsewhere_is_not_nothing() {
    let server = Scripted::start().await;
    let key = TestKey::ec("a");
    server.publish(&[&key]);
    server.answer("/userinfo", Answer::json(r#"{"sub":"1"}"#));
    for overage in [
        json!({ "_claim_names": { "groups": "src1" } }),
        json!({ "hasgroups": true }),
    ] {
        let mut claims = claims(&server);
        claims
            .as_object_mut()
            .unwrap()
            .extend(overage.as_object().unwrap().clone());
        let token = key.sign(&claims);
        for list in ["groups", "claims.groups"] {
            let config = moved(&catalog::OIDC, &server, &[(list, &["ops"])]);
            let error = signed_in(&config, &[], &server, &token).await.unwrap_err();
            assert!(error.to_string().contains("groups overage"), "{error}");
        }
        let config = moved(&catalog::OIDC, &server, &[("users", &["jane"])]);
        assert_eq!(
            barred(&config, &server, &token).await.as_deref(),
            Some("users")
        );
    }
}
