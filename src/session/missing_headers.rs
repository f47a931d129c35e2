//! Tells the operator, once a session, of which headers something is missing.

use std::sync::Arc;

use super::Session;
use crate::identity::GapCause;

/// Names the headers of which something is missing, and how much, by one configuration.
pub type MissingHeaders = Arc<dyn Fn(&Session) -> Vec<String> + Send + Sync>;

/// Warns of what is `missing` from the headers of a session that begins.
pub fn warn(session: &Session, missing: &[String]) {
    let identity = &session.identity;
    let (provider, user) = (&*identity.provider, &**identity.user());
    let missing = missing.join(", ");
    if is_withheld(session) {
        tracing::warn!(
            provider,
            user,
            missing,
            "the provider withholds groups or other claims, because there are too many (groups overage): rules by them let nobody pass, \
             and the app is not told which they are; have it send fewer, in Entra ID only groups that are assigned to the \
             application, or app roles"
        );
    } else if identity.notes.unusable_groups > 0 && !missing.is_empty() {
        tracing::warn!(
            provider,
            user,
            missing,
            unusable_groups = identity.notes.unusable_groups,
            "the app is not told all of what the provider says: so much of what it lists as groups are no names (no text, over 1,024 bytes, \
             or with control characters); have it send names; for what else is missing raise headers.max_bytes, or keep sessions \
             in a store (session.store)"
        );
    } else if !missing.is_empty() {
        tracing::warn!(
            provider,
            user,
            missing,
            "the app is not told all of what the provider says: raise headers.max_bytes, or keep sessions in a store \
             (session.store)"
        );
    }
}

/// The same of a session that was refreshed, if nothing was missing before.
pub(super) fn warn_of_new(before: &Session, after: &Session, missing: &MissingHeaders) {
    if !is_withheld(before) && missing(before).is_empty() {
        warn(after, &missing(after));
    }
}

fn is_withheld(session: &Session) -> bool {
    let mut gaps = session.identity.notes.gaps.iter();
    gaps.any(|gap| gap.cause == GapCause::Withheld)
}
