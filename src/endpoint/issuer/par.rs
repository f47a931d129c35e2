//! `PREFIX/par`: a client sends what it asks for ahead (RFC 9126), so that no browser carries or changes it.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{
    answer::{Failure, admit, json as answer_json, read_form, sender},
    client::authenticate,
};
use crate::{
    clean::CleanRequest,
    clock,
    issuer::{
        Issuer,
        authorize::{AuthorizationRequest, Recipient},
        error::{Code, OAuthError, invalid_request},
        pushed::LASTS,
    },
    observe::Record,
    response::Body,
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
        admit(&issuer.state.throttles.par, &sender)?;
        push(snapshot, issuer, request, record).await
    };
    match served.await {
        Ok((answer, is_vouched_for)) => {
            // What anybody may store counts, so that nobody takes all the room there is.
            if is_vouched_for {
                issuer.state.throttles.par.give_back(&sender);
            }
            answer_json(StatusCode::CREATED, &answer)
        }
        Err(failure) => failure.answer(record),
    }
}

async fn push(
    snapshot: &Snapshot,
    issuer: &Issuer,
    request: Box<CleanRequest>,
    record: &mut Record,
) -> Result<(Value, bool), Failure> {
    let headers = &request.head.headers;
    let sender = sender(&request);
    let form = read_form(headers, request.body).await?;
    let keys = &snapshot.sessions.keys;
    let client = authenticate(issuer, keys, headers, &form, (&sender, "par")).await?;
    record.detail = Some(format!("client {}: a request pushed", client.handle()));
    if form.get("request_uri").is_some() {
        return Err(invalid_request("request_uri is what this answers with").into());
    }
    // The same checks as in the browser, while the client can still be told.
    Recipient::read(&form, &client)
        .map_err(|_| invalid_request("redirect_uri is not one that the client has named before"))?;
    AuthorizationRequest::read(&form)?;
    let asked = form.without(&["client_secret", "client_assertion", "client_assertion_type"]);
    if asked.encode().len() > LARGEST {
        return Err(OAuthError::new(Code::InvalidRequest, "the request is too long").into());
    }
    let pushed = &issuer.state.pushed;
    let request_uri = pushed.push(&client.handle(), &asked, clock::now()).await?;
    let answer = json!({ "request_uri": request_uri, "expires_in": LASTS.as_secs() });
    Ok((answer, client.is_vouched_for()))
}

/// The bytes of a request that was pushed ahead.
const LARGEST: usize = 4 * 1024;
