//! GitHub: github.com, and Enterprise Server by `base_url`; OAuth Apps and GitHub Apps.
//!
//! The address is the primary, verified one, and never that of the profile, which users choose. Membership counts only if it is active, not
//! as an invitation. A login can be renamed and taken by somebody else, so the subject is the number.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION},
};
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use url::Url;

use super::{
    super::{
        Call, HttpClient, Provider, ProviderError,
        claims::ClaimNames,
        http::HttpError,
        kind::ConfigIssue,
        oauth::{ClientAuthentication, basic},
        token_info::{self, TokenCheck},
    },
    Bearer, OAuthProfile, Rest, Revocation, Revoking, UserLookup, UserRecord,
    api::{Api, Reply, answer},
    asks_for, endpoint, text,
};
use crate::{
    clock::Timestamp, identity_headers::HeaderSource, provider::settings::ProviderSettings,
};

pub(in crate::provider) fn build(
    config: &ProviderSettings,
    headers: &[&HeaderSource],
    http: &HttpClient,
) -> Arc<dyn Provider> {
    let orgs = asks_for(&config.facts(), &["orgs"]);
    let teams = asks_for(&config.facts(), &["teams"]);
    let dialect = OAuthProfile {
        authentication: ClientAuthentication::Post,
        pkce: true,
        scope_separator: " ",
        further_scope: (orgs || teams).then_some("read:org"),
        switch_account: &[("prompt", "select_account")],
        issuer: issuer(&endpoint(config, "authorize_url")),
        revocation: Revocation::Own(revocation),
        token_info: Some(TOKEN_INFO),
        names: ClaimNames {
            subject: "id".to_owned(),
            login: "login".to_owned(),
            email: "email".to_owned(),
            email_verified: "email_verified".to_owned(),
            name: "name".to_owned(),
            picture: "avatar_url".to_owned(),
            groups: String::new(),
        },
    };
    let directory = Accounts {
        api: Api {
            http: http.clone(),
            headers: &[
                ("accept", "application/vnd.github+json"),
                ("x-github-api-version", "2022-11-28"),
            ],
            fault,
            pace: None,
        },
        user: endpoint(config, "userinfo_url"),
        emails: whole(endpoint(config, "emails_url")),
        orgs: orgs.then(|| {
            let mut url = whole(endpoint(config, "orgs_url"));
            url.query_pairs_mut().append_pair("state", "active");
            url
        }),
        teams: teams.then(|| whole(endpoint(config, "teams_url"))),
    };
    Arc::new(Rest::new(config, headers, http, dialect, directory))
}

/// Takes one token back ("Delete an app token"); to delete the grant would sign the user out of every browser.
fn revocation(revoking: &Revoking<'_>) -> Option<http::Result<Request<Bytes>>> {
    let (token, secret) = (revoking.tokens.access.as_deref()?, revoking.client_secret?);
    let mut url = revoking.url.clone();
    let path = url.path_segments_mut();
    path.ok()?
        .pop_if_empty()
        .push(revoking.client_id)
        .push("token");
    let body = json!({ "access_token": token }).to_string();
    let request = Request::delete(url.as_str())
        .header(AUTHORIZATION, basic(revoking.client_id, secret))
        .header(ACCEPT, "application/vnd.github+json");
    Some(request.body(body.into()))
}

/// "Check a token": only this app's own are known there.
const TOKEN_INFO: TokenCheck = TokenCheck {
    request: |question| {
        let mut url = question.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(question.client_id).push("token");
        }
        let body = json!({ "access_token": question.token }).to_string();
        let secret = question.client_secret.unwrap_or_default();
        Request::post(url.as_str())
            .header(AUTHORIZATION, basic(question.client_id, secret))
            .header(ACCEPT, "application/vnd.github+json")
            .body(body.into())
    },
    read: token_info,
    unknown: &[StatusCode::NOT_FOUND, StatusCode::UNPROCESSABLE_ENTITY],
    // GitHub's own prefixes of tokens that apps get for users.
    recognises: |token| token.starts_with("gho_") || token.starts_with("ghu_"),
};

fn token_info(answer: &Map<String, Value>, _: Timestamp) -> Option<Map<String, Value>> {
    let client = answer.get("app")?.get("client_id")?.as_str()?;
    let user = text(answer.get("user")?, "id")?;
    let end = answer.get("expires_at").and_then(Value::as_str);
    let end = match end {
        None => Value::Null,
        Some(end) => OffsetDateTime::parse(end, &Rfc3339)
            .ok()?
            .unix_timestamp()
            .into(),
    };
    Some(token_info::active([
        ("client_id", client.into()),
        ("sub", user.into()),
        ("scope", token_info::joined(answer.get("scopes"))),
        ("exp", end),
    ]))
}

