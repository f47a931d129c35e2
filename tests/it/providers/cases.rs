//! Each kind as a row of a table: who signs in there, what the app is told, and what each allow-list looks like that
//! lets Ada in or keeps her out.

use serde_json::json;

use super::Backend;
use crate::support::servers::{
    OAuthServer, discord, facebook, forty_two, github,
    openid::{self, TENANT},
    plain,
};

/// A row.
pub struct Case {
    /// What `type` says.
    pub kind: &'static str,
    /// The further lines of its table: where it is, and whatever it needs.
    pub lines: String,
    /// The stable id.
    pub subject: &'static str,
    /// What an app shows.
    pub user: &'static str,
    /// The address, where the provider vouches for it.
    pub email: Option<&'static str>,
    /// A claim from anywhere in the answer: the source of a header, and its value.
    pub claim: (&'static str, &'static str),
    /// The lists.
    pub lists: Vec<List>,
    /// A list that has to stand beside each other one.
    pub beside: Option<(&'static str, &'static str)>,
    /// Takes from Ada, at the provider, all by which she passes any of the lists, but who she is.
    pub lose: fn(&Backend),
    /// Lists that she passes for good, because who she is says so.
    pub lasting: &'static [&'static str],
    /// Whether the provider has refresh tokens; plain servers may want to be told to have them.
    pub refresh: Refresh,
    /// Whether the provider has a way to be asked for another account.
    pub can_switch: bool,
    /// The path of the authorization endpoint.
    pub authorize: &'static str,
    /// The server.
    pub backend: Backend,
}

/// Whether a kind has refresh tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// It has none.
    Never,
    /// Each renewal gives a new one.
    Rotates,
    /// The first one stays.
    Stays,
}

/// One key of `allow`.
pub struct List {
    /// The key.
    pub key: &'static str,
    /// A list with Ada on it.
    pub passes: &'static str,
    /// A list without her.
    pub denies: &'static str,
}

const fn list(key: &'static str, passes: &'static str, denies: &'static str) -> List {
    List {
        key,
        passes,
        denies,
    }
}

/// The lists that every kind has, for an `ada@example.com` who is vouched for.
fn common(user: &'static str, nobody: &'static str) -> Vec<List> {
    vec![
        list("emails", "[\"ada@example.com\"]", "[\"eve@example.com\"]"),
        list("domains", "[\"example.com\"]", "[\"example.org\"]"),
        list("users", user, nobody),
    ]
}

impl Case {
    /// `allow` with this list, and with the one that has to be there beside it.
    pub fn allow(&self, key: &str, entries: &str) -> String {
        match self.beside {
            Some((beside, all)) if beside != key => {
                format!("{{ {key} = {entries}, {beside} = {all} }}")
            }
            _ => format!("{{ {key} = {entries} }}"),
        }
    }

    /// The table `name` of this kind, without its header line.
    pub fn table(&self, name: &str, allow: &str) -> String {
        format!(
            "type = \"{}\"\n{}{}allow = {allow}\n",
            self.kind,
            self.lines,
            self.backend.client(name)
        )
    }
}

/// 42.
pub async fn forty_two() -> Case {
    let server = OAuthServer::start(&forty_two::SCRIPT).await;
    Case {
        kind: "42",
        lines: format!("base_url = \"{}\"\n", server.url()),
        subject: "123456",
        user: "alovelac",
        email: Some("alovelac@student.42.fr"),
        claim: ("claims.campus.0.name", "Paris"),
        lists: vec![
            list(
                "emails",
                "[\"alovelac@student.42.fr\"]",
                "[\"eve@student.42.fr\"]",
            ),
            list("domains", "[\"student.42.fr\"]", "[\"42.fr\"]"),
            list("users", "[\"alovelac\"]", "[\"ada\"]"),
            list("campus", "[\"Paris\"]", "[\"Tokyo\"]"),
            // She was in the piscine, and it is over.
            list("cursus", "[\"42cursus\"]", "[\"c-piscine\"]"),
            list("staff", "false", "true"),
            list("kind", "[\"student\"]", "[\"admin\"]"),
            list("groups", "[\"tutors\"]", "[\"staff\"]"),
            list(
                "claims",
                "{ \"pool_year\" = [\"2021\"] }",
                "{ \"pool_year\" = [\"2022\"] }",
            ),
        ],
        beside: None,
        lose: |backend| {
            let ended = json!({
                "email": "gone@other.example", "login": "former", "campus": [], "campus_users": [],
                "cursus_users": [], "staff?": true, "kind": "external", "groups": [], "pool_year": "2001",
            });
            backend.plain().change("/v2/me", &ended);
        },
        lasting: &[],
        refresh: Refresh::Rotates,
        // 42 has no parameter for it.
        can_switch: false,
        authorize: "/oauth/authorize",
        backend: Backend::Plain(server),
    }
}

