//! A provider's own tokens in exchange for the gate's (RFC 8693).

use std::{fs, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    Home, authorize, call, consent_of, decide, error, home_with, parameter, post, redeem, renew,
    text, tokens_of,
};
use crate::{
    providers::{self, cases},
    support::{
        House, Reply, ScriptedProvider, Upstream,
        house::{self, Plan},
        keys::{self, Signing},
        node_provider,
        process::Process,
        provider::{CLIENT_ID, CLIENT_SECRET, now},
        raw,
    },
};

pub const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";
pub const ID: &str = "urn:ietf:params:oauth:token-type:id_token";

/// An app on a phone, and a route for it.
pub const PHONE: &str = "[issuer]\nscopes = [\"files:read\", \"files:write\"]\n\
    [[issuer.clients]]\nid = \"phone\"\nname = \"The app\"\ntoken_exchange = true\n\
    [[issuer.clients]]\nid = \"web\"\nredirect_uris = [\"http://127.0.0.1/callback\"]\n\
    [[routes]]\npath = \"/api/**\"\ntokens = true\n\
    [[routes]]\npath = \"/staff/**\"\ntokens = true\nallow = { groups = [\"staff\"] }\n";

async fn phone() -> Home {
    home_with(PHONE, |plan| plan).await
}

pub async fn exchange(house: &House, kind: &str, token: &str, changes: &[(&str, &str)]) -> Reply {
    let resource = house.url("/api");
    let mut fields = vec![
        ("grant_type", GRANT),
        ("client_id", "phone"),
        ("subject_token", token),
        ("subject_token_type", kind),
        ("resource", &*resource),
    ];
    fields.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    fields.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    post(house, "/oauth2/token", &fields).await
}

/// An ID token of the provider's for the gate's client, with these claims over the usual ones; null takes one away.
pub fn id_token(provider: &ScriptedProvider, changes: &Value) -> String {
    signed(provider, changes, Signing::First)
}

fn signed(provider: &ScriptedProvider, changes: &Value, signing: Signing) -> String {
    let mut claims = provider.behaviour().user;
    let usual = json!({
        "iss": provider.issuer(), "aud": CLIENT_ID, "iat": now(), "exp": now() + 3_600, "nonce": "the app's own",
    });
    crate::support::provider::lay_over(&mut claims, &usual);
    crate::support::provider::lay_over(&mut claims, changes);
    keys::id_token(&claims, signing, CLIENT_SECRET)
}

/// What the provider says of an access token.
fn knows(provider: &ScriptedProvider, token: &str, changes: &Value) {
    let subject = provider.behaviour().user["sub"].clone();
    let mut answer = json!({
        "active": true, "sub": subject, "client_id": CLIENT_ID, "scope": "openid", "exp": now() + 600, "token_type": "Bearer",
    });
    crate::support::provider::lay_over(&mut answer, changes);
    provider.set(|behaviour| {
        behaviour.introspection.insert(token.to_owned(), answer);
    });
}

