//! `PREFIX/par`: a client sends what it asks for ahead (RFC 9126), so that no browser carries or changes it.

use http::{Response, StatusCode};
use serde_json::json;

use super::{
    answer::{Failure, json as answer_json},
    client_request::ClientRequest,
};
use crate::{
    issuer::{
        authorize::{AuthorizationRequest, Recipient},
        error::{Code, OAuthError, invalid_request},
        pushed::{LASTS, Pusher},
    },
    observe::Record,
    response::Body,
};

pub(super) async fn push(
    request: &ClientRequest<'_>,
    record: &mut Record,
) -> Result<Response<Body>, Failure> {
    let ClientRequest { client, form, .. } = request;
    record.detail = Some(format!("client {}: a request pushed", client.handle()));
    if form.get("request_uri").is_some() {
        return Err(invalid_request("request_uri is what this answers with").into());
    }
    // The same checks as in the browser, while the client can still be told.
    Recipient::read(form, client)
        .map_err(|_| invalid_request("redirect_uri is not one that the client has named before"))?;
    AuthorizationRequest::read(form)?;
    let proofs = ["client_secret", "client_assertion", "client_assertion_type"];
    let parameters = form.clone().without(&proofs);
    if parameters.encode().len() > LARGEST {
        return Err(OAuthError::new(Code::InvalidRequest, "the request is too long").into());
    }
    let pushed = &request.issuer.state.pushed;
    let pusher = Pusher {
        client: &client.handle(),
        is_vouched_for: client.is_vouched_for(),
    };
    let request_uri = pushed.push(pusher, &parameters, request.now).await?;
    let answer = json!({ "request_uri": request_uri, "expires_in": LASTS.as_secs() });
    Ok(answer_json(StatusCode::CREATED, &answer))
}

/// The bytes of a request that was pushed ahead, with the longest state in escapes.
const LARGEST: usize = 16 * 1024;
