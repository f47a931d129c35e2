//! The setups that are compared: what runs between the load generator and the app.

mod gate;
mod nginx;
mod store;

use std::{
    error::Error,
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{
    process::{Memory, Process},
    upstream::Role,
};

pub use gate::Gate;
pub use nginx::{Nginx, NginxKind};
pub use store::{Kept, gate_keeping};

/// A proxy, with everything it needs to answer a request except the app.
pub struct Setup {
    /// For the report.
    pub name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    /// After the start, before the first request.
    pub memory_at_start: Memory,
    /// The proxy, then its helpers.
    processes: Vec<Process>,
}

impl Setup {
    /// Waits until `processes` listen on `address` and have settled.
    fn when_ready(
        name: &'static str,
        address: SocketAddr,
        mut processes: Vec<Process>,
        log: &Path,
    ) -> Result<Self, Box<dyn Error>> {
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err() {
            if Instant::now() > deadline || !processes.iter_mut().all(Process::is_running) {
                let log = fs::read_to_string(log).unwrap_or_default();
                return Err(format!("{name} does not start:\n{log}").into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(SETTLE);
        let mut setup = Self {
            name,
            address,
            memory_at_start: Memory::default(),
            processes,
        };
        setup.memory_at_start = setup.memory();
        Ok(setup)
    }

    /// The same with the processes of `other`, which it asks.
    #[must_use]
    pub fn with_helper(mut self, name: &'static str, other: Self) -> Self {
        self.name = name;
        self.processes.extend(other.processes);
        self
    }

    /// CPU time of all its processes, in nanoseconds.
    pub fn cpu_time(&self) -> u64 {
        self.processes.iter().map(Process::cpu_time).sum()
    }

    /// Memory of the proxy, without helpers.
    pub fn memory(&self) -> Memory {
        self.processes[0].memory()
    }

    /// The proxy's process ids, without helpers.
    pub fn proxy_ids(&self) -> Vec<u32> {
        self.processes[0].family()
    }
}

/// Starts this program as the app or the endpoint.
pub fn responder(
    address: SocketAddr,
    role: Role,
    core: usize,
    log: &Path,
) -> Result<Process, Box<dyn Error>> {
    let own = std::env::current_exe()?;
    let own = own.to_str().ok_or("a path that is not UTF-8")?;
    let role = match role {
        Role::App => "app",
        Role::Auth => "auth",
        Role::Provider => "provider",
        Role::Bulk => "bulk",
    };
    let command = [own, "respond", &address.to_string(), role];
    Ok(Process::start(&command, core, log)?)
}

/// A directory for configuration and logs, gone with this value.
pub struct Workplace {
    directory: PathBuf,
}

impl Workplace {
    /// A new one below the system's directory for temporary files.
    pub fn new() -> std::io::Result<Self> {
        let name = format!("sidegate-bench-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory)?;
        Ok(Self { directory })
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) -> std::io::Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // What cannot be removed stays in the directory for temporary files.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// An address of this machine's that nobody listens on.
pub fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

const START_LIMIT: Duration = Duration::from_secs(10);
const SETTLE: Duration = Duration::from_millis(500);
