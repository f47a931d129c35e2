//! Addresses: listeners, the public origin, the upstream, proxies, and return hosts.

use std::{net::SocketAddr, path::PathBuf};

use http::Uri;
use ipnet::IpNet;
use url::{Host, Url};

use super::{
    super::{
        problem::{Origin, Problem},
        schema::Kind,
    },
    Reader, Reported, Table,
};
use crate::{
    clean::client::ForwardingHeaders,
    forward::settings::UpstreamAddress,
    listen::settings::{Listen, ListenAddress, PROXY_PROTOCOL},
    login::return_to::HostPattern,
    public_url::PublicUrl,
};

impl Reader<'_> {
    pub(super) fn listen(&mut self, root: &Table<'_>) -> Option<Vec<Listen>> {
        let Some(node) = root.get("listen", Kind::Texts.or("0.0.0.0:4180")) else {
            return Some(vec![Listen {
                address: ListenAddress::Tcp(DEFAULT_LISTEN),
                is_proxied: false,
            }]);
        };
        let items = self.list(node, "listen")?;
        if items.is_empty() {
            self.problem(
                Problem::new(&node.origin, "`listen` is an empty list")
                    .hint("name an address, such as \"0.0.0.0:4180\""),
            );
            return None;
        }
        let mut listen: Vec<Listen> = Vec::new();
        let mut complete = true;
        for item in items {
            match listener(item.text, &item.origin) {
                Ok(next)
                    if listen
                        .iter()
                        .any(|other| collide(&other.address, &next.address)) =>
                {
                    let message = format!("`{}` is taken by an address before it", item.text);
                    self.problem(Problem::new(&item.origin, message).hint("take one of them out"));
                    complete = false;
                }
                Ok(next) => listen.push(next),
                Err(problem) => {
                    self.problem(problem);
                    complete = false;
                }
            }
        }
        complete.then_some(listen)
    }

    pub(super) fn admin_listen(
        &mut self,
        root: &Table<'_>,
    ) -> Result<Option<ListenAddress>, Reported> {
        self.optional(root, "admin_listen", listen_address)
    }

    pub(super) fn ext_authz_listen(
        &mut self,
        root: &Table<'_>,
    ) -> Result<Option<ListenAddress>, Reported> {
        self.optional(root, "ext_authz_listen", listen_address)
    }

    pub(super) fn public_url(&mut self, root: &Table<'_>) -> Option<PublicUrl> {
        let example = "public_url = \"https://app.example.com\", the address that users type";
        let node = self.required(root, "public_url", Kind::Text, example)?;
        let text = self.text(node, "public_url")?;
        let url = self.found(origin_url(text, &node.origin, "public_url"))?;
        Some(PublicUrl { url })
    }

    pub(super) fn trusted_proxies(&mut self, root: &Table<'_>) -> Option<Vec<IpNet>> {
        let networks = self.texts(root, "trusted_proxies", network)?;
        if networks.iter().any(|network| network.prefix_len() == 0) {
            self.warnings.push(
                "trusted_proxies holds every address: any client can claim to be any other"
                    .to_owned(),
            );
        }
        Some(networks)
    }

    pub(super) fn forwarding_headers(
        &mut self,
        root: &Table<'_>,
    ) -> Result<Option<ForwardingHeaders>, Reported> {
        let meanings = [
            ("either", ForwardingHeaders::Either),
            ("x-forwarded", ForwardingHeaders::XForwarded),
            ("forwarded", ForwardingHeaders::Forwarded),
        ];
        self.word(
            root,
            "forwarding_headers",
            &meanings,
            Some("either"),
            |text| {
                let message = format!("there is no forwarding_headers \"{text}\"");
                (message, "\"either\", \"x-forwarded\" or \"forwarded\"")
            },
        )
    }

    pub(super) fn redirect_hosts(&mut self, root: &Table<'_>) -> Option<Vec<HostPattern>> {
        self.texts(root, "redirect_hosts", host_pattern)
    }
}

/// Where an app listens; `key` is where that stands.
pub(super) fn upstream_address(
    text: &str,
    origin: &Origin,
    key: &str,
) -> Result<UpstreamAddress, Problem> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path, origin).map(UpstreamAddress::Unix);
    }
    let url = origin_url(text, origin, key)?;
    let uri = Uri::try_from(url.as_str());
    uri.map(UpstreamAddress::Network)
        .map_err(|error| Problem::new(origin, format!("`{key}` is no address: {error}")))
}

const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 4180);

