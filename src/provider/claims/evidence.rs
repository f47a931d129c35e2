//! What the allow lists found in a provider's answer, for the log line of a refusal. Pure.

use serde_json::{Map, Value};

use super::{ClaimRules, find, value::names, vouched_address};
use crate::{access::allow::Held, text::Text};

/// What each allow list looked at, by the list's key. No part of a session: it is told at the login alone.
#[derive(Debug, Default)]
pub struct Evidence(Vec<(String, Held)>);

impl Evidence {
    /// What the list `key` looked at.
    pub fn of(&self, key: &str) -> Option<&Held> {
        let mut found = self.0.iter();
        found.find(|(of, _)| of == key).map(|(_, held)| held)
    }
}

impl ClaimRules {
    /// What the allow lists see in `claims`, and in what the provider `reported` for its own lists.
    pub fn evidence(&self, claims: &Map<String, Value>, reported: &[(Text, Text)]) -> Evidence {
        let open = self.without_unvouched(claims);
        let lists = self.facts.lists().iter();
        let looked = lists.map(|list| {
            let key = list.key.as_str();
            let held = match (key, self.claim_of(key)) {
                ("emails" | "domains", _) => self.address_held(claims),
                (_, Some(path)) if key.starts_with("claims.") => named(&open, key, path),
                (_, Some(path)) => named(claims, key, path),
                (_, None) => {
                    let own: Vec<&str> = reported
                        .iter()
                        .filter(|(of, _)| of.as_str() == key)
                        .map(|(_, name)| name.as_str())
                        .collect();
                    Held::names(None, own.into_iter())
                }
            };
            (list.key.clone(), held)
        });
        Evidence(looked.collect())
    }

    fn address_held(&self, claims: &Map<String, Value>) -> Held {
        let (email, verified) = (&self.names.email, &self.names.email_verified);
        match vouched_address(claims, email, verified) {
            Some(address) => Held::names(Some(email), [address.as_str()].into_iter()),
            None if find(claims, email).is_none() => Held::Absent {
                claim: email.clone(),
            },
            None => Held::Unvouched {
                by: verified.clone(),
            },
        }
    }
}

fn named(claims: &Map<String, Value>, list: &str, path: &str) -> Held {
    let Some(value) = find(claims, path) else {
        return Held::Absent {
            claim: path.to_owned(),
        };
    };
    let (names, unusable) = names(list, value);
    Held::names(Some(path), names.into_iter()).lacking(0, unusable)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        access::Allow,
        provider::{claims::ClaimNames, settings::ProviderSettings},
    };

    #[test]
    fn each_list_tells_what_it_looked_at() {
        let lists: &[(&str, &[&str])] = &[
            ("groups", &["ops"]),
            ("emails", &["a@b.example"]),
            ("users", &["ada"]),
            ("claims.department.name", &["eng"]),
            ("orgs", &["acme"]),
        ];
        let config = ProviderSettings {
            allow: Allow::for_test(lists),
            ..ProviderSettings::for_test("corp", "")
        };
        let rules = ClaimRules::new(&config, ClaimNames::standard(), &[]);
        let read = |claims: Value, reported: &[(Text, Text)]| {
            let evidence = rules.evidence(claims.as_object().unwrap(), reported);
            let read = lists.iter().map(|(key, _)| evidence.of(key).unwrap());
            read.map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            read(json!({ "sub": "1" }), &[]),
            [
                "the claim \"groups\" is absent",
                "the claim \"email\" is absent",
                "the claim \"preferred_username\" is absent",
                "the claim \"department.name\" is absent",
                "they have nothing",
            ]
        );
        let claims = json!({
            "sub": "1", "groups": ["a", "b"], "email": "x@y.example", "email_verified": false,
            "preferred_username": "eve", "department": { "name": [] },
        });
        let reported = [("orgs".into(), "other".into())];
        let objects = read(json!({ "groups": ["a", { "id": 1 }] }), &[]);
        assert!(
            objects[0].starts_with("the claim \"groups\" holds 1: a; beside it 1 that"),
            "{objects:?}"
        );
        assert_eq!(
            read(claims, &reported),
            [
                "the claim \"groups\" holds 2: a, b",
                "there is an address, and \"email_verified\" does not vouch for it",
                "the claim \"preferred_username\" holds 1: eve",
                "the claim \"department.name\" holds nothing",
                "they have 1: other",
            ]
        );
    }
}
