//! `[limits]`.

use std::time::Duration;

use super::{
    super::{
        raw::{Node, Value},
        report::Problem,
    },
    Checker,
};
use crate::limits::Limits;

impl Checker<'_> {
    /// Every key has a default, so the table may be absent.
    pub(super) fn limits(&mut self, root: &Node) -> Option<Limits> {
        let mut limits = Limits::default();
        let Some(table) = root.get("limits") else {
            return Some(limits);
        };
        if !matches!(table.value, Value::Table(_)) {
            // The check of the keys has said so.
            return None;
        }
        let before = self.problems.count();
        self.optional_count(table, "connections", &mut limits.connections);
        self.optional_count(
            table,
            "connections_per_client",
            &mut limits.connections_per_client,
        );
        for (key, value) in [
            ("requests_per_client", &mut limits.requests_per_client),
            ("request_body_rate", &mut limits.request_body_rate),
            ("http2_streams", &mut limits.http2_streams),
            ("http2_buffer", &mut limits.http2_buffer),
            ("http2_resets", &mut limits.http2_resets),
            ("provider_response", &mut limits.provider_response),
        ] {
            if let Some(count) = self.count(table, key) {
                *value = count;
            }
        }
        for (key, value) in [
            ("handshake_timeout", &mut limits.handshake_timeout),
            ("header_timeout", &mut limits.header_timeout),
            ("keep_alive_timeout", &mut limits.keep_alive_timeout),
            ("request_body_timeout", &mut limits.request_body_timeout),
            ("response_body_timeout", &mut limits.response_body_timeout),
            ("write_timeout", &mut limits.write_timeout),
            ("tunnel_close_timeout", &mut limits.tunnel_close_timeout),
            ("http2_idle_timeout", &mut limits.http2_idle_timeout),
            ("http2_max_age", &mut limits.http2_max_age),
        ] {
            self.limit_duration(table, key, value);
        }
        (self.problems.count() == before).then_some(limits)
    }

    fn limit_duration(&mut self, table: &Node, key: &str, value: &mut Duration) {
        if let Some(node) = table.get(key)
            && let Some(duration) = self.fine_duration(node, key)
        {
            *value = duration;
        }
    }

    fn optional_count(&mut self, table: &Node, key: &str, value: &mut Option<u32>) {
        if let Some(count) = self.count(table, key) {
            *value = Some(count);
        }
    }

    /// A number above zero, where the key is there.
    fn count(&mut self, table: &Node, key: &str) -> Option<u32> {
        let node = table.get(key)?;
        let number = self.integer(node, key)?;
        let count = u32::try_from(number).ok().filter(|count| *count > 0);
        if count.is_none() {
            self.problem(
                Problem::new(&node.origin, format!("`{key}` cannot be {number}"))
                    .hint("a whole number above zero, at most 4294967295"),
            );
        }
        count
    }
}
