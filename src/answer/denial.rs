//! Somebody whom the allow lists do not let pass: what they read, and what they can do. Pure.

use std::borrow::Cow;

use http::StatusCode;

use super::{
    Account, Link, Reject,
    explain::{Explanation, INSUFFICIENT_SCOPE},
};
use crate::{
    access::allow::{Denied, Held},
    credential::Proof,
    issuer::settings::CLIENT,
    login::LoginError,
    provider::kind::AccountSwitch,
    site::{Site, with_switch},
};

impl Reject {
    /// Who is signed in and where, to be shown.
    pub(super) fn account<'a>(&'a self, site: &'a Site) -> Option<Account<'a>> {
        let denial = self.denial()?;
        Some(Account {
            user: denial.user,
            provider: site
                .provider(denial.provider)
                .map_or(denial.provider, |face| &face.label),
            stays: matches!(denial.switch(site), AccountSwitch::SignOutFirst { .. }),
        })
    }

    /// Who may not pass and why: told at the end of a login, or of a session from before the lists
    /// became stricter.
    pub(super) fn denial(&self) -> Option<Denial<'_>> {
        match self {
            Self::Barred { barred, return_to } => Some(Denial {
                user: &barred.user,
                provider: &barred.provider,
                proof: Some(barred.proof),
                denied: &barred.denied,
                message: barred
                    .route
                    .as_ref()
                    .and_then(|route| route.message.as_deref()),
                return_to,
            }),
            Self::Login(error) => match &**error {
                LoginError::NotAllowed {
                    user,
                    denied,
                    again,
                    ..
                } => Some(Denial {
                    user,
                    provider: &again.provider,
                    proof: None,
                    denied,
                    message: None,
                    return_to: again.return_to.as_str(),
                }),
                _ => None,
            },
            _ => None,
        }
    }

    /// What a person has where the list looked that lets them not pass.
    pub(super) fn held(&self) -> Option<&Held> {
        let denial = self.denial()?;
        Some(&denial.denied.held)
    }

    /// The scopes that the credential would have to have (RFC 6750 §3.1).
    pub(super) fn needed_scopes(&self) -> Option<&[String]> {
        self.held()?.needed_scopes()
    }
}

/// Somebody whom the allow lists do not let pass.
pub(super) struct Denial<'a> {
    user: &'a str,
    provider: &'a str,
    /// What proved who it is; none at the end of a login.
    proof: Option<Proof>,
    denied: &'a Denied,
    /// The route's own words.
    message: Option<&'a str>,
    return_to: &'a str,
}

impl Denial<'_> {
    /// The operator's words where there are some: they know whom to ask. Else the list's, and what the person's own
    /// account has there. Never the rule, which would tell a stranger what to forge.
    pub(super) fn explain(&self, site: &Site) -> Explanation {
        let providers = || {
            site.provider(self.provider)
                .and_then(|face| face.deny_message.clone())
        };
        let operators_words = self.message.map(str::to_owned).or_else(providers);
        let error = match self.denied.held.needed_scopes() {
            Some(_) => INSUFFICIENT_SCOPE,
            None => "forbidden",
        };
        Explanation::new(
            StatusCode::FORBIDDEN,
            error,
            "No access",
            operators_words.map_or_else(|| self.words(self.denied), Cow::Owned),
        )
    }

    /// What came with a credential that no provider vouches for.
    fn noun(&self) -> Option<&'static str> {
        match self.proof? {
            Proof::ServiceToken => Some("This token"),
            Proof::Password => Some("This user"),
            Proof::Certificate => Some("This certificate"),
            Proof::AccessToken if self.provider == CLIENT => Some("This client"),
            Proof::Session | Proof::Bearer | Proof::ApiToken | Proof::AccessToken => None,
        }
    }

    fn words(&self, denied: &Denied) -> Cow<'static, str> {
        if let Held::NoneOf(ways) = &denied.held {
            let words: Vec<_> = ways.iter().map(|way| self.words(way)).collect();
            return Cow::Owned(words.join(" Or: "));
        }
        if let Some(noun) = self.noun() {
            return Cow::Owned(words_for_machine(noun, denied));
        }
        match denied.held.sentence() {
            Some(held) => Cow::Owned(format!("{} {held}", denied.sentence)),
            None => Cow::Borrowed(denied.sentence),
        }
    }

    fn switch(&self, site: &Site) -> AccountSwitch {
        site.provider(self.provider)
            .map_or(AccountSwitch::Asks, |face| face.switch)
    }

    /// Each asks the provider anew, or it would take the same account again without a word. Where it
    /// does so all the same, nothing here promises another one.
    pub(super) fn links(&self, site: &Site) -> Vec<Link> {
        let again = site.start(self.provider, self.return_to);
        let start = with_switch(&again);
        let account_switch = self.switch(site);
        // The same account, of which a new session may know more.
        let is_again = self.denied.held.may_be_more() && account_switch == AccountSwitch::Asks;
        let switch: Vec<Link> = match account_switch {
            AccountSwitch::Asks => vec![Link::new("Use another account", start)],
            AccountSwitch::SignOutFirst { page } => page
                .map(|page| Link::beside("Open the provider's page", page.to_owned()))
                .into_iter()
                .chain([Link::new("Sign in again", start)])
                .collect(),
        };
        let again = is_again.then(|| Link::new("Sign in again", again));
        let mut links: Vec<Link> = again.into_iter().chain(switch).collect();
        if site.only_provider().is_none() {
            let chooser = with_switch(&site.sign_in(self.return_to));
            links.push(Link::new("Sign in another way", chooser));
        }
        links.push(Link::new("Sign out", site.sign_out_at(self.provider)));
        links
    }
}

/// What a machine has where the list looked.
fn words_for_machine(noun: &str, denied: &Denied) -> String {
    match (&*denied.rule, &denied.held) {
        ("groups", Held::Names { count: 0, .. }) => {
            format!("{noun} is in no group, and this needs one.")
        }
        ("groups", Held::Names { first, .. }) => {
            let groups = first.join(", ");
            format!("{noun} is in the groups {groups}; none of them may use this.")
        }
        ("providers", _) => format!("{noun} may not use this."),
        ("emails" | "domains", _) => format!("This needs an email address. {noun} has none."),
        (_, held @ (Held::Shown { .. } | Held::Scopes { .. })) => {
            let held = held.sentence().unwrap_or_default();
            format!("{} {held}", denied.sentence)
        }
        _ => denied.sentence.replace("Your account", noun),
    }
}
