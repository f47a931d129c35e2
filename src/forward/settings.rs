//! Where the app is, as configured.

use std::path::PathBuf;

use http::Uri;

/// Where the app listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// `http://HOST:PORT` or `https://HOST:PORT`; no path.
    Network(Uri),
    /// `unix:/run/app.sock`, spoken to in plain HTTP/1.1.
    Unix(PathBuf),
}
