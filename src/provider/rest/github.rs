//! GitHub: github.com, and Enterprise Server by `base_url`; OAuth Apps and GitHub Apps.
//!
//! The address is the one that is primary and verified, and never the profile's, which people choose.
//! Membership counts when it is active: an invitation is none. Logins can be renamed and registered
//! anew by somebody else, so the subject is the number.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION},
};
use serde_json::{Value, json};
use url::Url;

use super::{
    super::{
        Call, ProviderError,
        claims::ClaimNames,
        http::HttpError,
        kind::{Kind, Objection, Secrecy, Switch},
        oauth::{ClientAuthentication, basic},
    },
    Bearer, Dialect, Directory, Person, Rest, Revocation, Revoking,
    api::{Api, Reply, answer},
    asks_for, endpoint, known, text,
};
use crate::provider::settings::ProviderSettings;

/// GitHub.
pub(in crate::provider) const KIND: Kind = Kind {
    name: "github",
    label: "GitHub",
    mark: concat!(
        r#"<svg viewBox="0 0 16 16" fill="currentColor" aria-hidden="true"><path d=""#,
        "M8 0c4.42 0 8 3.58 8 8a8.013 8.013 0 0 1-5.45 7.59c-.4.08-.55-.17-.55-.38 0-.27.01-1.13.01-2.2 ",
        "0-.75-.25-1.23-.54-1.48 1.78-.2 3.65-.88 3.65-3.95 0-.88-.31-1.59-.82-2.15.08-.2.36-1.02-.08-2.12 ",
        "0 0-.67-.22-2.2.82-.64-.18-1.32-.27-2-.27-.68 0-1.36.09-2 .27-1.53-1.03-2.2-.82-2.2-.82-.44 1.1",
        "-.16 1.92-.08 2.12-.51.56-.82 1.28-.82 2.15 0 3.06 1.86 3.75 3.64 3.95-.23.2-.44.55-.51 1.07",
        "-.46.21-1.61.55-2.33-.66-.15-.24-.6-.83-1.23-.82-.67.01-.27.38.01.53.34.19.73.9.82 1.13.16.45",
        ".68 1.31 2.69.94 0 .67.01 1.3.01 1.49 0 .21-.15.45-.55.38A7.995 7.995 0 0 1 0 8c0-4.42 3.58-8 8-8Z",
        r#""/></svg>"#,
    ),
    endpoints: &[
        known(
            "authorize_url",
            "https://github.com/login/oauth/authorize",
            "/login/oauth/authorize",
        ),
        known(
            "token_url",
            "https://github.com/login/oauth/access_token",
            "/login/oauth/access_token",
        ),
        known(
            "userinfo_url",
            "https://api.github.com/user",
            "/api/v3/user",
        ),
        known(
            "emails_url",
            "https://api.github.com/user/emails",
            "/api/v3/user/emails",
        ),
        known(
            "orgs_url",
            "https://api.github.com/user/memberships/orgs",
            "/api/v3/user/memberships/orgs",
        ),
        known(
            "teams_url",
            "https://api.github.com/user/teams",
            "/api/v3/user/teams",
        ),
        // Where the applications are: the client and its token are below.
        known(
            "revocation_url",
            "https://api.github.com/applications",
            "/api/v3/applications",
        ),
    ],
    scopes: &["read:user", "user:email"],
    required_scope: None,
    allow: &["orgs", "teams"],
    closed: &[],
    logins_ignore_case: true,
    claims_by_hand: false,
    secret: Secrecy::Always,
    offers_logout: false,
    switch: Switch::Asks,
    revokes: true,
    check,
    build: |config, headers, http| {
        let orgs = asks_for(&config.allow, &["orgs"]);
        let teams = asks_for(&config.allow, &["teams"]);
        let dialect = Dialect {
            authentication: ClientAuthentication::Post,
            pkce: true,
            scope_separator: " ",
            further_scope: (orgs || teams).then_some("read:org"),
            switch_account: &[("prompt", "select_account")],
            issuer: issuer(&endpoint(config, "authorize_url")),
            revocation: Revocation::Own(revocation),
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
    },
};

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

fn check(config: &ProviderSettings) -> Vec<Objection> {
    let is_team = |entry: &String| match entry.split_once('/') {
        Some((org, slug)) => !org.is_empty() && !slug.is_empty() && !slug.contains('/'),
        None => entry.bytes().all(|byte| byte.is_ascii_digit()),
    };
    let mut lists = config.allow.lists().iter();
    let is_odd = lists.any(|list| list.key == "teams" && !list.entries.iter().all(is_team));
    let objection = Objection {
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

impl Directory for Accounts {
    async fn find(&self, bearer: &Bearer<'_>) -> Result<Person, ProviderError> {
        let token = bearer.token;
        let (mut claims, email, orgs, teams) = tokio::try_join!(
            self.api.object(Call::Userinfo, &self.user, token),
            self.email(token),
            self.orgs(token),
            self.teams(token),
        )?;
        claims.insert("email_verified".to_owned(), email.is_some().into());
        claims.insert("email".to_owned(), email.into());
        Ok(Person {
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
