//! Three who speak OpenID Connect, each with an accent: the scripted OpenID provider, made like them.

use serde_json::{Value, json};

use crate::support::{
    ScriptedProvider,
    behaviour::{Behaviour, ResponseIssuer},
};

/// The tenant of Microsoft's that Ada works in.
pub const TENANT: &str = "7f9c24e8-3b12-4d9a-9f43-2c1b6d0e5a11";

/// Where Google's groups are.
pub const GROUPS: &str = "/v1/groups/-/memberships:searchTransitiveGroups";

/// Google: digits for a subject, the hosted domain as a claim, no groups, no end of session.
pub async fn google() -> ScriptedProvider {
    started(|behaviour, _| {
        behaviour.user = json!({
            "sub": "110169484474386276334", "email": "ada@example.com", "email_verified": true,
            "hd": "example.com", "name": "Ada Lovelace", "given_name": "Ada", "family_name": "Lovelace",
            "picture": "https://lh3.googleusercontent.com/a/ada", "azp": "sidegate",
        });
        behaviour.offers_logout = false;
        // The groups are another API's, for tokens with its scope.
        behaviour.pages = [(GROUPS.to_owned(), groups(&["all@example.com", "eng@example.com"]))].into();
    })
    .await
}

/// A page of the groups that somebody is in, nested ones included, as Cloud Identity has it.
pub fn groups(addresses: &[&str]) -> Value {
    let group = |address: &&str| {
        json!({
            "group": format!("groups/{address}"), "groupKey": { "id": address },
            "relationType": "DIRECT", "roles": [{ "role": "MEMBER" }],
        })
    };
    json!({ "memberships": addresses.iter().map(group).collect::<Vec<_>>() })
}

/// GitLab: groups with their whole paths, and only at userinfo.
pub async fn gitlab() -> ScriptedProvider {
    started(|behaviour, _| {
        behaviour.user = json!({
            "sub": "4217", "preferred_username": "ada", "nickname": "ada", "name": "Ada Lovelace",
            "email": "ada@example.com", "email_verified": true, "groups_direct": ["acme/platform"],
            "profile": "https://gitlab.example/ada", "picture": "https://gitlab.example/ada.png",
        });
        behaviour.userinfo = json!({
            "groups": ["acme", "acme/platform"],
            "https://gitlab.org/claims/groups/owner": ["acme/platform"],
        });
        behaviour.offers_logout = false;
        behaviour.response_issuer = ResponseIssuer::Unsupported;
    })
    .await
}

/// Microsoft, asked for the accounts of any organization: the issuer of its documents is a template, and each
/// token names its own tenant's.
pub async fn microsoft() -> ScriptedProvider {
    started(|behaviour, root| {
        behaviour.issuer_path.push_str("/common/v2.0");
        behaviour.discovered_issuer = Some(format!("{root}/{{tenantid}}/v2.0"));
        behaviour.id_token = json!({ "iss": format!("{root}/{TENANT}/v2.0") });
        behaviour.user = json!({
            "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", "tid": TENANT,
            "oid": "00000000-0000-0000-66f3-3332eca7ea81", "ver": "2.0", "name": "Ada Lovelace",
            "preferred_username": "ada@example.com", "email": "ada@example.com", "xms_edov": true,
            "groups": ["6d4f0b9e-1f2c-4a77-8f7e-0a4f2d6c9b01"], "roles": ["Writer"],
        });
        behaviour.offers_userinfo = false;
        behaviour.response_issuer = ResponseIssuer::Unsupported;
    })
    .await
}

async fn started(arrange: impl FnOnce(&mut Behaviour, &str)) -> ScriptedProvider {
    let provider = ScriptedProvider::start().await;
    let root = provider.issuer();
    provider.set(|behaviour| arrange(behaviour, &root));
    provider
}
