//! The provider over real sockets, as an application and a browser use it.

use std::{collections::HashMap, net::SocketAddr};

use http::{
    HeaderName,
    header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE, WWW_AUTHENTICATE},
};
use hyper::body::Incoming;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::{Url, form_urlencoded};

use super::{DemoProviderConfig, serve, vault::challenge_of};
use crate::{
    demo::tests::{json, send, text},
    secret::Secret,
};

const VERIFIER: &str = "a-verifier-that-is-at-least-43-characters-long";
const BACK: &str = "http://localhost:4180/oauth2/callback/demo";
const AFTER: &str = "http://localhost:4180/public/";

type Response = http::Response<Incoming>;

struct Provider {
    address: SocketAddr,
    _guard: DropGuard,
}

impl Provider {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = DemoProviderConfig {
            issuer: format!("http://{address}"),
            client_id: "gate".into(),
            client_secret: Secret::new("s3cret".into()),
            redirect_uris: vec![BACK.into()],
            post_logout_redirect_uris: vec![AFTER.into()],
        };
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(listener, config, shutdown.clone()));
        Self {
            address,
            _guard: shutdown.drop_guard(),
        }
    }

    fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn get(&self, path: &str, cookie: &str) -> Response {
        send(
            self.address,
            http::Request::get(path).header(COOKIE, cookie),
            "",
        )
        .await
    }

    async fn post(
        &self,
        path: &str,
        form: &[(&str, &str)],
        header: (HeaderName, &str),
    ) -> Response {
        let request = http::Request::post(path)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header.0, header.1);
        send(self.address, request, encode(form)).await
    }

    /// Picks a user; gives the answer's parameters and the browser's cookie.
    async fn sign_in(&self, user: &str) -> (HashMap<String, String>, String) {
        let path = format!("/login?{}", request(&[]));
        let response = self.post(&path, &[("user", user)], (COOKIE, "")).await;
        assert_eq!(response.status(), 303);
        let cookie = response.headers()[SET_COOKIE].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        (answer(&response), cookie)
    }

    async fn token(&self, form: &[(&str, &str)]) -> Response {
        let mut form = form.to_vec();
        form.extend([("client_id", "gate"), ("client_secret", "s3cret")]);
        self.post("/token", &form, (COOKIE, "")).await
    }

    async fn redeem(&self, code: &str, verifier: &str) -> Response {
        self.token(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", BACK),
            ("code_verifier", verifier),
        ])
        .await
    }

    async fn refresh(&self, token: &Value) -> Response {
        let token = token.as_str().unwrap();
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)])
            .await
    }

    async fn userinfo(&self, tokens: &Value) -> Response {
        let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
        let request = http::Request::get("/userinfo").header(AUTHORIZATION, bearer);
        send(self.address, request, "").await
    }
}