fn github_case(server: OAuthServer, lines: String) -> Case {
    let mut lists = common("[\"ada-l\"]", "[\"ada\"]");
    lists.extend([
        // She is invited there, and has not accepted.
        list("orgs", "[\"acme\"]", "[\"invited\"]"),
        list("teams", "[\"acme/platform\"]", "[\"acme/owners\"]"),
        list(
            "claims",
            "{ \"company\" = [\"Analytical Engines\"] }",
            "{ \"company\" = [\"Difference Engines\"] }",
        ),
    ]);
    Case {
        kind: "github",
        lines,
        subject: "583231",
        user: "ada-l",
        email: Some("ada@example.com"),
        claim: ("claims.company", "Analytical Engines"),
        lists,
        beside: None,
        lose: |backend| {
            let server = backend.plain();
            server.change("/user", &json!({ "login": "former", "company": null }));
            server.page("/user/emails", json!([]));
            server.page("/user/memberships/orgs", json!([]));
            server.page("/user/orgs", json!([]));
            server.page("/user/teams", json!([]));
            server.page("/user/memberships/orgs/acme", json!({ "state": "pending" }));
        },
        lasting: &[],
        refresh: Refresh::Rotates,
        can_switch: true,
        authorize: "/login/oauth/authorize",
        backend: Backend::Plain(server),
    }
}

/// github.com's layout, each address by itself.
pub async fn github() -> Case {
    let server = OAuthServer::start(&github::SCRIPT).await;
    let url = server.url();
    let lines = format!(
        "authorize_url = \"{url}/login/oauth/authorize\"\ntoken_url = \"{url}/login/oauth/access_token\"\n\
         userinfo_url = \"{url}/user\"\nemails_url = \"{url}/user/emails\"\n\
         orgs_url = \"{url}/user/memberships/orgs\"\nteams_url = \"{url}/user/teams\"\n"
    );
    github_case(server, lines)
}

/// An Enterprise Server's layout, by `base_url`.
pub async fn github_enterprise() -> Case {
    let server = OAuthServer::start(&github::SCRIPT).await;
    let lines = format!("base_url = \"{}\"\n", server.url());
    github_case(server, lines)
}

/// Facebook: nothing it says of an address is vouched for, so there are no lists of addresses.
pub async fn facebook() -> Case {
    let server = OAuthServer::start(&facebook::SCRIPT).await;
    Case {
        kind: "facebook",
        lines: format!("base_url = \"{}\"\n", server.url()),
        subject: "10215000000000001",
        user: "10215000000000001",
        email: None,
        claim: ("claims.name", "Ada Lovelace"),
        lists: vec![
            list(
                "users",
                "[\"10215000000000001\"]",
                "[\"10215000000000002\"]",
            ),
            list(
                "claims",
                "{ \"name\" = [\"Ada Lovelace\"] }",
                "{ \"name\" = [\"Eve\"] }",
            ),
        ],
        beside: None,
        lose: |_| {},
        lasting: &[],
        refresh: Refresh::Never,
        can_switch: true,
        authorize: "/v25.0/dialog/oauth",
        backend: Backend::Plain(server),
    }
}

