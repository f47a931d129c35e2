//! Connections to the upstream: TCP, TLS or a Unix socket, kept alive and used again.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{TcpStream, UnixStream},
    time::{Instant, timeout},
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use super::{connection::Connection, stream::Stream};
use crate::{config::UpstreamAddress, observe::metrics};

/// How long a connection may take to be made, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An idle connection older than this is closed: longer than a burst's pauses, shorter than what most
/// servers and firewalls keep.
const IDLE_LIFETIME: Duration = Duration::from_mins(1);
/// Idle connections kept by one worker. A bound against a leak, not a limit to feel: with fewer, bursts
/// would connect anew each time.
const IDLE_CAPACITY: usize = 1024;

/// One worker's connections to one upstream. Workers share none, so nothing here is contended.
pub struct Upstream {
    target: Target,
    idle: Mutex<Vec<Idle>>,
    metrics: metrics::Upstream,
}

enum Target {
    Tcp {
        host: String,
        port: u16,
    },
    Tls {
        host: String,
        port: u16,
        name: ServerName<'static>,
        connector: TlsConnector,
    },
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } | Self::Tls { host, port, .. } => {
                write!(formatter, "{host}:{port}")
            }
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

struct Idle {
    connection: Box<Connection>,
    since: Instant,
}

/// A connection in use. Given back with [`Lease::give_back`] once its answer was read to the end; dropped
/// otherwise, which closes it.
pub(super) struct Lease {
    pub(super) connection: Box<Connection>,
    /// Whether it has served another request before: then the upstream may be closing it at this very moment.
    pub(super) is_reused: bool,
    upstream: Arc<Upstream>,
}

impl Upstream {
    /// `tls` is used for an `https` address.
    ///
    /// # Errors
    /// When the address has no host that TLS can name.
    pub fn new(
        address: &UpstreamAddress,
        tls: &Arc<rustls::ClientConfig>,
        metrics: metrics::Upstream,
    ) -> io::Result<Self> {
        let target = match address {
            UpstreamAddress::Unix(path) => Target::Unix(path.clone()),
            UpstreamAddress::Network(uri) => {
                let bracketed = uri.host().unwrap_or_default();
                let host = bracketed.trim_matches(['[', ']']).to_owned();
                if uri.scheme_str() == Some("https") {
                    let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                    let connector = TlsConnector::from(Arc::clone(tls));
                    Target::Tls {
                        host,
                        port: uri.port_u16().unwrap_or(443),
                        name,
                        connector,
                    }
                } else {
                    Target::Tcp {
                        host,
                        port: uri.port_u16().unwrap_or(80),
                    }
                }
            }
        };
        Ok(Self {
            target,
            idle: Mutex::default(),
            metrics,
        })
    }

    /// A connection that idles.
    pub(super) fn at_hand(self: &Arc<Self>) -> Option<Lease> {
        loop {
            let mut idle = self.lock().pop()?;
            self.metrics.stirs();
            if idle.connection.is_quiet() {
                self.metrics.reused();
                return Some(Lease {
                    connection: idle.connection,
                    is_reused: true,
                    upstream: Arc::clone(self),
                });
            }
        }
    }

    /// A fresh connection.
    pub(super) async fn connect(self: &Arc<Self>) -> io::Result<Lease> {
        self.metrics.dialled();
        let stream = timeout(CONNECT_TIMEOUT, Box::pin(self.dial()))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .inspect_err(|error| self.metrics.failed(error.into()))
            // Whoever reads it asks first where the upstream was looked for.
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.target)))?;
        Ok(Lease {
            connection: Box::new(Connection::new(stream, self.metrics.open())),
            is_reused: false,
            upstream: Arc::clone(self),
        })
    }

    /// Closes what has idled for too long. Called now and then by the worker.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.lock().retain_mut(|idle| {
            let stays =
                now.duration_since(idle.since) < IDLE_LIFETIME && idle.connection.is_quiet();
            if !stays {
                self.metrics.stirs();
            }
            stays
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn dial(&self) -> io::Result<Stream> {
        match &self.target {
            Target::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
            Target::Tcp { host, port } => Ok(Stream::Tcp(tcp(host, *port).await?)),
            Target::Tls {
                host,
                port,
                name,
                connector,
            } => {
                let stream = tcp(host, *port).await?;
                let stream = connector.connect(name.clone(), stream).await?;
                Ok(Stream::Tls(Box::new(stream)))
            }
        }
    }
}

impl Lease {
    /// Keeps the connection for the next request, if it can serve one.
    pub(super) fn give_back(self) {
        if self.connection.has_unasked_bytes() {
            self.upstream.metrics.unasked();
        }
        let Some(connection) = self.connection.settle() else {
            return;
        };
        let since = Instant::now();
        let mut idle = self.upstream.lock();
        if idle.len() < IDLE_CAPACITY {
            self.upstream.metrics.rests();
            idle.push(Idle { connection, since });
        }
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