fn encode(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// A good authorization request, with `changes` to it.
fn request(changes: &[(&str, &str)]) -> String {
    let challenge = challenge_of(VERIFIER);
    let mut pairs = vec![
        ("client_id", "gate"),
        ("redirect_uri", BACK),
        ("response_type", "code"),
        ("scope", "openid profile email groups"),
        ("state", "a b&c"),
        ("nonce", "n"),
        ("code_challenge", &*challenge),
        ("code_challenge_method", "S256"),
    ];
    for change in changes {
        pairs.retain(|(name, _)| *name != change.0);
        pairs.push(*change);
    }
    encode(&pairs)
}

/// The parameters of the address that `response` leads to, which must be the application's.
fn answer(response: &Response) -> HashMap<String, String> {
    let location = response.headers()[LOCATION].to_str().unwrap();
    assert!(location.starts_with(BACK), "{location}");
    Url::parse(location)
        .unwrap()
        .query_pairs()
        .into_owned()
        .collect()
}

#[tokio::test]
async fn somebody_signs_in() {
    let provider = Provider::start().await;
    let metadata = json(provider.get("/.well-known/openid-configuration", "").await).await;
    assert_eq!(metadata["issuer"], provider.issuer());

    let response = provider
        .get(&format!("/authorize?{}", request(&[])), "")
        .await;
    assert_eq!(response.status(), 200);
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(policy.ends_with("form-action 'self' http://localhost:4180"));
    let page = text(response).await;
    assert!(page.contains("Ada Lovelace") && page.contains("Grace Hopper"));

    let (back, _) = provider.sign_in("ada").await;
    assert_eq!(back["state"], "a b&c");
    assert_eq!(back["iss"], provider.issuer());
    let tokens = json(provider.redeem(&back["code"], VERIFIER).await).await;
    assert_eq!(tokens["token_type"], "Bearer");

    let keys: JwkSet = serde_json::from_value(json(provider.get("/jwks", "").await).await).unwrap();
    let id_token = tokens["id_token"].as_str().unwrap();
    let kid = decode_header(id_token).unwrap().kid.unwrap();
    let key = DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["gate"]);
    validation.set_issuer(&[provider.issuer()]);
    let claims = decode::<Value>(id_token, &key, &validation).unwrap().claims;
    assert_eq!(claims["nonce"], "n");
    assert_eq!(claims["preferred_username"], "ada");
    assert_eq!(claims["email_verified"], true);
    assert_eq!(claims["groups"], serde_json::json!(["admins", "engineers"]));
    assert!(claims["at_hash"].is_string() && claims["auth_time"].is_u64());

    let user = json(provider.userinfo(&tokens).await).await;
    assert_eq!(user["sub"], claims["sub"]);
    assert_eq!(user["name"], "Ada Lovelace");
}

#[tokio::test]
async fn a_wrong_verifier_is_refused() {
    let provider = Provider::start().await;
    let (back, _) = provider.sign_in("ada").await;
    let other = "another-verifier-that-is-at-least-43-characters";
    let response = provider.redeem(&back["code"], other).await;
    assert_eq!(response.status(), 400);
    assert_eq!(json(response).await["error"], "invalid_grant");
}

#[tokio::test]
async fn a_replayed_code_ends_what_it_gave() {
    let provider = Provider::start().await;
    let (back, _) = provider.sign_in("ada").await;
    let tokens = json(provider.redeem(&back["code"], VERIFIER).await).await;
    assert_eq!(provider.userinfo(&tokens).await.status(), 200);
    assert_eq!(provider.redeem(&back["code"], VERIFIER).await.status(), 400);
    assert_eq!(provider.userinfo(&tokens).await.status(), 401);
}

#[tokio::test]
async fn refresh_tokens_rotate() {
    let provider = Provider::start().await;
    let (back, _) = provider.sign_in("grace").await;
    let first = json(provider.redeem(&back["code"], VERIFIER).await).await;
    let second = json(provider.refresh(&first["refresh_token"]).await).await;
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert_eq!(provider.userinfo(&second).await.status(), 200);
    let reused = json(provider.refresh(&first["refresh_token"]).await).await;
    assert_eq!(reused["error"], "invalid_grant");
    let response = provider.refresh(&second["refresh_token"]).await;
    assert_eq!(response.status(), 400);
    assert_eq!(provider.userinfo(&second).await.status(), 401);
}

#[tokio::test]
async fn an_unknown_redirect_uri_gets_a_page() {
    let provider = Provider::start().await;
    for change in [
        ("redirect_uri", "http://evil.example/"),
        ("client_id", "other"),
    ] {
        let path = format!("/authorize?{}", request(&[change]));
        let response = provider.get(&path, "").await;
        assert_eq!(response.status(), 400);
        assert!(!response.headers().contains_key(LOCATION));
        assert!(text(response).await.contains("That did not work"));
    }
}

#[tokio::test]
async fn a_silent_request_is_answered_without_a_page() {
    let provider = Provider::start().await;
    let path = format!("/authorize?{}", request(&[("prompt", "none")]));
    assert_eq!(
        answer(&provider.get(&path, "").await)["error"],
        "login_required"
    );
    let (_, cookie) = provider.sign_in("ada").await;
    assert!(answer(&provider.get(&path, &cookie).await).contains_key("code"));
    // Without `prompt=none` the user is asked again, and told who is signed in.
    let page = text(
        provider
            .get(&format!("/authorize?{}", request(&[])), &cookie)
            .await,
    )
    .await;
    assert!(page.contains("signed in"));
}

