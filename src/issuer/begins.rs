//! How grants begin: by consent, with a code for the client or for a device; or by a token that a client exchanges, with tokens at once.
//!
//! A form of consent begins one grant, however often it is sent. An owner has [`MOST_PER_USER`] at most: the one unused for longest ends
//! for one more. Who begins [`MOST_BEGUN`](super::record::MOST_BEGUN) within ten minutes has to wait.

use std::time::Duration;

use super::{
    grants::{Found, Grants, Issued, owner_of},
    record::{Agreement, Kept, Record, Stage, TooLate},
    token::{self, GrantName},
};
use crate::{api_token::Facts, clock::Timestamp, kv, random, session::Session};

/// A grant that has begun.
#[derive(Debug)]
pub struct Begun {
    /// Its code.
    pub code: String,
    /// Whether it is new; else the same form has begun it before.
    pub is_new: bool,
}

/// Why no grant begins.
#[derive(Debug, thiserror::Error)]
pub enum NotBegun {
    /// The form was used before, and what came of it as well.
    #[error("the form was used before")]
    Again,
    /// This user began too many lately. One may begin after this time.
    #[error("this user began too many grants lately")]
    TooMany(Duration),
    /// Where grants are kept does not answer.
    #[error(transparent)]
    Unavailable(#[from] kv::Error),
}

/// What was added: the grant, and the newest word on its owner.
struct Added {
    grant: Kept,
    facts: Facts,
    is_new: bool,
}

impl Grants {
    /// Begins a grant of whoever has the `session`, which lasts until `ends_at` at most. A form that is sent twice begins one.
    ///
    /// # Errors
    /// When the form was used, too many began lately, or where grants are kept does not answer.
    pub async fn begin(
        &self,
        agreement: &Agreement,
        session: &Session,
        now: Timestamp,
        ends_at: Timestamp,
    ) -> Result<Begun, NotBegun> {
        let (id, key) = (random::bytes(), random::bytes());
        let kept = Kept::begin(agreement, session, (id, key), (now, ends_at));
        self.keep(kept, agreement.form, session, now).await
    }

    /// The same for a device: it asks for the code once in a while, and so that is good until `code_ends_at`. Nobody else sees it.
    ///
    /// # Errors
    /// As for [`begin`](Self::begin).
    pub async fn begin_for_device(
        &self,
        agreement: &Agreement,
        session: &Session,
        now: Timestamp,
        (code_ends_at, ends_at): (Timestamp, Timestamp),
    ) -> Result<Begun, NotBegun> {
        let (id, key) = (random::bytes(), random::bytes());
        let mut kept = Kept::begin(agreement, session, (id, key), (now, ends_at));
        if let Stage::Code { expires_at, .. } = &mut kept.stage {
            *expires_at = code_ends_at;
        }
        self.keep(kept, agreement.form, session, now).await
    }

    /// The same, with tokens at once: the client has brought what proves its user. Nobody gets a code. What `session` says of the
    /// owner is as of `known_at`; where a newer word is known, that counts, for this grant as for the others.
    ///
    /// # Errors
    /// As for [`begin`](Self::begin).
    pub async fn begin_with_tokens(
        &self,
        agreement: &Agreement,
        session: &Session,
        (now, known_at): (Timestamp, Timestamp),
        ends_at: Timestamp,
    ) -> Result<Issued, NotBegun> {
        let (id, key) = (random::bytes(), random::bytes());
        let mut kept = Kept::begin(agreement, session, (id, key), (now, ends_at));
        kept.stage = Stage::Tokens {
            generation: 0,
            rotated_at: now,
            challenge: String::new(),
        };
        let owner = owner_of(&session.identity);
        let added = self
            .add(kept, agreement.form, session, (now, known_at))
            .await?;
        Ok(Issued {
            refresh_token: token::refresh(GrantName { owner, id }, 0, &key),
            found: Found {
                grant: added.grant,
                facts: added.facts,
            },
        })
    }

