//! The account page: who I am, what the app is told, where I am signed in, and signing out elsewhere.

mod page;
mod replicas;
mod sign_out;

use http::{Method, StatusCode};
use serde_json::Value;

use crate::support::{
    Browser, House, ScriptedProvider, Upstream, browser::Ask, house::Plan, standard_with,
};

const STORES: [&str; 2] = ["store = \"cookie\"", "store = \"memory\""];

/// The account as a program is told it.
async fn account(browser: &Browser) -> Value {
    let reply = browser.fetch(Method::GET, "/oauth2/account").send().await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    reply.json()
}

fn sessions(account: &Value) -> Vec<Value> {
    account["sessions"].as_array().expect("a list").clone()
}

/// The names of all sessions but this one.
fn others(account: &Value) -> Vec<String> {
    let others = sessions(account).into_iter();
    others
        .filter(|session| session["this"] == false)
        .map(|session| session["id"].as_str().expect("a name").to_owned())
        .collect()
}

/// The page's form, as a browser sends it.
fn form<'a>(browser: &'a Browser, body: &str) -> Ask<'a> {
    let origin = browser.absolute("/").origin().ascii_serialization();
    browser
        .bare(Method::POST, "/oauth2/account/sign_out")
        .header("accept", "text/html")
        .header("sec-fetch-site", "same-origin")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document")
        .header("origin", &origin)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.to_owned())
}

async fn token(browser: &Browser) -> String {
    let account = account(browser).await;
    account["sign_out"]["token"]
        .as_str()
        .expect("a token")
        .to_owned()
}

async fn is_signed_in(browser: &Browser) -> bool {
    browser.get("/").await.status == StatusCode::OK
}

/// The gate, and so many browsers signed in as one user.
async fn browsers<const N: usize>(
    change: impl FnOnce(Plan) -> Plan,
) -> (House, (Upstream, ScriptedProvider), [Browser; N]) {
    let (house, upstream, provider) = standard_with(change).await;
    let browsers = std::array::from_fn(|_| house.browser());
    for browser in &browsers {
        browser.sign_in("/").await;
    }
    (house, (upstream, provider), browsers)
}
