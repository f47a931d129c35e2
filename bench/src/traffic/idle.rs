//! Memory of connections on which nothing happens: each has had one answer and stays open.

use std::{
    error::Error,
    thread,
    time::{Duration, Instant},
};

use crate::{load::Load, machine::as_f64, request::Requests, setup::Setup};

/// Resident memory of a setup.
pub struct Idle {
    /// Before the first connection, in MiB.
    pub before: f64,
    /// Bytes for each connection, where there are so many.
    pub each: Vec<(usize, f64)>,
    /// In MiB, some time after all of them were closed.
    pub after: f64,
}

/// Opens connections up to each of `counts`, and closes them all.
pub fn weigh(setup: &Setup, requests: &Requests, counts: &[usize]) -> Result<Idle, Box<dyn Error>> {
    // What the first requests fill once for all.
    Load::connect(setup.address, WARM_UP)?.run(requests, 0, WARM_UP)?;
    thread::sleep(SETTLE);
    let resident = || setup.memory().resident_mebibytes();
    let before = resident();
    let mut loads = Vec::new();
    let mut open = 0;
    let mut each = Vec::new();
    for &count in counts {
        // A few at a time: connections that all speak at once all need buffers at once.
        while open < count {
            let more = AT_ONCE.min(count - open);
            let mut load = Load::connect(setup.address, more)?;
            load.run(requests, open, more)?;
            loads.push(load);
            open += more;
        }
        thread::sleep(SETTLE);
        let bytes = (resident() - before) * 1024.0 * 1024.0;
        each.push((count, bytes / as_f64(count as u64)));
    }
    drop(loads);
    let closed = Instant::now();
    while closed.elapsed() < AFTER && resident() > before * 1.5 {
        thread::sleep(Duration::from_millis(500));
    }
    Ok(Idle {
        before,
        each,
        after: resident(),
    })
}

const WARM_UP: usize = 64;
const AT_ONCE: usize = 50;
/// Longer than a connection keeps what serves a busy one, and the allocator what was freed (ten seconds).
const SETTLE: Duration = Duration::from_secs(15);
/// By then memory must have come back.
const AFTER: Duration = Duration::from_secs(30);
