//! What the audit trail says of a refusal.

use std::borrow::Cow;

use super::Reject;
use crate::{
    decide::Barred,
    observe::{
        Verdict,
        audit::{Entry, Event},
    },
};

impl Reject {
    /// The event of a request that somebody may not make; none where no rule says so.
    pub fn audited(&self) -> Option<Entry<'_>> {
        if self.verdict() != Verdict::Forbidden {
            return None;
        }
        let denied = Entry {
            rule: self.detail().map(Cow::Owned),
            ..Entry::of(Event::Denied)
        };
        let Self::Barred { barred, .. } = self else {
            return Some(denied);
        };
        let Barred {
            user,
            provider,
            subject,
            ..
        } = &**barred;
        Some(Entry {
            user: Some(user.as_str().into()),
            user_id: Some(format!("{provider}:{subject}").into()),
            provider: Some(provider.as_str().into()),
            credential: Some("session"),
            ..denied
        })
    }
}
