//! The public address. A leaf.

use url::Url;

/// The origin users see (RFC 6454): redirect URIs, cookies and return addresses hang on it, never on
/// a request's `Host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// `https` or `http`, host, port; the path is `/`.
    pub url: Url,
}

impl PublicUrl {
    /// Whether browsers reach the gate over TLS.
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Host, and port where it is not the scheme's default.
    pub fn authority(&self) -> &str {
        self.url.authority()
    }
}
