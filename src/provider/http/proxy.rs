//! The proxy for calls to providers, if any: `proxy_url`, or the variables of the environment that curl and others read. Pure.

use std::{fmt, net::IpAddr};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::address::is_loopback;

/// Which proxy serves which call.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    https: Option<Proxy>,
    http: Option<Proxy>,
    exceptions: Exceptions,
}

/// A proxy of HTTP. `Debug` shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its name or address, without the brackets that a URL puts around IPv6.
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether the proxy itself is reached over TLS.
    pub(super) tls: bool,
    /// `Proxy-Authorization`, marked as sensitive.
    pub(super) authorization: Option<HeaderValue>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Host and port, for the log.
impl fmt::Display for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

impl Proxy {
    /// Reads `http://USER:PASSWORD@HOST:PORT`; https where the proxy speaks TLS itself, and http where nothing is
    /// said. None for anything else: it may hold a password, so nothing of it is told.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let with_scheme = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let url = Url::parse(&with_scheme).ok()?;
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let has_more = !matches!(url.path(), "" | "/") || url.query().is_some();
        if has_more || url.fragment().is_some() || url.port() == Some(0) {
            return None;
        }
        let host = match url.host()? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let has_user = !url.username().is_empty() || url.password().is_some();
        let authorization = if has_user {
            Some(basic(url.username(), url.password().unwrap_or_default())?)
        } else {
            None
        };
        Some(Self {
            host,
            port: url.port_or_known_default()?,
            tls,
            authorization,
        })
    }
}

/// RFC 7617 §2: as they are, not encoded as a form.
fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    let mut pair: Vec<u8> = percent_decode_str(user).collect();
    // The user ends at the first colon.
    if pair.contains(&b':') {
        return None;
    }
    pair.push(b':');
    pair.extend(percent_decode_str(password));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The name of a variable whose value is no proxy.
#[derive(Debug, PartialEq, Eq)]
pub struct BadVariable(pub &'static str);

impl Proxies {
    /// One proxy for all calls, but those that `NO_PROXY` names.
    pub fn one(proxy: Proxy, variable: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            https: Some(proxy.clone()),
            http: Some(proxy),
            exceptions: Exceptions::of(variable),
        }
    }

    /// What the environment says. The spelling in lower case goes first, as everywhere.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, BadVariable> {
        // A CGI program gets a request's `Proxy` header under this name.
        let is_cgi = variable("REQUEST_METHOD").is_some();
        let first = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| {
                let value = variable(name).filter(|value| !value.trim().is_empty())?;
                let is_header = is_cgi && name == "HTTP_PROXY";
                (!is_header).then(|| Proxy::parse(&value).ok_or(BadVariable(name)))
            })
        };
        Ok(Self {
            https: first(["https_proxy", "HTTPS_PROXY"]).transpose()?,
            http: first(["http_proxy", "HTTP_PROXY"]).transpose()?,
            exceptions: Exceptions::of(variable),
        })
    }

    /// The proxy for a call to `url`. None for this machine itself, which no proxy can reach.
    pub(super) fn proxy_for(&self, url: &Url) -> Option<&Proxy> {
        let proxy = match url.scheme() {
            "https" => self.https.as_ref(),
            _ => self.http.as_ref(),
        }?;
        (!is_loopback(url) && !self.exceptions.name(url)).then_some(proxy)
    }
}

/// `NO_PROXY`: whom no proxy is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Exceptions(Vec<Exception>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    /// `*`
    Everybody,
    /// `example.com`, and what is below it.
    Name(String, Option<u16>),
    /// `.example.com` or `*.example.com`: what is below it.
    Below(String, Option<u16>),
    /// `192.0.2.1`
    Address(IpAddr, Option<u16>),
    /// `10.0.0.0/8`: for hosts that are written as addresses; no name is resolved for it.
    Network(IpNet),
}

