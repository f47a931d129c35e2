//! Limits that were reached.

use prometheus_client::registry::Registry;

use super::label::ByLabel;

/// Declares the limits: each has a variant and the name of its key in `[limits]`.
macro_rules! limits {
    ($($variant:ident = $name:literal,)*) => {
        /// A bound of `[limits]`, by the name of its key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Limit {
            $(#[doc = concat!("`limits.", $name, "`")] $variant,)*
        }

        impl Limit {
            /// The keys, in the order of the variants.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];
            const COUNT: usize = Self::NAMES.len();
        }

        const NAMES: [&str; Limit::COUNT] = [$($name,)*];
    };
}

limits! {
    Connections = "connections",
    ConnectionsPerClient = "connections_per_client",
    RequestsPerClient = "requests_per_client",
    HandshakeTimeout = "handshake_timeout",
    HeaderTimeout = "header_timeout",
    KeepAliveTimeout = "keep_alive_timeout",
    RequestBodyTimeout = "request_body_timeout",
    RequestBodyRate = "request_body_rate",
    ResponseBodyTimeout = "response_body_timeout",
    WriteTimeout = "write_timeout",
    TunnelCloseTimeout = "tunnel_close_timeout",
    Http2Streams = "http2_streams",
    Http2Buffer = "http2_buffer",
    Http2Resets = "http2_resets",
    Http2IdleTimeout = "http2_idle_timeout",
    Http2MaxAge = "http2_max_age",
    ProviderResponse = "provider_response",
}

impl Limit {
    /// The name of its key in `[limits]`.
    pub const fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

/// Counts limits that were hit. A call is one atomic addition.
#[derive(Clone, Debug)]
pub struct LimitHits(ByLabel<{ Limit::COUNT }>);

impl Default for LimitHits {
    fn default() -> Self {
        Self(ByLabel::new("limit", NAMES))
    }
}

impl LimitHits {
    /// Counts that somebody ran into `limit`.
    pub fn hit(&self, limit: Limit) {
        self.0.inc(limit as usize);
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "sidegate_limit_hits",
            "Times that a limit was reached, by its key in [limits]",
            self.0.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    /// Every key is read as a field of its name.
    #[test]
    fn every_key_has_a_variant() {
        let limits = format!("{:?}", Limits::default());
        let fields = limits
            .split(['{', ',', '}'])
            .filter_map(|part| Some(part.split_once(':')?.0.trim().to_owned()));
        assert_eq!(fields.collect::<Vec<_>>(), Limit::NAMES);
        assert_eq!(Limit::WriteTimeout.name(), "write_timeout");
    }
}
