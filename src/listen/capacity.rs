//! How many client connections the limit on open files and the memory allow.

use std::{fs, path::Path};

use crate::limits::Limits;

/// Descriptors that clients never get: for providers, Redis, the log, listeners and operators.
const RESERVED_FILES: u64 = 64;
/// Descriptors of one client connection: its own, and one to the upstream while it has a request there.
const FILES_PER_CONNECTION: u64 = 2;
/// Memory that one client connection may need. An idle one takes 1 to 2 KB; this is one with a request under way, which
/// has buffers on both sides.
const BYTES_PER_CONNECTION: u64 = 64 * 1024;
/// The smallest number of connections, whatever the limits say.
const FEWEST: u64 = 16;
/// The largest number of connections: more than one machine has ports or descriptors for.
const MOST: u64 = 1_000_000;

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// In all.
    pub connections: usize,
    /// Of one client address.
    pub per_client: usize,
    /// Whether `limits.connections_per_client` was set. Then it holds for loopback addresses too, which otherwise
    /// are exempt: a proxy on this machine that `trusted_proxies` does not name stands for everybody behind it.
    pub counts_loopback: bool,
}

impl Capacity {
    /// What the configuration says; where it says nothing, what `open_files` and `memory` (bytes; none where it is
    /// not known) leave room for.
    pub fn new(limits: &Limits, open_files: u64, memory: Option<u64>) -> Self {
        let by_files = open_files.saturating_sub(RESERVED_FILES) / FILES_PER_CONNECTION;
        let by_memory = memory.map_or(MOST, |bytes| bytes / BYTES_PER_CONNECTION);
        let derived = by_files.min(by_memory).clamp(FEWEST, MOST);
        let connections = limits.connections.map_or(derived, u64::from);
        let per_client = limits
            .connections_per_client
            .map_or_else(|| connections.div_ceil(2), u64::from);
        Self {
            connections: usize::try_from(connections).unwrap_or(usize::MAX),
            per_client: usize::try_from(per_client).unwrap_or(usize::MAX),
            counts_loopback: limits.connections_per_client.is_some(),
        }
    }
}

/// The memory that this process may use, in bytes: the least limit of its control groups (version 2, else 1), else
/// what the machine has.
pub fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = group_files(&groups)
        .into_iter()
        .filter_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok());
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total_memory(&text));
    limits.chain(machine).min()
}

/// The files that hold the limits of the groups that `/proc/self/cgroup` lists, each group's parents included.
fn group_files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // Within a container the path may be the host's; the root is then the group itself.
        for group in Path::new(path).ancestors() {
            let group = group.to_string_lossy();
            files.push(format!("{root}{}/{file}", group.trim_end_matches('/')));
        }
    }
    files
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total_memory(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn room_is_what_files_and_memory_leave() {
        let limits = Limits::default();
        let room = |files, memory| Capacity::new(&limits, files, memory).connections;
        assert_eq!(room(1_048_576, Some(128 * MIB)), 2048);
        assert_eq!(room(20_000, Some(24 * 1024 * MIB)), 9968);
        assert_eq!(room(256, None), 96);
        assert_eq!(room(10, Some(MIB)), 16);
        assert_eq!(Capacity::new(&limits, 256, None).per_client, 48);
    }

    #[test]
    fn what_is_configured_counts() {
        let limits = Limits {
            connections: Some(7),
            ..Limits::default()
        };
        let capacity = Capacity::new(&limits, 1_000_000, None);
        assert_eq!((capacity.connections, capacity.per_client), (7, 4));
        assert!(!capacity.counts_loopback);
        let limits = Limits {
            connections_per_client: Some(2),
            ..limits
        };
        let capacity = Capacity::new(&limits, 1_000_000, None);
        assert_eq!((capacity.per_client, capacity.counts_loopback), (2, true));
    }

    #[test]
    fn limits_of_groups_are_found_by_their_files() {
        assert_eq!(
            group_files("0::/system.slice/gate.service\n"),
            [
                "/sys/fs/cgroup/system.slice/gate.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        assert_eq!(
            group_files("12:cpu,cpuacct:/\n5:memory:/docker/1\nnonsense\n"),
            [
                "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            ]
        );
        assert_eq!(
            total_memory("MemTotal:  24 kB\nMemFree: 1 kB\n"),
            Some(24 * 1024)
        );
        assert_eq!(total_memory("MemTotal: many kB\n"), None);
    }
}
