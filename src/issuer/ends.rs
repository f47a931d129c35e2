//! How grants end: one by its client, its owner or an operator; all that began in one session; all of a user; and everybody's.
//!
//! A grant that ends is removed from its owner's record. Where tokens were given for it, it is revoked, too, so that its access tokens end
//! everywhere within moments. A code that nobody has spent leaves nothing to revoke. What a login says of an owner is noted here, too: it may have their next tokens refused.

use super::{
    grants::{Grants, owner_of},
    record::Kept,
    token::GrantName,
};
use crate::{
    api_token::Facts,
    clock::Timestamp,
    kv,
    session::{
        LONGEST_LIFETIME,
        directory::UserKey,
        revocation::{Revocation, Target},
    },
};

impl Grants {
    /// Ends a grant. What it was, where there was one.
    ///
    /// # Errors
    /// When where it is kept does not answer: it may go on.
    pub async fn end(&self, name: GrantName, now: Timestamp) -> Result<Option<Kept>, kv::Error> {
        let ended = self
            .end_those(name.owner, now, |grant| grant.id == name.id)
            .await;
        if ended.is_err() {
            // Its access tokens end whatever the store does.
            self.end_access_tokens(&name.id, now);
        }
        Ok(ended?.into_iter().next())
    }

    /// Ends all of a user's. Which those were.
    ///
    /// # Errors
    /// When where they are kept does not answer: they may go on.
    pub async fn end_all(&self, user: &UserKey, now: Timestamp) -> Result<Vec<Kept>, kv::Error> {
        let owner = *user.bytes();
        if self.records.remove_shut(owner).await? {
            return Ok(Vec::new());
        }
        self.end_those(owner, now, |_| true).await
    }

    /// Ends all of an owner's that began in one session. Which those were.
    ///
    /// # Errors
    /// When where they are kept does not answer: they may go on.
    pub async fn end_begun_in(
        &self,
        owner: &UserKey,
        session: &[u8; 16],
        now: Timestamp,
    ) -> Result<Vec<Kept>, kv::Error> {
        let began_there = |grant: &Kept| grant.begun_in == *session;
        self.end_those(*owner.bytes(), now, began_there).await
    }

    /// Ends everybody's that began by now, whatever `session.lifetime` was then.
    ///
    /// # Errors
    /// When where they are kept does not answer: they may go on.
    pub async fn end_everybodys(&self, now: Timestamp) -> Result<(), kv::Error> {
        let end = now.after(LONGEST_LIFETIME);
        self.ended.put(EVERYBODY, &now, end).await
    }

    /// Somebody has signed in, was refreshed, or was turned away: what was said of them counts for their grants from here on.
    pub async fn note_owner(&self, facts: &Facts, now: Timestamp) {
        let noted = self
            .records
            .change(owner_of(&facts.identity), now, |record| {
                Ok::<_, kv::Error>(record.map(|mut record| {
                    record.note(facts, now);
                    record.forget_expired(now);
                    record
                }))
            });
        if let Err(error) = noted.await {
            tracing::warn!(%error, "what a login said is not known to its user's grants yet");
        }
    }

    async fn end_those(
        &self,
        owner: [u8; 16],
        now: Timestamp,
        is_meant: impl Fn(&Kept) -> bool,
    ) -> Result<Vec<Kept>, kv::Error> {
        let mut ended = Vec::new();
        self.records
            .change(owner, now, |record| {
                let Some(mut record) = record else {
                    return Ok::<_, kv::Error>(None);
                };
                ended = record
                    .grants
                    .extract_if(.., |grant| is_meant(grant))
                    .collect();
                Ok((!ended.is_empty()).then_some(record))
            })
            .await?;
        self.revoke_all(&ended, now);
        Ok(ended)
    }

    /// Those of grants that are gone.
    pub(super) fn revoke_all(&self, gone: &[Kept], now: Timestamp) {
        for grant in gone.iter().filter(|grant| grant.is_in_use()) {
            self.end_access_tokens(&grant.id, now);
        }
    }

    /// Ends the access tokens of a grant; or those that a client has for itself, of the session in there. Somebody must have proven
    /// that they had one.
    pub fn end_access_tokens(&self, id: &[u8; 16], now: Timestamp) {
        let target = Target::Grant(*id);
        self.revocations.revoke(Revocation {
            target,
            not_before: now,
        });
    }

    pub(super) async fn ended_up_to(&self) -> Result<Timestamp, kv::Error> {
        Ok(self.ended.get(EVERYBODY).await?.unwrap_or_default())
    }
}

/// The name of what is not anybody's own.
const EVERYBODY: &[u8] = b"everybody";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        clock,
        issuer::{
            grants::tests::{BACK, VERIFIER, code_of, grants, redeem},
            record::tests::{agreement, session},
            token::Presented,
        },
        session::Session,
    };

    #[tokio::test]
    async fn what_began_in_a_session_ends_with_it_and_nothing_else() {
        let (grants, now) = (grants(), clock::now());
        let code = code_of(&grants, now).await;
        let unspent = code_of(&grants, now).await;
        redeem(&grants, &code, VERIFIER, BACK, now).await.unwrap();
        let other = Session {
            id: [9; 16],
            ..session()
        };
        let ends_at = now.after(Duration::from_hours(1));
        let begun = grants.begin(&agreement(), &other, now, ends_at).await;
        let others = Presented::code(&begun.unwrap().code).unwrap();
        let owner = UserKey::of(&session().identity);
        let ended = grants
            .end_begun_in(&owner, &session().id, now)
            .await
            .unwrap();
        assert_eq!(ended.len(), 2);
        assert!(grants.revocations.has_revoked_id(&code.grant.id));
        // Nobody has a token of it.
        assert!(!grants.revocations.has_revoked_id(&unspent.grant.id));
        assert!(
            redeem(&grants, &unspent, VERIFIER, BACK, now)
                .await
                .is_err()
        );
        assert!(redeem(&grants, &code, VERIFIER, BACK, now).await.is_err());
        assert!(redeem(&grants, &others, VERIFIER, BACK, now).await.is_ok());
    }

    /// A grant of before may have been made to last as long as any session.
    #[tokio::test]
    async fn the_end_of_everybodys_is_known_as_long_as_one_of_them_may_last() {
        let (grants, now) = (grants(), clock::now());
        for (days, is_known) in [(399, true), (401, false)] {
            let at = Timestamp(now.0 - days * 24 * 60 * 60);
            grants.end_everybodys(at).await.unwrap();
            let known = grants.ended_up_to().await.unwrap();
            assert_eq!(known == at, is_known, "{days} days");
        }
    }
}
