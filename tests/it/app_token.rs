//! `PREFIX/token`: the app asks for the access token of the session that a request came with; nobody else gets one.

use std::{fs, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{
    Browser, House, Reply, ScriptedProvider, Upstream, arranged,
    house::{Plan, root, sidegate},
    standard_with,
};

const SECRET: &str = "uT5rWq8zKd3mXc7vBn1sLp9eYg2hJf4a";
const TABLE: &str = "[app]\nsecret = \"uT5rWq8zKd3mXc7vBn1sLp9eYg2hJf4a\"\n";

async fn house(change: impl FnOnce(Plan) -> Plan) -> (House, Upstream, ScriptedProvider) {
    let plan = |plan: Plan| change(plan.session("store = \"memory\"").tables(TABLE));
    standard_with(plan).await
}

/// What the app gets beside a request of this browser.
async fn handle(browser: &Browser) -> String {
    let seen = browser.get("/page").await.seen();
    seen.header("x-user-session").expect("a handle").to_owned()
}

fn credentials(handle: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{handle}:{secret}")))
}

/// The app asks.
async fn ask(house: &House, handle: &str, secret: &str) -> Reply {
    let app = house.browser();
    let asked = app.bare(Method::GET, "/oauth2/token");
    let asked = asked.header("authorization", &credentials(handle, secret));
    asked.send().await
}

fn refusal(reply: &Reply) -> (u16, String) {
    let error = reply.json()["error"].as_str().expect("an error").to_owned();
    (reply.status.as_u16(), error)
}

#[tokio::test]
async fn the_app_gets_the_token_of_the_session_that_a_request_came_with() {
    let (house, _upstream, _provider) = house(|plan| plan).await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let handle = handle(&ada).await;
    let reply = ask(&house, &handle, SECRET).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(reply.header("cache-control"), "no-store");
    let given = reply.json();
    let token = given["access_token"].as_str().expect("a token");
    assert!(token.starts_with("canary-access-token-"), "{token}");
    assert_eq!(given["token_type"], "Bearer");
    assert_eq!(given["provider"], "script");
    assert_eq!(given["user_id"], "script:ada-1815");
    // Whoever signs out takes it along.
    let signed_out = ada
        .navigate("/oauth2/sign_out")
        .method(Method::POST)
        .header("origin", &house.public_url)
        .send()
        .await;
    assert!(signed_out.status.is_redirection(), "{}", signed_out.text());
    let reply = ask(&house, &handle, SECRET).await;
    assert_eq!(refusal(&reply), (404, "no_session".to_owned()));
}

#[tokio::test]
async fn neither_the_handle_nor_the_secret_is_worth_anything_alone() {
    let (house, _upstream, _provider) = house(|plan| plan).await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let handle = handle(&ada).await;
    for secret in ["", "x", &SECRET[1..], &handle] {
        let reply = ask(&house, &handle, secret).await;
        assert_eq!(refusal(&reply), (401, "unauthorized".to_owned()));
        assert!(reply.header("www-authenticate").starts_with("Basic "));
    }
    let stranger = house.browser();
    let reply = stranger.bare(Method::GET, "/oauth2/token").send().await;
    assert_eq!(refusal(&reply), (401, "unauthorized".to_owned()));
    let cut = &handle[1..];
    for other in ["", "x", cut, &format!("{handle}x")] {
        let reply = ask(&house, other, SECRET).await;
        assert_eq!(refusal(&reply), (404, "no_session".to_owned()));
    }
    // A handle is no cookie, and a cookie is no handle.
    let cookie = ada.cookies("/");
    let value = cookie.split_once('=').expect("a cookie").1;
    let reply = ask(&house, value, SECRET).await;
    assert_eq!(refusal(&reply), (404, "no_session".to_owned()));
    // What a client writes never arrives.
    let forged = house.browser();
    forged.sign_in("/").await;
    let seen = forged.navigate("/page").header("X-User-Session", &handle);
    let seen = seen.send().await.seen();
    assert_ne!(seen.header("x-user-session"), Some(&*handle));
}

#[tokio::test]
async fn browsers_and_other_machines_are_refused_even_with_the_secret() {
    let (house, _upstream, _provider) =
        house(|plan| plan.top("trusted_proxies = [\"127.0.0.0/8\"]")).await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let handle = handle(&ada).await;
    for (name, value, error) in [
        ("origin", "https://evil.example", "browser"),
        ("sec-fetch-site", "same-origin", "browser"),
        ("cookie", "a=b", "browser"),
        ("x-forwarded-for", "192.0.2.7", "not_local"),
        ("x-forwarded-for", "127.0.0.1, 192.0.2.7", "not_local"),
    ] {
        let app = house.browser();
        let reply = app
            .bare(Method::GET, "/oauth2/token")
            .header("authorization", &credentials(&handle, SECRET))
            .header(name, value)
            .send()
            .await;
        assert_eq!(refusal(&reply), (403, error.to_owned()), "{name}: {value}");
        assert!(!reply.text().contains("access_token\":"));
    }
    let app = house.browser();
    let reply = app.bare(Method::POST, "/oauth2/token").send().await;
    assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_token_that_is_over_is_renewed_and_never_given() {
    let (house, _upstream, provider) = arranged(
        |behaviour| behaviour.expires_in = json!(2),
        |plan| plan.session("store = \"memory\"").tables(TABLE),
    )
    .await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let handle = handle(&ada).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    for _ in 0..50 {
        let reply = ask(&house, &handle, SECRET).await;
        if reply.status == StatusCode::OK {
            assert!(provider.renewals() > 0);
            assert!(reply.json()["expires_in"].as_u64() > Some(0));
            return;
        }
        assert_eq!(refusal(&reply), (503, "token_over".to_owned()));
        assert_eq!(reply.header("retry-after"), "2");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("no token in time");
}

/// Without `[app]` there is neither address nor header.
#[tokio::test]
async fn without_a_secret_there_is_nothing() {
    let (house, _upstream, _provider) =
        standard_with(|plan: Plan| plan.session("store = \"memory\"")).await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let seen = ada.get("/page").await.seen();
    assert_eq!(seen.header("x-user-session"), None);
    let reply = ask(&house, "x", SECRET).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
}

/// The block at the beginning of the page is what the gate runs with here.
#[tokio::test]
async fn the_page_begins_with_what_works() {
    let page = fs::read_to_string(root().join("docs/app-token.md")).expect("the page");
    let (_, block) = page.split_once("```toml\n").expect("a block");
    let (block, _) = block.split_once("\n```").expect("its end");
    let (session, app) = block.split_once("\n[app]\n").expect("two tables");
    let line = session.lines().find(|line| line.starts_with("store"));
    let (house, _upstream, _provider) = standard_with(|plan: Plan| {
        plan.session(line.expect("a store"))
            .tables(&format!("[app]\n{app}\n"))
            .environment("APP_SECRET", SECRET)
    })
    .await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let reply = ask(&house, &handle(&ada).await, SECRET).await;
    assert_eq!(reply.status, StatusCode::OK);
}

#[test]
fn the_check_says_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sidegate.toml");
    let check = |rest: &str, login: bool| {
        let text = format!(
            "upstream = \"http://127.0.0.1:8000\"\npublic_url = \"https://app.example.com\"\n{rest}\n\
             [providers.corp]\ntype = \"oidc\"\nissuer = \"https://login.example.com\"\nclient_id = \"app\"\n\
             client_secret = \"client-words-of-length\"\nallow = \"anyone\"\n{}",
            if login {
                ""
            } else {
                "login = false\nbearer = { audience = [\"api\"] }\n"
            }
        );
        fs::write(&file, text).expect("written");
        let output = sidegate().args(["check", "-c"]).arg(&file).output();
        let output = output.expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let store = "[session]\nstore = \"memory\"\n";
    let good = check(&format!("{store}{TABLE}"), true);
    assert!(good.0 && !good.1.contains("the app gets"), "{}", good.1);
    let useless = check(TABLE, true);
    assert!(
        useless.1.contains("session.store = \"memory\""),
        "{}",
        useless.1
    );
    for (rest, login, message) in [
        (
            format!("{store}{TABLE}"),
            false,
            "nobody signs in at a provider",
        ),
        (format!("{store}[app]\n"), true, "`secret` is missing"),
        (
            format!("{store}[app]\nsecret = \"short\"\n"),
            true,
            "the app's secret is weak",
        ),
        (
            format!("{store}{TABLE}header = \"X-User\"\n"),
            true,
            "the header x-user says something else already",
        ),
        (
            format!("{store}{TABLE}header = \"Cookie\"\n"),
            true,
            "`Cookie` cannot be set",
        ),
    ] {
        let (passed, said) = check(&rest, login);
        assert!(!passed && said.contains(message), "{rest}: {said}");
        assert!(!said.contains(SECRET), "{said}");
    }
}
