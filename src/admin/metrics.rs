//! `/metrics`: what is counted and what is the case, in Prometheus' text format (version 0.0.4).
//!
//! Written by hand: a dozen lines of text without a registry, whose maps and locks each request would pass.

use std::fmt::{self, Display, Write as _};

use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};

use crate::{answer::reply, body::Body, gate::Gate, observe::metrics::REQUESTS};

pub(super) fn serve(gate: &Gate) -> Response<Body> {
    let mut response = reply::text(StatusCode::OK, text(gate));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn text(gate: &Gate) -> String {
    let mut page = Page::default();
    page.family("sidegate_build_info", "gauge", "Which sidegate this is.");
    page.line(&[("version", env!("CARGO_PKG_VERSION"))], 1);

    page.family(
        "sidegate_requests_total",
        "counter",
        "Requests, by what was decided and by the class of the answer's status.",
    );
    for (verdict, class, count) in REQUESTS.counts() {
        page.line(&[("verdict", verdict), ("status", class)], count);
    }
    page.family(
        "sidegate_logins_total",
        "counter",
        "Logins that came back from a provider, by how they ended.",
    );
    for (provider, outcome, count) in gate.logins.tally().counts() {
        page.line(&[("provider", provider), ("outcome", outcome)], count);
    }
    page.family(
        "sidegate_renewals_total",
        "counter",
        "Renewals of a session at its provider, by how they ended.",
    );
    for (provider, outcome, count) in gate.sessions.renewals().counts() {
        page.line(&[("provider", provider), ("outcome", outcome)], count);
    }
    page.family(
        "sidegate_revocations_total",
        "counter",
        "Revocations learnt, here or from another replica; one of a user is one more for each session that is listed.",
    );
    page.line(&[], *gate.sessions.revocations.changes().borrow());

    page.family(
        "sidegate_revocations_waiting",
        "gauge",
        "Revocations that other replicas do not know of, for Redis has not taken them yet.",
    );
    page.line(&[], gate.sessions.revocations.waiting());

    if let Some(count) = gate.sessions.count() {
        page.family("sidegate_sessions", "gauge", "Sessions in the store.");
        page.line(&[], count);
    }
    page.family(
        "sidegate_store_ready",
        "gauge",
        "Whether sessions can be found and kept.",
    );
    page.line(&[], u8::from(gate.sessions.is_ready()));
    providers(&mut page, gate);
    page.0
}

fn providers(page: &mut Page, gate: &Gate) {
    page.family(
        "sidegate_provider_ready",
        "gauge",
        "Whether a login can begin at this provider.",
    );
    for provider in gate.providers.iter() {
        let name = [("provider", provider.profile().name.as_str())];
        page.line(&name, u8::from(provider.is_ready()));
    }
    page.family(
        "sidegate_client_secret_valid_until_seconds",
        "gauge",
        "When the client secret ends, where the provider has said so, in seconds since 1970.",
    );
    for provider in gate.providers.iter() {
        if let Some(end) = provider.secret_valid_until() {
            let name = [("provider", provider.profile().name.as_str())];
            page.line(&name, end.0);
        }
    }
}

/// The text so far, and the family that lines belong to.
#[derive(Default)]
struct Page(String, &'static str);

impl Page {
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.1 = name;
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn line(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(self.1);
        for (place, (name, label)) in labels.iter().enumerate() {
            let joint = if place == 0 { '{' } else { ',' };
            self.write(format_args!("{joint}{name}=\"{}\"", escaped(label)));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.write(format_args!("{close} {value}\n"));
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        // Writing into a string does not fail.
        let _ = self.0.write_fmt(text);
    }
}

fn escaped(label: &str) -> String {
    label
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_as_prometheus_reads_them() {
        let mut page = Page::default();
        page.family("x_total", "counter", "What x is.");
        page.line(&[], 1);
        page.line(&[("a", "b"), ("c", "q\"\\\n")], 2);
        assert_eq!(
            page.0,
            "# HELP x_total What x is.\n# TYPE x_total counter\nx_total 1\nx_total{a=\"b\",c=\"q\\\"\\\\\\n\"} 2\n"
        );
    }
}
