//! Sockets to accept connections from.

use std::{
    fs, io,
    net::{IpAddr, Shutdown, SocketAddr},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{FileTypeExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::{listen::settings::ListenAddress, net::dial::set_user_timeout};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// The gate's user and group may connect: the proxy in front.
const UNIX_MODE: u32 = 0o660;

/// How long a silent connection goes before the system asks whether its peer is still there, and how often then.
const KEEP_ALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_mins(1))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);
/// How long sent bytes may stay unacknowledged, because peers can vanish silently.
const USER_TIMEOUT: Duration = Duration::from_mins(2);

/// Bytes that the system takes of an answer ahead of what the client has room for. With megabytes of them it says nothing of a
/// client that reads slowly until a third is gone, and the client seems to take nothing.
const UNSENT: u32 = 128 * 1024;

/// Lets this process have as many open files as it may, and says how many that is. Unasked it has as many as programs of long ago can bear, 1,024
/// mostly; with two for each request under way, strangers who only connect would use them up.
pub fn allow_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, limit = limit.current, "no more open files than the system gives unasked");
    }
    // None: without a limit.
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// A bound socket.
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket; its file goes with it.
    Unix(UnixListener, SocketFile),
}

/// An accepted connection, not yet bound to a runtime: it is handed to the worker that will serve it.
pub struct Accepted {
    pub(super) socket: Unbound,
    /// Who connected; none for a Unix socket's peer.
    pub(super) peer: Option<SocketAddr>,
}

/// Removes the socket's file when the listener ends.
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Binds. Must be called inside a runtime.
    pub fn bind(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => bind_tcp(*address).map(Self::Tcp),
            ListenAddress::Unix(path) => {
                remove_stale(path)?;
                let listener = UnixListener::bind(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(UNIX_MODE))?;
                Ok(Self::Unix(listener, SocketFile(path.clone())))
            }
        }
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Accepted {
                    socket: Unbound::Tcp(stream.into_std()?),
                    peer: Some(peer),
                })
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted {
                    socket: Unbound::Unix(stream.into_std()?),
                    peer: None,
                })
            }
        }
    }

    /// Where it listens, for the log.
    pub fn place(&self) -> String {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|_| "tcp".to_owned(), |address| address.to_string()),
            Self::Unix(_, SocketFile(path)) => format!("unix:{}", path.display()),
        }
    }
}

/// A connection bound to the runtime that serves it.
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Takes it out of the runtime.
    pub(super) fn unbind(self) -> io::Result<Unbound> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(Unbound::Tcp),
            Self::Unix(stream) => stream.into_std().map(Unbound::Unix),
        }
    }

    /// Leaves a client that takes nothing for `limit` to whoever watches it: the system would end it sooner.
    pub(super) fn outlast(&self, limit: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) if limit > USER_TIMEOUT => set_user_timeout(stream, limit),
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
        }
    }
}

impl Accepted {
    /// Who connected; none for a Unix socket's peer.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.peer.map(|peer| peer.ip())
    }

    /// Binds to the current runtime.
    pub fn into_stream(self) -> io::Result<(Stream, Option<SocketAddr>)> {
        let stream = self.socket.into_stream()?;
        Ok((stream, self.peer))
    }
}

/// A connection that no runtime knows of.
pub(super) enum Unbound {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Unbound {
    /// Binds to the current runtime.
    pub(super) fn into_stream(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        })
    }

    /// Closes it with `answer`, as far as the peer takes that at once.
    pub(super) fn refuse(self, answer: &[u8]) {
        fn say(mut stream: impl io::Read + io::Write, answer: &[u8], end: impl FnOnce()) {
            let _ = stream.write_all(answer);
            end();
            // Unread bytes would turn the close into a reset, which can overtake the answer.
            let _ = stream.read(&mut [0; 4096]);
        }
        match &self {
            Self::Tcp(stream) => say(stream, answer, || drop(stream.shutdown(Shutdown::Write))),
            Self::Unix(stream) => say(stream, answer, || drop(stream.shutdown(Shutdown::Write))),
        }
    }
}

impl AsFd for Unbound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for the last run's connections to time out.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` means every address, IPv4 included, whatever the system's default.
        socket.set_only_v6(false)?;
    }
    // Accepted sockets take these over.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEP_ALIVE)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Removes what a killed run left; a socket that somebody serves stays, and binding fails on it.
fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    let is_stale = metadata.file_type().is_socket()
        && std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if is_stale {
        fs::remove_file(path)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    #[tokio::test]
    async fn a_client_may_be_waited_for_longer_than_the_system_would() {
        let listener = bind_tcp(([127, 0, 0, 1], 0).into()).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = Stream::Tcp(listener.accept().await.unwrap().0);
        let days = Duration::from_millis(i32::MAX as u64);
        for (minutes, expected) in [
            (1, USER_TIMEOUT),
            (10, Duration::from_mins(10)),
            // What the file may say at most: ten years.
            (10 * 365 * 24 * 60, days),
        ] {
            stream.outlast(Duration::from_mins(minutes)).unwrap();
            let Stream::Tcp(socket) = &stream else {
                unreachable!("it is TCP");
            };
            let timeout = SockRef::from(socket).tcp_user_timeout().unwrap();
            assert_eq!(timeout, Some(expected));
        }
    }
}
