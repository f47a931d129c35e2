//! An address of Redis or Valkey: one server, a cluster, or servers behind sentinels. Pure.
//!
//! `redis://user:password@host:6379/0`, `redis-cluster://h1:7000,h2:7001`, `redis-sentinel://s1,s2:26379/MASTER/0`; with `rediss` for TLS,
//! and `valkey` likewise. Error messages never repeat any part of an address: if a password is not escaped, what looks like a host may be
//! a part of it.

use percent_encoding::percent_decode_str;

use crate::{secret::Secret, spelling};

/// Where Redis is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisAddress {
    /// How its servers stand to each other.
    pub topology: Topology,
    /// Whether TLS is spoken to every one of them.
    pub tls: bool,
    /// (host, port) of the server, of some of a cluster's, or of the sentinels. Never empty.
    pub nodes: Vec<(String, u16)>,
    /// The user (Redis 6 ACL); none for the default one.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The database's number; 0 in a cluster.
    pub database: u16,
}

/// `HOST:PORT` of each, parted by commas.
pub fn names(nodes: &[(String, u16)]) -> String {
    let names = nodes.iter().map(|(host, port)| {
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    });
    names.collect::<Vec<_>>().join(", ")
}

/// How several servers stand to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// There is one, or one name that leads to the right one.
    Single,
    /// Each has a share of the keys.
    Cluster,
    /// Sentinels know which of several is the master of this name.
    Sentinel(String),
}

/// Why an address is none: what is wrong, and a hint.
pub(crate) type Fault = (&'static str, &'static str);

/// Reads an address; none where the text does not begin as one.
pub(crate) fn parse(text: &str) -> Option<Result<RedisAddress, Fault>> {
    let (scheme, rest) = text.trim().split_once("://")?;
    if !SCHEMES.contains(&scheme) {
        return None;
    }
    let (brand, kind) = scheme.split_once('-').unwrap_or((scheme, ""));
    let tls = matches!(brand, "rediss" | "valkeys");
    Some(parse_rest(kind, tls, rest))
}

/// Every scheme of an address.
const SCHEMES: [&str; 12] = [
    "redis",
    "rediss",
    "valkey",
    "valkeys",
    "redis-cluster",
    "rediss-cluster",
    "valkey-cluster",
    "valkeys-cluster",
    "redis-sentinel",
    "rediss-sentinel",
    "valkey-sentinel",
    "valkeys-sentinel",
];

/// The scheme that was likely meant by what stands before the first colon, where [`parse`] knows none.
pub(crate) fn nearest_scheme(text: &str) -> Option<&'static str> {
    let (scheme, _) = text.trim().split_once(':')?;
    spelling::nearest(scheme, SCHEMES)
}

fn parse_rest(kind: &str, tls: bool, rest: &str) -> Result<RedisAddress, Fault> {
    if rest.contains(['?', '#']) {
        return Err((
            "the address of Redis has parameters",
            "there are none; in a password write ? as %3F and # as %23",
        ));
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (Some(user), hosts),
        None => (None, authority),
    };
    // Read as one password it would be a wrong one, and the log would not say why.
    if user
        .and_then(|user| user.split_once('@'))
        .is_some_and(|(_, rest)| rest.contains(','))
    {
        return Err((
            "the address of Redis names a user at more than one host",
            "write it once, before the first host; in a password write , as %2C and @ as %40",
        ));
    }
    if path.contains('@') {
        return Err((
            "the address of Redis has an @ after a slash",
            "in a password write / as %2F and @ as %40",
        ));
    }
    let default_port = if kind == "sentinel" { 26_379 } else { 6_379 };
    let nodes = hosts.split(',').map(|node| parse_node(node, default_port));
    let nodes: Vec<_> = nodes.collect::<Result<_, _>>()?;
    if nodes.len() > MOST_NODES {
        return Err((
            "the address of Redis names too many hosts",
            "32 at most; some of them are enough, the others are found through them",
        ));
    }
    if kind.is_empty() && nodes.len() > 1 {
        return Err((
            "the address of Redis names several hosts",
            "for a cluster write redis-cluster://H1,H2; with sentinels redis-sentinel://S1,S2/MASTER",
        ));
    }
    let (topology, database) = parse_path(kind, path)?;
    let (username, password) = user.map_or(Ok((None, None)), parse_user)?;
    Ok(RedisAddress {
        topology,
        tls,
        nodes,
        username,
        password,
        database,
    })
}

fn parse_path(kind: &str, path: &str) -> Result<(Topology, u16), Fault> {
    let database = |text: &str| match text {
        "" => Ok(0),
        text => text.parse().map_err(|_| {
            (
                "the address of Redis ends in no database's number",
                "write redis://HOST:PORT/0, or nothing after the port",
            )
        }),
    };
    match kind {
        "" => Ok((Topology::Single, database(path)?)),
        "cluster" if database(path)? == 0 => Ok((Topology::Cluster, 0)),
        "cluster" => Err((
            "the address of Redis names a database",
            "a cluster has only the database 0",
        )),
        _ => {
            let (master, number) = path.split_once('/').unwrap_or((path, ""));
            let master = decode(master).filter(|master| !master.is_empty()).ok_or((
                "the address of Redis does not say which master the sentinels are asked for",
                "write redis-sentinel://S1,S2/MASTER or redis-sentinel://S1,S2/MASTER/0",
            ))?;
            Ok((Topology::Sentinel(master), database(number)?))
        }
    }
}

