//! Connections to the upstream: TCP, TLS or a Unix socket, kept alive and used again.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustls::CertificateError;
use tokio::{
    net::{TcpStream, UnixStream},
    time::{Instant, timeout},
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use super::{
    connection::{Connection, Idleness, Settled},
    downstream::Place,
    stream::Stream,
};
use crate::{forward::settings::UpstreamAddress, net::dial, observe::metrics, random};

/// How long a connection may take to be made, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An idle connection older than this is closed: longer than a burst's pauses, shorter than what most
/// servers and firewalls keep.
const IDLE_LIFETIME: Duration = Duration::from_mins(1);
/// A connection older than this, and a random part of a tenth more, serves no new request: the app's name may lead
/// elsewhere by now, and not all connections should be made anew at once.
const MAX_AGE: Duration = Duration::from_mins(10);
/// Idle connections kept by one worker. A bound against a leak, not a limit to feel: with fewer, bursts
/// would connect anew each time.
const IDLE_CAPACITY: usize = 1024;
/// How long nothing is used again after the upstream has sent bytes that nobody asked for.
const DISTRUST: Duration = Duration::from_mins(1);
/// The least time after which a peer that acknowledges nothing is given up.
const USER_TIMEOUT: Duration = Duration::from_mins(2);

/// One app: where it is and how it is spoken to. All workers share it.
pub struct UpstreamTarget {
    address: Address,
    may_reuse: bool,
    user_timeout: Duration,
    /// Milliseconds since `began` until which its connections are not used again.
    distrusted_until: AtomicU64,
    began: Instant,
    metrics: metrics::Upstream,
}

enum Address {
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

impl fmt::Display for UpstreamTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp { host, port } | Address::Tls { host, port, .. } => {
                write!(formatter, "{host}:{port}")
            }
            Address::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

impl UpstreamTarget {
    /// `tls` is used for an `https` address. `may_reuse` is whether a connection may serve more than one request, and
    /// `patience` the longest time that the app may take over something.
    ///
    /// # Errors
    /// When the address has no host that TLS can name.
    pub fn new(
        address: &UpstreamAddress,
        tls: &Arc<rustls::ClientConfig>,
        may_reuse: bool,
        patience: Duration,
        metrics: metrics::Upstream,
    ) -> io::Result<Self> {
        let address = match address {
            UpstreamAddress::Unix(path) => Address::Unix(path.clone()),
            UpstreamAddress::Network(uri) => {
                let bracketed = uri.host().unwrap_or_default();
                let host = bracketed.trim_matches(['[', ']']).to_owned();
                if uri.scheme_str() == Some("https") {
                    let name = ServerName::try_from(host.clone()).map_err(|_| {
                        let what = format!("`upstream`: {host} is no name that a certificate has");
                        io::Error::new(io::ErrorKind::InvalidInput, what)
                    })?;
                    let connector = TlsConnector::from(Arc::clone(tls));
                    Address::Tls {
                        host,
                        port: uri.port_u16().unwrap_or(443),
                        name,
                        connector,
                    }
                } else {
                    Address::Tcp {
                        host,
                        port: uri.port_u16().unwrap_or(80),
                    }
                }
            }
        };
        Ok(Self {
            address,
            may_reuse,
            user_timeout: USER_TIMEOUT.max(patience),
            distrusted_until: AtomicU64::new(0),
            began: Instant::now(),
            metrics,
        })
    }

    /// Whether a connection may serve another request.
    fn trusts(&self, now: Instant) -> bool {
        self.may_reuse && self.distrusted_until.load(Ordering::Relaxed) <= self.moment(now)
    }

    /// Notes bytes that nobody asked for. An app that loses count once does so again, and then somebody gets an answer
    /// that was another's: for a while each of its connections serves one request.
    pub(super) fn distrust(&self) {
        self.metrics.unasked();
        let now = self.moment(Instant::now());
        let until = now + milliseconds(DISTRUST);
        let before = self.distrusted_until.fetch_max(until, Ordering::Relaxed);
        // Once a minute, not once a request.
        if before <= now {
            tracing::warn!(
                upstream = %self,
                "the app sent bytes behind an answer that nobody had asked for, which is not HTTP; for a minute none of \
                 its connections serves a second request. Mend the app, or set upstream_reuse = false"
            );
        }
    }

    fn moment(&self, now: Instant) -> u64 {
        milliseconds(now.saturating_duration_since(self.began))
    }

    async fn dial(&self) -> io::Result<Stream> {
        match &self.address {
            Address::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
            Address::Tcp { host, port } => Ok(Stream::Tcp(self.tcp(host, *port).await?)),
            Address::Tls {
                host,
                port,
                name,
                connector,
            } => {
                let stream = self.tcp(host, *port).await?;
                let stream = connector.connect(name.clone(), stream).await?;
                Ok(Stream::Tls(Box::new(stream)))
            }
        }
    }

    async fn tcp(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let stream = dial::tcp(host, port).await?;
        dial::watch(&stream, self.user_timeout)?;
        Ok(stream)
    }

    /// Whoever reads why there is no connection asks first where the upstream was looked for, and then what to do.
    fn told(&self, error: &io::Error) -> io::Error {
        let remedy = remedy(error);
        let text = match remedy {
            Some(remedy) => format!("{self}: {error}; {remedy}"),
            None => format!("{self}: {error}"),
        };
        io::Error::new(error.kind(), text)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What to do about a TLS handshake that failed for this reason.
fn remedy(error: &io::Error) -> Option<&'static str> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => {
                "name the file of the authority that signed the app's certificate as `upstream_ca`"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "write `upstream` with a name that the app's certificate has"
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                "renew the app's certificate, or set this machine's clock"
            }
            CertificateError::Other(_) => {
                "the app's certificate must be one of a server, version 3, and not the authority's own"
            }
            _ => return None,
        },
        rustls::Error::InvalidMessage(_) => {
            "the app does not speak TLS at this address; write `upstream` with http://"
        }
        rustls::Error::AlertReceived(_) | rustls::Error::PeerIncompatible(_) => {
            "the app refuses this client's TLS: it must speak TLS 1.2 or 1.3 and ask for no client certificate"
        }
        _ => return None,
    })
}

