//! The apps: `upstream` and its keys at the top, and `[upstreams.NAME]`.

use http::{HeaderValue, uri::Authority};

use super::{
    super::{
        problem::{Origin, Problem},
        schema::Kind,
        tree::Node,
    },
    Reader, Reported, Table,
    address::upstream_address,
    prefix,
};
use crate::{
    forward::settings::{
        CONNECT_TIMEOUT, ClientCertificate, DEFAULT_UPSTREAM, HEAD_TIMEOUT, HEALTH_INTERVAL,
        HealthSettings, HostRule, UpstreamAddress, UpstreamSettings,
    },
    spelling, trust,
};

/// What an app calls itself.
fn audience(text: &str, origin: &Origin) -> Result<String, Problem> {
    let is_plain = !text.is_empty() && text.len() <= LONGEST_AUDIENCE;
    if is_plain && !text.contains(char::is_control) {
        return Ok(text.to_owned());
    }
    let message = format!("an audience has from 1 to {LONGEST_AUDIENCE} bytes");
    Err(Problem::new(origin, message)
        .hint("as in \"https://wiki.example.com\"; the app compares it with `aud`"))
}

/// Bytes of an upstream's `audience`.
const LONGEST_AUDIENCE: usize = 256;

/// Names of upstreams in the file's order; the place of each among all upstreams is one more.
fn names<'n>(root: &Table<'n>) -> impl Iterator<Item = &'n str> {
    let node = root.node.get("upstreams");
    let entries = node.map_or(&[][..], Node::entries);
    entries.iter().map(|(name, _)| name.as_str())
}

