//! Ends what outlasts its request (a WebSocket, an event stream, a long download) with the session that opened it: at the session's
//! absolute end, and soon after a revocation. So it is with an API token and what the configuration names, which end alike.
//!
//! A refresh ends nothing. Nor does the idle timeout: an open connection counts as use.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    Session, opened,
    revocation::{Mark, Revocations},
};
use crate::{
    clock::{self, Timestamp},
    credential::Verified,
};

/// Whose a connection is: enough to know the session's end, with the hashing left for when it is needed. Most
/// requests are over long before.
#[derive(Clone)]
pub struct Owner(Arc<Session>);

impl Owner {
    /// The owner of what `session` opens.
    pub fn of(session: &Arc<Session>) -> Self {
        Self(Arc::clone(session))
    }

    /// The owner of what a credential opens at `now`; none where nobody tells when it ends.
    pub fn of_credential(verified: &Verified, now: Timestamp) -> Option<Self> {
        opened::session(verified, now).map(|session| Self(Arc::new(session)))
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

    /// Comes when the owner's session, or other credential, has ended.
    pub fn of(&self, owner: Owner) -> impl Future<Output = ()> + Send + use<> {
        let Self {
            revocations,
            lifetime,
        } = self.clone();
        async move {
            // One timer is all that costs what is over by then.
            sleep(GRACE).await;
            let Owner(session) = owner;
            let by_token_at = opened::by_token_at(&session);
            let end = if opened::is_one(&session) {
                session.ends_at
            } else {
                let end = session.created_at.after(lifetime);
                Some(session.ends_at.map_or(end, |sealed| sealed.min(end)))
            };
            let mark = Mark::of(&session);
            // It is large, and this may take long.
            drop(session);
            let mut changes = revocations.changes();
            loop {
                changes.mark_unchanged();
                let left = end.map_or(LONGEST_SLEEP, |end| end.since(clock::now()));
                let may_be_forgotten =
                    by_token_at.is_some_and(|at| revocations.has_revoked_tokens_of(at));
                if left.is_zero() || may_be_forgotten || revocations.has_revoked_mark(&mark) {
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
        credential::{Grant, Opener, Proof, Voucher},
        identity::Identity,
        session::revocation::{Revocation, Target},
        tokens::Tokens,
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

    fn credential(opener: Option<Opener>, expires_at: Option<Timestamp>) -> Arc<Verified> {
        Arc::new(Verified {
            identity: Identity::of("corp", "ada"),
            tokens: Tokens::default(),
            proof: Proof::ApiToken,
            scopes: None,
            client: None,
            expires_at,
            voucher: Voucher::Provider,
            routes: None,
            grant: None,
            opener,
        })
    }

    #[tokio::test]
    async fn a_token_ends_by_its_own_name_and_not_with_its_owners_sessions() {
        let (revocations, ends) = ends(3_600);
        let now = clock::now();
        let token = |id| Opener::ApiToken {
            id: [id; 16],
            made_at: Timestamp(now.0 - 100_000),
        };
        let configured = |id| Opener::Configured([id; 16]);
        let watch = |opener, end| {
            let owner = Owner::of_credential(&credential(opener, end), now);
            owner.map(|owner| tokio::spawn(ends.of(owner)))
        };
        assert!(watch(None, None).is_none());
        // Long ago.
        let one = watch(Some(token(1)), None).unwrap();
        let other = watch(Some(token(2)), None).unwrap();
        let named = watch(Some(configured(3)), None).unwrap();
        revocations.revoke(Revocation {
            target: Target::user("corp", "ada"),
            not_before: now,
        });
        sleep(GRACE + BETWEEN_LOOKS).await;
        assert!(
            ![&one, &other, &named]
                .iter()
                .any(|watch| watch.is_finished())
        );
        revocations.revoke(Revocation {
            target: Target::Grant([1; 16]),
            not_before: now,
        });
        timeout(Duration::from_secs(1), one).await.unwrap().unwrap();
        assert!(!other.is_finished());
        revocations.revoke(Revocation {
            target: Target::api_tokens(),
            not_before: now,
        });
        timeout(Duration::from_secs(1), other)
            .await
            .unwrap()
            .unwrap();
        assert!(!named.is_finished());
        revocations.learn(Revocation {
            target: Target::configured([3; 16]),
            not_before: now,
        });
        timeout(Duration::from_secs(1), named)
            .await
            .unwrap()
            .unwrap();
        let over = watch(Some(token(4)), Some(now)).unwrap();
        timeout(GRACE * 2, over).await.unwrap().unwrap();
        // What is opened after that is of a configuration that names it again.
        let later = credential(Some(configured(3)), None);
        let later = Owner::of_credential(&later, Timestamp(now.0 + 1)).unwrap();
        assert!(timeout(GRACE * 2, ends.of(later)).await.is_err());
    }

    /// Beyond their bound the ends of tokens are forgotten, and every token of before is over.
    #[tokio::test]
    async fn what_a_token_has_opened_ends_where_its_end_may_be_forgotten() {
        let (revocations, ends) = ends(3_600);
        let now = clock::now();
        let grant = Grant {
            id: [5; 16],
            created_at: now,
            ends_at: Some(now.after(Duration::from_hours(1))),
            provider_session: None,
            resource: "https://h/mcp".into(),
        };
        let by_access_token = Verified {
            grant: Some(Box::new(grant)),
            ..Verified::clone(&credential(None, None))
        };
        let token = Opener::ApiToken {
            id: [1; 16],
            made_at: now,
        };
        let owners = [
            Owner::of_credential(&by_access_token, now).unwrap(),
            Owner::of_credential(&credential(Some(token), None), now).unwrap(),
            Owner::of_credential(&credential(Some(Opener::Configured([3; 16])), None), now)
                .unwrap(),
            Owner::of(&session("ada", now)),
        ];
        let watches = owners.map(|owner| tokio::spawn(ends.of(owner)));
        revocations.learn(Revocation {
            target: Target::AccessTokens,
            not_before: now,
        });
        let [access_token, api_token, configured, session] = watches;
        for over in [access_token, api_token] {
            let ended = timeout(Duration::from_secs(10), over).await;
            ended.expect("it ends").unwrap();
        }
        sleep(BETWEEN_LOOKS * 2).await;
        assert!(!configured.is_finished() && !session.is_finished());
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
