//! What the client behind a request can use. Pure.

use http::{HeaderMap, Method};

/// Who reads the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// A browser going to a page: redirects and pages serve it.
    Navigation,
    /// A browser going to a page by a method that a redirect would change (a form's POST): a page, but no
    /// redirect.
    Submission,
    /// fetch, XHR, images, WebSockets, API clients: a status and JSON.
    Program,
    /// gRPC: HTTP 200 and a `grpc-status`.
    Grpc,
}

/// Fetch Metadata first (`Sec-Fetch-Mode`, `Sec-Fetch-Dest`), `Accept` where it is absent.
pub fn of(method: &Method, headers: &HeaderMap) -> Audience {
    let _ = (method, headers);
    todo!()
}
