//! Times as people and programs read them. Pure.

use std::time::Duration;

use time::OffsetDateTime;

use crate::clock::Timestamp;

/// `22 Nov 2026, 07:50 UTC`: a page without scripts cannot know where its reader is.
pub fn date(at: Timestamp) -> String {
    let at = utc(at);
    format!(
        "{} {:.3} {}, {:02}:{:02} UTC",
        at.day(),
        at.month().to_string(),
        at.year(),
        at.hour(),
        at.minute()
    )
}

/// As RFC 3339 §5.6 writes it: `2026-11-22T07:50:00Z`.
pub fn rfc3339(at: Timestamp) -> String {
    let at = utc(at);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// `just now`, `5 minutes ago`, `1 hour ago`, `3 days ago`. What is listed is known to the minute only.
pub fn ago(past: Duration) -> String {
    let minutes = past.as_secs() / 60;
    let (number, unit) = match minutes {
        0 | 1 => return "just now".to_owned(),
        2..60 => (minutes, "minute"),
        60..1_440 => (minutes / 60, "hour"),
        _ => (minutes / 1_440, "day"),
    };
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural} ago")
}

/// The last second that can be written, for whatever lies beyond.
fn utc(at: Timestamp) -> OffsetDateTime {
    let seconds = i64::try_from(at.0).unwrap_or(i64::MAX).min(LAST);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// The end of the year 9999.
const LAST: i64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_for_people_and_programs() {
        let at = Timestamp(1_795_333_805);
        assert_eq!(date(at), "22 Nov 2026, 07:50 UTC");
        assert_eq!(rfc3339(at), "2026-11-22T07:50:05Z");
        assert_eq!(rfc3339(Timestamp(0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(Timestamp(u64::MAX)), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn the_past_is_told_roughly() {
        for (seconds, expected) in [
            (0, "just now"),
            (119, "just now"),
            (120, "2 minutes ago"),
            (3_599, "59 minutes ago"),
            (3_600, "1 hour ago"),
            (86_399, "23 hours ago"),
            (86_400, "1 day ago"),
            (700_000, "8 days ago"),
        ] {
            assert_eq!(ago(Duration::from_secs(seconds)), expected);
        }
    }
}