impl Reader<'_> {
    /// The top-level `upstream` first, then the named ones.
    pub(super) fn upstreams(&mut self, root: &Table<'_>) -> Option<Vec<UpstreamSettings>> {
        let first = self.first_upstream(root);
        let tables = self.named(root, "upstreams");
        let mut upstreams = Vec::new();
        let mut complete = true;
        for (index, (name, table)) in tables.iter().enumerate() {
            let folded = name.replace('-', "_");
            if tables[..index]
                .iter()
                .any(|(other, _)| other.replace('-', "_") == folded)
            {
                complete = false;
                self.problem(
                    Problem::new(
                        &table.node.key_origin,
                        "two upstreams' names differ by - and _ alone",
                    )
                    .hint("their environment names would be the same; rename one"),
                );
            }
            match self.named_upstream(name, table) {
                Some(upstream) => upstreams.push(upstream),
                None => complete = false,
            }
        }
        upstreams.insert(0, first?);
        complete.then_some(upstreams)
    }

    fn first_upstream(&mut self, root: &Table<'_>) -> Option<UpstreamSettings> {
        let example = "upstream = \"http://127.0.0.1:8000\", where the app listens";
        let node = self.required(root, "upstream", Kind::Text, example);
        let head_timeout = self.duration(root, "upstream_timeout", "60s");
        let address = node.and_then(|node| {
            let text = self.text(node, "upstream")?;
            self.found(upstream_address(text, &node.origin, "upstream"))
        });
        let addresses: Vec<_> = address.into_iter().collect();
        let ca = self.upstream_ca(root, "upstream_ca", &addresses);
        let reuse = self.flag(root, "upstream_reuse", true);
        let audience = self.optional(root, "upstream_audience", audience);
        if addresses.is_empty() {
            return None;
        }
        Some(UpstreamSettings {
            head_timeout: head_timeout?,
            ca: ca.ok()?,
            reuse: reuse?,
            audience: audience
                .ok()?
                .unwrap_or_else(|| DEFAULT_UPSTREAM.to_owned()),
            ..UpstreamSettings::new(DEFAULT_UPSTREAM, addresses)
        })
    }

    fn named_upstream(&mut self, name: &str, table: &Table<'_>) -> Option<UpstreamSettings> {
        let named = self.upstream_name(name, table);
        let addresses = self.upstream_addresses(table);
        let connect_timeout = self.fine_duration(table, "connect_timeout", CONNECT_TIMEOUT);
        let head_timeout = self.fine_duration(table, "head_timeout", HEAD_TIMEOUT);
        let idle_timeout = self.optional_duration(table, "idle_timeout");
        let known = addresses.as_deref().unwrap_or_default();
        let ca = self.upstream_ca(table, "ca", known);
        let server_name = self.optional(table, "server_name", server_name);
        let client_certificate = self.client_certificate(table);
        let host = self.host_rule(table, known);
        let strip_prefix = self.optional(table, "strip_prefix", prefix);
        let max_body = self.optional_number::<u64>(
            table,
            "max_body",
            0..=i64::MAX,
            "a whole number of bytes; leave the key out for no bound",
        );
        let reuse = self.flag(table, "reuse", true);
        let audience = self.optional(table, "audience", audience);
        let http2 = self.http2(table, known);
        let health = self.health(table);
        named?;
        Some(UpstreamSettings {
            name: name.to_owned(),
            audience: audience.ok()?.unwrap_or_else(|| name.to_owned()),
            addresses: addresses?,
            connect_timeout: connect_timeout?,
            head_timeout: head_timeout?,
            idle_timeout: idle_timeout.ok()?,
            ca: ca.ok()?,
            server_name: server_name.ok()?,
            client_certificate: client_certificate.ok()?,
            host: host?,
            strip_prefix: strip_prefix.ok()?,
            max_body: max_body.ok()?,
            reuse: reuse?,
            http2: http2?,
            health: health.ok()?,
        })
    }

    fn upstream_name(&mut self, name: &str, table: &Table<'_>) -> Option<()> {
        let is_plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        };
        // The name that stands for any, while the keys are described.
        if self.describes || (name != DEFAULT_UPSTREAM && name.bytes().all(is_plain)) {
            return Some(());
        }
        let (message, hint) = if name == DEFAULT_UPSTREAM {
            (
                format!("no upstream can be called \"{DEFAULT_UPSTREAM}\""),
                "that is what metrics call the `upstream` at the top of the file",
            )
        } else {
            (
                format!("`{name}` is no name for an upstream"),
                "it consists of a-z, 0-9, - and _, as in [upstreams.wiki]",
            )
        };
        self.problem(Problem::new(&table.node.key_origin, message).hint(hint));
        None
    }

    fn upstream_addresses(&mut self, table: &Table<'_>) -> Option<Vec<UpstreamAddress>> {
        let example = "url = \"http://127.0.0.1:8000\", or a list of such addresses";
        let node = self.required(table, "url", Kind::Texts, example)?;
        let items = self.list(node, "url")?;
        let mut addresses = Vec::new();
        let mut complete = true;
        for item in items {
            match upstream_address(item.text, &item.origin, "url") {
                Ok(address) if addresses.contains(&address) => {
                    complete = false;
                    self.problem(
                        Problem::new(&item.origin, format!("`{}` is there already", item.text))
                            .hint("take one of them out"),
                    );
                }
                Ok(address) => addresses.push(address),
                Err(problem) => {
                    complete = false;
                    self.problem(problem);
                }
            }
        }
        let problem = match &addresses[..] {
            [] if complete => Some((
                "`url` is an empty list".to_owned(),
                "name at least one address".to_owned(),
            )),
            _ if addresses.len() > MAX_ADDRESSES => Some((
                format!("`url` has more than {MAX_ADDRESSES} addresses"),
                "put a load balancer before so many".to_owned(),
            )),
            _ => None,
        };
        if let Some((message, hint)) = problem {
            self.problem(Problem::new(&node.origin, message).hint(hint));
            return None;
        }
        complete.then_some(addresses)
    }

    fn upstream_ca(
        &mut self,
        table: &Table<'_>,
        key: &'static str,
        addresses: &[UpstreamAddress],
    ) -> Result<Option<std::path::PathBuf>, Reported> {
        let Some(node) = table.get(key, Kind::Text) else {
            return Ok(None);
        };
        let file = self.readable_file(table, key, node);
        let file = file.ok_or(Reported)?;
        if addresses.iter().any(UpstreamAddress::is_tls) {
            // Where it need not be here, it is not looked at.
            if let Some(Err(error)) = file.exists().then(|| trust::roots_from(&file)) {
                self.problem(Problem::new(&node.origin, error.to_string()).hint(
                    "it is PEM, and holds the certificate of the authority that signed the app's",
                ));
                return Err(Reported);
            }
        } else if !addresses.is_empty() {
            let (whole, address) = match key {
                "upstream_ca" => (key.to_owned(), "upstream"),
                _ => (table.whole(key), "url"),
            };
            self.warnings.push(format!(
                "{whole} is not used: `{address}` is reached without TLS; write it with https://"
            ));
        }
        Ok(Some(file))
    }

    fn client_certificate(
        &mut self,
        table: &Table<'_>,
    ) -> Result<Option<ClientCertificate>, Reported> {
        let cert = table.get("client_cert", Kind::Text);
        let key = table.get("client_key", Kind::Text);
        let (cert, key) = match (cert, key) {
            (None, None) => return Ok(None),
            (Some(cert), Some(key)) => (cert, key),
            (Some(_), None) => {
                self.missing(
                    table,
                    "client_key",
                    "client_key = \"gate.key\", beside client_cert",
                );
                return Err(Reported);
            }
            (None, Some(_)) => {
                self.missing(
                    table,
                    "client_cert",
                    "client_cert = \"gate.crt\", beside client_key",
                );
                return Err(Reported);
            }
        };
        let origin = &cert.origin;
        let cert = self.readable_file(table, "client_cert", cert);
        let key = self.readable_file(table, "client_key", key);
        let files = ClientCertificate {
            cert: cert.ok_or(Reported)?,
            key: key.ok_or(Reported)?,
        };
        // Where they need not be here, they are not looked at.
        let are_here = files.cert.exists() && files.key.exists();
        if let Some(Err(error)) =
            are_here.then(|| trust::app_config(None, Some((&files.cert, &files.key)), false))
        {
            self.problem(Problem::new(origin, error.to_string()).hint(
                "both are PEM: the certificate's chain with its own first, and its private key",
            ));
            return Err(Reported);
        }
        Ok(Some(files))
    }

    fn host_rule(&mut self, table: &Table<'_>, addresses: &[UpstreamAddress]) -> Option<HostRule> {
        self.read(table, "host", "pass", |text, origin| match text {
            "pass" => Ok(HostRule::Pass),
            "upstream" => own_host(addresses, origin),
            name => authority(name).map(HostRule::Name).ok_or_else(|| {
                Problem::new(origin, format!("`{name}` is no host"))
                    .hint("\"pass\", \"upstream\", or a name such as \"wiki.internal\"")
            }),
        })
    }

    fn http2(&mut self, table: &Table<'_>, addresses: &[UpstreamAddress]) -> Option<bool> {
        let http2 = self.flag(table, "http2", false)?;
        let mut others = addresses.iter().skip(1);
        // A request says which scheme it is of (RFC 9113 §8.3.1), and may be sent to any address.
        if http2 && others.any(|other| other.is_tls() != addresses[0].is_tls()) {
            let problem = Problem::new(
                &table.origin("url"),
                "`url` has addresses with and without TLS",
            );
            self.problem(problem.hint("with http2 = true all have the same scheme"));
            return None;
        }
        Some(http2)
    }

    fn health(&mut self, table: &Table<'_>) -> Result<Option<HealthSettings>, Reported> {
        let health = &table.table("health");
        let path = health.get("path", Kind::Text);
        let interval = self.fine_duration(health, "interval", HEALTH_INTERVAL);
        if !health.is_written() {
            return Ok(None);
        }
        let Some(node) = path else {
            self.missing(health, "path", "health = { path = \"/healthz\" }");
            return Err(Reported);
        };
        let text = self.text(node, "path").ok_or(Reported)?;
        let is_path = text.starts_with('/')
            && text.parse::<http::uri::PathAndQuery>().is_ok()
            && !text.contains('#');
        if !is_path {
            self.problem(
                Problem::new(&node.origin, format!("`{text}` is no path"))
                    .hint("as in \"/healthz\""),
            );
            return Err(Reported);
        }
        Ok(Some(HealthSettings {
            path: text.to_owned(),
            interval: interval.ok_or(Reported)?,
        }))
    }

    /// Which upstream a route leads to.
    pub(super) fn route_upstream(
        &mut self,
        root: &Table<'_>,
        table: &Table<'_>,
    ) -> Result<usize, Reported> {
        let place = self.optional(table, "upstream", |text, origin| {
            let found = names(root).position(|name| name == text);
            found.map(|place| place + 1).ok_or_else(|| {
                let problem = Problem::new(origin, format!("there is no upstream \"{text}\""));
                match spelling::nearest(text, names(root)) {
                    Some(nearest) => problem.hint(format!("did you mean \"{nearest}\"?")),
                    None => problem.hint(
                        "it is the NAME of [upstreams.NAME]; without the key the route leads to the `upstream` at the top",
                    ),
                }
            })
        })?;
        Ok(place.unwrap_or_default())
    }
}

