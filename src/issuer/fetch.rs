//! Fetches client ID metadata documents, and the keys that they name, from public addresses only, because anybody can ask for one.
//!
//! Whoever sends a `client_id` chooses where the gate connects to. So the name is resolved here, addresses that are not public are
//! skipped, and the connection goes to exactly the addresses that were checked: a second lookup could give others. Redirects are not
//! followed, no proxy is used, and nothing but the request is sent. Time, size and number are bounded: in all, for each host and for
//! each sender ([`Places`]), so that the slow server of one client does not block other clients.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, StatusCode,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HOST, USER_AGENT},
};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use moka::{Expiry, future::Cache, sync::Cache as Kept};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::{
    client::Client,
    document::{self, DocumentUrl},
    places::Places,
};
use crate::{
    jose::KeySet,
    login::{LoginClient, throttle::Throttle},
    net::dial,
};

/// Fetches documents, and keeps the good ones for a while. Lives as long as the process.
pub struct Documents {
    tls: TlsConnector,
    known: Cache<String, Arc<Known<Client>>>,
    /// Keys of clients, by their address.
    keys: Cache<String, Arc<Known<Arc<KeySet>>>>,
    /// What was good last, for when it cannot be fetched.
    stale: Kept<String, Client>,
    places: Places,
    /// How often one address may have documents fetched: each one counts, whatever comes of it.
    throttle: Throttle,
}

/// Who has a document fetched, and for what.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// The sender of the request.
    pub sender: &'a LoginClient,
    /// Whether an older copy does where the document cannot be fetched: for a client that has agreed with its user before, and not
    /// where an answer goes to an address that the document names.
    pub takes_stale: bool,
    /// Whether it may lie on this machine.
    pub loopback: bool,
}

/// What a good document says.
struct Known<T> {
    said: T,
    fetched_at: Instant,
    fresh_for: Duration,
}

