//! The gate's tokens in exchange for narrower ones (RFC 8693).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use serde_json::json;

use super::{
    Home, authorize, call, consent_of, decide, error,
    exchange::{ACCESS, GRANT, ID, PHONE, exchange, id_token},
    home_with, parameter, post, post_with, redeem, text, tokens_of,
};

/// Tokens of the app, for `/api` with these scopes.
async fn tokens(home: &Home, scope: &str) -> super::Tokens {
    let token = id_token(&home.provider, &json!({}));
    let scope = format!("{scope} offline_access");
    tokens_of(
        "phone",
        &exchange(&home.house, ID, &token, &[("scope", &scope)]).await,
    )
}

#[tokio::test]
async fn a_token_of_ours_becomes_a_narrower_one_and_never_a_wider() {
    for format in ["opaque", "jwt"] {
        let format = format!("[issuer]\ntoken_format = \"{format}\"\n");
        // The first that matches counts.
        let admin =
            "[[routes]]\npath = \"/api/admin/**\"\ntokens = true\n[[routes]]\npath = \"/api/**\"";
        let tables = PHONE
            .replace("[issuer]\n", &format)
            .replace("[[routes]]\npath = \"/api/**\"", admin);
        let home = home_with(&tables, |plan| plan).await;
        let house = &home.house;
        let whole = tokens(&home, "api files:read").await;
        let (part, admin, staff) = (
            house.url("/api/part"),
            house.url("/api/admin"),
            house.url("/staff"),
        );
        let reply = exchange(
            house,
            ACCESS,
            &whole.access,
            &[("scope", "api"), ("resource", &part)],
        )
        .await;
        let narrow = text(&reply, "access_token");
        assert_eq!(reply.json()["scope"], "api");
        assert_eq!(reply.json()["issued_token_type"], ACCESS);
        assert_eq!(reply.json().get("refresh_token"), None);
        let left = reply.json()["expires_in"].as_u64().expect("a number");
        assert!((1..=600).contains(&left), "{left}");
        let seen = call(house, &narrow, "/api/part/x").await.seen();
        assert_eq!(seen.header("x-user-scopes"), Some("api"));
        assert_eq!(
            call(house, &narrow, "/api/x").await.status,
            StatusCode::UNAUTHORIZED
        );
        for (token, changes, expected) in [
            (
                &whole.access,
                vec![("scope", "api files:read files:write")],
                "invalid_scope",
            ),
            (
                &whole.access,
                vec![("scope", "api offline_access")],
                "invalid_scope",
            ),
            (&whole.access, vec![("resource", &*staff)], "invalid_target"),
            (&whole.access, vec![("resource", &*admin)], "invalid_target"),
            (&narrow, vec![], "invalid_target"),
            (
                &narrow,
                vec![("resource", &*part), ("scope", "files:read")],
                "invalid_scope",
            ),
            (
                &whole.access,
                vec![("client_id", "web")],
                "unauthorized_client",
            ),
            (
                &whole.access,
                vec![("subject_token_type", ID)],
                "invalid_request",
            ),
            (
                &whole.access,
                vec![("subject_issuer", "script")],
                "invalid_request",
            ),
            (&whole.refresh, vec![], "invalid_request"),
        ] {
            let reply = exchange(house, ACCESS, token, &changes).await;
            assert_eq!(error(&reply), expected, "{changes:?}: {}", reply.text());
        }
        // It ends with its grant.
        let fields = [("client_id", "phone"), ("token", &*whole.refresh)];
        let revoked = post(house, "/oauth2/revoke", &fields).await;
        assert_eq!(revoked.status, StatusCode::OK);
        assert_eq!(
            call(house, &narrow, "/api/part/x").await.status,
            StatusCode::UNAUTHORIZED
        );
        let late = exchange(house, ACCESS, &whole.access, &[]).await;
        assert_eq!(error(&late), "invalid_request", "{}", late.text());
    }
}

/// What one client was given no other brings, and nobody what a client has for itself.
#[tokio::test]
async fn a_token_of_another_client_is_not_exchanged() {
    let hash = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let machine = format!(
        "[[issuer.clients]]\nid = \"billing\"\nsecret_hash = \"{hash}\"\ntoken_exchange = true\n"
    );
    let tables = PHONE.replace(
        "[[routes]]\npath = \"/api/**\"",
        &format!("{machine}[[routes]]\npath = \"/api/**\""),
    );
    let home = home_with(&tables, |plan| plan).await;
    let house = &home.house;
    let browser = house.browser();
    let resource = house.url("/api");
    let changes = [
        ("resource", &*resource),
        ("redirect_uri", "http://127.0.0.1:33418/callback"),
        ("scope", "api"),
    ];
    let page = browser.follow(&authorize(house, "web", &changes)).await;
    let back = decide(&browser, &consent_of(&page), "allow")
        .await
        .location();
    let code = parameter(&back, "code").expect("a code");
    let others = tokens_of("web", &redeem(house, "web", &code).await);
    let reply = exchange(house, ACCESS, &others.access, &[]).await;
    assert_eq!(error(&reply), "invalid_request", "{}", reply.text());
    let basic = format!("Basic {}", STANDARD.encode("billing:secret"));
    let headers = [("authorization", &*basic)];
    let fields = [
        ("grant_type", "client_credentials"),
        ("resource", &*resource),
    ];
    let own = text(
        &post_with(house, "/oauth2/token", &fields, &headers).await,
        "access_token",
    );
    let fields = [
        ("grant_type", GRANT),
        ("subject_token", &*own),
        ("subject_token_type", ACCESS),
        ("resource", &*resource),
    ];
    let reply = post_with(house, "/oauth2/token", &fields, &headers).await;
    assert_eq!(error(&reply), "invalid_request", "{}", reply.text());
}
