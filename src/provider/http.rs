//! The one client for calls to providers: bounded in time and size, deaf to redirects.
//!
//! A connection lives for one exchange. Logins are rare beside requests, and a provider's load
//! balancer may drop an idle connection at any time, which for a code that works once would lose the
//! login. Nothing is retried here for the same reason.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, HOST, USER_AGENT},
    uri::Scheme,
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// Speaks HTTP/1.1 to providers. Cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    tls: TlsConnector,
    limits: Limits,
}

/// What a call may cost.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Name resolution, TCP and TLS together.
    pub(super) connect: Duration,
    /// Everything, the body included.
    pub(super) total: Duration,
    /// Bytes of an answer's body.
    pub(super) body: usize,
}

/// Why a call came to nothing. Holds no path, no query and nothing of a body: those may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// Neither https nor loopback, or not a URL to call at all.
    #[error("the address is neither https nor plain http to loopback")]
    ForbiddenUrl,
    /// The name does not resolve.
    #[error("{0} does not resolve")]
    Resolve(String),
    /// No connection.
    #[error("no connection to {host}: {kind}")]
    Connect {
        /// Whom we called.
        host: String,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// The TLS handshake failed, an untrusted certificate included.
    #[error("TLS with {host}: {reason}")]
    Tls {
        /// Whom we called.
        host: String,
        /// What rustls said.
        reason: String,
    },
    /// The connection took too long to come about.
    #[error("no connection in time")]
    ConnectTimeout,
    /// Connected, but the answer took too long.
    #[error("no answer in time")]
    Timeout,
    /// The answer's body exceeds the cap.
    #[error("the answer is too large")]
    TooLarge,
    /// The connection broke, or what came is not HTTP.
    #[error("the exchange broke off")]
    Broken,
    /// An answer, but not with the status that was needed. Redirects end here.
    #[error("the answer has status {}", .0.as_u16())]
    Status(StatusCode),
    /// An answer, but not JSON.
    #[error("the answer is not JSON")]
    NotJson,
}

impl HttpError {
    /// Whether trying again later may help: the network's or the server's state, not its opinion.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::ForbiddenUrl | Self::TooLarge | Self::NotJson => false,
            Self::Status(status) => is_busy(*status),
            _ => true,
        }
    }
}

impl HttpError {
    /// Whether the request may have been heeded all the same: it was sent, and what came of it is not known. A gateway
    /// that has waited in vain, or lost its server, says nothing of what that one did; 503 says that nobody served.
    pub fn may_have_been_heeded(&self) -> bool {
        match self {
            Self::Timeout | Self::Broken | Self::TooLarge | Self::NotJson => true,
            Self::Status(StatusCode::SERVICE_UNAVAILABLE) => false,
            Self::Status(status) => status.is_success() || status.is_server_error(),
            _ => false,
        }
    }
}

/// Whether a status says "not now" rather than "no".
pub(super) fn is_busy(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        )
}

impl HttpClient {
    /// Calls over `tls` ([`crate::trust`]).
    pub fn new(tls: Arc<ClientConfig>) -> Self {
        Self::with(
            tls,
            Limits {
                connect: Duration::from_secs(3),
                total: Duration::from_secs(10),
                body: 1024 * 1024,
            },
        )
    }

    pub(super) fn with(tls: Arc<ClientConfig>, limits: Limits) -> Self {
        Self {
            tls: TlsConnector::from(tls),
            limits,
        }
    }

    /// The same client, whose calls may take `total`.
    pub(super) fn within(&self, total: Duration) -> Self {
        let limits = Limits {
            total,
            ..self.limits
        };
        Self {
            limits,
            ..self.clone()
        }
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self::new(crate::trust::client_config())
    }

    /// Fetches a JSON document. Anything but status 200 is an error.
    pub async fn fetch_json(
        &self,
        url: &Url,
        bearer: Option<&str>,
    ) -> Result<serde_json::Value, HttpError> {
        let mut request = Request::get(url.as_str())
            .body(Bytes::new())
            .map_err(|_| HttpError::ForbiddenUrl)?;
        if let Some(token) = bearer {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| HttpError::ForbiddenUrl)?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let response = self.send(request).await?;
        if response.status() != StatusCode::OK {
            return Err(HttpError::Status(response.status()));
        }
        serde_json::from_slice(response.body()).map_err(|_| HttpError::NotJson)
    }

