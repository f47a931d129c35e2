//! `grant_type=client_credentials` (RFC 6749 §4.4): a client of the configuration gets a token for itself.
//!
//! There is no grant behind it, and no refresh token: the client asks again. It is nobody whom a provider knows, so no provider's
//! `allow` judges it: that of its route does, at each request.

use serde_json::{Value, json};

use super::{answer::Failure, authorize::resource_of, client_request::ClientRequest, trail};
use crate::{
    issuer::{
        ACCESS_LASTS,
        authorize::scopes,
        error::{Code, OAuthError},
        machine_identity,
        token::AccessToken,
    },
    observe::Record,
    random,
    session::Session,
};

pub(super) async fn token(
    asked: &ClientRequest<'_>,
    record: &mut Record,
) -> Result<Value, Failure> {
    let ClientRequest {
        snapshot,
        issuer,
        client,
        form,
        now,
        ..
    } = asked;
    let now = *now;
    let machine = client.machine.as_ref().ok_or_else(|| {
        OAuthError::new(
            Code::UnauthorizedClient,
            "this client does not act for itself",
        )
    })?;
    let (resource, route) = resource_of(snapshot, issuer, form.get("resource"))?;
    let base = route.resource.map(|kind| kind.scope().to_owned());
    let mut granted: Vec<String> = base.into_iter().collect();
    let wanted = form.get("scope").map(scopes).transpose()?;
    let is_asked = |scope: &String| wanted.as_ref().is_none_or(|wanted| wanted.contains(scope));
    for scope in machine.scopes.iter().filter(|scope| is_asked(scope)) {
        if !granted.contains(scope) {
            granted.push(scope.clone());
        }
    }
    let identity = machine_identity(&client.id, machine);
    let mut session = Session::begin(random::bytes(), [0; 16], now, identity);
    let expires_at = now.after(ACCESS_LASTS);
    session.ends_at = Some(expires_at);
    record.note_identity(Some(&session.identity));
    trail::token_made(snapshot, &session.identity, &client.id, &resource, record);
    let scope = granted.join(" ");
    let token = AccessToken {
        session,
        client: client.id.clone(),
        resource: resource.to_text(),
        scopes: granted,
        issued_at: now,
        expires_at,
        is_clients_own: true,
    };
    Ok(json!({
        "access_token": issuer.write(&token, &snapshot.sessions.keys).await?,
        "token_type": "Bearer",
        "expires_in": ACCESS_LASTS.as_secs(),
        "scope": scope,
    }))
}
