//! The one client for calls to providers. Time and size are bounded, and redirects are not followed.
//!
//! A connection serves one exchange, except where a call may be made twice ([`HttpClient::for_introspection`]). Logins are rare beside requests, and a provider's load balancer may drop an idle connection at any
//! time. For a code that works only once, that would lose the login. For the same reason nothing else is retried here.

mod address;
mod dial;
mod error;
mod pool;
mod proxy;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, HOST, PROXY_AUTHORIZATION, USER_AGENT},
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::CertificateDer};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

pub(super) use self::error::is_busy;
use self::pool::{Connection, Pool};
pub use self::{
    address::{Internal, PlainHttp, endpoint_url},
    error::HttpError,
    proxy::{BadVariable, Proxies, Proxy},
};
use crate::{
    observe::metrics::{Limit, LimitHits},
    trust,
};

/// Speaks HTTP/1.1 to providers. Cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    tls: TlsConnector,
    limits: Limits,
    proxies: Arc<Proxies>,
    plain: PlainHttp,
    /// Counts answers that were too large.
    hits: LimitHits,
    /// Where the provider is reached, where that is not where its addresses say.
    internal: Option<Arc<Internal>>,
    /// Connections that are kept, where they are.
    pool: Option<Arc<Pool>>,
}

/// How one provider is reached.
pub struct Reach<'a> {
    /// Where it may be spoken to in plain http.
    pub plain: PlainHttp,
    /// Its place in the operator's network, where it has one of its own there.
    pub internal: Option<Internal>,
    /// Authorities that are believed beside the system's.
    pub authorities: &'a [CertificateDer<'static>],
}

/// What a call may cost.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Name resolution, TCP, a proxy and TLS together.
    pub(super) connect: Duration,
    /// Everything, the body included.
    pub(super) total: Duration,
    /// Bytes of an answer's body.
    pub(super) body: usize,
}

impl HttpClient {
    /// Calls over `tls` ([`crate::trust`]) and through `proxies`; takes answers of up to `provider_response` bytes
    /// (`limits.provider_response`), and counts larger ones among `hits`.
    pub fn new(
        tls: Arc<ClientConfig>,
        proxies: Proxies,
        provider_response: u32,
        hits: LimitHits,
    ) -> Self {
        let limits = Limits {
            connect: CONNECT_TIMEOUT,
            total: CALL_TIMEOUT,
            body: usize::try_from(provider_response).unwrap_or(usize::MAX),
        };
        Self {
            proxies: Arc::new(proxies),
            hits,
            ..Self::with(tls, limits)
        }
    }

    pub(super) fn with(tls: Arc<ClientConfig>, limits: Limits) -> Self {
        Self {
            tls: TlsConnector::from(tls),
            limits,
            proxies: Arc::default(),
            plain: PlainHttp::Loopback,
            hits: LimitHits::default(),
            internal: None,
            pool: None,
        }
    }

