//! `[limits]`.

use super::{Reader, Table};
use crate::limits::Limits;

const COUNT: &str = "a whole number above zero, at most 4294967295";

impl Reader<'_> {
    pub(super) fn limits(&mut self, root: &Table<'_>) -> Option<Limits> {
        let t = &root.table("limits");
        let otherwise = Limits::default();
        let all = 1..=i64::from(u32::MAX);
        let connections = self.optional_number(t, "connections", all.clone(), COUNT);
        let connections_per_client =
            self.optional_number(t, "connections_per_client", all.clone(), COUNT);
        let requests_per_client = self.optional_number(t, "requests_per_client", all, COUNT);
        let handshake_timeout =
            self.fine_duration(t, "handshake_timeout", otherwise.handshake_timeout);
        let header_timeout = self.fine_duration(t, "header_timeout", otherwise.header_timeout);
        let keep_alive_timeout =
            self.fine_duration(t, "keep_alive_timeout", otherwise.keep_alive_timeout);
        let request_body_timeout =
            self.fine_duration(t, "request_body_timeout", otherwise.request_body_timeout);
        let request_body_rate = self.count(t, "request_body_rate", otherwise.request_body_rate);
        let response_body_timeout =
            self.fine_duration(t, "response_body_timeout", otherwise.response_body_timeout);
        let write_timeout = self.fine_duration(t, "write_timeout", otherwise.write_timeout);
        let tunnel_close_timeout =
            self.fine_duration(t, "tunnel_close_timeout", otherwise.tunnel_close_timeout);
        let http2_streams = self.count(t, "http2_streams", otherwise.http2_streams);
        let http2_buffer = self.count(t, "http2_buffer", otherwise.http2_buffer);
        let http2_resets = self.count(t, "http2_resets", otherwise.http2_resets);
        let http2_idle_timeout =
            self.fine_duration(t, "http2_idle_timeout", otherwise.http2_idle_timeout);
        let http2_max_age = self.fine_duration(t, "http2_max_age", otherwise.http2_max_age);
        let provider_response = self.count(t, "provider_response", otherwise.provider_response);
        Some(Limits {
            connections: connections.ok()?,
            connections_per_client: connections_per_client.ok()?,
            requests_per_client: requests_per_client.ok()?,
            handshake_timeout: handshake_timeout?,
            header_timeout: header_timeout?,
            keep_alive_timeout: keep_alive_timeout?,
            request_body_timeout: request_body_timeout?,
            request_body_rate: request_body_rate?,
            response_body_timeout: response_body_timeout?,
            write_timeout: write_timeout?,
            tunnel_close_timeout: tunnel_close_timeout?,
            http2_streams: http2_streams?,
            http2_buffer: http2_buffer?,
            http2_resets: http2_resets?,
            http2_idle_timeout: http2_idle_timeout?,
            http2_max_age: http2_max_age?,
            provider_response: provider_response?,
        })
    }

    fn count(&mut self, table: &Table<'_>, key: &'static str, default: u32) -> Option<u32> {
        self.number(table, key, 1..=u32::MAX.into(), default, COUNT)
    }
}
