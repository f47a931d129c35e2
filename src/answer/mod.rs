//! A refusal becomes what the client can use: a redirect, a page, JSON or a gRPC status.

pub mod audience;
pub mod page;

use http::Response;

use crate::{answer::audience::Audience, body::Body, login::LoginError, site::Site};

/// Why a request is answered by the gate and not by the upstream. The one error of the request path.
#[derive(Debug)]
pub enum Reject {
    /// Nobody is signed in, and the route asks for somebody. `return_to` is path and query asked for.
    SignIn {
        /// Path and query of the request, for the way back.
        return_to: String,
    },
    /// The visitor may not pass.
    Forbidden {
        /// Who is signed in, to be shown; none where the route is closed to everybody.
        user: Option<String>,
        /// The rule, for the log.
        rule: String,
    },
    /// The request cannot be judged; the sentence says why.
    BadRequest(&'static str),
    /// No own endpoint of that name.
    NotFound,
    /// The endpoint does not take this method; the `Allow` header's value.
    MethodNotAllowed(&'static str),
    /// A login did not come to its end.
    Login(LoginError),
    /// A sign-out was asked for from another site: a person must confirm.
    ConfirmSignOut {
        /// The checked return address.
        return_to: String,
    },
    /// The session does not fit into cookies.
    SessionTooLarge,
    /// The upstream cannot be reached or broke off before it answered.
    BadGateway,
    /// The upstream did not answer in time.
    GatewayTimeout,
}

/// The answer to a refusal. Never cacheable, never sets a cookie.
pub fn render(
    reject: &Reject,
    audience: Audience,
    site: &Site,
    request_id: &str,
) -> Response<Body> {
    let _ = (reject, audience, site, request_id);
    todo!()
}

impl Reject {
    pub fn verdict(&self) -> &'static str {
        todo!()
    }
    pub fn detail(&self) -> Option<String> {
        todo!()
    }
}
