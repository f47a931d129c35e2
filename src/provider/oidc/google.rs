//! Google. Only `hd` in the ID token shows that a user belongs to a Workspace domain. An address of that domain may be a consumer account
//! that somebody made long ago.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header::CONTENT_TYPE};
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::{
    super::{
        claims,
        kind::ConfigIssue,
        oauth::ClientAuthentication,
        token_info::{self, TokenCheck},
    },
    google_groups,
    vendor_profile::{GroupSource, Reported, VendorProfile},
};
use crate::{access::Allow, clock::Timestamp, provider::settings::ProviderSettings, text::Text};

pub(super) const PROFILE: VendorProfile = VendorProfile {
    issues,
    bearer_issues: issues,
    read: |token| Ok(read(token)),
    // Whether an address is vouched for hangs on `hd`, which is believed in the ID token alone.
    not_in_userinfo: &["email", "email_verified", "hd", "groups"],
    authentication: Some(ClientAuthentication::Post),
    switch_prompt: Some("select_account"),
    authorize,
    groups: Some(GroupSource {
        scope: "https://www.googleapis.com/auth/cloud-identity.groups.readonly",
        endpoint: "groups_url",
        list: |query| Box::pin(google_groups::list(query)),
    }),
    // An app on a phone is a client of its own (`azp`), and asks for ID tokens for the server behind it (`serverClientId`). Google gives
    // them to clients of the same project only; but to service accounts of anybody, whose `azp` is a number.
    lends_audience: Some(|azp| azp.ends_with(".apps.googleusercontent.com")),
    token_info: Some(TOKEN_INFO),
    ..VendorProfile::STANDARD
};

/// `tokeninfo`: it takes the token in a form as well as in the query, where logs would have it.
const TOKEN_INFO: TokenCheck = TokenCheck {
    request: |question| {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("access_token", question.token);
        Request::post(question.url.as_str())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from(form.finish()))
    },
    read: token_info,
    unknown: &[StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED],
    recognises: |token| token.starts_with("ya29."),
};

/// Its numbers and truths are texts. `aud` is the client that got the token.
fn token_info(answer: &Map<String, Value>, now: Timestamp) -> Option<Map<String, Value>> {
    let take = |name: &str| answer.get(name).cloned().unwrap_or_default();
    let end = token_info::number(answer.get("exp")).or_else(|| {
        let left = token_info::number(answer.get("expires_in"))?;
        Some(now.after(Duration::from_secs(left)).0)
    });
    answer.get("aud")?.as_str()?;
    // Without the scope `openid` it names nobody: the app is not the person who uses it.
    answer.get("sub")?.as_str().filter(|sub| !sub.is_empty())?;
    Some(token_info::active([
        ("client_id", take("aud")),
        ("azp", take("azp")),
        ("sub", take("sub")),
        ("scope", take("scope")),
        ("exp", end?.into()),
        ("email", take("email")),
        ("email_verified", take("email_verified")),
    ]))
}

/// Their documents allow both; the one without a scheme is older.
fn issues(published: &str, iss: &str) -> bool {
    published == iss || (published == "https://accounts.google.com" && iss == "accounts.google.com")
}

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

pub(in crate::provider) fn check(config: &ProviderSettings) -> Vec<ConfigIssue> {
    let mut objections = Vec::new();
    for list in config.allow.lists() {
        match list.key.as_str() {
            "users" if config.claims.user.is_none() => objections.push(ConfigIssue {
                key: "allow",
                problem: "Google has no login names, so `users` would let nobody pass",
                hint: "write emails, or hosted_domains",
            }),
            "groups" if !list.entries.iter().all(|entry| is_group(entry)) => {
                objections.push(ConfigIssue {
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
