//! The machine: which cores to use, whether it is quiet, and what others use of it meanwhile.

use std::{
    error::Error,
    fs, thread,
    time::{Duration, Instant},
};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The core of the setup under test, and the core of the load generator and the app.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// For the setup: with one worker it is the bottleneck.
    pub setup: usize,
    /// For what surrounds it.
    pub load: usize,
}

impl Cores {
    /// The first two cores that this process may use. It moves itself to the second.
    pub fn choose() -> Result<Self, Box<dyn Error>> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let setup = cores.next().ok_or("no core to run on")?;
        let load = cores.next().ok_or("two cores are needed")?;
        let mut own = CpuSet::new();
        own.set(load);
        sched_setaffinity(None, &own)?;
        Ok(Self { setup, load })
    }
}

/// What all cores did since the machine started, in ticks.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    busy: u64,
    total: u64,
}

impl Usage {
    /// Now.
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = stat.lines().next().unwrap_or_default();
        let fields: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|field| field.parse().ok())
            .collect();
        let total = fields.iter().sum();
        let idle: u64 = fields.iter().skip(3).take(2).sum();
        Self {
            busy: total - idle,
            total,
        }
    }

    /// The share of the machine that was busy since `earlier`.
    fn busy_since(self, earlier: Self) -> f64 {
        self.foreign_since(earlier, 0)
    }

    /// The share of the machine that others than this benchmark used since `earlier`; `own` is the
    /// benchmark's CPU time in nanoseconds.
    pub fn foreign_since(self, earlier: Self, own: u64) -> f64 {
        let total = as_f64(self.total - earlier.total).max(1.0) * TICK_NANOSECONDS;
        let busy = as_f64(self.busy - earlier.busy) * TICK_NANOSECONDS;
        ((busy - as_f64(own)) / total).max(0.0)
    }
}

/// Waits until the machine is almost idle, but not long.
pub fn wait_for_quiet() {
    let deadline = Instant::now() + QUIET_WAIT;
    while Instant::now() < deadline {
        let before = Usage::now();
        thread::sleep(QUIET_WINDOW);
        if Usage::now().busy_since(before) <= QUIET_SHARE {
            return;
        }
    }
}

/// What this machine is, for the report.
pub fn description() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, model)| model);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = cpu.matches("\nprocessor").count() + 1;
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

/// Counts as a float: they are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn as_f64(count: u64) -> f64 {
    count as f64
}

/// `USER_HZ` is 100 on every Linux that Debian runs on.
const TICK_NANOSECONDS: f64 = 1e7;
const QUIET_SHARE: f64 = 0.12;
const QUIET_WINDOW: Duration = Duration::from_millis(100);
const QUIET_WAIT: Duration = Duration::from_millis(1500);
