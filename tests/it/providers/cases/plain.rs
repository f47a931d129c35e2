//! The kinds that speak plain OAuth 2.0.

use serde_json::json;

use super::{Case, Refresh, common, list};
use crate::{
    providers::Backend,
    support::servers::{OAuthServer, discord, facebook, forty_two, github, plain},
};

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