    async fn keep(
        &self,
        kept: Kept,
        form: Option<[u8; 16]>,
        session: &Session,
        now: Timestamp,
    ) -> Result<Begun, NotBegun> {
        let owner = owner_of(&session.identity);
        // A session says what was so at its login, and not what is so now: a later login may have said less.
        let known_at = session.created_at;
        let added = self.add(kept, form, session, (now, known_at)).await?;
        let Kept { id, key, .. } = added.grant;
        Ok(Begun {
            code: token::code(GrantName { owner, id }, &key),
            is_new: added.is_new,
        })
    }

    /// Adds a grant. The newest word on its owner may be newer than what `session` says as of `known_at`. Whoever sends a form twice at
    /// once gets the same code.
    async fn add(
        &self,
        kept: Kept,
        form: Option<[u8; 16]>,
        session: &Session,
        (now, known_at): (Timestamp, Timestamp),
    ) -> Result<Added, NotBegun> {
        let owner = owner_of(&session.identity);
        let facts = Facts::of(session.clone());
        let (mut gone, mut newest, mut earlier) = (Vec::new(), None, None);
        self.records
            .change_or_replace(owner, now, |record| {
                // Where somebody else was faster, what made room goes on.
                gone.clear();
                let mut record = record.unwrap_or_else(|| Record::of(&facts, known_at));
                record.note(&facts, known_at);
                newest = record.facts();
                record.forget_expired(now);
                match record.begin(kept.id, form, now) {
                    Ok(()) => {}
                    Err(TooLate::TooMany(wait)) => return Err(NotBegun::TooMany(wait)),
                    Err(TooLate::Used(id)) => {
                        let is_unspent = |grant: &&Kept| grant.id == id && !grant.is_in_use();
                        let unspent = record.grants.iter().find(is_unspent);
                        earlier = Some(unspent.cloned().ok_or(NotBegun::Again)?);
                        return Ok(None);
                    }
                }
                gone = record.make_room(MOST_PER_USER, &kept.client);
                record.grants.push(kept.clone());
                Ok(Some(record))
            })
            .await?;
        self.revoke_all(&gone, now);
        Ok(Added {
            facts: newest.unwrap_or(facts),
            is_new: earlier.is_none(),
            grant: earlier.unwrap_or(kept),
        })
    }
}

/// Grants of one user: for one more, the one unused for longest ends.
pub const MOST_PER_USER: usize = 50;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;

    use super::*;
    use crate::{
        clock,
        issuer::{
            grants::tests::{BACK, VERIFIER, code_of, grants, grants_in, redeem},
            record::tests::{agreement, session},
            token::Presented,
        },
        owner_records::OwnerRecord as _,
    };

    /// A device asks once a minute where it was told to slow down: by then its code is still good.
    #[tokio::test]
    async fn t81_the_code_of_a_device_lasts_as_long_as_it_may_wait() {
        let (grants, now) = (grants(), clock::now());
        let later = |minutes| now.after(Duration::from_mins(minutes));
        let ends = (later(10), later(60));
        let begun = grants
            .begin_for_device(&agreement(), &session(), now, ends)
            .await;
        let code = Presented::code(&begun.unwrap().code).unwrap();
        assert!(
            redeem(&grants, &code, VERIFIER, BACK, later(9))
                .await
                .is_ok()
        );
        let code = code_of(&grants, now).await;
        assert!(
            redeem(&grants, &code, VERIFIER, BACK, later(1))
                .await
                .is_err()
        );
    }

    /// Once no replica has the earlier secret any more, nothing of what it sealed is in the way of a new grant.
    #[tokio::test]
    async fn what_opens_nowhere_any_more_makes_room() {
        let (store, now) = (Arc::new(kv::Memory::default()), clock::now());
        let code = code_of(&grants_in(store.clone(), "one"), now).await;
        let grants = grants_in(store, "two");
        // Nothing but a new grant takes its place.
        assert!(redeem(&grants, &code, VERIFIER, BACK, now).await.is_err());
        let code = code_of(&grants, now).await;
        redeem(&grants, &code, VERIFIER, BACK, now).await.unwrap();
    }

