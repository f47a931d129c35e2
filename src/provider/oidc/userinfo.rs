//! The userinfo endpoint (OpenID Connect Core §5.3). It is asked only if the ID token lacks something that the configuration uses.
//!
//! Missing claims are of two kinds. Some decide who the user is for the app or for an allow list: the login name, the address, groups
//! that a list needs, claims that a header carries. Without them the app would see another user than the day before, for as long as the
//! session lasts. So if the endpoint fails then, the login fails, and can be repeated. The others are only shown (name, picture, groups that
//! only a header carries): without them the login continues.

use serde_json::{Map, Value};

use super::{
    super::claims::{ClaimNames, ClaimRules, find},
    metadata::Metadata,
};
use crate::{access::Allow, identity_headers::HeaderSource};

/// What of an identity the configuration uses.
#[derive(Debug)]
pub(super) struct RequiredClaims {
    login: bool,
    email: bool,
    /// Whether the endpoint is believed for an address.
    email_asked: bool,
    name: bool,
    picture: bool,
    /// A header tells them.
    groups: bool,
    /// An allow list asks for them.
    groups_allow: bool,
    /// Paths that allow lists ask for.
    claims_allow: Vec<String>,
}

/// What an ID token lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// Nothing: the endpoint need not be asked.
    Nothing,
    /// Something for showing.
    Decoration,
    /// Something that says who it is.
    Identity,
}

impl RequiredClaims {
    pub(super) fn new(allow: &Allow, headers: &[&HeaderSource]) -> Self {
        let keys = allow.lists().iter().map(|list| list.key.as_str());
        let asks = |key: &str| keys.clone().any(|list| list == key);
        let header = |wanted: HeaderSource| headers.iter().any(|source| **source == wanted);
        Self {
            login: header(HeaderSource::User) || asks("users"),
            email: header(HeaderSource::User)
                || header(HeaderSource::Email)
                || asks("emails")
                || asks("domains"),
            email_asked: true,
            name: header(HeaderSource::Name),
            picture: header(HeaderSource::Picture),
            groups: header(HeaderSource::Groups),
            groups_allow: asks("groups"),
            claims_allow: keys
                .filter_map(|key| key.strip_prefix("claims.").map(str::to_owned))
                .collect(),
        }
    }

    /// Without the claims that only the ID token, or another place, is believed for.
    pub(super) fn without(mut self, claims: &[&str]) -> Self {
        if claims.contains(&"email") {
            self.email_asked = false;
        }
        if claims.contains(&"groups") {
            (self.groups, self.groups_allow) = (false, false);
        }
        self
    }

    /// What `token`, an ID token's claims, lacks of what is used and the provider could know.
    pub(super) fn lack(
        &self,
        token: &Map<String, Value>,
        rules: &ClaimRules,
        metadata: &Metadata,
    ) -> Absent {
        let names = rules.names();
        let lacks = |path: &str| find(token, path).is_none();
        // `claims_supported` lists standard claims, and rarely what an operator had added.
        let standard =
            |claim: &str| (rules.is_by_hand(claim) || metadata.may_have(claim)) && lacks(claim);
        // An address without a word on whether it is verified is half an answer.
        let half = standard(&names.email) || standard(&names.email_verified);
        let mut paths = rules.wanted().iter().chain(&self.claims_allow);
        let uses_email = self.email || paths.any(|path| rules.meets_address(path));
        // Groups are nearly always something that was added.
        let groups = lacks(&names.groups);
        if (self.login && standard(&names.login))
            || (self.email_asked && uses_email && half)
            || (self.groups_allow && groups)
            || rules.wanted().iter().any(|path| lacks(path))
            || self.claims_allow.iter().any(|path| lacks(path))
        {
            Absent::Identity
        } else if (self.name && standard(&names.name))
            || (self.picture && standard(&names.picture))
            || (self.groups && groups)
        {
            Absent::Decoration
        } else {
            Absent::Nothing
        }
    }
}

