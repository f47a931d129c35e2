//! The groups of a Workspace user, nested ones included. The Cloud Identity API is asked with that user's own token: there is no service
//! account, and the answer has no more than the user may see.
//!
//! The API answers for Enterprise and Education editions of Workspace and for Cloud Identity Premium. All others get 403, which ends the
//! login if an allow list needs groups.

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{
    super::{Call, ProviderError, claims},
    vendor_profile::GroupQuery,
};

/// The addresses of the groups, in lower case. Somebody without a Workspace domain has none.
pub(super) async fn list(query: GroupQuery<'_>) -> Result<Vec<String>, ProviderError> {
    let text = |name: &str| query.claims.get(name).and_then(Value::as_str);
    let vouched = query
        .claims
        .get("email_verified")
        .is_some_and(claims::is_true);
    let member = match (text("hd"), text("email")) {
        (Some(_), Some(email)) if vouched && is_quotable(email) => email,
        _ => return Ok(Vec::new()),
    };
    let call = Call::Groups;
    let mut groups = Vec::new();
    let mut page_token = None;
    for _ in 0..MAX_PAGES {
        let url = page_url(query.url, member, page_token.as_deref());
        let answer = query
            .http
            .fetch_json(&url, Some(query.access_token))
            .await
            .map_err(|error| ProviderError::Http { call, error })?;
        let page: Page = serde_json::from_value(answer).map_err(|_| ProviderError::Answer {
            call,
            problem: "not a list of groups",
        })?;
        let addresses = page.memberships.into_iter().filter_map(|group| group.key);
        groups.extend(addresses.map(|key| key.id.to_ascii_lowercase()));
        match page.next {
            Some(next) if !next.is_empty() => page_token = Some(next),
            _ => return Ok(groups),
        }
    }
    // What is beyond may be what the allow list names; but nobody is in so many groups by accident.
    tracing::warn!(
        pages = MAX_PAGES,
        "more groups than are read; the rest is left out"
    );
    Ok(groups)
}

fn page_url(endpoint: &Url, member: &str, page_token: Option<&str>) -> Url {
    let mut url = endpoint.clone();
    let query = format!("member_key_id == '{member}' && '{LABEL}' in labels");
    url.query_pairs_mut()
        .append_pair("query", &query)
        .append_pair("pageSize", PAGE_SIZE);
    if let Some(token) = page_token {
        url.query_pairs_mut().append_pair("pageToken", token);
    }
    url
}

/// The address stands between quotes in an expression, and must not end them.
fn is_quotable(email: &str) -> bool {
    email
        .chars()
        .all(|letter| letter.is_ascii_graphic() && !matches!(letter, '\'' | '"' | '\\'))
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    memberships: Vec<Group>,
    #[serde(rename = "nextPageToken")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(rename = "groupKey")]
    key: Option<GroupKey>,
}

#[derive(Deserialize)]
struct GroupKey {
    id: String,
}

/// What every Google group carries.
const LABEL: &str = "cloudidentity.googleapis.com/groups.discussion_forum";
/// The most that a page can have.
const PAGE_SIZE: &str = "1000";
/// Pages of a user's groups that are read.
const MAX_PAGES: usize = 5;
