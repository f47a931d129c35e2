//! `grant_type=client_credentials` (RFC 6749 §4.4): a client of the configuration gets a token for itself.
//!
//! There is no grant behind it, and no refresh token: the client asks again. It is nobody whom a provider knows, so no provider's
//! `allow` judges it: that of its route does, at each request.

use serde_json::{Value, json};

use super::{answer::Failure, authorize::resource_of, trail};
use crate::{
    clock::Timestamp,
    issuer::{
        ACCESS_LASTS, Issuer,
        authorize::scopes,
        client::Client,
        error::{Code, OAuthError},
        machine_identity,
        parameters::Parameters,
        token::AccessToken,
    },
    observe::Record,
    random,
    session::Session,
    snapshot::Snapshot,
};

pub(super) async fn token(
    snapshot: &Snapshot,
    (issuer, client): (&Issuer, &Client),
    form: &Parameters,
    now: Timestamp,
    record: &mut Record,
) -> Result<Value, Failure> {
    let machine = client.machine.as_ref().ok_or_else(|| {
        OAuthError::new(
            Code::UnauthorizedClient,
            "this client does not act for itself",
        )
    })?;
    let (resource, route) = resource_of(snapshot, issuer, form.get("resource"))?;
    let base = route.resource.map(|kind| kind.scope().to_owned());
    let mut granted: Vec<String> = base.into_iter().collect();
    let asked = form.get("scope").map(scopes).transpose()?;
    let is_asked = |scope: &String| asked.as_ref().is_none_or(|asked| asked.contains(scope));
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
