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
        let lists = self.facts.lists().iter();
        let lists = lists.filter_map(|list| list.key.strip_prefix("claims."));
        let mut paths: Vec<String> = [&names.groups, &names.email, &names.login]
            .into_iter()
            .chain(&self.wanted)
            .map(String::as_str)
            .chain(lists)
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
        let list_stands = |key: &str| match key {
            "users" => stands(&names.login),
            // A vendor's own are read from the ID token.
            key => key
                .strip_prefix("claims.")
                .map_or(spoke == Spoke::Userinfo, stands),
        };
        let pairs =
            |new: Vec<(Text, Text)>, old: &[(Text, Text)], stands: &dyn Fn(&str) -> bool| {
                let kept = old.iter().filter(|(key, _)| stands(key)).cloned();
                let said = new.into_iter().filter(|(key, _)| !stands(key));
                said.chain(kept).collect()
            };
        let groups_stand = stands(&names.groups);
        let omitted = |identity: &Identity, of: bool| {
            let paths = identity.notes.omitted_claims.clone().into_iter();
            paths.filter(move |path| stands(path) == of)
        };
        let gaps = |identity: &Identity, of: bool| {
            let gaps = identity.notes.gaps.clone().into_iter();
            gaps.filter(move |gap| stands(&gap.claim) == of)
        };
        let new_notes = Notes {
            omitted_groups: if groups_stand {
                notes.omitted_groups
            } else {
                identity.notes.omitted_groups
            },
            unusable_groups: if groups_stand {
                notes.unusable_groups
            } else {
                identity.notes.unusable_groups
            },
            omitted_claims: omitted(&identity, false)
                .chain(omitted(previous, true))
                .collect(),
            found_beside: notes.found_beside.clone(),
            userinfo_answered: notes.userinfo_answered,
            token_subject: identity
                .notes
                .token_subject
                .clone()
                .or_else(|| notes.token_subject.clone()),
            gaps: gaps(&identity, false).chain(gaps(previous, true)).collect(),
        };
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
