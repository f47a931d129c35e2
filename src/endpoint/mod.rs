//! The gate's own endpoints, one file each.

use http::Response;

use crate::{answer::Reject, body::Body, clean::CleanRequest, gate::Gate, observe::Record};

/// Which own endpoint a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `PREFIX/sign_in`
    SignIn,
    /// `PREFIX/start` or `PREFIX/start/PROVIDER`
    Start(Option<String>),
    /// `PREFIX/callback` or `PREFIX/callback/PROVIDER`
    Callback(Option<String>),
    /// `PREFIX/sign_out`
    SignOut,
    /// `PREFIX/auth`
    Auth,
    /// `PREFIX/userinfo`
    Userinfo,
    /// `/ping`
    Ping,
    /// `/ready`
    Ready,
    /// Something else under the prefix.
    Unknown,
}

impl Endpoint {
    /// The endpoint that `path` names, if it is an own one. The prefix ends at a segment boundary.
    pub fn find(prefix: &str, path: &str) -> Option<Self> {
        let _ = (prefix, path);
        todo!()
    }
}

/// Serves an own endpoint.
pub async fn serve(
    endpoint: &Endpoint,
    gate: &Gate,
    request: CleanRequest,
    record: &mut Record,
) -> Result<Response<Body>, Reject> {
    let _ = (endpoint, gate, request, record);
    todo!()
}
