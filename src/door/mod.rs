//! Forward-auth: another proxy serves the app, and asks at one of two endpoints whether a request may pass.
//!
//! - `PREFIX/auth` answers 202, 401 or 403, for nginx and `HAProxy`.
//! - `PREFIX/forward` answers as the reverse proxy would, so that Traefik and Caddy can pass its refusals on to browsers.
//!
//! Both use the judgement of the reverse proxy, [`Snapshot::judge`](crate::snapshot::Snapshot::judge), for the original request.
//! This module reads that request ([`Subrequest`]), and the lists that narrow the answer ([`Narrowing`]). Pure.

mod narrowing;
mod proxy;
mod subrequest;

pub use self::{
    narrowing::Narrowing,
    proxy::Proxy,
    subrequest::{Came, Flaw, Question, Spelling, Subrequest},
};

/// Where a proxy asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// `PREFIX/auth`
    Auth,
    /// `PREFIX/forward`
    Forward,
}

impl Door {
    /// Its name below the prefix.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Forward => "forward",
        }
    }

    /// The spelling that is believed here, where `proxy` is the one that asks. None where that proxy does not ask here.
    pub fn spelling(self, proxy: Option<Proxy>) -> Option<Spelling> {
        match (self, proxy.map(Proxy::spelling)) {
            (Self::Auth, None) => Some(Spelling::Any),
            // Who asks here at all overwrites these: nothing else can be asked here.
            (Self::Forward, None) => Some(Spelling::Forwarded),
            (Self::Auth, Some(spelling)) => Some(spelling),
            // Its clients could ask here in its name, and it would pass on what they say.
            (Self::Forward, Some(spelling)) => {
                matches!(spelling, Spelling::Forwarded | Spelling::Below).then_some(spelling)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_believes_what_the_proxy_at_hand_overwrites() {
        let spelling = |door: Door, name: Option<&str>| {
            door.spelling(name.map(|name| Proxy::named(name).unwrap()))
        };
        for (name, auth, forward) in [
            (None, Some(Spelling::Any), Some(Spelling::Forwarded)),
            (Some("nginx"), Some(Spelling::OriginalUri), None),
            (Some("haproxy"), Some(Spelling::OriginalUri), None),
            (Some("ingress-nginx"), Some(Spelling::OriginalUrl), None),
            (
                Some("traefik"),
                Some(Spelling::Forwarded),
                Some(Spelling::Forwarded),
            ),
            (
                Some("caddy"),
                Some(Spelling::Forwarded),
                Some(Spelling::Forwarded),
            ),
            (Some("envoy"), Some(Spelling::Below), Some(Spelling::Below)),
        ] {
            assert_eq!(spelling(Door::Auth, name), auth, "{name:?}");
            assert_eq!(spelling(Door::Forward, name), forward, "{name:?}");
        }
    }
}