/// Discord.
pub async fn discord() -> Case {
    let server = OAuthServer::start(&discord::SCRIPT).await;
    let mut lists = common("[\"ada\"]", "[\"eve\"]");
    lists.extend([
        list(
            "guilds",
            "[\"197038439483310086\"]",
            "[\"197038439483310087\"]",
        ),
        list(
            "claims",
            "{ \"locale\" = [\"en-GB\"] }",
            "{ \"locale\" = [\"fr\"] }",
        ),
    ]);
    Case {
        kind: "discord",
        lines: format!("base_url = \"{}\"\n", server.url()),
        subject: "80351110224678912",
        user: "ada",
        email: Some("ada@example.com"),
        claim: ("claims.global_name", "Ada Lovelace"),
        lists,
        beside: None,
        lose: |backend| {
            let server = backend.plain();
            let changed = json!({ "username": "former", "email": null, "locale": "fr" });
            server.change("/api/v10/users/@me", &changed);
            server.page("/api/v10/users/@me/guilds", json!([]));
        },
        lasting: &[],
        refresh: Refresh::Rotates,
        can_switch: true,
        authorize: "/oauth2/authorize",
        backend: Backend::Plain(server),
    }
}

/// Any plain server, all by hand.
pub async fn oauth2() -> Case {
    let server = OAuthServer::start(&plain::SCRIPT).await;
    let url = server.url();
    let lines = format!(
        "authorize_url = \"{url}/authorize\"\ntoken_url = \"{url}/token\"\nuserinfo_url = \"{url}/me\"\n\
         scopes = [\"who\"]\nclient_auth = \"basic\"\nauthorize_params = {{ prompt_language = \"en\" }}\n\
         claims = {{ subject = \"data.uid\", user = \"data.nick\", email = \"data.mails.0.address\", \
         email_verified = \"data.mails.0.confirmed\", name = \"data.full\", picture = \"data.avatar\", \
         groups = \"data.teams\" }}\n"
    );
    let mut lists = common("[\"ada\"]", "[\"eve\"]");
    lists.extend([
        list("groups", "[\"engineers\"]", "[\"admins\"]"),
        list(
            "claims",
            "{ \"data.office.city\" = [\"London\"] }",
            "{ \"data.office.city\" = [\"Paris\"] }",
        ),
    ]);
    Case {
        kind: "oauth2",
        lines,
        subject: "42",
        user: "ada",
        email: Some("ada@example.com"),
        claim: ("claims.data.office.floors.1", "4"),
        lists,
        beside: None,
        lose: |backend| {
            let former = json!({ "data": { "uid": 42, "nick": "former" } });
            backend.plain().change("/me", &former);
        },
        lasting: &[],
        refresh: Refresh::Rotates,
        can_switch: true,
        authorize: "/authorize",
        backend: Backend::Plain(server),
    }
}

/// Google.
pub async fn google() -> Case {
    let provider = openid::google().await;
    let mut lists = common("", "");
    // Google has no login names.
    lists.retain(|list| list.key != "users");
    lists.extend([
        list("groups", "[\"eng@example.com\"]", "[\"ops@example.com\"]"),
        list("hosted_domains", "[\"example.com\"]", "[\"example.org\"]"),
        list(
            "claims",
            "{ \"given_name\" = [\"Ada\"] }",
            "{ \"given_name\" = [\"Eve\"] }",
        ),
    ]);
    Case {
        kind: "google",
        lines: format!("base_url = \"{}\"\n", provider.issuer()),
        subject: "110169484474386276334",
        user: "ada@example.com",
        email: Some("ada@example.com"),
        claim: ("claims.hd", "example.com"),
        lists,
        beside: None,
        lose: |backend| {
            let provider = backend.openid();
            provider.user("email", json!("ada@gone.example"));
            provider.user("hd", json!("gone.example"));
            provider.user("given_name", json!("Augusta"));
            provider.set(|behaviour| {
                behaviour
                    .pages
                    .insert(openid::GROUPS.to_owned(), openid::groups(&[]));
            });
        },
        lasting: &[],
        refresh: Refresh::Stays,
        can_switch: true,
        authorize: "/authorize",
        backend: Backend::OpenId(provider),
    }
}

