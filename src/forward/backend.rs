//! One address of an app (TCP, TLS or a Unix socket), and its health.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc,
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
    ForwardError,
    condition::{Condition, InUse, Standing},
    connection_limit::{ConnectionLimit, PATIENCE},
    settings::{UpstreamAddress, UpstreamSettings},
    stream::{Carrier, Stream},
};
use crate::{
    net::{dial, tcp_socket::TcpSocket},
    observe::metrics::{self, DialFailure},
};

/// How long no connection to an app is reused after the app has sent bytes that belong to no answer.
const DISTRUST: Duration = Duration::from_mins(1);
/// The shortest time after which a peer that acknowledges nothing is given up.
const USER_TIMEOUT: Duration = Duration::from_mins(2);

/// One address of an app: how it is reached, and how it has behaved. All workers share it.
pub(super) struct Backend {
    address: Address,
    may_reuse: bool,
    http2: bool,
    connect_timeout: Duration,
    /// How long it is waited for that another connection closes.
    slot_patience: Duration,
    user_timeout: Duration,
    /// How it has behaved; none where that decides nothing.
    condition: Option<Arc<Condition>>,
    /// Milliseconds since `began` until which its connections are not used again.
    distrusted_until: AtomicU64,
    began: Instant,
    /// Bounds its connections, with those to others.
    connection_limit: Arc<ConnectionLimit>,
    pub(super) metrics: metrics::Upstream,
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

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp { host, port } | Address::Tls { host, port, .. } => {
                write!(formatter, "{host}:{port}")
            }
            Address::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

impl Backend {
    /// One of the addresses of `settings`. `tls` is used for an `https` one.
    ///
    /// # Errors
    /// When the address has no host that TLS can name.
    pub(super) fn new(
        address: &UpstreamAddress,
        settings: &UpstreamSettings,
        tls: &Arc<rustls::ClientConfig>,
        metrics: metrics::Upstream,
        connection_limit: Arc<ConnectionLimit>,
    ) -> io::Result<Self> {
        let address = match address {
            UpstreamAddress::Unix(path) => Address::Unix(path.clone()),
            UpstreamAddress::Network(uri) => {
                let bracketed = uri.host().unwrap_or_default();
                let host = bracketed.trim_matches(['[', ']']).to_owned();
                if address.is_tls() {
                    let name = settings.server_name.clone().unwrap_or_else(|| host.clone());
                    let name = ServerName::try_from(name).map_err(|_| {
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
        let patience = settings
            .head_timeout
            .max(settings.idle_timeout.unwrap_or_default());
        let is_watched = settings.addresses.len() > 1 || settings.health.is_some();
        Ok(Self {
            address,
            may_reuse: settings.reuse,
            http2: settings.http2,
            connect_timeout: settings.connect_timeout,
            // Within the time of the request: an app that was not even asked is not to blame.
            slot_patience: PATIENCE.min(settings.head_timeout / 2),
            user_timeout: USER_TIMEOUT.max(patience),
            condition: is_watched.then(Arc::default),
            distrusted_until: AtomicU64::new(0),
            began: Instant::now(),
            connection_limit,
            metrics,
        })
    }

    /// Whether anything is noted of it, by which it may be taken out of service.
    pub(super) fn is_watched(&self) -> bool {
        self.condition.is_some()
    }

    /// How it stands; in for good where nothing is noted of it.
    pub(super) fn standing(&self) -> Standing {
        let condition = self.condition.as_ref();
        condition.map_or(Standing::In, |condition| condition.standing(self.now()))
    }

    /// Takes the one request by which it is tried again. Whether nobody else has.
    pub(super) fn begin_trial(&self) -> bool {
        let condition = self.condition.as_ref();
        condition.is_none_or(|condition| condition.begin_trial(self.now()))
    }

    /// Requests that it has under way.
    pub(super) fn load(&self) -> u32 {
        self.condition
            .as_ref()
            .map_or(0, |condition| condition.load())
    }

    /// Has a request under way, as long as what is given back lives; none where that decides nothing.
    pub(super) fn begin_request(&self) -> Option<InUse> {
        self.condition.as_ref().map(Condition::begin)
    }

    /// It has answered as it should.
    pub(super) fn succeeded(&self) {
        if let Some(condition) = &self.condition
            && condition.succeeded()
        {
            tracing::info!(upstream = %self, "the app's address serves again");
        }
    }

    /// It gave no answer, or one that says that it cannot.
    pub(super) fn failed(&self) {
        let Some(condition) = &self.condition else {
            return;
        };
        if let Some(ejection) = condition.failed(self.now()) {
            self.metrics.ejected();
            tracing::warn!(
                upstream = %self,
                seconds = ejection.as_secs(),
                "the app's address has failed several times in a row; it gets no requests for a while"
            );
        }
    }

    /// It was asked whether it is well.
    pub(super) fn probed(&self, is_well: bool) {
        let Some(condition) = &self.condition else {
            return;
        };
        match (condition.probed(is_well), is_well) {
            (true, true) => {
                tracing::info!(upstream = %self, "the app's address passes its health check again");
            }
            (true, false) => {
                self.metrics.ejected();
                tracing::warn!(
                    upstream = %self,
                    "the app's address fails its health check; it gets no requests until it passes"
                );
            }
            (false, _) => {}
        }
    }

    /// Whether others wait for a connection to close.
    pub(super) fn is_crowded(&self) -> bool {
        self.connection_limit.is_wanted()
    }

    /// Whether a connection may serve another request.
    pub(super) fn trusts(&self) -> bool {
        // The clock is asked only where it matters.
        self.may_reuse
            && match self.distrusted_until.load(Ordering::Relaxed) {
                0 => true,
                until => until <= self.now(),
            }
    }

    /// Notes bytes that nobody asked for. An app that loses count once does so again, and then somebody gets an answer
    /// that was another's: for a while each of its connections serves one request.
    pub(super) fn distrust(&self) {
        self.metrics.unasked();
        let now = self.now();
        let until = now + milliseconds(DISTRUST);
        let before = self.distrusted_until.fetch_max(until, Ordering::Relaxed);
        // Once a minute, not once a request.
        if before <= now {
            tracing::warn!(
                upstream = %self,
                "the app sent bytes behind an answer that nobody had asked for, which is not HTTP; for a minute none of \
                 its connections serves a second request. Mend the app, or set upstream_reuse = false (`reuse` in its table)"
            );
        }
    }

    /// In milliseconds since `began`.
    fn now(&self) -> u64 {
        milliseconds(self.began.elapsed())
    }

    /// A fresh connection's bytes, within the time for connecting. One to an app that has as many as there may be waits a
    /// moment before.
    ///
    /// # Errors
    /// When there is none; the reason says where it was looked for, and what to do.
    pub(super) async fn connect(&self) -> Result<Stream, ForwardError> {
        self.metrics.dialled();
        let Some(slot) = self.connection_limit.acquire(self.slot_patience).await else {
            self.metrics.failed(DialFailure::OpenFiles);
            return Err(ForwardError::NoRoom);
        };
        let dialled = timeout(self.connect_timeout, Box::pin(self.dial()))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match dialled {
            Ok(carrier) => Ok(Stream::new(carrier, slot)),
            Err(error) => {
                let failure = DialFailure::from(&error);
                self.metrics.failed(failure);
                Err(match failure {
                    // That is not the app's fault.
                    DialFailure::OpenFiles => ForwardError::NoRoom,
                    _ => ForwardError::Unreachable(self.explained(&error)),
                })
            }
        }
    }

    async fn dial(&self) -> io::Result<Carrier> {
        match &self.address {
            Address::Unix(path) => Ok(Carrier::Unix(UnixStream::connect(path).await?)),
            Address::Tcp { host, port } => {
                let stream = self.tcp(host, *port).await?;
                Ok(Carrier::Tcp(TcpSocket::new(stream)))
            }
            Address::Tls {
                host,
                port,
                name,
                connector,
            } => {
                let stream = self.tcp(host, *port).await?;
                let stream = connector.connect(name.clone(), stream).await?;
                let chosen = stream.get_ref().1.alpn_protocol();
                if self.http2 && chosen != Some(b"h2") {
                    let text =
                        "the app does not choose HTTP/2 within TLS (ALPN); take out http2 = true";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                Ok(Carrier::Tls(Box::new(stream)))
            }
        }
    }

    async fn tcp(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let stream = dial::tcp(host, port).await?;
        dial::watch(&stream, self.user_timeout)?;
        Ok(stream)
    }

    /// Whoever reads why there is no connection asks first where the upstream was looked for, and then what to do.
    fn explained(&self, error: &io::Error) -> io::Error {
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
                "name the file of the authority that signed the app's certificate as `upstream_ca`, or as `ca` in its table"
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

    /// Peers can vanish without a word.
    #[tokio::test]
    async fn a_connection_is_asked_for_signs_of_life() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let address = UpstreamAddress::Network(uri.parse().unwrap());
        let tls = crate::trust::client_config();
        let settings = UpstreamSettings::new("default", vec![address.clone()]);
        let metrics = metrics::Upstream::default();
        let backend =
            Backend::new(&address, &settings, &tls, metrics, ConnectionLimit::new(9)).unwrap();
        let stream = backend.connect().await.unwrap();
        let socket = stream.tcp_socket().unwrap();
        let socket = socket2::SockRef::from(socket.stream());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap().as_secs(), 60);
        let user_timeout = socket.tcp_user_timeout().unwrap();
        assert_eq!(user_timeout, Some(backend.user_timeout));
    }

    /// However short an app's time is: it was not even asked.
    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_hears_of_it_before_the_app_is_given_up() {
        let address = UpstreamAddress::Unix("/nowhere".into());
        let tls = crate::trust::client_config();
        let mut settings = UpstreamSettings::new("default", vec![address.clone()]);
        settings.head_timeout = Duration::from_millis(200);
        let metrics = metrics::Upstream::default();
        let backend =
            Backend::new(&address, &settings, &tls, metrics, ConnectionLimit::new(0)).unwrap();
        let connected = timeout(settings.head_timeout, backend.connect()).await;
        assert!(matches!(connected, Ok(Err(ForwardError::NoRoom))));
    }

    #[tokio::test]
    async fn distrust_lasts_a_minute() {
        tokio::time::pause();
        let address = UpstreamAddress::Unix("/nowhere".into());
        let tls = crate::trust::client_config();
        let mut settings = UpstreamSettings::new("default", vec![address.clone()]);
        let backend = |settings: &UpstreamSettings| {
            let metrics = metrics::Upstream::default();
            Backend::new(&address, settings, &tls, metrics, ConnectionLimit::new(9)).unwrap()
        };
        let usual = backend(&settings);
        assert!(usual.trusts());
        usual.distrust();
        tokio::time::advance(DISTRUST / 2).await;
        assert!(!usual.trusts());
        tokio::time::advance(DISTRUST / 2).await;
        assert!(usual.trusts());
        settings.reuse = false;
        assert!(!backend(&settings).trusts());
    }
}
