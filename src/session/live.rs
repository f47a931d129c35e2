//! What outlasts its request, a WebSocket, an event stream, a long download, ends with the session that opened it: at
//! the session's absolute end, and soon after the session was revoked.
//!
//! A renewal ends nothing. Nor does the idle end: an open connection is use.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    Session,
    revocation::{Mark, Revocations},
};
use crate::{
    clock::{self, Timestamp},
    text::Text,
};

/// Whose a connection is: enough to know the session's end, with the hashing left for when it is needed. Most
/// requests are over long before.
#[derive(Clone)]
pub struct Owner {
    id: [u8; 16],
    created_at: Timestamp,
    ends_at: Option<Timestamp>,
    provider: Text,
    subject: Text,
    token_subject: Option<Text>,
    provider_session: Option<Text>,
}

impl Owner {
    /// The owner of what `session` opens.
    pub fn of(session: &Session) -> Self {
        Self {
            id: session.id,
            created_at: session.created_at,
            ends_at: session.ends_at,
            provider: session.identity.provider.clone(),
            subject: session.identity.subject.clone(),
            token_subject: session.identity.notes.token_subject.clone(),
            provider_session: session.provider_session.clone(),
        }
    }

    /// Provider and subject.
    pub fn identity(&self) -> (Text, Text) {
        (self.provider.clone(), self.subject.clone())
    }

    /// What revocations know it by.
    fn into_mark(self) -> Mark {
        Mark::new(
            self.created_at,
            self.id,
            &self.provider,
            &self.subject,
            self.token_subject.as_deref(),
            self.provider_session.as_deref(),
        )
    }
}

/// Knows when sessions end.
#[derive(Clone)]
pub struct Ends {
    revocations: Arc<Revocations>,
    lifetime: Duration,
}

impl Ends {
    /// Of sessions that last for `lifetime` unless they are revoked.
    pub fn new(revocations: Arc<Revocations>, lifetime: Duration) -> Self {
        Self {
            revocations,
            lifetime,
        }
    }

    /// Comes when the owner's session has ended.
    pub fn of(&self, owner: Owner) -> impl Future<Output = ()> + Send + use<> {
        let Self {
            revocations,
            lifetime,
        } = self.clone();
        async move {
            // One timer is all that costs what is over by then.
            sleep(GRACE).await;
            let end = owner.created_at.after(lifetime);
            let end = owner.ends_at.map_or(end, |sealed| sealed.min(end));
            let mark = owner.into_mark();
            let mut changes = revocations.changes();
            loop {
                changes.mark_unchanged();
                let left = end.since(clock::now());
                if left.is_zero() || revocations.has_revoked_mark(&mark) {
                    return;
                }
                tokio::select! {
                    _ = changes.changed() => {}
                    () = sleep(left.min(LONGEST_SLEEP)) => continue,
                }
                // Revocations may come in crowds; one look is for all of them.
                sleep(BETWEEN_LOOKS).await;
            }
        }
    }
}

/// For how long nothing is watched.
const GRACE: Duration = Duration::from_secs(1);
/// Looks are at least this far apart, however many sessions are revoked.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);
/// A wall clock may be put right meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::{
        identity::Identity,
        session::revocation::{Revocation, Target},
    };

    fn session(subject: &str, created_at: Timestamp) -> Session {
        Session::begin([7; 16], [2; 16], created_at, Identity::of("corp", subject))
    }

    fn ends(lifetime: u64) -> (Arc<Revocations>, Ends) {
        let lifetime = Duration::from_secs(lifetime);
        let revocations = Arc::new(Revocations::new(lifetime));
        let ends = Ends::new(Arc::clone(&revocations), lifetime);
        (revocations, ends)
    }

    #[tokio::test]
    async fn a_revocation_ends_the_session_and_no_other() {
        let (revocations, ends) = ends(3_600);
        let now = clock::now();
        let ada = tokio::spawn(ends.of(Owner::of(&session("ada", now))));
        let bob = tokio::spawn(ends.of(Owner::of(&session("bob", now))));
        sleep(GRACE + BETWEEN_LOOKS).await;
        assert!(!ada.is_finished() && !bob.is_finished());
        revocations.revoke(Revocation {
            target: Target::user("corp", "ada"),
            not_before: now,
        });
        timeout(Duration::from_secs(1), ada).await.unwrap().unwrap();
        sleep(BETWEEN_LOOKS * 2).await;
        assert!(!bob.is_finished());
    }

    #[tokio::test]
    async fn what_was_revoked_before_the_watch_began_counts() {
        let (revocations, ends) = ends(3_600);
        let now = clock::now();
        let watch = ends.of(Owner::of(&session("ada", now)));
        revocations.revoke(Revocation {
            target: Target::Session([7; 16]),
            not_before: now,
        });
        timeout(GRACE * 2, watch).await.unwrap();
    }

    #[tokio::test]
    async fn the_absolute_end_ends_it() {
        let (_revocations, ends) = ends(60);
        let now = clock::now();
        let over = Timestamp(now.0 - 61);
        let watch = ends.of(Owner::of(&session("ada", over)));
        timeout(GRACE * 2, watch).await.unwrap();
        let watch = ends.of(Owner::of(&session("ada", now)));
        assert!(timeout(GRACE * 2, watch).await.is_err());
        // Sealed when a lifetime was shorter than today's.
        let sealed = Session {
            ends_at: Some(now),
            ..session("ada", now)
        };
        timeout(GRACE * 2, ends.of(Owner::of(&sealed)))
            .await
            .unwrap();
    }
}
