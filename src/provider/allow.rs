//! Pure: who of a provider's users may pass.
//!
//! Kinds of list are joined by *and*, entries of one list by *or*: `emails` and `groups` together mean
//! one of these people who is also in one of these groups. A list that is not given asks for nothing,
//! and lists of which none is given let nobody pass.

use crate::{
    config::{Allow, AllowList},
    session::Identity,
    text::Text,
};

/// Who may not pass, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The key below `allow` that says no, for the log.
    pub rule: String,
    /// What the person reads.
    pub sentence: &'static str,
}

/// Whether `identity` may pass.
pub fn check(allow: &Allow, identity: &Identity) -> Result<(), Denied> {
    if *allow == Allow::Lists(Vec::new()) {
        return Err(Denied {
            rule: "allow".to_owned(),
            sentence: "Nobody is allowed to sign in here this way yet.",
        });
    }
    allow
        .lists()
        .iter()
        .try_for_each(|list| fits(list, identity))
}

fn fits(list: &AllowList, identity: &Identity) -> Result<(), Denied> {
    let any = |fits: &dyn Fn(&str) -> bool| list.entries.iter().any(|entry| fits(entry));
    let email = identity.email.as_deref();
    let (is_in, sentence) = match list.key.as_str() {
        "emails" | "domains" if email.is_none() => (
            false,
            "This needs an email address that your provider has verified, and your account has none.",
        ),
        key @ ("emails" | "domains") => (
            any(&|entry| {
                email.is_some_and(|email| {
                    if key == "emails" {
                        entry.eq_ignore_ascii_case(email)
                    } else {
                        is_in_domain(entry, email)
                    }
                })
            }),
            "Your email address is not one of those that may use this.",
        ),
        "groups" => (
            any(&|entry| identity.groups.iter().any(|group| group.as_str() == entry)),
            "Your account is in none of the groups that may use this.",
        ),
        key => (
            any(&|entry| {
                let has = |(of, is): &(Text, Text)| of.as_str() == key && same(list, is, entry);
                identity.memberships.iter().any(has)
            }),
            "Your account is not one of those that may use this.",
        ),
    };
    if is_in {
        return Ok(());
    }
    Err(Denied {
        rule: list.key.clone(),
        sentence,
    })
}

/// Whether what somebody has is the `entry` that `list` names. Names that their providers keep without
/// regard to case are compared so; all else is exact.
pub(super) fn same(list: &AllowList, has: &str, entry: &str) -> bool {
    if list.ignores_case {
        has.eq_ignore_ascii_case(entry)
    } else {
        has == entry
    }
}

/// `example.com` is that domain alone; `.example.com` is what lies below it. No guessing about
/// internationalised names: what is not the same ASCII is another domain.
fn is_in_domain(allowed: &str, email: &str) -> bool {
    let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain);
    if !allowed.starts_with('.') {
        // Nearly always written alike, which is told sooner.
        return domain == allowed || domain.eq_ignore_ascii_case(allowed);
    }
    domain
        .len()
        .checked_sub(allowed.len())
        .filter(|&start| start > 0)
        .and_then(|start| domain.get(start..))
        .is_some_and(|end| end.eq_ignore_ascii_case(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Text;

    fn identity(email: Option<&str>, groups: &[&str]) -> Identity {
        Identity {
            provider: Text::from("corp"),
            subject: Text::from("1"),
            login: Some(Text::from("boss@corp.example")),
            email: email.map(Text::from),
            name: None,
            picture: None,
            groups: groups.iter().copied().map(Text::from).collect(),
            memberships: Vec::new(),
            claims: Vec::new(),
        }
    }

    fn lists(emails: &[&str], domains: &[&str], groups: &[&str]) -> Allow {
        let lists = [("emails", emails), ("domains", domains), ("groups", groups)];
        let given: Vec<_> = lists
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .collect();
        Allow::for_test(&given)
    }

    fn rule(allow: &Allow, email: Option<&str>, groups: &[&str]) -> Option<String> {
        check(allow, &identity(email, groups))
            .err()
            .map(|denied| denied.rule)
    }

    #[test]
    fn anyone_is_anyone_and_nothing_is_nobody() {
        assert_eq!(rule(&Allow::Anyone, None, &[]), None);
        assert_eq!(
            rule(&lists(&[], &[], &[]), Some("a@corp.example"), &["x"]),
            Some("allow".to_owned())
        );
    }

    #[test]
    fn emails_deny_all_others() {
        let allow = lists(&["jane@corp.example", "Joe@Corp.Example"], &[], &[]);
        for good in ["jane@corp.example", "JANE@corp.EXAMPLE", "joe@corp.example"] {
            assert_eq!(rule(&allow, Some(good), &[]), None, "{good}");
        }
        for bad in [
            "jim@corp.example",
            "jane@corp.example.evil",
            "xjane@corp.example",
            "jane",
        ] {
            assert_eq!(
                rule(&allow, Some(bad), &[]),
                Some("emails".to_owned()),
                "{bad}"
            );
        }
        // An address that nobody vouches for is none, and a login that looks like one is none either.
        assert_eq!(
            rule(&allow, None, &["jane@corp.example"]),
            Some("emails".to_owned())
        );
        assert_eq!(
            rule(&lists(&["boss@corp.example"], &[], &[]), None, &[]),
            Some("emails".to_owned())
        );
    }

    #[test]
    fn domains_are_exact_or_below() {
        let exact = lists(&[], &["corp.example"], &[]);
        let below = lists(&[], &[".corp.example"], &[]);
        assert_eq!(rule(&exact, Some("a@CORP.example"), &[]), None);
        assert_eq!(rule(&below, Some("a@eu.corp.EXAMPLE"), &[]), None);
        assert_eq!(rule(&below, Some("a@x.eu.corp.example"), &[]), None);
        for (allow, bad) in [
            (&exact, "a@eu.corp.example"),
            (&exact, "a@evilcorp.example"),
            (&exact, "a@corp.example.evil"),
            (&exact, "corp.example@evil"),
            (&exact, "a@c\u{43e}rp.example"),
            (&below, "a@corp.example"),
            (&below, "a@evilcorp.example"),
            (&below, "a@.corp.example"),
            (&below, "a@corp.example.evil"),
        ] {
            assert_eq!(
                rule(allow, Some(bad), &[]),
                Some("domains".to_owned()),
                "{bad}"
            );
        }
        assert_eq!(rule(&exact, None, &[]), Some("domains".to_owned()));
    }

    #[test]
    fn groups_are_exact() {
        let allow = lists(&[], &[], &["admins", "ops"]);
        assert_eq!(rule(&allow, None, &["users", "ops"]), None);
        for bad in [
            &[][..],
            &["Admins"],
            &["admin"],
            &["admins "],
            &["admins,ops"],
        ] {
            assert_eq!(
                rule(&allow, None, bad),
                Some("groups".to_owned()),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn kinds_are_joined_by_and() {
        let allow = lists(&["a@x.example"], &["x.example"], &["ops"]);
        assert_eq!(rule(&allow, Some("a@x.example"), &["ops"]), None);
        assert_eq!(
            rule(&allow, Some("b@x.example"), &["ops"]),
            Some("emails".to_owned())
        );
        assert_eq!(
            rule(&allow, Some("a@x.example"), &[]),
            Some("groups".to_owned())
        );
        let allow = lists(&["a@x.example"], &["y.example"], &[]);
        assert_eq!(
            rule(&allow, Some("a@x.example"), &[]),
            Some("domains".to_owned())
        );
    }
}
