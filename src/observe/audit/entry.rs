//! One event as a line. Pure.

use std::{borrow::Cow, net::IpAddr};

use serde::{Serialize, Serializer};

use super::super::{Record, access_line};
use crate::{clock, identity::Identity};

/// Declares the events. Each has a variant, the name that operators read, and the meaning that `docs/audit.md` tells.
macro_rules! events {
    ($(#[doc = $meaning:literal] $variant:ident = $name:literal,)*) => {
        /// What has happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Event {
            $(#[doc = $meaning] $variant,)*
        }

        impl Event {
            /// Every event, in the order of the documentation. An event's place is its discriminant.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in the trail and in the label `event` of metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The meaning, as `docs/audit.md` tells it.
            #[cfg(test)]
            pub(super) const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)*
                }
            }
        }
    };
}

events! {
    /// A user signed in at a provider. Or a program used a password or certificate; this is recorded once a day.
    Login = "login",
    /// A login has failed. `detail` says why.
    LoginDenied = "login_denied",
    /// A program's token, password or certificate is invalid. `detail` says why.
    CredentialRefused = "credential_refused",
    /// A rule has refused a request, or a token for a client; then `object` names the client. `rule` says which rule.
    Denied = "denied",
    /// A limit is used up: that of a route, or of the tries from one address. `rule` says which.
    Limit = "limit",
    /// A session was refreshed at its provider, or could not be. `outcome` says which.
    Renewal = "renewal",
    /// A user signed out.
    SignOut = "sign_out",
    /// The owner or the provider ended sessions from elsewhere. `object` says which.
    Revocation = "revocation",
    /// A token was made. `object` names it.
    TokenMade = "token_made",
    /// A token was used. This is recorded once a day. `object` names it.
    TokenUsed = "token_used",
    /// The owner or an operator ended a token.
    TokenEnded = "token_ended",
    /// The app was given a user's access token. This is recorded once a day for each token.
    AppToken = "app_token",
    /// A user has let a client act for them. `object` names it, and `detail` has its redirect URI.
    GrantMade = "grant_made",
    /// Such a grant was ended: by its owner, its client or an operator, or because a code or refresh token was used twice. `outcome` says which.
    GrantEnded = "grant_ended",
    /// An operator did something through `admin_listen`. `object` says to what.
    Admin = "admin",
    /// The configuration was read again. `outcome` says whether it is in force.
    Reload = "reload",
    /// The gate has started.
    Start = "start",
    /// The gate stops.
    Stop = "stop",
    /// Events before this line are missing. `count` says how many.
    Lost = "lost",
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// An event and what is known of it. What is not known is left out. No field ever holds a token, a code, a cookie or a
/// password.
///
/// ```
/// # use sidegate::observe::audit::{Audit, Entry, Event};
/// # let audit = Audit::default();
/// audit.record(&Entry {
///     object: Some("ci, sgp_Ab3d".into()),
///     ..Entry::of(Event::TokenMade)
/// });
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Entry<'a> {
    /// What has happened.
    pub event: Event,
    /// How it ended, where it can end in several ways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'a str>,
    /// Who, by the name that an app shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Cow<'a, str>>,
    /// Who, for good: `PROVIDER:SUBJECT`, as `X-User-Id` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Cow<'a, str>>,
    /// The provider that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Cow<'a, str>>,
    /// By what: `session`, `bearer`, `api_token`, `access_token`, `service_token`, `password`, `certificate`; `provider` or `operator` where nobody came with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<&'a str>,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// The method of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<&'a str>,
    /// Its path, without the query; cut at 1,024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Cut<'a>>,
    /// The rule that decided, by its place in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Cow<'a, str>>,
    /// What it was done to: a session by its public name, a token by its first characters, a user, or everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<Cow<'a, str>>,
    /// How many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// What else a person wants to know; cut at 1,024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cut<'a>>,
    /// The name of the request, as the log and the app have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Cow<'a, str>>,
}

impl<'a> Entry<'a> {
    /// Of an event of which no more is known.
    pub fn of(event: Event) -> Self {
        Self {
            event,
            outcome: None,
            user: None,
            user_id: None,
            provider: None,
            credential: None,
            client: None,
            method: None,
            path: None,
            rule: None,
            object: None,
            count: None,
            detail: None,
            request_id: None,
        }
    }

    /// With the client and the name of a request.
    #[must_use]
    pub fn with_request(self, record: &'a Record) -> Self {
        Self {
            client: record.client,
            request_id: Some(record.request_id()),
            ..self
        }
    }

    /// With who it is about.
    #[must_use]
    pub fn about(self, identity: &'a Identity) -> Self {
        let Identity {
            provider, subject, ..
        } = identity;
        Self {
            user: Some(identity.user().as_str().into()),
            user_id: Some(format!("{provider}:{subject}").into()),
            provider: Some(provider.as_str().into()),
            ..self
        }
    }

    /// The line, at the time of this call, its end included.
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(384);
        access_line::write_stamped(clock::since_epoch(), self, &mut line);
        line
    }
}

/// A text that is written to [`LONGEST`] bytes at most: a stranger chooses how long a path is, and the queue holds thousands
/// of lines.
#[derive(Clone, Debug)]
pub struct Cut<'a>(Cow<'a, str>);

impl<'a, T: Into<Cow<'a, str>>> From<T> for Cut<'a> {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl Serialize for Cut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0[..self.0.floor_char_boundary(LONGEST)])
    }
}

/// Bytes of a path or a detail.
const LONGEST: usize = 1_024;
