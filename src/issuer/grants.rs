//! Grants: what users allow clients to do. A code begins one, and refresh tokens continue it until it ends.
//!
//! The grants of one owner are one record ([`OwnerRecords`]), changed by compare-and-set. If two requests use one code, or rotate one
//! token, one of them changes the record, and the other sees that. How a grant begins is in [`begins`](super::begins), how it ends in
//! [`ends`](super::ends).

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{
    record::{Kept, Record, Refresh, Stage},
    token::{self, GrantName, Presented},
};
use crate::{
    api_token::Facts,
    clock::Timestamp,
    identity::Identity,
    kv::{self, Store, Table},
    login::transaction::pkce_challenge,
    owner_records::OwnerRecords,
    session::{Session, directory::UserKey, revocation::Revocations, seal::KeyRing},
};

/// Everybody's grants.
pub struct Grants {
    pub(super) records: OwnerRecords<Record>,
    pub(super) revocations: Arc<Revocations>,
    /// Up to when everybody's have ended.
    pub(super) ended: Table<Timestamp>,
}

/// A grant, and what is known of whoever gave it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The grant.
    pub grant: Kept,
    /// Its owner, as their last login said it.
    pub facts: Facts,
}

impl Found {
    /// The grant as a session.
    pub fn session(&self) -> Session {
        self.grant.session(&self.facts)
    }

    /// Its name.
    pub fn name(&self) -> GrantName {
        GrantName {
            owner: owner_of(&self.facts.identity),
            id: self.grant.id,
        }
    }

    /// What its code and its refresh tokens are made with.
    pub fn key(&self) -> [u8; 32] {
        self.grant.key
    }
}

/// Tokens that may be given. No `Debug`: it holds a credential.
pub struct Issued {
    /// For which grant.
    pub found: Found,
    /// The refresh token.
    pub refresh_token: String,
}

