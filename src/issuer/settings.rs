//! The settings of the authorization server.

/// `[issuer]`
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// The only hosts whose client ID metadata documents are fetched; a leading dot takes all below. Any public host where there
    /// are none.
    pub allow_client_domains: Vec<String>,
    /// Whether such a document may lie on this machine, in plain http: for development.
    pub allow_loopback_clients: bool,
    /// Whether programs without a browser may log in by a code that their users type (RFC 8628).
    pub device_flow: bool,
    /// The scopes that clients may ask for beside those of routes: routes say what they are needed for.
    pub scopes: Vec<String>,
    /// The clients that the configuration names.
    pub clients: Vec<ClientSettings>,
}

impl Default for IssuerSettings {
    /// Those of an empty table.
    fn default() -> Self {
        Self {
            allow_client_domains: Vec::new(),
            allow_loopback_clients: false,
            device_flow: true,
            scopes: Vec::new(),
            clients: Vec::new(),
        }
    }
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
    /// Where codes may go.
    pub redirect_uris: Vec<String>,
    /// Whether it is of the operator's own, so that nobody is asked for consent.
    pub first_party: bool,
    /// Whether it uses the device flow (RFC 8628).
    pub device_flow: bool,
}
