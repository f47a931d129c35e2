//! Makes a request safe to use: the client's address, one canonical path, and no header that only the gate may write.

mod address;
pub mod client;
pub mod forwarded;
pub mod forwarding;
pub mod identity;
mod names;
pub mod original;
mod request_id;

use std::{
    borrow::Cow,
    marker::PhantomData,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    header::{EXPECT, HOST, TRANSFER_ENCODING},
    request::Parts,
    uri::PathAndQuery,
};
use hyper::body::Incoming;
use ipnet::IpNet;

pub(crate) use self::request_id::given as given_request_id;
use self::{
    client::{Client, ForwardingHeaders},
    forwarding::{Forwarding, Seen},
    identity::ReservedNames,
    original::OriginalHeaders,
};
use crate::{
    audience::{Audience, ClientHints},
    canonical_path::CanonicalPath,
    certificate::Certified,
    hop_by_hop,
    observe::RequestId,
    origin::PublicOrigin,
    route::HostPattern,
    text::Text,
};

/// The host that a proxy was asked for.
pub static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The header that names a request.
pub static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request after cleaning: no reserved header, no disbelieved forwarding header, one path. Only
/// [`Normalizer::clean`] makes one.
pub struct CleanRequest {
    /// Method, canonical target (path and query), headers.
    pub head: Parts,
    /// The body, not yet read.
    pub body: Incoming,
    /// All of it, where it was read already: then nothing more comes of `body`.
    pub read_body: Option<Bytes>,
    /// Who is calling.
    pub client: Client,
    /// The path's other reading, where it differs.
    pub deep_path: Option<String>,
    /// The path as it came, where the canonical one is spelled otherwise.
    pub written_path: Option<String>,
    /// The protocol the client asks to switch to.
    pub upgrade: Option<HeaderValue>,
    /// What a trusted proxy asks the forward-auth endpoint to judge.
    pub original: OriginalHeaders,
    /// Who reads the answer.
    pub audience: Audience,
    /// Whether it came for `public_url`, and not for another name that leads here.
    pub is_for_public_url: bool,
    /// What the upstream is told of the way that it came.
    pub forwarding: Forwarding,
    /// Its name; none where a trusted proxy has named it.
    pub id: Option<RequestId>,
    /// The name that a trusted proxy has given it, as its headers have it.
    pub given_id: Option<Text>,
    /// Whether a program on this machine sent it by itself, as far as can be seen: it came over loopback, and neither a header nor the
    /// PROXY protocol says that a proxy passed it on. Where it came over a Unix socket a proxy is likely to be its other end.
    pub is_local: bool,
    /// Whom the certificate of its connection proves; none where that is a trusted proxy's own.
    pub certificate: Option<Arc<Certified>>,
    cleaned: PhantomData<Cleaned>,
}

/// A request that cannot be judged.
#[derive(Debug, PartialEq, Eq)]
pub struct Unacceptable {
    /// Why; may be shown.
    pub sentence: Cow<'static, str>,
    /// Who reads the answer.
    pub audience: Audience,
    /// The name that a trusted proxy has given the request.
    pub given_id: Option<Text>,
    /// Whether it has a `Transfer-Encoding`, so that others may see its end elsewhere: nothing more is read from its
    /// connection (RFC 9112 §6.1).
    pub may_end_elsewhere: bool,
}

/// What one pass over the headers finds, so that nothing is looked for that is not there.
struct HeaderScan {
    hosts: usize,
    /// The first of them.
    host: Option<HeaderValue>,
    hop: hop_by_hop::HeaderFlags,
    reserved: bool,
    forwarding: bool,
    /// Whether a proxy has written one of these, or `Via`: programs name their requests, too.
    proxied: bool,
    /// Whether a proxy may be asking about another request.
    original: bool,
    audience: Audience,
}

/// Keeps others from making a [`CleanRequest`].
struct Cleaned;

/// What the connection says of its peer.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The socket's address; none for a Unix socket.
    address: Option<IpAddr>,
    /// The same as a header has it: made once for all of the connection's requests.
    header: Option<HeaderValue>,
    /// Whether the connection is ours to decrypt.
    tls: bool,
    /// Whether a proxy has told the address (the PROXY protocol).
    is_proxied: bool,
    /// Whom its certificate proves.
    certificate: Option<Arc<Certified>>,
}