    /// The same client, which keeps connections and waits for less long: requests wait for what it brings. For calls that do
    /// no harm twice: one that meets a connection which the provider is closing is made again.
    pub(super) fn for_introspection(&self) -> Self {
        Self {
            pool: Some(Arc::default()),
            ..self.within(INTROSPECTION_TIMEOUT)
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

    /// The client for one provider.
    #[must_use]
    pub fn of(&self, reach: Reach<'_>) -> Self {
        let mut client = self.clone();
        client.plain = reach.plain;
        client.internal = reach.internal.map(Arc::new);
        if !reach.authorities.is_empty() {
            let tls = trust::client_config_trusting(reach.authorities);
            client.tls = TlsConnector::from(tls);
        }
        client
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self::new(
            trust::client_config(),
            Proxies::default(),
            1024 * 1024,
            LimitHits::default(),
        )
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

    /// Where a call to `url` goes.
    pub fn place_of(&self, url: &Url) -> Url {
        let inside = self.internal.as_ref();
        inside
            .and_then(|internal| internal.inside(url))
            .unwrap_or_else(|| url.clone())
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let named = Url::parse(&request.uri().to_string()).map_err(|_| HttpError::ForbiddenUrl)?;
        let place = self.place_of(&named);
        if !address::may_call(&place, self.plain) {
            return Err(HttpError::ForbiddenUrl);
        }
        let proxy = self.proxies.proxy_for(&place);
        let request = written(request, &named, &place, proxy)?;
        let Some(pool) = &self.pool else {
            let mut connection = self.connect(&place, proxy).await?;
            return self.exchange_on(&mut connection, request).await;
        };
        if let Some(mut connection) = pool.take(&place) {
            match self.exchange_on(&mut connection, request.clone()).await {
                // It was closed meanwhile.
                Err(HttpError::Broken) => {}
                outcome => {
                    if outcome.is_ok() {
                        pool.give_back(&place, connection);
                    }
                    return outcome;
                }
            }
        }
        let mut connection = self.connect(&place, proxy).await?;
        let response = self.exchange_on(&mut connection, request).await?;
        pool.give_back(&place, connection);
        Ok(response)
    }

    async fn connect(&self, place: &Url, proxy: Option<&Proxy>) -> Result<Connection, HttpError> {
        let dialed = dial::dial(place, proxy, &self.tls);
        let stream = timeout(self.limits.connect, dialed)
            .await
            .unwrap_or(Err(HttpError::ConnectTimeout))?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_FIELDS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| HttpError::Broken)?;
        Ok(Connection {
            sender,
            _driver: AbortOnDropHandle::new(tokio::spawn(connection)),
            made: Instant::now(),
        })
    }

    async fn exchange_on(
        &self,
        connection: &mut Connection,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, HttpError> {
        let sender = &mut connection.sender;
        sender.ready().await.map_err(|_| HttpError::Broken)?;
        let (head, body) = sender
            .send_request(request.map(Full::new))
            .await
            .map_err(|error| {
                if error.is_parse_too_large() {
                    HttpError::HeadTooLarge
                } else {
                    HttpError::Broken
                }
            })?
            .into_parts();
        let limit = self.limits.body;
        let body = Limited::new(body, limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                self.hits.hit(Limit::ProviderResponse);
                HttpError::TooLarge { limit }
            } else {
                HttpError::Broken
            }
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

/// The request as whoever is at `place` takes it, with our own headers: an origin server by its path, a proxy for
/// plain http whole (RFC 9112 §3.2). Either way it is for the host that it was `named` for: a provider that is asked
/// at another address answers with its public one all the same.
fn written(
    mut request: Request<Bytes>,
    named: &Url,
    place: &Url,
    proxy: Option<&Proxy>,
) -> Result<Request<Bytes>, HttpError> {
    let header = |text: &str| HeaderValue::try_from(text).map_err(|_| HttpError::ForbiddenUrl);
    let forwards = proxy.filter(|_| place.scheme() == "http");
    let target = match forwards {
        Some(_) => place.as_str(),
        None => address::path_and_query(place),
    };
    *request.uri_mut() = Uri::try_from(target).map_err(|_| HttpError::ForbiddenUrl)?;
    let headers = request.headers_mut();
    if let Some(authorization) = forwards.and_then(|proxy| proxy.authorization.as_ref()) {
        headers.insert(PROXY_AUTHORIZATION, authorization.clone());
    }
    headers.insert(HOST, header(named.authority())?);
    if named.origin() != place.origin() {
        // What the server would hear from the proxy that browsers come through.
        headers.insert(FORWARDED_HOST, header(named.authority())?);
        headers.insert(FORWARDED_PROTO, header(named.scheme())?);
    }
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    // Some APIs have a media type of their own.
    headers
        .entry(ACCEPT)
        .or_insert(HeaderValue::from_static("application/json"));
    Ok(request)
}

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// GitHub and 42 refuse a request without one.
const AGENT: &str = concat!("sidegate/", env!("CARGO_PKG_VERSION"));

/// How long connecting to a provider may take, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call of a provider may take, connecting and the answer's body included.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest wait for an answer about a token.
const INTROSPECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes that an answer's status line and headers may take.
const MAX_HEAD: usize = 128 * 1024;

/// Fields of an answer's head.
const MAX_FIELDS: usize = 256;

#[cfg(test)]
mod tests;