/// Adds to `token` what only `userinfo` has. The signed token's word stands where both speak. None
/// where the answer is about somebody else (§5.3.2), or about nobody. Of an object that both have, only what stands at one of `paths` is
/// added: other members are not mixed. `names` say where an address and its voucher stand.
pub(super) fn merge(
    mut token: Map<String, Value>,
    userinfo: Value,
    names: &ClaimNames,
    paths: &[&str],
) -> Option<Map<String, Value>> {
    let Value::Object(mut userinfo) = userinfo else {
        return None;
    };
    if userinfo.get("sub")?.as_str()? != token.get("sub")?.as_str()? {
        return None;
    }
    token.retain(|_, value| !value.is_null());
    userinfo.retain(|_, value| !value.is_null());
    let standard = ("email", "email_verified");
    let pairs = [standard, (&*names.email, &*names.email_verified)];
    let pairs = pairs.map(|pair| (pair, address(&token, &userinfo, pair)));
    let within = paths.iter().filter(|path| path.contains('.'));
    let silent = within.filter(|path| find(&token, path).is_none());
    let added: Vec<(String, Value)> = silent
        .filter_map(|path| Some(((*path).to_owned(), find(&userinfo, path)?.clone())))
        .collect();
    for (name, value) in userinfo {
        token.entry(name).or_insert(value);
    }
    // Under the whole path, which is found before any other.
    token.extend(added);
    for ((email, verified), values) in pairs {
        for (path, value) in [email, verified].into_iter().zip(values) {
            if find(&token, path) != value.as_ref() {
                token.insert(path.to_owned(), value.unwrap_or_default());
            }
        }
    }
    Some(token)
}

