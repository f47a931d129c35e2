//! Token exchange of a token of the gate's own, for a narrower one: fewer scopes, or an address below. It is of the same grant, and ends no
//! later.

use serde_json::{Value, json};

use super::{
    answer::Failure,
    client_request::ClientRequest,
    rules::{Wanted, guard},
    trail,
};
use crate::{
    issuer::{
        ACCESS_LASTS,
        error::{Code, OAuthError, invalid_request},
        resource::{Resource, covers},
        token::AccessToken,
        token_exchange::Exchange,
    },
    observe::Record,
    route::{self, Route},
};

/// A token of the gate's own for a narrower one of the same grant.
pub(super) async fn narrow(
    request: &ClientRequest<'_>,
    exchange: &Exchange<'_>,
    record: &mut Record,
) -> Result<Value, Failure> {
    const UNKNOWN: &str =
        "subject_token is unknown here, has ended, or was given to another client";
    let ClientRequest {
        snapshot,
        issuer,
        client,
        now,
        ..
    } = request;
    let now = *now;
    if exchange.is_id_token
        || exchange
            .subject_issuer
            .is_some_and(|name| name != issuer.name)
    {
        return Err(invalid_request(UNKNOWN).into());
    }
    if exchange.is_offline {
        let why = "such a token is not refreshed";
        return Err(OAuthError::new(Code::InvalidScope, why).into());
    }
    let handle = client.handle();
    let keys = &snapshot.sessions.keys;
    let token = issuer.open(exchange.subject_token, keys, now).await?;
    let token = token
        .filter(|token| token.client == *handle && now < token.expires_at && !token.is_clients_own);
    let token = token.ok_or_else(|| invalid_request(UNKNOWN))?;
    let revocations = &snapshot.sessions.revocations;
    if !revocations.is_known() {
        return Err(Failure::away());
    }
    if revocations.has_revoked(&token.session) || revocations.has_revoked_tokens_of(token.issued_at)
    {
        return Err(invalid_request(UNKNOWN).into());
    }
    let elsewhere = || OAuthError::new(Code::InvalidTarget, "the grant is not for that resource");
    let granted_for = Resource::parse(&token.resource).ok_or_else(elsewhere)?;
    let resource = match exchange.resource {
        None => granted_for.clone(),
        Some(text) => Resource::parse(text).ok_or_else(elsewhere)?,
    };
    let route = guard(snapshot, issuer, &resource).ok_or_else(elsewhere)?;
    // What falls under another route is something else, though it lies below: nobody has agreed to that.
    let is_same = guard(snapshot, issuer, &granted_for).is_some_and(|of| std::ptr::eq(of, route));
    if !is_same || !covers(&token.resource, resource.origin(), resource.path()) {
        return Err(elsewhere().into());
    }
    let scopes = narrowed(&token.scopes, exchange.scopes.as_deref(), route)?;
    let wanted = Wanted {
        session: &token.session,
        client: &handle,
        scopes: &scopes,
    };
    let judged = wanted.judge(snapshot, &route.from_any_network(), None, now);
    let identity = &token.session.identity;
    judged.map_err(|deny| {
        trail::denied(snapshot, identity, &client.id, (route, deny), record);
        Failure::denied()
    })?;
    record.note_identity(Some(identity));
    trail::token_made(snapshot, identity, &client.id, &resource, record);
    let expires_at = now.after(ACCESS_LASTS).min(token.expires_at);
    let scope = scopes.join(" ");
    let narrower = AccessToken {
        resource: resource.to_text(),
        scopes,
        issued_at: now,
        expires_at,
        ..token
    };
    Ok(json!({
        "access_token": issuer.write(&narrower, keys).await?,
        "token_type": "Bearer",
        "expires_in": expires_at.since(now).as_secs(),
        "scope": scope,
    }))
}

/// Those of the scopes that are asked for, and the one that each token for such a route has.
fn narrowed(
    had: &[String],
    requested: Option<&[String]>,
    route: &Route,
) -> Result<Vec<String>, OAuthError> {
    let Some(requested) = requested else {
        return Ok(had.to_vec());
    };
    if requested.iter().any(|scope| !had.contains(scope)) {
        return Err(OAuthError::new(
            Code::InvalidScope,
            "more than the token has",
        ));
    }
    let base = route.resource.map(route::Resource::scope);
    let is_kept = |scope: &&String| requested.contains(scope) || base == Some(scope.as_str());
    Ok(had.iter().filter(is_kept).cloned().collect())
}