    #[tokio::test]
    async fn a_form_begins_one_grant_however_often_it_is_sent() {
        let (grants, now) = (grants(), clock::now());
        let ends_at = now.after(Duration::from_hours(1));
        let agreement = agreement();
        let begin = async || grants.begin(&agreement, &session(), now, ends_at).await;
        let first = begin().await.unwrap();
        let again = begin().await.unwrap();
        assert!(first.is_new && !again.is_new && first.code == again.code);
        let code = Presented::code(&first.code).unwrap();
        redeem(&grants, &code, VERIFIER, BACK, now).await.unwrap();
        assert!(matches!(begin().await, Err(NotBegun::Again)));
    }

    /// Gives out once more what was there.
    #[derive(Default)]
    struct Late(kv::Memory, Mutex<Option<Bytes>>);

    impl kv::Store for Late {
        fn get(&self, key: kv::Key) -> kv::Answer<'_, Option<Bytes>> {
            match self.1.lock().unwrap().take() {
                Some(earlier) => Box::pin(async { Ok(Some(earlier)) }),
                None => self.0.get(key),
            }
        }

        fn put(&self, key: kv::Key, value: kv::Value) -> kv::Answer<'_, ()> {
            self.0.put(key, value)
        }

        fn take(&self, key: kv::Key) -> kv::Answer<'_, Option<Bytes>> {
            self.0.take(key)
        }

        fn swap(
            &self,
            key: kv::Key,
            expected: Option<Bytes>,
            new: Option<kv::Value>,
        ) -> kv::Answer<'_, bool> {
            self.0.swap(key, expected, new)
        }

        fn scan(&self, group: String, at_most: usize) -> kv::Answer<'_, kv::Entries> {
            self.0.scan(group, at_most)
        }

        fn is_ready(&self) -> bool {
            true
        }
    }

    /// Of two that send a form at once, one makes room. The other has seen an earlier record, and would have made it elsewhere.
    #[tokio::test]
    async fn a_form_that_came_too_late_ends_nothing() {
        let (store, now) = (Arc::new(Late::default()), clock::now());
        let grants = grants_in(store.clone(), "one");
        let mut tokens = Vec::new();
        for _ in 0..MOST_PER_USER {
            let code = code_of(&grants, now).await;
            tokens.push(redeem(&grants, &code, VERIFIER, BACK, now).await.unwrap());
        }
        let owner = kv::Key::new(Record::GROUP, tokens[0].grant.owner);
        let earlier = kv::Store::get(&store.0, owner).await.unwrap();
        let later = now.after(Duration::from_secs(1));
        grants.rotate(&tokens[0], "app", later).await.unwrap();
        let (agreement, ends_at) = (agreement(), now.after(Duration::from_hours(1)));
        let begin = async || {
            let begun = grants.begin(&agreement, &session(), later, ends_at).await;
            begun.unwrap().is_new
        };
        assert!(begin().await);
        *store.1.lock().unwrap() = earlier;
        assert!(!begin().await);
        let has_ended = |token: &Presented| grants.revocations.has_revoked_id(&token.grant.id);
        assert!(has_ended(&tokens[1]) && !has_ended(&tokens[0]));
    }

    /// Of codes that nobody spends no token exists: however many make room for each other, nothing is revoked for them.
    #[tokio::test]
    async fn a_flood_of_codes_revokes_nothing() {
        let (grants, now) = (grants(), clock::now());
        let changes = grants.revocations.changes();
        for _ in 0..MOST_PER_USER * 2 {
            code_of(&grants, now).await;
        }
        assert!(!changes.has_changed().unwrap());
        let ends_at = now.after(Duration::from_hours(1));
        let begun = grants.begin(&agreement(), &session(), now, ends_at).await;
        assert!(matches!(begun, Err(NotBegun::TooMany(_))));
    }
}
