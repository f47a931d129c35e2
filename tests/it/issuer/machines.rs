//! Clients of the configuration that act for themselves, and how they prove who they are.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use serde_json::{Value, json};

use super::{Home, MCP, call, client, error, home_with, post, post_with, register};
use crate::support::{House, Reply, house::Plan, keys, raw};

/// SHA-256 of `secret`.
const HASH: &str = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

fn table(id: &str, more: &str) -> String {
    format!("[[issuer.clients]]\nid = \"{id}\"\n{more}\n")
}

fn secret(id: &str, more: &str) -> String {
    table(id, &format!("secret_hash = \"{HASH}\"\n{more}"))
}

async fn house_with(tables: &str) -> Home {
    home_with(&format!("{MCP}{tables}"), |plan| plan).await
}

async fn ask(house: &House, id: &str, more: &[(&str, &str)]) -> Reply {
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:secret")));
    let fields = [&[("grant_type", "client_credentials")], more].concat();
    let headers = [("authorization", &*basic)];
    post_with(house, "/oauth2/token", &fields, &headers).await
}

fn token(reply: &Reply) -> String {
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    let token = reply.json()["access_token"].as_str().map(str::to_owned);
    token.expect("a token")
}

#[tokio::test]
async fn a_client_gets_a_token_for_itself_and_is_told_of_as_a_client() {
    let home = house_with(&secret(
        "billing",
        "scopes = [\"invoices\", \"refunds\"]\ngroups = [\"machines\"]",
    ))
    .await;
    let house = &home.house;
    let reply = ask(house, "billing", &[("scope", "invoices everything")]).await;
    let access = token(&reply);
    let answer = reply.json();
    assert_eq!(answer["scope"], "mcp invoices");
    assert_eq!(answer["token_type"], "Bearer");
    assert!(answer.get("refresh_token").is_none(), "{answer}");
    assert_eq!(reply.header("cache-control"), "no-store");
    let seen = call(house, &access, "/mcp").await.seen();
    assert_eq!(seen.header("x-user"), Some("billing"));
    assert_eq!(seen.header("x-user-id"), Some("client:billing"));
    assert_eq!(seen.header("x-user-provider"), Some("client"));
    assert_eq!(seen.header("x-user-groups"), Some("machines"));
    assert_eq!(seen.header("x-user-email"), None);
    assert_eq!(seen.header("authorization"), None);
    // It is for its resource, and no session.
    for path in ["/", "/oauth2/account", "/oauth2/userinfo"] {
        let status = call(house, &access, path).await.status.as_u16();
        assert!(matches!(status, 401 | 403 | 405), "{path}: {status}");
    }
    let every = ask(house, "billing", &[]).await.json();
    assert_eq!(every["scope"], "mcp invoices refunds");
}

#[tokio::test]
async fn the_routes_own_list_judges_a_client_and_no_providers() {
    let tables = "[issuer]\n[[routes]]\npath = \"/a/**\"\ntokens = true\nallow = { groups = [\"machines\"] }\n\
        [[routes]]\npath = \"/b/**\"\ntokens = true\nallow = { emails = [\"billing@example.com\"], groups = [\"people\"] }\n\
        [[routes]]\npath = \"/c/**\"\ntokens = true\nallow = { providers = [\"client\"] }\n\
        [[routes]]\npath = \"/d/**\"\ntokens = true\nallow = { scopes = [\"invoices\"] }\n";
    let machine = secret(
        "billing",
        "scopes = [\"invoices\"]\ngroups = [\"machines\"]",
    );
    let home = home_with(&format!("{tables}{machine}"), |plan| plan).await;
    let house = &home.house;
    // What would not let it pass gives it nothing.
    let resource = house.url("/b");
    let refused = ask(house, "billing", &[("resource", &*resource)]).await;
    assert_eq!(error(&refused), "invalid_target", "{}", refused.text());
    for (path, scope, expected) in [
        ("/a", "", StatusCode::OK),
        ("/c", "", StatusCode::OK),
        ("/d", "invoices", StatusCode::OK),
        ("/d", "api", StatusCode::FORBIDDEN),
    ] {
        let resource = house.url(path);
        let fields = [("resource", &*resource), ("scope", scope)];
        let access = token(&ask(house, "billing", &fields).await);
        let status = call(house, &access, path).await.status;
        assert_eq!(status, expected, "{path} {scope}");
    }
    let nowhere = ask(house, "billing", &[("resource", "https://other.example/")]).await;
    assert_eq!(error(&nowhere), "invalid_target");
    assert_eq!(error(&ask(house, "billing", &[]).await), "invalid_target");
}

