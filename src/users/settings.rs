//! The settings of names and passwords.

use std::sync::Arc;

use super::Htpasswd;

/// The provider that these people are of. No other has that name.
pub const USERS: &str = "users";

/// `[users]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsersSettings {
    /// Who there is.
    pub htpasswd: Arc<Htpasswd>,
    /// Groups, and who is in them.
    pub groups: Vec<(String, Vec<String>)>,
}
