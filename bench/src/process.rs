//! Child processes: started on a core, measured through `/proc`, ended by their id.

use std::{
    fs, io,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::machine::as_f64;

/// A running program that ends with this value.
pub struct Process {
    child: Child,
    name: String,
}

/// Memory of processes, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident set, shared pages counted in each process.
    pub resident: u64,
    /// Resident set, shared pages divided among those who share them.
    pub proportional: u64,
}

impl Memory {
    /// The resident set in MiB.
    pub fn resident_mebibytes(self) -> f64 {
        as_f64(self.resident) / 1024.0
    }

    /// The proportional set in MiB.
    pub fn proportional_mebibytes(self) -> f64 {
        as_f64(self.proportional) / 1024.0
    }
}

impl Process {
    /// Starts `command` on `core` with its output in `log`. It is told to end (SIGTERM) when this
    /// thread dies, however it dies.
    pub fn start(command: &[&str], core: usize, log: &Path) -> io::Result<Self> {
        let log = fs::File::create(log)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "-c", &core.to_string()])
            .args(command)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self {
            child,
            name: command[0].to_owned(),
        })
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its process id and those of its descendants.
    pub fn family(&self) -> Vec<u32> {
        let mut family = vec![self.child.id()];
        let mut next = 0;
        while next < family.len() {
            family.extend(children(family[next]));
            next += 1;
        }
        family
    }

    /// CPU time that it and its descendants have used, in nanoseconds.
    pub fn cpu_time(&self) -> u64 {
        self.family()
            .into_iter()
            .flat_map(tasks)
            .map(run_time)
            .sum()
    }

    /// Memory that it and its descendants hold.
    pub fn memory(&self) -> Memory {
        let mut sum = Memory::default();
        for id in self.family() {
            let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
            sum.resident += kibibytes(&rollup, "Rss:");
            sum.proportional += kibibytes(&rollup, "Pss:");
        }
        sum
    }

    /// Asks it to end, then makes it.
    fn stop(&mut self) {
        let family = self.family();
        if let Ok(id) = i32::try_from(self.child.id())
            && let Some(id) = Pid::from_raw(id)
        {
            // An error means that it has ended already.
            let _ = kill_process(id, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_GRACE;
        while Instant::now() < deadline {
            if !self.is_running() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        eprintln!("{} does not stop, killing it", self.name);
        for id in family {
            if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
                let _ = kill_process(id, Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            self.stop();
        }
    }
}

/// CPU time of this process, in nanoseconds.
pub fn own_cpu_time() -> u64 {
    tasks(std::process::id()).into_iter().map(run_time).sum()
}

fn children(id: u32) -> Vec<u32> {
    tasks(id)
        .into_iter()
        .filter_map(|task| fs::read_to_string(format!("{task}/children")).ok())
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|id| id.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The directories of a process's threads.
fn tasks(id: u32) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{id}/task")) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path().to_str()?.to_owned()))
        .collect()
}

/// Nanoseconds on a CPU: the first number of `schedstat`. The tick of `stat` (10 ms) is too coarse
/// for runs of a fifth of a second.
fn run_time(task: String) -> u64 {
    fs::read_to_string(task + "/schedstat")
        .ok()
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn kibibytes(rollup: &str, name: &str) -> u64 {
    rollup
        .lines()
        .find_map(|line| {
            line.strip_prefix(name)?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0)
}

const STOP_GRACE: Duration = Duration::from_secs(3);
