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
    /// The event of a request that somebody may not make; none where neither a rule, nor a credential, nor a limit says so.
    pub fn audited(&self) -> Option<Entry<'_>> {
        let denied = match self.verdict() {
            Verdict::Forbidden => Entry {
                rule: self.detail().map(Cow::Owned),
                ..Entry::of(Event::Denied)
            },
            Verdict::InvalidCredential => Entry {
                detail: self.detail().map(Into::into),
                ..Entry::of(Event::CredentialRefused)
            },
            Verdict::TooManyRequests => Entry {
                rule: self.detail().map(Cow::Owned),
                ..Entry::of(Event::Limit)
            },
            _ => return None,
        };
        let Self::Barred { barred, .. } = self else {
            return Some(denied);
        };
        let Barred {
            user,
            provider,
            subject,
            proof,
            ..
        } = &**barred;
        Some(Entry {
            user: Some(user.as_str().into()),
            user_id: Some(format!("{provider}:{subject}").into()),
            provider: Some(provider.as_str().into()),
            credential: Some(proof.name()),
            ..denied
        })
    }
}
