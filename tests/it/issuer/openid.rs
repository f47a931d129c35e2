//! The gate as an OpenID provider: ID tokens, userinfo and discovery.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    BACK, Home, MCP, agree, authorize, call, client, consent_of, decide, home, home_with,
    parameter, post, redeem, redeem_at, text,
};
use crate::support::{
    Browser, House, Reply, arranged, keys, node_provider::node, process::Process, python,
};

/// Where the same app takes whoever has left.
pub const LEFT: &str = "http://127.0.0.1:33418/left";

/// Where an app of the operator's own listens: nobody else can.
pub const HERE: &str = "https://app.example/callback";

/// An app of the operator's own, which has no resource.
pub fn app(id: &str, more: &str) -> String {
    format!(
        "[[issuer.clients]]\nid = \"{id}\"\nredirect_uris = [\"{BACK}\", \"{HERE}\"]\n\
         post_logout_redirect_uris = [\"{LEFT}\"]\n{more}\n"
    )
}

pub async fn with_app() -> Home {
    without_logout(&format!("{MCP}{}", app("app", "first_party = true"))).await
}

/// With a provider that knows no sign-out.
pub async fn without_logout(tables: &str) -> Home {
    let (house, upstream, provider) = arranged(
        |behaviour| behaviour.offers_logout = false,
        |plan| plan.tables(tables),
    )
    .await;
    Home {
        house,
        provider,
        upstream,
    }
}

/// What a JWT says.
pub fn said(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("a payload");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}

pub fn login(house: &House, changes: &[(&str, &str)]) -> String {
    let mut all = vec![
        ("redirect_uri", HERE),
        ("resource", ""),
        ("scope", "openid profile email groups"),
        ("nonce", "a nonce"),
    ];
    all.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    all.extend(changes);
    authorize(house, "app", &all)
}

/// The tokens of an app whose user is signed in in that browser.
pub async fn sign_in(house: &House, browser: &Browser, changes: &[(&str, &str)]) -> Reply {
    browser.sign_in("/").await;
    let back = browser.get(&login(house, changes)).await.location();
    let code = parameter(&back, "code").unwrap_or_else(|| panic!("no code: {back}"));
    let reply = redeem_at(house, "app", &code, HERE).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    reply
}

async fn userinfo(house: &House, token: &str) -> Reply {
    let browser = house.browser();
    let ask = browser.bare(Method::GET, "/oauth2/userinfo");
    ask.header("authorization", &format!("Bearer {token}"))
        .send()
        .await
}

#[tokio::test]
async fn an_app_learns_who_signed_in_by_a_signed_token_and_by_userinfo() {
    let home = with_app().await;
    let house = &home.house;
    let browser = house.browser();
    let reply = sign_in(house, &browser, &[]).await;
    assert_eq!(reply.json()["scope"], "openid profile email groups");
    let token = text(&reply, "id_token");
    let claims = said(&token);
    assert_eq!(claims["iss"], house.public_url);
    assert_eq!(
        (&claims["sub"], &claims["aud"]),
        (&json!("script:ada-1815"), &json!("app"))
    );
    assert_eq!(claims["nonce"], "a nonce");
    assert_eq!(claims["email"], "ada@example.com");
    assert_eq!(claims["email_verified"], true);
    assert_eq!(claims["preferred_username"], "ada");
    let access = text(&reply, "access_token");
    let half = &aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, access.as_bytes());
    assert_eq!(
        claims["at_hash"],
        URL_SAFE_NO_PAD.encode(&half.as_ref()[..16])
    );
    let (iat, exp) = (
        claims["iat"].as_u64().unwrap(),
        claims["exp"].as_u64().unwrap(),
    );
    assert!(iat < exp && exp <= iat + 600);
    assert!(verifies(house, &token).await);

    let told = userinfo(house, &access).await;
    assert_eq!(told.status, StatusCode::OK, "{}", told.text());
    assert_eq!(told.header("access-control-allow-origin"), "*");
    assert_eq!(
        (&told.json()["sub"], &told.json()["email"]),
        (&claims["sub"], &claims["email"])
    );
    // Neither is good for anything else.
    for token in [&access, &token] {
        for path in ["/mcp", "/", "/oauth2/account"] {
            let status = call(house, token, path).await.status.as_u16();
            assert!(matches!(status, 401 | 405), "{path}: {status}");
        }
    }
    assert_eq!(
        userinfo(house, &token).await.status,
        StatusCode::UNAUTHORIZED
    );

    // A renewal says it again, without the nonce of a request that it does not answer.
    let again = super::renew(house, "app", &text(&reply, "refresh_token")).await;
    let renewed = said(&text(&again, "id_token"));
    assert_eq!(
        (&renewed["sub"], &renewed["sid"]),
        (&claims["sub"], &claims["sid"])
    );
    assert_eq!(renewed.get("nonce"), None);
}

