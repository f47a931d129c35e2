//! Problems, and how they are shown: file, line, caret and a hint. Pure.

use std::{fmt, ops::Range, path::Path};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{
    mask,
    raw::{Node, Origin},
};

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
    /// The file's text with secrets masked, byte for byte as long as the original.
    source: String,
    problems: Vec<Problem>,
}

impl Report {
    /// The problems of `source`; `tree` tells where its secrets stand, if it could be read so far.
    pub(super) fn new(file: &Path, source: &str, tree: Option<&Node>, problems: Problems) -> Self {
        let mut problems = problems.0;
        problems.sort_by_key(|problem| match &problem.origin {
            Origin::File(span) => (0, span.start, String::new()),
            Origin::Nowhere => (1, 0, String::new()),
            Origin::Variable(name) => (2, 0, name.clone()),
        });
        Self {
            file: file.display().to_string(),
            source: mask::mask(source, tree),
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
                let within = |span: &Range<usize>| {
                    span.start.min(self.source.len())..span.end.min(self.source.len())
                };
                let caret = AnnotationKind::Primary
                    .span(within(span))
                    .label(problem.label.as_deref());
                let beside = problem
                    .beside
                    .as_deref()
                    .map(|(span, label)| AnnotationKind::Context.span(within(span)).label(*label));
                group.element(
                    Snippet::source(self.source.as_str())
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
        match &problem.hint {
            Some(hint) => group.element(Level::HELP.message(hint.as_str())),
            None => group,
        }
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
