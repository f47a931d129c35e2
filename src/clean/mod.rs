//! What a request says, made safe to believe: where it comes from, one canonical path, and no header
//! that only the gate may write.

pub mod client;
pub mod identity;
pub mod path;

use http::request::Parts;
use hyper::body::Incoming;

use self::client::Client;
use crate::answer::audience::Audience;

/// A request after cleaning: no reserved header, no disbelieved forwarding header, one path. Only the
/// cleaning makes one.
pub struct CleanRequest {
    /// Method, canonical target (path and query), headers.
    pub head: Parts,
    /// The body, not yet read.
    pub body: Incoming,
    /// Who is calling.
    pub client: Client,
    /// The path's other reading, where it differs.
    pub deep_path: Option<String>,
    /// Who reads the answer.
    pub audience: Audience,
}
