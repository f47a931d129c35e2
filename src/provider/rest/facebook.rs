//! Facebook Login. Its errors are objects with numbers, its calls are signed with the app's secret, and its addresses are never verified.
//!
//! An account has no login name, and no list of groups or places: `users` names the ids that Facebook makes for this one app. The
//! classic flow ignores PKCE; `state` protects it.

use std::sync::Arc;

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header::AUTHORIZATION};
use serde_json::{Map, Value};
use url::Url;

use super::{
    super::{
        Call, HttpClient, Provider, ProviderError,
        claims::ClaimNames,
        graph_error::{self, GraphError},
        http::HttpError,
        kind::ConfigIssue,
        oauth::ClientAuthentication,
        token_info::{self, TokenCheck},
    },
    Bearer, OAuthProfile, Rest, Revocation, Revoking, UserLookup, UserRecord,
    api::{Api, Reply, answer},
    endpoint,
};
use crate::{
    access::AllowList, clock::Timestamp, hex::hex, identity_headers::HeaderSource,
    provider::settings::ProviderSettings,
};

pub(in crate::provider) fn check(config: &ProviderSettings) -> Vec<ConfigIssue> {
    let is_by_address = |list: &AllowList| matches!(list.key.as_str(), "emails" | "domains");
    let admits_nobody = config.allow.lists().iter().any(is_by_address);
    let by_address = ConfigIssue {
        key: "allow",
        problem: "Facebook verifies no address, so `emails` and `domains` let nobody pass",
        hint: "write users, with the ids that X-User-Id shows behind the colon",
    };
    // `users` are ids there; a name that somebody chose must not pass for one.
    let by_name = ConfigIssue {
        key: "claims",
        problem: "Facebook has no login names, so `claims.user` names nobody",
        hint: "take `user` out; X-User shows the id, X-User-Name the name",
    };
    let objections = [
        admits_nobody.then_some(by_address),
        config.claims.user.is_some().then_some(by_name),
    ];
    objections.into_iter().flatten().collect()
}

pub(in crate::provider) fn build(
    config: &ProviderSettings,
    headers: &[&HeaderSource],
    http: &HttpClient,
) -> Arc<dyn Provider> {
    let dialect = OAuthProfile {
        authentication: ClientAuthentication::Post,
        pkce: false,
        scope_separator: ",",
        further_scope: None,
        switch_account: &[("auth_type", "reauthenticate")],
        issuer: None,
        revocation: Revocation::Own(revocation),
        token_info: Some(TOKEN_INFO),
        names: ClaimNames {
            subject: "id".to_owned(),
            login: String::new(),
            email: "email".to_owned(),
            email_verified: String::new(),
            name: "name".to_owned(),
            picture: "picture.data.url".to_owned(),
            groups: String::new(),
        },
    };
    let directory = Graph {
        api: Api {
            http: http.clone(),
            headers: &[],
            fault,
            pace: None,
        },
        me: endpoint(config, "userinfo_url"),
    };
    Arc::new(Rest::new(config, headers, http, dialect, directory))
}

/// `GET /debug_token` as the app itself, whose token is its id and its secret. An answer is an object within `data`.
const TOKEN_INFO: TokenCheck = TokenCheck {
    request: |question| {
        let mut url = question.url.clone();
        url.query_pairs_mut()
            .append_pair("input_token", question.token);
        let secret = question.client_secret.unwrap_or_default();
        let app = format!("Bearer {}|{secret}", question.client_id);
        let mut app = HeaderValue::try_from(app)?;
        app.set_sensitive(true);
        Request::get(url.as_str())
            .header(AUTHORIZATION, app)
            .body(Bytes::new())
    },
    read: token_info,
    unknown: &[],
    recognises: |_| false,
};

fn token_info(answer: &Map<String, Value>, _: Timestamp) -> Option<Map<String, Value>> {
    let data = answer.get("data")?.as_object()?;
    if data.get("is_valid") != Some(&Value::Bool(true)) {
        return Some(
            [("active".to_owned(), Value::Bool(false))]
                .into_iter()
                .collect(),
        );
    }
    // A page's token acts for a page, and an app's for the app.
    if data.get("type")?.as_str()? != "USER" {
        return None;
    }
    // Zero is never.
    let end = token_info::number(data.get("expires_at")).filter(|end| *end > 0);
    Some(token_info::active([
        ("client_id", data.get("app_id")?.as_str()?.into()),
        ("sub", data.get("user_id")?.as_str()?.into()),
        ("scope", token_info::joined(data.get("scopes"))),
        ("exp", end.map_or(Value::Null, Value::from)),
        (
            "iat",
            token_info::number(data.get("issued_at")).map_or(Value::Null, Value::from),
        ),
    ]))
}

struct Graph {
    api: Api,
    me: Url,
}

impl UserLookup for Graph {
    async fn find(&self, bearer: &Bearer<'_>) -> Result<UserRecord, ProviderError> {
        let mut url = self.me.clone();
        url.query_pairs_mut()
            .append_pair("fields", "id,name,email,picture");
        if let Some(secret) = bearer.client_secret {
            let proof = proof(secret, bearer.token);
            url.query_pairs_mut().append_pair("appsecret_proof", &proof);
        }
        let claims = self.api.object(Call::Userinfo, &url, bearer.token).await?;
        let id = claims.get("id").and_then(Value::as_str);
        Ok(UserRecord {
            memberships: id.map(|id| ("users", id.to_owned())).into_iter().collect(),
            claims,
        })
    }
}

/// Takes all of the app's permissions back.
fn revocation(revoking: &Revoking<'_>) -> Option<http::Result<Request<Bytes>>> {
    let token = revoking.tokens.access.as_deref()?;
    let mut url = revoking.url.clone();
    if let Some(secret) = revoking.client_secret {
        let proof = proof(secret, token);
        url.query_pairs_mut().append_pair("appsecret_proof", &proof);
    }
    let request = Request::delete(url.as_str()).header(AUTHORIZATION, format!("Bearer {token}"));
    Some(request.body(Bytes::new()))
}

/// Shows that whoever calls with the token has the app's secret too.
fn proof(secret: &str, token: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, token.as_bytes());
    hex(tag.as_ref())
}

/// An error is one with any status.
fn fault(reply: &Reply) -> Option<ProviderError> {
    let body = reply.json()?;
    let error = body.get("error")?.as_object()?;
    let busy = |status| ProviderError::Http {
        call: reply.call,
        error: HttpError::Status(status),
    };
    Some(match graph_error::meaning(error) {
        Some(GraphError::Throttled) => busy(StatusCode::TOO_MANY_REQUESTS),
        Some(GraphError::Transient) => busy(StatusCode::SERVICE_UNAVAILABLE),
        Some(GraphError::Token) => answer(reply.call, "the access token is not accepted"),
        _ => answer(reply.call, "refused by the Graph API"),
    })
}

#[cfg(test)]
mod tests;
