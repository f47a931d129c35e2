//! The kinds that speak OpenID Connect.

use serde_json::json;

use super::{Case, Refresh, common, list};
use crate::{
    providers::Backend,
    support::{
        ScriptedProvider,
        servers::openid::{self, TENANT},
    },
};

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
    let provider = ScriptedProvider::start().await;
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
