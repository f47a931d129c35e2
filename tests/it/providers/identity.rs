//! Attempts to be somebody else: by an address, by a name, by a number that is nearly the same.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Backend,
    cases::{self, Case},
    house, sign_in_at,
};
use crate::support::{House, Upstream};

/// Says `email` is the person's address, vouched for as far as the provider does such a thing.
fn say_email(case: &Case, email: &Value) {
    match &case.backend {
        Backend::OpenId(provider) => provider.user("email", email.clone()),
        Backend::Plain(server) => match case.kind {
            "42" => server.change("/v2/me", &json!({ "email": email })),
            "discord" => server.change("/api/v10/users/@me", &json!({ "email": email })),
            "github" => server.page(
                "/user/emails",
                json!([{ "email": email, "primary": true, "verified": true }]),
            ),
            _ => server.change(
                "/me",
                &json!({ "data": {
                    "uid": 42, "nick": "ada", "mails": [{ "address": email, "confirmed": true }],
                }}),
            ),
        },
    }
}

/// Says the person's address is not theirs for sure.
fn say_unverified(case: &Case, verified: &Value) {
    match &case.backend {
        Backend::OpenId(provider) => {
            let claim = if case.kind == "microsoft" {
                "xms_edov"
            } else {
                "email_verified"
            };
            provider.user(claim, verified.clone());
        }
        Backend::Plain(server) => match case.kind {
            "42" => server.change("/v2/me", &json!({ "kind": "external" })),
            "discord" => server.change("/api/v10/users/@me", &json!({ "verified": verified })),
            "github" => server.page(
                "/user/emails",
                json!([{ "email": "ada@example.com", "primary": true, "verified": verified }]),
            ),
            _ => server.change(
                "/me",
                &json!({ "data": {
                    "uid": 42, "nick": "ada",
                    "mails": [{ "address": "ada@example.com", "confirmed": verified }],
                }}),
            ),
        },
    }
}

/// Every kind that vouches for addresses.
async fn vouching() -> [Case; 8] {
    [
        cases::forty_two().await,
        cases::github().await,
        cases::discord().await,
        cases::oauth2().await,
        cases::google().await,
        cases::gitlab().await,
        cases::microsoft().await,
        cases::oidc().await,
    ]
}