impl Exceptions {
    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut values = ["no_proxy", "NO_PROXY"].into_iter().filter_map(variable);
        values
            .find(|value| !value.trim().is_empty())
            .map(|value| Self::parse(&value))
            .unwrap_or_default()
    }

    /// What is none of the forms names nobody: the variable is the whole machine's, and not ours to judge.
    fn parse(text: &str) -> Self {
        let entries = text.split([',', ' ', '\t', '\n']);
        Self(entries.filter_map(Exception::parse).collect())
    }

    fn name(&self, url: &Url) -> bool {
        self.0.iter().any(|exception| exception.names(url))
    }
}

impl Exception {
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_ascii_lowercase();
        if entry == "*" {
            return Some(Self::Everybody);
        }
        if let Ok(network) = entry.parse() {
            return Some(Self::Network(network));
        }
        if let Some(address) = address(&entry) {
            return Some(Self::Address(address, None));
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry.as_str(), None),
        };
        if let Some(address) = address(host) {
            return Some(Self::Address(address, port));
        }
        let below = host.strip_prefix('*').unwrap_or(host).strip_prefix('.');
        let name = below.unwrap_or(host).trim_end_matches('.');
        let is_name = !name.is_empty() && !name.contains(['*', ':', '/', '[', ']']);
        is_name.then(|| match below {
            Some(_) => Self::Below(format!(".{name}"), port),
            None => Self::Name(name.to_owned(), port),
        })
    }

    fn names(&self, url: &Url) -> bool {
        let at = |port: &Option<u16>| port.is_none() || *port == url.port_or_known_default();
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::from(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::from(address)),
            _ => None,
        };
        let host = match url.host() {
            Some(Host::Domain(name)) => name.trim_end_matches('.'),
            _ => "",
        };
        match self {
            Self::Everybody => true,
            Self::Name(name, port) => {
                let is_below = host
                    .strip_suffix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
                is_below && at(port)
            }
            Self::Below(suffix, port) => host.ends_with(suffix.as_str()) && at(port),
            Self::Address(named, port) => address == Some(*named) && at(port),
            Self::Network(network) => address.is_some_and(|address| network.contains(&address)),
        }
    }
}

