//! Counts by provider and outcome.

use std::sync::atomic::{AtomicU64, Ordering};

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
    fn a_tally_has_every_row_from_the_start() {
        let tally = Tally::new(["hub".to_owned()], ["good", "bad"]);
        tally.count("hub", "bad");
        tally.count("hub", "odd");
        tally.count("nobody", "good");
        let counts: Vec<_> = tally.counts().collect();
        assert_eq!(counts, [("hub", "good", 0), ("hub", "bad", 1)]);
    }
}
