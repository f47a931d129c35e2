//! The login: from a browser without a session to a [`Session`](crate::session::Session), whatever the
//! provider.

pub mod return_to;

/// Placeholder until the login lands.
#[derive(Debug)]
pub struct LoginError;
