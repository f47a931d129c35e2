//! What the configuration says of the authorization server.

use crate::jose::KeySet;

/// `[issuer]`
#[derive(Clone, Debug, Default)]
pub struct IssuerSettings {
    /// The only hosts whose client ID metadata documents are fetched; a leading dot takes all below. Any public host where there
    /// are none.
    pub allow_client_domains: Vec<String>,
    /// Whether such a document may lie on this machine, in plain http: for development.
    pub allow_loopback_clients: bool,
    /// The clients that the configuration names.
    pub clients: Vec<ClientSettings>,
}

/// `[[issuer.clients]]`
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// The `client_id`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// SHA-256 of its secrets; a public client has none.
    pub secrets: Vec<[u8; 32]>,
    /// The keys that its assertions are signed with (RFC 7523), where it authenticates so.
    pub keys: Option<std::sync::Arc<KeySet>>,
    /// Where codes may go.
    pub redirect_uris: Vec<String>,
    /// Whether it is of the operator's own, so that nobody is asked for consent.
    pub first_party: bool,
}
