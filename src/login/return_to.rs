//! Return addresses: where a browser goes after login or logout. Pure.

use crate::config::{HostPattern, PublicUrl};

/// An address that a redirect may name: a path of the public origin, or an absolute URL on an allowed
/// host. The only constructors are the checks in [`ReturnRules`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// `/`
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// As a `Location` header has it. ASCII, no control characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What return addresses are checked against.
#[derive(Debug, Clone)]
pub struct ReturnRules {}

impl ReturnRules {
    /// The public origin, the allowed hosts, and the prefix (own endpoints are no place to return to:
    /// loops).
    pub fn new(public_url: &PublicUrl, redirect_hosts: &[HostPattern], prefix: &str) -> Self {
        let _ = (public_url, redirect_hosts, prefix);
        todo!()
    }

    /// Checks `address` (already decoded from a query). At most 2,048 bytes. Query kept byte for byte,
    /// fragment dropped.
    pub fn check(&self, address: &str) -> Option<ReturnTo> {
        let _ = address;
        todo!()
    }
}