#[tokio::test]
async fn t82_who_is_no_machine_of_the_configuration_gets_nothing() {
    let web = secret("web", "redirect_uris = [\"https://web.example/\"]");
    let public = table("public", "redirect_uris = [\"https://public.example/\"]");
    let terminal = table("terminal", "device_flow = true");
    let home = house_with(&format!(
        "{web}{public}{terminal}{}",
        secret("off", "client_credentials = false")
    ))
    .await;
    let house = &home.house;
    for id in ["web", "off"] {
        let reply = ask(house, id, &[]).await;
        assert_eq!(error(&reply), "unauthorized_client", "{id}");
    }
    let fields = |id| [("grant_type", "client_credentials"), ("client_id", id)];
    // Everybody may say that they are one of these.
    for id in ["public", "terminal"] {
        let reply = post(house, "/oauth2/token", &fields(id)).await;
        assert_eq!(error(&reply), "unauthorized_client", "{id}");
    }
    let registered = client(house).await;
    let registered = post(house, "/oauth2/token", &fields(&registered)).await;
    assert_eq!(error(&registered), "unauthorized_client");
    let wanted =
        json!({"redirect_uris": [super::BACK], "token_endpoint_auth_method": "client_secret_post"});
    let answer = register(house, &wanted).await.json();
    let text = |name: &str| answer[name].as_str().expect("text").to_owned();
    let (id, known) = (text("client_id"), text("client_secret"));
    let mut fields = fields(&id).to_vec();
    fields.push(("client_secret", &known));
    let reply = post(house, "/oauth2/token", &fields).await;
    assert_eq!(error(&reply), "unauthorized_client");
    let wrong = format!("Basic {}", STANDARD.encode("web:wrong"));
    let reply = post_with(
        house,
        "/oauth2/token",
        &[("grant_type", "client_credentials")],
        &[("authorization", &wrong)],
    )
    .await;
    assert_eq!(
        (reply.status.as_u16(), &*error(&reply)),
        (401, "invalid_client")
    );
}

