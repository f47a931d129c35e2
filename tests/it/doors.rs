//! Every front door: a real proxy in front of the app, with the recipe of its page in `docs/doors/` as it stands. Only
//! addresses, ports and paths are the test's own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod apache;
mod caddy;
mod envoy;
mod haproxy;
mod ingress_nginx;
mod journey;
mod kubernetes;
mod nginx;
mod scripted;
mod traefik;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::support::{
    Browser, House, ScriptedProvider, Upstream,
    house::{Plan, root},
    ports,
    process::Process,
    tls,
};

const SITE: &str = "https://app.example.com";

/// A page of `docs/doors/`.
struct Page {
    name: &'static str,
    text: String,
}

impl Page {
    fn open(name: &'static str) -> Self {
        let file = root().join(format!("docs/doors/{name}.md"));
        Self {
            name,
            text: fs::read_to_string(file).unwrap(),
        }
    }

    /// The blocks of a language, in order.
    fn blocks(&self, language: &str) -> Vec<String> {
        let fence = format!("\n```{language}\n");
        let blocks = self.text.split(&fence).skip(1);
        let blocks = blocks.map(|rest| rest.split("\n```").next().unwrap().to_owned() + "\n");
        blocks.collect()
    }

    /// The only block of a language.
    fn block(&self, language: &str) -> String {
        let mut blocks = self.blocks(language);
        assert_eq!(blocks.len(), 1, "{} of {}", language, self.name);
        blocks.remove(0)
    }
}

/// Replaces what is the test's own; each has to be there.
fn substitute(recipe: &str, pairs: &[(&str, String)]) -> String {
    pairs
        .iter()
        .fold(recipe.to_owned(), |text, (written, ours)| {
            assert!(text.contains(written), "{written} is not in:\n{recipe}");
            text.replace(written, ours)
        })
}

/// A proxy, the gate, and the app behind.
struct Front {
    browser: Browser,
    address: SocketAddr,
    app: Upstream,
    house: House,
    _proxy: Process,
    _place: TempDir,
    _provider: ScriptedProvider,
}

/// What a proxy is started with.
struct Parts<'a> {
    place: &'a Path,
    /// Where it listens.
    at: SocketAddr,
    gate: SocketAddr,
    ext_authz: SocketAddr,
    app: SocketAddr,
    certificate: PathBuf,
    key: PathBuf,
}

impl Parts<'_> {
    /// Writes a file of the proxy's, which another user may read.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.place.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Front {
    /// Starts the app, the gate with the page's lines, and what `proxy` makes of the parts.
    async fn start(gate: &str, proxy: impl FnOnce(&Parts<'_>) -> Command) -> Self {
        let (app, provider) = (Upstream::start().await, ScriptedProvider::start().await);
        // Nothing is known of her email and groups.
        provider.set(|behaviour| {
            behaviour.user = serde_json::json!({ "sub": "ada-1815", "preferred_username": "ada" });
        });
        let ext_authz = ports::free_address();
        let lines = gate
            .replace("127.0.0.1:4182", &ext_authz.to_string())
            .replace("127.0.0.1:8000", &app.address.to_string());
        let plan = House::plan()
            .public_url(SITE)
            .provider(&provider)
            .session("idle_timeout = \"40s\"")
            .route("/public/**", "public")
            .route("/internal/**", "deny");
        let house = with_lines(plan, &lines).start().await;
        let place = tempfile::tempdir().unwrap();
        let at = ports::free_address();
        let (certificate, key) = tls::write_files(place.path());
        let parts = Parts {
            place: place.path(),
            at,
            gate: house.address,
            ext_authz,
            app: app.address,
            certificate,
            key,
        };
        let mut proxy = Process::start(proxy(&parts));
        let end = Instant::now() + Duration::from_mins(1);
        while tokio::net::TcpStream::connect(at).await.is_err() {
            assert_eq!(proxy.try_wait(), None, "it ended:\n{}", proxy.log());
            assert!(Instant::now() < end, "no answer:\n{}", proxy.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self {
            browser: house.browser().led_to(at),
            address: at,
            app,
            house,
            _proxy: proxy,
            _place: place,
            _provider: provider,
        }
    }
}

/// The page's lines for `sidegate.toml`; an `upstream` takes the place of the plan's.
fn with_lines(plan: Plan, lines: &str) -> Plan {
    lines
        .lines()
        .fold(plan, |plan, line| match line.strip_prefix("upstream ") {
            Some(rest) => plan.upstream_at(rest.split('"').nth(1).unwrap()),
            None => plan.top(line),
        })
}

/// A program that the tests need, or a sentence that says where to get it.
fn tool(name: &str, package: &str) -> Command {
    let found = Command::new(name)
        .arg("-v")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(
        found.is_ok(),
        "{name} is missing: run tests/run, or install Debian's package {package}"
    );
    Command::new(name)
}
