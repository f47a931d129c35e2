//! Which users of a provider may pass. Pure.
//!
//! Different lists are joined by *and*, entries of one list by *or*: `emails` and `groups` together mean one of these users who is also
//! in one of these groups. A list that is not given requires nothing. If no list is given, nobody passes.

use std::fmt;

use crate::{
    access::{Allow, AllowList},
    credential::Proof,
    identity::{Gap, GapCause, Identity, Withheld},
    text::Text,
};

/// Who may not pass, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The key below `allow` that says no, for the log.
    pub rule: String,
    /// What the person reads.
    pub sentence: &'static str,
    /// What they have where the list looked.
    pub held: Held,
}

impl Denied {
    /// The same of whoever came with such a credential. Where it rests on no session, none had too little room, and no login helps.
    #[must_use]
    pub fn of_proof(mut self, proof: Proof) -> Self {
        if !proof.rests_on_session() {
            self.held.forget_omitted();
        }
        self
    }
}

/// What somebody has where a list of `allow` looks. The commonest error of a setup is a list that looks where the
/// provider says nothing, so this is told, to the log by its `Display`, and to the person it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nobody knows any more: a session keeps of a list only what was on it.
    NotKept,
    /// The provider said nothing there.
    Absent {
        /// The path of the claim.
        claim: String,
    },
    /// The provider said that there is something, and not what.
    Withheld {
        /// The path of the claim.
        claim: String,
        /// Why not.
        why: Withheld,
    },
    /// An address is there, and nothing vouches for it.
    Unvouched {
        /// The path of the claim that would.
        by: String,
    },
    /// The credential has not all the scopes that are needed, which these are (RFC 6750 §3.1 has them told).
    Scopes {
        /// Those.
        needed: Vec<String>,
    },
    /// None of several ways in is open: why, of each.
    NoneOf(Vec<Denied>),
    /// What the request itself shows, whatever a provider says.
    Shown {
        /// What: an address, a kind of credential.
        what: &'static str,
        /// And which.
        name: String,
    },
    /// So many names.
    Names {
        /// The path of the claim; none where another place lists them.
        claim: Option<String>,
        /// The first of them, each cut short.
        first: Box<[String]>,
        /// How many in all.
        count: usize,
        /// How many of them the session had no room for. Those that rules named at the login are not among them.
        omitted: u32,
        /// How many more stand there that are no names.
        unusable: u32,
    },
}

impl Held {
    /// The names, as many as are told.
    pub(crate) fn names(
        claim: Option<&str>,
        names: impl ExactSizeIterator<Item = impl AsRef<str>>,
    ) -> Self {
        let count = names.len();
        let shown = |name: &str| {
            let plain = name.chars().filter(|letter| !letter.is_control());
            plain.take(LONGEST_TOLD).collect()
        };
        let first = names.take(MOST_TOLD).map(|name| shown(name.as_ref()));
        Self::Names {
            claim: claim.map(str::to_owned),
            first: first.collect(),
            count,
            omitted: 0,
            unusable: 0,
        }
    }

    /// The same, with so many more for which there was no room, and so many that are no names.
    pub(crate) fn lacking(mut self, omitted_names: u32, unusable_names: u32) -> Self {
        if let Self::Names {
            count,
            omitted,
            unusable,
            ..
        } = &mut self
        {
            let further = usize::try_from(omitted_names).unwrap_or(usize::MAX);
            *count = count.saturating_add(further);
            (*omitted, *unusable) = (omitted_names, unusable_names);
        }
        self
    }

    /// What was noted at the login.
    fn gap(gap: &Gap) -> Self {
        let claim = gap.claim.to_string();
        match gap.cause {
            GapCause::Absent => Self::Absent { claim },
            GapCause::Withheld(why) => Self::Withheld { claim, why },
            GapCause::Empty => Self::names(Some(&claim), std::iter::empty::<&str>()),
        }
    }

