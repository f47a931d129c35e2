//! Sessions are renewed at the provider: once, whoever asks, and without anybody noticing.

mod cookies;
mod elsewhere;
mod ends;
mod faults;
mod identity;
mod meanwhile;
mod public_routes;
mod scene;
mod stalls;

pub use scene::OVER;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt;

use crate::support::{
    Browser, House, Reply, Upstream,
    browser::is_session,
    node_provider::{self, NodeProvider},
};

/// Requests at once, as a page with many parts makes them, and as many tabs do.
const AT_ONCE: usize = 50;
/// How long the provider's tokens last there, in seconds.
const LIFETIME: u32 = 4;

/// A house whose sessions rest on a strict provider: each refresh token is good once, and a second use ends
/// everything.
struct Scene {
    house: House,
    _upstream: Upstream,
    provider: NodeProvider,
    is_cookie: bool,
}

impl Scene {
    async fn set(store: &str, access_token_seconds: u32) -> Self {
        let upstream = Upstream::start().await;
        let provider = NodeProvider::start(access_token_seconds);
        let table = format!(
            "{}allow = {{ groups = [\"engineers\"] }}\n",
            provider.renewing_table()
        );
        let house = House::plan()
            .upstream(&upstream)
            .named("npm", &table)
            .session(&format!("store = \"{store}\""))
            .start()
            .await;
        Self {
            house,
            _upstream: upstream,
            provider,
            is_cookie: store == "cookie",
        }
    }

    async fn signed_in(&self) -> Browser {
        let browser = self.house.browser();
        node_provider::sign_in(&browser, "/", "ada").await.seen();
        browser
    }

    /// One request with this cookie and no jar.
    async fn ask(&self, cookie: &str) -> Reply {
        let browser = self.house.browser();
        let ask = browser.fetch(Method::GET, "/");
        ask.header("cookie", &format!("sidegate={cookie}"))
            .send()
            .await
    }

    /// One whose client breaks off, with a reset, as soon as it has asked.
    async fn ask_and_leave(&self, cookie: &str) {
        let stream = tokio::net::TcpStream::connect(self.house.address).await;
        let mut stream = stream.expect("the house accepts");
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nCookie: sidegate={cookie}\r\n\r\n",
            self.house.address
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        tokio::time::sleep(Duration::from_millis(30)).await;
        stream.set_zero_linger().expect("a socket option");
    }
}

/// The session cookie that an answer brings.
fn successor(reply: &Reply) -> Option<String> {
    let set = reply.set_cookies();
    let set = set.iter().find(|header| is_session(header))?;
    let (_, rest) = set.split_once('=')?;
    rest.split(';').next().map(str::to_owned)
}

