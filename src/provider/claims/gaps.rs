//! Where the lists of rules look in a provider's answer and nothing is found. A session notes it, so that a refusal can say later
//! whether a claim was absent or empty. Pure.

use serde_json::{Map, Value};

use super::{
    ClaimRules, find,
    value::{count, is_withheld},
};
use crate::{
    identity::{Gap, GapCause},
    text::Text,
};

impl ClaimRules {
    /// What each list of the rules looks at: its key and the claim's path. None where it is no claim.
    pub fn lists(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let lists = self.facts.lists().iter();
        lists.map(|list| (&*list.key, self.claim_of(&list.key)))
    }

    fn claim_of<'r>(&'r self, list: &'r str) -> Option<&'r str> {
        let names = &self.names;
        let path = match list {
            "groups" => &names.groups,
            "users" => &names.login,
            "emails" | "domains" => &names.email,
            other => other.strip_prefix("claims.")?,
        };
        Some(path).filter(|path| !path.is_empty())
    }

    /// The gaps that rules find in `claims`; and groups that are withheld, of which the app is told, rules or not.
    pub(super) fn gaps(&self, claims: &Map<String, Value>) -> Vec<Gap> {
        let groups = ("groups", Some(&*self.names.groups));
        let is_named = self.lists().any(|(list, _)| list == "groups");
        let further = (!is_named && is_withheld(claims, &self.names.groups)).then_some(groups);
        let gap = |(list, claim): (&str, Option<&str>)| {
            let claim = claim?;
            Some(Gap {
                cause: cause(claims, claim)?,
                list: Text::from(list),
                claim: Text::from(claim),
            })
        };
        self.lists().chain(further).filter_map(gap).collect()
    }
}

fn cause(claims: &Map<String, Value>, path: &str) -> Option<GapCause> {
    match find(claims, path) {
        None if is_withheld(claims, path) => Some(GapCause::Withheld),
        None => Some(GapCause::Absent),
        Some(Value::String(text)) => text.is_empty().then_some(GapCause::Empty),
        Some(value) => (count(value) == 0).then_some(GapCause::Empty),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        access::Allow,
        provider::{claims::ClaimNames, settings::ProviderSettings},
    };

    fn gaps(lists: &[(&str, &[&str])], claims: &Value) -> Vec<(String, String, GapCause)> {
        let config = ProviderSettings {
            allow: Allow::for_test(lists),
            ..ProviderSettings::for_test("corp", "")
        };
        let rules = ClaimRules::new(&config, ClaimNames::standard(), &[]);
        let gaps = rules.gaps(claims.as_object().unwrap()).into_iter();
        gaps.map(|gap| (gap.list.to_string(), gap.claim.to_string(), gap.cause))
            .collect()
    }

    #[test]
    fn absent_empty_and_withheld_are_told_apart() {
        let lists: &[(&str, &[&str])] = &[
            ("groups", &["ops"]),
            ("users", &["ada"]),
            ("claims.dept", &["eng"]),
            ("orgs", &["acme"]),
        ];
        let held = json!({ "groups": ["a"], "preferred_username": "ada", "dept": false });
        assert_eq!(gaps(lists, &held), []);
        let found = gaps(
            lists,
            &json!({ "groups": [], "preferred_username": null, "_claim_names": { "dept": "src" } }),
        );
        let of = |list: &str, claim: &str, cause| (list.to_owned(), claim.to_owned(), cause);
        assert_eq!(
            found,
            [
                of("groups", "groups", GapCause::Empty),
                of("users", "preferred_username", GapCause::Absent),
                of("claims.dept", "dept", GapCause::Withheld),
            ]
        );
    }

    #[test]
    fn groups_that_are_withheld_are_noted_without_a_rule() {
        let claims = json!({ "hasgroups": true });
        let withheld = ("groups".to_owned(), "groups".to_owned(), GapCause::Withheld);
        for lists in [&[] as &[(&str, &[&str])], &[("groups", &["a"])]] {
            assert_eq!(gaps(lists, &claims), std::slice::from_ref(&withheld));
        }
        assert_eq!(gaps(&[], &json!({})), []);
    }
}
