//! The endpoints of the authorization server.

mod answer;
mod authorize;
mod back_channel;
mod client;
mod client_credentials;
mod client_request;
mod device;
mod end_session;
mod introspect;
mod metadata;
mod narrowing;
mod par;
mod register;
mod revoke;
mod rules;
mod token;
mod token_exchange;
pub(super) mod trail;
pub(super) mod userinfo;

use http::{Method, Response, StatusCode};

use self::back_channel::BackChannel;
use super::jwks;
use crate::{
    answer::{Reject, reply},
    clean::CleanRequest,
    issuer::guard::{RESOURCE_METADATA, SERVER_METADATA, allow_pages, is_preflight},
    observe::Record,
    response::Body,
    snapshot::Snapshot,
};

/// Which of them a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Issuing {
    /// `PREFIX/authorize`
    Authorize,
    /// `PREFIX/authorize/consent`
    Consent,
    /// What clients call themselves.
    BackChannel(BackChannel),
    /// `PREFIX/register`
    Register,
    /// `PREFIX/device`
    Device,
    /// `/.well-known/oauth-authorization-server`
    ServerMetadata,
    /// `/.well-known/oauth-protected-resource`, and behind it the path of a resource.
    ResourceMetadata(String),
    /// `PREFIX/end_session`
    EndSession,
    /// `/.well-known/openid-configuration`
    Discovery,
    /// `PREFIX/issuer/jwks`
    Jwks,
}

impl Issuing {
    /// `PREFIX/token`
    pub(super) const TOKEN: Self = Self::BackChannel(BackChannel::Token);

    /// The one that `path` names, of a gate whose endpoints lie below `prefix`.
    pub(super) fn find(prefix: &str, path: &str) -> Option<Self> {
        if let Some(rest) = path.strip_prefix(RESOURCE_METADATA) {
            let is_own = rest.is_empty() || rest.starts_with('/');
            return is_own.then(|| {
                Self::ResourceMetadata(rest.strip_suffix('/').unwrap_or(rest).to_owned())
            });
        }
        match path.strip_suffix('/').unwrap_or(path) {
            SERVER_METADATA => return Some(Self::ServerMetadata),
            "/.well-known/openid-configuration" => return Some(Self::Discovery),
            _ => {}
        }
        Some(match path.strip_prefix(prefix)? {
            "/authorize" => Self::Authorize,
            "/authorize/consent" => Self::Consent,
            "/token" => Self::BackChannel(BackChannel::Token),
            "/register" => Self::Register,
            "/revoke" => Self::BackChannel(BackChannel::Revoke),
            "/introspect" => Self::BackChannel(BackChannel::Introspect),
            "/device_authorization" => Self::BackChannel(BackChannel::DeviceAuthorization),
            "/device" => Self::Device,
            "/par" => Self::BackChannel(BackChannel::Par),
            "/end_session" => Self::EndSession,
            "/issuer/jwks" => Self::Jwks,
            _ => return None,
        })
    }

    /// Whether pages of other origins may ask it: clients that run in browsers, without cookies.
    fn is_for_pages(&self) -> bool {
        !matches!(
            self,
            Self::Authorize
                | Self::Consent
                | Self::Device
                | Self::BackChannel(BackChannel::Introspect | BackChannel::DeviceAuthorization)
                | Self::EndSession
        )
    }

    fn methods(&self) -> (&'static [Method], &'static str) {
        match self {
            Self::Authorize => (&[Method::GET], "GET"),
            Self::Device | Self::EndSession => (&[Method::GET, Method::POST], "GET, POST"),
            Self::Consent | Self::Register | Self::BackChannel(_) => (&[Method::POST], "POST"),
            Self::ServerMetadata | Self::ResourceMetadata(_) | Self::Discovery | Self::Jwks => {
                (&[Method::GET, Method::HEAD], "GET, HEAD")
            }
        }
    }
}

/// The answer to a page of another origin that asks whether it may ask who somebody is, where the gate tells clients.
pub(super) fn preflight(snapshot: &Snapshot, request: &CleanRequest) -> Option<Response<Body>> {
    let headers = &request.head.headers;
    if snapshot.issuer.is_none() || !is_preflight(&request.head.method, headers) {
        return None;
    }
    let mut answer = reply::empty(StatusCode::NO_CONTENT);
    allow_pages(headers, answer.headers_mut());
    Some(answer)
}

