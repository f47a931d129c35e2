//! Connections to the upstream: TCP, TLS or a Unix socket, kept alive and used again.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use super::body::RequestBody;
use crate::{
    config::UpstreamAddress,
    deadline::{Deadlines, Tick},
};

/// How long a connection may take to be made, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection that was given back may take to settle. It takes one turn of its task; whatever
/// takes longer is not worth the wait.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(50);
/// An idle connection older than this is closed: longer than a burst's pauses, shorter than what most
/// servers and firewalls keep.
const IDLE_LIFETIME: Duration = Duration::from_mins(1);
/// How many of the idle connections are looked at before waiting for one of them.
const AT_HAND: usize = 4;
/// Idle connections kept by one worker. A bound against a leak, not a limit to feel: with fewer, bursts
/// would connect anew each time.
const IDLE_CAPACITY: usize = 1024;
/// An upstream may close a connection that idled for long at the very moment of use; below this, the
/// chance is not worth a copy of the request's head.
const LONG_IDLE: Duration = Duration::from_secs(1);

/// One worker's connections to one upstream. Workers share none, so nothing here is contended.
pub struct Upstream {
    target: Target,
    idle: Mutex<Vec<Idle>>,
    deadlines: Arc<Deadlines>,
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

struct Idle {
    sender: SendRequest<RequestBody>,
    since: Tick,
}

/// A connection in use. Given back with [`Lease::give_back`] once its answer was read to the end; dropped
/// otherwise, which closes it.
pub(super) struct Lease {
    pub(super) sender: SendRequest<RequestBody>,
    /// Its age, as far as that matters.
    pub(super) age: Age,
    upstream: Arc<Upstream>,
}

/// What a connection was before its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// It was not there.
    Fresh,
    /// It had just served another request.
    Warm,
    /// It had idled for so long that the upstream may be closing it.
    Cold,
}

impl Upstream {
    /// `tls` is used for an `https` address.
    ///
    /// # Errors
    /// When the address has no host that TLS can name.
    pub fn new(
        address: &UpstreamAddress,
        tls: &Arc<rustls::ClientConfig>,
        deadlines: Arc<Deadlines>,
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
            deadlines,
        })
    }

    /// A connection that idles and is ready for a request.
    pub(super) fn at_hand(self: &Arc<Self>) -> Option<Lease> {
        let mut idle = self.lock();
        // The latest may still be settling.
        let latest = idle.iter().rev().take(AT_HAND);
        let depth = latest.take_while(|idle| !idle.sender.is_ready()).count();
        let place = idle.len().checked_sub(depth + 1)?;
        if depth == AT_HAND {
            return None;
        }
        let idle = idle.remove(place);
        Some(self.reuse(idle))
    }

    /// A connection that is ready for a request: one that idles, else a fresh one.
    pub(super) async fn lease(self: &Arc<Self>) -> io::Result<Lease> {
        while let Some(mut idle) = self.pop() {
            // A connection given back is ready, or about to be: both bodies were carried to their end.
            let settled = timeout(SETTLE_TIMEOUT, idle.sender.ready()).await;
            if matches!(settled, Ok(Ok(()))) {
                return Ok(self.reuse(idle));
            }
        }
        self.connect().await
    }

    fn reuse(self: &Arc<Self>, idle: Idle) -> Lease {
        let is_cold = self.deadlines.now().may_be_after(idle.since, LONG_IDLE);
        Lease {
            sender: idle.sender,
            age: if is_cold { Age::Cold } else { Age::Warm },
            upstream: Arc::clone(self),
        }
    }

    /// A fresh connection.
    pub(super) async fn connect(self: &Arc<Self>) -> io::Result<Lease> {
        let sender = timeout(CONNECT_TIMEOUT, Box::pin(self.dial()))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(Lease {
            sender,
            age: Age::Fresh,
            upstream: Arc::clone(self),
        })
    }

    /// Closes what has idled for too long. Called now and then by the worker.
    pub fn sweep(&self) {
        let now = self.deadlines.now();
        self.lock().retain(|idle| {
            !now.may_be_after(idle.since, IDLE_LIFETIME) && !idle.sender.is_closed()
        });
    }

    fn pop(&self) -> Option<Idle> {
        self.lock().pop()
    }

    fn push(&self, sender: SendRequest<RequestBody>) {
        let mut idle = self.lock();
        if idle.len() < IDLE_CAPACITY && !sender.is_closed() {
            idle.push(Idle {
                sender,
                since: self.deadlines.now(),
            });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn dial(&self) -> io::Result<SendRequest<RequestBody>> {
        match &self.target {
            Target::Unix(path) => handshake(UnixStream::connect(path).await?).await,
            Target::Tcp { host, port } => handshake(tcp(host, *port).await?).await,
            Target::Tls {
                host,
                port,
                name,
                connector,
            } => {
                let stream = tcp(host, *port).await?;
                handshake(connector.connect(name.clone(), stream).await?).await
            }
        }
    }
}

impl Lease {
    /// Keeps the connection for the next request.
    pub(super) fn give_back(self) {
        self.upstream.push(self.sender);
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn handshake<S>(stream: S) -> io::Result<SendRequest<RequestBody>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Ends when the upstream closes, or when the sender is dropped. Its error reaches whoever waits for
    // the answer.
    tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}
