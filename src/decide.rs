//! May this request pass? One pure function; its "yes" is a [`Permit`], and forwarding needs one.

use crate::{provider::allow::Denied, route::Access, session::Session, text::Text};

/// The proof that a request may pass. Only [`decide`] makes one, and only
/// [`forward`](crate::forward::Forwarder::send) takes it, so nothing reaches the upstream without a
/// decision.
#[derive(Debug)]
pub struct Permit<'a> {
    told: Option<&'a Session>,
}

impl<'a> Permit<'a> {
    /// Whom the upstream is told of; nobody on a public route.
    pub fn told(&self) -> Option<&'a Session> {
        self.told
    }
}

/// Who is there.
#[derive(Debug, Clone)]
pub enum Visitor<'a> {
    /// Nobody, or somebody whose provider is no longer configured.
    Nobody,
    /// Somebody whom the provider's allow lists admit.
    Admitted(&'a Session),
    /// Somebody whom they no longer admit: lists may become stricter while sessions live.
    Barred(Box<Barred>),
}

/// Somebody who is signed in and may not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barred {
    /// The name they know themselves by.
    pub user: Text,
    /// The provider's name in the configuration.
    pub provider: Text,
    /// The rule and the sentence.
    pub denied: Denied,
}

/// Why a request may not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The route asks for somebody, and nobody is signed in.
    NotSignedIn,
    /// The route is closed to everybody.
    Closed,
    /// Whoever is signed in may not pass.
    Barred(Box<Barred>),
}

/// Judges a request by its route's rule and by who is there.
pub fn decide(access: Access, visitor: Visitor<'_>) -> Result<Permit<'_>, Refusal> {
    match (access, visitor) {
        (Access::Deny, _) => Err(Refusal::Closed),
        (Access::Public, _) => Ok(Permit { told: None }),
        (Access::Login, Visitor::Nobody) => Err(Refusal::NotSignedIn),
        (Access::Login, Visitor::Barred(barred)) => Err(Refusal::Barred(barred)),
        (Access::Login, Visitor::Admitted(session)) => Ok(Permit {
            told: Some(session),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, session::Identity};

    fn session() -> Session {
        Session::begin([1; 16], [2; 16], Timestamp(0), Identity::of("corp", "1"))
    }

    fn barred() -> Barred {
        Barred {
            user: "ada".into(),
            provider: "corp".into(),
            denied: Denied {
                rule: "groups".to_owned(),
                sentence: "Your groups may not pass.",
                held: crate::provider::allow::Held::NotKept,
            },
        }
    }

    #[test]
    fn a_closed_route_is_closed_to_everybody() {
        let session = session();
        for visitor in [
            Visitor::Nobody,
            Visitor::Barred(Box::new(barred())),
            Visitor::Admitted(&session),
        ] {
            assert_eq!(decide(Access::Deny, visitor).unwrap_err(), Refusal::Closed);
        }
    }

    #[test]
    fn a_login_route_asks_for_somebody_admitted_and_tells_who_it_is() {
        let refused = |visitor| decide(Access::Login, visitor).unwrap_err();
        assert_eq!(refused(Visitor::Nobody), Refusal::NotSignedIn);
        assert_eq!(
            refused(Visitor::Barred(Box::new(barred()))),
            Refusal::Barred(Box::new(barred()))
        );
        let session = session();
        let permit = decide(Access::Login, Visitor::Admitted(&session)).unwrap();
        assert_eq!(permit.told().unwrap().id, [1; 16]);
    }

    #[test]
    fn a_public_route_tells_nobody() {
        let session = session();
        for visitor in [
            Visitor::Nobody,
            Visitor::Barred(Box::new(barred())),
            Visitor::Admitted(&session),
        ] {
            assert!(decide(Access::Public, visitor).unwrap().told().is_none());
        }
    }
}
