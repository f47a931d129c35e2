//! Pure: from what a provider says about somebody to an [`Identity`].
//!
//! Every provider brings its answer into one JSON object and names where things stand in it. What does
//! not fit (control characters, a second `@`, too long) is left out, because header lines and allow
//! lists are made of it; only without a usable subject there is no identity at all.

use serde_json::{Map, Value};

use crate::{
    config::{Allow, HeaderSource, ProviderConfig},
    session::Identity,
    text::Text,
};

/// Where a provider's answer has what an identity needs, each a [path](find).
#[derive(Debug, Clone)]
pub struct ClaimNames {
    /// The stable id.
    pub subject: String,
    /// The login name.
    pub login: String,
    /// The address.
    pub email: String,
    /// Whether the provider vouches for the address.
    pub email_verified: String,
    /// The full name.
    pub name: String,
    /// The picture's address.
    pub picture: String,
    /// The groups: a list of names, one name, or an object whose keys are the names.
    pub groups: String,
}

impl ClaimNames {
    /// OpenID Connect's standard claims (Core §5.1), and the groups where the configuration says.
    pub fn standard(groups: &str) -> Self {
        Self {
            subject: "sub".to_owned(),
            login: "preferred_username".to_owned(),
            email: "email".to_owned(),
            email_verified: "email_verified".to_owned(),
            name: "name".to_owned(),
            picture: "picture".to_owned(),
            groups: groups.to_owned(),
        }
    }
}

/// How the claims of one provider become an identity.
#[derive(Debug, Clone)]
pub struct ClaimRules {
    provider: Text,
    names: ClaimNames,
    /// Paths that the configuration's headers carry.
    wanted: Vec<String>,
    /// Groups that the configuration names: they survive where there are too many.
    named_groups: Vec<String>,
}

/// Why claims do not make an identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// No stable id, or one that is empty, too long or has control characters.
    #[error("the subject is missing or unusable")]
    Subject,
}

impl ClaimRules {
    /// Rules for the provider of `config`, whose answer has things where `names` says.
    pub fn new(config: &ProviderConfig, names: ClaimNames, headers: &[&HeaderSource]) -> Self {
        let mut wanted: Vec<String> = headers
            .iter()
            .filter_map(|source| match source {
                HeaderSource::Claim(path) => Some(path.clone()),
                _ => None,
            })
            .collect();
        wanted.sort();
        wanted.dedup();
        Self {
            provider: Text::from(config.name.as_str()),
            names,
            wanted,
            named_groups: match &config.allow {
                Allow::Anyone => Vec::new(),
                Allow::Lists(lists) => lists.groups.clone(),
            },
        }
    }

    /// Where things stand.
    pub fn names(&self) -> &ClaimNames {
        &self.names
    }

    /// The paths that headers carry.
    pub fn wanted(&self) -> &[String] {
        &self.wanted
    }

    /// Who `claims` speak of.
    pub fn identity(&self, claims: &Map<String, Value>) -> Result<Identity, ClaimError> {
        let text = |path: &str, limit| {
            let text = scalar(find(claims, path)?)?;
            (fits(&text, limit) && !text.trim().is_empty()).then(|| Text::from(text))
        };
        let verified = find(claims, &self.names.email_verified).is_some_and(is_true);
        let email = text(&self.names.email, MAX_EMAIL).filter(|email| verified && is_email(email));
        let claims_wanted = self.wanted.iter().filter_map(|path| {
            let text = header_text(find(claims, path)?)?;
            Some((Text::from(path.as_str()), Text::from(text)))
        });
        Ok(Identity {
            provider: self.provider.clone(),
            subject: text(&self.names.subject, MAX_SUBJECT).ok_or(ClaimError::Subject)?,
            login: text(&self.names.login, MAX_NAME),
            email,
            name: text(&self.names.name, MAX_NAME),
            picture: text(&self.names.picture, MAX_PICTURE),
            groups: self.groups(claims),
            claims: claims_wanted.collect(),
        })
    }

