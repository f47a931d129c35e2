//! 42's intra. One call has everything about a user, but all calls of an application are limited together.
//!
//! It has no end-session endpoint, and no way to ask for another account: users who want another one must sign out at the intra first.
//! `external` users choose their own addresses; all others are assigned by the schools.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header::AUTHORIZATION};
use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use url::Url;

use super::{
    super::{
        Call, HttpClient, Provider, ProviderError,
        claims::ClaimNames,
        oauth::ClientAuthentication,
        token_info::{self, TokenCheck},
    },
    Bearer, OAuthProfile, Rest, Revocation, UserLookup, UserRecord,
    api::{Api, Reply, answer},
    endpoint, list,
    pace::{Limit, RequestPacer},
    text,
};
use crate::{
    clock::Timestamp, identity_headers::HeaderSource, provider::settings::ProviderSettings,
};

pub(in crate::provider) fn build(
    config: &ProviderSettings,
    headers: &[&HeaderSource],
    http: &HttpClient,
) -> Arc<dyn Provider> {
    let me = endpoint(config, "userinfo_url");
    let application = format!("{} {}", me.origin().ascii_serialization(), config.client_id);
    let api = Api {
        http: http.clone(),
        headers: &[],
        fault,
        pace: Some(RequestPacer::shared(application, LIMITS)),
    };
    let dialect = OAuthProfile {
        authentication: ClientAuthentication::Post,
        // Not documented; a server that does not know it ignores it.
        pkce: true,
        scope_separator: " ",
        further_scope: None,
        switch_account: &[],
        issuer: None,
        revocation: Revocation::Standard,
        token_info: Some(TOKEN_INFO),
        names: ClaimNames {
            subject: "id".to_owned(),
            login: "login".to_owned(),
            email: "email".to_owned(),
            email_verified: "email_verified".to_owned(),
            name: "displayname".to_owned(),
            picture: "image.link".to_owned(),
            groups: "groups".to_owned(),
        },
    };
    Arc::new(Rest::new(config, headers, http, dialect, Intra { api, me }))
}

/// `GET /oauth/token/info` with the token itself. It is of a person where it names one.
const TOKEN_INFO: TokenCheck = TokenCheck {
    request: |question| {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", question.token))?;
        bearer.set_sensitive(true);
        Request::get(question.url.as_str())
            .header(AUTHORIZATION, bearer)
            .body(Bytes::new())
    },
    read: token_info,
    unknown: &[StatusCode::UNAUTHORIZED],
    recognises: |_| false,
};

fn token_info(answer: &Map<String, Value>, now: Timestamp) -> Option<Map<String, Value>> {
    let client = answer.get("application")?.get("uid")?.as_str()?;
    // Null where the app stands there for itself.
    let owner = match answer.get("resource_owner_id")? {
        Value::Null => None,
        owner => Some(owner.as_u64()?),
    };
    let left = answer
        .get("expires_in_seconds")
        .or_else(|| answer.get("expires_in"));
    let left = token_info::number(left)?;
    let scopes = answer.get("scopes").or_else(|| answer.get("scope"));
    Some(token_info::active([
        ("client_id", client.into()),
        (
            "sub",
            owner.map_or(Value::Null, |owner| owner.to_string().into()),
        ),
        ("scope", token_info::joined(scopes)),
        ("exp", now.after(Duration::from_secs(left)).0.into()),
    ]))
}

struct Intra {
    api: Api,
    me: Url,
}

impl UserLookup for Intra {
    async fn find(&self, bearer: &Bearer<'_>) -> Result<UserRecord, ProviderError> {
        let call = Call::Userinfo;
        let mut claims = self.api.object(call, &self.me, bearer.token).await?;
        let memberships = memberships(&claims, bearer.now);
        // Two things that the answer has not, at least not so: groups are objects there.
        let is_vouched_for = claims
            .get("kind")
            .is_some_and(|kind| kind.as_str().is_some_and(|kind| kind != "external"));
        claims.insert("email_verified".to_owned(), is_vouched_for.into());
        let groups = list(&claims, "groups");
        let names: Vec<Value> = groups
            .iter()
            .filter_map(|group| Some(text(group, "name")?.into()))
            .collect();
        claims.insert("groups".to_owned(), names.into());
        Ok(UserRecord {
            claims,
            memberships,
        })
    }
}

fn memberships(claims: &Map<String, Value>, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for campus in list(claims, "campus").iter().filter(is_home(claims)) {
        found.extend(text(campus, "name").map(|name| ("campus", name)));
        found.extend(text(campus, "id").map(|id| ("campus", id)));
    }
    let running = list(claims, "cursus_users")
        .iter()
        .filter(|enrolment| is_running(enrolment, now));
    for cursus in running.filter_map(|enrolment| enrolment.get("cursus")) {
        for name in ["slug", "name", "id"] {
            found.extend(text(cursus, name).map(|value| ("cursus", value)));
        }
    }
    if let Some(Value::Bool(is_staff)) = claims.get("staff?") {
        found.push(("staff", is_staff.to_string()));
    }
    if let Some(Value::String(kind)) = claims.get("kind") {
        found.push(("kind", kind.clone()));
    }
    found
}

/// Whether a campus is somebody's own. Whoever moved or was a guest somewhere has several, one of them
/// primary; only where the answer does not tell at all is each of them taken.
fn is_home(claims: &Map<String, Value>) -> impl Fn(&&Value) -> bool {
    let stays = list(claims, "campus_users");
    let homes: Vec<Option<&Value>> = stays
        .iter()
        .filter(|stay| stay.get("is_primary") == Some(&Value::Bool(true)))
        .map(|stay| stay.get("campus_id"))
        .collect();
    move |campus| stays.is_empty() || homes.contains(&campus.get("id"))
}

/// Whether an enrolment has neither ended nor been ended. A date that cannot be read has passed.
fn is_running(enrolment: &Value, now: Timestamp) -> bool {
    let holds = |name: &str, fits: &dyn Fn(u64) -> bool| match enrolment.get(name) {
        None | Some(Value::Null) => true,
        Some(Value::String(date)) => OffsetDateTime::parse(date, &Rfc3339)
            .ok()
            .and_then(|date| u64::try_from(date.unix_timestamp()).ok())
            .is_some_and(fits),
        Some(_) => false,
    };
    holds("begin_at", &|date| date <= now.0)
        && holds("end_at", &|date| date > now.0)
        && holds("blackholed_at", &|date| date > now.0)
}

fn fault(reply: &Reply) -> Option<ProviderError> {
    let problem = match reply.status {
        StatusCode::NOT_FOUND => "the access token has no user",
        StatusCode::FORBIDDEN => "forbidden; the application's scopes do not cover it",
        _ => return None,
    };
    Some(answer(reply.call, problem))
}

/// Of an application, whoever of its users asks. The second is a little longer than one, because calls
/// do not arrive as evenly as they leave.
const LIMITS: &[Limit] = &[
    Limit {
        calls: 2,
        span: Duration::from_millis(1050),
    },
    Limit {
        calls: 1200,
        span: Duration::from_hours(1),
    },
];

#[cfg(test)]
mod tests;
