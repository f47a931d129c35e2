//! How many connections, of clients and to apps, the limit on open files and the memory allow.

use std::{fs, net::IpAddr, path::Path};

use crate::limits::Limits;

/// Descriptors that no connection gets: for providers, Redis, the log and the listeners themselves.
const RESERVED_FILES: u64 = 64;
/// Descriptors of a worker for itself.
const FILES_PER_WORKER: u64 = 5;
/// The most connections of one listener beside the public ones (`admin_listen`, `ext_authz_listen`, `app.listen`). Where
/// there are few descriptors, a sixteenth of them.
const MOST_ASIDE: u64 = 1024;
/// The fewest of these.
const FEWEST_ASIDE: u64 = 4;
/// Connections that were asked to close and have not closed yet; at most half of all, and a quarter of the descriptors that
/// clients leave. A stuck worker closes none. Then new connections are refused, so that descriptors do not run out.
const MOST_CLOSING: u64 = 256;
/// Memory that one client connection may need. An idle one takes 1 to 2 KB; this is one with a request under way, which
/// has buffers on both sides.
const BYTES_PER_CONNECTION: u64 = 64 * 1024;
/// The smallest number of connections, of clients and to apps, whatever the limits say.
const FEWEST: u64 = 16;
/// The largest number of connections: more than one machine has ports or descriptors for.
const MOST: u64 = 1_000_000;
/// Requests of one client at once, where `limits.requests_per_client` does not say. Half of the connections to apps where
/// that is less.
const REQUESTS_PER_CLIENT: u64 = 256;

/// What the descriptors of the process are for.
#[derive(Clone, Copy, Debug)]
pub struct OpenFiles {
    /// How many there may be.
    pub limit: u64,
    /// How many workers take some for themselves.
    pub workers: usize,
    /// How many listeners there are beside the public ones.
    pub side_listeners: usize,
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Of clients, in all.
    pub connections: usize,
    /// Of one client address.
    pub per_client: usize,
    /// Of one loopback address. Without a bound where `limits.connections_per_client` was not set: a proxy on this machine that
    /// `trusted_proxies` does not name stands for everybody behind it.
    pub per_loopback_client: usize,
    /// Whether connections and requests of loopback addresses are counted.
    pub counts_loopback: bool,
    /// Of clients, told to close and not closed yet.
    pub closing: usize,
    /// To apps. One HTTP/2 connection of a client may have a request at an app on each of its streams.
    pub upstreams: usize,
    /// Of one listener beside the public ones.
    pub aside: usize,
    /// Requests of one client address at once.
    pub requests_per_client: usize,
}

impl Capacity {
    /// What the configuration says, as far as there are descriptors for it; where it says nothing, what `files` and `memory`
    /// (bytes; none where it is not known) leave room for.
    pub fn new(limits: &Limits, files: OpenFiles, memory: Option<u64>) -> Self {
        let own = RESERVED_FILES + FILES_PER_WORKER * files.workers as u64;
        let room = files.limit.saturating_sub(own);
        let aside = (room / 16).clamp(FEWEST_ASIDE, MOST_ASIDE);
        let room = room.saturating_sub(aside * files.side_listeners as u64);
        let by_memory = memory.map_or(MOST, |bytes| bytes / BYTES_PER_CONNECTION);
        let connections = match limits.connections {
            // A quarter is for those to apps.
            Some(connections) => u64::from(connections).min((room / 4 * 3).max(FEWEST)),
            None => (room / 2).min(by_memory).clamp(FEWEST, MOST),
        };
        let per_client = limits
            .connections_per_client
            .map_or_else(|| connections.div_ceil(2), u64::from);
        let left = room.saturating_sub(connections);
        let closing = MOST_CLOSING.min(connections / 2).min(left / 4).max(1);
        let upstreams = left.saturating_sub(closing).clamp(FEWEST, MOST);
        let requests_per_client = limits
            .requests_per_client
            .map_or_else(|| REQUESTS_PER_CLIENT.min(upstreams / 2), u64::from);
        let count = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            connections: count(connections),
            per_client: count(per_client),
            per_loopback_client: limits
                .connections_per_client
                .map_or(usize::MAX, |number| count(u64::from(number))),
            counts_loopback: limits.connections_per_client.is_some()
                || limits.requests_per_client.is_some(),
            closing: count(closing),
            upstreams: count(upstreams),
            aside: count(aside),
            requests_per_client: count(requests_per_client),
        }
    }

    /// How many connections there may be of `peer`, whose connections are counted.
    pub(super) fn of_client(&self, peer: IpAddr) -> usize {
        if peer.to_canonical().is_loopback() {
            self.per_loopback_client
        } else {
            self.per_client
        }
    }
}

