//! `/metrics`: what is counted and what is the case, in Prometheus' text format (version 0.0.4).

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
            .register("sidegate_build_info", "Which sidegate this is", build);
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
            "Logins that came back from a provider, by how they ended.",
            snapshot.logins.tally().counts().iter().map(labelled),
        )?;
        page.counts(
            "sidegate_renewals",
            "Renewals of a session at its provider, by how they ended.",
            snapshot.sessions.renewals().counts().iter().map(labelled),
        )?;
        let revocations = &snapshot.sessions.revocations;
        page.counts(
            "sidegate_revocations",
            "Revocations learnt, here or from another replica; one of a user is one more for each session that is listed.",
            [(NONE, *revocations.changes().borrow())],
        )?;
        page.gauges(
            "sidegate_revocations_waiting",
            "Revocations that other replicas do not know of, for Redis has not taken them yet.",
            [(NONE, revocations.waiting())],
        )?;
        let count = snapshot.sessions.count();
        page.gauges(
            "sidegate_sessions",
            "Sessions in the store, where it can say.",
            count.map(|count| (NONE, count)),
        )?;
        page.gauges(
            "sidegate_store_ready",
            "Whether sessions can be found and kept.",
            [(NONE, u64::from(snapshot.sessions.is_ready()))],
        )?;
        let providers = || snapshot.providers.iter();
        page.gauges(
            "sidegate_provider_ready",
            "Whether a login can begin at this provider.",
            providers().map(|provider| {
                let name = provider.profile().name.as_str();
                ([("provider", name)], u64::from(provider.is_ready()))
            }),
        )?;
        page.gauges(
            "sidegate_client_secret_valid_until_seconds",
            "When the client secret ends, where the provider has said so, in seconds since 1970.",
            providers().filter_map(|provider| {
                let name = provider.profile().name.as_str();
                Some(([("provider", name)], provider.secret_valid_until()?.0))
            }),
        )?;
        page.counts(
            "sidegate_log_lines_lost",
            "Lines of the log that were not read in time, or could not be written.",
            [(NONE, observe::log::lost())],
        )?;
        let audit = &snapshot.audit;
        page.counts(
            "sidegate_audit_events",
            "What the audit trail tells of, whether or not one is written.",
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
            "Whether the audit trail is written, where one is asked for.",
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
