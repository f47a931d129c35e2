//! `PREFIX/introspect` (RFC 7662): tells apps that get an access token in another way what it is worth. Only configured clients that
//! authenticate may ask. Otherwise anybody could learn the user of any token that they find.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{
    answer::{Failure, admit, json as answer_json, read_form, sender},
    client::authenticate,
};
use crate::{
    clean::CleanRequest,
    clock,
    credential::{Caller, Presented, Voucher},
    decide::Standing,
    issuer::{Issuer, client::Kind, error::invalid_request},
    observe::Record,
    response::Body,
    snapshot::Snapshot,
    visitor::Who,
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
        introspect(snapshot, issuer, request).await
    };
    match served.await {
        Ok(answer) => {
            issuer.state.throttles.token.give_back(&sender);
            answer_json(StatusCode::OK, &answer)
        }
        Err(failure) => failure.answer(record),
    }
}

async fn introspect(
    snapshot: &Snapshot,
    issuer: &Issuer,
    request: Box<CleanRequest>,
) -> Result<Value, Failure> {
    let headers = &request.head.headers;
    let address = request.client.address;
    let sender = sender(&request);
    let form = read_form(headers, request.body).await?;
    let client = authenticate(
        issuer,
        &snapshot.sessions.keys,
        headers,
        &form,
        (&sender, "introspect"),
    )
    .await?;
    if client.kind != Kind::Configured || client.is_public() {
        return Err(Failure::of_client(
            "only clients of the configuration that have a secret may ask",
            false,
        ));
    }
    let token = form
        .get("token")
        .ok_or_else(|| invalid_request("token is missing"))?;
    let inactive = json!({ "active": false });
    let caller = Caller {
        address,
        now: clock::now(),
    };
    let presented = Presented::Bearer(token);
    let Ok(verified) = snapshot
        .authenticators
        .authenticate(&presented, caller)
        .await
    else {
        return Ok(inactive);
    };
    let Some(grant) = &verified.grant else {
        return Ok(inactive);
    };
    let standing = snapshot.standing(Who::Verified(&verified));
    let is_admitted =
        verified.voucher == Voucher::Configuration || matches!(standing, Standing::Admitted(_));
    if !is_admitted {
        return Ok(inactive);
    }
    let identity = &verified.identity;
    let scopes: Vec<&str> = verified
        .scopes
        .iter()
        .flatten()
        .map(|scope| &**scope)
        .collect();
    Ok(json!({
        "active": true,
        "iss": issuer.name,
        "sub": format!("{}:{}", identity.provider, identity.subject),
        "username": identity.user().as_str(),
        "client_id": verified.client.as_deref(),
        "aud": grant.resource.as_str(),
        "scope": scopes.join(" "),
        "token_type": "Bearer",
        "exp": verified.expires_at.map(|at| at.0),
    }))
}
