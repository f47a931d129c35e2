//! A session: who somebody is, what tokens came with it, and when it ends.

pub mod codec;
pub mod cookie;
pub mod seal;
mod sessions;

use std::{fmt, time::Duration};

pub use sessions::{LogoutHint, Sessions, TooLarge, Visit};

use crate::{clock::Timestamp, text::Text};

/// Who somebody is, as their provider said it at login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The provider's name in the configuration.
    pub provider: Text,
    /// The provider's stable id of the user (`sub`); unique only beside `provider`.
    pub subject: Text,
    /// The login name (`preferred_username`). For showing; never a key.
    pub login: Option<Text>,
    /// The address, kept only when the provider vouches for it.
    pub email: Option<Text>,
    /// The full name.
    pub name: Option<Text>,
    /// The picture's address.
    pub picture: Option<Text>,
    /// Group names in the provider's order.
    pub groups: Vec<Text>,
    /// What the allow lists know of them beside address, name and groups: (the list's key, the entry that
    /// fits), `("orgs", "acme")`. Only entries that the configuration names are kept.
    pub memberships: Vec<(Text, Text)>,
    /// The claims that the configuration asks for: (path below the claims, value as header text).
    pub claims: Vec<(Text, Text)>,
}

impl Identity {
    /// The name an app shows: login, else email, else subject.
    pub fn user(&self) -> &Text {
        self.login
            .as_ref()
            .or(self.email.as_ref())
            .unwrap_or(&self.subject)
    }
}

/// Tokens kept because something in the configuration needs them; none otherwise.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// For the upstream, when a header carries it.
    pub access: Option<Text>,
    /// For the upstream, when a header carries it.
    pub id: Option<Text>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tokens(…)")
    }
}

/// What the session cookie holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// New at each login; names the session in logs by a hash only.
    pub id: [u8; 16],
    /// The login that made it, so that a reloaded callback is known.
    pub login_id: [u8; 16],
    /// When the login ended. The absolute end counts from here.
    pub created_at: Timestamp,
    /// When the cookie was last sealed. The idle end counts from here.
    pub seen_at: Timestamp,
    /// Who.
    pub identity: Identity,
    /// With what.
    pub tokens: Tokens,
}

/// The two ends of a session, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// From login to the absolute end.
    pub lifetime: Duration,
    /// From the last sealing to the idle end.
    pub idle_timeout: Duration,
}

impl Session {
    /// Whether it has reached either of its ends at `now`.
    pub fn has_ended(&self, lifetimes: Lifetimes, now: Timestamp) -> bool {
        now >= self.created_at.after(lifetimes.lifetime)
            || now >= self.seen_at.after(lifetimes.idle_timeout)
    }

    /// Whether the cookie should be sealed anew at `now` to move the idle end: after a tenth of the
    /// idle time, so that a busy session costs a `Set-Cookie` once in a while and an idle one ends
    /// between 0.9 and 1.0 of its time.
    pub fn wants_renewal(&self, lifetimes: Lifetimes, now: Timestamp) -> bool {
        now.since(self.seen_at) >= lifetimes.idle_timeout / 10
    }
}
