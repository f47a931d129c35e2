//! A persona: a browser as far as a proxy can tell. It keeps cookies as browsers do, sends Fetch Metadata, and
//! follows redirects when asked to.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{HOST, LOCATION, SET_COOKIE},
};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use url::Url;

use super::{House, jar::Jar};

/// A browser. Clones are tabs: they share the jar.
#[derive(Clone)]
pub struct Browser {
    home: Url,
    jar: Arc<Mutex<Jar>>,
    /// Hosts that lead elsewhere than their name says, and whether within TLS.
    hosts: Arc<HashMap<String, (SocketAddr, bool)>>,
}

impl Browser {
    /// A browser that resolves the house's public host to where the house listens. An https address of a house
    /// without TLS is reached as if something in front had ended TLS.
    pub fn at(house: &House) -> Self {
        let home = Url::parse(&house.public_url).expect("the public address is a URL");
        let authority = home.authority().to_owned();
        Self {
            home,
            jar: Arc::default(),
            hosts: Arc::new(HashMap::from([(authority, (house.address, house.tls))])),
        }
    }

    /// The same browser and jar, for which the public host now leads to `house`.
    pub fn moved_to(&self, house: &House) -> Self {
        Self {
            jar: Arc::clone(&self.jar),
            ..Self::at(house)
        }
    }

    /// The same browser and jar, which also finds the house under `authority`.
    pub fn knowing(&self, authority: &str, house: &House) -> Self {
        let mut hosts = (*self.hosts).clone();
        hosts.insert(authority.to_owned(), (house.address, house.tls));
        Self {
            hosts: Arc::new(hosts),
            ..self.clone()
        }
    }

    /// The same browser and jar, for which the public host leads to something in front of the house, within TLS.
    pub fn led_to(&self, front: SocketAddr) -> Self {
        let authority = self.home.authority().to_owned();
        Self {
            hosts: Arc::new(HashMap::from([(authority, (front, true))])),
            ..self.clone()
        }
    }

    /// The jar.
    pub fn jar(&self) -> MutexGuard<'_, Jar> {
        self.jar.lock().expect("no tab panics inside")
    }

    /// The `Cookie` header that a request to `path` would carry.
    pub fn cookies(&self, path: &str) -> String {
        let url = self.absolute(path);
        self.jar().header(&url).unwrap_or_default()
    }

    /// The value of the cookie `name` at `/`.
    pub fn cookie(&self, name: &str) -> Option<String> {
        let jar = self.jar();
        jar.for_url(&self.home)
            .find(|cookie| cookie.name == name)
            .map(|cookie| cookie.value.clone())
    }

    /// Plants a cookie for the house.
    pub fn plant(&self, name: &str, value: &str) {
        self.jar().plant(name, value, &self.home);
    }

    /// `path` as an address of the house; absolute addresses stay.
    pub fn absolute(&self, path: &str) -> Url {
        self.home.join(path).expect("an address")
    }

    /// A request as a tab sends it when an address is typed.
    pub fn navigate(&self, path: &str) -> Ask<'_> {
        let mut ask = Ask::new(self, Method::GET, path);
        for (name, value) in NAVIGATION {
            ask = ask.header(name, value);
        }
        ask
    }

    /// A request as `fetch()` of the house's own page sends it.
    pub fn fetch(&self, method: Method, path: &str) -> Ask<'_> {
        let mut ask = Ask::new(self, method, path);
        for (name, value) in FETCH {
            ask = ask.header(name, value);
        }
        ask
    }

    /// A request with nothing but `Host` and cookies.
    pub fn bare(&self, method: Method, path: &str) -> Ask<'_> {
        Ask::new(self, method, path)
    }

    /// Types an address; redirects are not followed.
    pub async fn get(&self, path: &str) -> Reply {
        self.navigate(path).send().await
    }

    /// Types an address and follows every redirect.
    pub async fn follow(&self, path: &str) -> Reply {
        let reply = self.get(path).await;
        self.follow_from(reply).await
    }

    /// Follows the redirects that begin with `reply`.
    pub async fn follow_from(&self, mut reply: Reply) -> Reply {
        for _ in 0..20 {
            if !reply.status.is_redirection() {
                return reply;
            }
            let next = reply.location();
            reply = self.get(next.as_str()).await;
        }
        panic!("more than 20 redirects, the last to {}", reply.location());
    }

    /// Signs in at the scripted provider (which asks nothing) on the way to `path`.
    pub async fn sign_in(&self, path: &str) -> Reply {
        let reply = self.follow(path).await;
        assert_eq!(
            (reply.status, &reply.url),
            (StatusCode::OK, &self.absolute(path)),
            "signing in leads to the page: {}",
            reply.text()
        );
        reply
    }

    /// Follows redirects until the callback is next, and gives its address unasked.
    pub async fn up_to_callback(&self, path: &str) -> Url {
        let mut reply = self.get(path).await;
        for _ in 0..10 {
            let next = reply.location();
            if next.path().contains("/oauth2/callback") {
                return next;
            }
            reply = self.get(next.as_str()).await;
        }
        panic!("no callback on the way to {path}");
    }

    fn connect_to(&self, url: &Url) -> (SocketAddr, bool) {
        if let Some(place) = self.hosts.get(url.authority()) {
            return *place;
        }
        let port = url.port_or_known_default().expect("http has a port");
        let host = url.host_str().unwrap_or_default();
        let address = host
            .parse()
            .unwrap_or_else(|_| panic!("the browser was sent to {url}, a host it does not know"));
        (SocketAddr::new(address, port), url.scheme() == "https")
    }
}

