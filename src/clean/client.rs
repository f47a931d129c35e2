//! Who is really calling, through trusted proxies only. Pure.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

/// What can be said of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The first address from the right of `X-Forwarded-For` that is no trusted proxy; the peer's own
    /// where the peer is none. None for a Unix socket's peer that forwards nothing.
    pub address: Option<IpAddr>,
    /// Whether the peer's forwarding headers are believed.
    pub peer_is_trusted: bool,
    /// `https` or `http` as the browser sees it: from `X-Forwarded-Proto` of a trusted peer, else the
    /// listener's.
    pub is_https: bool,
}

/// Resolves the client. `peer` is the socket's address; a Unix socket's peer (None) is trusted only when
/// any trusted proxy is configured... its file permissions decide who may connect.
pub fn resolve(peer: Option<IpAddr>, tls: bool, headers: &HeaderMap, trusted: &[IpNet]) -> Client {
    let _ = (peer, tls, headers, trusted);
    todo!()
}
