//! Shows problems: file, line, caret and a hint. Pure.

use std::{fmt, ops::Range, path::Path};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{
    mask,
    problem::{Origin, Problem, Problems},
};

/// Everything that is wrong with a configuration. `Display` is the plain text; it shows no secret.
pub struct Report {
    /// The file as the operator named it.
    file: String,
    /// The file's text with secrets masked, byte for byte as long as the original. None where the file is no TOML:
    /// nothing tells then what is a secret, so none of it is shown.
    source: Option<String>,
    /// Where each line of the file begins.
    lines: Vec<usize>,
    problems: Vec<Problem>,
}

impl Report {
    /// The problems of `source`, of which `masked` may be shown.
    pub(super) fn new(
        file: &Path,
        source: &str,
        masked: Option<String>,
        problems: Problems,
    ) -> Self {
        let mut problems = problems.0;
        for problem in &mut problems {
            problem.message = mask::without_tokens(&problem.message);
            problem.label = problem.label.as_deref().map(mask::without_tokens);
            problem.hint = problem.hint.as_deref().map(mask::without_tokens);
        }
        problems.sort_by_key(|problem| match &problem.origin {
            Origin::File(span) => (0, span.start, String::new()),
            Origin::Nowhere => (1, 0, String::new()),
            Origin::Variable(name) => (2, 0, name.clone()),
        });
        Self {
            file: file.display().to_string(),
            source: masked,
            lines: std::iter::once(0)
                .chain(source.match_indices('\n').map(|(at, _)| at + 1))
                .collect(),
            problems,
        }
    }

    /// How many problems there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a report is never empty")]
    pub fn len(&self) -> usize {
        self.problems.len()
    }

    /// The report as text, with colours for a terminal or without.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut text = String::new();
        for problem in &self.problems {
            text.push_str(&renderer.render(&[self.group(problem)]));
            text.push_str("\n\n");
        }
        let count = match self.problems.len() {
            1 => "1 problem".to_owned(),
            many => format!("{many} problems"),
        };
        text + &count + " in the configuration\n"
    }

    fn group<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let mut group = Level::ERROR
            .primary_title(problem.message.as_str())
            .elements(Vec::<annotate_snippets::Element<'a>>::new());
        group = match &problem.origin {
            Origin::File(span) => {
                let Some(source) = self.source.as_deref() else {
                    return self.without_lines(group, problem, span);
                };
                let within =
                    |span: &Range<usize>| span.start.min(source.len())..span.end.min(source.len());
                let caret = AnnotationKind::Primary
                    .span(within(span))
                    .label(problem.label.as_deref());
                let beside = problem
                    .beside
                    .as_deref()
                    .map(|(span, label)| AnnotationKind::Context.span(within(span)).label(*label));
                group.element(
                    Snippet::source(source)
                        .path(self.file.as_str())
                        .annotation(caret)
                        .annotations(beside),
                )
            }
            Origin::Variable(name) => group.element(annotate_snippets::Origin::path(format!(
                "environment: {name}"
            ))),
            Origin::Nowhere => group.element(annotate_snippets::Origin::path(self.file.as_str())),
        };
        with_hint(group, problem)
    }

    /// Line and column alone.
    fn without_lines<'a>(
        &'a self,
        group: Group<'a>,
        problem: &'a Problem,
        span: &Range<usize>,
    ) -> Group<'a> {
        let (line, column) = self.place(span.start);
        let place = annotate_snippets::Origin::path(self.file.as_str());
        let group = group.element(place.line(line).char_column(column));
        with_hint(group, problem)
    }

    /// Line and column of a byte, both from 1 on. Columns are bytes: without the text nothing else is known.
    fn place(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= at).max(1);
        (line, at - self.lines[line - 1] + 1)
    }
}

fn with_hint<'a>(group: Group<'a>, problem: &'a Problem) -> Group<'a> {
    match &problem.hint {
        Some(hint) => group.element(Level::HELP.message(hint.as_str())),
        None => group,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.render(false))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for Report {}
