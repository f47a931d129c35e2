//! Google. Who belongs to a Workspace domain is told by `hd` in the ID token alone: an address that ends
//! like the domain may be a consumer account that somebody made with it long ago.

use serde_json::{Map, Value};

use super::{
    super::{
        claims,
        kind::{Endpoint, Kind, Objection, Secrecy},
        oauth::ClientAuthentication,
    },
    flavour::{Flavour, GroupSource, Reported},
    google_groups, issuer, told_by,
};
use crate::{access::Allow, provider::settings::ProviderSettings, text::Text};

/// Google.
pub(in crate::provider) const KIND: Kind = Kind {
    name: "google",
    label: "Google",
    mark: concat!(
        r#"<svg viewBox="0 0 24 24" aria-hidden="true" fill="none" stroke-width="4">"#,
        r##"<path stroke="#ea4335" d="M18.1 6.9A8 8 0 0 0 4.75 8.6"/>"##,
        r##"<path stroke="#fbbc05" d="M4.75 8.6a8 8 0 0 0 0 6.8"/>"##,
        r##"<path stroke="#34a853" d="M4.75 15.4a8 8 0 0 0 12.4 2.7"/>"##,
        r##"<path stroke="#4285f4" d="M17.15 18.1A8 8 0 0 0 20 12h-8"/></svg>"##,
    ),
    endpoints: &{
        let [
            issuer,
            authorize,
            token,
            jwks,
            userinfo,
            end_session,
            revocation,
        ] = told_by(issuer(Some("https://accounts.google.com"), ""));
        [
            issuer,
            authorize,
            token,
            jwks,
            userinfo,
            end_session,
            revocation,
            GROUPS,
        ]
    },
    allow: &["hosted_domains", "groups"],
    check,
    build: |config, headers, http| super::build(config, &FLAVOUR, headers, http),
    // One consent, one grant: to revoke one of its tokens is to revoke those of all of a user's browsers.
    revokes: false,
    secret: Secrecy::Always,
    offers_logout: false,
    ..super::KIND
};

const FLAVOUR: Flavour = Flavour {
    // Their documents allow both; the one without a scheme is older.
    issues: |published, iss| {
        published == iss
            || (published == "https://accounts.google.com" && iss == "accounts.google.com")
    },
    read: |token| Ok(read(token)),
    // Whether an address is vouched for hangs on `hd`, which is believed in the ID token alone.
    not_in_userinfo: &["email", "email_verified", "hd", "groups"],
    authentication: Some(ClientAuthentication::Post),
    switch_prompt: Some("select_account"),
    authorize,
    groups: Some(GroupSource {
        scope: "https://www.googleapis.com/auth/cloud-identity.groups.readonly",
        endpoint: GROUPS_URL,
        list: |query| Box::pin(google_groups::list(query)),
    }),
    ..Flavour::STANDARD
};

const GROUPS_URL: &str = "groups_url";

const GROUPS: Endpoint = Endpoint {
    key: GROUPS_URL,
    default: Some(
        "https://cloudidentity.googleapis.com/v1/groups/-/memberships:searchTransitiveGroups",
    ),
    below_base: Some("/v1/groups/-/memberships:searchTransitiveGroups"),
    optional: true,
};

/// Google speaks for an address that is its own, or that belongs to a Workspace domain. It verified any
/// other once, and whose it is today it does not know.
fn read(token: &mut Map<String, Value>) -> Reported {
    let hosted = token
        .get("hd")
        .and_then(Value::as_str)
        .filter(|domain| !domain.is_empty())
        .map(str::to_ascii_lowercase);
    let email = token
        .get("email")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let is_gmail = email.to_ascii_lowercase().ends_with("@gmail.com");
    let verified = token.get("email_verified").is_some_and(claims::is_true);
    let vouched = is_gmail || (verified && hosted.is_some());
    token.insert("email_verified".to_owned(), Value::Bool(vouched));
    let hosted = hosted.map(|domain| (Text::from("hosted_domains"), Text::from(domain)));
    hosted.into_iter().collect()
}

/// With one domain, Google shows only that domain's accounts. A courtesy: the browser can change it.
fn authorize(allow: &Allow) -> Vec<(&'static str, String)> {
    let list = allow
        .lists()
        .iter()
        .find(|list| list.key == "hosted_domains");
    match list.map(|list| list.entries.as_slice()) {
        Some([domain]) => vec![("hd", domain.clone())],
        _ => Vec::new(),
    }
}

fn check(config: &ProviderSettings) -> Vec<Objection> {
    let mut objections = Vec::new();
    for list in config.allow.lists() {
        match list.key.as_str() {
            "users" if config.claims.user.is_none() => objections.push(Objection {
                key: "allow",
                problem: "Google has no login names, so `users` would let nobody pass",
                hint: "write emails, or hosted_domains",
            }),
            "groups" if !list.entries.iter().all(|entry| is_group(entry)) => {
                objections.push(Objection {
                    key: "allow",
                    problem: "`groups` of Google are addresses in lower case",
                    hint: "as in groups = [\"eng@example.com\"]",
                });
            }
            _ => {}
        }
    }
    objections
}

fn is_group(entry: &str) -> bool {
    entry.contains('@') && !entry.contains(char::is_uppercase)
}

#[cfg(test)]
mod tests;