    /// Sends a request with an absolute URI and reads the whole answer, whatever its status.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        timeout(self.limits.total, self.exchange(request))
            .await
            .unwrap_or(Err(HttpError::Timeout))
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let target = Target::of(request.uri())?;
        let request = origin_form(request, &target)?;
        let stream = timeout(self.limits.connect, self.connect(&target))
            .await
            .unwrap_or(Err(HttpError::ConnectTimeout))?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| HttpError::Broken)?;
        let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
        let (head, body) = sender
            .send_request(request.map(Full::new))
            .await
            .map_err(|_| HttpError::Broken)?
            .into_parts();
        let body = Limited::new(body, self.limits.body)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    HttpError::TooLarge
                } else {
                    HttpError::Broken
                }
            })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    async fn connect(&self, target: &Target) -> Result<Box<dyn Stream>, HttpError> {
        let tcp = self.connect_tcp(target).await?;
        if target.plain {
            return Ok(Box::new(tcp));
        }
        let name =
            ServerName::try_from(target.host.clone()).map_err(|_| HttpError::ForbiddenUrl)?;
        let tls = self
            .tls
            .connect(name, tcp)
            .await
            .map_err(|error| HttpError::Tls {
                host: target.host.clone(),
                reason: error.to_string(),
            })?;
        Ok(Box::new(tls))
    }

    /// Tries each address for its share of the time, so that a dead IPv6 route leaves some for IPv4.
    async fn connect_tcp(&self, target: &Target) -> Result<TcpStream, HttpError> {
        let deadline = Instant::now() + self.limits.connect;
        let mut addresses: Vec<SocketAddr> = lookup_host((target.host.as_str(), target.port))
            .await
            .map_err(|_| HttpError::Resolve(target.host.clone()))?
            // `localhost` is a name like any other to a resolver; plain http must not leave the machine.
            .filter(|address| !target.plain || address.ip().is_loopback())
            .collect();
        addresses.truncate(MAX_ADDRESSES);
        let mut kind = io::ErrorKind::AddrNotAvailable;
        let mut left = u32::try_from(addresses.len()).expect("truncated to a few");
        for address in addresses {
            let share = deadline.saturating_duration_since(Instant::now()) / left;
            left -= 1;
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // A latency hint; the exchange works without.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => kind = error.kind(),
                Err(_) => kind = io::ErrorKind::TimedOut,
            }
        }
        Err(HttpError::Connect {
            host: target.host.clone(),
            kind,
        })
    }
}

/// A URL that a provider's endpoint may have: https, or plain http to loopback; no credentials in it.
pub fn endpoint_url(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok()?;
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    let allowed = match url.scheme() {
        "https" => url.has_host(),
        "http" => url.host_str().is_some_and(is_loopback),
        _ => false,
    };
    url.set_fragment(None);
    (allowed && !has_credentials).then_some(url)
}

fn is_loopback(host: &str) -> bool {
    match bare(host).parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// A host without the brackets that a URL puts around IPv6.
fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// Whom to call.
struct Target {
    host: String,
    port: u16,
    plain: bool,
}

impl Target {
    fn of(uri: &Uri) -> Result<Self, HttpError> {
        let host = uri.host().ok_or(HttpError::ForbiddenUrl)?;
        let plain = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => false,
            Some(scheme) if *scheme == Scheme::HTTP && is_loopback(host) => true,
            _ => return Err(HttpError::ForbiddenUrl),
        };
        Ok(Self {
            host: bare(host).to_owned(),
            port: uri.port_u16().unwrap_or(if plain { 80 } else { 443 }),
            plain,
        })
    }
}

/// The request as an origin server takes it (RFC 9112 §3.2.1), with our own headers.
fn origin_form(mut request: Request<Bytes>, target: &Target) -> Result<Request<Bytes>, HttpError> {
    let uri = request.uri();
    let host = uri.host().ok_or(HttpError::ForbiddenUrl)?;
    let default_port = if target.plain { 80 } else { 443 };
    let host = if target.port == default_port {
        HeaderValue::try_from(host)
    } else {
        HeaderValue::try_from(format!("{host}:{}", target.port))
    }
    .map_err(|_| HttpError::ForbiddenUrl)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = path.parse().map_err(|_| HttpError::ForbiddenUrl)?;
    *request.uri_mut() = path;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    // Some APIs have a media type of their own.
    headers
        .entry(ACCEPT)
        .or_insert(HeaderValue::from_static("application/json"));
    Ok(request)
}

/// What HTTP runs over: TCP, or TLS on it.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// GitHub and 42 refuse a request without one.
const AGENT: &str = concat!("sidegate/", env!("CARGO_PKG_VERSION"));

/// Bytes that an answer's status line and headers may take.
const MAX_HEAD: usize = 64 * 1024;

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

#[cfg(test)]
mod tests;