#[cfg(test)]
impl Capacity {
    /// For tests: so many in all and of one client, each with two requests.
    pub(super) fn of(connections: usize, per_client: usize) -> Self {
        Self {
            connections,
            per_client,
            per_loopback_client: usize::MAX,
            counts_loopback: false,
            closing: 256.min(connections / 2).max(1),
            upstreams: connections,
            aside: 4,
            requests_per_client: 2,
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

    fn capacity(limits: &Limits, limit: u64, memory: Option<u64>) -> Capacity {
        let files = OpenFiles {
            limit,
            workers: 2,
            side_listeners: 1,
        };
        Capacity::new(limits, files, memory)
    }

    /// What all connections may hold beside the gate's own.
    fn held(capacity: Capacity) -> usize {
        capacity.connections + capacity.closing + capacity.upstreams + capacity.aside
    }

    #[test]
    fn room_is_what_files_and_memory_leave() {
        let limits = Limits::default();
        let room = |files, memory| capacity(&limits, files, memory).connections;
        assert_eq!(room(1_048_576, Some(128 * MIB)), 2048);
        assert_eq!(room(20_000, Some(24 * 1024 * MIB)), 9451);
        assert_eq!(room(256, None), 85);
        assert_eq!(room(10, Some(MIB)), 16);
        let few = capacity(&limits, 256, None);
        assert_eq!((few.per_client, few.aside), (43, 11));
        assert!(few.upstreams >= few.connections / 4 * 3, "{few:?}");
        assert_eq!(few.requests_per_client, few.upstreams / 2);
        let many = capacity(&limits, 1_048_576, None);
        assert_eq!((many.requests_per_client, many.aside), (256, 1024));
    }

    /// Whatever is configured, all connections together leave descriptors for the rest.
    #[test]
    fn nothing_takes_the_descriptors_that_are_reserved() {
        for connections in [None, Some(1), Some(90), Some(400), Some(u32::MAX)] {
            let limits = Limits {
                connections,
                ..Limits::default()
            };
            for files in [200, 256, 1024, 65_536, 1_000_000] {
                let capacity = capacity(&limits, files, None);
                let left = usize::try_from(files).unwrap() - 64 - 2 * 5;
                assert!(
                    held(capacity) <= left,
                    "{connections:?} {files} {capacity:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_configured_counts_as_far_as_it_fits() {
        let limits = Limits {
            connections: Some(7),
            ..Limits::default()
        };
        let seven = capacity(&limits, 1_000_000, None);
        assert_eq!((seven.connections, seven.per_client), (7, 4));
        assert!(!seven.counts_loopback);
        let requests = Limits {
            requests_per_client: Some(3),
            ..limits
        };
        let requests = capacity(&requests, 1_000_000, None);
        assert!(requests.counts_loopback);
        let [near, far] =
            [[127, 0, 0, 9], [192, 0, 2, 9]].map(|address| requests.of_client(address.into()));
        assert_eq!((near, far), (usize::MAX, 4));
        let limits = Limits {
            connections_per_client: Some(2),
            requests_per_client: Some(1_000),
            ..limits
        };
        let two = capacity(&limits, 256, None);
        assert_eq!((two.per_client, two.counts_loopback), (2, true));
        assert_eq!(two.requests_per_client, 1_000);
        let limits = Limits {
            connections: Some(400),
            ..limits
        };
        assert_eq!(capacity(&limits, 256, None).connections, 126);
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