/// Fifty at once when the token is over, and one more that begins the renewal and goes away, again and again.
async fn rounds(store: &str, count: usize) {
    let scene = Arc::new(Scene::set(store, LIFETIME).await);
    let mut cookie = scene
        .signed_in()
        .await
        .cookie("sidegate")
        .expect("a session");
    let first = cookie.clone();
    scene.provider.slow(60).await;
    let mut last = Vec::new();
    for round in 0..count {
        tokio::time::sleep(Duration::from_secs(LIFETIME.into()) + Duration::from_millis(50)).await;
        let (before, _) = scene.provider.token_requests().await;
        let began = Instant::now();
        scene.ask_and_leave(&cookie).await;
        let asking = (0..AT_ONCE).map(|_| {
            let (scene, cookie) = (Arc::clone(&scene), cookie.clone());
            tokio::spawn(async move { scene.ask(&cookie).await })
        });
        let asking: Vec<_> = asking.collect();
        let mut successors = Vec::new();
        for asked in asking {
            let reply = asked.await.expect("no panic");
            assert_eq!(
                reply.status,
                StatusCode::OK,
                "{store} {round}: {}",
                reply.text()
            );
            assert_eq!(reply.seen().header("x-user-id"), Some("npm:ada"));
            successors.extend(successor(&reply));
        }
        let (after, refused) = scene.provider.token_requests().await;
        let due = node_provider::renewals_due(began.elapsed(), LIFETIME);
        assert!(
            due.contains(&(after - before)) && refused == 0,
            "{store} {round}: {} token calls, {refused} refused; {due:?} were due",
            after - before
        );
        let expected = if scene.is_cookie { AT_ONCE } else { 0 };
        assert_eq!(
            successors.len(),
            expected,
            "{store} {round}: each answer brings the new cookie"
        );
        if let Some(new) = successors.first() {
            cookie.clone_from(new);
        }
        last = successors;
    }
    // The oldest cookie leads to the newest session all the same.
    let (before, _) = scene.provider.token_requests().await;
    let reply = scene.ask(&first).await;
    assert_eq!(reply.status, StatusCode::OK, "{store}: the first cookie");
    assert_eq!(successor(&reply).is_some(), scene.is_cookie);
    assert_eq!(scene.provider.token_requests().await.0, before);
    // They are all one session: one end ends them.
    last.extend([first, cookie.clone()]);
    let browser = scene.house.browser();
    browser.plant("sidegate", &cookie);
    browser.fetch(Method::POST, "/oauth2/sign_out").send().await;
    for copy in last {
        assert_eq!(
            scene.ask(&copy).await.status,
            StatusCode::UNAUTHORIZED,
            "{store}"
        );
    }
    let log = scene.house.process.log();
    assert!(
        !log.contains("cannot be renewed") && !log.contains("panicked"),
        "{log}"
    );
}

#[tokio::test]
async fn one_token_call_renews_everybody_and_logs_nobody_out() {
    let asked = std::env::var("RENEWAL_ROUNDS").ok();
    let count = asked.and_then(|rounds| rounds.parse().ok()).unwrap_or(12);
    tokio::join!(rounds("cookie", count), rounds("memory", count));
}

/// While the old token lasts nobody waits for the new one, however slow the provider is.
async fn unnoticed(store: &str) {
    let scene = Scene::set(store, 15).await;
    let browser = scene.signed_in().await;
    let (before, _) = scene.provider.token_requests().await;
    scene.provider.slow(2_000).await;
    let begin = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut renewed = None;
    // Due three to six seconds before the end; then the provider thinks for two.
    while begin.elapsed() < Duration::from_millis(14_900) {
        let asked = Instant::now();
        let reply = browser.fetch(Method::GET, "/").send().await;
        slowest = slowest.max(asked.elapsed());
        assert_eq!(reply.status, StatusCode::OK);
        if renewed.is_none() && scene.provider.token_requests().await.0 > before {
            renewed = Some(begin.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let renewed = renewed.unwrap_or_else(|| panic!("{store}: nothing was renewed"));
    assert!(
        renewed > Duration::from_secs(7),
        "{store}: not before it is due: {renewed:?}"
    );
    assert!(
        slowest < Duration::from_millis(1_500),
        "{store}: somebody waited {slowest:?}"
    );
    let (after, refused) = scene.provider.token_requests().await;
    assert_eq!((after - before, refused), (1, 0), "{store}");
}

#[tokio::test]
async fn a_renewal_ahead_of_time_adds_no_waiting() {
    tokio::join!(unnoticed("cookie"), unnoticed("memory"));
}

#[tokio::test]
async fn a_client_that_goes_away_loses_nothing() {
    for store in ["cookie", "memory"] {
        let scene = Scene::set(store, 2).await;
        let cookie = scene
            .signed_in()
            .await
            .cookie("sidegate")
            .expect("a session");
        tokio::time::sleep(Duration::from_millis(2_050)).await;
        scene.provider.slow(700).await;
        let (before, _) = scene.provider.token_requests().await;
        scene.ask_and_leave(&cookie).await;
        // Nobody is there while the provider answers.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let reply = scene.ask(&cookie).await;
        assert_eq!(reply.status, StatusCode::OK, "{store}");
        assert_eq!(successor(&reply).is_some(), scene.is_cookie);
        let (after, refused) = scene.provider.token_requests().await;
        assert!(after > before && refused == 0, "{store}");
    }
}
