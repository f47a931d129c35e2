//! The Python of the tests, with what `tests/python/requirements.txt` lists; `tests/run` makes it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use super::{house::root, process::Process};

/// Long enough for an interpreter on a busy machine.
const START: Duration = Duration::from_mins(1);

/// A program of the environment, begun in the folder of the tests' apps.
pub fn program(name: &str) -> Command {
    let path = root().join("tests/.cache/python/bin").join(name);
    assert!(
        path.exists(),
        "{} is missing: run tests/run",
        path.display()
    );
    let mut command = Command::new(path);
    command.current_dir(folder());
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Where the tests' apps are.
pub fn folder() -> PathBuf {
    root().join("tests/python")
}

/// Starts an app, and waits until it accepts connections at `address`.
pub async fn serve(command: Command, address: SocketAddr) -> Process {
    let mut process = Process::start(command);
    let end = Instant::now() + START;
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert_eq!(process.try_wait(), None, "it ended:\n{}", process.log());
        assert!(
            Instant::now() < end,
            "it does not listen:\n{}",
            process.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    process
}
