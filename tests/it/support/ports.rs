//! Ports that no other test of this run has, outside the range the kernel gives out by itself.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// A loopback address that nothing listens on. Counted upwards, so that two tests never get the same; started at
/// a place that hangs on the process id, so that two runs seldom meet; tried, so that they may.
pub fn free_address() -> SocketAddr {
    static NEXT: LazyLock<AtomicU32> =
        LazyLock::new(|| AtomicU32::new(std::process::id().wrapping_mul(613)));
    for _ in 0..SPAN {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % SPAN;
        let port = u16::try_from(FIRST + step).expect("FIRST + SPAN is below 65,536");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port from {FIRST} on");
}

const FIRST: u32 = 16_000;
const SPAN: u32 = 16_000;