/// Why a code or a refresh token brings nothing.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is none, or has ended.
    #[error("{0}")]
    Invalid(&'static str),
    /// It was used before, and its grant has ended for that.
    #[error("{1} came a second time: the grant of {client} has ended", client = .0.grant.name)]
    Reused(Box<Found>, &'static str),
    /// Where grants are kept does not answer.
    #[error(transparent)]
    Unavailable(#[from] kv::Error),
}

const UNKNOWN: Refused = Refused::Invalid("it is unknown, or has ended");

impl Grants {
    /// Those in `store`, sealed under `keys`, ended through `revocations`.
    pub fn new(
        store: Arc<dyn Store>,
        keys: Arc<ArcSwap<KeyRing>>,
        revocations: Arc<Revocations>,
    ) -> Self {
        Self {
            ended: Table::new(Arc::clone(&store), "grants-ended", 1),
            records: OwnerRecords::new(store, keys),
            revocations,
        }
    }

    /// The same beside replicas: see [`OwnerRecords::beside`].
    #[must_use]
    pub fn beside(self, others_may_open: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            records: self.records.beside(others_may_open),
            ..self
        }
    }

    /// Exchanges a code for its first tokens, once, for whoever knows the `verifier`. Who comes a second time with both ends the
    /// grant (RFC 6749 §4.1.2); who does not know the verifier changes nothing.
    ///
    /// # Errors
    /// Why it brings nothing.
    pub async fn redeem(
        &self,
        code: &Presented,
        client: &str,
        redirect_uri: &str,
        verifier: &str,
        now: Timestamp,
    ) -> Result<Issued, Refused> {
        let answer = pkce_challenge(verifier);
        let mut outcome = Err(UNKNOWN);
        let ended = self.ended_up_to().await?;
        self.records
            .change(code.grant.owner, now, |record| {
                outcome = Err(UNKNOWN);
                let Some(mut record) = record else {
                    return Ok::<_, Refused>(None);
                };
                let facts = record.facts();
                let place = record
                    .grants
                    .iter()
                    .position(|grant| grant.id == code.grant.id);
                let (Some(place), Some(facts)) = (place, facts) else {
                    return Ok(None);
                };
                let grant = &mut record.grants[place];
                if !code.is_genuine(&grant.key)
                    || grant.client != client
                    || grant.created_at <= ended
                {
                    return Ok(None);
                }
                match grant.stage.clone() {
                    Stage::Code {
                        redirect_uri: expected,
                        challenge,
                        expires_at,
                    } => {
                        if now >= expires_at {
                            return Ok(None);
                        }
                        if expected != redirect_uri {
                            outcome = Err(Refused::Invalid(
                                "redirect_uri is not the one that the code was sent to",
                            ));
                            return Ok(None);
                        }
                        if challenge != answer {
                            outcome = Err(Refused::Invalid(
                                "code_verifier does not answer the challenge",
                            ));
                            return Ok(None);
                        }
                        grant.stage = Stage::Tokens {
                            generation: 0,
                            rotated_at: now,
                            challenge,
                        };
                        grant.used_at = now;
                        let found = Found {
                            grant: grant.clone(),
                            facts,
                        };
                        let refresh_token = token::refresh(code.grant, 0, &grant.key);
                        outcome = Ok(Issued {
                            found,
                            refresh_token,
                        });
                    }
                    Stage::Tokens { challenge, .. } => {
                        if challenge != answer {
                            return Ok(None);
                        }
                        let grant = record.grants.remove(place);
                        outcome = Err(Refused::Reused(Box::new(Found { grant, facts }), "a code"));
                    }
                }
                Ok(Some(record))
            })
            .await?;
        self.end_if_reused(outcome, now)
    }

    /// The grant of a refresh token that is genuine, whatever its turn.
    ///
    /// # Errors
    /// When there is none.
    pub async fn of_refresh_token(&self, token: &Presented) -> Result<Found, Refused> {
        let found = self.find(token.grant).await?.ok_or(UNKNOWN)?;
        if !token.is_genuine(&found.grant.key) || !found.grant.is_in_use() {
            return Err(UNKNOWN);
        }
        Ok(found)
    }

    /// Gives the next refresh token in the place of `token`. All who come with one at once get the same; who comes with one that
    /// was replaced before ends the grant.
    ///
    /// # Errors
    /// Why it brings nothing.
    pub async fn rotate(
        &self,
        token: &Presented,
        client: &str,
        now: Timestamp,
    ) -> Result<Issued, Refused> {
        let mut outcome = Err(UNKNOWN);
        self.records
            .change(token.grant.owner, now, |record| {
                outcome = Err(UNKNOWN);
                let Some(mut record) = record else {
                    return Ok::<_, Refused>(None);
                };
                let facts = record.facts();
                let place = record
                    .grants
                    .iter()
                    .position(|grant| grant.id == token.grant.id);
                let (Some(place), Some(facts)) = (place, facts) else {
                    return Ok(None);
                };
                let grant = &mut record.grants[place];
                if !token.is_genuine(&grant.key) || grant.client != client || now >= grant.ends_at {
                    return Ok(None);
                }
                let next = token.generation.saturating_add(1);
                let refresh_token = token::refresh(token.grant, next, &grant.key);
                match grant.judge(token, now) {
                    None => Ok(None),
                    Some(Refresh::Again) => {
                        let found = Found {
                            grant: grant.clone(),
                            facts,
                        };
                        outcome = Ok(Issued {
                            found,
                            refresh_token,
                        });
                        Ok(None)
                    }
                    Some(Refresh::Rotate) => {
                        if let Stage::Tokens {
                            generation,
                            rotated_at,
                            ..
                        } = &mut grant.stage
                        {
                            (*generation, *rotated_at) = (next, now);
                        }
                        grant.used_at = now;
                        let found = Found {
                            grant: grant.clone(),
                            facts,
                        };
                        outcome = Ok(Issued {
                            found,
                            refresh_token,
                        });
                        record.forget_expired(now);
                        Ok(Some(record))
                    }
                    Some(Refresh::Reused) => {
                        let grant = record.grants.remove(place);
                        outcome = Err(Refused::Reused(
                            Box::new(Found { grant, facts }),
                            "a refresh token that was replaced",
                        ));
                        Ok(Some(record))
                    }
                }
            })
            .await?;
        self.end_if_reused(outcome, now)
    }

    fn end_if_reused(
        &self,
        outcome: Result<Issued, Refused>,
        now: Timestamp,
    ) -> Result<Issued, Refused> {
        if let Err(Refused::Reused(found, _)) = &outcome {
            self.end_access_tokens(&found.grant.id, now);
        }
        outcome
    }

    /// The grant of a name, with what is known of its owner.
    ///
    /// # Errors
    /// When where grants are kept does not answer.
    pub async fn find(&self, name: GrantName) -> Result<Option<Found>, kv::Error> {
        let Some(record) = self.records.get(name.owner).await? else {
            return Ok(None);
        };
        let ended = self.ended_up_to().await?;
        let grant = record
            .grants
            .iter()
            .find(|grant| grant.id == name.id && grant.created_at > ended);
        Ok(grant
            .cloned()
            .zip(record.facts())
            .map(|(grant, facts)| Found { grant, facts }))
    }

    /// The grants of a user that are in use, the newest first.
    ///
    /// # Errors
    /// When where they are kept does not answer.
    pub async fn list(&self, user: &UserKey, now: Timestamp) -> Result<Vec<Kept>, kv::Error> {
        let Some(record) = self.records.get(*user.bytes()).await? else {
            return Ok(Vec::new());
        };
        let ended = self.ended_up_to().await?;
        let is_listed =
            |grant: &&Kept| grant.is_in_use() && now < grant.ends_at && grant.created_at > ended;
        let listed = record.grants.iter().rev().filter(is_listed);
        let revoked = |grant: &&Kept| !self.revocations.has_revoked_id(&grant.id);
        Ok(listed.filter(revoked).cloned().collect())
    }
}

pub(super) fn owner_of(identity: &Identity) -> [u8; 16] {
    *UserKey::of(identity).bytes()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::{
        super::record::tests::{agreement, session},
        *,
    };
    use crate::{clock, secret::Secret};

    pub(in super::super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    pub(in super::super) const BACK: &str = "https://app.example/cb";

    pub(in super::super) fn grants() -> Grants {
        grants_in(Arc::new(kv::Memory::default()), "one")
    }

    pub(in super::super) fn grants_in(store: Arc<dyn Store>, secret: &str) -> Grants {
        let keys = KeyRing::new(&[Secret::new(secret.to_owned())], "app.example gate");
        let revocations = Arc::new(Revocations::new(Duration::from_hours(1)));
        Grants::new(store, Arc::new(ArcSwap::from_pointee(keys)), revocations)
    }

    pub(in super::super) async fn code_of(grants: &Grants, now: Timestamp) -> Presented {
        let ends_at = now.after(Duration::from_hours(1));
        let code = grants
            .begin(&agreement(), &session(), now, ends_at)
            .await
            .unwrap();
        Presented::code(&code.code).unwrap()
    }

    pub(in super::super) async fn redeem(
        grants: &Grants,
        code: &Presented,
        verifier: &str,
        back: &str,
        now: Timestamp,
    ) -> Result<Presented, String> {
        let issued = grants.redeem(code, "app", back, verifier, now).await;
        issued
            .map(|issued| Presented::refresh(&issued.refresh_token).unwrap())
            .map_err(|error| error.to_string())
    }

    /// While a secret is rotated, a replica that lacks it takes nobody's grants away.
    #[tokio::test]
    async fn what_does_not_open_here_goes_on_elsewhere() {
        let (store, now) = (Arc::new(kv::Memory::default()), clock::now());
        let grants = grants_in(store.clone(), "one");
        let code = code_of(&grants, now).await;
        let token = redeem(&grants, &code, VERIFIER, BACK, now).await.unwrap();
        let other = grants_in(store.clone(), "two").beside(|| true);
        let ends_at = now.after(Duration::from_hours(1));
        let begun = other.begin(&agreement(), &session(), now, ends_at).await;
        assert!(begun.is_err());
        let rotated = other.rotate(&token, "app", now).await;
        assert!(matches!(rotated, Err(Refused::Unavailable(_))));
        assert!(grants.of_refresh_token(&token).await.is_ok());
        // Ending all of somebody's ends these, too.
        let user = UserKey::of(&session().identity);
        other.end_all(&user, now).await.unwrap();
        assert!(grants.of_refresh_token(&token).await.is_err());
    }

    #[tokio::test]
    async fn t41_a_code_is_good_once_and_its_reuse_ends_the_grant() {
        let (grants, now) = (grants(), clock::now());
        let code = code_of(&grants, now).await;
        assert!(
            redeem(&grants, &code, &"x".repeat(43), BACK, now)
                .await
                .is_err()
        );
        assert!(
            redeem(&grants, &code, VERIFIER, "https://app.example/other", now)
                .await
                .is_err()
        );
        assert!(
            grants
                .redeem(&code, "other", BACK, VERIFIER, now)
                .await
                .is_err()
        );
        let first = redeem(&grants, &code, VERIFIER, BACK, now).await.unwrap();
        // Whoever cannot show that they had it ends nothing.
        assert!(
            redeem(&grants, &code, &"x".repeat(43), BACK, now)
                .await
                .is_err()
        );
        assert!(grants.of_refresh_token(&first).await.is_ok());
        let again = redeem(&grants, &code, VERIFIER, BACK, now).await;
        let error = again.err().unwrap();
        assert!(error.contains("second time"), "{error}");
        assert!(grants.of_refresh_token(&first).await.is_err());
        assert!(grants.revocations.has_revoked_id(&code.grant.id));
    }

    #[tokio::test]
    async fn a_code_ends_after_a_minute() {
        let (grants, now) = (grants(), clock::now());
        let code = code_of(&grants, now).await;
        assert!(
            redeem(
                &grants,
                &code,
                VERIFIER,
                BACK,
                now.after(Duration::from_mins(1))
            )
            .await
            .is_err()
        );
    }

    #[tokio::test]
    async fn t54_a_replaced_token_ends_the_grant_once_its_successor_was_used() {
        let (grants, now) = (grants(), clock::now());
        let code = code_of(&grants, now).await;
        let first = redeem(&grants, &code, VERIFIER, BACK, now).await.unwrap();
        let rotate = async |token: &Presented| {
            let issued = grants.rotate(token, "app", now).await;
            issued
                .map(|issued| Presented::refresh(&issued.refresh_token).unwrap())
                .map_err(|error| error.to_string())
        };
        assert!(grants.rotate(&first, "other", now).await.is_err());
        let second = rotate(&first).await.unwrap();
        assert!(
            rotate(&first).await.unwrap() == second,
            "whoever is late gets the same"
        );
        let third = rotate(&second).await.unwrap();
        assert!(rotate(&first).await.err().unwrap().contains("second time"));
        assert!(rotate(&third).await.is_err());
        assert!(
            grants
                .list(&UserKey::of(&session().identity), now)
                .await
                .unwrap()
                .is_empty()
        );
    }

    #[tokio::test]
    async fn grants_are_listed_ended_and_follow_their_owner() {
        let (grants, now) = (grants(), clock::now());
        let user = UserKey::of(&session().identity);
        for _ in 0..2 {
            let code = code_of(&grants, now).await;
            redeem(&grants, &code, VERIFIER, BACK, now).await.unwrap();
        }
        let pending = code_of(&grants, now).await;
        let listed = grants.list(&user, now).await.unwrap();
        assert_eq!(listed.len(), 2);
        let mut facts = Facts::of(session());
        facts.identity.groups = vec!["admins".into()];
        grants.note_owner(&facts, now).await;
        let name = GrantName {
            owner: *user.bytes(),
            id: listed[0].id,
        };
        let found = grants.find(name).await.unwrap().unwrap();
        assert_eq!(found.facts.identity.groups.len(), 1);
        assert!(grants.end(name, now).await.unwrap().is_some());
        assert!(grants.end(name, now).await.unwrap().is_none());
        assert_eq!(grants.list(&user, now).await.unwrap().len(), 1);
        assert_eq!(grants.end_all(&user, now).await.unwrap().len(), 2);
        assert!(
            redeem(&grants, &pending, VERIFIER, BACK, now)
                .await
                .is_err()
        );
    }
}
