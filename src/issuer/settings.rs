//! The settings of the authorization server.

use std::{sync::Arc, time::Duration};

use super::signing::DEFAULT_AGE;
use crate::{jose::KeySet, secret::Secret};

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
    /// How access tokens are written.
    pub token_format: TokenFormat,
    /// Private keys in PEM that sign tokens, the first of them; none where the gate makes its own.
    pub signing_keys: Vec<Secret>,
    /// How long a key of the gate's own signs.
    pub signing_key_lifetime: Duration,
    /// The scopes that clients may ask for beside those of routes: routes say what they are needed for.
    pub scopes: Vec<String>,
    /// Whether all clients have to push their authorization requests ahead (RFC 9126 §5).
    pub require_pushed_authorization_requests: bool,
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
            token_format: TokenFormat::Opaque,
            signing_keys: Vec::new(),
            signing_key_lifetime: DEFAULT_AGE,
            scopes: Vec::new(),
            require_pushed_authorization_requests: false,
            clients: Vec::new(),
        }
    }
}

/// How an access token is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFormat {
    /// Sealed: only the gate can read it.
    Opaque,
    /// As RFC 9068 has it, for apps that look into it by themselves.
    Jwt,
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
    /// What verifies its assertions (RFC 7523), where it proves itself by them.
    pub keys: Option<Arc<KeySet>>,
    /// Where codes may go.
    pub redirect_uris: Vec<String>,
    /// Where browsers may be sent after a sign-out (OpenID Connect RP-Initiated Logout 1.0 §3).
    pub post_logout_redirect_uris: Vec<String>,
    /// Whether it is of the operator's own, so that nobody is asked for consent where it is sure who it is.
    pub first_party: bool,
    /// What it is where it acts for itself (RFC 6749 §4.4); none where it may not.
    pub machine: Option<MachineSettings>,
    /// Whether it uses the device flow (RFC 8628).
    pub device_flow: bool,
    /// Whether it may ask what tokens of other clients are worth (RFC 7662).
    pub introspect: bool,
    /// Whether it may bring tokens of providers, and its own, in exchange for others (RFC 8693).
    pub token_exchange: bool,
    /// Whether it has to push its authorization requests ahead (RFC 9126 §6).
    pub require_pushed_authorization_requests: bool,
}

/// A client that acts for itself.
#[derive(Clone, Debug)]
pub struct MachineSettings {
    /// The scopes that its tokens may have beside the one of their route.
    pub scopes: Vec<String>,
    /// What `allow = { groups = … }` finds.
    pub groups: Vec<String>,
}

/// What stands in the place of a provider's name for clients that act for themselves.
pub const CLIENT: &str = "client";
