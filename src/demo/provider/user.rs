//! The two made-up users, and what is told of them for which scope. Pure.

use serde_json::{Map, Value, json};

/// Somebody who can sign in at the demo provider.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct User {
    /// The `sub`: stable, and says nothing.
    pub(super) subject: &'static str,
    pub(super) login: &'static str,
    pub(super) name: &'static str,
    pub(super) initials: &'static str,
    pub(super) email: &'static str,
    pub(super) groups: &'static [&'static str],
}

/// Everybody there is.
pub(super) static USERS: [User; 2] = [
    User {
        subject: "demo-18151210",
        login: "ada",
        name: "Ada Lovelace",
        initials: "AL",
        email: "ada@demo.example",
        groups: &["admins", "engineers"],
    },
    User {
        subject: "demo-19061209",
        login: "grace",
        name: "Grace Hopper",
        initials: "GH",
        email: "grace@demo.example",
        groups: &["engineers"],
    },
];

impl User {
    /// The user who picked the button of `login`.
    pub(super) fn find(login: &str) -> Option<&'static Self> {
        USERS.iter().find(|user| user.login == login)
    }

    /// The claims that `scope` lets an application see (OpenID Connect Core §5.4). `groups` is no
    /// standard scope; it comes with the profile too, as at most providers.
    pub(super) fn claims(&self, scope: &str) -> Map<String, Value> {
        let asked = |name: &str| scope.split(' ').any(|value| value == name);
        let mut claims = Map::new();
        claims.insert("sub".into(), json!(self.subject));
        if asked("profile") {
            claims.insert("name".into(), json!(self.name));
            claims.insert("preferred_username".into(), json!(self.login));
        }
        if asked("email") {
            claims.insert("email".into(), json!(self.email));
            claims.insert("email_verified".into(), json!(true));
        }
        if asked("profile") || asked("groups") {
            claims.insert("groups".into(), json!(self.groups));
        }
        claims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_opens_its_claims_only() {
        let ada = User::find("ada").unwrap();
        assert_eq!(
            Value::from(ada.claims("openid")),
            json!({ "sub": "demo-18151210" })
        );
        let claims = ada.claims("openid email");
        assert_eq!(claims["email"], "ada@demo.example");
        assert!(!claims.contains_key("name"));
        assert_eq!(
            ada.claims("groups")["groups"],
            json!(["admins", "engineers"])
        );
        assert_eq!(User::find("mallory"), None);
    }
}
