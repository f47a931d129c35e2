//! Counters with one label whose values are known in advance.

use std::fmt;

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::Counter},
};

/// One counter for each value of a label, all of them there from the start.
#[derive(Clone, Debug)]
pub(super) struct ByLabel<const N: usize> {
    label: &'static str,
    values: [&'static str; N],
    counters: [Counter; N],
}

impl<const N: usize> ByLabel<N> {
    pub(super) fn new(label: &'static str, values: [&'static str; N]) -> Self {
        Self {
            label,
            values,
            counters: std::array::from_fn(|_| Counter::default()),
        }
    }

    /// Counts one at `place`.
    pub(super) fn inc(&self, place: usize) {
        self.counters[place].inc();
    }
}

impl<const N: usize> EncodeMetric for ByLabel<N> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (value, counter) in self.values.iter().zip(&self.counters) {
            let labels = [(self.label, *value)];
            counter.encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}