/// One worker's connections to one upstream. Workers share none, so nothing here is contended.
pub struct Upstream {
    pub(super) target: Arc<UpstreamTarget>,
    idle: Mutex<Vec<Idle>>,
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
    pub(super) upstream: Arc<Upstream>,
    /// Where it waits if it is private. None where private ones are not kept.
    pub(super) place: Option<Place>,
}

impl Upstream {
    /// One worker's connections to `target`.
    pub fn new(target: Arc<UpstreamTarget>) -> Self {
        Self {
            target,
            idle: Mutex::default(),
        }
    }

    /// Whether these are connections to `target`.
    pub fn is_of(&self, target: &Arc<UpstreamTarget>) -> bool {
        Arc::ptr_eq(&self.target, target)
    }

    /// A connection that idles: the private one at `place`, or else one of all. One for a request that cannot be sent
    /// again is looked at twice.
    pub(super) fn checkout(
        self: &Arc<Self>,
        place: Option<&Place>,
        is_repeatable: bool,
    ) -> Option<Lease> {
        let now = Instant::now();
        let private = place.and_then(Place::take);
        if !self.target.trusts(now) {
            return None;
        }
        let shared = std::iter::from_fn(|| {
            let idle = self.lock().pop()?;
            self.target.metrics.stirs();
            Some(idle.connection)
        });
        for mut connection in private.into_iter().chain(shared) {
            if connection.is_expired(now) {
                continue;
            }
            let idleness = if is_repeatable {
                connection.idleness()
            } else {
                let idleness;
                (connection, idleness) = connection.idleness_now();
                idleness
            };
            match idleness {
                Idleness::Quiet => {
                    self.target.metrics.reused();
                    return Some(Lease {
                        connection,
                        is_reused: true,
                        upstream: Arc::clone(self),
                        place: None,
                    });
                }
                Idleness::Closed => {}
                Idleness::Unsolicited => {
                    self.target.distrust();
                    return None;
                }
            }
        }
        None
    }

