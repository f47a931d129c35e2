//! Requests by verdict and class of status: how many, how long, how many bytes.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter},
};

use super::duration::{Durations, Sum};
use crate::observe::Verdict;

/// By the status' first digit.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The requests of one worker.
#[derive(Debug)]
pub struct Requests {
    cells: Box<[[Durations; CLASSES.len()]]>,
    upstream: Durations,
    received: AtomicU64,
    sent: AtomicU64,
}

impl Default for Requests {
    fn default() -> Self {
        let rows = Verdict::ALL.iter();
        Self {
            cells: rows
                .map(|_| std::array::from_fn(|_| Durations::default()))
                .collect(),
            upstream: Durations::default(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }
}

/// What is counted of a request that is over.
#[derive(Clone, Copy, Debug)]
pub(in crate::observe) struct Counted {
    pub(in crate::observe) verdict: Verdict,
    /// None where its client went away before.
    pub(in crate::observe) status: Option<StatusCode>,
    /// From its head to its answer's last byte.
    pub(in crate::observe) total: Duration,
    /// From when the app was asked until its answer began.
    pub(in crate::observe) upstream: Option<Duration>,
    pub(in crate::observe) received: u64,
    pub(in crate::observe) sent: u64,
}

impl Requests {
    /// Counts a request.
    pub(in crate::observe) fn count(&self, request: Counted) {
        let class = match request.status.map(|status| status.as_u16() / 100) {
            Some(class @ 1..=5) => usize::from(class),
            _ => 0,
        };
        self.cells[request.verdict.index()][class].observe(request.total);
        if let Some(upstream) = request.upstream {
            self.upstream.observe(upstream);
        }
        for (counter, bytes) in [
            (&self.received, request.received),
            (&self.sent, request.sent),
        ] {
            if bytes > 0 {
                counter.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }
}

/// The requests of all workers, as a scraper sees them.
#[derive(Debug)]
pub(super) struct Exported(Arc<Mutex<Vec<Arc<Requests>>>>);

impl Exported {
    pub(super) fn new(workers: Arc<Mutex<Vec<Arc<Requests>>>>) -> Self {
        Self(workers)
    }
}

impl Collector for Exported {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut met = Vec::new();
        for verdict in Verdict::ALL {
            for (class, name) in CLASSES.iter().enumerate() {
                let cells = workers
                    .iter()
                    .map(|worker| &worker.cells[verdict.index()][class]);
                let sum = Durations::sum(cells);
                if sum.count > 0 {
                    met.push(([("verdict", verdict.name()), ("status", *name)], sum));
                }
            }
        }
        let mut family = encoder.encode_descriptor(
            "sidegate_requests",
            "Requests that have ended, by verdict and class of status.",
            None,
            MetricType::Counter,
        )?;
        for (labels, sum) in &met {
            ConstCounter::new(sum.count).encode(family.encode_family(labels)?)?;
        }
        let mut family = encoder.encode_descriptor(
            "sidegate_request_duration_seconds",
            "Time from the head of a request to the last byte of its answer, by verdict and class of status.",
            None,
            MetricType::Histogram,
        )?;
        for (labels, sum) in &met {
            histogram(&mut family.encode_family(labels)?, sum)?;
        }
        let mut family = encoder.encode_descriptor(
            "sidegate_upstream_response_seconds",
            "Time until the app began its answer, connecting included.",
            None,
            MetricType::Histogram,
        )?;
        let upstream = Durations::sum(workers.iter().map(|worker| &worker.upstream));
        histogram(&mut family, &upstream)?;
        let all = |bytes: fn(&Requests) -> &AtomicU64| {
            let each = workers.iter();
            each.map(|worker| bytes(worker).load(Ordering::Relaxed))
                .sum::<u64>()
        };
        for (name, help, bytes) in [
            (
                "sidegate_request_bytes",
                "Bytes of request bodies, counted when the request has ended.",
                all(|worker| &worker.received),
            ),
            (
                "sidegate_response_bytes",
                "Bytes of response bodies, counted when the request has ended.",
                all(|worker| &worker.sent),
            ),
        ] {
            let family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(bytes).encode(family)?;
        }
        Ok(())
    }
}

fn histogram(encoder: &mut MetricEncoder<'_>, sum: &Sum) -> fmt::Result {
    encoder.encode_histogram::<NoLabelSet>(sum.seconds, sum.count, &sum.buckets, None)
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::prometheus_text, registry::Registry};

    use super::*;

    #[test]
    fn workers_are_added_up_by_verdict_and_class() {
        let workers: Vec<_> = (0..2).map(|_| Arc::<Requests>::default()).collect();
        let count = |worker: usize, verdict, status, millis| {
            workers[worker].count(Counted {
                verdict,
                status,
                total: Duration::from_millis(millis),
                upstream: (millis > 100).then_some(Duration::from_millis(100)),
                received: 3,
                sent: 10,
            });
        };
        count(0, Verdict::Pass, Some(StatusCode::OK), 2);
        count(1, Verdict::Pass, Some(StatusCode::NO_CONTENT), 200);
        count(1, Verdict::Pass, Some(StatusCode::BAD_GATEWAY), 1);
        count(0, Verdict::ClientGone, None, 1);
        count(0, Verdict::Public, StatusCode::from_u16(999).ok(), 1);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Exported::new(Arc::new(Mutex::new(workers)))));
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry).unwrap();
        for line in [
            "# TYPE sidegate_requests_total counter",
            "sidegate_requests_total{verdict=\"pass\",status=\"2xx\"} 2",
            "sidegate_requests_total{verdict=\"pass\",status=\"5xx\"} 1",
            "sidegate_requests_total{verdict=\"client_gone\",status=\"none\"} 1",
            "sidegate_requests_total{verdict=\"public\",status=\"none\"} 1",
            "# TYPE sidegate_request_duration_seconds histogram",
            "sidegate_request_duration_seconds_bucket{verdict=\"pass\",status=\"2xx\",le=\"0.001\"} 0",
            "sidegate_request_duration_seconds_bucket{verdict=\"pass\",status=\"2xx\",le=\"0.005\"} 1",
            "sidegate_request_duration_seconds_bucket{verdict=\"pass\",status=\"2xx\",le=\"+Inf\"} 2",
            "sidegate_request_duration_seconds_sum{verdict=\"pass\",status=\"2xx\"} 0.202",
            "sidegate_request_duration_seconds_count{verdict=\"pass\",status=\"2xx\"} 2",
            "sidegate_upstream_response_seconds_count 1",
            "sidegate_request_bytes_total 15",
            "sidegate_response_bytes_total 50",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
        assert!(!text.contains("forbidden"), "what was not met has no line");
    }
}
