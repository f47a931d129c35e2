//! Every bound that an operator can set. A leaf: the code that enforces a bound reads it here. `docs/limits.md` explains each one.

use std::time::Duration;

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections in all. None: derived at start from the limits on open files and on memory.
    pub connections: Option<u32>,
    /// Client connections of one address. None: half of [`Limits::connections`].
    pub connections_per_client: Option<u32>,
    /// Requests of one address that are at the upstream at once. None: 256, fewer where there are few open files.
    pub requests_per_client: Option<u32>,
    /// For a TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request's head to its last.
    pub header_timeout: Duration,
    /// From one request of a connection to the next.
    pub keep_alive_timeout: Duration,
    /// For the next piece of a request's body.
    pub request_body_timeout: Duration,
    /// The least rate of a request's body, in bytes a second, measured over [`Limits::request_body_timeout`].
    pub request_body_rate: u32,
    /// For the next piece of an upstream's answer.
    pub response_body_timeout: Duration,
    /// For a client to take the next piece of its answer.
    pub write_timeout: Duration,
    /// For the other side of a tunnel to close, once one side has.
    pub tunnel_close_timeout: Duration,
    /// HTTP/2: requests at once on one connection.
    pub http2_streams: u32,
    /// HTTP/2: bytes of answers that one connection holds while its client does not read.
    pub http2_buffer: u32,
    /// HTTP/2: streams that a client may reset on one connection within a minute.
    pub http2_resets: u32,
    /// HTTP/2: how long a connection may be idle.
    pub http2_idle_timeout: Duration,
    /// HTTP/2: after how long a connection is asked to end, so that clients spread anew.
    pub http2_max_age: Duration,
    /// The largest answer of a provider, in bytes.
    pub provider_response: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            connections_per_client: None,
            requests_per_client: None,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(75),
            request_body_timeout: Duration::from_secs(30),
            request_body_rate: 256,
            response_body_timeout: Duration::from_mins(5),
            write_timeout: Duration::from_mins(1),
            tunnel_close_timeout: Duration::from_secs(10),
            http2_streams: 128,
            http2_buffer: 2 * 1024 * 1024,
            http2_resets: 500,
            http2_idle_timeout: Duration::from_mins(5),
            http2_max_age: Duration::from_hours(1),
            provider_response: 2 * 1024 * 1024,
        }
    }
}
