//! Opens TCP connections by name: to the app and to providers. The Redis library connects by itself, to all addresses at once, and takes
//! [`PROBES`] from here.
//!
//! If a name has several addresses, they are tried as in RFC 8305 ("Happy Eyeballs"): the families in turn, the next address a quarter of a
//! second after the one before or as soon as that fails, and the first that answers is used. So a broken address family costs a moment, and
//! not the whole timeout. Names are resolved again for each connection; the system's resolver knows how long an answer is valid.

use std::{io, net::SocketAddr, os::fd::AsFd, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpStream, lookup_host},
    time::sleep,
};

/// How long one address is tried alone (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;
/// How long a connection is silent before the first keep-alive probe.
const KEEP_ALIVE: Duration = Duration::from_mins(1);
/// The interval between keep-alive probes.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How a silent connection is asked for a sign of life.
pub const PROBES: TcpKeepalive = TcpKeepalive::new()
    .with_time(KEEP_ALIVE)
    .with_interval(KEEP_ALIVE_INTERVAL);

/// Connects to the first of the host's addresses that answers. The caller bounds the time.
///
/// # Errors
/// When the name does not resolve, or the last of its addresses that failed did so for this reason.
pub async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    first_of(resolve(host, port).await?).await
}

/// The addresses of `host`, in the order in which they are to be tried.
///
/// # Errors
/// When the name does not resolve.
pub async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let addresses = lookup_host((host, port)).await?;
    Ok(interleave(addresses.take(MAX_ADDRESSES)))
}

/// Connects to the first of `addresses` that answers. The caller bounds the time.
///
/// # Errors
/// When none answers: what the last one that failed said.
pub async fn first_of(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        match waiting.next() {
            Some(address) => attempts.push(TcpStream::connect(address)),
            None if attempts.is_empty() => return Err(failure),
            None => {}
        }
        tokio::select! {
            Some(connected) = attempts.next() => match connected {
                Ok(stream) => {
                    // A latency hint; the connection works without.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => failure = error,
            },
            () = sleep(ATTEMPT_DELAY), if waiting.len() > 0 => {}
        }
    }
}

/// Has the system notice a peer that has vanished without a word: one that is silent is asked for a sign of life,
/// and one that leaves bytes unacknowledged, or never has room for more, for `user_timeout` is given up (RFC 5482).
///
/// # Errors
/// When the system does not take the options.
pub fn watch(stream: &TcpStream, user_timeout: Duration) -> io::Result<()> {
    SockRef::from(stream).set_tcp_keepalive(&PROBES)?;
    set_user_timeout(stream, user_timeout)
}

/// Has the system give up a peer that leaves bytes unacknowledged, or never has room for more, for `timeout`; or for 24
/// days, which is the most that it can count.
///
/// # Errors
/// When the system does not take the option.
pub fn set_user_timeout(socket: &impl AsFd, timeout: Duration) -> io::Result<()> {
    let timeout = timeout.min(LONGEST_USER_TIMEOUT);
    SockRef::from(socket).set_tcp_user_timeout(Some(timeout))
}

/// The system takes an `int` of milliseconds, and refuses what is more.
const LONGEST_USER_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

/// The resolver's order, but the two families in turn (RFC 8305 §4).
fn interleave(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let (first, second): (Vec<_>, Vec<_>) = {
        let mut addresses = addresses.peekable();
        let is_ipv6 = addresses.peek().is_some_and(SocketAddr::is_ipv6);
        addresses.partition(|address| address.is_ipv6() == is_ipv6)
    };
    let mut second = second.into_iter();
    let mut ordered = Vec::new();
    for address in first {
        ordered.push(address);
        ordered.extend(second.next());
    }
    ordered.extend(second);
    ordered
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn the_families_take_turns_and_the_resolver_s_first_is_first() {
        let (four, six) = (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        let address = |number: u16| match number {
            ..10 => SocketAddr::from((four, number)),
            _ => SocketAddr::from((six, number)),
        };
        for (resolved, tried) in [
            (&[][..], &[][..]),
            (&[1, 2], &[1, 2]),
            (&[11, 12, 13, 1], &[11, 1, 12, 13]),
            (&[1, 2, 3, 11, 12], &[1, 11, 2, 12, 3]),
            (&[1, 11, 12, 13], &[1, 11, 12, 13]),
        ] {
            let ordered = interleave(resolved.iter().copied().map(address));
            let expected: Vec<_> = tried.iter().copied().map(address).collect();
            assert_eq!(ordered, expected);
        }
    }

    #[tokio::test]
    async fn an_address_that_refuses_costs_nothing_and_the_last_reason_is_told() {
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (open_at, closed_at) = (open.local_addr().unwrap(), closed.local_addr().unwrap());
        drop(closed);
        let stream = first_of(vec![closed_at, closed_at, open_at]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open_at);
        watch(&stream, Duration::from_mins(2)).unwrap();
        let refused = first_of(vec![closed_at]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let nowhere = first_of(Vec::new()).await.unwrap_err();
        assert_eq!(nowhere.kind(), io::ErrorKind::AddrNotAvailable);
    }

    /// A full backlog: connections to it neither succeed nor fail for many seconds.
    #[tokio::test]
    async fn an_address_that_is_silent_costs_a_moment() {
        let silent =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        silent.bind(&any.into()).unwrap();
        silent.listen(0).unwrap();
        let silent_at = silent.local_addr().unwrap().as_socket().unwrap();
        let mut fillers = Vec::new();
        for _ in 0..4 {
            let filler = TcpStream::connect(silent_at);
            fillers.push(tokio::time::timeout(Duration::from_millis(100), filler).await);
        }
        assert!(fillers.iter().any(Result::is_err), "the backlog is full");
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open_at = open.local_addr().unwrap();
        let connected =
            tokio::time::timeout(Duration::from_secs(5), first_of(vec![silent_at, open_at]));
        let stream = connected.await.expect("within the time for one").unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open_at);
    }
}
