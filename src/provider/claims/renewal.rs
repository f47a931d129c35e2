//! Pure: an identity after a renewal, when less may be said than at the login.
//!
//! Silence means one of two things: the place that speaks has never known it, or it is gone. A group that
//! somebody has lost must be felt, and one that only the login's ID token knew must not be lost. So the login notes,
//! in the session, what userinfo told.

use serde_json::{Map, Value};

use super::{ClaimRules, find};
use crate::{session::Identity, text::Text};

/// Who speaks at a renewal, where not both do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoke {
    /// A new ID token; userinfo cannot be reached.
    Token,
    /// Userinfo; the provider gives no new ID token.
    Userinfo,
}

/// Notes what userinfo told, among the memberships; no list has this name.
const USERINFO: &str = "@userinfo";

impl ClaimRules {
    /// `identity`, with a note of what an ID token was silent about and userinfo told: `whole` is what both said
    /// together. Where userinfo alone speaks later, its silence about that means that it is gone.
    pub fn noting_userinfo(
        &self,
        mut identity: Identity,
        token_silent: &[String],
        whole: &Map<String, Value>,
    ) -> Identity {
        let told: Vec<&str> = token_silent
            .iter()
            .map(String::as_str)
            .filter(|path| find(whole, path).is_some())
            .collect();
        if !told.is_empty() {
            let told = Text::from(told.join("\n"));
            identity.memberships.push((Text::from(USERINFO), told));
        }
        identity
    }

    /// What decides about somebody, or is told to the app, and `token` is silent about.
    pub fn silent_in(&self, token: &Map<String, Value>) -> Vec<String> {
        let names = &self.names;
        let lists = self.allow.lists().iter();
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

    /// `identity`, read from `claims` at a renewal where only one of two places `spoke`, with what `previous` had
    /// from the other. What is said otherwise (an address no longer vouched for, no groups) is taken at its word.
    pub fn completed_by(
        &self,
        identity: Identity,
        claims: &Map<String, Value>,
        previous: &Identity,
        spoke: Spoke,
    ) -> Identity {
        let names = &self.names;
        let noted = previous
            .memberships
            .iter()
            .filter(|(key, _)| key.as_str() == USERINFO);
        let noted: Vec<&str> = noted.flat_map(|(_, told)| told.split('\n')).collect();
        let stands = |path: &str| {
            find(claims, path).is_none() && (spoke == Spoke::Token || !noted.contains(&path))
        };
        let keep = |path: &str, new: Option<Text>, old: &Option<Text>| {
            if stands(path) { old.clone() } else { new }
        };
        let list_stands = |key: &str| match key {
            USERINFO => true,
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
        // The same address and no word about it: what vouched for it was said elsewhere.
        let unsaid = stands(&names.email_verified) && !noted.contains(&names.email.as_str());
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
            groups: if stands(&names.groups) {
                previous.groups.clone()
            } else {
                identity.groups
            },
            memberships: pairs(identity.memberships, &previous.memberships, &list_stands),
            claims: pairs(identity.claims, &previous.claims, &stands),
            provider: identity.provider,
            subject: identity.subject,
        }
    }
}
