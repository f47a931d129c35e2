//! The gate as an authorization server, as its clients see it. Names begin with the cases of `docs/authorization-server.md` that
//! they hold.

mod authorize;
mod consent;
mod device;
mod django;
mod documented;
mod documents;
mod ends;
mod exchange;
mod floods;
mod login;
mod machines;
mod metadata;
mod narrowing;
mod openid;
mod pushed;
mod refresh;
mod registration;
mod replicas;
mod rules;
mod scopes;
pub mod sdks;
mod sign_out;
mod token;
mod tools;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::support::{
    Browser, House, Reply, ScriptedProvider, Upstream, house::Plan, standard_with,
};

/// What guards `/mcp` and all below it.
pub const MCP: &str = "[issuer]\n[[routes]]\npath = \"/mcp/**\"\nmcp = true\n";

/// A verifier of PKCE and its challenge (RFC 7636 appendix B).
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// Where the client of these tests listens.
pub const BACK: &str = "http://127.0.0.1:33418/callback";

/// A house that gives tokens for `/mcp`.
pub struct Home {
    pub house: House,
    pub provider: ScriptedProvider,
    pub upstream: Upstream,
}

pub async fn home() -> Home {
    home_with(MCP, |plan| plan).await
}

pub async fn home_with(tables: &str, change: impl FnOnce(Plan) -> Plan) -> Home {
    let (house, upstream, provider) = standard_with(|plan| change(plan.tables(tables))).await;
    Home {
        house,
        provider,
        upstream,
    }
}

/// What a client sends without a browser.
pub async fn post(house: &House, path: &str, fields: &[(&str, &str)]) -> Reply {
    post_with(house, path, fields, &[]).await
}

pub async fn post_with(
    house: &House,
    path: &str,
    fields: &[(&str, &str)],
    headers: &[(&str, &str)],
) -> Reply {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let browser = house.browser();
    let mut ask = browser
        .bare(Method::POST, path)
        .header("content-type", "application/x-www-form-urlencoded");
    for (name, value) in headers {
        ask = ask.header(name, value);
    }
    ask.body(body).send().await
}

pub async fn register(house: &House, wanted: &Value) -> Reply {
    let browser = house.browser();
    let ask = browser
        .bare(Method::POST, "/oauth2/register")
        .header("content-type", "application/json");
    ask.body(wanted.to_string()).send().await
}

/// A public client that has just registered: its id.
pub async fn client(house: &House) -> String {
    let reply = register(
        house,
        &json!({"client_name": "Probe", "redirect_uris": [BACK]}),
    )
    .await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text());
    reply.json()["client_id"]
        .as_str()
        .expect("an id")
        .to_owned()
}

/// The address that a client sends its user to, with `changes`; an empty value leaves a parameter out.
pub fn authorize(house: &House, client: &str, changes: &[(&str, &str)]) -> String {
    let resource = house.url("/mcp");
    let mut pairs = vec![
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", BACK),
        ("state", "a state"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("resource", &resource),
        ("scope", "mcp"),
    ];
    pairs.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    pairs.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    format!("/oauth2/authorize?{query}")
}

/// A text in the JSON of an answer.
pub fn text(reply: &Reply, name: &str) -> String {
    let found = reply.json()[name].as_str().map(str::to_owned);
    found.unwrap_or_else(|| panic!("no {name}: {}", reply.text()))
}

/// What the form of a page of consent holds.
pub fn consent_of(page: &Reply) -> String {
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    let text = page.text();
    let (_, rest) = text
        .split_once("name=\"consent\" value=\"")
        .unwrap_or_else(|| panic!("no form: {text}"));
    rest.split('"').next().expect("a value").to_owned()
}

/// Presses a button of that page.
pub async fn decide(browser: &Browser, consent: &str, decision: &str) -> Reply {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("consent", consent), ("decision", decision)])
        .finish();
    submit(browser, "/oauth2/authorize/consent", "same-origin", body).await
}

/// Posts a form as a tab does, from a page of `site`.
pub async fn submit(browser: &Browser, path: &str, site: &str, body: String) -> Reply {
    let ask = browser
        .bare(Method::POST, path)
        .header("accept", "text/html")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document")
        .header("sec-fetch-site", site)
        .header("content-type", "application/x-www-form-urlencoded");
    ask.body(body).send().await
}

/// The parameter of an address.
pub fn parameter(url: &Url, name: &str) -> Option<String> {
    let mut found = url.query_pairs().filter(|(key, _)| key == name);
    let first = found.next().map(|(_, value)| value.into_owned());
    assert!(found.next().is_none(), "{name} twice: {url}");
    first
}

/// Agrees, in a browser that signs in on the way; the address that the client gets its answer at.
pub async fn agree(browser: &Browser, house: &House, client: &str) -> Url {
    let page = browser.follow(&authorize(house, client, &[])).await;
    let reply = decide(browser, &consent_of(&page), "allow").await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text());
    reply.location()
}

/// A code for the client, by somebody who agrees.
pub async fn code(house: &House, client: &str) -> String {
    let back = agree(&house.browser(), house, client).await;
    parameter(&back, "code").unwrap_or_else(|| panic!("no code: {back}"))
}

pub async fn redeem(house: &House, client: &str, code: &str) -> Reply {
    redeem_at(house, client, code, BACK).await
}

/// Redeems a code that was sent to `redirect_uri`.
pub async fn redeem_at(house: &House, client: &str, code: &str, redirect_uri: &str) -> Reply {
    post(
        house,
        "/oauth2/token",
        &[
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", VERIFIER),
        ],
    )
    .await
}

pub async fn renew(house: &House, client: &str, token: &str) -> Reply {
    post(
        house,
        "/oauth2/token",
        &[
            ("grant_type", "refresh_token"),
            ("client_id", client),
            ("refresh_token", token),
        ],
    )
    .await
}

/// Tokens of a client.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub client: String,
    pub access: String,
    pub refresh: String,
}

pub fn tokens_of(client: &str, reply: &Reply) -> Tokens {
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    let text = |name: &str| reply.json()[name].as_str().expect("text").to_owned();
    Tokens {
        client: client.to_owned(),
        access: text("access_token"),
        refresh: text("refresh_token"),
    }
}

/// From nothing to tokens.
pub async fn tokens(house: &House) -> Tokens {
    let client = client(house).await;
    let code = code(house, &client).await;
    tokens_of(&client, &redeem(house, &client, &code).await)
}

/// A call to what is guarded.
pub async fn call(house: &House, token: &str, path: &str) -> Reply {
    let authorization = format!("Bearer {token}");
    house
        .browser()
        .bare(Method::POST, path)
        .header("authorization", &authorization)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .body(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#)
        .send()
        .await
}

pub fn error(reply: &Reply) -> String {
    reply.json()["error"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// SHA-256 of a verifier, as its challenge.
pub fn challenge(verifier: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    URL_SAFE_NO_PAD.encode(digest)
}
