//! `grant_type=client_credentials` (RFC 6749 §4.4): a client of the configuration gets a token for itself.
//!
//! There is no grant behind it, and no refresh token: the client asks again. It is nobody whom a provider knows, so no provider's
//! `allow` judges it: that of its resource's route does, here and at each request.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    answer::Failure,
    client_request::ClientRequest,
    rules::{beside_scopes, resource_of},
    trail,
};
use crate::{
    access::Principal,
    clock::Timestamp,
    decide::{Standing, decide},
    identity::Identity,
    issuer::{
        ACCESS_LASTS,
        authorize::scopes,
        client::Client,
        error::{Code, OAuthError},
        machine_identity,
        settings::MachineSettings,
        token::AccessToken,
    },
    observe::Record,
    random,
    rate_limit::{self, Quota},
    route::Route,
    session::{NO_LOGIN, Session},
    text::Text,
    tokens::Tokens,
};

pub(super) async fn token(
    request: &ClientRequest<'_>,
    record: &mut Record,
) -> Result<Value, Failure> {
    let ClientRequest {
        snapshot,
        issuer,
        client,
        form,
        now,
        ..
    } = request;
    let now = *now;
    let machine = client.machine.as_ref().ok_or_else(|| {
        OAuthError::new(
            Code::UnauthorizedClient,
            "this client does not act for itself",
        )
    })?;
    let own = rate_limit::Key::of(&[client.id.as_bytes()]);
    let taken = issuer
        .state
        .machines
        .take(own, own.bits(), MOST, Instant::now());
    taken.outcome.map_err(Failure::throttled)?;
    let (resource, route) = resource_of(snapshot, issuer, form.get("resource"))?;
    let wanted = form.get("scope").map(scopes).transpose()?;
    let granted = granted(machine, route, wanted.as_deref());
    let identity = machine_identity(&client.id, machine);
    judge(client, &identity, &granted, route, now)?;
    let mut session = Session::begin(random::bytes(), NO_LOGIN, now, identity);
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
        is_of_configured_client: true,
    };
    Ok(json!({
        "access_token": issuer.write(&token, &snapshot.sessions.keys).await?,
        "token_type": "Bearer",
        "expires_in": ACCESS_LASTS.as_secs(),
        "scope": scope,
    }))
}

/// The scope of the route, and those of the client's own that it wants: all of them where it does not say.
fn granted(machine: &MachineSettings, route: &Route, wanted: Option<&[String]>) -> Vec<String> {
    let base = route.resource.map(|kind| kind.scope().to_owned());
    let mut granted: Vec<String> = base.into_iter().collect();
    let is_wanted = |scope: &&String| wanted.is_none_or(|wanted| wanted.contains(scope));
    for scope in machine.scopes.iter().filter(is_wanted) {
        if !granted.contains(scope) {
            granted.push(scope.clone());
        }
    }
    granted
}

/// Would such a token be let through there?
fn judge(
    client: &Client,
    identity: &Identity,
    granted: &[String],
    route: &Route,
    now: Timestamp,
) -> Result<(), OAuthError> {
    let (tokens, handle) = (Tokens::default(), client.handle());
    let scopes: Vec<Text> = granted
        .iter()
        .map(|scope| Text::from(scope.as_str()))
        .collect();
    let principal = Principal::of_session(identity, &tokens).by_access_token(&handle, &scopes);
    let route = route.from_any_network();
    let judged = decide(&route, Standing::Admitted(principal), None, now);
    beside_scopes(judged.map(|_| ())).map_err(|_| {
        OAuthError::new(
            Code::InvalidTarget,
            "the rules of that resource do not let this client pass",
        )
    })
}

/// Tokens that one client gets for itself, in each process: a token lasts ten minutes, and each is told of in the audit trail.
const MOST: Quota = Quota::per(600, Duration::from_mins(1));
