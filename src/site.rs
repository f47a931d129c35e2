//! What stays the same for every request: the public address, the prefix, what pages show.

use crate::{config::PublicUrl, login::return_to::ReturnRules};

/// The gate as users see it.
#[derive(Debug)]
pub struct Site {
    /// The origin users see.
    pub public_url: PublicUrl,
    /// Where own endpoints live.
    pub prefix: String,
    /// What a return address is checked against.
    pub return_rules: ReturnRules,
    /// The providers' names and labels, in the file's order.
    pub providers: Vec<(String, String)>,
}

impl Site {
    /// Path of an own endpoint: `/oauth2/sign_in` for `sign_in`.
    pub fn path(&self, endpoint: &str) -> String {
        format!("{}/{endpoint}", self.prefix)
    }

    /// Absolute address of an own endpoint, as registered at a provider.
    pub fn url(&self, endpoint: &str) -> String {
        format!(
            "{}{}/{endpoint}",
            self.public_url.url.origin().ascii_serialization(),
            self.prefix
        )
    }
}
