//! `limit` of a route: `"100/1h"`, `"10/1s per address"`.

use super::{
    super::{
        duration,
        problem::{Origin, Problem},
        schema::Kind,
        tree::Value,
    },
    Reader, Table,
};
use crate::{
    rate_limit::{Per, Quota, RateLimit},
    spelling,
};

impl Reader<'_> {
    pub(super) fn rate_limits(&mut self, table: &Table<'_>) -> Option<Vec<RateLimit>> {
        if let Some(node) = table.node.get("limit")
            && let Value::Integer(count) = node.value
        {
            table.get("limit", Kind::Texts);
            self.problem(
                Problem::new(&node.origin, "`limit` lacks its time")
                    .hint(format!("write limit = \"{count}/1h\"")),
            );
            return None;
        }
        let mut limits = self.narrowing_texts(table, "limit", rate_limit)?;
        for place in 0..limits.len() {
            let (earlier, rest) = limits.split_at_mut(place);
            let limit = &mut rest[0];
            let alike = earlier.iter().filter(|other| other.per == limit.per);
            let alike = alike.count();
            if alike > 0 {
                limit.name = format!("{}-{}", limit.name, alike + 1);
            }
        }
        if limits.len() > MOST {
            let origin = table.origin("limit");
            let message = format!("`limit` has {} entries", limits.len());
            self.problem(Problem::new(&origin, message).hint("four are enough for anybody"));
            return None;
        }
        Some(limits)
    }
}

/// Limits of a route, each of which costs a request a step.
const MOST: usize = 4;

fn rate_limit(text: &str, origin: &Origin) -> Result<RateLimit, Problem> {
    let problem =
        |hint: String| Err(Problem::new(origin, format!("`{text}` is no limit")).hint(hint));
    let mut words = text.split_ascii_whitespace();
    let rate = words.next().unwrap_or_default();
    let per = match (words.next(), words.next(), words.next()) {
        (None, ..) => Per::User,
        (Some("per"), Some(word), None) => {
            let Some(per) = Per::ALL.into_iter().find(|per| per.name() == word) else {
                let names = Per::ALL.map(Per::name);
                return problem(match spelling::nearest(word, names) {
                    Some(name) => format!("did you mean \"{rate} per {name}\"?"),
                    None => format!("after per stands one of {}", names.join(", ")),
                });
            };
            per
        }
        _ => return problem("as in \"100/1h\", or \"100/1h per address\"".to_owned()),
    };
    let Some((count, period)) = rate.split_once('/') else {
        return problem("so many within a time, as in \"100/1h\"".to_owned());
    };
    let count = match count.parse::<u32>() {
        Ok(count) if (1..=MOST_REQUESTS).contains(&count) => count,
        _ => {
            return problem(format!(
                "the count is a whole number from 1 to {MOST_REQUESTS}; where nobody may pass write access = \"deny\""
            ));
        }
    };
    let time = match duration::parse(period) {
        Ok(time) => time,
        Err(_) if matches!(period, "s" | "m" | "h" | "d") => {
            return problem(format!("write {count}/1{period}"));
        }
        Err(hint) => return problem(hint),
    };
    if time.as_secs() == 0 || time.as_secs() > LONGEST {
        return problem("the time is from 1s to 31d".to_owned());
    }
    Ok(RateLimit {
        quota: Quota::new(count, time),
        per,
        name: per.name().to_owned(),
        period: period.to_owned(),
    })
}

/// What a limit may count to.
const MOST_REQUESTS: u32 = 1_000_000;
/// Seconds that a limit may count over.
const LONGEST: u64 = 31 * 86_400;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_limit_is_read_as_it_is_written() {
        let read = |text| {
            rate_limit(text, &Origin::Nowhere)
                .map(|limit| limit.to_string())
                .ok()
        };
        assert_eq!(read("100/1h").as_deref(), Some("100/1h per user"));
        assert_eq!(
            read("10/1s per address").as_deref(),
            Some("10/1s per address")
        );
        assert_eq!(
            read(" 5/30m  per  token ").as_deref(),
            Some("5/30m per token")
        );
        let limit = rate_limit("1/31d per route", &Origin::Nowhere)
            .ok()
            .unwrap();
        assert_eq!(limit.quota, Quota::new(1, Duration::from_hours(31 * 24)));
        for text in [
            "",
            "100",
            "0/1h",
            "-1/1h",
            "1000001/1h",
            "1.5/1h",
            "100/h",
            "100/0s",
            "100/32d",
            "100/1h per",
            "100/1h per ip",
            "100/1h by user",
            "100/1h per user per route",
            "/1h",
            "100/",
            "100/1h/2",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