    /// The groups, bounded: a session lives in a cookie. Where there are too many, those that the
    /// allow list names come first, so that the bound never locks anybody out.
    fn groups(&self, claims: &Map<String, Value>) -> Vec<Text> {
        let mut groups = find(claims, &self.names.groups)
            .map(group_names)
            .unwrap_or_default();
        groups.retain(|group| !group.is_empty() && fits(group, MAX_GROUP));
        let bytes: usize = groups.iter().map(String::len).sum();
        if groups.len() > MAX_GROUPS || bytes > MAX_GROUP_BYTES {
            // Stable, so that the provider's order is kept within each half.
            groups.sort_by_key(|group| !self.named_groups.contains(group));
            let mut room = MAX_GROUP_BYTES;
            let kept = groups
                .iter()
                .take(MAX_GROUPS)
                .take_while(|group| {
                    let left = room.checked_sub(group.len());
                    room = left.unwrap_or(0);
                    left.is_some()
                })
                .count();
            groups.truncate(kept);
        }
        groups.into_iter().map(Text::from).collect()
    }
}

/// The value at `path`: keys and list indices joined by dots. A key that has dots itself
/// (`https://example.com/roles`) is found too; the longest fitting key wins.
pub fn find<'v>(claims: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    path.rmatch_indices('.').find_map(|(dot, _)| {
        let (key, rest) = (&path[..dot], &path[dot + 1..]);
        below(claims.get(key)?, rest)
    })
}

fn below<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    match value {
        Value::Object(members) => find(members, path),
        Value::Array(list) => {
            let (index, rest) = match path.split_once('.') {
                Some((index, rest)) => (index, Some(rest)),
                None => (path, None),
            };
            let element = list.get(index.parse::<usize>().ok()?)?;
            rest.map_or(Some(element), |rest| below(element, rest))
        }
        _ => None,
    }
}

/// Text or a number in decimal: ids are numbers at some providers. A number that JSON's reader could
/// only keep as a float is refused, because two ids would become one.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string()),
        _ => None,
    }
}

/// A claim as a header carries it: text, number or truth as it is, lists and objects as JSON.
fn header_text(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    (!text.is_empty() && fits(&text, MAX_CLAIM)).then_some(text)
}

/// Some providers write truth as text. Whatever else is there is no vouching.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Bool(truth) => *truth,
        Value::String(text) => text == "true",
        _ => false,
    }
}

fn group_names(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().filter_map(scalar).collect(),
        Value::Object(members) => members.keys().cloned().collect(),
        single => scalar(single).into_iter().collect(),
    }
}

/// One local part, one `@`, one domain, and nothing that could make two readers see two addresses
/// (`a@evil.example@corp.example` has passed for both).
fn is_email(text: &str) -> bool {
    let strange = |letter: char| {
        letter.is_whitespace() || letter.is_control() || "\"'<>()[],;:\\".contains(letter)
    };
    match text.split_once('@') {
        Some((local, domain)) => {
            !local.is_empty()
                && !domain.is_empty()
                && !domain.contains('@')
                && !text.contains(strange)
        }
        None => false,
    }
}

fn fits(text: &str, limit: usize) -> bool {
    text.len() <= limit && !text.contains(char::is_control)
}