/// Why there is no client of an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDocument {
    /// Its server says so: the document is bad, or is not there.
    #[error("{0}")]
    Bad(&'static str),
    /// Its server does not answer as one.
    #[error("{0}")]
    Unreachable(&'static str),
    /// The gate does not fetch it now.
    #[error("{0}")]
    Unavailable(&'static str),
}

struct Freshness;

impl<T> Expiry<String, Arc<Known<T>>> for Freshness {
    fn expire_after_create(
        &self,
        _: &String,
        known: &Arc<Known<T>>,
        _: Instant,
    ) -> Option<Duration> {
        Some(known.fresh_for)
    }
}

impl Documents {
    /// Over `tls`.
    pub fn new(tls: Arc<ClientConfig>) -> Self {
        Self {
            tls: TlsConnector::from(tls),
            known: Cache::builder()
                .max_capacity(KNOWN)
                .expire_after(Freshness)
                .build(),
            keys: Cache::builder()
                .max_capacity(KNOWN)
                .expire_after(Freshness)
                .build(),
            stale: Kept::builder()
                .max_capacity(KNOWN)
                .time_to_live(STALE)
                .build(),
            places: Places::new(AT_ONCE, PER_HOST, PER_ASKER),
            throttle: Throttle::default(),
        }
    }

    /// The client at an address. Of all who ask for one at once, one fetches it.
    ///
    /// # Errors
    /// Why there is none. What is bad is not remembered.
    pub async fn client(&self, at: &DocumentUrl, by: Asking<'_>) -> Result<Client, NoDocument> {
        let read = |body: &[u8]| document::read(at, body, by.loopback);
        let fetched = async {
            let known = self.fetch(at, by, LARGEST, read).await?;
            self.stale
                .insert(at.as_str().to_owned(), known.said.clone());
            Ok(Arc::new(known))
        };
        let known = self
            .known
            .try_get_with(at.as_str().to_owned(), fetched)
            .await;
        match known.map_err(|error| NoDocument::clone(&error)) {
            Ok(known) => Ok(known.said.clone()),
            Err(error @ NoDocument::Bad(_)) => {
                // Its server has taken it back.
                self.stale.invalidate(at.as_str());
                Err(error)
            }
            Err(error) => {
                let stale = self.stale.get(at.as_str()).filter(|_| by.takes_stale);
                stale.ok_or(error)
            }
        }
    }

    /// The keys of a client at an address. Those that were fetched a while ago are fetched anew where they `are_doubtful`: the client
    /// may sign by a new one.
    ///
    /// # Errors
    /// Why there are none. An older copy never serves: the client may have lost a key.
    pub async fn keys(
        &self,
        at: &DocumentUrl,
        by: Asking<'_>,
        are_doubtful: bool,
    ) -> Result<Arc<KeySet>, NoDocument> {
        if are_doubtful
            && let Some(known) = self.keys.get(at.as_str()).await
            && known.fetched_at.elapsed() >= LEAST_AGE
        {
            self.keys.invalidate(at.as_str()).await;
        }
        let read = |body: &[u8]| document::read_keys(body).map(Arc::new);
        let fetched = async { self.fetch(at, by, LARGEST_KEYS, read).await.map(Arc::new) };
        let known = self
            .keys
            .try_get_with(at.as_str().to_owned(), fetched)
            .await;
        known
            .map(|known| Arc::clone(&known.said))
            .map_err(|error| NoDocument::clone(&error))
    }

    async fn fetch<T>(
        &self,
        at: &DocumentUrl,
        by: Asking<'_>,
        most: usize,
        read: impl FnOnce(&[u8]) -> Result<T, &'static str>,
    ) -> Result<Known<T>, NoDocument> {
        let host = at.url().host_str().unwrap_or_default();
        let _place = self
            .places
            .take(host, by.sender.address)
            .ok_or(NoDocument::Unavailable(
                "too many documents are being fetched",
            ))?;
        self.throttle
            .take(by.sender, Instant::now())
            .map_err(|_| NoDocument::Unavailable("too many documents were asked for from there"))?;
        let exchanged = timeout(TOTAL, self.exchange(at, by.loopback, most)).await;
        let (headers, body) = exchanged.unwrap_or_else(|_| {
            tracing::info!(
                at = at.as_str(),
                "a client's document does not come in time"
            );
            Err(BROKEN)
        })?;
        Ok(Known {
            said: read(&body).map_err(NoDocument::Bad)?,
            fetched_at: Instant::now(),
            fresh_for: freshness(&headers),
        })
    }

    async fn exchange(
        &self,
        at: &DocumentUrl,
        loopback: bool,
        most: usize,
    ) -> Result<(HeaderMap, Bytes), NoDocument> {
        let url = at.url();
        // Whoever asks may ask for names and ports inside, and learns nothing of them: what is wrong there is in the log alone.
        let broken = |why: &dyn fmt::Display| {
            tracing::info!(at = url.as_str(), %why, "a client's document cannot be fetched");
            BROKEN
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = url.port_or_known_default().unwrap_or(443);
        let mut addresses = dial::resolve(host, port)
            .await
            .map_err(|error| broken(&error))?;
        addresses
            .retain(|address| is_public(address.ip()) || (loopback && address.ip().is_loopback()));
        if addresses.is_empty() {
            return Err(broken(&"its host has no public address"));
        }
        let tcp = dial::first_of(addresses)
            .await
            .map_err(|error| broken(&error))?;
        let stream: Box<dyn Stream> = if url.scheme() == "https" {
            let name = ServerName::try_from(host.to_owned());
            let name = name.map_err(|error| broken(&error))?;
            let stream = self.tls.connect(name, tcp).await;
            Box::new(stream.map_err(|error| broken(&error))?)
        } else {
            Box::new(tcp)
        };
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(LARGEST_HEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
        let authority = HeaderValue::try_from(url.authority()).map_err(|error| broken(&error))?;
        let request = Request::get(&url[url::Position::BeforePath..url::Position::AfterQuery])
            .header(HOST, authority)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("sidegate/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|error| broken(&error))?;
        let (head, body) = sender
            .send_request(request)
            .await
            .map_err(|error| broken(&error))?
            .into_parts();
        if head.status.is_server_error() || head.status == StatusCode::TOO_MANY_REQUESTS {
            return Err(broken(&head.status));
        }
        if head.status != StatusCode::OK {
            return Err(NoDocument::Bad(
                "its server does not answer with 200; redirects are not followed",
            ));
        }
        let kind = head
            .headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default();
        let essence = kind
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        if !(essence == "application/json" || essence.ends_with("+json")) {
            return Err(NoDocument::Bad("it is not sent as application/json"));
        }
        let body = Limited::new(body, most).collect().await;
        let body = body.map_err(|_| NoDocument::Bad("it is too large, or breaks off"))?;
        Ok((head.headers, body.to_bytes()))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// For how long a document is kept (RFC 9111 §5.2.2.1), within our own bounds.
fn freshness(headers: &HeaderMap) -> Duration {
    let values = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut age = None;
    for directive in values.flat_map(|value| value.split(',')) {
        let directive = directive.trim().to_ascii_lowercase();
        if matches!(&*directive, "no-store" | "no-cache") {
            return LEAST_FRESH;
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            age = seconds.trim_matches('"').parse().ok();
        }
    }
    age.map_or(LEAST_FRESH, Duration::from_secs)
        .clamp(LEAST_FRESH, MOST_FRESH)
}

/// Whether anybody on the internet may have the address: whatever is not, may be somebody inside.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// The registry of special-purpose addresses (RFC 6890), and multicast.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (b == 18 || b == 19))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99))
}

/// Global unicast alone, and nothing that carries an IPv4 address within: where that leads is for a translator to say.
fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    let segments = address.segments();
    (segments[0] & 0xe000) == 0x2000
        // 6to4, Teredo and the rest of 2001:0::/23, documentation.
        && segments[0] != 0x2002
        && !(segments[0] == 0x2001 && segments[1] < 0x0200)
        && !(segments[0] == 0x2001 && segments[1] == 0x0db8)
        && !(segments[0] == 0x3fff && segments[1] < 0x1000)
}

/// What is said of every server that cannot be reached, whatever is the matter.
const BROKEN: NoDocument = NoDocument::Unreachable("its server does not answer as one");
/// How long a document may take, from the name to its last byte.
const TOTAL: Duration = Duration::from_secs(5);
/// The bytes of the largest document.
const LARGEST: usize = 8 * 1024;
/// The bytes of the largest set of keys.
const LARGEST_KEYS: usize = 32 * 1024;
/// For how long keys of a client are not fetched again, whatever it signs by.
const LEAST_AGE: Duration = Duration::from_secs(30);
/// The bytes of its answer's head.
const LARGEST_HEAD: usize = 16 * 1024;
/// Documents that are fetched at once.
const AT_ONCE: usize = 64;
/// Of these from one host.
const PER_HOST: usize = 2;
/// Of these for one sender: an IPv4 address, or an IPv6 network of 64 bits.
const PER_ASKER: usize = 4;
/// Documents that are kept, about a kilobyte each; and as many sets of keys.
const KNOWN: u64 = 2_000;
/// For how long a document that cannot be fetched any more serves a client that has its grant.
const STALE: Duration = Duration::from_hours(7 * 24);
/// For how long a document is kept at least.
const LEAST_FRESH: Duration = Duration::from_mins(5);
/// For how long a document is kept at most, whatever it says.
const MOST_FRESH: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m13_only_public_addresses_are_asked() {
        for text in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:a00:1::",
            "2001::1",
            "2001:db8::1",
            "::127.0.0.1",
            "100::1",
            "fec0::1",
            "3fff::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "1.1.1.1",
            "100.63.0.1",
            "100.128.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:4860::8888",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    /// A server that is away ends nobody's grant; one that says no does.
    #[tokio::test]
    async fn an_older_copy_serves_those_who_agreed_before_and_nobody_else() {
        let documents = Documents::new(crate::trust::client_config());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let id = format!("http://127.0.0.1:{port}/client.json");
        let at = DocumentUrl::parse(&id, true).unwrap();
        let body = format!(
            r#"{{"client_id":"{id}","client_name":"App","redirect_uris":["https://app.example/cb"]}}"#
        );
        let client = document::read(&at, body.as_bytes(), true).unwrap();
        documents.stale.insert(id.clone(), client);
        let sender = LoginClient {
            address: None,
            known: None,
        };
        let ask = async |takes_stale| {
            let asking = Asking {
                sender: &sender,
                takes_stale,
                loopback: true,
            };
            documents.client(&at, asking).await
        };
        // It answers nothing that is HTTP.
        let away = tokio::spawn(async move {
            for _ in 0..2 {
                drop(listener.accept().await);
            }
            listener
        });
        assert!(matches!(ask(false).await, Err(NoDocument::Unreachable(_))));
        assert_eq!(ask(true).await.unwrap().name, "App");
        let listener = away.await.unwrap();
        let gone = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4_096]).await;
            let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer)
                .await
                .unwrap();
            drop(listener);
        });
        assert!(matches!(ask(true).await, Err(NoDocument::Bad(_))));
        gone.await.unwrap();
        assert!(matches!(ask(true).await, Err(NoDocument::Unreachable(_))));
    }

    #[test]
    fn freshness_is_what_it_says_within_bounds() {
        let of = |text: &'static str| {
            let headers = [(CACHE_CONTROL, HeaderValue::from_static(text))]
                .into_iter()
                .collect();
            freshness(&headers)
        };
        assert_eq!(freshness(&HeaderMap::new()), LEAST_FRESH);
        assert_eq!(of("max-age=3600, public"), Duration::from_hours(1));
        assert_eq!(of("max-age=1"), LEAST_FRESH);
        assert_eq!(of("max-age=99999999999"), MOST_FRESH);
        assert_eq!(of("max-age=x"), LEAST_FRESH);
        assert_eq!(of("max-age=3600, no-store"), LEAST_FRESH);
    }
}