/// What Chromium sends when an address is typed.
pub const NAVIGATION: [(&str, &str); 7] = [
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    ),
    ("sec-fetch-site", "none"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-user", "?1"),
    ("sec-fetch-dest", "document"),
    ("upgrade-insecure-requests", "1"),
    ("user-agent", "Mozilla/5.0 (persona)"),
];

/// What Chromium sends for `fetch()`.
pub const FETCH: [(&str, &str); 5] = [
    ("accept", "*/*"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-dest", "empty"),
    ("user-agent", "Mozilla/5.0 (persona)"),
];

/// A request in the making.
pub struct Ask<'a> {
    browser: &'a Browser,
    url: Url,
    /// The target as it was written, where the URL parser would change it.
    target: Option<String>,
    method: Method,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl<'a> Ask<'a> {
    fn new(browser: &'a Browser, method: Method, path: &str) -> Self {
        Self {
            browser,
            url: browser.absolute(path),
            target: path.starts_with('/').then(|| path.to_owned()),
            method,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// One more header; the same name may come again.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another method, the headers kept.
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// The body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it and reads the whole answer.
    pub async fn send(self) -> Reply {
        let what = format!("{} {}", self.method, self.url);
        let browser = self.browser;
        let url = self.url.clone();
        let exchange = async {
            let response = self.begin().await;
            let (parts, body) = response.into_parts();
            let body = body
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes);
            (parts, body)
        };
        let (parts, body) = tokio::time::timeout(Duration::from_secs(30), exchange)
            .await
            .unwrap_or_else(|_| panic!("no answer to {what} within 30 s"));
        let body = body.unwrap_or_else(|error| panic!("{what}: the answer breaks off: {error}"));
        for header in parts.headers.get_all(SET_COOKIE) {
            let header = header.to_str().expect("Set-Cookie is ASCII");
            browser.jar().take(header, &url);
        }
        Reply {
            status: parts.status,
            headers: parts.headers,
            body,
            url,
        }
    }

    /// Sends it and gives the answer while its body may still be on its way. Cookies are not taken.
    pub async fn begin(self) -> Response<Incoming> {
        let (address, tls) = self.browser.connect_to(&self.url);
        let stream = super::connect(address, tls).await;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("a client connection");
        tokio::spawn(connection);
        let target = self.target.clone().unwrap_or_else(|| {
            let query = self.url.query().map(|query| format!("?{query}"));
            format!("{}{}", self.url.path(), query.unwrap_or_default())
        });
        let mut request = Request::builder()
            .method(self.method)
            .uri(&target)
            .header(HOST, self.url.authority());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(cookies) = self.browser.jar().header(&self.url) {
            request = request.header("cookie", cookies);
        }
        let request = request.body(Full::new(self.body)).expect("a request");
        sender
            .send_request(request)
            .await
            .unwrap_or_else(|error| panic!("no answer to {target}: {error}"))
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Whose answer it is.
    pub url: Url,
}

impl Reply {
    /// The header's value; empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("an ASCII header"))
    }

    /// Where it redirects to, made absolute.
    pub fn location(&self) -> Url {
        let location = self.headers.get(LOCATION).unwrap_or_else(|| {
            panic!(
                "no redirect: {} at {}: {}",
                self.status,
                self.url,
                self.text()
            )
        });
        let location = location.to_str().expect("Location is ASCII");
        self.url.join(location).expect("Location is an address")
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// What the echo upstream saw of this request.
    pub fn seen(&self) -> super::upstream::Seen {
        assert_eq!(self.status, StatusCode::OK, "{}: {}", self.url, self.text());
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not the echo upstream ({error}): {}", self.text()))
    }

    /// Every `Set-Cookie`.
    pub fn set_cookies(&self) -> Vec<String> {
        self.headers
            .get_all(SET_COOKIE)
            .iter()
            .map(|value| value.to_str().expect("Set-Cookie is ASCII").to_owned())
            .collect()
    }

    /// Whether a session cookie with a value was set.
    pub fn sets_session(&self) -> bool {
        self.set_cookies().iter().any(|header| is_session(header))
    }
}

/// Whether `header` sets (and does not expire) a session cookie, in one part or several.
pub fn is_session(header: &str) -> bool {
    let Some((name, rest)) = header.split_once('=') else {
        return false;
    };
    let base = name.trim_start_matches("__Host-");
    let base = base.trim_start_matches("__Secure-");
    let number = base.strip_prefix("sidegate_");
    (base == "sidegate" || number.is_some_and(|part| part.parse::<u8>().is_ok()))
        && !rest.starts_with(';')
        && !rest.to_ascii_lowercase().contains("max-age=0")
}
