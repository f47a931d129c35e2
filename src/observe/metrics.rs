//! What is counted. A count is one relaxed addition; nobody waits, and reading is the scraper's affair.
//!
//! Labels are known beforehand, so that there is no map to look them up in and no lock.

use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

use super::Verdict;

/// The requests of this process.
pub static REQUESTS: Requests = Requests::new();

/// Requests by verdict and class of status.
pub struct Requests([[AtomicU64; CLASSES.len()]; Verdict::ALL.len()]);

impl Requests {
    const fn new() -> Self {
        Self([const { [const { AtomicU64::new(0) }; CLASSES.len()] }; Verdict::ALL.len()])
    }

    /// Counts a request; without a status its client went away before.
    pub(super) fn count(&self, verdict: Verdict, status: Option<StatusCode>) {
        let class = match status.map(|status| status.as_u16() / 100) {
            Some(class @ 1..=5) => usize::from(class),
            _ => 0,
        };
        self.0[verdict.index()][class].fetch_add(1, Ordering::Relaxed);
    }

    /// Each verdict and class that was met, and how often.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let rows = Verdict::ALL.iter().zip(&self.0);
        rows.flat_map(|(verdict, row)| {
            CLASSES.iter().zip(row).filter_map(|(class, count)| {
                let count = count.load(Ordering::Relaxed);
                (count > 0).then_some((verdict.name(), *class, count))
            })
        })
    }
}

/// By the status' first digit.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Counts by provider and outcome.
pub struct Tally<const OUTCOMES: usize> {
    outcomes: [&'static str; OUTCOMES],
    providers: Vec<(String, [AtomicU64; OUTCOMES])>,
}

impl<const OUTCOMES: usize> Tally<OUTCOMES> {
    /// Of these providers and these outcomes.
    pub fn new(
        providers: impl IntoIterator<Item = String>,
        outcomes: [&'static str; OUTCOMES],
    ) -> Self {
        let zeros = |name| (name, [const { AtomicU64::new(0) }; OUTCOMES]);
        Self {
            outcomes,
            providers: providers.into_iter().map(zeros).collect(),
        }
    }

    /// Counts one. A name or an outcome that is none of those is not counted.
    pub fn count(&self, provider: &str, outcome: &str) {
        let row = self.providers.iter().find(|(name, _)| name == provider);
        let place = self.outcomes.iter().position(|known| *known == outcome);
        if let (Some((_, row)), Some(place)) = (row, place) {
            row[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each provider and outcome, and how often.
    pub fn counts(&self) -> impl Iterator<Item = (&str, &'static str, u64)> {
        self.providers.iter().flat_map(|(name, row)| {
            let counts = row.iter().map(|count| count.load(Ordering::Relaxed));
            let rows = self.outcomes.iter().zip(counts);
            rows.map(|(outcome, count)| (name.as_str(), *outcome, count))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_verdict_and_class() {
        let requests = Requests::new();
        requests.count(Verdict::Pass, Some(StatusCode::OK));
        requests.count(Verdict::Pass, Some(StatusCode::NO_CONTENT));
        requests.count(Verdict::Pass, Some(StatusCode::BAD_GATEWAY));
        requests.count(Verdict::ClientGone, None);
        requests.count(Verdict::Public, StatusCode::from_u16(999).ok());
        let counts: Vec<_> = requests.counts().collect();
        assert_eq!(
            counts,
            [
                ("pass", "2xx", 2),
                ("pass", "5xx", 1),
                ("public", "none", 1),
                ("client_gone", "none", 1),
            ]
        );
    }

    #[test]
    fn a_tally_has_every_row_from_the_start() {
        let tally = Tally::new(["hub".to_owned()], ["good", "bad"]);
        tally.count("hub", "bad");
        tally.count("hub", "odd");
        tally.count("nobody", "good");
        let counts: Vec<_> = tally.counts().collect();
        assert_eq!(counts, [("hub", "good", 0), ("hub", "bad", 1)]);
    }
}
