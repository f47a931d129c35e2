//! `PREFIX/revoke` (RFC 7009): a client ends its grant. An unknown token, or one of another client, gets the same answer.

use http::{Response, StatusCode};

use super::{
    answer::{Failure, admit, read_form, sender},
    client::authenticate,
    trail,
};
use crate::{
    answer::reply,
    api_token::Facts,
    clean::CleanRequest,
    clock,
    issuer::{
        Issuer, Refused,
        error::invalid_request,
        token::{GrantName, Presented},
    },
    observe::Record,
    response::Body,
    session::directory::UserKey,
    snapshot::Snapshot,
};

pub(super) async fn serve(
    snapshot: &Snapshot,
    issuer: &Issuer,
    request: Box<CleanRequest>,
    record: &mut Record,
) -> Response<Body> {
    let sender = sender(&request);
    let served = async {
        admit(&issuer.state.throttles.token, &sender)?;
        revoke(snapshot, issuer, request, record).await
    };
    match served.await {
        Ok(()) => {
            issuer.state.throttles.token.give_back(&sender);
            reply::empty(StatusCode::OK)
        }
        Err(failure) => failure.answer(record),
    }
}

async fn revoke(
    snapshot: &Snapshot,
    issuer: &Issuer,
    request: Box<CleanRequest>,
    record: &Record,
) -> Result<(), Failure> {
    let headers = &request.head.headers;
    let sender = sender(&request);
    let form = read_form(headers, request.body).await?;
    let keys = &snapshot.sessions.keys;
    let client = authenticate(issuer, keys, headers, &form, (&sender, "revoke")).await?;
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
        let opened = issuer.open(text, keys, clock::now()).await?;
        let opened = opened.filter(|token| token.client == *handle);
        opened.map(|token| {
            let id = token.session.id;
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
        issuer.grants.end(name, clock::now()).await?;
        if let Some(found) = found {
            let identity = &found.facts.identity;
            trail::ended(snapshot, identity, &found.grant, "client", record);
        }
    }
    Ok(())
}