/// Core §2: `sub` must not exceed 255 characters.
const MAX_SUBJECT: usize = 255;
/// RFC 5321 §4.5.3.1.3, without the angle brackets.
const MAX_EMAIL: usize = 254;
/// Names are for showing.
const MAX_NAME: usize = 255;
/// Addresses of pictures; `data:` URLs are longer and no use in a header.
const MAX_PICTURE: usize = 1024;
/// One claim that a header carries.
const MAX_CLAIM: usize = 2048;
/// One group's name.
const MAX_GROUP: usize = 255;
/// Groups of one identity.
const MAX_GROUPS: usize = 200;
/// All their names together: about two cookies.
const MAX_GROUP_BYTES: usize = 6 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::config::{AllowLists, ProviderKind};

    fn rules(groups: &str, wanted: &[&str], named: &[&str]) -> ClaimRules {
        let config = ProviderConfig {
            name: "corp".to_owned(),
            label: "Corp".to_owned(),
            kind: ProviderKind::Oidc {
                issuer: String::new(),
            },
            client_id: "id".to_owned(),
            client_secret: None,
            scopes: Vec::new(),
            allow: Allow::Lists(AllowLists {
                groups: named.iter().map(ToString::to_string).collect(),
                ..AllowLists::default()
            }),
            groups_claim: groups.to_owned(),
        };
        let sources: Vec<HeaderSource> = wanted
            .iter()
            .map(|path| HeaderSource::Claim((*path).to_owned()))
            .collect();
        let sources: Vec<&HeaderSource> = sources.iter().collect();
        ClaimRules::new(&config, ClaimNames::standard(groups), &sources)
    }

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(members) => members,
            other => panic!("{other}"),
        }
    }

    fn identity(value: Value) -> Identity {
        rules("groups", &[], &[]).identity(&object(value)).unwrap()
    }

    fn email(email: Value, verified: Value) -> Option<String> {
        let claims = json!({ "sub": "1", "email": email, "email_verified": verified });
        identity(claims).email.map(|email| email.to_string())
    }

    #[test]
    fn reads_the_standard_claims() {
        let identity = identity(json!({
            "sub": "248289761001", "preferred_username": "jane", "name": "Jane Doe",
            "email": "jane@example.com", "email_verified": true,
            "picture": "https://example.com/jane.png", "groups": ["a", "b,c", 7],
        }));
        assert_eq!(identity.provider.as_str(), "corp");
        assert_eq!(identity.subject.as_str(), "248289761001");
        assert_eq!(identity.user().as_str(), "jane");
        assert_eq!(identity.email.as_deref(), Some("jane@example.com"));
        assert_eq!(identity.name.as_deref(), Some("Jane Doe"));
        assert_eq!(
            identity.picture.as_deref(),
            Some("https://example.com/jane.png")
        );
        let groups: Vec<&str> = identity.groups.iter().map(Text::as_str).collect();
        assert_eq!(groups, ["a", "b,c", "7"]);
    }

    #[test]
    fn without_a_usable_subject_there_is_nobody() {
        for bad in [
            json!({}),
            json!({ "sub": null }),
            json!({ "sub": "" }),
            json!({ "sub": " " }),
            json!({ "sub": "a\nb" }),
            json!({ "sub": "x".repeat(256) }),
            json!({ "sub": 1.5 }),
            json!({ "sub": ["a"] }),
            json!({ "sub": true }),
        ] {
            let result = rules("groups", &[], &[]).identity(&object(bad.clone()));
            assert_eq!(result, Err(ClaimError::Subject), "{bad}");
        }
        assert_eq!(
            identity(json!({ "sub": 9_007_199_254_740_993_u64 }))
                .subject
                .as_str(),
            "9007199254740993"
        );
    }

    #[test]
    fn an_address_counts_only_when_vouched_for() {
        let good = || json!("a@example.com");
        assert!(email(good(), json!(true)).is_some());
        assert!(email(good(), json!("true")).is_some());
        for verified in [
            json!(false),
            json!("false"),
            json!("TRUE"),
            json!(1),
            json!(null),
            json!([true]),
        ] {
            assert_eq!(email(good(), verified.clone()), None, "{verified}");
        }
        assert_eq!(
            identity(json!({ "sub": "1", "email": "a@example.com" })).email,
            None
        );
    }

    #[test]
    fn an_address_has_one_reading() {
        for bad in [
            "a@good.example@evil.example",
            "@example.com",
            "a@",
            "a",
            "",
            "a b@example.com",
            "a@exam\tple.com",
            "\"a\"@example.com",
            "<a@example.com>",
            "a@b,c@d",
            "a@example.com\n",
            "a@example.com;b",
            "a@[127.0.0.1]",
            "a\u{2003}@example.com",
            "a@b@",
        ] {
            assert_eq!(email(json!(bad), json!(true)), None, "{bad}");
        }
        assert_eq!(email(json!(["a@example.com"]), json!(true)), None);
        let long = format!("{}@example.com", "a".repeat(250));
        assert_eq!(email(json!(long), json!(true)), None);
    }

    #[test]
    fn paths_reach_keys_indices_and_keys_with_dots() {
        let claims = object(json!({
            "campus": [{ "name": "Paris" }, { "name": "Lyon" }],
            "realm_access": { "roles": ["x"] },
            "https://ns.example/roles": ["y"],
            "a.b": { "c.d": 1 },
            "list": [[10, 11]],
        }));
        for (path, value) in [
            ("campus.0.name", json!("Paris")),
            ("campus.1.name", json!("Lyon")),
            ("realm_access.roles", json!(["x"])),
            ("realm_access.roles.0", json!("x")),
            ("https://ns.example/roles", json!(["y"])),
            ("https://ns.example/roles.0", json!("y")),
            ("a.b.c.d", json!(1)),
            ("list.0.1", json!(11)),
        ] {
            assert_eq!(find(&claims, path), Some(&value), "{path}");
        }
        for path in [
            "",
            ".",
            "campus.2.name",
            "campus.-1",
            "campus.name",
            "a",
            "a.b.c",
            "list.0.1.2",
        ] {
            assert_eq!(find(&claims, path), None, "{path}");
        }
    }

    #[test]
    fn groups_come_in_three_shapes() {
        let groups = |claim: Value| -> Vec<String> {
            let claims = object(json!({ "sub": "1", "x": { "roles": claim } }));
            let identity = rules("x.roles", &[], &[]).identity(&claims).unwrap();
            identity.groups.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            groups(json!(["a", null, "", "b\n", { "c": 1 }, "d"])),
            ["a", "d"]
        );
        assert_eq!(groups(json!("a b")), ["a b"]);
        assert_eq!(
            groups(json!({ "admin": { "org": "x" }, "dev": {} })),
            ["admin", "dev"]
        );
        assert!(groups(json!(null)).is_empty());
    }

    #[test]
    fn many_groups_are_cut_but_never_those_that_matter() {
        let many: Vec<String> = (0..1000).map(|number| format!("group-{number}")).collect();
        let claims = object(json!({ "sub": "1", "groups": many }));
        let identity = rules("groups", &[], &["group-999"])
            .identity(&claims)
            .unwrap();
        assert_eq!(identity.groups.len(), MAX_GROUPS);
        assert_eq!(identity.groups[0].as_str(), "group-999");
        assert_eq!(identity.groups[1].as_str(), "group-0");
        let long: Vec<String> = (0..100)
            .map(|number| format!("{number}{}", "x".repeat(200)))
            .collect();
        let claims = object(json!({ "sub": "1", "groups": long }));
        let identity = rules("groups", &[], &[]).identity(&claims).unwrap();
        let bytes: usize = identity.groups.iter().map(|group| group.len()).sum();
        assert!(bytes <= MAX_GROUP_BYTES && identity.groups.len() > 20);
    }

    #[test]
    fn wanted_claims_become_text() {
        let claims = object(json!({
            "sub": "1", "level": 7.42, "id": 12, "staff?": false, "a": { "b": ["x", "y"] },
            "bad": "x\r\ny: z", "none": null,
        }));
        let wanted = [
            "level", "id", "staff?", "a.b", "a.b.1", "bad", "none", "missing", "id",
        ];
        let identity = rules("groups", &wanted, &[]).identity(&claims).unwrap();
        let claims: Vec<(&str, &str)> = identity
            .claims
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect();
        let expected = [
            ("a.b", r#"["x","y"]"#),
            ("a.b.1", "y"),
            ("id", "12"),
            ("level", "7.42"),
            ("staff?", "false"),
        ];
        assert_eq!(claims, expected);
    }

    proptest! {
        #[test]
        fn nothing_in_an_identity_breaks_a_header_line(
            subject in ".*", email in ".*", name in ".*", group in ".*", path in "[a.0-9]{0,12}",
        ) {
            let claims = object(json!({
                "sub": subject, "email": email, "email_verified": true, "name": name,
                "preferred_username": name, "picture": name, "groups": [group], "a": { "a": [name] },
            }));
            if let Ok(identity) = rules("groups", &[&path], &[]).identity(&claims) {
                let texts = [&identity.login, &identity.email, &identity.name, &identity.picture];
                let texts = texts.into_iter().flatten().chain([&identity.subject]);
                let texts = texts.chain(&identity.groups).chain(identity.claims.iter().map(|(_, text)| text));
                for text in texts {
                    prop_assert!(!text.contains(char::is_control) && !text.is_empty());
                }
                if let Some(email) = identity.email {
                    prop_assert_eq!(email.matches('@').count(), 1);
                }
            }
        }
    }
}
