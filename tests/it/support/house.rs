//! The house under test: the real `sidegate` binary with a configuration of the test's own, on a port of its own.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    browser::Browser, node_provider, ports, process::Process, provider::ScriptedProvider, tls,
    upstream::Upstream,
};

/// Long enough for a debug binary on a busy machine.
const START: Duration = Duration::from_secs(20);

/// A secret for sessions, so that two houses can share one.
pub const SECRET: &str = "m3Vu9Xq0c1pYtR7aKz5LwB2nHs8dEf4gJ6iQoU0vTxk";

/// A provider at a port where nothing listens.
const NOWHERE: &str = "type = \"oidc\"\nissuer = \"http://127.0.0.1:9\"\nclient_id = \"sidegate\"\n\
    client_secret = \"nobody-asks\"\n";

/// What a house will be like.
#[derive(Default)]
pub struct Plan {
    top: String,
    session: String,
    tables: String,
    upstream: Option<String>,
    public_url: Option<String>,
    secret: Option<String>,
    allow: Option<String>,
    provider: Option<(&'static str, String)>,
    /// Whether the plan's further tables bring every provider.
    providers_apart: bool,
    provider_lines: String,
    environment: Vec<(String, String)>,
    tls: bool,
    prefix: Option<String>,
    admin: Option<SocketAddr>,
    listen: Option<String>,
    unread: bool,
    open_files: Option<(&'static str, u32)>,
    log_to: Option<&'static str>,
}

impl Plan {
    /// The app behind the gate.
    pub fn upstream(self, upstream: &Upstream) -> Self {
        self.upstream_at(&format!("http://{}", upstream.address))
    }

    /// Any address as the app behind the gate.
    pub fn upstream_at(mut self, url: &str) -> Self {
        self.upstream = Some(url.to_owned());
        self
    }

    /// Signs in at the scripted provider, known as `script`.
    pub fn provider(mut self, provider: &ScriptedProvider) -> Self {
        self.provider = Some(("script", provider.table()));
        self
    }

    /// Signs in at npm's `oidc-provider`, known as `npm`.
    pub fn npm(mut self) -> Self {
        self.provider = Some(("npm", node_provider::table()));
        self
    }

    /// A provider of this name and table, `allow` included; the first takes the place of the one that is there
    /// without.
    pub fn named(mut self, name: &str, table: &str) -> Self {
        self.providers_apart = true;
        self.tables(&format!("[providers.{name}]\n{table}"))
    }

    /// The provider's `allow`, as TOML; "anyone" without.
    pub fn allow(mut self, toml: &str) -> Self {
        self.allow = Some(toml.to_owned());
        self
    }

    /// A further line of the provider's table.
    pub fn provider_line(mut self, line: &str) -> Self {
        let _ = writeln!(self.provider_lines, "{line}");
        self
    }

    /// A further top-level line.
    pub fn top(mut self, line: &str) -> Self {
        let _ = writeln!(self.top, "{line}");
        self
    }

    /// Where own endpoints live; `/oauth2` without.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = Some(prefix.to_owned());
        self.top(&format!("prefix = \"{prefix}\""))
    }

    /// The `listen` line, where it says more than the one address.
    pub fn listen(mut self, line: &str) -> Self {
        self.listen = Some(line.to_owned());
        self
    }

    /// A further line of `[session]`.
    pub fn session(mut self, line: &str) -> Self {
        let _ = writeln!(self.session, "{line}");
        self
    }

    /// `session.secret`, as TOML.
    pub fn secret(mut self, toml: &str) -> Self {
        self.secret = Some(toml.to_owned());
        self
    }

    /// No `session.secret` at all.
    pub fn without_secret(mut self) -> Self {
        self.secret = Some(String::new());
        self
    }

    /// Further tables.
    pub fn tables(mut self, toml: &str) -> Self {
        let _ = writeln!(self.tables, "{toml}");
        self
    }

    /// One `[[routes]]` entry.
    pub fn route(self, path: &str, access: &str) -> Self {
        self.tables(&format!(
            "[[routes]]\npath = \"{path}\"\naccess = \"{access}\""
        ))
    }

    /// The address users type; the house's own on loopback without.
    pub fn public_url(mut self, url: &str) -> Self {
        self.public_url = Some(url.to_owned());
        self
    }

    /// An environment variable.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has an admin listener, for [`House::ready_in_detail`].
    pub fn admin(mut self) -> Self {
        let address = ports::free_address();
        self.admin = Some(address);
        self.top(&format!("admin_listen = \"{address}\""))
    }

    /// Serves TLS with the tests' certificate; the public address becomes `https://localhost:PORT`.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Nobody reads its log.
    pub fn unread(mut self) -> Self {
        self.unread = true;
        self
    }

    /// How many open files it begins with; it may have more if it asks.
    pub fn open_files(mut self, limit: u32) -> Self {
        self.open_files = Some(("-S", limit));
        self
    }

    /// How many open files it may have at most.
    pub fn descriptors(mut self, limit: u32) -> Self {
        // Both limits: `-SH` sets the hard one first, which some shells refuse.
        self.open_files = Some(("", limit));
        self
    }

    /// Its log goes to this file.
    pub fn log_to(mut self, file: &'static str) -> Self {
        self.log_to = Some(file);
        self
    }

    /// Writes the configuration, starts the binary and waits until it answers.
    pub async fn start(self) -> House {
        let address = ports::free_address();
        self.start_at(address).await
    }

    /// As [`Plan::start`], on an address that the test knows beforehand.
    pub async fn start_at(mut self, address: SocketAddr) -> House {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let public_url = self.public_url.take().unwrap_or_else(|| {
            if self.tls {
                format!("https://localhost:{}", address.port())
            } else {
                format!("http://{address}")
            }
        });
        let file = directory.path().join("sidegate.toml");
        let text = self.toml(address, &public_url, directory.path());
        std::fs::write(&file, &text).expect("the configuration is written");
        let mut command = sidegate();
        if let Some((which, limit)) = self.open_files {
            let binary = std::mem::replace(&mut command, Command::new("sh"));
            let line = format!("ulimit {which} -n {limit} && exec \"$0\" \"$@\"");
            command.args(["-c", &line]).arg(binary.get_program());
        }
        if let Some(log) = self.log_to {
            let binary = std::mem::replace(&mut command, Command::new("sh"));
            let line = format!("exec \"$0\" \"$@\" 2>{log}");
            command.args(["-c", &line]).arg(binary.get_program());
            command.args(binary.get_args());
        }
        command.args(["run", "-c"]).arg(&file);
        command.envs(self.environment.iter().cloned());
        let process = if self.unread {
            Process::start_unread(command)
        } else {
            Process::start(command)
        };
        let mut house = House {
            process,
            address,
            public_url,
            tls: self.tls,
            admin: self.admin,
            prefix: self.prefix.unwrap_or_else(|| "/oauth2".to_owned()),
            directory,
        };
        house.wait_until_alive(&text).await;
        house
    }

    fn toml(&self, address: SocketAddr, public_url: &str, directory: &Path) -> String {
        let own = format!("listen = \"{address}\"");
        let listen = self.listen.as_deref().unwrap_or(&own);
        let mut text = format!("{listen}\npublic_url = \"{public_url}\"\n");
        let upstream = self.upstream.as_deref().unwrap_or("http://127.0.0.1:9");
        let _ = writeln!(text, "upstream = \"{upstream}\"");
        if self.tls {
            let (cert, key) = tls::write_files(directory);
            let _ = writeln!(
                text,
                "tls = {{ cert = \"{}\", key = \"{}\" }}",
                cert.display(),
                key.display()
            );
        }
        text.push_str(&self.top);
        let secret = self
            .secret
            .clone()
            .unwrap_or_else(|| format!("\"{SECRET}\""));
        let _ = writeln!(text, "\n[session]\n{}", self.session);
        if !secret.is_empty() {
            let _ = writeln!(text, "secret = {secret}");
        }
        // A gate has at least one provider; one that nobody asks need not be there.
        let nowhere = (!self.providers_apart).then(|| ("script", NOWHERE.to_owned()));
        if let Some((name, table)) = self.provider.clone().or(nowhere) {
            let allow = self.allow.as_deref().unwrap_or("\"anyone\"");
            let lines = &self.provider_lines;
            let _ = writeln!(text, "[providers.{name}]\n{table}allow = {allow}\n{lines}");
        }
        text.push_str(&self.tables);
        text
    }
}

/// A running `sidegate run`. It ends with the test.
pub struct House {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    /// The address users type.
    pub public_url: String,
    /// Whether the listener speaks TLS.
    pub tls: bool,
    prefix: String,
    admin: Option<SocketAddr>,
    directory: TempDir,
}

impl House {
    /// A house to be.
    pub fn plan() -> Plan {
        Plan::default()
    }

