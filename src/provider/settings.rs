//! `[providers.NAME]`, checked.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use url::Url;

use super::{
    bearer::BearerSettings,
    http::{Internal, PlainHttp, Reach},
    kind::{Id, Kind},
};
use crate::{
    access::{Allow, AllowList},
    identity_headers::HeaderSettings,
    secret::Secret,
};

/// `[providers.NAME]`
#[derive(Debug)]
pub struct ProviderSettings {
    /// The table's name: part of the user's id and, unless set otherwise, of the callback's path.
    pub name: String,
    /// What the sign-in button says.
    pub label: String,
    /// What kind of provider.
    pub kind: &'static Kind,
    /// The kind's addresses by their keys, as configured, moved by `base_url`, or by default. `issuer` is
    /// kept exactly as the provider writes it, trailing slash included.
    pub endpoints: BTreeMap<&'static str, String>,
    /// Where the gate reaches the issuer, where that is not where browsers do.
    pub internal_url: Option<Url>,
    /// Whether plain http is spoken beyond loopback, too: in a network that is the operator's alone.
    pub insecure_http: bool,
    /// Authorities that are believed beside the system's when this provider is called.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The client identifier (RFC 6749 §2.2).
    pub client_id: String,
    /// None for a public client; two while a secret is being replaced, tried in order.
    pub client_secrets: Vec<Secret>,
    /// How the client proves itself, where the operator says so.
    pub client_authentication: Option<ClientAuthentication>,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// Further parameters of the authorization request.
    pub authorize_params: Vec<(String, String)>,
    /// The path that the provider sends browsers back to, below the public origin: `PREFIX/callback/NAME`,
    /// or what the operator has registered.
    pub callback_path: String,
    /// Where things stand in the provider's answer, where the operator says so.
    pub claims: ClaimPaths,
    /// Whether userinfo is asked for what the ID token lacks.
    pub userinfo: bool,
    /// Whether claims are taken from the access token, too.
    pub claims_from_access_token: bool,
    /// How much of what the provider says a session has room for.
    pub room: Room,
    /// Whether sessions are refreshed at the provider while they last, where it gives a refresh token.
    pub refresh: bool,
    /// Whether the provider is asked to take tokens back at sign-out.
    pub revoke: bool,
    /// Whether the provider's word through browsers (OpenID Connect Front-Channel Logout 1.0) ends sessions here.
    pub frontchannel_logout: bool,
    /// Who may pass.
    pub allow: Allow,
    /// Lists of routes: what sessions have to know of people beside what `allow` asks.
    pub route_lists: Vec<AllowList>,
    /// What somebody who may not pass reads, in the operator's words.
    pub deny_message: Option<String>,
    /// Whether people sign in by it. One that they do not sign in by only vouches for tokens.
    pub login: bool,
    /// Which of its tokens open the gate by themselves; none where no token does.
    pub bearer: Option<BearerSettings>,
}

impl ProviderSettings {
    /// What has to be found out of people: what `allow` asks, and what routes ask. Each list once.
    pub fn facts(&self) -> Allow {
        let mut lists = self.allow.lists().to_vec();
        for further in &self.route_lists {
            let Some(list) = lists.iter_mut().find(|list| list.key == further.key) else {
                lists.push(further.clone());
                continue;
            };
            for entry in &further.entries {
                let entry = if list.ignores_case {
                    entry.to_ascii_lowercase()
                } else {
                    entry.clone()
                };
                if !list.entries.contains(&entry) {
                    list.entries.push(entry);
                }
            }
        }
        if lists.is_empty() {
            Allow::Anyone
        } else {
            Allow::Lists(lists)
        }
    }

    /// Which tokens open the gate. Where the provider `tells_apps`, and the operator names no clients, those of this one
    /// alone.
    pub(super) fn bearer_of_own_app(&self, tells_apps: bool) -> Option<BearerSettings> {
        let mut bearer = self.bearer.clone()?;
        if tells_apps && bearer.introspect && bearer.clients.is_empty() {
            bearer.clients.push(self.client_id.clone());
        }
        Some(bearer)
    }