/// Whether the published keys verify a token.
pub async fn verifies(house: &House, token: &str) -> bool {
    let set = house
        .browser()
        .bare(Method::GET, "/oauth2/jwks")
        .send()
        .await;
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&set.text()).expect("a key set");
    let header = jsonwebtoken::decode_header(token).expect("a header");
    let Some(key) = set.find(&header.kid.expect("a kid")) else {
        return false;
    };
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.validate_aud = false;
    let key = jsonwebtoken::DecodingKey::from_jwk(key).expect("a key");
    jsonwebtoken::decode::<Value>(token, &key, &validation).is_ok()
}

#[tokio::test]
async fn scopes_bound_what_is_told() {
    let home = with_app().await;
    let house = &home.house;
    let browser = house.browser();
    let reply = sign_in(house, &browser, &[("scope", "openid unknown")]).await;
    assert_eq!(reply.json()["scope"], "openid");
    let told = userinfo(house, &text(&reply, "access_token")).await;
    assert_eq!(told.json(), json!({"sub": "script:ada-1815"}));
    assert_eq!(said(&text(&reply, "id_token")).get("email"), None);
    // Who does not ask who it is learns nothing.
    let resource = house.url("/mcp");
    let changes = [("scope", "mcp email"), ("resource", &*resource)];
    let reply = sign_in(house, &browser, &changes).await;
    assert_eq!(reply.json()["scope"], "mcp");
    assert_eq!(reply.json().get("id_token"), None);
    let refused = userinfo(house, &text(&reply, "access_token")).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    // A token for a resource with the scope tells it, too.
    let changes = [("scope", "mcp openid"), ("resource", &*resource)];
    let reply = sign_in(house, &browser, &changes).await;
    let access = text(&reply, "access_token");
    assert_eq!(call(house, &access, "/mcp").await.status, StatusCode::OK);
    assert_eq!(
        userinfo(house, &access).await.json()["sub"],
        "script:ada-1815"
    );
}

#[tokio::test]
async fn a_stranger_that_asks_who_it_is_has_to_be_agreed_to() {
    let home = home().await;
    let house = &home.house;
    let id = client(house).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let changes = [("scope", "openid email"), ("nonce", "n")];
    let page = browser.follow(&authorize(house, &id, &changes)).await;
    assert!(
        page.text().contains("<code>email</code>"),
        "{}",
        page.text()
    );
    let back = decide(&browser, &consent_of(&page), "allow")
        .await
        .location();
    let reply = redeem(house, &id, &parameter(&back, "code").expect("a code")).await;
    let claims = said(&text(&reply, "id_token"));
    assert_eq!(
        (&claims["aud"], &claims["nonce"]),
        (&json!(id), &json!("n"))
    );
    let silent = browser
        .get(&authorize(house, &id, &[("prompt", "none")]))
        .await;
    let why = parameter(&silent.location(), "error");
    assert_eq!(why.as_deref(), Some("interaction_required"));
}