    /// Whether a new login may find more: the rule may be newer than the session, which had no room for all.
    pub fn may_be_more(&self) -> bool {
        match self {
            Self::Names { omitted, .. } => *omitted > 0,
            Self::NoneOf(ways) => ways.iter().any(|way| way.held.may_be_more()),
            _ => false,
        }
    }

    /// Why the provider withholds what is asked for, if it does.
    pub fn withheld(&self) -> Option<Withheld> {
        match self {
            Self::Withheld { why, .. } => Some(*why),
            Self::NoneOf(ways) => ways.iter().find_map(|way| way.held.withheld()),
            _ => None,
        }
    }

    /// Without what there was no room for.
    fn forget_omitted(&mut self) {
        match self {
            Self::Names { omitted, .. } => *omitted = 0,
            Self::NoneOf(ways) => ways.iter_mut().for_each(|way| way.held.forget_omitted()),
            _ => {}
        }
    }

    /// The scopes that are needed, where somebody with them would pass.
    pub fn needed_scopes(&self) -> Option<&[String]> {
        match self {
            Self::Scopes { needed } => Some(needed),
            Self::NoneOf(ways) => ways.iter().find_map(|way| way.held.needed_scopes()),
            _ => None,
        }
    }

    /// What the person reads of it: their own data, and nothing of the rule.
    pub fn sentence(&self) -> Option<String> {
        match self {
            Self::NotKept | Self::Unvouched { .. } | Self::NoneOf(_) => None,
            Self::Scopes { needed } => {
                Some(format!("The token needs all of: {}.", needed.join(", ")))
            }
            Self::Shown { what, name } => Some(format!("Your {what} is {name}.")),
            Self::Absent { .. } => Some("Your provider said nothing about that.".to_owned()),
            Self::Withheld { why, .. } => Some(why.sentence().to_owned()),
            Self::Names {
                first,
                count,
                omitted,
                unusable,
                ..
            } => {
                let named = match count.saturating_sub(first.len()) {
                    _ if *count == 0 => "none for you".to_owned(),
                    0 => first.join(", "),
                    more => format!("{} and {more} more", first.join(", ")),
                };
                let lacks = match omitted {
                    0 => String::new(),
                    omitted => format!(
                        " Your session had no room for {omitted} of them. If this was opened to one of those after you signed in, \
                         sign in again."
                    ),
                };
                let unread = match unusable {
                    0 => String::new(),
                    unusable => format!(" Of what it sent, {unusable} cannot be read as names."),
                };
                Some(format!("Your provider named {named}.{lacks}{unread}"))
            }
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotKept => {
                formatter.write_str("what the provider said there is not known any more")
            }
            Self::Scopes { needed } => {
                write!(
                    formatter,
                    "the credential lacks one of {}",
                    needed.join(" ")
                )
            }
            Self::NoneOf(ways) => {
                let told = ways.iter().map(|way| format!("{}: {}", way.rule, way.held));
                formatter.write_str(&told.collect::<Vec<_>>().join("; "))
            }
            Self::Shown { what, name } => write!(formatter, "the {what} is {name}"),
            Self::Absent { claim } => write!(formatter, "the claim \"{claim}\" is absent"),
            Self::Withheld { claim, why } => {
                write!(
                    formatter,
                    "the provider withholds the claim \"{claim}\", {why}"
                )
            }
            Self::Unvouched { by } => write!(
                formatter,
                "there is an address, and \"{by}\" does not vouch for it"
            ),
            Self::Names {
                claim,
                first,
                count,
                omitted,
                unusable,
            } => {
                match claim {
                    Some(claim) => write!(formatter, "the claim \"{claim}\" holds ")?,
                    None => formatter.write_str("they have ")?,
                }
                match count {
                    0 => formatter.write_str("nothing"),
                    count if *count > first.len() => {
                        write!(formatter, "{count}, the first {}: ", first.len())?;
                        formatter.write_str(&first.join(", "))
                    }
                    count => write!(formatter, "{count}: {}", first.join(", ")),
                }?;
                match omitted {
                    0 => Ok(()),
                    omitted => write!(
                        formatter,
                        "; the session had no room for {omitted} of them, and if the rule is newer than it, they have to sign in again"
                    ),
                }?;
                match unusable {
                    0 => Ok(()),
                    unusable => write!(
                        formatter,
                        "; beside it {unusable} that are no names: no text, too long, or with control characters"
                    ),
                }
            }
        }
    }
}

