//! Who signs the tokens of a login, a refresh or a logout, and for which client. Pure.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    jose::{Algorithm, Audience, Expected},
};

/// Who must have signed, for whom, and how.
#[derive(Clone, Copy)]
pub(super) struct Signer<'a> {
    pub(super) issuer: &'a str,
    /// Whether an issuer signs as this `iss`.
    pub(super) issues: fn(issuer: &str, iss: &str) -> bool,
    pub(super) client_id: &'a str,
    /// Never empty, asymmetric only.
    pub(super) algorithms: &'a [Algorithm],
    pub(super) now: Timestamp,
}

impl<'a> Signer<'a> {
    /// What a token of this signer's must agree with, where its `typ` is one of `types`.
    pub(super) fn expects(self, types: &'a [&'a str], audience: Audience<'a>) -> Expected<'a> {
        Expected {
            issuer: self.issuer,
            issues: self.issues,
            algorithms: self.algorithms,
            types,
            audience,
            max_age: Some(MAX_AGE),
            may_lack_exp: false,
            now: self.now,
        }
    }
}

/// The age of a token. Tokens are minutes old when they arrive, and their link to a login is checked apart; the rest is for slow
/// clocks.
pub(super) const MAX_AGE: Duration = Duration::from_hours(1);