fn parse_node(text: &str, default_port: u16) -> Result<(String, u16), Fault> {
    let no_host = (
        "the address of Redis names no host",
        "write redis://HOST:PORT; an IPv6 address stands in brackets",
    );
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(no_host)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| no_host)?;
            let port = match port {
                "" => None,
                port => Some(port.strip_prefix(':').ok_or(no_host)?),
            };
            (host, port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_host) {
        return Err(no_host);
    }
    let port = port.map_or(Ok(default_port), str::parse);
    match port {
        Ok(port) if port > 0 => Ok((host.to_owned(), port)),
        _ => Err((
            "the address of Redis names a port that cannot be",
            "a port is a number from 1 to 65535; an IPv6 address stands in brackets",
        )),
    }
}

fn parse_user(user: &str) -> Result<(Option<String>, Option<Secret>), Fault> {
    let (name, password) = match user.split_once(':') {
        Some((name, password)) => (name, Some(password)),
        None => (user, None),
    };
    let fault = (
        "the user or password in the address of Redis cannot be read",
        "after a % come two hexadecimal digits; write a % itself as %25",
    );
    let name = decode(name).ok_or(fault)?;
    let password = password
        .map(|password| decode(password).ok_or(fault))
        .transpose()?;
    match password.filter(|password| !password.is_empty()) {
        Some(password) => {
            let username = (!name.is_empty()).then_some(name);
            Ok((username, Some(Secret::new(password))))
        }
        None => Err((
            "the address of Redis has a user without a password",
            "write redis://USER:PASSWORD@HOST, or redis://:PASSWORD@HOST for the default user",
        )),
    }
}

fn decode(text: &str) -> Option<String> {
    let escapes = text.bytes().enumerate().filter(|(_, byte)| *byte == b'%');
    let is_whole = |(at, _)| {
        let digits = text.as_bytes().get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !escapes.into_iter().all(is_whole) {
        return None;
    }
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// Each is tried in turn while none answers.
const MOST_NODES: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> RedisAddress {
        parse(text).unwrap().unwrap()
    }

    fn fault(text: &str) -> &'static str {
        parse(text).unwrap().unwrap_err().0
    }

    #[test]
    fn reads_each_spelling() {
        let plain = address("redis://cache");
        assert_eq!(plain.nodes, [("cache".to_owned(), 6379)]);
        assert_eq!((plain.topology, plain.tls), (Topology::Single, false));
        assert!(plain.username.is_none() && plain.password.is_none());

        let full = address("rediss://ann:p%40ss%2F@[::1]:7000/3");
        assert_eq!(full.nodes, [("::1".to_owned(), 7000)]);
        assert_eq!(
            (full.topology, full.tls, full.database),
            (Topology::Single, true, 3)
        );
        assert_eq!(full.username.as_deref(), Some("ann"));
        assert_eq!(full.password.unwrap().expose(), "p@ss/");

        let cluster = address("valkey-cluster://:pw@h1:7000,h2/");
        assert_eq!(
            cluster.nodes,
            [("h1".to_owned(), 7000), ("h2".to_owned(), 6379)]
        );
        assert_eq!(cluster.topology, Topology::Cluster);
        assert!(cluster.username.is_none());

        let sentinel = address("rediss-sentinel://s1,s2:1/main/2");
        assert_eq!(
            sentinel.nodes,
            [("s1".to_owned(), 26379), ("s2".to_owned(), 1)]
        );
        assert_eq!(sentinel.topology, Topology::Sentinel("main".to_owned()));
        assert_eq!((sentinel.tls, sentinel.database), (true, 2));
    }

    #[test]
    fn says_what_is_wrong_and_repeats_nothing() {
        for text in [
            "cookie",
            "http://a",
            "redis",
            "redis-ring://a",
            "redisss://a",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
        for (text, expected) in [
            ("redis://", "no host"),
            ("redis://:1", "no host"),
            ("redis://[::1", "no host"),
            ("redis://a:b", "a port"),
            ("redis://a:0", "a port"),
            ("redis://a:65536", "a port"),
            ("redis://[::1]:", "a port"),
            ("redis://a,b", "several hosts"),
            ("redis://a/x", "database's number"),
            ("redis://a?tls=1", "parameters"),
            ("redis://:pa#s@a", "parameters"),
            ("redis://:pa/s@a", "@ after a slash"),
            ("redis-cluster://:pa@a,:pa@b", "more than one host"),
            ("redis://ann@a", "without a password"),
            ("redis://:100%@a", "cannot be read"),
            ("redis-cluster://a/1", "names a database"),
            ("redis-sentinel://a", "which master"),
            ("redis-sentinel://a/main/x", "database's number"),
        ] {
            assert!(fault(text).contains(expected), "{text}: {}", fault(text));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(rest in ".{0,60}") {
            for scheme in ["redis", "rediss-cluster", "valkey-sentinel"] {
                let _ = parse(&format!("{scheme}://{rest}"));
            }
        }

        #[test]
        fn any_password_can_be_written(password in ".{1,20}") {
            let escaped = percent_encoding::utf8_percent_encode(&password, percent_encoding::NON_ALPHANUMERIC);
            let address = address(&format!("redis://:{escaped}@cache"));
            let read = address.password.unwrap();
            prop_assert_eq!(read.expose(), password);
        }
    }
}