    /// Whether it may exchange tokens (RFC 8693): the vendors' own kinds do not, and nobody does for somebody who is no client.
    pub fn may_exchange_tokens(&self) -> bool {
        matches!(self.kind.id, Id::Oidc | Id::OAuth2) && !self.client_id.is_empty()
    }

    /// The address of one of the kind's endpoints.
    pub fn endpoint(&self, key: &str) -> Option<&str> {
        self.endpoints.get(key).map(String::as_str)
    }

    /// Where this provider may be spoken to in plain http, by the operator's word.
    pub fn plain_http(&self) -> PlainHttp {
        if self.insecure_http {
            PlainHttp::Anywhere
        } else {
            PlainHttp::Loopback
        }
    }

    /// Where it may be by the provider's own word: not below an https issuer, whose document could have the gate ask
    /// whatever listens on this machine.
    pub fn published_plain_http(&self) -> PlainHttp {
        let issuer = self.endpoint("issuer").unwrap_or_default();
        if self.insecure_http || issuer.starts_with("http:") {
            self.plain_http()
        } else {
            PlainHttp::Never
        }
    }

    /// The issuer's place in the operator's network, where it has one of its own there.
    pub fn internal(&self) -> Option<Internal> {
        let issuer = Url::parse(self.endpoint("issuer")?).ok()?;
        Some(Internal::new(&issuer, self.internal_url.as_ref()?))
    }

    /// How it is reached.
    pub fn reach(&self) -> Reach<'_> {
        Reach {
            plain: self.plain_http(),
            internal: self.internal(),
            authorities: &self.authorities,
        }
    }

    /// Names what this table means beside its name: the kind, who signs people in, the client and where the subject
    /// stands. A session that was made under another meaning is of somebody else who happens to have the
    /// same name. All else may change, by the operator or by an upgrade, and logs nobody out.
    pub fn fingerprint(&self) -> [u8; 8] {
        let mut context = digest::Context::new(&digest::SHA256);
        let origin = |key: &str| {
            let url = Url::parse(self.endpoint(key)?).ok()?;
            Some(url.origin().ascii_serialization())
        };
        let authority = match self.endpoint("issuer") {
            Some(issuer) => vec![issuer.to_owned()],
            None => ["authorize_url", "token_url", "userinfo_url"]
                .map(|key| origin(key).unwrap_or_default())
                .to_vec(),
        };
        let parts = [self.kind.name, self.client_id.as_str()];
        let authority = authority.iter().map(String::as_str);
        let subject = self.claims.subject.as_deref();
        for part in parts.into_iter().chain(authority).chain(subject) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let digest = context.finish();
        let first = digest.as_ref().first_chunk();
        *first.expect("SHA-256 has 32 bytes")
    }
}

/// How much of somebody's groups and claims a session holds. What is beyond is counted, and the app is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes of groups' names that no rule names; those that a rule names are always kept.
    pub groups: usize,
    /// Bytes of the claims that headers carry, all of them together.
    pub claims: usize,
    /// The longest value of a header (`headers.max_bytes`).
    pub header: usize,
}

impl Room {
    /// Beside the rest of a session in its cookies.
    pub fn in_cookie(header: usize) -> Self {
        Self {
            groups: ROOM_IN_COOKIE,
            claims: ROOM_IN_COOKIE,
            header,
        }
    }

    /// A store takes what the provider says; the cap on its answer bounds that.
    pub fn in_store(header: usize) -> Self {
        Self {
            groups: usize::MAX,
            claims: usize::MAX,
            header,
        }
    }
}

impl Default for Room {
    /// As the defaults of `session.store` and `headers.max_bytes` make it.
    fn default() -> Self {
        Self::in_cookie(HeaderSettings::default().max_bytes)
    }
}

/// Bytes of groups' names that no rule names, and as many of the claims that headers carry, in a session that is kept in cookies:
/// each takes about two of the five cookies that a session may take. 170 groups, if their names are ids of 36 characters.
const ROOM_IN_COOKIE: usize = 6 * 1024;

