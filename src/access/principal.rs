//! Who stands behind a request, once something has proven it.

use crate::{identity::Identity, tokens::Tokens};

/// Who stands behind a request: what rules judge and the upstream is told.
#[derive(Clone, Copy, Debug)]
pub struct Principal<'a> {
    /// Who.
    pub identity: &'a Identity,
    /// The provider's tokens that came with the login, as far as a header carries them.
    pub tokens: &'a Tokens,
}