impl Peer {
    /// An IPv4 address that came over an IPv6 socket is an IPv4 address.
    pub fn new(address: Option<IpAddr>, tls: bool) -> Self {
        let address = address.map(|address| address.to_canonical());
        let header = address.and_then(|address| HeaderValue::try_from(address.to_string()).ok());
        Self {
            address,
            header,
            tls,
            is_proxied: false,
            certificate: None,
        }
    }

    /// The same, for a connection with a header of the PROXY protocol: the address is the one that the proxy named, if it named one.
    #[must_use]
    pub fn behind_proxy(self, is_proxied: bool) -> Self {
        Self { is_proxied, ..self }
    }

    /// The same, with a certificate that TLS has verified.
    #[must_use]
    pub fn with_certificate(self, certificate: Option<Certified>) -> Self {
        Self {
            certificate: certificate.map(Arc::new),
            ..self
        }
    }

    /// The socket's address; none for a Unix socket.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Whether it is a program on this machine. Who is at the other end of a proxy's connection is somebody else, though the proxy
    /// tells a loopback address, or none.
    fn is_local(&self) -> bool {
        !self.is_proxied && self.address.is_some_and(|address| address.is_loopback())
    }

    /// The address as a header has it.
    pub fn header(&self) -> Option<&HeaderValue> {
        self.header.as_ref()
    }
}

/// How requests are cleaned; from the configuration.
#[derive(Clone)]
pub struct Normalizer {
    /// The header names only the gate may write.
    pub reserved: Arc<ReservedNames>,
    /// The peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// In which headers they tell what they saw.
    pub forwarding_headers: ForwardingHeaders,
    /// What users type.
    pub public_origin: PublicOrigin,
    /// The hosts of the other apps that share its login, and so its scheme.
    pub apps: Vec<HostPattern>,
}

impl Normalizer {
    /// Cleans a request. `id` becomes its `X-Request-Id` where no trusted proxy has given it one.
    pub fn clean(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
        id: RequestId,
    ) -> Result<Box<CleanRequest>, Box<Unacceptable>> {
        let (mut head, body) = request.into_parts();
        let tunnel = websocket_asked(&mut head);
        let mut noted = self.note(&head);
        let audience = noted.audience;
        // Before anything is refused: what is, has a name too.
        let given_id = if noted.forwarding && address::trusts(peer.address, &self.trusted_proxies) {
            request_id::given(&head.headers)
        } else {
            None
        };
        let unclean = |sentence| {
            Box::new(Unacceptable {
                sentence,
                audience,
                given_id: given_id.clone(),
                may_end_elsewhere: noted.hop.transfer_encoding(),
            })
        };
        let host = settle_host(&mut head, noted.hosts, noted.host.take());
        let host = host.map_err(|sentence| unclean(sentence.into()))?;
        if noted.hop.transfer_encoding() {
            check_framing(&head.headers).map_err(|sentence| unclean(sentence.into()))?;
        }
        let (deep_path, written_path) = settle_path(&mut head).map_err(unclean)?;
        check_method(&head.method).map_err(|sentence| unclean(sentence.into()))?;
        // All before `Connection` can nominate away what a trusted proxy says.
        let trusted = &self.trusted_proxies;
        let kind = self.forwarding_headers;
        let mut client = client::resolve(peer.address, peer.tls, &head.headers, trusted, kind);
        let original = if noted.original && client.peer_is_trusted {
            OriginalHeaders::keep(&head.headers)
        } else {
            OriginalHeaders::default()
        };
        let upgrade = if noted.hop.upgrade() {
            hop_by_hop::upgrade_asked(&head.headers)
        } else {
            tunnel
        };
        let host = client.host.take().unwrap_or(host);
        let is_for_public_url = self.public_origin.is_named_by(&host);
        // Where it came for `public_url`, that is what the browser sees, whatever the last hop was: TLS may have ended in
        // front without a word. An app that took the hop's scheme would refuse its own forms, or redirect for ever.
        let (is_https, host) = if is_for_public_url {
            let public = &self.public_origin;
            (public.is_https, public.authority.clone())
        } else if self.is_app(&host) {
            (self.public_origin.is_https, host)
        } else {
            (client.is_https, host)
        };
        let any = noted.forwarding;
        let seen = Seen { is_https, host };
        let forwarding = Forwarding::rebuild_noted(&mut head.headers, any, peer, &client, seen);
        hop_by_hop::strip_noted(&mut head.headers, noted.hop);
        if noted.hop.expect() {
            // Answered by this hop: the body is asked for once the request may pass.
            head.headers.remove(EXPECT);
        }
        if noted.reserved {
            self.reserved.strip(&mut head.headers);
        }
        let given_id = given_id.filter(|_| head.headers.contains_key(&X_REQUEST_ID));
        if any && given_id.is_none() {
            // Of an untrusted peer none is left; this is one that no log could name.
            head.headers.remove(&X_REQUEST_ID);
        }
        let certificate = peer.certificate.as_ref();
        Ok(Box::new(CleanRequest {
            certificate: certificate.filter(|_| !client.peer_is_trusted).cloned(),
            head,
            body,
            read_body: None,
            client,
            deep_path,
            written_path,
            upgrade,
            original,
            audience,
            is_for_public_url,
            forwarding,
            id: given_id.is_none().then_some(id),
            given_id,
            is_local: !noted.proxied && peer.is_local(),
            cleaned: PhantomData,
        }))
    }