#[tokio::test]
async fn discovery_says_all_of_it() {
    let home = home().await;
    let house = &home.house;
    let path = "/.well-known/openid-configuration";
    let reply = house.browser().bare(Method::GET, path).send().await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    let document = reply.json();
    assert_eq!(document["issuer"], house.public_url);
    for (name, path) in [
        ("jwks_uri", "issuer/jwks"),
        ("userinfo_endpoint", "userinfo"),
        ("end_session_endpoint", "end_session"),
        ("pushed_authorization_request_endpoint", "par"),
    ] {
        assert_eq!(
            document[name],
            house.url(&format!("/oauth2/{path}")),
            "{name}"
        );
    }
    assert_eq!(
        document["id_token_signing_alg_values_supported"],
        json!(["ES256"])
    );
    assert_eq!(document["subject_types_supported"], json!(["public"]));
}

/// A certified library, from discovery to sign-out, that proves itself by a key.
#[tokio::test]
async fn openid_client_uses_the_gate_as_its_provider() {
    let folder = tempfile::tempdir().expect("a folder");
    let (set, pem) = (
        folder.path().join("jwks.json"),
        folder.path().join("key.pem"),
    );
    let keys = json!({"keys": [keys::ELLIPTIC.jwk()]}).to_string();
    std::fs::write(&set, keys).expect("a file");
    std::fs::write(&pem, keys::ELLIPTIC.pem()).expect("a file");
    let more = format!(
        "first_party = true\nclient_credentials = true\njwks_file = \"{}\"",
        set.display()
    );
    for format in ["opaque", "jwt"] {
        let tables = MCP.replace(
            "[issuer]\n",
            &format!("[issuer]\ntoken_format = \"{format}\"\n"),
        );
        let tables = format!("{tables}{}", app("rp", &more));
        let home = without_logout(&tables).await;
        let mut script = node("openid_client.mjs");
        script.arg(&home.house.public_url).arg("rp").arg(&pem);
        let mut script = Process::start(script);
        let status = script.ended(std::time::Duration::from_mins(2)).await;
        let log = home.house.process.log();
        assert!(status.success(), "{format}: {}\n{log}", script.log());
    }
}

/// So that apps that look into tokens by themselves can.
#[tokio::test]
async fn an_access_token_may_be_a_jwt_and_ends_as_any_other() {
    let tables = MCP.replace("[issuer]\n", "[issuer]\ntoken_format = \"jwt\"\n");
    let home = home_with(
        &format!("{tables}[[routes]]\npath = \"/open/**\"\naccess = \"public\"\n"),
        |plan| plan,
    )
    .await;
    let house = &home.house;
    let client = client(house).await;
    let back = agree(&house.browser(), house, &client).await;
    let reply = redeem(house, &client, &parameter(&back, "code").expect("a code")).await;
    let access = text(&reply, "access_token");
    let header: Value = serde_json::from_slice(
        &URL_SAFE_NO_PAD
            .decode(access.split('.').next().expect("a header"))
            .expect("base64url"),
    )
    .expect("JSON");
    assert_eq!(
        (&header["typ"], &header["alg"]),
        (&json!("at+jwt"), &json!("ES256"))
    );
    let claims = said(&access);
    assert_eq!(claims["iss"], house.public_url);
    assert_eq!(claims["aud"], house.url("/mcp"));
    assert_eq!(
        (&claims["sub"], &claims["scope"]),
        (&json!("script:ada-1815"), &json!("mcp"))
    );
    for name in ["client_id", "exp", "iat", "jti"] {
        assert!(!claims[name].is_null(), "{name}: {claims}");
    }
    assert!(verifies(house, &access).await);
    let seen = call(house, &access, "/mcp").await.seen();
    assert_eq!(
        (seen.header("x-user"), seen.header("authorization")),
        (Some("ada"), None)
    );
    let seen = call(house, &access, "/open/x").await.seen();
    assert_eq!(seen.header("authorization"), None, "M11");
    assert_eq!(
        call(house, &access, "/").await.status,
        StatusCode::UNAUTHORIZED
    );
    // Changed in any way it is none.
    let parts: Vec<_> = access.split('.').collect();
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = encode(&json!({"alg": "none", "typ": "at+jwt"}));
    let mut longer = claims.clone();
    longer["exp"] = json!(u32::MAX);
    let turned: String = parts[2].chars().rev().collect();
    for bad in [
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], encode(&longer), parts[2]),
        format!("{}.{}.{turned}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
    ] {
        assert_eq!(
            call(house, &bad, "/mcp").await.status,
            StatusCode::UNAUTHORIZED,
            "{bad}"
        );
    }
    assert_eq!(call(house, &access, "/mcp").await.status, StatusCode::OK);
    let fields = [("client_id", &*client), ("token", &*access)];
    let revoked = post(house, "/oauth2/revoke", &fields).await;
    assert_eq!(revoked.status, StatusCode::OK);
    assert_eq!(
        call(house, &access, "/mcp").await.status,
        StatusCode::UNAUTHORIZED
    );
}

