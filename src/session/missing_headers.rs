//! Tells the operator, once a session, of which headers something is missing.

use std::sync::Arc;

use super::Session;
use crate::identity::{GapCause, Withheld};

/// Names the headers of which something is missing, and how much, by one configuration.
pub type MissingHeaders = Arc<dyn Fn(&Session) -> Vec<String> + Send + Sync>;

/// Warns of what is `missing` from the headers of a session that begins.
pub fn warn(session: &Session, missing: &[String]) {
    let identity = &session.identity;
    let unusable_groups = identity.notes.unusable_groups;
    let words = match withheld(session) {
        Some(Withheld::TooMany) => TOO_MANY,
        Some(Withheld::Elsewhere) => ELSEWHERE,
        None if missing.is_empty() => return,
        None if unusable_groups > 0 => UNUSABLE,
        None => NO_ROOM,
    };
    tracing::warn!(
        provider = &*identity.provider,
        user = &**identity.user(),
        missing = missing.join(", "),
        unusable_groups = (unusable_groups > 0).then_some(unusable_groups),
        "{words}"
    );
}

/// The same of a session that was refreshed, if nothing was missing before.
pub(super) fn warn_of_new(before: &Session, after: &Session, missing: &MissingHeaders) {
    if withheld(before).is_none() && missing(before).is_empty() {
        warn(after, &missing(after));
    }
}

fn withheld(session: &Session) -> Option<Withheld> {
    let mut gaps = session.identity.notes.gaps.iter();
    gaps.find_map(|gap| match gap.cause {
        GapCause::Withheld(why) => Some(why),
        GapCause::Absent | GapCause::Empty => None,
    })
}

const TOO_MANY: &str = "the provider withholds groups, because there are too many (groups overage): rules by them let nobody pass, and the app \
                        is not told which they are; have it send fewer, in Entra ID only groups that are assigned to the application, or \
                        app roles";
const ELSEWHERE: &str = "the provider keeps claims elsewhere for which rules or headers ask (aggregated or distributed claims), and the gate does not read \
                         there: rules by them let nobody pass; have it send them itself";
const UNUSABLE: &str = "the app is not told all of what the provider says: unusable_groups of what it lists as groups are no names (no text, over \
                        1,024 bytes, or with control characters); have it send names; for what else is missing raise headers.max_bytes, or \
                        keep sessions in a store (session.store)";
const NO_ROOM: &str = "the app is not told all of what the provider says: raise headers.max_bytes, or keep sessions in a store (session.store)";