#[tokio::test]
async fn another_site_cannot_pick_for_the_user() {
    let provider = Provider::start().await;
    let path = format!("/login?{}", request(&[]));
    let header = (HeaderName::from_static("sec-fetch-site"), "cross-site");
    let response = provider.post(&path, &[("user", "ada")], header).await;
    assert_eq!(response.status(), 400);
    assert!(!response.headers().contains_key(SET_COOKIE));
}

#[tokio::test]
async fn clients_must_prove_who_they_are() {
    let provider = Provider::start().await;
    let form = [("grant_type", "refresh_token"), ("refresh_token", "a.b")];
    // gate:wrong, then gate:s3cret
    let response = provider
        .post("/token", &form, (AUTHORIZATION, "Basic Z2F0ZTp3cm9uZw=="))
        .await;
    assert_eq!(response.status(), 401);
    assert!(response.headers().contains_key(WWW_AUTHENTICATE));
    assert_eq!(json(response).await["error"], "invalid_client");
    let response = provider
        .post("/token", &form, (AUTHORIZATION, "Basic Z2F0ZTpzM2NyZXQ="))
        .await;
    assert_eq!(json(response).await["error"], "invalid_grant");
    assert_eq!(
        provider.post("/token", &form, (COOKIE, "")).await.status(),
        401
    );
    let response = provider.token(&[("grant_type", "password")]).await;
    assert_eq!(json(response).await["error"], "unsupported_grant_type");
}

#[tokio::test]
async fn revoked_tokens_are_forgotten() {
    let provider = Provider::start().await;
    let (back, _) = provider.sign_in("ada").await;
    let tokens = json(provider.redeem(&back["code"], VERIFIER).await).await;
    let token = tokens["refresh_token"].as_str().unwrap();
    let form = [
        ("token", token),
        ("client_id", "gate"),
        ("client_secret", "s3cret"),
    ];
    assert_eq!(
        provider.post("/revoke", &form, (COOKIE, "")).await.status(),
        200
    );
    assert_eq!(provider.userinfo(&tokens).await.status(), 401);
    assert_eq!(
        provider.refresh(&tokens["refresh_token"]).await.status(),
        400
    );
}

#[tokio::test]
async fn logout_with_a_hint_leads_back() {
    let provider = Provider::start().await;
    let (back, cookie) = provider.sign_in("ada").await;
    let tokens = json(provider.redeem(&back["code"], VERIFIER).await).await;
    let hint = tokens["id_token"].as_str().unwrap();
    let query = encode(&[
        ("id_token_hint", hint),
        ("post_logout_redirect_uri", AFTER),
        ("state", "s"),
    ]);
    let response = provider.get(&format!("/logout?{query}"), &cookie).await;
    assert_eq!(response.headers()[LOCATION], format!("{AFTER}?state=s"));
    assert!(
        response.headers()[SET_COOKIE]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    assert_eq!(provider.userinfo(&tokens).await.status(), 401);
}

#[tokio::test]
async fn logout_without_a_hint_asks_and_leads_nowhere_unknown() {
    let provider = Provider::start().await;
    let (_, cookie) = provider.sign_in("ada").await;
    let query = encode(&[
        ("client_id", "gate"),
        ("post_logout_redirect_uri", "http://evil.example/"),
    ]);
    let response = provider.get(&format!("/logout?{query}"), &cookie).await;
    assert!(text(response).await.contains("Sign out here too?"));
    let path = format!("/logout/confirm?{query}");
    let response = provider.post(&path, &[], (COOKIE, &cookie)).await;
    assert_eq!(response.status(), 200);
    assert!(text(response).await.contains("Signed out"));
}

#[tokio::test]
async fn a_foreign_host_name_is_refused() {
    let provider = Provider::start().await;
    let request = http::Request::get("/jwks").header("host", "rebound.example");
    assert_eq!(send(provider.address, request, "").await.status(), 421);
}