/// A key set that verifies the issuer's tokens verifies no assertion.
#[tokio::test]
async fn the_issuers_keys_are_others_than_those_of_assertions() {
    let home = with_app().await;
    let house = &home.house;
    let browser = house.browser();
    let token = text(&sign_in(house, &browser, &[]).await, "id_token");
    let seen = browser.get("/page").await.seen();
    let assertion = seen
        .header("x-user-assertion")
        .expect("an assertion")
        .to_owned();
    let kids = async |path: &str| {
        let reply = house.browser().bare(Method::GET, path).send().await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        let keys = reply.json()["keys"].as_array().expect("keys").clone();
        keys.iter()
            .map(|key| key["kid"].as_str().expect("a kid").to_owned())
            .collect::<Vec<_>>()
    };
    let path = "/.well-known/openid-configuration";
    let metadata = house.browser().bare(Method::GET, path).send().await.json();
    let jwks_uri = metadata["jwks_uri"]
        .as_str()
        .expect("an address")
        .to_owned();
    let issuers = kids(&jwks_uri[house.public_url.len()..]).await;
    let all = kids("/oauth2/jwks").await;
    let kid = |token: &str| {
        jsonwebtoken::decode_header(token)
            .expect("a header")
            .kid
            .expect("a kid")
    };
    assert!(issuers.contains(&kid(&token)) && all.contains(&kid(&token)));
    assert!(!issuers.contains(&kid(&assertion)) && all.contains(&kid(&assertion)));
}

/// What an app takes out of a JWT is no token by itself.
#[tokio::test]
async fn what_is_sealed_in_a_jwt_opens_nothing() {
    let tables = MCP.replace("[issuer]\n", "[issuer]\ntoken_format = \"jwt\"\n");
    let home = home_with(&tables, |plan| plan).await;
    let house = &home.house;
    let tokens = super::tokens(house).await;
    let sealed = said(&tokens.access)["sealed"]
        .as_str()
        .expect("text")
        .to_owned();
    let status = call(house, &format!("sga_{sealed}"), "/mcp").await.status;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

/// A library of Python's, by secret, with a narrower token.
#[tokio::test]
async fn authlib_uses_the_gate_as_its_provider() {
    let hash = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let more = format!(
        "first_party = true\nsecret_hash = \"{hash}\"\nclient_credentials = true\ntoken_exchange = true"
    );
    let route = "[[routes]]\npath = \"/api/**\"\ntokens = true\n";
    let tables = format!("[issuer]\n{}{route}", app("rp", &more));
    let home = home_with(&tables, |plan| plan).await;
    let mut script = python::program("python");
    script.arg("authlib_client.py");
    script.args([&home.house.public_url, &home.house.url("/api")]);
    let mut script = Process::start(script);
    let status = script.ended(std::time::Duration::from_mins(2)).await;
    let log = home.house.process.log();
    assert!(status.success(), "{}\n{log}", script.log());
}