/// How a client proves itself to the token endpoint (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// The `Authorization` header.
    Basic,
    /// Parameters of the body, for providers that do not decode the header as the standard says.
    Post,
}

/// `claims = { subject, user, email, email_verified, name, picture, groups }`: where these stand in the
/// provider's answer, keys and list indices joined by dots. What is not said is where the kind has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimPaths {
    /// The stable id.
    pub subject: Option<String>,
    /// The login name.
    pub user: Option<String>,
    /// The address.
    pub email: Option<String>,
    /// Whether the provider vouches for the address.
    pub email_verified: Option<String>,
    /// The full name.
    pub name: Option<String>,
    /// The picture's address.
    pub picture: Option<String>,
    /// The groups.
    pub groups: Option<String>,
}

#[cfg(test)]
impl ProviderSettings {
    /// An OpenID provider that anyone may use; tests change what they are about.
    pub(crate) fn for_test(name: &str, issuer: &str) -> Self {
        Self {
            name: name.to_owned(),
            label: name.to_owned(),
            kind: &super::catalog::OIDC,
            endpoints: [("issuer", issuer.to_owned())].into(),
            internal_url: None,
            insecure_http: false,
            authorities: Vec::new(),
            client_id: "us".to_owned(),
            client_secrets: Vec::new(),
            client_authentication: None,
            scopes: vec!["openid".to_owned()],
            authorize_params: Vec::new(),
            callback_path: format!("/oauth2/callback/{name}"),
            claims: ClaimPaths::default(),
            userinfo: true,
            claims_from_access_token: false,
            room: Room::default(),
            allow: Allow::Anyone,
            route_lists: Vec::new(),
            deny_message: None,
            login: true,
            bearer: None,
            refresh: true,
            revoke: true,
            frontchannel_logout: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::catalog;

    #[test]
    fn a_fingerprint_is_of_who_signs_people_in_and_as_whom() {
        let issuer = "https://id.example.com";
        let config = || ProviderSettings::for_test("corp", issuer);
        let same = [
            ProviderSettings {
                endpoints: [
                    ("issuer", issuer.to_owned()),
                    ("token_url", "https://elsewhere.example/token".to_owned()),
                    ("revocation_url", "https://id.example.com/revoke".to_owned()),
                ]
                .into(),
                ..config()
            },
            ProviderSettings {
                internal_url: Url::parse("https://inside.example").ok(),
                insecure_http: true,
                ..config()
            },
        ];
        for other in same {
            assert_eq!(other.fingerprint(), config().fingerprint(), "{other:?}");
        }
        let others = [
            ProviderSettings::for_test("corp", "https://id.example.com/"),
            ProviderSettings {
                client_id: "them".to_owned(),
                ..config()
            },
            ProviderSettings {
                kind: &catalog::GITLAB,
                ..config()
            },
            ProviderSettings {
                claims: ClaimPaths {
                    subject: Some("oid".to_owned()),
                    ..ClaimPaths::default()
                },
                ..config()
            },
        ];
        for other in others {
            assert_ne!(other.fingerprint(), config().fingerprint(), "{other:?}");
        }
    }

    /// A version in a path goes up with an upgrade of the gate.
    #[test]
    fn without_an_issuer_the_origins_count() {
        let of = |origin: &str, version: &str| {
            let at = |path: &str| format!("{origin}/{version}/{path}");
            ProviderSettings {
                kind: &catalog::OAUTH2,
                endpoints: [
                    ("authorize_url", at("authorize")),
                    ("token_url", at("token")),
                    ("userinfo_url", at("me")),
                ]
                .into(),
                ..ProviderSettings::for_test("corp", "")
            }
            .fingerprint()
        };
        let first = of("https://graph.example.com", "v25.0");
        assert_eq!(first, of("https://graph.example.com", "v26.0"));
        assert_ne!(first, of("https://graph.example.net", "v25.0"));
    }
}