/// Names that are told at most.
const MOST_TOLD: usize = 20;
/// Characters of each of these.
const LONGEST_TOLD: usize = 100;

/// Whether `identity` may pass.
pub fn check(allow: &Allow, identity: &Identity) -> Result<(), Denied> {
    if *allow == Allow::Lists(Vec::new()) {
        return Err(Denied {
            rule: "allow".to_owned(),
            sentence: "Nobody is allowed to sign in here this way yet.",
            held: Held::NotKept,
        });
    }
    allow
        .lists()
        .iter()
        .try_for_each(|list| fits(list, identity))
}

/// Whether `identity` is on `list`.
///
/// # Errors
/// That it is not, and what it holds there.
pub fn fits(list: &AllowList, identity: &Identity) -> Result<(), Denied> {
    let any = |fits: &dyn Fn(&str) -> bool| list.entries.iter().any(|entry| fits(entry));
    let email = identity.email.as_ref().map(|email| &**email.bytes());
    let (is_in, sentence) = match list.key.as_str() {
        "emails" | "domains" if email.is_none() => (
            false,
            "This needs an email address that your provider has verified, and your account has none.",
        ),
        key @ ("emails" | "domains") => (
            any(&|entry| {
                email.is_some_and(|email| {
                    if key == "emails" {
                        entry.as_bytes().eq_ignore_ascii_case(email)
                    } else {
                        is_in_domain(entry, email)
                    }
                })
            }),
            "Your email address is not one of those that may use this.",
        ),
        "groups" => (
            any(&|entry| identity.groups.iter().any(|group| group.is(entry))),
            "Your account is in none of the groups that may use this.",
        ),
        key => (
            any(&|entry| {
                let has = |(of, is): &(Text, Text)| of.is(key) && same(list, is, entry);
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
        held: held(&list.key, identity),
    })
}

/// What a session still knows of where the list `key` looks.
pub fn held(key: &str, identity: &Identity) -> Held {
    let one = |text: &Option<Text>| match text {
        Some(text) => Held::names(None, [text.as_str()].into_iter()),
        None => Held::NotKept,
    };
    let notes = &identity.notes;
    let gap = notes.gaps.iter().find(|gap| gap.list.as_str() == key);
    let held = match (gap, key) {
        (Some(gap), _) => Held::gap(gap),
        (None, "groups") => Held::names(None, identity.groups.iter().map(Text::as_str)),
        (None, "emails" | "domains") => one(&identity.email),
        (None, "users") => one(&identity.login),
        (None, _) => Held::NotKept,
    };
    if key == "groups" {
        held.lacking(notes.omitted_groups, notes.unusable_groups)
    } else {
        held
    }
}

/// Whether what somebody has is the `entry` that `list` names. Names that their providers keep without
/// regard to case are compared so; all else is exact.
pub(crate) fn same(list: &AllowList, has: &str, entry: &str) -> bool {
    if list.ignores_case {
        has.eq_ignore_ascii_case(entry)
    } else {
        has == entry
    }
}

/// `example.com` is that domain alone; `.example.com` is what lies below it. No guessing about
/// internationalised names: what is not the same ASCII is another domain.
fn is_in_domain(allowed: &str, email: &[u8]) -> bool {
    let allowed = allowed.as_bytes();
    let domain = memchr::memrchr(b'@', email).map_or(&b""[..], |at| &email[at + 1..]);
    if allowed.first() != Some(&b'.') {
        // Nearly always written alike, which is told sooner.
        return domain == allowed || domain.eq_ignore_ascii_case(allowed);
    }
    domain
        .len()
        .checked_sub(allowed.len())
        .filter(|&start| start > 0)
        .is_some_and(|start| domain[start..].eq_ignore_ascii_case(allowed))
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
            notes: crate::identity::Notes::default(),
            authentication: crate::identity::Authentication::default(),
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
    fn what_somebody_has_is_told_and_bounded() {
        let names: Vec<String> = (0..300).map(|number| format!("g{number}")).collect();
        let many = Held::names(Some("groups"), names.iter());
        let line = many.to_string();
        assert!(
            line.starts_with("the claim \"groups\" holds 300, the first 20: g0, g1,"),
            "{line}"
        );
        assert!(line.ends_with(", g19"), "{line}");
        assert!(many.sentence().unwrap().ends_with("g19 and 280 more."));
        let long = Held::names(None, ["x\ny".repeat(9_999)].iter());
        assert!(long.to_string().len() < 150 && !long.to_string().contains('\n'));
        let none = Held::names(Some("groups"), std::iter::empty::<&str>());
        assert_eq!(none.to_string(), "the claim \"groups\" holds nothing");
        let denied = check(&lists(&[], &[], &["ops"]), &identity(None, &["dev"])).unwrap_err();
        assert_eq!(denied.held.to_string(), "they have 1: dev");
    }

    #[test]
    fn groups_that_a_session_had_no_room_for_are_told_of() {
        let mut cut = identity(None, &["dev", "web"]);
        cut.notes.omitted_groups = 98;
        let held = check(&lists(&[], &[], &["ops"]), &cut).unwrap_err().held;
        assert!(held.may_be_more());
        let line = held.to_string();
        assert!(
            line.starts_with(
                "they have 100, the first 2: dev, web; the session had no room for 98"
            ),
            "{line}"
        );
        let sentence = held.sentence().unwrap();
        assert!(sentence.contains("dev, web and 98 more."), "{sentence}");
        assert!(sentence.ends_with("sign in again."), "{sentence}");
    }

    #[test]
    fn what_is_no_name_is_told_of_and_no_login_helps() {
        for (groups, gap, line, sentence) in [
            (
                &[][..],
                true,
                "the claim \"groups\" holds nothing; beside it 2 that are no names",
                "Your provider named none for you. Of what it sent, 2 cannot be read as names.",
            ),
            (
                &["dev"],
                false,
                "they have 1: dev; beside it 2 that are no names",
                "Your provider named dev. Of what it sent, 2 cannot be read as names.",
            ),
        ] {
            let mut identity = identity(None, groups);
            identity.notes.unusable_groups = 2;
            identity.notes.gaps = gap
                .then(|| Gap {
                    list: "groups".into(),
                    claim: "groups".into(),
                    cause: GapCause::Empty,
                })
                .into_iter()
                .collect();
            let held = check(&lists(&[], &[], &["ops"]), &identity)
                .unwrap_err()
                .held;
            assert!(!held.may_be_more());
            assert!(held.to_string().starts_with(line), "{held}");
            assert_eq!(held.sentence().as_deref(), Some(sentence));
        }
    }

    #[test]
    fn what_was_absent_at_the_login_is_told_apart_from_what_was_empty() {
        let with = |cause| {
            let mut identity = identity(None, &[]);
            identity.notes.gaps = vec![Gap {
                list: "groups".into(),
                claim: "roles".into(),
                cause,
            }];
            check(&lists(&[], &[], &["ops"]), &identity)
                .unwrap_err()
                .held
        };
        for (cause, line) in [
            (GapCause::Absent, "the claim \"roles\" is absent"),
            (GapCause::Empty, "the claim \"roles\" holds nothing"),
            (
                GapCause::Withheld(Withheld::TooMany),
                "the provider withholds the claim \"roles\", because there is too much of it (groups overage)",
            ),
            (
                GapCause::Withheld(Withheld::Elsewhere),
                "the provider withholds the claim \"roles\", and keeps it elsewhere (aggregated or distributed claims), where the gate does not read",
            ),
        ] {
            let held = with(cause);
            assert_eq!(held.to_string(), line);
            assert_eq!(
                held.withheld().map(GapCause::Withheld),
                Some(cause).filter(|cause| matches!(cause, GapCause::Withheld(_)))
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
