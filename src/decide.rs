//! May this request pass? One pure function; its "yes" is a [`Permit`], and forwarding needs one.

use crate::{
    access::{Principal, allow::Denied},
    route::Access,
    text::Text,
};

/// The proof that a request may pass. Only [`decide`] makes one, and only
/// [`forward`](crate::forward::Forwarder::send) takes it, so nothing reaches the upstream without a
/// decision.
#[derive(Clone, Copy, Debug)]
pub struct Permit<'a> {
    principal: Option<Principal<'a>>,
}

impl<'a> Permit<'a> {
    /// Whom the upstream is told of; nobody on a public route.
    pub fn principal(&self) -> Option<Principal<'a>> {
        self.principal
    }
}

/// What today's configuration makes of who is there.
#[derive(Debug, Clone)]
pub enum Standing<'a> {
    /// Nobody, or somebody whose provider is no longer configured.
    Nobody,
    /// Somebody whom the provider's allow lists admit.
    Admitted(Principal<'a>),
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
pub enum Deny {
    /// The route asks for somebody, and nobody is signed in.
    NotSignedIn,
    /// The route is closed to everybody.
    Closed,
    /// Whoever is signed in may not pass.
    Barred(Box<Barred>),
}

/// Judges a request by its route's rule and by who is there.
///
/// # Errors
/// Why it may not pass.
pub fn decide(access: Access, standing: Standing<'_>) -> Result<Permit<'_>, Deny> {
    match (access, standing) {
        (Access::Deny, _) => Err(Deny::Closed),
        (Access::Public, _) => Ok(Permit { principal: None }),
        (Access::Login, Standing::Nobody) => Err(Deny::NotSignedIn),
        (Access::Login, Standing::Barred(barred)) => Err(Deny::Barred(barred)),
        (Access::Login, Standing::Admitted(principal)) => Ok(Permit {
            principal: Some(principal),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, identity::Identity, session::Session};

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
                held: crate::access::allow::Held::NotKept,
            },
        }
    }

    #[test]
    fn a_closed_route_is_closed_to_everybody() {
        let session = session();
        for standing in [
            Standing::Nobody,
            Standing::Barred(Box::new(barred())),
            Standing::Admitted(session.principal()),
        ] {
            assert_eq!(decide(Access::Deny, standing).unwrap_err(), Deny::Closed);
        }
    }

    #[test]
    fn a_login_route_asks_for_somebody_admitted_and_tells_who_it_is() {
        let refused = |standing| decide(Access::Login, standing).unwrap_err();
        assert_eq!(refused(Standing::Nobody), Deny::NotSignedIn);
        assert_eq!(
            refused(Standing::Barred(Box::new(barred()))),
            Deny::Barred(Box::new(barred()))
        );
        let session = session();
        let permit = decide(Access::Login, Standing::Admitted(session.principal())).unwrap();
        assert_eq!(permit.principal().unwrap().identity.subject.as_str(), "1");
    }

    #[test]
    fn a_public_route_tells_nobody() {
        let session = session();
        for standing in [
            Standing::Nobody,
            Standing::Barred(Box::new(barred())),
            Standing::Admitted(session.principal()),
        ] {
            assert!(
                decide(Access::Public, standing)
                    .unwrap()
                    .principal()
                    .is_none()
            );
        }
    }
}
