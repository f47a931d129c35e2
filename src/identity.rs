//! Who somebody is.

use crate::text::Text;

/// Who somebody is, as their provider said it at login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The provider's name in the configuration.
    pub provider: Text,
    /// The provider's stable id of the user (`sub`); unique only beside `provider`.
    pub subject: Text,
    /// The login name (`preferred_username`). For showing; never a key.
    pub login: Option<Text>,
    /// The address, kept only when the provider vouches for it.
    pub email: Option<Text>,
    /// The full name.
    pub name: Option<Text>,
    /// The picture's address.
    pub picture: Option<Text>,
    /// Group names in the provider's order.
    pub groups: Vec<Text>,
    /// What the allow lists know of them beside address, name and groups: (the list's key, the entry that
    /// fits), `("orgs", "acme")`. Only entries that the configuration names are kept.
    pub memberships: Vec<(Text, Text)>,
    /// The claims that the configuration asks for: (path below the claims, value as header text).
    pub claims: Vec<(Text, Text)>,
    /// What is known of how all that was said.
    pub notes: Notes,
}

/// What is known of how a provider said who somebody is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// How many groups the provider named beyond those that the session holds.
    pub omitted_groups: u32,
    /// The paths of claims that the configuration asks for and that did not fit.
    pub omitted_claims: Vec<Text>,
    /// The paths about which the ID token of the login was silent, and another place spoke. Where only the other place
    /// speaks later, its silence means that what it told is gone.
    pub told_beside: Vec<Text>,
    /// Whether userinfo was that place.
    pub userinfo_told: bool,
    /// The token's `sub`, where another claim is the subject: the provider tells of logouts by it.
    pub token_subject: Option<Text>,
}

impl Identity {
    /// Somebody of whom no more is known.
    pub fn of(provider: &str, subject: &str) -> Self {
        Self {
            provider: provider.into(),
            subject: subject.into(),
            login: None,
            email: None,
            name: None,
            picture: None,
            groups: Vec::new(),
            memberships: Vec::new(),
            claims: Vec::new(),
            notes: Notes::default(),
        }
    }

    /// The name an app shows: login, else email, else subject.
    pub fn user(&self) -> &Text {
        self.login
            .as_ref()
            .or(self.email.as_ref())
            .unwrap_or(&self.subject)
    }
}
