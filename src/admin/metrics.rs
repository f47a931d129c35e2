//! `/metrics`: counters and states in Prometheus' text format (version 0.0.4).

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use arc_swap::ArcSwap;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, prometheus_text},
    metrics::{
        MetricType,
        counter::ConstCounter,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};

use crate::{answer::reply, observe, response::Body, snapshot::Snapshot};

/// All that a scraper is told.
pub(super) struct Exposition(Registry);

impl Exposition {
    pub(super) fn new(current: &Arc<ArcSwap<Snapshot>>) -> Self {
        let mut registry = Registry::default();
        let build = Gauge::<u64, AtomicU64>::default();
        build.set(1);
        registry
            .sub_registry_with_label(("version".into(), env!("CARGO_PKG_VERSION").into()))
            .register("sidegate_build_info", "The version of sidegate", build);
        current.load().metrics.register(&mut registry);
        registry.register_collector(Box::new(State(Arc::clone(current))));
        Self(registry)
    }

    pub(super) fn serve(&self) -> Response<Body> {
        let mut text = String::new();
        if prometheus_text::encode(&mut text, &self.0).is_err() {
            // Writing into a string does not fail.
            return reply::text(StatusCode::INTERNAL_SERVER_ERROR, "no metrics\n");
        }
        let mut response = reply::text(StatusCode::OK, text);
        let kind = HeaderValue::from_static(prometheus_text::CONTENT_TYPE);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

/// No labels.
const NONE: [(&str, &str); 0] = [];

/// What the gate knows when it is asked.
struct State(Arc<ArcSwap<Snapshot>>);

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("State")
    }
}

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.0.load();
        let mut page = Page(&mut encoder);
        page.counts(
            "sidegate_logins",
            "Logins that came back from a provider, by outcome.",
            snapshot.logins.tally().counts().iter().map(labelled),
        )?;
        page.counts(
            "sidegate_renewals",
            "Refreshes of a session at its provider, by outcome.",
            snapshot.sessions.refreshes().counts().iter().map(labelled),
        )?;
        let revocations = &snapshot.sessions.revocations;
        page.counts(
            "sidegate_revocations",
            "Revocations, from here or from another replica. One of a user also counts each listed session.",
            [(NONE, *revocations.changes().borrow())],
        )?;
        page.gauges(
            "sidegate_revocations_waiting",
            "Revocations that Redis has not stored yet, so that other replicas do not know them.",
            [(NONE, revocations.waiting())],
        )?;
        let count = snapshot.sessions.count();
        page.gauges(
            "sidegate_sessions",
            "Sessions in the store, if it can count them.",
            count.map(|count| (NONE, count)),
        )?;
        page.gauges(
            "sidegate_store_ready",
            "1 if sessions can be read and stored.",
            [(NONE, u64::from(snapshot.sessions.is_ready()))],
        )?;
        let providers = || snapshot.providers.iter();
        page.gauges(
            "sidegate_provider_ready",
            "1 if a login can begin at this provider.",
            providers().map(|provider| {
                let name = provider.profile().name.as_str();
                ([("provider", name)], u64::from(provider.is_ready()))
            }),
        )?;
        page.gauges(
            "sidegate_client_secret_valid_until_seconds",
            "Expiry of the client secret, if the provider says it, in seconds since 1970.",
            providers().filter_map(|provider| {
                let name = provider.profile().name.as_str();
                Some(([("provider", name)], provider.secret_valid_until()?.0))
            }),
        )?;
        page.upstreams(&snapshot)?;
        page.counts(
            "sidegate_log_lines_lost",
            "Log lines that were lost: not read in time, or not written.",
            [(NONE, observe::log::lost())],
        )?;
        let audit = &snapshot.audit;
        page.counts(
            "sidegate_audit_events",
            "Events of the audit trail, whether or not it is written.",
            audit
                .counts()
                .map(|(event, count)| ([("event", event.name())], count)),
        )?;
        page.counts(
            "sidegate_audit_events_lost",
            "Events that are missing in the trail: too many waited, or it could not be written.",
            [(NONE, audit.lost())],
        )?;
        page.gauges(
            "sidegate_audit_written",
            "1 if the audit trail is written, where one is configured.",
            audit.is_written().map(|is| (NONE, u64::from(is))),
        )
    }
}

fn labelled<'a>(
    (provider, outcome, count): &'a (String, &'static str, u64),
) -> ([(&'static str, &'a str); 2], u64) {
    (
        [("provider", provider.as_str()), ("outcome", outcome)],
        *count,
    )
}

/// Writes families whose values are known when they are asked for.
struct Page<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl Page<'_, '_> {
    fn upstreams(&mut self, snapshot: &Snapshot) -> fmt::Result {
        let upstreams = snapshot.upstreams.iter();
        self.gauges(
            "sidegate_upstream_in_service",
            "1 if an address of the app gets requests, 0 while it is taken out. Only of apps with several addresses, or with health.",
            upstreams.flat_map(|upstream| {
                upstream.standings().map(|(address, is_in)| {
                    let labels = [("upstream", upstream.name().to_owned()), ("address", address)];
                    (labels, u64::from(is_in))
                })
            }),
        )
    }

    fn counts<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let kind = MetricType::Counter;
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in values {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let kind = MetricType::Gauge;
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
