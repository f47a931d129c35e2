//! Ends what outlasts its request (a WebSocket, an event stream, a long download) with the session that opened it: at the session's
//! absolute end, and soon after a revocation.
//!
//! A refresh ends nothing. Nor does the idle timeout: an open connection counts as use.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    Session,
    revocation::{Mark, Revocations},
};
use crate::clock;

/// Whose a connection is: enough to know the session's end, with the hashing left for when it is needed. Most
/// requests are over long before.
#[derive(Clone)]
pub struct Owner(Arc<Session>);

impl Owner {
    /// The owner of what `session` opens.
    pub fn of(session: &Arc<Session>) -> Self {
        Self(Arc::clone(session))
    }

    /// Whether both are sessions of one person.
    pub fn is_same_person(&self, other: &Self) -> bool {
        let (identity, other) = (&self.0.identity, &other.0.identity);
        identity.provider == other.provider && identity.subject == other.subject
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
            let Owner(session) = owner;
            let end = session.created_at.after(lifetime);
            let end = session.ends_at.map_or(end, |sealed| sealed.min(end));
            let mark = Mark::of(&session);
            // It is large, and this may take long.
            drop(session);
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

/// How long a body is not watched at first.
const GRACE: Duration = Duration::from_secs(1);
/// The shortest interval between two checks, however many sessions are revoked.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);
/// The longest interval between two checks: the system clock may be corrected meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::{
        clock::Timestamp,
        identity::Identity,
        session::revocation::{Revocation, Target},
    };

    fn session(subject: &str, created_at: Timestamp) -> Arc<Session> {
        let identity = Identity::of("corp", subject);
        Arc::new(Session::begin([7; 16], [2; 16], created_at, identity))
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
            ..Session::clone(&session("ada", now))
        };
        timeout(GRACE * 2, ends.of(Owner::of(&Arc::new(sealed))))
            .await
            .unwrap();
    }
}
