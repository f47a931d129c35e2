//! System calls per request, counted by `strace -c`. Exact, and the same on every machine.

use std::{
    error::Error,
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    load::Load,
    machine::as_f64,
    request::Requests,
    setup::{Setup, Workplace},
};

/// How often a proxy enters the kernel for one request.
pub struct Calls {
    /// All calls on sockets.
    pub socket: f64,
    /// Each call that is made more than once in a hundred requests: its name and how often.
    pub each: Vec<(String, f64)>,
}

/// Counts the calls of `setup`'s proxy while it answers on connections that are open already.
pub fn count(
    setup: &Setup,
    requests: &Requests,
    connections: usize,
    workplace: &Workplace,
) -> Result<Calls, Box<dyn Error>> {
    let mut load = Load::connect(setup.address, connections)?;
    load.run(requests, 0, REQUESTS)?;
    let summary = workplace.path("strace.txt");
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-o"]).arg(&summary);
    for id in setup.proxy_ids() {
        command.args(["-p", &id.to_string()]);
    }
    let mut strace = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("strace: {error}"))?;
    let result = wait_until_traced(setup, &mut strace)
        .and_then(|()| load.run(requests, 0, REQUESTS).map(|_| ()));
    finish(&mut strace)?;
    result?;
    Ok(parse(&fs::read_to_string(summary)?))
}

fn wait_until_traced(setup: &Setup, strace: &mut Child) -> Result<(), Box<dyn Error>> {
    let deadline = Instant::now() + LIMIT;
    while !setup.proxy_ids().into_iter().all(is_traced) {
        if Instant::now() > deadline || !matches!(strace.try_wait(), Ok(None)) {
            return Err("strace cannot attach".into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Whether all threads of a process have a tracer.
fn is_traced(id: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{id}/task")) else {
        return false;
    };
    tasks.flatten().all(|task| {
        fs::read_to_string(task.path().join("status"))
            .is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
    })
}

/// Has strace detach and write its summary.
fn finish(strace: &mut Child) -> Result<(), Box<dyn Error>> {
    if let Some(id) = i32::try_from(strace.id()).ok().and_then(Pid::from_raw) {
        // An error means that it has ended already.
        let _ = kill_process(id, Signal::INT);
    }
    let deadline = Instant::now() + LIMIT;
    while matches!(strace.try_wait(), Ok(None)) {
        if Instant::now() > deadline {
            strace.kill()?;
            strace.wait()?;
            return Err("strace does not end".into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Reads the table: `% time, seconds, usecs/call, calls, errors (may be empty), syscall`.
fn parse(summary: &str) -> Calls {
    let mut calls = Calls {
        socket: 0.0,
        each: Vec::new(),
    };
    for line in summary.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(count), Some(name)) = (fields.get(3), fields.last()) else {
            continue;
        };
        let Ok(count) = count.parse::<u64>() else {
            continue;
        };
        if *name == "total" {
            continue;
        }
        let per_request = as_f64(count) / as_f64(REQUESTS as u64);
        if SOCKET_CALLS.contains(name) {
            calls.socket += per_request;
        }
        if per_request >= 0.01 {
            calls.each.push(((*name).to_owned(), per_request));
        }
    }
    calls.each.sort_by(|left, right| right.1.total_cmp(&left.1));
    calls
}

const REQUESTS: usize = 2000;
const LIMIT: Duration = Duration::from_secs(5);
const SOCKET_CALLS: [&str; 16] = [
    "accept4",
    "close",
    "connect",
    "getsockopt",
    "read",
    "readv",
    "recvfrom",
    "recvmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    "socket",
    "write",
    "writev",
    "ioctl",
];

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_summary_becomes_calls_per_request() {
        let calls = parse(
            "% time     seconds  usecs/call     calls    errors syscall\n\
             ------ ----------- ----------- --------- --------- ----------------\n \
             50.00    0.020000          10      4000           writev\n \
             40.00    0.016000           8      4000         2 recvfrom\n \
             10.00    0.004000           4       100           epoll_wait\n\
             ------ ----------- ----------- --------- --------- ----------------\n\
             100.00    0.040000          10      8100         2 total\n",
        );
        assert!((calls.socket - 4.0).abs() < 1e-9);
        assert_eq!(calls.each.len(), 3);
    }
}
