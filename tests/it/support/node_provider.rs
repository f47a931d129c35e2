//! npm's `oidc-provider`: one for all tests of a run, and some with tokens of a few seconds.

use std::{
    ops::RangeInclusive,
    process::Command,
    sync::LazyLock,
    time::{Duration, Instant},
};

use http::Method;
use serde_json::Value;

use super::{Browser, Reply, house, process::Process, raw};

/// One of a test's own.
pub struct NodeProvider {
    /// Its issuer.
    pub issuer: String,
    // Its standard input ends with this process, and it with that.
    _process: Process,
}

static SHARED: LazyLock<NodeProvider> = LazyLock::new(|| NodeProvider::start(300));

impl NodeProvider {
    /// Starts one whose access tokens last so many seconds, and waits until it listens.
    pub fn start(access_token_seconds: u32) -> Self {
        let mut command = node("provider.mjs");
        command.env("ACCESS_TOKEN_SECONDS", access_token_seconds.to_string());
        let process = Process::start(command);
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            let log = process.log();
            let issuer = log
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find_map(|line| line["issuer"].as_str().map(str::to_owned));
            if let Some(issuer) = issuer {
                return Self {
                    issuer,
                    _process: process,
                };
            }
            assert!(Instant::now() < end, "oidc-provider does not start:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its table in a configuration, without `allow`, for sessions that are renewed.
    pub fn renewing_table(&self) -> String {
        // Core §11: offline access is asked for with a consent, or ignored.
        table_of(&self.issuer, "\"offline_access\", ")
            + "authorize_params = { prompt = \"consent\" }\n"
    }

    /// How often the token endpoint was asked, and how often it said no.
    pub async fn token_requests(&self) -> (u64, u64) {
        let counts = self.ask("/_token_requests").await;
        let count = |name: &str| counts[name].as_u64().expect("a count");
        (count("count"), count("refused"))
    }

    /// Its table in a configuration, without `allow`, for sessions that are not renewed.
    pub fn table(&self) -> String {
        table_of(&self.issuer, "")
    }

    /// Says how tokens are exchanged from now on, by the query of `/_exchanges`. Gives how often one was, and the last one.
    pub async fn exchanges(&self, query: &str) -> (u64, String) {
        let said = self.ask(&format!("/_exchanges{query}")).await;
        let subject = said["subject"].as_str().unwrap_or_default();
        (said["count"].as_u64().expect("a count"), subject.to_owned())
    }

    /// From now on each token takes so long.
    pub async fn slow(&self, milliseconds: u64) {
        self.ask(&format!("/_slow?ms={milliseconds}")).await;
    }

    async fn ask(&self, path: &str) -> Value {
        let address = self.issuer.strip_prefix("http://").expect("plain http");
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        let address = address.parse().expect("an address");
        let answer = raw::try_exchange(address, false, request.as_bytes()).await;
        let answer = answer.expect("the provider answers");
        let body = answer.split("\r\n\r\n").nth(1).expect("a body");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }
}

/// Node with a script of `tests/node`.
pub fn node(script: &str) -> Command {
    let folder = house::root().join("tests/node");
    assert!(
        folder.join("node_modules/oidc-provider").is_dir(),
        "tests/node/node_modules is missing: `tests/run` fetches it (or: cd tests/node && npm ci)"
    );
    assert!(
        Command::new("node").arg("--version").output().is_ok(),
        "these tests need Node.js 18 or newer: apt-get install nodejs (`tests/run` does it)"
    );
    let mut command = Command::new("node");
    command.arg(folder.join(script)).current_dir(folder);
    command
}

/// The issuer of the one that all tests share.
pub fn issuer() -> &'static str {
    &SHARED.issuer
}

/// Posts a form as a client of the one that all tests share.
pub async fn post(path: &str, client: &str, form: &str) -> Value {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let host = issuer().strip_prefix("http://").expect("plain http");
    let basic = STANDARD.encode(format!("{client}:npm-client-secret"));
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Basic {basic}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let address = host.parse().expect("an address");
    let answer = raw::try_exchange(address, false, request.as_bytes()).await;
    let answer = answer.expect("the provider answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    serde_json::from_str(body).unwrap_or_default()
}

/// Its table in a configuration, without `allow`.
pub fn table() -> String {
    table_of(issuer(), "")
}

fn table_of(issuer: &str, more_scopes: &str) -> String {
    format!(
        "type = \"oidc\"\nissuer = \"{issuer}\"\nclient_id = \"sidegate\"\n\
         client_secret = \"npm-client-secret\"\n\
         scopes = [\"openid\", {more_scopes}\"profile\", \"email\", \"groups\"]\n"
    )
}

/// How many renewals requests may need that were made during `took`: one, and one more for each half of a token's life. A
/// token is renewed no sooner than at three fifths of its life, and a busy machine may be slow to ask.
pub fn renewals_due(took: Duration, access_token_seconds: u32) -> RangeInclusive<u64> {
    1..=1 + took.as_secs() * 2 / u64::from(access_token_seconds)
}

/// Signs in as `user` on the way to `path`, choosing them on the provider's page.
pub async fn sign_in(browser: &Browser, path: &str, user: &str) -> Reply {
    let page = browser.follow(path).await;
    choose(browser, &page, user).await
}

/// Chooses `user` on the provider's page and follows to the end.
pub async fn choose(browser: &Browser, page: &Reply, user: &str) -> Reply {
    let text = page.text();
    assert!(
        page.url.path().starts_with("/interaction/"),
        "at {}: {text}",
        page.url
    );
    let next = page
        .url
        .join(&format!("{}?user={user}", page.url.path()))
        .expect("an address");
    browser.follow(next.as_str()).await
}

/// Presses the button of the provider's page that asks whether to sign out. Gives its answer, which leads back.
pub async fn sign_out(browser: &Browser, page: &Reply) -> Reply {
    let text = page.text();
    assert!(
        text.contains("op.logoutForm"),
        "the provider asks: {} {text}",
        page.url
    );
    let after = |mark: &str, text: &str| -> String {
        let (_, rest) = text.split_once(mark).expect("a field");
        rest.split_once('"').expect("a quote").0.to_owned()
    };
    let (_, field) = text.split_once("name=\"xsrf\"").expect("a field");
    let body = format!("xsrf={}&logout=yes", after("value=\"", field));
    browser
        .navigate(&after("action=\"", &text))
        .method(Method::POST)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .send()
        .await
}
