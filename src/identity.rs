//! The identity of a user: provider, subject, names, groups and claims.

use std::{fmt, time::Duration};

use crate::{clock::Timestamp, text::Text};

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
    /// How and when they authenticated there.
    pub authentication: Authentication,
}

/// How and when somebody last authenticated at their provider. Neither is ever guessed: routes that ask for a fresh login
/// rely on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authentication {
    /// When: `auth_time` of the ID token (OpenID Connect Core §2). With providers that have no ID tokens, the end of the
    /// login. None where it is not known.
    pub at: Option<Timestamp>,
    /// The class of how, where the ID token names one (`acr`).
    pub acr: Option<Text>,
}

impl Authentication {
    /// By a login that ended `now`, at a provider that cannot say more.
    pub fn by_login(now: Timestamp) -> Self {
        Self {
            at: Some(now),
            acr: None,
        }
    }

    /// The same, and not in the future: a clock that is ahead must not make a login fresh for longer. What is further ahead than
    /// [`CLOCK_SKEW`] is the time of no login. It stays, for a route that asks for a fresh one to refuse.
    #[must_use]
    pub fn no_later_than(self, now: Timestamp) -> Self {
        let is_possible = |at: &Timestamp| *at <= now.after(CLOCK_SKEW);
        Self {
            at: self
                .at
                .map(|at| if is_possible(&at) { at.min(now) } else { at }),
            ..self
        }
    }

    /// What stands after a refresh at `now` that said `refreshed`. A refresh is no login (Core §12.2): it moves nothing,
    /// unless it tells of a later one.
    #[must_use]
    pub fn refreshed_by(&self, refreshed: Self, now: Timestamp) -> Self {
        let refreshed = refreshed.no_later_than(now);
        if refreshed.at > self.at && refreshed.at <= Some(now) {
            refreshed
        } else {
            self.clone()
        }
    }
}

/// How far a provider's clock may be ahead.
pub const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// What is known of how a provider said who somebody is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// How many groups the provider named beyond those that the session holds. One where it says that there are some, and
    /// not how many.
    pub omitted_groups: u32,
    /// How many of what the provider lists as groups are none: no text, too long, or with control characters.
    pub unusable_groups: u32,
    /// The paths of claims that the configuration asks for and that did not fit.
    pub omitted_claims: Vec<Text>,
    /// The paths about which the ID token of the login was silent, and another place spoke. Where only the other place
    /// speaks later, its silence means that what it told is gone.
    pub found_beside: Vec<Text>,
    /// Whether userinfo was that place.
    pub userinfo_answered: bool,
    /// The token's `sub`, where another claim is the subject: the provider tells of logouts by it.
    pub token_subject: Option<Text>,
    /// Where rules look and nothing was found.
    pub gaps: Vec<Gap>,
}

impl Notes {
    /// How many groups the app is not told.
    pub fn missing_groups(&self) -> usize {
        let missing = self.omitted_groups.saturating_add(self.unusable_groups);
        usize::try_from(missing).unwrap_or(usize::MAX)
    }
}

/// A claim at which a list of the rules looks, and in which nothing was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The list's key.
    pub list: Text,
    /// The claim's path.
    pub claim: Text,
    /// Why.
    pub cause: GapCause,
}

/// Why nothing was found in a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// The provider said nothing there.
    Absent,
    /// It said that there is nothing.
    Empty,
    /// It said that there is something, and not what.
    Withheld(Withheld),
}

/// Why a provider says that there is something, and not what. Its `Display` is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// There are too many groups for a token (groups overage).
    TooMany,
    /// It is kept elsewhere (OpenID Connect Core §5.6.2), where the gate does not read it.
    Elsewhere,
}

impl Withheld {
    /// For whom it is about.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::TooMany => {
                "Your provider does not say which yours are, because they are too many. Ask whoever runs this site to have it \
                 send fewer."
            }
            Self::Elsewhere => {
                "Your provider keeps that elsewhere, where this site does not read it. Please tell whoever runs this site."
            }
        }
    }
}

impl fmt::Display for Withheld {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TooMany => "because there is too much of it (groups overage)",
            Self::Elsewhere => {
                "and keeps it elsewhere (aggregated or distributed claims), where the gate does not read"
            }
        })
    }
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
            authentication: Authentication::default(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn authenticated(at: Option<u64>, acr: &str) -> Authentication {
        Authentication {
            at: at.map(Timestamp),
            acr: Some(acr.into()),
        }
    }

    #[test]
    fn a_refresh_moves_nothing_unless_it_tells_of_a_later_login() {
        let now = Timestamp(1_000);
        let before = authenticated(Some(500), "gold");
        for refreshed in [
            Authentication::default(),
            authenticated(Some(500), "tin"),
            authenticated(Some(400), "tin"),
            authenticated(None, "tin"),
        ] {
            assert_eq!(before.refreshed_by(refreshed, now), before);
        }
        let later = authenticated(Some(700), "tin");
        assert_eq!(before.refreshed_by(later.clone(), now), later);
        let ahead = before.refreshed_by(authenticated(Some(1_060), "tin"), now);
        assert_eq!(ahead, authenticated(Some(1_000), "tin"));
        for never in [1_061, 1_800_000_000_000, u64::MAX] {
            let never = authenticated(Some(never), "tin");
            assert_eq!(before.refreshed_by(never.clone(), now), before);
            assert_eq!(never.clone().no_later_than(now), never);
        }
    }
}