/// An address and whether it is verified, which belong together: a word from here must not vouch for an address from there. So
/// both come from one place: the token where it has both, or where it has the address within an object.
fn address(
    token: &Map<String, Value>,
    userinfo: &Map<String, Value>,
    (email, verified): (&str, &str),
) -> [Option<Value>; 2] {
    let of = |claims| [email, verified].map(|path| find(claims, path).cloned());
    let (ours, theirs) = (of(token), of(userinfo));
    let is_within = email.contains('.') || verified.contains('.');
    let is_half = ours[0].is_none() || ours[1].is_none() && !verified.is_empty() && !is_within;
    if is_half && theirs[0].is_some() {
        theirs
    } else {
        ours
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{super::metadata::Reader, *};
    use crate::provider::{
        http::PlainHttp,
        settings::{ClaimPaths, ProviderSettings},
    };

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn lists(emails: &[&str], groups: &[&str]) -> Allow {
        let lists = [("emails", emails), ("groups", groups)];
        let given: Vec<_> = lists
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .collect();
        Allow::for_test(&given)
    }

    fn lack(allow: Allow, headers: &[HeaderSource], known: Option<Value>, token: &Value) -> Absent {
        let headers: Vec<&HeaderSource> = headers.iter().collect();
        let uses = RequiredClaims::new(&allow, &headers);
        let config = ProviderSettings {
            allow,
            ..ProviderSettings::for_test("corp", "")
        };
        let rules = ClaimRules::new(&config, ClaimNames::standard(), &headers);
        let mut document = json!({
            "issuer": "i", "authorization_endpoint": "https://a", "token_endpoint": "https://a",
            "jwks_uri": "https://a", "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256"],
        });
        if let Some(known) = known {
            document["claims_supported"] = known;
        }
        let reader = Reader {
            is_ours: &|_| true,
            endpoints: &[],
            plain: PlainHttp::Never,
            is_for_login: true,
            internal: None,
        };
        let metadata = Metadata::read(&document, &reader).unwrap();
        uses.lack(&object(token), &rules, &metadata)
    }

    #[test]
    fn the_endpoint_is_asked_only_for_what_is_used() {
        let bare = || json!({ "sub": "1" });
        let anyone = || Allow::Anyone;
        assert_eq!(
            lack(anyone(), &[HeaderSource::UserId], None, &bare()),
            Absent::Nothing
        );
        assert_eq!(
            lack(anyone(), &[HeaderSource::User], None, &bare()),
            Absent::Identity
        );
        assert_eq!(
            lack(anyone(), &[HeaderSource::Email], None, &bare()),
            Absent::Identity
        );
        assert_eq!(
            lack(anyone(), &[HeaderSource::Name], None, &bare()),
            Absent::Decoration
        );
        assert_eq!(
            lack(anyone(), &[HeaderSource::Picture], None, &bare()),
            Absent::Decoration
        );
        assert_eq!(
            lack(anyone(), &[HeaderSource::Groups], None, &bare()),
            Absent::Decoration
        );
        assert_eq!(
            lack(lists(&[], &["a"]), &[], None, &bare()),
            Absent::Identity
        );
        assert_eq!(
            lack(lists(&["a@b"], &[]), &[], None, &bare()),
            Absent::Identity
        );
        let claim = HeaderSource::Claim("a.b".to_owned());
        assert_eq!(lack(anyone(), &[claim], None, &bare()), Absent::Identity);
        let unverified = json!({ "sub": "1", "email": "a@b" });
        assert_eq!(
            lack(lists(&["a@b"], &[]), &[], None, &unverified),
            Absent::Identity
        );
        // A path that meets the address needs the word on it too.
        let email = HeaderSource::Claim("email".to_owned());
        assert_eq!(
            lack(anyone(), std::slice::from_ref(&email), None, &unverified),
            Absent::Identity
        );
        let by_path = Allow::for_test(&[("claims.email", &["a@b"])]);
        assert_eq!(lack(by_path, &[], None, &unverified), Absent::Identity);
        let full = json!({
            "sub": "1", "email": "a@b", "email_verified": false, "preferred_username": "a", "name": "A",
            "picture": "p", "groups": [], "a": { "b": 0 },
        });
        let all = [
            HeaderSource::User,
            HeaderSource::Email,
            HeaderSource::Name,
            HeaderSource::Groups,
            HeaderSource::Picture,
            HeaderSource::Claim("a.b".to_owned()),
        ];
        assert_eq!(
            lack(lists(&["a@b"], &["x"]), &all, None, &full),
            Absent::Nothing
        );
    }

    #[test]
    fn what_the_provider_cannot_know_is_not_asked_for() {
        let token = json!({ "sub": "1", "email": "a@b", "email_verified": true });
        let known = json!(["sub", "email", "email_verified"]);
        let headers = [HeaderSource::User, HeaderSource::Name];
        assert_eq!(
            lack(Allow::Anyone, &headers, Some(known), &token),
            Absent::Nothing
        );
        assert_eq!(
            lack(Allow::Anyone, &headers, None, &token),
            Absent::Identity
        );
    }

    #[test]
    fn an_answer_about_somebody_else_is_discarded() {
        let token = || object(&json!({ "sub": "1" }));
        for other in [
            json!({ "sub": "2" }),
            json!({}),
            json!({ "sub": 1 }),
            json!([]),
            json!("1"),
        ] {
            assert_eq!(merge(token(), other, &ClaimNames::standard(), &[]), None);
        }
    }

    #[test]
    fn the_signed_word_stands() {
        let token = object(&json!({ "sub": "1", "name": "Signed", "groups": null, "iss": "i" }));
        let userinfo = json!({ "sub": "1", "name": "Other", "groups": ["a"], "iss": "x", "x": 1 });
        let merged = merge(token, userinfo, &ClaimNames::standard(), &[]).unwrap();
        let expected = json!({ "sub": "1", "name": "Signed", "groups": ["a"], "iss": "i", "x": 1 });
        assert_eq!(Value::Object(merged), expected);
    }

    #[test]
    fn what_the_token_lacks_within_an_object_is_added_by_its_path() {
        let merged = |token: Value| {
            let mut token = object(&token);
            token.insert("sub".to_owned(), json!("1"));
            let userinfo =
                json!({ "sub": "1", "realm": { "roles": ["ops"], "x": 1 }, "all": { "ops": {} } });
            merge(
                token,
                userinfo,
                &ClaimNames::standard(),
                &["realm.roles", "all"],
            )
            .unwrap()
        };
        for silent in [
            json!({ "realm": { "roles": null } }),
            json!({ "realm": { "y": 2 } }),
            json!({}),
        ] {
            let found = merged(silent.clone());
            assert_eq!(
                find(&found, "realm.roles"),
                Some(&json!(["ops"])),
                "{silent}"
            );
        }
        let spoken = merged(json!({ "realm": { "roles": [] }, "all": { "dev": {} } }));
        assert_eq!(find(&spoken, "realm.roles"), Some(&json!([])));
        assert_eq!(find(&spoken, "realm.x"), None);
        // Members of an object may be the names themselves.
        assert_eq!(find(&spoken, "all"), Some(&json!({ "dev": {} })));
    }

    #[test]
    fn an_address_within_an_object_is_of_one_place() {
        let config = ProviderSettings {
            allow: Allow::for_test(&[
                ("claims.who.mail", &["a@x"]),
                ("claims.who.is_sure", &["true"]),
                ("claims.who.dept", &["eng"]),
            ]),
            claims: ClaimPaths {
                email: Some("who.mail".to_owned()),
                email_verified: Some("who.is_sure".to_owned()),
                ..ClaimPaths::default()
            },
            ..ProviderSettings::for_test("corp", "")
        };
        let rules = ClaimRules::new(&config, ClaimNames::standard(), &[]);
        let token = object(&json!({ "sub": "1", "who": { "mail": "a@x" } }));
        let userinfo =
            json!({ "sub": "1", "who": { "mail": "b@x", "is_sure": true, "dept": "eng" } });
        let merged = merge(token, userinfo, rules.names(), &rules.single_paths()).unwrap();
        let identity = rules.identity_with(&merged, Vec::new()).unwrap();
        assert_eq!(identity.email, None);
        let kept: Vec<&str> = identity.memberships.iter().map(|(key, _)| &**key).collect();
        assert_eq!(kept, ["claims.who.dept"]);
    }

    #[test]
    fn no_word_vouches_for_another_places_address() {
        let merged = |token: Value, userinfo: Value| {
            let mut token = object(&token);
            token.insert("sub".to_owned(), json!("1"));
            let mut userinfo = userinfo;
            userinfo["sub"] = json!("1");
            let merged = merge(token, userinfo, &ClaimNames::standard(), &[]).unwrap();
            (
                find(&merged, "email").cloned(),
                find(&merged, "email_verified").cloned(),
            )
        };
        let (a, b, yes, no) = (json!("a@x"), json!("b@x"), json!(true), json!(false));
        // The address comes from userinfo; the token's word is not about it.
        let both = merged(json!({ "email_verified": yes }), json!({ "email": b }));
        assert_eq!(both, (Some(b.clone()), None));
        // The address comes from the token; userinfo's word is not about it.
        let both = merged(json!({ "email": a }), json!({ "email_verified": yes }));
        assert_eq!(both, (Some(a.clone()), None));
        let both = merged(
            json!({ "email": a }),
            json!({ "email": b, "email_verified": yes }),
        );
        assert_eq!(both, (Some(b.clone()), Some(yes.clone())));
        let both = merged(
            json!({ "email": a, "email_verified": no }),
            json!({ "email": b, "email_verified": yes }),
        );
        assert_eq!(both, (Some(a), Some(no)));
    }

    #[test]
    fn nor_does_it_where_the_operator_says_that_both_stand() {
        for (email, verified) in [
            ("mail", "sure"),
            ("mail", "flags.sure"),
            ("who.mail", "sure"),
        ] {
            let names = ClaimNames {
                email: email.to_owned(),
                email_verified: verified.to_owned(),
                ..ClaimNames::standard()
            };
            let merged = |token: Value, userinfo: Value| {
                let merged = merge(object(&token), userinfo, &names, &[email, verified]).unwrap();
                [email, verified].map(|path| find(&merged, path).cloned())
            };
            let word = json!({ "sub": "1", "sure": true, "flags": { "sure": true } });
            let address = json!({ "sub": "1", "mail": "a@x", "who": { "mail": "a@x" } });
            assert_eq!(
                merged(address.clone(), word.clone()),
                [Some(json!("a@x")), None]
            );
            assert_eq!(merged(word, address), [Some(json!("a@x")), None]);
        }
    }

    proptest! {
        #[test]
        fn a_pair_never_mixes(
            from_token in (any::<bool>(), proptest::option::of(any::<bool>())),
            from_userinfo in (any::<bool>(), proptest::option::of(any::<bool>())),
        ) {
            let claims = |(has, verified): (bool, Option<bool>), email: &str| {
                let mut claims = object(&json!({ "sub": "1" }));
                if has { claims.insert("email".to_owned(), json!(email)); }
                if let Some(verified) = verified {
                    claims.insert("email_verified".to_owned(), json!(verified));
                }
                claims
            };
            let (token, userinfo) = (claims(from_token, "t@x"), claims(from_userinfo, "u@x"));
            let merged = merge(token.clone(), Value::Object(userinfo.clone()), &ClaimNames::standard(), &[]).unwrap();
            let source = match merged.get("email").and_then(Value::as_str) {
                Some("t@x") => token,
                Some(_) => userinfo,
                None => Map::new(),
            };
            if merged.get("email_verified") == Some(&json!(true)) && merged.contains_key("email") {
                prop_assert_eq!(source.get("email_verified"), Some(&json!(true)));
            }
        }
    }
}
