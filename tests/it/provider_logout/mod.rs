//! Signing out on both sides. A provider says that somebody has signed out there: by a token from server to server, or
//! in a frame of its page. And somebody who signs out here has the provider take the tokens back.

pub mod backchannel;
mod frontchannel;
mod revocation;

use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{Browser, House, ScriptedProvider, Upstream};

async fn signed_in(house: &House, provider: &ScriptedProvider, sub: &str, sid: &str) -> Browser {
    provider.user("sub", json!(sub));
    provider.set(|behaviour| behaviour.id_token = json!({ "sid": sid }));
    let browser = house.browser();
    browser.sign_in("/").await;
    browser
}

async fn status(browser: &Browser) -> StatusCode {
    browser.fetch(Method::GET, "/").send().await.status
}

#[tokio::test]
async fn a_provider_without_openid_has_no_such_endpoints() {
    let upstream = Upstream::start().await;
    let table = "type = \"github\"\nclient_id = \"x\"\nclient_secret = \"y\"\nallow = \"anyone\"\n\
                 frontchannel_logout = true\n";
    let house = House::plan()
        .upstream(&upstream)
        .named("hub", table)
        .start()
        .await;
    let browser = house.browser();
    let back = browser
        .bare(Method::POST, "/oauth2/backchannel_logout/hub")
        .send()
        .await;
    let front = browser
        .get("/oauth2/frontchannel_logout/hub?iss=x&sid=y")
        .await;
    assert_eq!(
        (back.status, front.status),
        (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND)
    );
}
