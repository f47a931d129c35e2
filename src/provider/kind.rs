//! The description of a kind of provider. A leaf.

/// Which kind, for the one place that builds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id {
    /// 42's intra.
    FortyTwo,
    /// Google.
    Google,
    /// GitHub.
    GitHub,
    /// Facebook Login.
    Facebook,
    /// GitLab, at gitlab.com or elsewhere.
    GitLab,
    /// Microsoft Entra ID.
    Microsoft,
    /// Discord.
    Discord,
    /// Any OpenID Connect provider.
    Oidc,
    /// Any server of plain OAuth 2.0.
    OAuth2,
}

/// What is known of a kind of provider. The configuration is checked against it, and the login knows
/// nothing else of it.
pub struct Kind {
    /// Which it is.
    pub id: Id,
    /// What `type` says.
    pub name: &'static str,
    /// What the sign-in button says where the configuration says nothing; empty for kinds that are
    /// nobody's in particular, whose buttons are named after their tables.
    pub label: &'static str,
    /// Its mark on the button: an SVG element without script, style or outside reference; empty for none.
    pub mark: &'static str,
    /// Its addresses.
    pub endpoints: &'static [Endpoint],
    /// What is asked for where the configuration says nothing.
    pub scopes: &'static [&'static str],
    /// The scope without which nothing works; put first where it is missing.
    pub required_scope: Option<&'static str>,
    /// The keys of `allow` beside `emails`, `domains`, `users` and `claims`, which every kind takes.
    pub allow: &'static [&'static str],
    /// Those of them that have but a few values: what else stands there was mistyped, and would fit nobody.
    pub closed: &'static [(&'static str, &'static [&'static str])],
    /// Whether login names that differ by case alone are one and the same.
    pub logins_ignore_case: bool,
    /// Whether the configuration must say where claims stand (`claims = { … }`).
    pub claims_by_hand: bool,
    /// Whether an app has a secret.
    pub secret: ClientType,
    /// Whether it may offer a logout that leads back here (OpenID Connect RP-Initiated Logout); what an address in the
    /// configuration says goes before that.
    pub offers_logout: bool,
    /// Whether it can be asked for another account.
    pub switch: AccountSwitch,
    /// Whether signing out here takes tokens back at the provider where the configuration says nothing: not where that
    /// ends the user's other sessions with them.
    pub revokes: bool,
}

impl Kind {
    /// Whether it has ID tokens, which tell how and when somebody authenticated.
    pub fn has_id_tokens(&self) -> bool {
        match self.id {
            Id::Google | Id::GitLab | Id::Microsoft | Id::Oidc => true,
            Id::FortyTwo | Id::GitHub | Id::Facebook | Id::Discord | Id::OAuth2 => false,
        }
    }

    /// All that an entry of the list `key` can be, where that is known.
    pub fn values(&self, key: &str) -> Option<&'static [&'static str]> {
        let known = self.closed.iter().find(|(closed, _)| *closed == key);
        known.map(|(_, values)| *values)
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

/// Whether an app has a secret at a kind of provider (RFC 6749 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientType {
    /// Every app has one, and no code is redeemed without it.
    Always,
    /// An app has one unless somebody has said otherwise at the provider.
    Usually,
    /// Apps with and without are alike.
    Optional,
}

/// How somebody who is signed in at a provider comes back as somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountSwitch {
    /// The provider is asked for another account, and offers one.
    Asks,
    /// It has no parameter for that and takes whoever is signed in: they sign out there first.
    SignOutFirst {
        /// Where they do that, if it is known.
        page: Option<&'static str>,
    },
}

impl AccountSwitch {
    /// The same for a provider that stands elsewhere: the page is not that one's.
    #[must_use]
    pub fn elsewhere(self) -> Self {
        match self {
            Self::Asks => Self::Asks,
            Self::SignOutFirst { .. } => Self::SignOutFirst { page: None },
        }
    }
}

/// What a kind has against a configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigIssue {
    /// The key to point at.
    pub key: &'static str,
    /// What is wrong.
    pub problem: &'static str,
    /// What to write.
    pub hint: &'static str,
}

/// One of a kind's addresses.
#[derive(Debug)]
pub struct Endpoint {
    /// The key that sets it alone: `issuer`, `authorize_url`, `token_url`, `userinfo_url`, …
    pub key: &'static str,
    /// Where it is by default; none where only the operator can know.
    pub default: Option<&'static str>,
    /// Where it is below `base_url`; none where `base_url` does not move it.
    pub below_base: Option<&'static str>,
    /// Whether a login works without it.
    pub optional: bool,
}

#[cfg(test)]
impl Kind {
    /// `allow = { KEY = [ENTRY, …], … }` as a provider of this kind has it.
    pub(crate) fn allow_for_test(&self, lists: &[(&str, &[&str])]) -> crate::access::Allow {
        let allow = crate::access::Allow::for_test(lists);
        if self.logins_ignore_case {
            allow.with_caseless("users")
        } else {
            allow
        }
    }
}