pub(in crate::provider) fn check(config: &ProviderSettings) -> Vec<ConfigIssue> {
    let is_team = |entry: &String| match entry.split_once('/') {
        Some((org, slug)) => !org.is_empty() && !slug.is_empty() && !slug.contains('/'),
        None => entry.bytes().all(|byte| byte.is_ascii_digit()),
    };
    let mut lists = config.allow.lists().iter();
    let is_odd = lists.any(|list| list.key == "teams" && !list.entries.iter().all(is_team));
    let objection = ConfigIssue {
        key: "allow",
        problem: "`teams` are known with their organisation, or by their numbers",
        hint: "as in teams = [\"acme/ops\"], the name as its page's address has it",
    };
    is_odd.then_some(objection).into_iter().collect()
}

/// GitHub's name as an issuer: the authorization endpoint's address without its last part.
fn issuer(authorize: &Url) -> Option<String> {
    let mut url = authorize.clone();
    url.set_query(None);
    url.as_str()
        .strip_suffix("/authorize")
        .map(ToOwned::to_owned)
}

/// A list's address with the largest pages that there are.
fn whole(mut url: Url) -> Url {
    url.query_pairs_mut().append_pair("per_page", "100");
    url
}

struct Accounts {
    api: Api,
    user: Url,
    emails: Url,
    /// Only where an allow list asks.
    orgs: Option<Url>,
    /// Only where an allow list asks.
    teams: Option<Url>,
}

impl UserLookup for Accounts {
    async fn find(&self, bearer: &Bearer<'_>) -> Result<UserRecord, ProviderError> {
        let token = bearer.token;
        let (mut claims, email, orgs, teams) = tokio::try_join!(
            self.api.object(Call::Userinfo, &self.user, token),
            self.email(token),
            self.orgs(token),
            self.teams(token),
        )?;
        claims.insert("email_verified".to_owned(), email.is_some().into());
        claims.insert("email".to_owned(), email.into());
        Ok(UserRecord {
            claims,
            memberships: orgs.into_iter().chain(teams).collect(),
        })
    }
}

impl Accounts {
    /// The address that is primary and verified. Whoever gave us no right to see addresses has none.
    async fn email(&self, token: &str) -> Result<Option<String>, ProviderError> {
        let list = match self.api.list(Call::Emails, &self.emails, token).await {
            Ok(list) => list,
            Err(ProviderError::Http {
                error: HttpError::Status(StatusCode::NOT_FOUND | StatusCode::FORBIDDEN),
                ..
            }) => {
                tracing::warn!(
                    "GitHub shows no addresses; the app lacks user:email, or its permission"
                );
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let is = |entry: &Value, name: &str| entry.get(name) == Some(&Value::Bool(true));
        let primary = list
            .iter()
            .find(|entry| is(entry, "primary") && is(entry, "verified"));
        Ok(primary.and_then(|entry| entry.get("email")?.as_str().map(str::to_owned)))
    }

    async fn orgs(&self, token: &str) -> Result<Vec<(&'static str, String)>, ProviderError> {
        let Some(url) = &self.orgs else {
            return Ok(Vec::new());
        };
        let list = self.api.list(Call::Memberships, url, token).await?;
        let active = list.iter().filter(|membership| {
            membership
                .get("state")
                .is_some_and(|state| state == "active")
        });
        Ok(active
            .filter_map(|membership| {
                Some(("orgs", text(membership.get("organization")?, "login")?))
            })
            .collect())
    }

    /// By name, `org/slug`, and by number: a slug changes when the team is renamed.
    async fn teams(&self, token: &str) -> Result<Vec<(&'static str, String)>, ProviderError> {
        let Some(url) = &self.teams else {
            return Ok(Vec::new());
        };
        let list = self.api.list(Call::Memberships, url, token).await?;
        let name = |team: &Value| {
            let org = text(team.get("organization")?, "login")?;
            Some(format!("{org}/{}", text(team, "slug")?))
        };
        Ok(list
            .iter()
            .flat_map(|team| [name(team), text(team, "id")])
            .flatten()
            .map(|entry| ("teams", entry))
            .collect())
    }
}

fn fault(reply: &Reply) -> Option<ProviderError> {
    let problem = match (reply.call, reply.status) {
        (Call::Memberships, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) => {
            "forbidden; the app lacks read:org, its permission, or the organisation's approval"
        }
        (Call::Userinfo, StatusCode::FORBIDDEN) => "forbidden, and not for calling too often",
        _ => return None,
    };
    Some(answer(reply.call, problem))
}

#[cfg(test)]
mod tests;
