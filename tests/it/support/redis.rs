//! Real Redis servers: one, three that are a cluster, and one with a replica that sentinels watch.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{ports, process::Process};

/// A running server. It ends with the test; its data do not end with the server.
pub struct RedisServer {
    /// Where it listens, in the clear.
    pub address: SocketAddr,
    process: Option<Process>,
    arguments: Vec<String>,
    password: Option<String>,
    directory: TempDir,
}

impl RedisServer {
    /// A server that keeps its data.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// As [`start`](Self::start), with further arguments.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let mut server = Self::prepared(arguments);
        server.run().await;
        server
    }

    /// A server that is yet to be started.
    pub fn prepared(arguments: &[&str]) -> Self {
        Self {
            address: ports::free_address(),
            process: None,
            arguments: arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
            password: None,
            directory: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// What the tests say `AUTH` with.
    pub fn password(&mut self, password: &str) {
        self.password = Some(password.to_owned());
    }

    /// Its address as the configuration writes it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Its folder.
    pub fn folder(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Starts it, again or at first, and waits until it answers.
    pub async fn run(&mut self) {
        let mut command = redis_server();
        command
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                &self.address.port().to_string(),
            ])
            .args(["--appendonly", "yes", "--save", "", "--dir"])
            .arg(self.directory.path())
            .args(&self.arguments);
        self.process = Some(Process::start(command));
        let end = Instant::now() + Duration::from_secs(20);
        while !self
            .try_ask(&["PING"])
            .await
            .is_some_and(|answer| answer.contains("PONG"))
        {
            assert!(
                Instant::now() < end,
                "redis-server does not answer:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        self.process.as_ref().map_or_else(String::new, Process::log)
    }

    /// A command, and its whole answer as it stands on the wire.
    pub async fn ask(&self, command: &[&str]) -> String {
        let command: Vec<&[u8]> = command.iter().map(|part| part.as_bytes()).collect();
        let answer = self.ask_bytes(&command).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// As [`ask`](Self::ask), with any bytes.
    pub async fn ask_bytes(&self, command: &[&[u8]]) -> Vec<u8> {
        self.try_ask_bytes(command)
            .await
            .expect("redis-server answers")
    }

    async fn try_ask(&self, command: &[&str]) -> Option<String> {
        let command: Vec<&[u8]> = command.iter().map(|part| part.as_bytes()).collect();
        let answer = self.try_ask_bytes(&command).await?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    }

    async fn try_ask_bytes(&self, command: &[&[u8]]) -> Option<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address).await.ok()?;
        let mut request = Vec::new();
        if let Some(password) = &self.password {
            request.extend(encode(&[b"AUTH", password.as_bytes()]));
        }
        request.extend(encode(command));
        request.extend(encode(&[b"QUIT"]));
        stream.write_all(&request).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        Some(answer)
    }

    /// All keys that fit `pattern`, sorted.
    pub async fn keys(&self, pattern: &str) -> Vec<String> {
        let answer = self.ask(&["KEYS", pattern]).await;
        let mut keys: Vec<String> = answer
            .lines()
            .filter(|line| line.starts_with("sidegate"))
            .map(str::to_owned)
            .collect();
        keys.sort();
        keys
    }

    /// The value at a key.
    pub async fn value(&self, key: &str) -> Vec<u8> {
        let answer = self.ask_bytes(&[b"GET", key.as_bytes()]).await;
        let head = answer
            .windows(2)
            .position(|two| two == b"\r\n")
            .expect("a length");
        let length: usize = std::str::from_utf8(&answer[1..head])
            .ok()
            .and_then(|length| length.parse().ok())
            .unwrap_or_else(|| panic!("no value at {key}"));
        answer[head + 2..head + 2 + length].to_vec()
    }
}

fn encode(command: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for part in command {
        bytes.extend(format!("${}\r\n", part.len()).as_bytes());
        bytes.extend(*part);
        bytes.extend(b"\r\n");
    }
    bytes
}

fn redis_server() -> Command {
    assert!(
        Command::new("redis-server")
            .arg("--version")
            .output()
            .is_ok(),
        "these tests need redis-server: apt-get install redis-server (`tests/run` does it)"
    );
    Command::new("redis-server")
}

/// Three servers that share the keys.
pub struct RedisCluster {
    /// The servers.
    pub nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts them and waits until each knows of all.
    pub async fn start() -> Self {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            // The port of the cluster's own talk is the server's plus 10000 else, which may be taken.
            let bus = ports::free_address().port().to_string();
            let arguments = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            nodes.push((RedisServer::start_with(&arguments).await, bus));
        }
        for ((node, _), slots) in nodes
            .iter()
            .zip([(0, 5_460), (5_461, 10_922), (10_923, 16_383)])
        {
            let (first, last) = (slots.0.to_string(), slots.1.to_string());
            let answer = node.ask(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await;
            assert!(answer.starts_with("+OK"), "{answer}");
            for (other, bus) in &nodes {
                let port = other.address.port().to_string();
                node.ask(&["CLUSTER", "MEET", "127.0.0.1", &port, bus])
                    .await;
            }
        }
        let nodes: Vec<_> = nodes.into_iter().map(|(node, _)| node).collect();
        let end = Instant::now() + Duration::from_secs(30);
        for node in &nodes {
            loop {
                let info = node.ask(&["CLUSTER", "INFO"]).await;
                if info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3") {
                    break;
                }
                assert!(Instant::now() < end, "no cluster: {info}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Self { nodes }
    }

    /// Starts a copy of one of them, which takes its place when it dies, and waits until it is one.
    pub async fn replica_of(&self, index: usize) -> RedisServer {
        let master = &self.nodes[index];
        let bus = ports::free_address().port().to_string();
        let arguments = ["--cluster-enabled", "yes", "--cluster-port", &bus];
        let replica = RedisServer::start_with(&arguments).await;
        let port = replica.address.port().to_string();
        for node in &self.nodes {
            node.ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus])
                .await;
        }
        for node in self.nodes.iter().chain([&replica]) {
            let timeout = ["CONFIG", "SET", "cluster-node-timeout", "2000"];
            node.ask(&timeout).await;
        }
        let answer = master.ask(&["CLUSTER", "MYID"]).await;
        let id = answer.lines().nth(1).expect("an id").to_owned();
        let end = Instant::now() + Duration::from_secs(30);
        // Refused until it has heard of its master.
        while !replica
            .ask(&["CLUSTER", "REPLICATE", &id])
            .await
            .starts_with("+OK")
        {
            assert!(Instant::now() < end, "no replica:\n{}", replica.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for node in self.nodes.iter().chain([&replica]) {
            loop {
                let link = replica.ask(&["INFO", "replication"]).await;
                let nodes = node.ask(&["CLUSTER", "NODES"]).await;
                let is_known = nodes.lines().any(|line| {
                    line.contains("slave") && line.contains(&id) && line.contains(&port)
                });
                if link.contains("master_link_status:up") && is_known {
                    break;
                }
                assert!(Instant::now() < end, "no replica: {link}\n{nodes}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        replica
    }

    /// Its address as the configuration writes it.
    pub fn url(&self) -> String {
        let mut url = "redis-cluster://".to_owned();
        for (index, node) in self.nodes.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(url, "{comma}{}", node.address);
        }
        url
    }
}
