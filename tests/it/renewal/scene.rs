//! A house whose provider gives tokens of two seconds, and the time until they are over.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{
    Browser, House, ScriptedProvider, Upstream, arranged, behaviour::Behaviour, house::Plan,
};

/// Until a token of two seconds is over.
pub const OVER: Duration = Duration::from_millis(2_050);

pub const STORES: [&str; 2] = ["cookie", "memory"];

/// A house whose provider gives tokens of two seconds.
pub async fn scene(
    store: &str,
    behave: impl FnOnce(&mut Behaviour),
    change: impl FnOnce(Plan) -> Plan,
) -> (House, Upstream, ScriptedProvider) {
    let behave = |behaviour: &mut Behaviour| {
        behaviour.expires_in = json!(2);
        behave(behaviour);
    };
    arranged(behave, |plan| {
        change(plan.session(&format!("store = \"{store}\"")))
    })
    .await
}

pub async fn status(browser: &Browser) -> StatusCode {
    browser.fetch(Method::GET, "/").send().await.status
}
