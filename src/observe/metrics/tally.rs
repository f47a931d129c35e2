//! Counts by provider and outcome.

use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

/// Counts by provider and outcome.
pub struct Tally<const OUTCOMES: usize> {
    outcomes: [&'static str; OUTCOMES],
    /// A provider that is gone from the configuration keeps its row: counters only grow.
    rows: RwLock<Vec<(String, [AtomicU64; OUTCOMES])>>,
}

impl<const OUTCOMES: usize> Tally<OUTCOMES> {
    /// Of these outcomes, and of no provider yet.
    pub fn new(outcomes: [&'static str; OUTCOMES]) -> Self {
        Self {
            outcomes,
            rows: RwLock::default(),
        }
    }

    /// Gives each of these providers a row of zeros, unless it has one.
    pub fn add(&self, providers: impl IntoIterator<Item = String>) {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        for name in providers {
            if rows.iter().all(|(known, _)| *known != name) {
                rows.push((name, [const { AtomicU64::new(0) }; OUTCOMES]));
            }
        }
    }

    /// Counts one. A name or an outcome that is none of those is not counted.
    pub fn count(&self, provider: &str, outcome: &str) {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let row = rows.iter().find(|(name, _)| name == provider);
        let place = self.outcomes.iter().position(|known| *known == outcome);
        if let (Some((_, row)), Some(place)) = (row, place) {
            row[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each provider and outcome, and how often.
    pub fn counts(&self) -> Vec<(String, &'static str, u64)> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let counts = rows.iter().flat_map(|(name, row)| {
            let counts = row.iter().map(|count| count.load(Ordering::Relaxed));
            let outcomes = self.outcomes.iter().zip(counts);
            outcomes.map(|(outcome, count)| (name.clone(), *outcome, count))
        });
        counts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_has_every_row_from_the_start() {
        let tally = Tally::new(["good", "bad"]);
        tally.add(["hub".to_owned()]);
        tally.count("hub", "bad");
        tally.count("hub", "odd");
        tally.count("nobody", "good");
        tally.add(["hub".to_owned(), "corp".to_owned()]);
        let rows = [
            ("hub", "good", 0),
            ("hub", "bad", 1),
            ("corp", "good", 0),
            ("corp", "bad", 0),
        ];
        assert_eq!(
            tally.counts(),
            rows.map(|(name, outcome, count)| (name.to_owned(), outcome, count))
        );
    }
}
