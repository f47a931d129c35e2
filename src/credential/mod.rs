//! Credentials other than a session: a bearer token, or a name and a password.
//!
//! Reading them from a request is pure and waits for nothing ([`Presented`]). An [`Authenticator`] checks them; a configuration
//! may have several. Without any, `Authorization` is passed to the app.

mod authenticator;
mod presented;
pub mod withheld;

pub use self::{
    authenticator::{
        Answer, Authenticator, Authenticators, Caller, Grant, Opener, Refused, Verified, Voucher,
    },
    presented::{Basic, Flaw, Presented, Schemes},
};

/// How it was proven who sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// A login of a browser, kept in a session.
    Session,
    /// A bearer token of a provider.
    Bearer,
    /// An API token that somebody has made.
    ApiToken,
    /// An access token that the gate has given to a client.
    AccessToken,
    /// A service token of the configuration.
    ServiceToken,
    /// A name and a password.
    Password,
    /// A client certificate.
    Certificate,
}

impl Proof {
    /// Whether what is known of somebody is what a session of theirs held.
    pub fn rests_on_session(self) -> bool {
        matches!(self, Self::Session | Self::ApiToken | Self::AccessToken)
    }

    /// Each.
    pub const ALL: [Self; 7] = [
        Self::Session,
        Self::Bearer,
        Self::ApiToken,
        Self::AccessToken,
        Self::ServiceToken,
        Self::Password,
        Self::Certificate,
    ];

    /// Whether it is a token that the gate gives, or that its file names.
    pub fn is_own_token(self) -> bool {
        match self {
            Self::ApiToken | Self::AccessToken | Self::ServiceToken => true,
            Self::Session | Self::Bearer | Self::Password | Self::Certificate => false,
        }
    }

    /// What the app, the log and the audit trail call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Bearer => "bearer",
            Self::ApiToken => "api_token",
            Self::AccessToken => "access_token",
            Self::ServiceToken => "service_token",
            Self::Password => "password",
            Self::Certificate => "certificate",
        }
    }
}