/// An address, and whether the PROXY protocol is spoken there.
fn listener(text: &str, origin: &Origin) -> Result<Listen, Problem> {
    let mut words = text.split_ascii_whitespace();
    let address = words.next().unwrap_or_default();
    let is_proxied = match (words.next(), words.next()) {
        (None, _) => false,
        (Some(PROXY_PROTOCOL), None) => true,
        _ => {
            let message = format!("`{text}` is no address to listen on");
            let hint = format!("behind the address may stand {PROXY_PROTOCOL}, and nothing else");
            return Err(Problem::new(origin, message).hint(hint));
        }
    };
    let address = listen_address(address, origin)?;
    Ok(Listen {
        address,
        is_proxied,
    })
}

pub(super) fn listen_address(text: &str, origin: &Origin) -> Result<ListenAddress, Problem> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path, origin).map(ListenAddress::Unix);
    }
    if let Ok(address) = text.parse() {
        return Ok(ListenAddress::Tcp(address));
    }
    let problem = Problem::new(origin, format!("`{text}` is no address to listen on"));
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    Err(match text.rsplit_once(':') {
        Some(("" | "*", port)) if is_port(port) => problem.hint(format!(
            "for every address write \"0.0.0.0:{port}\" or \"[::]:{port}\""
        )),
        Some(("localhost", port)) if is_port(port) => {
            problem.hint(format!("write the address: \"127.0.0.1:{port}\""))
        }
        _ if is_port(text) => problem.hint(format!(
            "write \"127.0.0.1:{text}\" for this machine alone, \"0.0.0.0:{text}\" for every address"
        )),
        _ if text.starts_with('/') => problem.hint(format!("for a socket write \"unix:{text}\"")),
        _ => problem.hint("write \"0.0.0.0:4180\", \"[::]:4180\" or \"unix:/run/sidegate.sock\""),
    })
}

fn socket_path(path: &str, origin: &Origin) -> Result<PathBuf, Problem> {
    // sun_path has room for 107 bytes on Linux; on other systems for a few less.
    if path.starts_with('/') && path.len() <= 107 && !path.contains('\0') {
        return Ok(PathBuf::from(path));
    }
    Err(Problem::new(origin, "this is no socket's path")
        .hint("write \"unix:/run/app.sock\": absolute, at most 107 bytes"))
}

/// An address that is scheme, host and port alone. Nothing of the text is repeated in a message: it may
/// hold a password.
fn origin_url(text: &str, origin: &Origin, key: &str) -> Result<Url, Problem> {
    let url = web_url(text, origin, key)?;
    if url.path() != "/" {
        let bare = url.origin().ascii_serialization();
        return Err(
            Problem::new(origin, format!("`{key}` may not have a path")).hint(format!(
                "write \"{bare}\"; paths are kept as users ask for them"
            )),
        );
    }
    Ok(url)
}

/// An `https` or `http` address without user, query and fragment. The URL standard repairs much in
/// silence (blanks, backslashes, a missing slash); what would be repaired is refused.
pub(super) fn web_url(text: &str, origin: &Origin, key: &str) -> Result<Url, Problem> {
    let url = web_address(text, origin, key)?;
    if url.query().is_some() {
        return Err(
            Problem::new(origin, format!("`{key}` may not have a query"))
                .hint("take out what follows ?"),
        );
    }
    Ok(url)
}

/// An `https` or `http` address without user and fragment, and perhaps with a query.
pub(super) fn web_address(text: &str, origin: &Origin, key: &str) -> Result<Url, Problem> {
    let refuse = |message: &str| Problem::new(origin, format!("`{key}` {message}"));
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err(
            refuse("has a blank, a backslash or a control character in it").hint("take it out"),
        );
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(
            refuse("is no address").hint(match (text.contains(['@', ':', '/']), key) {
                (false, key) if !matches!(key, "upstream" | "url") => {
                    format!("write \"https://{text}\"")
                }
                _ => "it begins with https:// or http://".to_owned(),
            }),
        );
    };
    if !matches!(scheme, "http" | "https") {
        let hint = match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => "write it in lower case",
            _ => "nothing else is spoken there",
        };
        return Err(refuse("begins with neither https:// nor http://").hint(hint));
    }
    if rest.starts_with('/') {
        return Err(refuse("has no host").hint("after :// comes the host's name"));
    }
    let url = Url::parse(text).map_err(|error| {
        refuse(&format!("is no address: {error}")).hint("as in https://app.example.com")
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("may not name a user").hint("take out what stands before the @"));
    }
    if url.fragment().is_some() {
        return Err(refuse("may not have a fragment").hint("take out what follows #"));
    }
    match url.host() {
        _ if url.port() == Some(0) => Err(refuse("has port 0").hint("that is no port to reach")),
        Some(Host::Domain(name)) if !is_host_name(name) => {
            Err(refuse("has no valid host")
                .hint("a name such as app.example.com, or an IP address"))
        }
        Some(_) => Ok(url),
        None => Err(refuse("has no host").hint("after :// comes the host's name")),
    }
}

