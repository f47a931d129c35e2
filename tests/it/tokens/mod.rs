//! The gate's own tokens: API tokens, which people make for their programs, and service tokens of machines.

mod documented;
mod ending;
mod guesses;
mod making;
mod owner;
mod programs;
mod service;
mod state;

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Browser, House, Reply, ScriptedProvider, Upstream, house::Plan, standard_with,
};

const TABLE: &str = "[api_tokens]\nscopes = [\"read\", \"write\"]\n";

/// A house where people may have tokens, kept in a file.
struct Home {
    house: House,
    provider: ScriptedProvider,
    upstream: Upstream,
    folder: TempDir,
}

fn state(folder: &TempDir) -> String {
    let path = folder.path().join("state/state.redb");
    format!("state = \"file:{}\"", path.display())
}

async fn home(change: impl FnOnce(Plan) -> Plan) -> Home {
    home_with(TABLE, change).await
}

async fn home_with(table: &str, change: impl FnOnce(Plan) -> Plan) -> Home {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = |plan: Plan| change(plan.top(&state(&folder)).tables(table));
    let (house, upstream, provider) = standard_with(plan).await;
    Home {
        house,
        provider,
        upstream,
        folder,
    }
}

/// Asks for a token as a program with the browser's cookies does.
async fn ask_for(browser: &Browser, wanted: &Value) -> Reply {
    browser
        .fetch(Method::POST, "/oauth2/account/tokens")
        .header("content-type", "application/json")
        .body(wanted.to_string())
        .send()
        .await
}

/// A new token of whoever is signed in there: its text and its id.
async fn make(browser: &Browser, wanted: &Value) -> (String, String) {
    let reply = ask_for(browser, wanted).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text());
    let made = reply.json();
    let text = |key: &str| made[key].as_str().expect("text").to_owned();
    (text("token"), text("id"))
}

async fn signed_in(home: &Home) -> (Browser, String, String) {
    let browser = home.house.browser();
    browser.sign_in("/").await;
    let (token, id) = make(&browser, &json!({"name": "laptop"})).await;
    (browser, token, id)
}

async fn list(browser: &Browser) -> Vec<Value> {
    let reply = browser
        .fetch(Method::GET, "/oauth2/account/tokens")
        .send()
        .await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    reply.json()["tokens"].as_array().expect("a list").clone()
}

/// A request of a program without cookies.
async fn with(house: &House, authorization: &str, path: &str) -> Reply {
    house
        .browser()
        .bare(Method::GET, path)
        .header("authorization", authorization)
        .send()
        .await
}

async fn bearer(house: &House, token: &str, path: &str) -> Reply {
    with(house, &format!("Bearer {token}"), path).await
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

/// Waits until the token gets `status`.
async fn becomes(house: &House, token: &str, status: StatusCode, within: Duration) {
    let end = Instant::now() + within;
    loop {
        let reply = bearer(house, token, "/").await;
        if reply.status == status {
            return;
        }
        assert!(
            Instant::now() < end,
            "{} still, and not {status}: {}",
            reply.status,
            house.process.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Within which a change is known everywhere.
const SOON: Duration = Duration::from_secs(5);
