//! What is written twice, and where it was written before. Pure.
//!
//! The parser goes on behind a table's second header as if it were the first, and complains of every key that both have:
//! one problem says it all. Of the first place it says nothing, so it is looked for here, line by line.

use std::ops::Range;

use super::{raw::Origin, report::Problem};

/// A table or a key that was there already.
pub(super) struct Twice {
    again: Range<usize>,
    before: Option<Range<usize>>,
    /// The second table, header and all; nothing for a key.
    table: Range<usize>,
}

impl Twice {
    /// What the parser found once more at `place`.
    pub(super) fn at(source: &str, place: Range<usize>) -> Self {
        let lines: Vec<Line<'_>> = lines(source).collect();
        let Some(index) = lines.iter().rposition(|line| line.start <= place.start) else {
            return Self::alone(place);
        };
        let (line, above, below) = (&lines[index], &lines[..index], &lines[index + 1..]);
        if let Some(name) = line.header() {
            let is_same = |other: &&Line<'_>| other.header().as_ref() == Some(&name);
            let is_further = |other: &&Line<'_>| {
                other
                    .header()
                    .is_some_and(|other| !other.starts_with(&format!("{name}.")))
            };
            return Self {
                again: line.trimmed(),
                before: above.iter().find(is_same).map(Line::trimmed),
                table: line.start
                    ..below
                        .iter()
                        .find(is_further)
                        .map_or(source.len(), |line| line.start),
            };
        }
        let Some((key, at)) = line.key().filter(|(_, at)| at.end >= place.end) else {
            return Self::alone(place);
        };
        let before = above
            .iter()
            .rev()
            .take_while(|line| line.header().is_none())
            .find_map(|line| line.key().filter(|(other, _)| *other == key));
        Self {
            again: at,
            before: before.map(|(_, at)| at),
            table: 0..0,
        }
    }

    fn alone(again: Range<usize>) -> Self {
        Self {
            again,
            before: None,
            table: 0..0,
        }
    }

    /// Whether a complaint of a doubled key at `place` is about this table, too.
    pub(super) fn explains(&self, place: usize) -> bool {
        self.table.contains(&place)
    }

    pub(super) fn problem(self) -> Problem {
        let (what, hint) = if self.table.is_empty() {
            ("key", "write it once")
        } else {
            ("table", "join the two: what stands in both once")
        };
        let message = format!("this is not TOML: a {what} is written twice");
        let problem = Problem::new(&Origin::File(self.again), message).hint(hint);
        match self.before {
            Some(before) => problem.label("once more").beside(before, "here first"),
            None => problem,
        }
    }
}

struct Line<'a> {
    start: usize,
    text: &'a str,
}

impl Line<'_> {
    /// What stands in the brackets that the line begins with, without blanks and quotes: `[providers . "corp"]` and
    /// `[providers.corp]` are the same table. The bracket stays, because `[[a]]` is no table.
    fn header(&self) -> Option<String> {
        let text = self.text.trim();
        let end = text.starts_with('[').then(|| text.find(']'))??;
        Some(plain(&text[..end]))
    }

    /// The key before the equals sign, and where it stands.
    fn key(&self) -> Option<(String, Range<usize>)> {
        let key = self.text[..self.text.find('=')?].trim_end();
        let blank = key.len() - key.trim_start().len();
        (blank < key.len()).then(|| (plain(key), self.start + blank..self.start + key.len()))
    }

    /// Where it stands without blanks and comment.
    fn trimmed(&self) -> Range<usize> {
        let text = self.text.split('#').next().unwrap_or_default().trim_end();
        let blank = text.len() - text.trim_start().len();
        self.start + blank..self.start + text.len()
    }
}

fn plain(text: &str) -> String {
    let is_plain = |c: &char| !c.is_whitespace() && !matches!(c, '"' | '\'');
    text.chars().filter(is_plain).collect()
}

fn lines(source: &str) -> impl Iterator<Item = Line<'_>> {
    let mut next = 0;
    source.split_inclusive('\n').map(move |text| {
        let start = next;
        next += text.len();
        Line { start, text }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{raw, report::Report};

    /// Each problem as it is shown.
    fn problems(source: &str) -> Vec<String> {
        let Err(problems) = raw::parse(source) else {
            return Vec::new();
        };
        let report = Report::new("f".as_ref(), source, problems.into());
        let text = report.render(false);
        text.split("\n\n")
            .filter(|problem| problem.starts_with("error"))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn a_doubled_table_is_one_problem_however_much_both_say() {
        let source = "a = 1\n[session]\nstore = \"x\"\nsecret = \"y\"\nlifetime = \"7d\"\n\n[other]\nb = 1\n\n\
                      [session] # again\nstore = \"x\"\nsecret = \"y\"\nlifetime = \"7d\"\n";
        let problems = problems(source);
        let [problem] = &problems[..] else {
            panic!("{problems:#?}");
        };
        assert!(problem.contains("a table is written twice"), "{problem}");
        assert!(problem.contains("f:10:1"), "{problem}");
        assert!(problem.contains("here first: line 2\n"), "{problem}");
        assert!(
            !problem.contains("store"),
            "no line of it is shown: {problem}"
        );
    }

    #[test]
    fn what_is_wrong_besides_is_told_besides() {
        let source = "[a]\nx = 1\n[a]\nx = 2\ny = nothing\n[b]\nz = 1\nz = 2\n";
        let problems = problems(source);
        assert_eq!(problems.len(), 3, "{problems:#?}");
        assert!(
            problems[2].contains("a key is written twice"),
            "{problems:#?}"
        );
    }

    #[test]
    fn tables_below_a_doubled_one_belong_to_it() {
        for source in [
            "[p.c]\nx = 1\n[p.c.d]\ny = 1\n[p.c]\nx = 1\n[p.c.d]\ny = 1\n",
            "[p.c]\nx = 1\n[ p . \"c\" ]\nx = 1\n",
            "[p.c]\nx.y = 1\n[p.c]\nx.y = 1\n",
        ] {
            assert_eq!(problems(source).len(), 1, "{source}");
        }
        assert_eq!(problems("[[r]]\nx = 1\n[[r]]\nx = 1\n").len(), 0);
    }

    #[test]
    fn a_doubled_key_is_shown_with_its_first() {
        for (source, has_first) in [
            ("x = 1\ny = 2\nx = 3\n", true),
            ("a.x = 1\na.x = 3\n", true),
            ("[t]\nx = 1\n\"x\" = 3\n", true),
            ("t = { x = 1, x = 2 }\n", false),
        ] {
            let problems = problems(source);
            assert_eq!(problems.len(), 1, "{source}: {problems:#?}");
            assert_eq!(
                problems[0].contains("here first"),
                has_first,
                "{source}: {problems:#?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_reported_without_harm(source in "(\\[?[ab]\\.?[ab]?\\]?( = [12\"])?#?é?\n){0,8}") {
            problems(&source);
        }
    }
}