    /// The text of its configuration, with `from` replaced by `to`, takes the file's place at once.
    pub fn rewrite(&self, from: &str, to: &str) {
        let file = self.configuration();
        let text = std::fs::read_to_string(&file).expect("the configuration");
        assert!(text.contains(from), "{from} is not in:\n{text}");
        let next = self.directory().join("next.toml");
        std::fs::write(&next, text.replace(from, to)).expect("written");
        std::fs::rename(&next, &file).expect("moved over");
    }

    /// The file of its configuration.
    pub fn configuration(&self) -> PathBuf {
        self.directory().join("sidegate.toml")
    }

    /// A folder of its own, which goes with it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What its admin listener says at `path`: the status and the body.
    pub async fn admin_says(&self, path: &str) -> (u16, String) {
        let admin = self.admin.expect("a house with an admin listener");
        self.ask_admin(admin, path).await
    }

    /// Where the admin listener listens.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.expect("a house with an admin listener")
    }

    /// A browser that has never been here.
    pub fn browser(&self) -> Browser {
        Browser::at(self)
    }

    /// A connection to the listener, within TLS where it speaks that.
    pub async fn connect(&self) -> super::Stream {
        super::connect(self.address, self.tls).await
    }

    /// `url` made absolute by the public address.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.public_url)
    }

    /// What the admin listener at `address` says at `path`: the status and the body.
    pub async fn ask_admin(&self, address: SocketAddr, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = super::raw::try_exchange(address, false, request.as_bytes()).await;
        let answer = answer.expect("the admin listener answers");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        (super::raw::status(&answer), body.to_owned())
    }

    /// Whether it is ready, and what it waits for: the status and the body.
    pub async fn ready_in_detail(&self) -> (u16, String) {
        self.admin_says("/ready").await
    }

    /// Waits until the metrics say that somebody ran into this key of `[limits]`.
    pub async fn limit_is_hit(&self, key: &str) {
        let admin = self.admin.expect("a house with an admin listener");
        let line = format!("sidegate_limit_hits_total{{limit=\"{key}\"}} ");
        for _ in 0..200 {
            let (_, metrics) = self.ask_admin(admin, "/metrics").await;
            let hits = metrics.lines().find_map(|text| text.strip_prefix(&line));
            if hits.expect("a count of every limit") != "0" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("nobody ran into {key}");
    }

    /// Waits until the metrics have this line.
    pub async fn until_metrics_say(&self, line: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let (_, metrics) = self.admin_says("/metrics").await;
            if metrics.lines().any(|one| one == line) {
                return;
            }
            assert!(Instant::now() < end, "{line}:\n{metrics}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn wait_until_alive(&mut self, configuration: &str) {
        let end = Instant::now() + START;
        loop {
            if let Some(status) = self.process.try_wait() {
                panic!(
                    "sidegate ended at start ({status}) with:\n{configuration}\n{}",
                    self.process.log()
                );
            }
            let own = format!("{}/ping", self.prefix);
            // A binary of before answers at the bare path alone.
            let bare = std::env::var_os("TEST_BINARY").map(|_| "/ping");
            for path in [own.as_str()].into_iter().chain(bare) {
                let request =
                    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
                if let Ok(Ok(answer)) = tokio::time::timeout(
                    Duration::from_secs(2),
                    super::raw::try_exchange(self.address, self.tls, request.as_bytes()),
                )
                .await
                    && answer.starts_with("HTTP/1.1 200")
                {
                    return;
                }
            }
            assert!(
                Instant::now() < end,
                "no answer at {}/ping within {START:?}; log:\n{}",
                self.prefix,
                self.process.log()
            );
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    /// The access log's last line of a request to `path`, waited for: lines are written behind the answer.
    pub async fn access_line(&self, path: &str) -> Value {
        self.access_line_where(path, |line| line["path"] == path)
            .await
    }

    /// The access log's last line that `fits`, waited for.
    pub async fn access_line_where(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            if let Some(line) = self.access_lines().into_iter().rev().find(&fits) {
                return line;
            }
            assert!(
                Instant::now() < end,
                "no log line for {what}:\n{}",
                self.process.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for `text` in the log: lines are written behind the answer.
    pub async fn until_logged(&self, text: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.process.log().contains(text) {
            assert!(Instant::now() < end, "{text}:\n{}", self.process.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every line of the access log so far, fields at the top.
    pub fn access_lines(&self) -> Vec<Value> {
        self.process
            .log()
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .map(|line| match line.get("fields") {
                Some(fields) => fields.clone(),
                None => line,
            })
            .filter(|line| line.get("path").is_some() && line.get("status").is_some())
            .collect()
    }
}

/// The binary under test, free of the environment's own configuration: the one that was just built, or `TEST_BINARY`.
pub fn sidegate() -> Command {
    let built = env!("CARGO_BIN_EXE_sidegate");
    let mut command = match std::env::var_os("TEST_BINARY") {
        Some(other) => Command::new(other),
        None => Command::new(built),
    };
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SIDEGATE_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.env("RUST_BACKTRACE", "1");
    command
}

/// The repository's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
