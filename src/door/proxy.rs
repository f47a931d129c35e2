//! `forward_auth`: the proxy that asks.

use super::Spelling;

/// A proxy that asks a door, by the way in which it tells of the request that it holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// nginx's `auth_request`, with the lines of `deploy/nginx/auth_request.conf`.
    Nginx,
    /// Kubernetes' ingress-nginx, with `auth-url`.
    IngressNginx,
    /// `HAProxy`, with the headers that `docs/doors/haproxy.md` names.
    Haproxy,
    /// Traefik's `ForwardAuth`.
    Traefik,
    /// Caddy's `forward_auth`.
    Caddy,
    /// Envoy's `ext_authz` over HTTP, with `path_prefix`.
    Envoy,
}

impl Proxy {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Nginx,
        Self::IngressNginx,
        Self::Haproxy,
        Self::Traefik,
        Self::Caddy,
        Self::Envoy,
    ];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::IngressNginx => "ingress-nginx",
            Self::Haproxy => "haproxy",
            Self::Traefik => "traefik",
            Self::Caddy => "caddy",
            Self::Envoy => "envoy",
        }
    }

    /// The proxy of that name in the configuration.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|proxy| proxy.name() == name)
    }

    /// Whether it tells which host it serves. ingress-nginx tells what the client wrote into `Host` (`$http_host`), and
    /// serves what the request line names where that is a whole address (RFC 9112 §3.2.2): who writes two hosts would be
    /// judged by one and served by the other.
    pub fn tells_the_host(self) -> bool {
        self != Self::IngressNginx
    }

    pub(super) fn spelling(self) -> Spelling {
        match self {
            Self::Nginx | Self::Haproxy => Spelling::OriginalUri,
            Self::IngressNginx => Spelling::OriginalUrl,
            Self::Traefik | Self::Caddy => Spelling::Forwarded,
            Self::Envoy => Spelling::Below,
        }
    }
}
