//! May this request pass? One pure function; its "yes" is a [`Permit`], and forwarding needs one.

use crate::{config::Access, session::Session};

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

/// Why a request may not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The route asks for somebody, and nobody is signed in.
    NotSignedIn,
    /// The route is closed to everybody.
    Closed,
}

/// Judges a request by its route's rule and by who is there (somebody whose session is live, or nobody).
pub fn decide(access: Access, session: Option<&Session>) -> Result<Permit<'_>, Refusal> {
    match (access, session) {
        (Access::Deny, _) => Err(Refusal::Closed),
        (Access::Public, _) => Ok(Permit { told: None }),
        (Access::Login, None) => Err(Refusal::NotSignedIn),
        (Access::Login, Some(session)) => Ok(Permit {
            told: Some(session),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, session::Identity};

    fn session() -> Session {
        Session {
            id: [1; 16],
            login_id: [2; 16],
            created_at: Timestamp(0),
            seen_at: Timestamp(0),
            identity: Identity {
                provider: "corp".into(),
                subject: "1".into(),
                login: None,
                email: None,
                name: None,
                picture: None,
                groups: Vec::new(),
                claims: Vec::new(),
            },
            tokens: crate::session::Tokens::default(),
        }
    }

    #[test]
    fn a_closed_route_is_closed_to_everybody() {
        assert_eq!(decide(Access::Deny, None).unwrap_err(), Refusal::Closed);
        assert_eq!(
            decide(Access::Deny, Some(&session())).unwrap_err(),
            Refusal::Closed
        );
    }

    #[test]
    fn a_login_route_asks_for_a_session_and_tells_who_it_is() {
        assert_eq!(
            decide(Access::Login, None).unwrap_err(),
            Refusal::NotSignedIn
        );
        let session = session();
        let permit = decide(Access::Login, Some(&session)).unwrap();
        assert_eq!(permit.told().unwrap().id, [1; 16]);
    }

    #[test]
    fn a_public_route_tells_nobody() {
        assert!(
            decide(Access::Public, Some(&session()))
                .unwrap()
                .told()
                .is_none()
        );
        assert!(decide(Access::Public, None).is_ok());
    }
}
