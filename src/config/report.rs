//! Problems, and how they are shown: file, line, caret and a hint. Pure.

use std::{fmt, ops::Range, path::Path};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{mask, raw::Origin};

/// One thing to change.
pub(super) struct Problem {
    pub(super) origin: Origin,
    message: String,
    label: Option<String>,
    /// Another place of the file that belongs to it, and a few words on it.
    beside: Option<Box<(Range<usize>, &'static str)>>,
    hint: Option<String>,
}

impl Problem {
    /// What is wrong, and where. The message never quotes what may be secret.
    pub(super) fn new(origin: &Origin, message: impl Into<String>) -> Self {
        Self {
            origin: origin.clone(),
            message: message.into(),
            label: None,
            beside: None,
            hint: None,
        }
    }

    /// A few words beside the caret.
    pub(super) fn label(self, label: impl Into<String>) -> Self {
        Self {
            label: Some(label.into()),
            ..self
        }
    }

    /// Another place of the file to look at.
    pub(super) fn beside(self, place: Range<usize>, label: &'static str) -> Self {
        Self {
            beside: Some(Box::new((place, label))),
            ..self
        }
    }

    /// What to do about it.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// Problems as they are found.
#[derive(Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether one of them points at this very place.
    pub(super) fn point_at(&self, origin: &Origin) -> bool {
        self.0.iter().any(|problem| problem.origin == *origin)
    }
}

impl From<Vec<Problem>> for Problems {
    fn from(problems: Vec<Problem>) -> Self {
        Self(problems)
    }
}

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
    /// The problems of `source`.
    pub(super) fn new(file: &Path, source: &str, problems: Problems) -> Self {
        let mut problems = problems.0;
        problems.sort_by_key(|problem| match &problem.origin {
            Origin::File(span) => (0, span.start, String::new()),
            Origin::Nowhere => (1, 0, String::new()),
            Origin::Variable(name) => (2, 0, name.clone()),
        });
        Self {
            file: file.display().to_string(),
            source: mask::mask(source),
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
        let mut group = group.element(place.line(line).char_column(column));
        if let Some((before, label)) = problem.beside.as_deref() {
            let (line, _) = self.place(before.start);
            group = group.element(Level::NOTE.message(format!("{label}: line {line}")));
        }
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
