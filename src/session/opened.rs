//! What a credential has opened, told as a session: so it ends as one does, and takes no more room where nothing ends. Pure.

use super::{NO_LOGIN, Session};
use crate::{
    clock::Timestamp,
    credential::{Opener, Verified},
    hex::hex,
    identity::Identity,
    text::Text,
};

/// What stands in the place of a provider's name, which holds no such sign.
pub(super) const API_TOKEN: &str = "\0api_token";
/// The same of credentials that the configuration names.
pub(super) const CONFIGURED: &str = "\0configured";
/// The session at the provider on which all API tokens rest, as it were.
pub(super) const EVERYBODYS: &str = "everybody's";

/// The session of what `verified` opens at `now`; none where nobody tells when it ends.
pub(super) fn session(verified: &Verified, now: Timestamp) -> Option<Session> {
    let Identity {
        provider, subject, ..
    } = &verified.identity;
    if let Some(grant) = &verified.grant {
        let session = Session::of_grant(grant, verified.identity.clone());
        return Some(Session {
            seen_at: now,
            ..session
        });
    }
    Some(match verified.opener? {
        Opener::ApiToken { id, made_at } => {
            // Not their own: it does not end with their sessions.
            let owner = Identity::of(API_TOKEN, &format!("{provider}:{subject}"));
            Session {
                ends_at: verified.expires_at,
                seen_at: now,
                provider_session: Some(Text::from(EVERYBODYS)),
                ..Session::begin(id, NO_LOGIN, made_at, owner)
            }
        }
        Opener::Configured(id) => {
            Session::begin([0; 16], NO_LOGIN, now, Identity::of(CONFIGURED, &hex(&id)))
        }
    })
}

/// Whether it is such a one, which lasts as long as it says itself, and not as long as sessions do.
pub(super) fn is_one(session: &Session) -> bool {
    matches!(&*session.identity.provider, API_TOKEN | CONFIGURED)
}

/// When it was opened by a token. Revocations of tokens are forgotten beyond their bound, and what was opened by then ends. None where a login or
/// what the configuration names opened it.
pub(super) fn by_token_at(session: &Session) -> Option<Timestamp> {
    let is_by_token = session.login_id == NO_LOGIN && &*session.identity.provider != CONFIGURED;
    is_by_token.then_some(session.seen_at)
}