#[tokio::test]
async fn a_clients_own_token_ends_by_revocation_and_with_its_table() {
    let home = house_with(&secret("billing", "")).await;
    let house = &home.house;
    let basic = format!("Basic {}", STANDARD.encode("billing:secret"));
    let headers = [("authorization", &*basic)];
    let (one, two) = (
        token(&ask(house, "billing", &[]).await),
        token(&ask(house, "billing", &[]).await),
    );
    let told = post_with(house, "/oauth2/introspect", &[("token", &*one)], &headers).await;
    let told = told.json();
    assert_eq!(
        (&told["active"], &told["sub"]),
        (&json!(true), &json!("client:billing"))
    );
    let reply = post_with(house, "/oauth2/revoke", &[("token", &*one)], &headers).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(
        call(house, &one, "/mcp").await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(call(house, &two, "/mcp").await.status, StatusCode::OK);
}

#[tokio::test]
async fn t44_a_password_is_no_grant() {
    let home = house_with(&secret("billing", "")).await;
    let fields = [
        ("grant_type", "password"),
        ("client_id", "billing"),
        ("client_secret", "secret"),
        ("username", "ada"),
        ("password", "x"),
    ];
    let reply = post(&home.house, "/oauth2/token", &fields).await;
    assert_eq!(
        (reply.status.as_u16(), &*error(&reply)),
        (400, "unsupported_grant_type")
    );
}

/// What a client signs, with `changes`; null takes a claim out.
fn assertion(house: &House, jti: &str, changes: &[(&str, Value)]) -> String {
    let now = sidegate::clock::now().0;
    let mut claims = json!({
        "iss": "billing", "sub": "billing", "aud": house.public_url, "iat": now, "exp": now + 60, "jti": jti,
    });
    for (name, value) in changes {
        claims[name] = value.clone();
    }
    let claims = claims.as_object().expect("claims").iter();
    let claims: Value = claims
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    keys::ELLIPTIC.signed(&claims)
}

const KIND: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

async fn prove(house: &House, path: &str, assertion: &str, more: &[(&str, &str)]) -> Reply {
    let fields = [
        &[
            ("client_assertion_type", KIND),
            ("client_assertion", assertion),
        ],
        more,
    ]
    .concat();
    post(house, path, &fields).await
}

const ITSELF: &[(&str, &str)] = &[("grant_type", "client_credentials")];

#[tokio::test]
async fn private_key_jwt_proves_a_client_once_everywhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("billing.json");
    let set = json!({"keys": [keys::ELLIPTIC.jwk()]}).to_string();
    std::fs::write(&file, set).expect("the file");
    let file = format!("jwks_file = \"{}\"", file.display());
    let home = house_with(&table("billing", &file)).await;
    let house = &home.house;
    let first = assertion(house, "1", &[]);
    let access = token(&prove(house, "/oauth2/token", &first, ITSELF).await);
    assert_eq!(call(house, &access, "/mcp").await.status, StatusCode::OK);
    let again = prove(house, "/oauth2/token", &first, ITSELF).await;
    assert_eq!(
        (again.status.as_u16(), &*error(&again)),
        (401, "invalid_client")
    );
    let at = |name: &str| house.url(&format!("/oauth2/{name}"));
    for (name, aud) in [
        ("introspect", json!(at("token"))),
        ("introspect", json!([at("introspect")])),
        ("revoke", json!(house.public_url)),
    ] {
        let proof = assertion(house, &format!("{name} {aud}"), &[("aud", aud)]);
        let path = format!("/oauth2/{name}");
        let reply = prove(house, &path, &proof, &[("token", &*access)]).await;
        assert_eq!(reply.status, StatusCode::OK, "{name}: {}", reply.text());
        let other = prove(house, "/oauth2/token", &proof, ITSELF).await;
        assert_eq!(error(&other), "invalid_client", "{name}");
    }
    assert_eq!(
        call(house, &access, "/mcp").await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn an_assertion_that_is_not_for_here_and_now_proves_nobody() {
    let set = json!({"keys": [keys::ELLIPTIC.jwk()]});
    let tables = format!(
        "{MCP}{}{}",
        table("billing", &format!("jwks = '{set}'")),
        secret("other", "")
    );
    let home = home_with(&tables, |plan| plan).await;
    let house = &home.house;
    let now = sidegate::clock::now().0;
    for (number, (name, value)) in [
        ("iss", json!("other")),
        ("sub", json!("other")),
        ("aud", json!("https://other.example")),
        ("aud", json!([house.public_url, "https://other.example"])),
        ("exp", json!(now - 600)),
        ("exp", json!(now + 7_200)),
        ("exp", Value::Null),
        ("jti", Value::Null),
    ]
    .into_iter()
    .enumerate()
    {
        let bad = assertion(house, &number.to_string(), &[(name, value.clone())]);
        let reply = prove(house, "/oauth2/token", &bad, ITSELF).await;
        assert_eq!(
            (reply.status.as_u16(), &*error(&reply)),
            (401, "invalid_client"),
            "{name} {value}"
        );
    }
    let good = assertion(house, "good", &[]);
    let (head, signature) = good.rsplit_once('.').expect("three parts");
    let unsigned = format!("{head}.");
    let turned: String = signature.chars().rev().collect();
    for bad in [unsigned, format!("{head}.{turned}"), "x".to_owned()] {
        let reply = prove(house, "/oauth2/token", &bad, ITSELF).await;
        assert_eq!(error(&reply), "invalid_client", "{bad}");
    }
    for more in [
        &[("client_id", "other")][..],
        &[("client_secret", "secret")],
    ] {
        let more = [ITSELF, more].concat();
        let reply = prove(house, "/oauth2/token", &good, &more).await;
        assert_eq!(error(&reply), "invalid_request");
    }
    let basic = format!("Basic {}", STANDARD.encode("other:secret"));
    let fields = [
        ITSELF,
        &[
            ("client_assertion_type", KIND),
            ("client_assertion", &*good),
        ],
    ]
    .concat();
    let reply = post_with(
        house,
        "/oauth2/token",
        &fields,
        &[("authorization", &basic)],
    )
    .await;
    assert_eq!(error(&reply), "invalid_request");
    let fields = [
        ITSELF,
        &[("client_id", "billing"), ("client_secret", "secret")],
    ]
    .concat();
    let reply = post(house, "/oauth2/token", &fields).await;
    assert_eq!(error(&reply), "invalid_client", "a key is no secret");
    // None of that has used it.
    token(&prove(house, "/oauth2/token", &good, ITSELF).await);
}

/// A client whose scopes are called like claims is nobody whom there is anything to tell of.
#[tokio::test]
async fn userinfo_is_for_tokens_of_users() {
    let home = house_with(&secret("billing", "scopes = [\"openid\", \"email\"]")).await;
    let house = &home.house;
    let access = token(&ask(house, "billing", &[]).await);
    let status = call(house, &access, "/oauth2/userinfo").await.status;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_operator_rotates_the_keys_and_earlier_tokens_stay_good() {
    let tables = MCP.replace("[issuer]\n", "[issuer]\ntoken_format = \"jwt\"\n");
    let tables = format!("{tables}{}", secret("billing", ""));
    let home = home_with(&tables, Plan::admin).await;
    let house = &home.house;
    let kid = |token: &str| jsonwebtoken::decode_header(token).expect("a header").kid;
    let before = token(&ask(house, "billing", &[]).await);
    // By address: names are refused there.
    let operator = async |method: &str| {
        let request = format!(
            "{method} /signing_keys HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            house.admin_address()
        );
        let answer = raw::try_exchange(house.admin_address(), false, request.as_bytes()).await;
        let answer = answer.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let body = answer.split("\r\n\r\n").nth(1).expect("a body");
        serde_json::from_str::<Value>(body).expect("JSON")
    };
    let listed = operator("GET").await;
    assert_eq!(listed["keys"][0]["kid"].as_str(), kid(&before).as_deref());
    operator("POST").await;
    let after = token(&ask(house, "billing", &[]).await);
    assert_eq!(
        listed["keys"][1]["kid"].as_str(),
        kid(&after).as_deref(),
        "the next one"
    );
    for token in [&before, &after] {
        assert_eq!(call(house, token, "/mcp").await.status, StatusCode::OK);
        assert!(super::openid::verifies(house, token).await);
    }
    // One whose key is gone may still be known here, and ends where its client says so.
    for _ in 0..2 {
        operator("POST").await;
    }
    assert_eq!(call(house, &before, "/mcp").await.status, StatusCode::OK);
    let basic = format!("Basic {}", STANDARD.encode("billing:secret"));
    let headers = [("authorization", &*basic)];
    let revoked = post_with(house, "/oauth2/revoke", &[("token", &before)], &headers).await;
    assert_eq!(revoked.status, StatusCode::OK);
    assert_eq!(
        call(house, &before, "/mcp").await.status,
        StatusCode::UNAUTHORIZED
    );
}