/// So many addresses may one upstream have: each request looks at all of them.
const MAX_ADDRESSES: usize = 64;

fn server_name(text: &str, origin: &Origin) -> Result<String, Problem> {
    match rustls::pki_types::ServerName::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Problem::new(
            origin,
            format!("`{text}` is no name that a certificate has"),
        )
        .hint("a host's name without port, such as \"wiki.internal\"")),
    }
}

/// The host that the addresses name, where it is one.
fn own_host(addresses: &[UpstreamAddress], origin: &Origin) -> Result<HostRule, Problem> {
    let hosts = addresses.iter().map(|address| match address {
        UpstreamAddress::Network(uri) => uri.authority().map(Authority::as_str),
        UpstreamAddress::Unix(_) => None,
    });
    let mut hosts: Vec<_> = hosts.collect();
    hosts.dedup();
    match hosts[..] {
        // Its own problem was told.
        [] => Ok(HostRule::Pass),
        [Some(host)] => authority(host).map(HostRule::Name).ok_or_else(|| {
            Problem::new(origin, format!("`{host}` is no host")).hint("write the name itself")
        }),
        _ => Err(Problem::new(origin, "`url` does not say one host")
            .hint("write the name that the app wants to hear, such as host = \"wiki.internal\"")),
    }
}

fn authority(text: &str) -> Option<HeaderValue> {
    let authority: Authority = text.parse().ok()?;
    let is_plain = !text.contains('@') && !authority.host().is_empty();
    is_plain.then(|| HeaderValue::from_str(text).ok()).flatten()
}
