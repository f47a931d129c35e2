//! The principal: who sent a request, as a credential proves it.

use crate::{
    credential::{Proof, Verified},
    identity::Identity,
    text::Text,
    tokens::Tokens,
};

/// Who stands behind a request: what rules judge and the upstream is told.
#[derive(Clone, Copy, Debug)]
pub struct Principal<'a> {
    /// Who.
    pub identity: &'a Identity,
    /// The provider's tokens that came with the login, as far as a header carries them.
    pub tokens: &'a Tokens,
    /// How it was proven.
    pub proof: Proof,
    /// What the credential may be used for; none where it is not bound to scopes.
    pub scopes: Option<&'a [Text]>,
    /// The OAuth client that it was given to, or what names the credential itself.
    pub client: Option<&'a Text>,
    /// The routes that the credential is for, by name; none where it is for all.
    pub routes: Option<&'a [Text]>,
}

impl<'a> Principal<'a> {
    /// Whom a session proves.
    pub fn of_session(identity: &'a Identity, tokens: &'a Tokens) -> Self {
        Self {
            identity,
            tokens,
            proof: Proof::Session,
            scopes: None,
            client: None,
            routes: None,
        }
    }

    /// The same person by an access token of the gate's own, which `client` has, or would get, with these scopes.
    #[must_use]
    pub fn by_access_token(self, client: &'a Text, scopes: &'a [Text]) -> Self {
        Self {
            proof: Proof::AccessToken,
            scopes: Some(scopes),
            client: Some(client),
            routes: None,
            ..self
        }
    }
}

impl<'a> From<&'a Verified> for Principal<'a> {
    fn from(verified: &'a Verified) -> Self {
        Self {
            identity: &verified.identity,
            tokens: &verified.tokens,
            proof: verified.proof,
            scopes: verified.scopes.as_deref(),
            client: verified.client.as_ref(),
            routes: verified.routes.as_deref(),
        }
    }
}
