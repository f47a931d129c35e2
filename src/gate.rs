//! The road of a request, top to bottom.

use std::sync::Arc;

use crate::{provider::Providers, session::Sessions, site::Site};

/// Everything a request meets, built once at start.
pub struct Gate {
    /// The public face: addresses, return rules, labels.
    pub site: Site,
    /// Sessions in cookies.
    pub sessions: Sessions,
    /// Logins begun and ended.
    pub logins: crate::login::Logins,
    /// The configured providers.
    pub providers: Arc<Providers>,
}