    fn is_app(&self, host: &HeaderValue) -> bool {
        !self.apps.is_empty()
            && host
                .to_str()
                .is_ok_and(|host| self.apps.iter().any(|app| app.matches(host)))
    }

    fn note(&self, head: &Parts) -> HeaderScan {
        let mut noted = HeaderScan {
            hosts: 0,
            host: None,
            hop: hop_by_hop::HeaderFlags::default(),
            reserved: false,
            forwarding: false,
            proxied: false,
            original: false,
            audience: Audience::Program,
        };
        let mut signs = ClientHints::default();
        let mut host = None;
        for (name, value) in &head.headers {
            if *name == HOST {
                noted.hosts += 1;
                host.get_or_insert(value);
            }
            let name = name.as_str();
            noted.hop.note(name);
            signs.note(name, value);
            noted.reserved |= self.reserved.contains(name);
            if forwarding::is_forwarding(name) {
                noted.forwarding = true;
                noted.proxied |= *name != *X_REQUEST_ID.as_str();
                noted.original |= OriginalHeaders::has(name);
            }
            // Noted before `Connection` can nominate it away.
            noted.proxied |= name == "via";
        }
        noted.host = host.cloned();
        noted.audience = signs.audience(&head.method, &head.headers);
        noted
    }
}

impl CleanRequest {
    /// Whether it asks by an extended CONNECT (RFC 8441), whose success is a tunnel, and never an answer with a body.
    pub fn is_extended_connect(&self) -> bool {
        self.upgrade.is_some() && self.head.version == Version::HTTP_2
    }

    /// The canonical path.
    pub fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// The query, without its question mark.
    pub fn query(&self) -> Option<&str> {
        self.head.uri.query()
    }

    /// Path and query, as asked for.
    pub fn target(&self) -> &str {
        self.head
            .uri
            .path_and_query()
            .map_or("/", PathAndQuery::as_str)
    }
}

/// Makes a request for a WebSocket over HTTP/2 (RFC 8441 §4, an extended CONNECT) what it is over HTTP/1.1: a GET that asks
/// to switch. What is judged, and what the app gets, is the same for both.
fn websocket_asked(head: &mut Parts) -> Option<HeaderValue> {
    let protocol = head.extensions.get::<hyper::ext::Protocol>()?;
    if head.method != Method::CONNECT || protocol.as_str() != "websocket" {
        return None;
    }
    head.method = Method::GET;
    Some(HeaderValue::from_static("websocket"))
}

/// One host, or 400 (RFC 9112 §3.2): two readers of one request must not see two. `host` is the first of
/// `hosts` that the headers name. Gives the one that counts.
fn settle_host(
    head: &mut Parts,
    hosts: usize,
    host: Option<HeaderValue>,
) -> Result<HeaderValue, &'static str> {
    if head.method == Method::CONNECT {
        let is_extended = head.extensions.get::<hyper::ext::Protocol>().is_some();
        if is_extended {
            return Err("no other protocol than WebSocket is served over HTTP/2 (RFC 8441)");
        }
        check_method(&head.method)?;
    }
    if hosts > 1 {
        return Err("more than one Host header");
    }
    if let Some(host) = &host
        && !host.to_str().is_ok_and(is_authority)
    {
        return Err("the Host header is malformed");
    }
    let named = match (head.uri.authority(), host) {
        (None, Some(host)) => return Ok(host),
        (Some(authority), Some(host)) => {
            let target = authority.as_str().as_bytes();
            if !target.eq_ignore_ascii_case(host.as_bytes()) {
                return Err("the Host header and the request target name different hosts");
            }
            return Ok(host);
        }
        (Some(authority), None) => {
            // HTTP/2 and 3 name the host in the target alone; the upstream speaks HTTP/1.1.
            let host = HeaderValue::from_str(authority.as_str());
            let host = host.ok().filter(|_| is_authority(authority.as_str()));
            host.ok_or("the request target's host is malformed")?
        }
        // HTTP/1.0 knows no Host; health checks still speak it.
        (None, None) if head.version == Version::HTTP_10 => HeaderValue::from_static(""),
        (None, None) => return Err("the Host header is missing"),
    };
    head.headers.insert(HOST, named.clone());
    Ok(named)
}

