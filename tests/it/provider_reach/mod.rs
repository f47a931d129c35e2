//! How the gate reaches a provider: where a document may lead it, another address within the operator's network, plain
//! http and proxies where the operator says so, an authority of one's own, and how much a provider may say.

mod answers;
mod endpoints;
mod logout_tokens;
mod network;
mod setup;

use http::StatusCode;
use serde_json::json;
use url::Url;

use crate::support::{
    House, Reply, ScriptedProvider,
    behaviour::ResponseIssuer,
    provider::{CLIENT_ID, CLIENT_SECRET},
};

/// A provider's table, `allow` included, with these lines beside.
fn table(issuer: &str, lines: &str) -> String {
    format!(
        "type = \"oidc\"\nissuer = \"{issuer}\"\nclient_id = \"{CLIENT_ID}\"\nclient_secret = \"{CLIENT_SECRET}\"\n\
         allow = \"anyone\"\n{lines}\n"
    )
}

/// A provider that calls itself by a name that no resolver knows, and its own addresses by this scheme.
async fn unresolved(scheme: &'static str) -> ScriptedProvider {
    let provider = ScriptedProvider::start().await;
    provider.set(|behaviour| {
        behaviour.scheme = scheme;
        // The browser cannot ask it by its name, and `iss` would be of the name it was asked by.
        behaviour.response_issuer = ResponseIssuer::Unsupported;
        behaviour.discovery = json!({ "authorization_response_iss_parameter_supported": false });
    });
    provider
}

/// Signs in where the provider's name leads the browser nowhere: it asks the provider by its address instead. The
/// second is where it was sent.
async fn sign_in(house: &House, provider: &ScriptedProvider) -> (Reply, Option<Url>) {
    let browser = house.browser();
    let begun = browser.get("/oauth2/start").await;
    if begun.status != StatusCode::FOUND {
        return (begun, None);
    }
    let sent = begun.location();
    let asked = format!(
        "{}{}?{}",
        provider.issuer(),
        sent.path(),
        sent.query().unwrap_or_default()
    );
    (browser.follow(&asked).await, Some(sent))
}

/// Waits until the log has `text`: its lines are written behind the answers.
async fn logged(house: &mut House, text: &str) {
    let has = |line: &str| line.contains(text).then_some(());
    house.process.wait_for(text, has).await;
}
