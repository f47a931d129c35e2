//! Metadata of the authorization server (RFC 8414) and of protected resources (RFC 9728).

use http::{HeaderValue, Response, StatusCode, header::CACHE_CONTROL};
use serde_json::Value;

use crate::{
    answer::{Reject, reply},
    clean::CleanRequest,
    issuer::{
        Issuer,
        metadata::{self, Addresses},
        resource::Resource,
    },
    origin::WebOrigin,
    response::Body,
    route,
    snapshot::Snapshot,
};

pub(super) fn server(snapshot: &Snapshot, issuer: &Issuer) -> Response<Body> {
    let addresses = Addresses {
        issuer: &issuer.name,
        prefix: &snapshot.site.prefix,
    };
    publish(&metadata::authorization_server(
        &addresses,
        &issuer.scopes,
        &issuer.settings,
    ))
}

/// Of the resource at `path` of the host that was asked. At the root stands the only one there is, too: some clients look
/// nowhere else.
pub(super) fn resource(
    snapshot: &Snapshot,
    issuer: &Issuer,
    request: &CleanRequest,
    path: &str,
) -> Result<Response<Body>, Reject> {
    let seen = request.forwarding.seen();
    let host = seen.host.to_str().ok();
    let origin = host.and_then(|host| WebOrigin::of_authority(seen.is_https, host));
    let origin = origin.ok_or(Reject::NotFound)?.to_string();
    let named = Resource::new(&origin, path);
    let found = match snapshot.guard_of(&named) {
        Some(route) => Some((named, route)),
        None if path.is_empty() => {
            let only = snapshot
                .only_resource()
                .filter(|only| only.origin() == origin);
            only.and_then(|only| snapshot.guard_of(&only).map(|route| (only, route)))
        }
        None => None,
    };
    let (resource, route) = found.ok_or(Reject::NotFound)?;
    let base = route.resource.map(route::Resource::scope);
    let mut scopes: Vec<String> = Vec::new();
    for scope in base.into_iter().chain(route.requirements.scopes()) {
        if !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
    Ok(publish(&metadata::protected_resource(
        &issuer.name,
        &resource.to_text(),
        &scopes,
    )))
}

/// The same for everybody, and so anybody may keep it for a while.
fn publish(document: &Value) -> Response<Body> {
    let mut response = reply::json(StatusCode::OK, document);
    let kept = HeaderValue::from_static("public, max-age=60");
    response.headers_mut().insert(CACHE_CONTROL, kept);
    response
}
