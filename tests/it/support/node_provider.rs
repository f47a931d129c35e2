//! npm's `oidc-provider`, one for all tests of a run.

use std::{
    process::Command,
    sync::LazyLock,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Browser, Reply, house, process::Process};

struct Running {
    issuer: String,
    // Its standard input ends with this process, and it with that.
    _process: Process,
}

static RUNNING: LazyLock<Running> = LazyLock::new(|| {
    let process = Process::start(node("provider.mjs"));
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        let log = process.log();
        let issuer = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find_map(|line| line["issuer"].as_str().map(str::to_owned));
        if let Some(issuer) = issuer {
            return Running {
                issuer,
                _process: process,
            };
        }
        assert!(Instant::now() < end, "oidc-provider does not start:\n{log}");
        std::thread::sleep(Duration::from_millis(20));
    }
});

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

/// Its issuer.
pub fn issuer() -> &'static str {
    &RUNNING.issuer
}

/// Its table in a configuration, without `allow`.
pub fn table() -> String {
    format!(
        "type = \"oidc\"\nissuer = \"{}\"\nclient_id = \"sidegate\"\n\
         client_secret = \"npm-client-secret\"\n\
         scopes = [\"openid\", \"profile\", \"email\", \"groups\"]\n",
        issuer()
    )
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
