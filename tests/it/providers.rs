//! Every kind of provider, each against a scripted server that behaves as the real one: the same journey for all of
//! them, then what each does in its own way, several of them in one gate, and the attempts to be somebody else.

mod accents;
pub mod cases;
mod github;
mod identity;
mod journey;
mod quirks;
mod renewal;
pub mod several;
mod token_info;

use serde_json::json;

use self::cases::{Case, Refresh};
use crate::support::{
    Browser, House, Reply, ScriptedProvider, Upstream,
    behaviour::Renewal,
    provider::{CLIENT_ID, CLIENT_SECRET, Call},
    servers::{OAuthServer, SECRET},
};

/// A scripted server of either sort.
pub enum Backend {
    /// Plain OAuth 2.0.
    Plain(OAuthServer),
    /// OpenID Connect.
    OpenId(ScriptedProvider),
}

impl Backend {
    /// From now on a page with a button comes before the browser is sent back.
    pub fn ask_first(&self) {
        match self {
            Self::Plain(server) => server.set(|quirks| quirks.asks_first = true),
            Self::OpenId(provider) => provider.set(|behaviour| behaviour.asks_first = true),
        }
    }

    /// Requests to the path so far.
    pub fn calls(&self, path: &str) -> Vec<Call> {
        match self {
            Self::Plain(server) => server.calls(path),
            Self::OpenId(provider) => provider.calls(path),
        }
    }

    /// No refresh token of before is good any more.
    pub fn revoke(&self) {
        match self {
            Self::Plain(server) => server.revoke(),
            Self::OpenId(provider) => provider.revoke(),
        }
    }

    /// From now on access tokens last so many seconds, and come with refresh tokens or without.
    pub fn renew(&self, refresh: Refresh, seconds: u64) {
        let keeps = refresh == Refresh::Stays;
        match self {
            Self::Plain(server) => server.set(|quirks| {
                quirks.token = json!({ "expires_in": seconds, "refresh_token": "here" });
                quirks.keeps_refresh_token = keeps;
            }),
            Self::OpenId(provider) => provider.set(|behaviour| {
                behaviour.expires_in = json!(seconds);
                behaviour.renewal = if keeps {
                    Renewal::OmitsRefreshToken
                } else {
                    Renewal::Rotates
                };
            }),
        }
    }

    /// The plain server.
    pub fn plain(&self) -> &OAuthServer {
        match self {
            Self::Plain(server) => server,
            Self::OpenId(_) => panic!("this one speaks OpenID Connect"),
        }
    }

    /// The OpenID provider.
    pub fn openid(&self) -> &ScriptedProvider {
        match self {
            Self::OpenId(provider) => provider,
            Self::Plain(_) => panic!("this one speaks plain OAuth 2.0"),
        }
    }

    /// Who the gate is to it: the lines of a table in a configuration. Each table is a client of its own at plain
    /// servers, because limits count by client.
    fn client(&self, table: &str) -> String {
        match self {
            Self::Plain(_) => {
                format!("client_id = \"client-{table}\"\nclient_secret = \"{SECRET}\"\n")
            }
            Self::OpenId(_) => {
                format!("client_id = \"{CLIENT_ID}\"\nclient_secret = \"{CLIENT_SECRET}\"\n")
            }
        }
    }
}

/// Signs in through `PREFIX/start/NAME` on the way to `path`.
pub async fn sign_in_at(browser: &Browser, name: &str, path: &str) -> Reply {
    let start = format!("/oauth2/start/{name}?rd={path}");
    browser.follow(&start).await
}

/// The address of the link on a page that says `label`.
pub fn link(page: &Reply, label: &str) -> String {
    let text = page.text();
    let end = text
        .find(label)
        .unwrap_or_else(|| panic!("no link says \u{201c}{label}\u{201d}: {text}"));
    let begin = text[..end].rfind("href=\"").expect("a link has an address") + "href=\"".len();
    let length = text[begin..].find('"').expect("the address ends");
    text[begin..begin + length]
        .replace("&amp;", "&")
        .replace("&#38;", "&")
}

/// A house with the case's provider alone, under the name `one`.
pub async fn house(case: &Case, allow: &str, more: &str) -> (House, Upstream) {
    let upstream = Upstream::start().await;
    let table = format!("{}{more}", case.table("one", allow));
    let plan = House::plan().upstream(&upstream).named("one", &table);
    (plan.start().await, upstream)
}

/// Ada signs in with a browser of her own.
pub async fn sign_in(house: &House) -> Reply {
    house.browser().follow("/page").await
}

/// Nobody is let in, and the page says so with a sentence and a way on.
pub fn assert_turned_away(reply: &Reply, upstream: &Upstream, what: &str) {
    let text = reply.text();
    assert!(
        reply.status.is_client_error() || reply.status.is_server_error(),
        "{what}: {} {text}",
        reply.status
    );
    assert!(
        reply.header("content-type").starts_with("text/html") && text.contains("<h1>"),
        "{what}: a page: {text}"
    );
    assert!(!reply.sets_session(), "{what}: no session");
    assert_eq!(upstream.count(), 0, "{what}: the app is not asked");
}