/// Whether `text` is made as an authority is: a name, or an IPv6 address in brackets; and a port perhaps. Nobody's user is in it.
pub(crate) fn is_authority(text: &str) -> bool {
    let bracketed = text.strip_prefix('[').and_then(|text| text.split_once(']'));
    let port = if let Some((address, port)) = bracketed {
        address.parse::<Ipv6Addr>().is_ok().then_some(port)
    } else {
        let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
        let is_name = !name.is_empty() && name.bytes().all(|byte| IN_NAME[usize::from(byte)]);
        is_name.then_some(port)
    };
    let is_port = |port: &str| match port.strip_prefix(':') {
        Some(number) => number.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    };
    text.len() <= 255 + 6 && port.is_some_and(is_port)
}

/// Which bytes a host's name may have.
static IN_NAME: [bool; 256] = {
    let mut bytes = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        bytes[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        byte += 1;
    }
    bytes
};

/// Rules name methods as they are, in capitals (RFC 9110 §9.1), and some apps read `post` as `POST`. TRACE
/// would send back what only the app may see.
pub(crate) fn check_method(method: &Method) -> Result<(), &'static str> {
    if matches!(*method, Method::GET | Method::POST | Method::HEAD) {
        return Ok(());
    }
    if *method == Method::TRACE {
        return Err("TRACE is not served");
    }
    if *method == Method::CONNECT {
        return Err("CONNECT is not served");
    }
    if method
        .as_str()
        .bytes()
        .any(|byte| byte.is_ascii_lowercase())
    {
        return Err("methods are written in capitals");
    }
    Ok(())
}

/// The only coding of a message that both sides read alike is `chunked` (RFC 9112 §6.1).
fn check_framing(headers: &HeaderMap) -> Result<(), &'static str> {
    let Some(coding) = headers.get(TRANSFER_ENCODING) else {
        return Ok(());
    };
    let single = headers.get_all(TRANSFER_ENCODING).iter().count() == 1;
    if single && coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        Ok(())
    } else {
        Err("the only Transfer-Encoding served is chunked")
    }
}

/// Makes the target its canonical form, origin-form; gives the path's other reading, and how it came where it was spelled
/// otherwise.
fn settle_path(head: &mut Parts) -> Result<(Option<String>, Option<String>), Cow<'static, str>> {
    let canonical = CanonicalPath::parse(head.uri.path()).map_err(|error| error.to_string())?;
    let deep = canonical.deep;
    let is_rewritten = matches!(canonical.surface, Cow::Owned(_));
    let written = is_rewritten.then(|| head.uri.path().to_owned());
    let target = match canonical.surface {
        Cow::Borrowed(_) if head.uri.authority().is_none() => return Ok((deep, None)),
        Cow::Borrowed(_) => head.uri.path_and_query().cloned(),
        Cow::Owned(path) => {
            let target = match head.uri.query() {
                Some(query) => format!("{path}?{query}"),
                None => path,
            };
            PathAndQuery::try_from(target).ok()
        }
    };
    head.uri = target.map(Uri::from).ok_or("the path is malformed")?;
    Ok((deep, written))
}

#[cfg(test)]
mod tests {
    use http::uri::Authority;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        for good in [
            "a",
            "a.b-c_d",
            "a:80",
            "a:",
            "1.2.3.4:5",
            "[::1]",
            "[::1]:80",
            "[::ffff:1.2.3.4]:",
        ] {
            assert!(is_authority(good), "{good}");
        }
        for bad in [
            "", ":", ":80", "a:b", "a:b:c", "a:1:2", "::1", "[::1", "::1]", "[]", "[a]", "[::1]a",
            "[::1]:b", "[[::1]]", "a[::1]", "a@b", "a/b", "a b", "\u{e9}",
        ] {
            assert!(!is_authority(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_authority_can_be_sent_over_http2(text in r"[a-f0-9:.\[\]_-]{1,12}|\[[0-9:]{2,9}\](:[0-9]*)?") {
            prop_assert!(!is_authority(&text) || Authority::try_from(text.as_str()).is_ok());
        }
    }
}
