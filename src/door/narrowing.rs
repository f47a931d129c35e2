//! The lists in the query of the question, as in oauth2-proxy. Pure.
//!
//! They only narrow: a user whom the route lets pass must also be on each of them. So a client who can write the query gains
//! nothing. A parameter without a name lets nobody pass, because somebody meant to keep users out.

use url::form_urlencoded;

use crate::{
    access::{
        AllowList,
        allow::{self, Denied},
    },
    identity::Identity,
};

/// The parameters, each with the list of `allow` that says the same.
const PARAMETERS: [(&str, &str); 3] = [
    ("allowed_groups", "groups"),
    ("allowed_emails", "emails"),
    ("allowed_email_domains", "domains"),
];

/// What a question asks for beside the route: kinds of list are joined by *and*, entries of one list by *or*.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Narrowing {
    lists: Vec<AllowList>,
}

impl Narrowing {
    /// Reads a query. Each parameter may come again, and holds names with commas between.
    pub fn read(query: Option<&str>) -> Self {
        let mut lists: Vec<AllowList> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let Some((_, key)) = PARAMETERS.into_iter().find(|(known, _)| *known == name) else {
                continue;
            };
            let names = value
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty());
            let entries = names.map(|name| entry(key, name).to_owned());
            match lists.iter_mut().find(|list| list.key == key) {
                Some(list) => list.entries.extend(entries),
                None => lists.push(AllowList {
                    key: key.to_owned(),
                    entries: entries.collect(),
                    ignores_case: AllowList::always_ignores_case(key),
                }),
            }
        }
        Self { lists }
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// Whether `identity` is on each list.
    ///
    /// # Errors
    /// Which it is not on.
    pub fn judge(&self, identity: &Identity) -> Result<(), Denied> {
        self.lists.iter().try_for_each(|list| {
            // Of an address with two `@` readers take different domains.
            let email = identity.email.as_deref().unwrap_or_default();
            if list.key == "domains" && email.matches('@').count() > 1 {
                let nobody = AllowList {
                    entries: Vec::new(),
                    ..list.clone()
                };
                return allow::fits(&nobody, identity);
            }
            allow::fits(list, identity)
        })
    }
}

/// `*.example.com` is what lies below it, which a list of `allow` writes with a leading dot.
fn entry<'n>(key: &str, name: &'n str) -> &'n str {
    match name.strip_prefix('*') {
        Some(rest) if key == "domains" && rest.starts_with('.') => rest,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(query: &str, email: &str, groups: &[&str]) -> bool {
        let identity = Identity {
            email: Some(email.into()),
            groups: groups.iter().map(|group| (*group).into()).collect(),
            ..Identity::of("corp", "1")
        };
        Narrowing::read(Some(query)).judge(&identity).is_ok()
    }

    /// oauth2-proxy's own tables (`TestAuthOnlyAllowedGroups`, `…EmailDomains`, `…Emails`).
    #[test]
    fn lists_are_read_as_oauth2_proxy_reads_them() {
        for (groups, query, expected) in [
            (&["a", "b"][..], "", true),
            (&["a", "c"], "allowed_groups=a", true),
            (&["b"], "allowed_groups=a&allowed_groups=b,d", true),
            (&["a", "c"], "allowed_groups=a,b", true),
            (&["c"], "allowed_groups=a,c", true),
            (&["c"], "allowed_groups=a,b", false),
            (&["c"], "allowed_groups=b,c", true),
            (&[], "allowed_groups=a", false),
            (&["A"], "allowed_groups=a", false),
        ] {
            assert_eq!(
                passes(query, "toto@example.com", groups),
                expected,
                "{query}"
            );
        }
        for (email, domains, expected) in [
            ("toto@example.com", "example.com", true),
            ("toto@EXAMPLE.com", "example.COM", true),
            ("toto@example.com", "a.example.com", false),
            ("toto@example.com", "a.example.com,b.example.com", false),
            ("toto@example.com", "a.example.com,example.com", true),
            ("toto@example.com", "*.a.example.com", false),
            ("toto@example.com", "*.example.com", false),
            ("toto@foo.example.com", "*.example.com", true),
            ("toto@foo.example.com", ".example.com", true),
            (
                "toto@c.example.com",
                "a.b.c.example.com,*.c.example.com",
                false,
            ),
            (
                "toto@d.c.example.com",
                "a.b.c.example.com,*.c.example.com",
                true,
            ),
            ("attacker@evil.com@example.com", "example.com", false),
            ("attacker@evil.com@foo.example.com", "*.example.com", false),
            ("attacker@evil.com@foo.example.com", ".example.com", false),
            ("toto@evilexample.com", "*.example.com", false),
            ("toto@example.com", "*", false),
        ] {
            let query = format!("allowed_email_domains={domains}");
            assert_eq!(passes(&query, email, &[]), expected, "{email} {domains}");
        }
        for (emails, expected) in [
            ("toto@example.com", true),
            ("tete@example.com", false),
            ("tete@example.com,tutu@example.com", false),
            ("tete@example.com,toto@example.com", true),
        ] {
            let query = format!("allowed_emails={emails}");
            assert_eq!(
                passes(&query, "toto@example.com", &[]),
                expected,
                "{emails}"
            );
        }
    }

    #[test]
    fn kinds_are_joined_by_and_and_a_parameter_without_a_name_names_nobody() {
        for (query, expected) in [
            ("allowed_groups=a&allowed_emails=toto@example.com", true),
            ("allowed_groups=b&allowed_emails=toto@example.com", false),
            ("allowed_groups=a&allowed_emails=tete@example.com", false),
            ("allowed_groups", false),
            ("allowed_groups=", false),
            ("allowed_groups=,%20,", false),
            ("allowed_groups=&allowed_groups=a", true),
            ("allowed_groups=%20a%2Cb", true),
            ("allowed%5Fgroups=b", false),
            ("groups=b&Allowed_Groups=b", true),
        ] {
            assert_eq!(
                passes(query, "toto@example.com", &["a"]),
                expected,
                "{query}"
            );
        }
        assert!(Narrowing::read(None).is_empty() && Narrowing::read(Some("a=b")).is_empty());
    }
}
