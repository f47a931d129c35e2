//! `PREFIX/introspect` (RFC 7662): tells apps that get an access token in another way what it is worth. Only configured clients that
//! authenticate may ask. Otherwise anybody could learn the user of any token that they find.

use http::{Response, StatusCode};
use serde_json::json;

use super::{
    answer::{Failure, json as answer_json},
    client_request::ClientRequest,
    rules::guard,
};
use crate::{
    credential::{Caller, Presented},
    issuer::{client::Kind, error::invalid_request, resource::Resource},
    response::Body,
    visitor::Who,
};

pub(super) async fn introspect(request: &ClientRequest<'_>) -> Result<Response<Body>, Failure> {
    let ClientRequest {
        snapshot,
        issuer,
        client,
        form,
        ..
    } = request;
    if client.kind != Kind::Configured || client.is_public() {
        return Err(Failure::of_client(
            "only clients of the configuration that have a secret or keys may ask",
            false,
        ));
    }
    let token = form
        .get("token")
        .ok_or_else(|| invalid_request("token is missing"))?;
    let inactive = answer_json(StatusCode::OK, &json!({ "active": false }));
    let caller = Caller {
        address: request.address,
        now: request.now,
    };
    let presented = Presented::Bearer(token);
    let Ok(verified) = snapshot
        .authenticators
        .authenticate(&presented, true, caller)
        .await
    else {
        return Ok(inactive);
    };
    let Some(grant) = &verified.grant else {
        return Ok(inactive);
    };
    // Whoever finds a token elsewhere learns nothing by a client that is an app and no server of its own (RFC 7662 §4).
    if !client.introspects && verified.client.as_deref() != Some(&*client.handle()) {
        return Ok(inactive);
    }
    // What the gate would refuse is worth nothing; but whether it comes from a network that the rules name, only the app can tell.
    let resource = Resource::parse(&grant.resource);
    let route = resource.and_then(|resource| guard(snapshot, issuer, &resource));
    let passes = route.is_some_and(|route| {
        let (route, who) = (route.from_any_network(), Who::Verified(&verified));
        snapshot.judge(&route, who, None, request.now).is_ok()
    });
    if !passes {
        return Ok(inactive);
    }
    let identity = &verified.identity;
    let scopes: Vec<&str> = verified
        .scopes
        .iter()
        .flatten()
        .map(|scope| &**scope)
        .collect();
    let answer = json!({
        "active": true,
        "iss": issuer.name,
        "sub": format!("{}:{}", identity.provider, identity.subject),
        "username": identity.user().as_str(),
        "client_id": verified.client.as_deref(),
        "aud": grant.resource.as_str(),
        "scope": scopes.join(" "),
        "token_type": "Bearer",
        "exp": verified.expires_at.map(|at| at.0),
    });
    Ok(answer_json(StatusCode::OK, &answer))
}
