//! The identity after a refresh, when the provider may say less than at the login. Pure.
//!
//! A missing claim means one of two things: this source never had it, or the user has lost it. A lost group must take effect, and a
//! group that only the login's ID token had must not be lost. So the login notes in the session what other sources than the ID token
//! said ([`Notes::found_beside`]).

use serde_json::{Map, Value};

use super::{ClaimRules, find};
use crate::{
    identity::{Identity, Notes},
    text::Text,
};

/// Who speaks at a refresh, where not both do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoke {
    /// A new ID token; userinfo cannot be reached.
    Token,
    /// Userinfo; the provider gives no new ID token.
    Userinfo,
}

impl ClaimRules {
    /// What decides about somebody, or is told to the app, and `token` is silent about.
    pub fn silent_in(&self, token: &Map<String, Value>) -> Vec<String> {
        let names = &self.names;
        let mut paths: Vec<String> = [&names.groups, &names.email, &names.login]
            .into_iter()
            .chain(&self.wanted)
            .map(String::as_str)
            .chain(self.listed())
            .filter(|path| find(token, path).is_none())
            .map(str::to_owned)
            .collect();
        paths.sort();
        paths.dedup();
        paths
    }

    /// `identity`, read from `claims` at a refresh where only one of two places `spoke`, with what `previous` had
    /// from the other. What is said otherwise (an address no longer vouched for, no groups) is taken at its word.
    pub fn completed_by(
        &self,
        identity: Identity,
        claims: &Map<String, Value>,
        previous: &Identity,
        spoke: Spoke,
    ) -> Identity {
        let names = &self.names;
        let notes = &previous.notes;
        let is_noted = |path: &str| {
            notes
                .found_beside
                .iter()
                .any(|noted| noted.as_str() == path)
        };
        let stands =
            |path: &str| find(claims, path).is_none() && (spoke == Spoke::Token || !is_noted(path));
        let keep = |path: &str, new: Option<Text>, old: &Option<Text>| {
            if stands(path) { old.clone() } else { new }
        };
        // A vendor's own are read from the ID token.
        let list_stands = |list: &str| {
            let claim = self.claim_of(list);
            claim.map_or(spoke == Spoke::Userinfo, stands)
        };
        let pairs =
            |new: Vec<(Text, Text)>, old: &[(Text, Text)], stands: &dyn Fn(&str) -> bool| {
                let kept = old.iter().filter(|(key, _)| stands(key)).cloned();
                let said = new.into_iter().filter(|(key, _)| !stands(key));
                said.chain(kept).collect()
            };
        let groups_stand = stands(&names.groups);
        let new_notes = completed_notes(identity.notes, notes, &names.groups, &stands);
        // The same address and no word about it: what vouched for it was said elsewhere.
        let unsaid = stands(&names.email_verified) && !is_noted(&names.email);
        let same = find(claims, &names.email).and_then(Value::as_str) == previous.email.as_deref();
        let email = if unsaid && same {
            previous.email.clone()
        } else {
            keep(&names.email, identity.email, &previous.email)
        };
        Identity {
            login: keep(&names.login, identity.login, &previous.login),
            email,
            name: keep(&names.name, identity.name, &previous.name),
            picture: keep(&names.picture, identity.picture, &previous.picture),
            groups: if groups_stand {
                previous.groups.clone()
            } else {
                identity.groups
            },
            memberships: pairs(identity.memberships, &previous.memberships, &list_stands),
            claims: pairs(identity.claims, &previous.claims, &stands),
            notes: new_notes,
            provider: identity.provider,
            subject: identity.subject,
            authentication: identity.authentication,
        }
    }
}

/// What is known of how somebody was told: of what `stands` as before, and of what is new.
fn completed_notes(
    new: Notes,
    previous: &Notes,
    groups: &str,
    stands: &dyn Fn(&str) -> bool,
) -> Notes {
    let of_groups = if stands(groups) { previous } else { &new };
    let (omitted_groups, unusable_groups) = (of_groups.omitted_groups, of_groups.unusable_groups);
    let mut omitted_claims = new.omitted_claims;
    omitted_claims.retain(|path| !stands(path));
    let old = previous.omitted_claims.iter().filter(|path| stands(path));
    omitted_claims.extend(old.cloned());
    let mut gaps = new.gaps;
    gaps.retain(|gap| !stands(&gap.claim));
    let old = previous.gaps.iter().filter(|gap| stands(&gap.claim));
    gaps.extend(old.cloned());
    Notes {
        omitted_groups,
        unusable_groups,
        omitted_claims,
        found_beside: previous.found_beside.clone(),
        userinfo_answered: previous.userinfo_answered,
        token_subject: new.token_subject.or_else(|| previous.token_subject.clone()),
        gaps,
    }
}
