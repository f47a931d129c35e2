//! The context of an operator's action, and its audit event.

use std::net::IpAddr;

use crate::{
    observe::audit::{Entry, Event},
    snapshot::Snapshot,
};

/// What an operator works with.
#[derive(Clone, Copy)]
pub(super) struct Desk<'a> {
    pub(super) snapshot: &'a Snapshot,
    peer: Option<IpAddr>,
}

impl<'a> Desk<'a> {
    /// For whoever asks from `peer`; none at a Unix socket.
    pub(super) fn new(snapshot: &'a Snapshot, peer: Option<IpAddr>) -> Self {
        Self { snapshot, peer }
    }

    /// Writes down what was done to whom, or could not be.
    pub(super) fn note(self, outcome: &str, object: &str, detail: Option<String>) {
        self.snapshot.audit.record(&Entry {
            outcome: Some(outcome),
            credential: Some("operator"),
            client: self.peer,
            object: Some(object.into()),
            detail: detail.map(Into::into),
            ..Entry::of(Event::Admin)
        });
    }

    /// Writes down that a token was ended.
    pub(super) fn note_token(self, start: &str, name: &str) {
        self.snapshot.audit.record(&Entry {
            credential: Some("operator"),
            client: self.peer,
            object: Some(start.into()),
            detail: Some(name.into()),
            ..Entry::of(Event::TokenEnded)
        });
    }
}