/// A host name in lower case ASCII (RFC 1123 §2.1; underscores as container networks use them).
pub(super) fn is_host_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
        })
}

pub(super) fn network(text: &str, origin: &Origin) -> Result<IpNet, Problem> {
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Ok(IpNet::from(address));
    }
    match text.parse::<IpNet>() {
        Ok(network) if network == network.trunc() => Ok(network),
        Ok(network) => Err(
            Problem::new(origin, format!("`{text}` is not where a network begins")).hint(format!(
                "write \"{}\" for the network or \"{}\" for the one address",
                network.trunc(),
                network.addr()
            )),
        ),
        Err(_) => Err(Problem::new(origin, format!("`{text}` is no network"))
            .hint("write \"10.0.0.0/8\", \"fd00::/8\" or an address")),
    }
}

fn host_pattern(text: &str, origin: &Origin) -> Result<HostPattern, Problem> {
    let problem = Problem::new(origin, format!("`{text}` is no host"));
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split('/').next().unwrap_or(rest);
        if host.contains('@') {
            return Err(Problem::new(origin, "this is no host").hint("write the host alone"));
        }
        return Err(problem.hint(format!("write the host alone: \"{host}\"")));
    }
    if let Some(rest) = text.strip_prefix('*') {
        return Err(problem.hint(format!("a leading dot means subdomains: \"{rest}\"")));
    }
    let (is_subdomains, name) = text
        .strip_prefix('.')
        .map_or((false, text), |name| (true, name));
    let is_plain =
        !name.contains(|c: char| "/?#@\\%".contains(c) || c.is_whitespace() || c.is_control());
    let url = is_plain
        .then(|| Url::parse(&format!("https://{name}/")).ok())
        .flatten();
    let Some(url) = url else {
        return Err(
            problem.hint("as in \"app.example.com\", \"app.example.com:8443\" or \".example.com\"")
        );
    };
    if name.ends_with(":443") {
        return Err(problem.hint("leave out :443, the port that https has anyway"));
    }
    match url.host() {
        Some(Host::Domain(host)) if !is_host_name(host) => {
            Err(problem
                .hint("as in \"app.example.com\", \"app.example.com:8443\" or \".example.com\""))
        }
        Some(Host::Domain(host)) if is_subdomains => {
            if url.port().is_some() {
                Err(problem.hint("subdomains have the scheme's own port; take the port out"))
            } else if host.contains('.') {
                Ok(HostPattern::Subdomains(format!(".{host}")))
            } else {
                Err(problem
                    .hint("a whole top-level domain belongs to strangers; name a domain in it"))
            }
        }
        Some(_) if is_subdomains => Err(problem.hint("an address has no subdomains")),
        Some(_) => Ok(HostPattern::Exact(url.authority().to_owned())),
        None => Err(problem),
    }
}

/// Whether two listeners would want the same place. Port 0 is a fresh port each time.
pub(super) fn collide(left: &ListenAddress, right: &ListenAddress) -> bool {
    match (left, right) {
        (ListenAddress::Unix(left), ListenAddress::Unix(right)) => left == right,
        (ListenAddress::Tcp(left), ListenAddress::Tcp(right)) => {
            let covers = |one: &SocketAddr, other: &SocketAddr| {
                one.ip() == other.ip()
                    || (one.ip().is_unspecified() && one.is_ipv4() == other.is_ipv4())
            };
            left.port() != 0
                && left.port() == right.port()
                && (covers(left, right) || covers(right, left))
        }
        _ => false,
    }
}

/// Whether what is forwarded would come back to the gate.
pub(super) fn leads_to(upstream: &UpstreamAddress, listen: &ListenAddress) -> bool {
    match (upstream, listen) {
        (UpstreamAddress::Unix(upstream), ListenAddress::Unix(listen)) => upstream == listen,
        (UpstreamAddress::Network(uri), ListenAddress::Tcp(listen)) => {
            let default_port = if uri.scheme_str() == Some("https") {
                443
            } else {
                80
            };
            if uri.port_u16().unwrap_or(default_port) != listen.port() {
                return false;
            }
            let Ok(url) = Url::parse(&uri.to_string()) else {
                return false;
            };
            let address = match url.host() {
                Some(Host::Ipv4(address)) => Some(address.into()),
                Some(Host::Ipv6(address)) => Some(address.into()),
                _ => None,
            };
            let here = listen.ip();
            address == Some(here)
                || (is_loopback(url.host().as_ref())
                    && (here.is_unspecified() || here.is_loopback()))
                || address.is_some_and(|address: std::net::IpAddr| address.is_unspecified())
        }
        _ => false,
    }
}

/// Whether the host is this machine by definition (RFC 6890, RFC 6761 §6.3).
pub(super) fn is_loopback(host: Option<&Host<&str>>) -> bool {
    match host {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => *name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests;
