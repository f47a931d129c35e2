//! Durations as Go writes them (`1h30m`, `168h0m0s`, `500ms`), and as the gate reads them. Pure.

/// Whole seconds, rounded up; `None` where the text is no duration, or below zero.
pub(super) fn seconds(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut nanoseconds = 0_f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .filter(|at| *at > 0)?;
        let (amount, unit) = rest.split_at(number);
        let end = unit
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(unit.len());
        let (unit, after) = unit.split_at(end);
        let of_unit = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3_600e9,
            _ => return None,
        };
        nanoseconds += amount.parse::<f64>().ok()? * of_unit;
        rest = after;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is positive, and `as` stops at the largest"
    )]
    let seconds = (nanoseconds / 1e9).ceil() as u64;
    Some(seconds)
}

/// As the gate's configuration has it: a whole number and the largest unit that fits.
pub(super) fn written(seconds: u64) -> String {
    for (of_unit, unit) in [(86_400, "d"), (3_600, "h"), (60, "m")] {
        if seconds > 0 && seconds.is_multiple_of(of_unit) {
            return format!("{}{unit}", seconds / of_unit);
        }
    }
    format!("{seconds}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_s_durations_become_ours() {
        for (text, ours) in [
            ("168h0m0s", "7d"),
            ("1h30m", "90m"),
            ("1.5h", "90m"),
            ("12h", "12h"),
            ("90s", "90s"),
            ("500ms", "1s"),
            ("0", "0s"),
            ("0s", "0s"),
            ("36h", "36h"),
        ] {
            assert_eq!(written(seconds(text).unwrap()), ours, "{text}");
        }
        for text in ["", "h", "1", "1 h", "-1h", "1x", "1h2"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