/// GitLab.
pub async fn gitlab() -> Case {
    let provider = openid::gitlab().await;
    let mut lists = common("[\"ada\"]", "[\"eve\"]");
    lists.extend([
        list("groups", "[\"acme\"]", "[\"acme/owners\"]"),
        list(
            "claims",
            "{ \"nickname\" = [\"ada\"] }",
            "{ \"nickname\" = [\"eve\"] }",
        ),
    ]);
    Case {
        kind: "gitlab",
        lines: format!("base_url = \"{}\"\n", provider.issuer()),
        subject: "4217",
        user: "ada",
        email: Some("ada@example.com"),
        claim: ("claims.groups_direct.0", "acme/platform"),
        lists,
        beside: None,
        lose: |backend| {
            backend.openid().set(|behaviour| {
                behaviour.user["email_verified"] = json!(false);
                behaviour.user["preferred_username"] = json!("former");
                behaviour.user["nickname"] = json!("former");
                behaviour.userinfo = json!({ "groups": [] });
            });
        },
        lasting: &[],
        refresh: Refresh::Rotates,
        can_switch: true,
        authorize: "/authorize",
        backend: Backend::OpenId(provider),
    }
}

/// Microsoft, for any organization.
pub async fn microsoft() -> Case {
    let provider = openid::microsoft().await;
    let mut lists = common("[\"ada@example.com\"]", "[\"eve@example.com\"]");
    lists.extend([
        list(
            "tenants",
            "[\"7f9c24e8-3b12-4d9a-9f43-2c1b6d0e5a11\"]",
            "[\"9188040d-6c67-4c5b-b112-36a304b66dad\"]",
        ),
        list(
            "groups",
            "[\"6d4f0b9e-1f2c-4a77-8f7e-0a4f2d6c9b01\"]",
            "[\"00000000-1f2c-4a77-8f7e-0a4f2d6c9b01\"]",
        ),
        list(
            "claims",
            "{ \"roles\" = [\"Writer\"] }",
            "{ \"roles\" = [\"Reader\"] }",
        ),
    ]);
    Case {
        kind: "microsoft",
        lines: format!("base_url = \"{}\"\n", provider.issuer()),
        subject: "7f9c24e8-3b12-4d9a-9f43-2c1b6d0e5a11.00000000-0000-0000-66f3-3332eca7ea81",
        user: "ada@example.com",
        email: Some("ada@example.com"),
        claim: ("claims.tid", TENANT),
        lists,
        beside: Some(("tenants", "[\"7f9c24e8-3b12-4d9a-9f43-2c1b6d0e5a11\"]")),
        lose: |backend| {
            backend.openid().set(|behaviour| {
                behaviour.user["xms_edov"] = json!(false);
                behaviour.user["preferred_username"] = json!("former@example.com");
                behaviour.user["groups"] = json!([]);
                behaviour.user["roles"] = json!([]);
            });
        },
        lasting: &["tenants"],
        refresh: Refresh::Rotates,
        can_switch: true,
        authorize: "/authorize",
        backend: Backend::OpenId(provider),
    }
}

/// Any OpenID provider.
pub async fn oidc() -> Case {
    let provider = crate::support::ScriptedProvider::start().await;
    let mut lists = common("[\"ada\"]", "[\"eve\"]");
    lists.extend([
        list("groups", "[\"engineers\"]", "[\"admins\"]"),
        list(
            "claims",
            "{ \"groups\" = [\"engineers\"] }",
            "{ \"groups\" = [\"admins\"] }",
        ),
    ]);
    Case {
        kind: "oidc",
        lines: format!("issuer = \"{}\"\n", provider.issuer()),
        subject: "ada-1815",
        user: "ada",
        email: Some("ada@example.com"),
        claim: ("claims.groups.0", "engineers"),
        lists,
        beside: None,
        lose: |backend| {
            backend.openid().set(|behaviour| {
                behaviour.user["email_verified"] = json!(false);
                behaviour.user["preferred_username"] = json!("former");
                behaviour.user["groups"] = json!([]);
            });
        },
        lasting: &[],
        refresh: Refresh::Rotates,
        can_switch: true,
        authorize: "/authorize",
        backend: Backend::OpenId(provider),
    }
}