#[tokio::test]
async fn an_address_that_is_none_is_not_passed_on() {
    for case in vouching().await {
        let (house, _upstream) = house(&case, "\"anyone\"", "").await;
        for email in [
            json!("ada@evil.example@example.com"),
            json!("ada@example.com@evil.example"),
            json!("ada"),
            json!("@example.com"),
            json!("ada@"),
            json!("ada lovelace@example.com"),
            json!("ada@example.com\r\nX-Admin: yes"),
            json!("ada@example.com,eve@example.com"),
            json!(["ada@example.com"]),
            json!({ "address": "ada@example.com" }),
            json!(""),
            Value::Null,
        ] {
            say_email(&case, &email);
            let seen = house.browser().follow("/page").await.seen();
            assert_eq!(seen.header("x-user-email"), None, "{}: {email}", case.kind);
            assert_eq!(seen.header("x-admin"), None);
        }
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_on_no_list() {
    let domains = "[\"example.com\", \"evil.example\", \".evil.example\"]";
    for case in vouching().await {
        let allow = case.allow("domains", domains);
        let (house, upstream) = house(&case, &allow, "").await;
        for email in [
            "ada@evil.example@example.com",
            "ada@example.com@evil.example",
            "ada@example.com ",
            "\"ada@example.com\"@evil.example",
        ] {
            say_email(&case, &json!(email));
            let status = house.browser().follow("/page").await.status;
            assert_eq!(status, StatusCode::FORBIDDEN, "{}: {email}", case.kind);
        }
        assert_eq!(upstream.count(), 0);
    }
}

#[tokio::test]
async fn an_address_that_nobody_vouches_for_is_not_used() {
    for case in vouching().await {
        let email = case.email.expect("these vouch");
        let allow = case.allow("emails", &format!("[\"{email}\"]"));
        let upstream = Upstream::start().await;
        let plan = House::plan().upstream(&upstream);
        let house = plan
            .named("listed", &case.table("listed", &allow))
            .named("open", &case.table("open", "\"anyone\""))
            .start()
            .await;
        for verified in [json!(false), Value::Null, json!("no"), json!([true])] {
            say_unverified(&case, &verified);
            let reply = sign_in_at(&house.browser(), "listed", "/page").await;
            let what = format!("{}: {verified}", case.kind);
            assert_eq!(reply.status, StatusCode::FORBIDDEN, "{what}");
            let seen = sign_in_at(&house.browser(), "open", "/page").await.seen();
            assert_eq!(seen.header("x-user-email"), None, "{what}");
            // Microsoft's login name looks like an address and is none: what is known of it is in `X-User-Id`.
            if case.kind != "microsoft" {
                assert_ne!(seen.header("x-user"), case.email, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn google_vouches_for_what_is_its_own() {
    let case = cases::google().await;
    let (house, _upstream) = house(&case, "\"anyone\"", "").await;
    let provider = case.backend.openid();
    for (email, domain, expected) in [
        ("ada@gmail.com", Value::Null, Some("ada@gmail.com")),
        // Verified once, and may since belong to somebody else.
        ("ada@example.com", Value::Null, None),
        ("ada@notgmail.com", Value::Null, None),
        (
            "ada@example.com",
            json!("example.com"),
            Some("ada@example.com"),
        ),
    ] {
        provider.user("email", json!(email));
        provider.user("hd", domain.clone());
        let seen = house.browser().follow("/page").await.seen();
        assert_eq!(
            seen.header("x-user-email"),
            expected,
            "{email}, hd {domain}"
        );
    }
}

#[tokio::test]
async fn one_address_at_two_providers_is_two_people() {
    let (github, oidc) = (cases::github().await, cases::oidc().await);
    let upstream = Upstream::start().await;
    let house = House::plan()
        .upstream(&upstream)
        .named(
            "a",
            &github.table("a", "{ emails = [\"ada@example.com\"] }"),
        )
        .named("b", &oidc.table("b", "\"anyone\""))
        .named("c", &oidc.table("c", "{ emails = [\"eve@example.com\"] }"))
        .start()
        .await;
    let browser = house.browser();
    let first = sign_in_at(&browser, "a", "/page").await.seen();
    let second = sign_in_at(&browser, "b", "/page").await.seen();
    assert_eq!(first.header("x-user-email"), second.header("x-user-email"));
    assert_eq!(first.header("x-user-id"), Some("a:583231"));
    assert_eq!(second.header("x-user-id"), Some("b:ada-1815"));
    // A list is its provider's alone.
    let third = sign_in_at(&house.browser(), "c", "/page").await;
    assert_eq!(third.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_name_is_nobodys_for_ever() {
    let case = cases::github().await;
    let (house, _upstream) = house(&case, "\"anyone\"", "").await;
    let server = case.backend.plain();
    server.change("/user", &json!({ "login": "countess" }));
    let renamed = house.browser().follow("/page").await.seen();
    assert_eq!(renamed.header("x-user-id"), Some("one:583231"));
    assert_eq!(renamed.header("x-user"), Some("countess"));
    // Somebody else takes the name that became free.
    server.change("/user", &json!({ "login": "ada-l", "id": 999 }));
    let other = house.browser().follow("/page").await.seen();
    assert_eq!(other.header("x-user-id"), Some("one:999"));
}

#[tokio::test]
async fn a_subject_is_exact_or_there_is_none() {
    let case = cases::oauth2().await;
    let (house, _upstream) = house(&case, "\"anyone\"", "").await;
    for (subject, id) in [
        (
            json!(9_007_199_254_740_993_u64),
            Some("one:9007199254740993"),
        ),
        (json!(u64::MAX), Some("one:18446744073709551615")),
        (json!("80351110224678912"), Some("one:80351110224678912")),
        (json!("ada"), Some("one:ada")),
        (json!(1.5), None),
        (json!(1e30), None),
        (json!(true), None),
        (json!(""), None),
        (json!([1]), None),
        (json!({ "id": 1 }), None),
        (json!("ada\r\nX-Admin: yes"), None),
        (Value::Null, None),
    ] {
        let server = case.backend.plain();
        server.change("/me", &json!({ "data": { "uid": subject, "nick": "ada" } }));
        let reply = house.browser().follow("/page").await;
        if id.is_some() {
            assert_eq!(reply.seen().header("x-user-id"), id);
            continue;
        }
        let text = reply.text();
        assert_ne!(reply.status, StatusCode::OK, "{subject}: {text}");
        assert!(!reply.sets_session());
    }
}
