//! The sender of a request: the identity that a session or another credential proves, or nobody.

use std::sync::Arc;

use crate::{
    access::Principal,
    assertion::Proven,
    clock::Timestamp,
    credential::{Proof, Verified},
    identity::Identity,
    session::{Session, SessionLookup, Unavailable, live::Owner},
};

/// Who sends a request, as far as it was asked.
pub enum Visitor {
    /// Nobody looked: the route asks for nobody.
    Unasked,
    /// What the cookies say: a session, or nobody.
    Cookies(SessionLookup),
    /// Whose session it is cannot be found out now.
    Unavailable(Unavailable),
    /// A credential beside the cookies, which count for nothing then.
    Credential(Arc<Verified>),
}

/// Whom a judgement is about.
#[derive(Clone, Copy)]
pub enum Who<'a> {
    /// Nobody.
    Nobody,
    /// Whoever the session is of.
    Session(&'a Session),
    /// Whom a credential proves.
    Verified(&'a Arc<Verified>),
}

impl<'a> From<Option<&'a Session>> for Who<'a> {
    fn from(session: Option<&'a Session>) -> Self {
        session.map_or(Self::Nobody, Self::Session)
    }
}

impl<'a> Who<'a> {
    /// By what.
    pub fn proof(self) -> Option<Proof> {
        match self {
            Self::Nobody => None,
            Self::Session(_) => Some(Proof::Session),
            Self::Verified(verified) => Some(verified.proof),
        }
    }

    /// Whom rules judge and apps are told of.
    pub fn principal(self) -> Option<Principal<'a>> {
        match self {
            Self::Nobody => None,
            Self::Session(session) => Some(session.principal()),
            Self::Verified(verified) => Some(verified.as_ref().into()),
        }
    }

    /// What has proven it.
    pub fn proven(self) -> Option<Proven<'a>> {
        match self {
            Self::Nobody => None,
            Self::Session(session) => Some(Proven::Session(session)),
            Self::Verified(verified) => Some(Proven::Credential(verified)),
        }
    }

    /// Who it is.
    pub fn identity(self) -> Option<&'a Identity> {
        match self {
            Self::Nobody => None,
            Self::Session(session) => Some(&session.identity),
            Self::Verified(verified) => Some(&verified.identity),
        }
    }
}

impl Visitor {
    /// Whom they prove.
    pub fn who(&self) -> Who<'_> {
        match self {
            Self::Credential(verified) => Who::Verified(verified),
            Self::Cookies(visit) => visit.session.as_deref().into(),
            Self::Unasked | Self::Unavailable(_) => Who::Nobody,
        }
    }

    /// Whether what `Authorization` holds has proven it, which no app is to see.
    pub fn came_with_credential(&self) -> bool {
        matches!(self, Self::Credential(verified) if verified.proof != Proof::Certificate)
    }

    /// What the cookies say, where they count.
    pub fn visit(&self) -> Option<&SessionLookup> {
        match self {
            Self::Cookies(visit) => Some(visit),
            _ => None,
        }
    }

    /// With whose end what is opened for them at `now` ends, where a credential is what they come with.
    pub fn owner(&self, now: Timestamp) -> Option<Owner> {
        match self {
            Self::Credential(verified) => Owner::of_credential(verified, now),
            _ => None,
        }
    }

    /// Why it cannot be said.
    pub fn unavailable(&self) -> Option<&Unavailable> {
        match self {
            Self::Unavailable(unavailable) => Some(unavailable),
            _ => None,
        }
    }
}
