//! Child processes that end with the test, their output kept.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Long enough for a debug binary on a busy machine.
const START: Duration = Duration::from_secs(20);

/// A child process whose output is collected, and which ends with its owner.
pub struct Process {
    child: Child,
    output: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    unread: Option<ChildStderr>,
}

impl Process {
    /// Starts `command` with both outputs collected and its standard input held open.
    pub fn start(command: Command) -> Self {
        Self::start_read(command, true)
    }

    /// As [`Process::start`], but nobody reads its standard error.
    pub fn start_unread(command: Command) -> Self {
        Self::start_read(command, false)
    }

    /// Begins to read what nobody read so far.
    pub fn read_at_last(&mut self) {
        if let Some(stderr) = self.unread.take() {
            self.readers.push(collect(stderr, &self.output));
        }
    }

    fn start_read(mut command: Command, is_read: bool) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let output = Arc::new(Mutex::new(String::new()));
        let stdout = child.stdout.take().expect("piped above");
        let stderr = child.stderr.take().expect("piped above");
        let mut readers = vec![collect(stdout, &output)];
        let unread = if is_read {
            readers.push(collect(stderr, &output));
            None
        } else {
            Some(stderr)
        };
        Self {
            child,
            output,
            readers,
            unread,
        }
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        self.output.lock().expect("no writer panics").clone()
    }

    /// All that it wrote, once it has ended.
    pub fn whole_log(&mut self) -> String {
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader does not panic");
        }
        self.log()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child is ours")
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        // The shell's own `kill`: the program of that name is not on every machine.
        let sent = Command::new("sh")
            .args(["-c", "kill -\"$1\" \"$0\""])
            .arg(self.id().to_string())
            .arg(name)
            .status()
            .expect("sh runs");
        assert!(sent.success(), "SIG{name} reaches {}", self.id());
    }

    /// Waits for the end.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.try_wait() {
                return status;
            }
            assert!(
                Instant::now() < end,
                "still running after {within:?}; log:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for a line of the output that `wanted` finds something in.
    pub async fn wait_for<T>(&mut self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        let end = Instant::now() + START;
        loop {
            if let Some(found) = self.log().lines().find_map(&wanted) {
                return found;
            }
            if let Some(status) = self.try_wait() {
                panic!("ended ({status}) before {what}:\n{}", self.log());
            }
            assert!(Instant::now() < end, "no {what} in:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    /// Waits until it holds less memory than `kibibytes`. The allocator gives pages back some seconds after they were
    /// freed.
    pub async fn shrinks_below(&self, kibibytes: u64) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let now = self.memory_kib("VmRSS");
            if now < kibibytes {
                return;
            }
            assert!(
                Instant::now() < end,
                "{now} KiB of memory, where less than {kibibytes} were expected"
            );
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// A field of `/proc/PID/status` in KiB, such as `VmHWM`.
    pub fn memory_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))
            .expect("the process runs");
        status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .and_then(|value| value.split_whitespace().next()?.parse().ok())
            .unwrap_or_else(|| panic!("no {field} in {status}"))
    }
}

impl Drop for Process {
    #[expect(
        clippy::print_stderr,
        reason = "shown by the test runner for a failed test"
    )]
    fn drop(&mut self) {
        // Both fail only where the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.len().saturating_sub(8_000);
            let tail = log.get(tail..).unwrap_or(&log);
            eprintln!("--- output of process {}:\n{tail}", self.child.id());
        }
    }
}

fn collect(
    from: impl std::io::Read + Send + 'static,
    output: &Arc<Mutex<String>>,
) -> JoinHandle<()> {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|length| length > 0)
        {
            output
                .lock()
                .expect("no reader panics")
                .push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}
