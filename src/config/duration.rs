//! Durations as people write them: `500ms`, `90s`, `15m`, `12h`, `7d`. Pure.
//!
//! A number without a unit is refused.

use std::time::Duration;

/// Reads whole seconds or more: sessions and their ends know nothing finer.
///
/// # Errors
/// What to write instead.
pub fn parse(text: &str) -> Result<Duration, String> {
    match parse_fine(text)? {
        duration if duration.subsec_nanos() == 0 => Ok(duration),
        _ => Err(FORM.to_owned()),
    }
}

/// Reads one whole number with its unit, milliseconds included; the error says what to write instead.
pub(super) fn parse_fine(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(FORM.to_owned());
    }
    if unit.is_empty() {
        return Err(format!(
            "a unit is missing: \"{number}s\" for seconds, or m, h, d"
        ));
    }
    let known = UNITS.iter().find(|(name, _)| *name == unit);
    let (_, milliseconds_each) = known.ok_or_else(|| FORM.to_owned())?;
    let milliseconds = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*milliseconds_each))
        .filter(|milliseconds| *milliseconds <= LONGEST);
    match milliseconds {
        None => Err("that is longer than ten years".to_owned()),
        Some(0) => Err("it must be more than zero".to_owned()),
        Some(milliseconds) => Ok(Duration::from_millis(milliseconds)),
    }
}

/// As it is written in the largest unit that it is a whole number of.
pub(super) fn written(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = UNITS.iter().rev();
    let fits = |(_, each): &&(&str, u64)| milliseconds.is_multiple_of(u128::from(*each));
    let (unit, each) = units.clone().find(fits).unwrap_or(&UNITS[0]);
    format!("{}{unit}", milliseconds / u128::from(*each))
}

/// The units, and the milliseconds of each.
const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
];

const FORM: &str = "write a whole number and a unit: \"90s\", \"15m\", \"12h\" or \"7d\"";

/// Nothing here is meant for longer, and sums with a timestamp stay far from overflow.
const LONGEST: u64 = 10 * 366 * 24 * 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_each_unit() {
        assert_eq!(parse("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("15m"), Ok(Duration::from_mins(15)));
        assert_eq!(parse("12h"), Ok(Duration::from_hours(12)));
        assert_eq!(parse("7d"), Ok(Duration::from_hours(7 * 24)));
        assert_eq!(parse("2000ms"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_fine("300ms"), Ok(Duration::from_millis(300)));
        for text in ["300ms", "90s", "75s", "5m", "1h", "7d"] {
            assert_eq!(written(parse_fine(text).unwrap()), text);
        }
    }

    #[test]
    fn refuses_what_is_unclear() {
        for text in [
            "",
            "60",
            "s",
            "1.5h",
            "-1s",
            "+1s",
            "1 s",
            "1h30m",
            "1w",
            "300x",
            "0s",
            "300ms",
            "1S",
            "１s",
            "99999999999999999999s",
            "9223372036854775807d",
            "11000d",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("60").unwrap_err().contains("\"60s\""));
    }

    proptest! {
        #[test]
        fn never_panics_and_never_gives_zero(text in ".{0,24}") {
            if let Ok(duration) = parse(&text) {
                prop_assert!(duration > Duration::ZERO);
            }
        }
    }
}
