//! Medians and quartiles. A shared machine has outliers; means would follow them.

use std::fmt;

/// The middle of a sample and the quarters beside it.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// A quarter of the values is not above it.
    pub lower: f64,
    /// Half of the values is not above it.
    pub median: f64,
    /// Three quarters of the values are not above it.
    pub upper: f64,
}

impl Spread {
    /// Of `values`; all zero where there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        Self {
            lower: quantile(&values, 0.25),
            median: quantile(&values, 0.5),
            upper: quantile(&values, 0.75),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lower,
            median,
            upper,
        } = self;
        write!(formatter, "{median:.2} ({lower:.2}–{upper:.2})")
    }
}

/// By linear interpolation between the neighbours.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "samples are few, and the position lies within them"
)]
fn quantile(sorted: &[f64], part: f64) -> f64 {
    if sorted.is_empty() {
        return 0.0;
    }
    let position = (sorted.len() - 1) as f64 * part;
    let below = sorted[position.floor() as usize];
    let above = sorted[position.ceil() as usize];
    below + (above - below) * position.fract()
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn quartiles_interpolate() {
        let spread = Spread::of([4.0, 1.0, 2.0, 3.0]);
        assert_eq!(spread.to_string(), "2.50 (1.75–3.25)");
        assert_eq!(Spread::of([]).to_string(), "0.00 (0.00–0.00)");
    }
}
