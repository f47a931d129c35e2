//! `PREFIX/revoke` (RFC 7009): a client ends its grant. An unknown token, or one of another client, gets the same answer.

use http::{Response, StatusCode};

use super::{answer::Failure, client_request::ClientRequest, trail};
use crate::{
    answer::reply,
    api_token::Facts,
    issuer::{
        Refused,
        error::invalid_request,
        token::{GrantName, Presented},
    },
    observe::Record,
    response::Body,
    session::directory::UserKey,
};

pub(super) async fn revoke(
    request: &ClientRequest<'_>,
    record: &Record,
) -> Result<Response<Body>, Failure> {
    let ClientRequest {
        snapshot,
        issuer,
        client,
        form,
        now,
        ..
    } = request;
    let text = form
        .get("token")
        .ok_or_else(|| invalid_request("token is missing"))?;
    let handle = client.handle();
    let name = if let Some(token) = Presented::refresh(text) {
        match issuer.grants.of_refresh_token(&token).await {
            Ok(found) if found.grant.client == *handle => Some(token.grant),
            Ok(_) | Err(Refused::Invalid(_) | Refused::Reused(..)) => None,
            Err(Refused::Unavailable(error)) => return Err(error.into()),
        }
    } else {
        let opened = issuer.open_to_end(text, &snapshot.sessions.keys, *now);
        let opened = opened.filter(|token| token.client == *handle);
        opened.map(|token| {
            let id = token.session.id;
            issuer.grants.end_access_tokens(&id, *now);
            if token.is_clients_own {
                trail::token_ended(snapshot, &token.session.identity, &token.client, record);
            }
            let owner = UserKey::of(&Facts::of(token.session).identity);
            GrantName {
                owner: *owner.bytes(),
                id,
            }
        })
    };
    if let Some(name) = name {
        let found = issuer.grants.find(name).await?;
        issuer.grants.end(name, *now).await?;
        if let Some(found) = found {
            let identity = &found.facts.identity;
            trail::ended(snapshot, identity, &found.grant, "client", record);
        }
    }
    Ok(reply::empty(StatusCode::OK))
}