/// An address, in brackets or not.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    bare.unwrap_or(text).parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn environment<'a>(
        variables: &'a [(&'a str, &'a str)],
    ) -> impl Fn(&str) -> Option<String> + 'a {
        |name| {
            let mut variables = variables.iter();
            variables.find_map(|(known, value)| (*known == name).then(|| (*value).to_owned()))
        }
    }

    fn proxy_of(variables: &[(&str, &str)], address: &str) -> Option<String> {
        let proxies = Proxies::of_environment(environment(variables)).unwrap();
        proxies.proxy_for(&url(address)).map(ToString::to_string)
    }

    #[test]
    fn a_proxy_is_read_as_curl_reads_it() {
        let read = |text: &str| Proxy::parse(text).map(|proxy| (proxy.to_string(), proxy.tls));
        for (text, place, tls) in [
            ("http://proxy.corp:3128", "proxy.corp:3128", false),
            ("http://proxy.corp:3128/", "proxy.corp:3128", false),
            ("proxy.corp:3128", "proxy.corp:3128", false),
            ("http://proxy.corp", "proxy.corp:80", false),
            ("https://proxy.corp", "proxy.corp:443", true),
            ("http://ann:pw@[::1]:8080", "[::1]:8080", false),
        ] {
            assert_eq!(read(text), Some((place.to_owned(), tls)), "{text}");
        }
        for bad in [
            "socks5://proxy:1080",
            "http://",
            "http://proxy/path",
            "http://proxy/?q",
            "http://proxy:0",
            "http://a:b:c@:1",
            "http://a%3Ab:c@proxy",
            "",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_password_goes_into_a_header_and_nowhere_else() {
        let proxy = Proxy::parse("http://ann:p%40ss:w@proxy:1").unwrap();
        let header = proxy.authorization.clone().unwrap();
        assert!(header.is_sensitive());
        let expected = format!("Basic {}", STANDARD.encode("ann:p@ss:w"));
        assert_eq!(header, expected.as_str());
        assert_eq!(format!("{proxy:?}"), "proxy:1");
        assert_eq!(Proxy::parse("proxy:1").unwrap().authorization, None);
    }

    #[test]
    fn each_scheme_has_its_variable() {
        let https = &[("HTTPS_PROXY", "http://s:1"), ("http_proxy", "p:2")];
        assert_eq!(proxy_of(https, "https://id.test/").as_deref(), Some("s:1"));
        assert_eq!(proxy_of(https, "http://id.test/").as_deref(), Some("p:2"));
        let both = &[("HTTPS_PROXY", "http://upper"), ("https_proxy", "lower")];
        assert_eq!(
            proxy_of(both, "https://id.test/").as_deref(),
            Some("lower:80")
        );
        let empty = &[("HTTPS_PROXY", "http://upper:1"), ("https_proxy", " ")];
        assert_eq!(
            proxy_of(empty, "https://id.test/").as_deref(),
            Some("upper:1")
        );
        assert_eq!(proxy_of(&[], "https://id.test/"), None);
        // httpoxy: what a client of a CGI program says.
        let cgi = &[("HTTP_PROXY", "http://evil:1"), ("REQUEST_METHOD", "GET")];
        assert_eq!(proxy_of(cgi, "http://id.test/"), None);
        for loopback in [
            "https://127.0.0.1/",
            "https://[::1]:9/",
            "https://localhost/",
        ] {
            assert_eq!(proxy_of(https, loopback), None, "{loopback}");
        }
        let bad = Proxies::of_environment(environment(&[("https_proxy", "socks5://x:1")]));
        assert_eq!(bad.unwrap_err(), BadVariable("https_proxy"));
    }

    #[test]
    fn exceptions_are_names_suffixes_networks_and_ports() {
        for (exceptions, address, is_excepted) in [
            ("*", "https://id.test/", true),
            ("id.test", "https://id.test/", true),
            ("ID.Test", "https://id.test/", true),
            ("id.test", "https://a.id.test/", true),
            ("id.test", "https://bid.test/", false),
            (".test", "https://id.test/", true),
            (".id.test", "https://id.test/", false),
            ("*.id.test", "https://a.id.test/", true),
            ("other, id.test", "https://id.test/", true),
            ("other id.test", "https://id.test/", true),
            ("id.test:443", "https://id.test/", true),
            ("id.test:8443", "https://id.test/", false),
            (".test:443", "https://id.test/", true),
            ("10.0.0.0/8", "https://10.1.2.3/", true),
            ("10.0.0.0/8", "https://11.1.2.3/", false),
            ("10.0.0.0/8", "https://id.test/", false),
            ("fd00::/8", "https://[fd00::1]/", true),
            ("10.1.2.3", "https://10.1.2.3:9/", true),
            ("10.1.2.3:9", "https://10.1.2.3/", false),
            ("[fd00::1]:443", "https://[fd00::1]/", true),
            ("fd00::1", "https://[fd00::1]/", true),
            ("", "https://id.test/", false),
            (",,", "https://id.test/", false),
            ("id.test:x", "https://id.test/", false),
        ] {
            let variables = [("HTTPS_PROXY", "p:1"), ("NO_PROXY", exceptions)];
            let direct = proxy_of(&variables, address).is_none();
            assert_eq!(direct, is_excepted, "{exceptions} {address}");
            let variables = [("no_proxy", exceptions)];
            let one = Proxies::one(Proxy::parse("p:1").unwrap(), environment(&variables));
            assert_eq!(one.proxy_for(&url(address)).is_none(), is_excepted);
        }
    }

    proptest! {
        #[test]
        fn whatever_the_environment_says_is_read_or_refused(proxy: String, exceptions: String) {
            let variables = [("https_proxy", proxy.as_str()), ("no_proxy", exceptions.as_str())];
            if let Ok(proxies) = Proxies::of_environment(environment(&variables)) {
                let _ = proxies.proxy_for(&url("https://id.test/"));
            }
        }
    }
}
