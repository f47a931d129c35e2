//! Where the lists of rules look in a provider's answer and nothing is found. A session notes it, so that a refusal can say later
//! whether a claim was absent or empty. Pure.

use serde_json::{Map, Value};

use super::{
    ClaimRules, find,
    value::{names, withheld},
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

    /// Where the list `list` looks; none where it is no claim.
    pub fn claim_of<'r>(&'r self, list: &'r str) -> Option<&'r str> {
        let names = &self.names;
        let path = match list {
            "groups" => &names.groups,
            "users" => &names.login,
            "emails" | "domains" => &names.email,
            other => other.strip_prefix("claims.")?,
        };
        Some(path).filter(|path| !path.is_empty())
    }

    /// The gaps that rules find in `claims`; and what is withheld of which the app is told, rules or not: groups, and claims for headers.
    pub(super) fn gaps(&self, claims: &Map<String, Value>) -> Vec<Gap> {
        let for_headers = self.wanted.iter();
        let for_headers = for_headers.map(|path| (format!("claims.{path}"), path));
        let told = for_headers.chain([("groups".to_owned(), &self.names.groups)]);
        let further = told.filter_map(|(list, path)| {
            let is_named = self.lists().any(|(named, _)| named == list);
            let why = withheld(claims, path).filter(|_| !is_named)?;
            Some(Gap {
                cause: GapCause::Withheld(why),
                list: Text::from(list),
                claim: Text::from(path.as_str()),
            })
        });
        let gap = |(list, claim): (&str, Option<&str>)| {
            let claim = claim?;
            Some(Gap {
                cause: cause(claims, list, claim)?,
                list: Text::from(list),
                claim: Text::from(claim),
            })
        };
        self.lists().filter_map(gap).chain(further).collect()
    }
}

fn cause(claims: &Map<String, Value>, list: &str, path: &str) -> Option<GapCause> {
    let Some(value) = find(claims, path) else {
        let withheld = withheld(claims, path).map(GapCause::Withheld);
        return withheld.or(Some(GapCause::Absent));
    };
    let (names, _) = names(list, value);
    let is_empty = names.iter().all(String::is_empty);
    is_empty.then_some(GapCause::Empty)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        access::Allow,
        identity::Withheld,
        identity_headers::HeaderSource,
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
                of(
                    "claims.dept",
                    "dept",
                    GapCause::Withheld(Withheld::Elsewhere)
                ),
            ]
        );
    }

    #[test]
    fn what_is_no_name_is_not_there() {
        let lists: &[(&str, &[&str])] = &[("groups", &["ops"]), ("claims.dept", &["eng"])];
        for nothing in [
            json!([{ "id": 1, "name": "ops" }]),
            json!(["o\nps"]),
            json!([true, 1.5, null]),
            json!(["x".repeat(1_025)]),
        ] {
            let found = gaps(&lists[..1], &json!({ "groups": nothing }));
            let empty = ("groups".to_owned(), "groups".to_owned(), GapCause::Empty);
            assert_eq!(found, [empty], "{nothing}");
        }
        let held = json!({ "groups": ["a", { "id": 1 }], "dept": [{ "id": 1 }, 7] });
        assert_eq!(gaps(lists, &held), []);
    }

    #[test]
    fn a_header_of_what_is_withheld_is_noted_once() {
        let dept = HeaderSource::Claim("dept".to_owned());
        let claims = json!({ "_claim_names": { "dept": "src" } });
        let lists: &[(&str, &[&str])] = &[("claims.dept", &["eng"])];
        for allow in [Allow::Anyone, Allow::for_test(lists)] {
            let config = ProviderSettings {
                allow,
                ..ProviderSettings::for_test("corp", "")
            };
            let rules = ClaimRules::new(&config, ClaimNames::standard(), &[&dept]);
            let gap = Gap {
                list: "claims.dept".into(),
                claim: "dept".into(),
                cause: GapCause::Withheld(Withheld::Elsewhere),
            };
            assert_eq!(rules.gaps(claims.as_object().unwrap()), [gap]);
        }
    }

    #[test]
    fn groups_that_are_withheld_are_noted_without_a_rule() {
        let claims = json!({ "hasgroups": true });
        let too_many = GapCause::Withheld(Withheld::TooMany);
        let withheld = ("groups".to_owned(), "groups".to_owned(), too_many);
        for lists in [&[] as &[(&str, &[&str])], &[("groups", &["a"])]] {
            assert_eq!(gaps(lists, &claims), std::slice::from_ref(&withheld));
        }
        assert_eq!(gaps(&[], &json!({})), []);
    }
}
