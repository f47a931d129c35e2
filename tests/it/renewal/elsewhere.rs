//! A session whose provider is away, where there is another one.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::scene::{OVER, STORES};
use crate::support::{House, ScriptedProvider, Upstream, behaviour::TokenEndpoint};

/// Beyond the grace the page is 503, and leads to the other provider.
#[tokio::test]
async fn whose_provider_is_away_signs_in_at_another() {
    for store in STORES {
        let (upstream, away, other) = (
            Upstream::start().await,
            ScriptedProvider::start().await,
            ScriptedProvider::start().await,
        );
        away.set(|behaviour| behaviour.expires_in = json!(2));
        let table =
            |provider: &ScriptedProvider| format!("{}allow = \"anyone\"\n", provider.table());
        let house = House::plan()
            .upstream(&upstream)
            .session(&format!("store = \"{store}\""))
            .session("provider_grace = \"1s\"")
            .named("away", &table(&away))
            .named("other", &table(&other))
            .start()
            .await;
        let browser = house.browser();
        let page = browser.follow("/oauth2/start/away?rd=/page").await;
        assert_eq!(page.status, StatusCode::OK, "{store}");
        away.set(|behaviour| behaviour.token = TokenEndpoint::Unavailable);
        sleep(OVER + Duration::from_secs(1)).await;
        let page = browser.get("/page?x=1").await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{store}");
        assert!(
            page.text()
                .contains("href=\"/oauth2/sign_in?rd=%2Fpage%3Fx%3D1\""),
            "{}",
            page.text()
        );
        let chooser = browser.get("/oauth2/sign_in").await;
        assert_eq!(chooser.status, StatusCode::OK, "{store}");
        assert!(chooser.text().contains("/oauth2/start/other"));
        let page = browser.follow("/oauth2/start/other?rd=/page").await;
        assert_eq!(page.status, StatusCode::OK, "{store}: {}", page.text());
        let is_served = |line: &Value| line["path"] == "/page" && line["provider"] == "other";
        house.access_line_where("the other's page", is_served).await;
    }
}