    /// A fresh connection.
    pub(super) async fn connect(self: &Arc<Self>) -> io::Result<Lease> {
        let metrics = &self.target.metrics;
        metrics.dialled();
        let stream = timeout(CONNECT_TIMEOUT, Box::pin(self.target.dial()))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .inspect_err(|error| metrics.failed(error.into()))
            .map_err(|error| self.target.told(&error))?;
        let part = u32::from(u8::from_ne_bytes(random::bytes()));
        let expires = Instant::now() + MAX_AGE + MAX_AGE / 10 * part / 255;
        Ok(Lease {
            connection: Box::new(Connection::new(stream, expires, metrics.open())),
            is_reused: false,
            upstream: Arc::clone(self),
            place: None,
        })
    }

    /// Closes what has idled for too long, is too old, or was closed at the other end. Called now and then by the
    /// worker.
    pub fn sweep(&self) {
        let now = Instant::now();
        if !self.target.trusts(now) {
            for _ in self.lock().drain(..) {
                self.target.metrics.stirs();
            }
            return;
        }
        let mut has_unsolicited = false;
        self.lock().retain_mut(|idle| {
            let is_young =
                now.duration_since(idle.since) < IDLE_LIFETIME && !idle.connection.is_expired(now);
            let idleness = idle.connection.idleness();
            has_unsolicited |= idleness == Idleness::Unsolicited;
            let stays = is_young && idleness == Idleness::Quiet;
            if !stays {
                self.target.metrics.stirs();
            }
            stays
        });
        if has_unsolicited {
            self.target.distrust();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Keeps the connection for the next request, if it can serve one: a private one for the same client alone.
    pub(super) fn give_back(mut self) {
        match self.connection.settle() {
            Settled::Ready => {}
            Settled::Spent => return,
            Settled::Unsolicited => return self.upstream.target.distrust(),
        }
        let now = Instant::now();
        if !self.upstream.target.trusts(now) || self.connection.is_expired(now) {
            return;
        }
        if self.connection.is_private {
            if let Some(place) = self.place {
                place.keep(self.connection);
            }
            return;
        }
        let mut idle = self.upstream.lock();
        if idle.len() < IDLE_CAPACITY {
            self.upstream.target.metrics.rests();
            idle.push(Idle {
                connection: self.connection,
                since: now,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy_of(error: rustls::Error) -> Option<&'static str> {
        remedy(&io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn what_fails_in_tls_says_what_to_do() {
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert!(remedy_of(unknown).unwrap().contains("upstream_ca"));
        let name = rustls::Error::InvalidCertificate(CertificateError::NotValidForName);
        assert!(remedy_of(name).unwrap().contains("name"));
        let plain = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        assert!(remedy_of(plain).unwrap().contains("http://"));
        assert_eq!(remedy(&io::ErrorKind::ConnectionRefused.into()), None);
    }

    #[tokio::test]
    async fn distrust_lasts_a_minute() {
        tokio::time::pause();
        let address = UpstreamAddress::Unix("/nowhere".into());
        let tls = crate::trust::client_config();
        let metrics = metrics::Upstream::default();
        let target =
            UpstreamTarget::new(&address, &tls, true, Duration::ZERO, metrics.clone()).unwrap();
        assert!(target.trusts(Instant::now()));
        target.distrust();
        assert!(!target.trusts(Instant::now() + DISTRUST / 2));
        assert!(target.trusts(Instant::now() + DISTRUST));
        let never = UpstreamTarget::new(&address, &tls, false, Duration::ZERO, metrics).unwrap();
        assert!(!never.trusts(Instant::now()));
    }
}