#[tokio::test]
async fn an_id_token_signs_its_user_in_as_a_login_would() {
    let home = phone().await;
    let house = &home.house;
    let browser = house.browser();
    browser.sign_in("/").await;
    let by_session = browser.get("/page").await.seen();
    let token = id_token(&home.provider, &json!({}));
    let reply = exchange(house, ID, &token, &[("scope", "api openid email")]).await;
    let access = text(&reply, "access_token");
    let answer = reply.json();
    assert_eq!(answer["issued_token_type"], ACCESS);
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["scope"], "api openid email");
    assert_eq!(answer.get("refresh_token"), None, "{answer}");
    let claims = super::openid::said(&text(&reply, "id_token"));
    assert_eq!(
        (&claims["aud"], claims.get("nonce")),
        (&json!("phone"), None)
    );
    let seen = call(house, &access, "/api/x").await.seen();
    for name in ["x-user", "x-user-id", "x-user-email"] {
        assert_eq!(seen.header(name), by_session.header(name), "{name}");
    }
    assert_eq!(seen.header("x-user-client"), Some("phone"));
    assert_eq!(seen.header("x-user-auth"), Some("access_token"));
    // Its owner sees it and ends it.
    let list = async || {
        browser
            .fetch(Method::GET, "/oauth2/account/grants")
            .send()
            .await
            .json()
    };
    let listed = list().await["grants"].clone();
    assert_eq!(listed[0]["name"], "The app", "{listed}");
    let path = format!(
        "/oauth2/account/grants/{}",
        listed[0]["id"].as_str().expect("an id")
    );
    let ended = browser.fetch(Method::DELETE, &path).send().await;
    assert!(ended.status.is_success(), "{}", ended.text());
    assert_eq!(
        call(house, &access, "/api/x").await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_refresh_token_is_given_to_who_asks_for_it_and_rotates() {
    let home = phone().await;
    let house = &home.house;
    let token = id_token(&home.provider, &json!({}));
    let reply = exchange(house, ID, &token, &[("scope", "api offline_access")]).await;
    assert_eq!(reply.json()["scope"], "api");
    let first = tokens_of("phone", &reply);
    let second = tokens_of("phone", &renew(house, "phone", &first.refresh).await);
    let third = tokens_of("phone", &renew(house, "phone", &second.refresh).await);
    assert_eq!(
        call(house, &third.access, "/api/x").await.status,
        StatusCode::OK
    );
    assert_eq!(
        error(&renew(house, "phone", &first.refresh).await),
        "invalid_grant"
    );
    assert_eq!(
        call(house, &third.access, "/api/x").await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn an_id_token_that_is_not_for_us_or_not_fresh_proves_nobody() {
    let home = phone().await;
    let house = &home.house;
    let provider = &home.provider;
    for changes in [
        json!({ "aud": "another-app" }),
        json!({ "aud": ["another-app", CLIENT_ID] }),
        json!({ "aud": [CLIENT_ID, "another-app"], "azp": "another-app" }),
        json!({ "aud": null }),
        json!({ "iss": "https://evil.example" }),
        json!({ "exp": now() - 120 }),
        json!({ "exp": null }),
        json!({ "iat": now() - 800 }),
        json!({ "iat": now() + 600 }),
        json!({ "iat": null }),
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "events": { "http://schemas.openid.net/event/backchannel-logout": {} } }),
        json!({ "cnf": { "jkt": "x" } }),
        json!({ "typ": "Refresh" }),
        // Access tokens of other apps, whose `aud` may be our id.
        json!({ "client_id": "another-app" }),
        json!({ "cid": "another-app" }),
        json!({ "azp": CLIENT_ID, "appid": "another-app" }),
        json!({ "client_id": null, "azp": null, "scp": ["files"] }),
        json!({ "typ": "Bearer" }),
        json!({ "token_use": "access" }),
        json!({ "act": { "sub": "somebody else" } }),
    ] {
        let reply = exchange(house, ID, &id_token(provider, &changes), &[]).await;
        let found = (reply.status.as_u16(), error(&reply));
        assert_eq!(found, (400, "invalid_request".to_owned()), "{changes}");
    }
    for signing in [
        Signing::None,
        Signing::NoneWithSignature,
        Signing::HmacWithPublicKey,
        Signing::HmacWithClientSecret,
        Signing::Forged,
        Signing::Tampered,
        Signing::Garbage,
    ] {
        let token = signed(provider, &json!({}), signing);
        let reply = exchange(house, ID, &token, &[]).await;
        assert_eq!(error(&reply), "invalid_request", "{signing:?}");
    }
    assert_eq!(text_of_grants(house).await, 0);
    // Whoever has read one on its way comes too late.
    let good = id_token(provider, &json!({}));
    assert_eq!(exchange(house, ID, &good, &[]).await.status, StatusCode::OK);
    let again = exchange(house, ID, &good, &[]).await;
    assert_eq!(error(&again), "invalid_request", "{}", again.text());
    let good = signed(provider, &json!({ "jti": "elliptic" }), Signing::Elliptic);
    assert_eq!(exchange(house, ID, &good, &[]).await.status, StatusCode::OK);
    let again = exchange(house, ID, &twin(&good), &[]).await;
    assert_eq!(error(&again), "invalid_request", "{}", again.text());
}

/// An app on a phone is a client of its own there, and gets tokens for the server behind it.
#[tokio::test]
async fn google_gives_a_phone_tokens_for_the_gate_and_nobody_else_does() {
    const PHONES: &str = "sidegate-android.apps.googleusercontent.com";
    for (case, lends) in [
        (cases::google().await, true),
        (cases::gitlab().await, false),
        (cases::microsoft().await, false),
        (cases::oidc().await, false),
    ] {
        let allow = case.allow("emails", "[\"ada@example.com\"]");
        let (house, _upstream) = providers::house(&case, &allow, PHONE).await;
        let provider = case.backend.openid();
        let token = |changes: Value| {
            let mut claims = provider.behaviour().id_token;
            for (name, value) in changes.as_object().expect("claims") {
                claims[name] = value.clone();
            }
            id_token(provider, &claims)
        };
        let own = exchange(&house, ID, &token(json!({ "azp": CLIENT_ID })), &[]).await;
        let seen = call(&house, &text(&own, "access_token"), "/api/x").await;
        assert_eq!(seen.seen().header("x-user-email"), case.email);
        let phones = exchange(&house, ID, &token(json!({ "azp": PHONES })), &[]).await;
        let found = phones.status == StatusCode::OK;
        assert_eq!(found, lends, "{}: {}", case.kind, phones.text());
        for changes in [
            // Theirs, and ours beside others.
            json!({ "azp": PHONES, "aud": PHONES }),
            json!({ "azp": PHONES, "aud": [CLIENT_ID, PHONES] }),
            json!({ "azp": PHONES, "aud": [PHONES, CLIENT_ID] }),
            json!({ "azp": PHONES, "aud": [] }),
            json!({ "azp": PHONES, "aud": null }),
            json!({ "azp": "", "jti": 1 }),
            // A service account of anybody's gets tokens for whomever it likes.
            json!({ "azp": "107517467455664443766", "sub": "107517467455664443766" }),
            json!({ "azp": [CLIENT_ID] }),
            // An access token of theirs.
            json!({ "azp": PHONES, "client_id": PHONES }),
            json!({ "azp": PHONES, "scope": "openid" }),
            json!({ "azp": PHONES, "email": "eve@example.com", "sub": "eve", "oid": "eve" }),
            json!({ "azp": PHONES, "iat": now() - 800 }),
        ] {
            let reply = exchange(&house, ID, &token(changes.clone()), &[]).await;
            let found = error(&reply);
            assert_eq!(found, "invalid_request", "{}: {changes}", case.kind);
        }
    }
    // At a login by code the token comes to the gate's own client.
    let case = cases::google().await;
    let (house, upstream) = providers::house(&case, "\"anyone\"", "").await;
    let provider = case.backend.openid();
    provider.set(|behaviour| behaviour.id_token = json!({ "azp": PHONES }));
    let page = providers::sign_in(&house).await;
    providers::assert_turned_away(&page, &upstream, "azp");
}

/// The same token with the other signature that ES256 takes: of (r, s) anybody can make (r, n - s).
fn twin(token: &str) -> String {
    const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    let mut signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let mut borrow = 0;
    for place in (0..32).rev() {
        let of_order =
            i32::from_str_radix(&ORDER[2 * place..2 * place + 2], 16).expect("hexadecimal");
        let left = of_order - i32::from(signature[32 + place]) - borrow;
        borrow = i32::from(left < 0);
        signature[32 + place] = u8::try_from(left.rem_euclid(256)).expect("a byte");
    }
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// How many grants the user has that signs in here.
async fn text_of_grants(house: &House) -> usize {
    let browser = house.browser();
    browser.sign_in("/").await;
    let listed = browser
        .fetch(Method::GET, "/oauth2/account/grants")
        .send()
        .await;
    listed.json()["grants"].as_array().expect("a list").len()
}

#[tokio::test]
async fn an_access_token_counts_that_was_given_to_our_client_and_no_other() {
    let home = phone().await;
    let house = &home.house;
    let provider = &home.provider;
    knows(provider, "ours", &json!({}));
    let reply = exchange(house, ACCESS, "ours", &[]).await;
    let seen = call(house, &text(&reply, "access_token"), "/api/x")
        .await
        .seen();
    assert_eq!(seen.header("x-user"), Some("ada"));
    // What it is for at the provider does not matter.
    knows(provider, "for-an-api", &json!({ "aud": "account" }));
    assert_eq!(
        exchange(house, ACCESS, "for-an-api", &[]).await.status,
        StatusCode::OK
    );
    for (number, changes) in [
        json!({ "client_id": "another-app" }),
        json!({ "client_id": null }),
        json!({ "client_id": null, "aud": CLIENT_ID }),
        json!({ "azp": "another-app" }),
        json!({ "active": false }),
        json!({ "active": "true" }),
        json!({ "token_use": "refresh_token" }),
        json!({ "exp": now() - 120 }),
        json!({ "iss": "https://evil.example" }),
        json!({ "cnf": { "jkt": "x" } }),
        // Another service acts for them.
        json!({ "act": { "sub": "orders" } }),
        // The client's own: nobody has signed in.
        json!({ "sub": CLIENT_ID }),
        json!({ "sub": null }),
    ]
    .iter()
    .enumerate()
    {
        let token = format!("bad-{number}");
        knows(provider, &token, changes);
        let reply = exchange(house, ACCESS, &token, &[]).await;
        let found = (reply.status.as_u16(), error(&reply));
        assert_eq!(found, (400, "invalid_request".to_owned()), "{changes}");
    }
    provider.set(|behaviour| behaviour.introspection_says = Some((503, "not now".to_owned())));
    let reply = exchange(house, ACCESS, "unknown", &[]).await;
    let found = (reply.status.as_u16(), error(&reply));
    assert_eq!(found, (503, "temporarily_unavailable".to_owned()));
    assert!(
        reply.headers.contains_key("retry-after"),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn a_signed_access_token_names_its_client() {
    let home = phone().await;
    let house = &home.house;
    let provider = &home.provider;
    let token = |changes: Value| {
        let mut claims = json!({
            "iss": provider.issuer(), "sub": provider.behaviour().user["sub"], "aud": "account", "azp": CLIENT_ID,
            "typ": "Bearer", "iat": now(), "exp": now() + 300,
        });
        crate::support::provider::lay_over(&mut claims, &changes);
        keys::access_token(Some("JWT"), &claims)
    };
    // Some write the client, and some ID tokens have it, too: what is for the client and nothing else is an ID token.
    let plain = json!({ "typ": null, "azp": null, "client_id": CLIENT_ID });
    let mut of_client = plain.clone();
    of_client["aud"] = json!(CLIENT_ID);
    let mut with_scope = of_client.clone();
    with_scope["scope"] = json!("email");
    for good in [&json!({}), &plain, &with_scope] {
        let reply = exchange(house, ACCESS, &token(good.clone()), &[]).await;
        assert_eq!(reply.status, StatusCode::OK, "{good}: {}", reply.text());
    }
    for changes in [
        of_client.clone(),
        json!({ "typ": null, "client_id": CLIENT_ID, "aud": ["account", CLIENT_ID] }),
        json!({ "azp": "another-app" }),
        json!({ "azp": null }),
        json!({ "azp": "another-app", "aud": CLIENT_ID }),
        json!({ "azp": null, "client_id": "another-app", "aud": CLIENT_ID }),
        json!({ "typ": "ID" }),
        json!({ "exp": now() - 120 }),
        json!({ "iss": "https://evil.example" }),
    ] {
        let reply = exchange(house, ACCESS, &token(changes.clone()), &[]).await;
        assert_eq!(
            error(&reply),
            "invalid_request",
            "{changes}: {}",
            reply.text()
        );
    }
}

/// Each exchange makes a grant: of one token no more come than so many.
#[tokio::test]
async fn exchanges_of_one_user_are_bounded() {
    let home = phone().await;
    let house = &home.house;
    knows(&home.provider, "theirs", &json!({}));
    let mut given = 0;
    let refused = loop {
        let reply = exchange(house, ACCESS, "theirs", &[]).await;
        if reply.status != StatusCode::OK {
            break reply;
        }
        given += 1;
        assert!(given < 200, "it is not bounded");
    };
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(error(&refused), "slow_down");
    assert!(given >= 50, "{given}");
}

#[tokio::test]
async fn rules_judge_as_at_a_login() {
    let home = home_with(PHONE, |plan| {
        plan.allow("{ emails = [\"ada@example.com\"] }")
    })
    .await;
    let house = &home.house;
    let staff = house.url("/staff");
    home.provider.user("groups", json!([]));
    let token = id_token(&home.provider, &json!({}));
    let reply = exchange(house, ID, &token, &[("resource", &staff)]).await;
    assert_eq!(error(&reply), "invalid_target", "{}", reply.text());
    // It was not spent on that.
    assert_eq!(
        exchange(house, ID, &token, &[]).await.status,
        StatusCode::OK
    );
    home.provider.user("groups", json!(["staff"]));
    let token = id_token(&home.provider, &json!({}));
    let reply = exchange(house, ID, &token, &[("resource", &staff)]).await;
    let access = text(&reply, "access_token");
    assert_eq!(
        call(house, &access, "/staff/x").await.status,
        StatusCode::OK
    );
    let eve = json!({ "sub": "eve", "email": "eve@example.com" });
    let reply = exchange(house, ID, &id_token(&home.provider, &eve), &[]).await;
    assert_eq!(error(&reply), "invalid_request", "{}", reply.text());
    let unverified = json!({ "email_verified": false });
    let reply = exchange(house, ID, &id_token(&home.provider, &unverified), &[]).await;
    assert_eq!(error(&reply), "invalid_request", "{}", reply.text());
}

/// The last line of the audit trail with this event, waited for.
async fn told(house: &House, event: &str) -> Value {
    for _ in 0..500 {
        let log = house.process.log();
        let mut lines = log.lines().rev();
        let line = lines.find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["event"] == event).then_some(line)
        });
        if let Some(line) = line {
            return line;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no {event}: {}", house.process.log());
}

#[tokio::test]
async fn who_is_refused_is_in_the_trail() {
    let tables = format!("[audit]\nto = \"stderr\"\n{PHONE}");
    let home = home_with(&tables, Plan::admin).await;
    let (house, provider) = (&home.house, &home.provider);
    let staff = house.url("/staff");
    let token = id_token(provider, &json!({ "iat": now() - 60 }));
    let reply = exchange(house, ID, &token, &[("resource", &staff)]).await;
    assert_eq!(error(&reply), "invalid_target", "{}", reply.text());
    let denied = told(house, "denied").await;
    assert_eq!(denied["object"], "phone", "{denied}");
    assert_eq!(denied["user_id"], "script:ada-1815");
    let rule = denied["rule"].as_str().unwrap_or_default();
    assert!(rule.starts_with("routes[1]: allow.groups"), "{denied}");

    // Who is thrown out is out with the tokens of before.
    house.browser().sign_in("/").await;
    let operator = house.admin_address();
    let ended = format!(
        "DELETE /sessions?user=script:ada-1815 HTTP/1.1\r\nHost: {operator}\r\nConnection: close\r\n\r\n"
    );
    let ended = raw::try_exchange(operator, false, ended.as_bytes()).await;
    assert_eq!(raw::status(&ended.expect("an answer")), 200);
    let reply = exchange(house, ID, &token, &[]).await;
    assert_eq!(error(&reply), "invalid_request", "{}", reply.text());
    let denied = told(house, "login_denied").await;
    assert_eq!(denied["object"], "phone", "{denied}");
    assert_eq!(denied["user_id"], "script:ada-1815");
    let detail = denied["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("signed out since"), "{denied}");
}

#[tokio::test]
async fn an_older_word_does_not_take_the_place_of_a_newer_one() {
    let home = phone().await;
    let house = &home.house;
    let provider = &home.provider;
    let staff = house.url("/staff");
    // They are in no group any more; a token from before still says so.
    provider.user("groups", json!([]));
    let newer = exchange(
        house,
        ID,
        &id_token(provider, &json!({})),
        &[("scope", "offline_access")],
    )
    .await;
    let newer = text(&newer, "refresh_token");
    let older = keys::access_token(
        Some("JWT"),
        &json!({
            "iss": provider.issuer(), "sub": provider.behaviour().user["sub"], "azp": CLIENT_ID, "typ": "Bearer",
            "aud": "account", "iat": now() - 1_800, "exp": now() + 1_800, "groups": ["staff"],
        }),
    );
    let reply = exchange(house, ACCESS, &older, &[("resource", &staff)]).await;
    assert_eq!(error(&reply), "invalid_target", "{}", reply.text());
    let reply = exchange(house, ACCESS, &older, &[]).await;
    let seen = call(house, &text(&reply, "access_token"), "/api/x").await;
    assert_eq!(seen.seen().header("x-user-groups"), None);
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", "phone"),
        ("refresh_token", &*newer),
    ];
    let renewed = post(house, "/oauth2/token", &fields).await;
    let seen = call(house, &text(&renewed, "access_token"), "/api/x").await;
    assert_eq!(seen.seen().header("x-user-groups"), None);
    // Only the first grant and the one for `/api` are there.
    assert_eq!(text_of_grants(house).await, 2);
}

#[tokio::test]
async fn the_request_has_to_be_one() {
    let home = phone().await;
    let house = &home.house;
    let token = id_token(&home.provider, &json!({}));
    let elsewhere = house.url("/elsewhere");
    for (changes, expected) in [
        (vec![("client_id", "web")], "unauthorized_client"),
        (vec![("actor_token", "x")], "invalid_request"),
        (vec![("requested_token_type", ID)], "invalid_request"),
        (vec![("subject_token", "")], "invalid_request"),
        (vec![("subject_token_type", "")], "invalid_request"),
        (
            vec![(
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:saml2",
            )],
            "invalid_request",
        ),
        (vec![("subject_issuer", "nobody")], "invalid_request"),
        (vec![("audience", "phone")], "invalid_target"),
        (vec![("resource", &*elsewhere)], "invalid_target"),
    ] {
        let reply = exchange(house, ID, &token, &changes).await;
        assert_eq!(error(&reply), expected, "{changes:?}: {}", reply.text());
    }
    let registered = super::client(house).await;
    let reply = exchange(house, ID, &token, &[("client_id", &registered)]).await;
    assert_eq!(error(&reply), "unauthorized_client");
    let named = [
        ("subject_issuer", "script"),
        ("requested_token_type", ACCESS),
    ];
    let reply = exchange(house, ID, &token, &named).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    let path = "/.well-known/oauth-authorization-server";
    let metadata = house.browser().bare(Method::GET, path).send().await.json();
    let grants = metadata["grant_types_supported"]
        .as_array()
        .expect("a list");
    assert!(grants.contains(&json!(GRANT)), "{grants:?}");
}

#[tokio::test]
async fn with_several_providers_it_is_said_whose_token_it_is() {
    let other = ScriptedProvider::start().await;
    let table = format!("{}allow = \"anyone\"\n", other.table());
    let home = home_with(PHONE, |plan| plan.named("other", &table)).await;
    let house = &home.house;
    let token = id_token(&other, &json!({}));
    for (named, is_good) in [("", false), ("script", false), ("other", true)] {
        let reply = exchange(house, ID, &token, &[("subject_issuer", named)]).await;
        assert_eq!(
            reply.status == StatusCode::OK,
            is_good,
            "{named}: {}",
            reply.text()
        );
    }
}

/// Tokens of a real server, as an app gets them that signs its users in there by itself.
#[tokio::test]
async fn tokens_of_npms_provider_are_exchanged() {
    let upstream = Upstream::start().await;
    let told = "[headers]\nset = { X-Token = \"access_token\", X-Id-Token = \"id_token\" }\n";
    let plan = House::plan().upstream(&upstream).npm().allow("\"anyone\"");
    let house = plan.tables(told).tables(PHONE).start().await;
    let browser = house.browser();
    node_provider::sign_in(&browser, "/", "ada").await;
    let by_session = browser.get("/page").await.seen();
    let token = |name: &str| by_session.header(name).expect("a token").to_owned();
    for (kind, token) in [(ID, token("x-id-token")), (ACCESS, token("x-token"))] {
        let reply = exchange(&house, kind, &token, &[]).await;
        let seen = call(&house, &text(&reply, "access_token"), "/api/x")
            .await
            .seen();
        assert_eq!(
            seen.header("x-user-id"),
            by_session.header("x-user-id"),
            "{kind}"
        );
    }
    // The one is not the other.
    for (kind, token) in [(ACCESS, token("x-id-token")), (ID, token("x-token"))] {
        let reply = exchange(&house, kind, &token, &[]).await;
        assert_eq!(error(&reply), "invalid_request", "{kind}: {}", reply.text());
    }
    let form = "grant_type=client_credentials&scope=read";
    let others = node_provider::post("/token", "cli", form).await;
    let others = others["access_token"].as_str().expect("a token");
    let reply = exchange(&house, ACCESS, others, &[]).await;
    assert_eq!(error(&reply), "invalid_request", "{}", reply.text());
}

#[tokio::test]
async fn the_block_of_the_page_works() {
    let page =
        fs::read_to_string(house::root().join("docs/authorization-server.md")).expect("the page");
    let (_, section) = page.split_once("## Token exchange\n").expect("its section");
    let (_, rest) = section.split_once("```toml\n").expect("a block");
    let (block, rest) = rest.split_once("```").expect("its end");
    let (_, rest) = rest.split_once("```sh\n").expect("a command");
    let (command, _) = rest.split_once("```").expect("its end");
    let tables = format!("[issuer]\n{block}[[routes]]\npath = \"/api/**\"\ntokens = true\n");
    let home = home_with(&tables, |plan| plan).await;
    let house = &home.house;
    let token = id_token(&home.provider, &json!({}));
    let command = command
        .replace("https://app.example.com", &house.public_url)
        .replace("subject_issuer=google", "subject_issuer=script")
        .replace("$ID_TOKEN", &token);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &command]);
    let mut shell = Process::start(shell);
    shell.ended(Duration::from_mins(1)).await;
    let log = shell.whole_log();
    let mut lines = log.lines();
    let answer = lines.find_map(|line| serde_json::from_str::<Value>(line).ok());
    let answer = answer.unwrap_or_else(|| panic!("no answer: {log}"));
    let access = answer["access_token"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(call(house, access, "/api/x").await.status, StatusCode::OK);
}

/// Anybody registers clients: each would be a series of its own.
#[tokio::test]
async fn tokens_are_counted_by_client_and_grant() {
    let home = home_with(PHONE, Plan::admin).await;
    let house = &home.house;
    for number in 0..2 {
        let token = id_token(&home.provider, &json!({ "jti": number }));
        let reply = exchange(house, ID, &token, &[]).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    }
    let resource = house.url("/api");
    for _ in 0..2 {
        let client = super::client(house).await;
        let browser = house.browser();
        let changes = [("resource", &*resource), ("scope", "api")];
        let page = browser.follow(&authorize(house, &client, &changes)).await;
        let back = decide(&browser, &consent_of(&page), "allow")
            .await
            .location();
        let code = parameter(&back, "code").expect("a code");
        let tokens = tokens_of(&client, &redeem(house, &client, &code).await);
        renew(house, &client, &tokens.refresh).await;
    }
    let (_, metrics) = house.admin_says("/metrics").await;
    for line in [
        "sidegate_tokens_issued_total{client=\"phone\",grant=\"token_exchange\"} 2",
        "sidegate_tokens_issued_total{client=\"registered\",grant=\"code\"} 2",
        "sidegate_tokens_issued_total{client=\"registered\",grant=\"refresh_token\"} 2",
    ] {
        assert!(
            metrics.lines().any(|known| known == line),
            "{line}:\n{metrics}"
        );
    }
}