/// Serves one.
pub(super) async fn serve(
    which: &Issuing,
    snapshot: &Snapshot,
    request: Box<CleanRequest>,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    let issuer = snapshot.issuer.as_ref().ok_or(Reject::NotFound)?;
    let headers = &request.head.headers;
    if which.is_for_pages() && is_preflight(&request.head.method, headers) {
        let mut answer = reply::empty(StatusCode::NO_CONTENT);
        allow_pages(headers, answer.headers_mut());
        return Ok(answer);
    }
    let (methods, allowed) = which.methods();
    super::allow(&request.head.method, methods, allowed)?;
    let is_device = matches!(
        which,
        Issuing::BackChannel(BackChannel::DeviceAuthorization) | Issuing::Device
    );
    if is_device && !issuer.settings.device_flow {
        return Err(Reject::NotFound);
    }
    let mut response = match which {
        Issuing::Authorize => return authorize::serve(snapshot, issuer, &request, record).await,
        Issuing::Consent => return authorize::consent(snapshot, issuer, request, record).await,
        Issuing::BackChannel(at) => {
            back_channel::serve(*at, snapshot, issuer, request, record).await
        }
        Issuing::Register => register::serve(snapshot, issuer, request, record).await,
        Issuing::Device if request.head.method == Method::GET => {
            return device::ask(snapshot, &request, record).await;
        }
        Issuing::Device => return device::answer(snapshot, issuer, request, record).await,
        Issuing::EndSession => {
            return end_session::serve(snapshot, issuer, request, record).await;
        }
        // One document for both: what OpenID Connect adds does no harm to others.
        Issuing::ServerMetadata | Issuing::Discovery => metadata::server(snapshot, issuer),
        Issuing::Jwks => jwks::of_issuer(issuer).await,
        Issuing::ResourceMetadata(path) => metadata::resource(snapshot, issuer, &request, path)?,
    };
    if which.is_for_pages() {
        answer::allow_reading(response.headers_mut());
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t04_a_slash_at_the_end_makes_no_difference() {
        let find = |path| Issuing::find("/oauth2", path);
        let resource = |path: &str| Some(Issuing::ResourceMetadata(path.to_owned()));
        for (path, expected) in [
            (
                "/.well-known/oauth-authorization-server",
                Some(Issuing::ServerMetadata),
            ),
            (
                "/.well-known/oauth-authorization-server/",
                Some(Issuing::ServerMetadata),
            ),
            ("/.well-known/oauth-authorization-server/mcp", None),
            ("/.well-known/oauth-protected-resource", resource("")),
            ("/.well-known/oauth-protected-resource/", resource("")),
            (
                "/.well-known/oauth-protected-resource/a/mcp",
                resource("/a/mcp"),
            ),
            (
                "/.well-known/oauth-protected-resource/a/mcp/",
                resource("/a/mcp"),
            ),
            ("/.well-known/oauth-protected-resources", None),
            (
                "/.well-known/openid-configuration",
                Some(Issuing::Discovery),
            ),
            ("/oauth2/authorize", Some(Issuing::Authorize)),
            ("/oauth2/authorize/", None),
            ("/oauth2/authorize/consent", Some(Issuing::Consent)),
            (
                "/oauth2/token",
                Some(Issuing::BackChannel(BackChannel::Token)),
            ),
            ("/oauth2/register", Some(Issuing::Register)),
            ("/oauth2/issuer/jwks", Some(Issuing::Jwks)),
            ("/oauth2/issuer", None),
            (
                "/oauth2/revoke",
                Some(Issuing::BackChannel(BackChannel::Revoke)),
            ),
            (
                "/oauth2/introspect",
                Some(Issuing::BackChannel(BackChannel::Introspect)),
            ),
            ("/token", None),
            ("/oauth2/sign_in", None),
        ] {
            assert_eq!(find(path), expected, "{path}");
        }
    }
}
