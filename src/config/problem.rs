//! A problem in a configuration: where it is, what is wrong, and what to write. Pure.

use std::ops::Range;

/// Where something stands, so that a report can point at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nowhere in particular: something is missing.
    Nowhere,
    /// These bytes of the file.
    File(Range<usize>),
    /// This environment variable.
    Variable(String),
}

/// One thing to change.
pub(super) struct Problem {
    pub(super) origin: Origin,
    pub(super) message: String,
    pub(super) label: Option<String>,
    /// Another place of the file that belongs to it, and a few words on it.
    pub(super) beside: Option<Box<(Range<usize>, &'static str)>>,
    pub(super) hint: Option<String>,
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
pub(super) struct Problems(pub(super) Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
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
