//! The stored record of an owner and their grants. Pure.
//!
//! One record holds everything about an owner: what the provider said at their last login, and each grant. It is sealed, so that
//! somebody who can write to the store can neither read who it is nor make a grant.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::token::Presented;
use crate::{
    api_token::Facts,
    clock::Timestamp,
    identity::Authentication,
    jose::LEEWAY,
    owner_records::OwnerRecord,
    session::{NO_LOGIN, Session, directory::SessionName, seal::Purpose},
    text::Text,
};

/// An owner and their grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    facts: Vec<u8>,
    seen_at: Timestamp,
    pub(super) grants: Vec<Kept>,
    /// What began lately, whatever became of it.
    lately: Vec<Beginning>,
}

/// The beginning of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Beginning {
    at: Timestamp,
    grant: [u8; 16],
    /// The form by which its owner agreed; none where a client brought their token.
    form: Option<[u8; 16]>,
}

/// Why a grant does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooLate {
    /// Its form was used, and this grant came of it.
    Used([u8; 16]),
    /// Too many began lately. One may begin after this time.
    TooMany(Duration),
}

/// A grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Names it.
    pub id: [u8; 16],
    /// Its code and its refresh tokens are made with it.
    pub(super) key: [u8; 32],
    /// The client's handle.
    pub client: String,
    /// What the client calls itself.
    pub name: String,
    /// Where its codes go, as people are shown it.
    pub leads_to: String,
    /// The one address that tokens are for.
    pub resource: String,
    /// What they may be used for.
    pub scopes: Vec<String>,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when at most.
    pub ends_at: Timestamp,
    /// When tokens were last given.
    pub used_at: Timestamp,
    /// The session that its owner agreed in: where they end that one by itself, it ends too.
    pub(super) begun_in: [u8; 16],
    provider_session: Option<String>,
    authenticated_at: Option<Timestamp>,
    acr: Option<String>,
    /// The name of the session in which it was given.
    pub sid: String,
    /// Comes back in an ID token.
    pub nonce: Option<String>,
    pub(super) stage: Stage,
}

/// How far a grant is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// Its code is on its way.
    Code {
        redirect_uri: String,
        challenge: String,
        expires_at: Timestamp,
    },
    /// Tokens were given.
    Tokens {
        /// Which refresh token is the newest.
        generation: u32,
        /// Since when.
        rotated_at: Timestamp,
        /// What the code was bound to: whoever sends it again must show that they had it.
        challenge: String,
    },
}

/// What a client may do, agreed upon.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// The client's handle.
    pub client: String,
    /// What it calls itself.
    pub name: String,
    /// Where its code goes.
    pub redirect_uri: String,
    /// The same as people are shown it.
    pub leads_to: String,
    /// The challenge that its verifier answers.
    pub challenge: String,
    /// The one address that tokens are for.
    pub resource: String,
    /// What they may be used for.
    pub scopes: Vec<String>,
    /// Comes back in an ID token.
    pub nonce: Option<String>,
    /// The form by which its owner agrees, once; none where a client brings their token.
    pub form: Option<[u8; 16]>,
}

/// What has become of a refresh token that is genuine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refresh {
    /// It is the newest: the next takes its place.
    Rotate,
    /// The next was given a moment ago: whoever was late gets the same.
    Again,
    /// Somebody comes with what was replaced: two hold it, and one of them is a thief (RFC 9700 §4.14.2).
    Reused,
}

impl Record {
    pub(super) fn of(facts: &Facts, now: Timestamp) -> Self {
        Self {
            facts: facts.write(now),
            seen_at: now,
            grants: Vec::new(),
            lately: Vec::new(),
        }
    }

    /// Notes that a grant begins, where it may: a form begins one, and an owner begins no more than so many in a while.
    ///
    /// # Errors
    /// Where it may not.
    pub(super) fn begin(
        &mut self,
        grant: [u8; 16],
        form: Option<[u8; 16]>,
        now: Timestamp,
    ) -> Result<(), TooLate> {
        let used = |known: &&Beginning| form.is_some() && known.form == form;
        if let Some(used) = self.lately.iter().find(used) {
            return Err(TooLate::Used(used.grant));
        }
        let of_kind = self
            .lately
            .iter()
            .filter(|known| known.form.is_some() == form.is_some());
        if of_kind.clone().count() >= MOST_BEGUN {
            let first = of_kind.map(|known| known.at).min().unwrap_or(now);
            return Err(TooLate::TooMany(first.after(LATELY).since(now)));
        }
        self.lately.push(Beginning {
            at: now,
            grant,
            form,
        });
        Ok(())
    }

    /// Another login or refresh of the owner.
    pub(super) fn note(&mut self, facts: &Facts, now: Timestamp) {
        if now >= self.seen_at {
            self.facts = facts.write(now);
            self.seen_at = now;
        }
    }

    pub(super) fn facts(&self) -> Option<Facts> {
        Facts::read(&Bytes::copy_from_slice(&self.facts))
    }

    pub(super) fn forget_expired(&mut self, now: Timestamp) {
        self.grants.retain(|grant| now < grant.end());
        // The clock may have been put back: nobody is held up for that.
        let is_recent = |at: Timestamp| at <= now.after(LEEWAY) && now < at.after(LATELY);
        self.lately.retain(|known| is_recent(known.at));
    }

    /// Makes room for one more, of the client `newcomer`: one whose code nobody has spent goes first, then one of that client, then the
    /// one that was unused for longest. An app that signs its users in every few minutes so drives out no other.
    pub(super) fn make_room(&mut self, most: usize, newcomer: &str) -> Vec<Kept> {
        let mut gone = Vec::new();
        while self.grants.len() >= most.max(1) {
            let oldest = self.grants.iter().enumerate().min_by_key(|(_, grant)| {
                (grant.is_in_use(), grant.client != newcomer, grant.used_at)
            });
            let Some((place, _)) = oldest else { break };
            gone.push(self.grants.remove(place));
        }
        gone
    }
}

impl OwnerRecord for Record {
    const GROUP: &'static str = "grants";
    const PURPOSE: Purpose = Purpose::Grants;
    const HOLDS: &'static str = "grants";

    fn end(&self) -> Option<Timestamp> {
        let grants = self.grants.iter().map(Kept::end);
        let lately = self.lately.iter().map(|known| known.at.after(LATELY));
        grants.chain(lately).max()
    }

    fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![VERSION]).expect("a vector takes all of it")
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes.strip_prefix(&[VERSION])?).ok()
    }
}

impl Kept {
    /// A grant whose code is on its way.
    pub(super) fn begin(
        agreement: &Agreement,
        session: &Session,
        (id, key): ([u8; 16], [u8; 32]),
        (now, ends_at): (Timestamp, Timestamp),
    ) -> Self {
        let authentication = &session.identity.authentication;
        Self {
            id,
            key,
            client: agreement.client.clone(),
            name: agreement.name.clone(),
            leads_to: agreement.leads_to.clone(),
            resource: agreement.resource.clone(),
            scopes: agreement.scopes.clone(),
            created_at: now,
            ends_at,
            used_at: now,
            begun_in: session.id,
            provider_session: session
                .provider_session
                .as_ref()
                .map(|sid| sid.as_str().to_owned()),
            authenticated_at: authentication.at,
            acr: authentication
                .acr
                .as_ref()
                .map(|acr| acr.as_str().to_owned()),
            sid: SessionName::of(session).to_string(),
            nonce: agreement.nonce.clone(),
            stage: Stage::Code {
                redirect_uri: agreement.redirect_uri.clone(),
                challenge: agreement.challenge.clone(),
                expires_at: now.after(CODE_LASTS),
            },
        }
    }

    /// When nothing of it counts any more.
    fn end(&self) -> Timestamp {
        match self.stage {
            Stage::Code { expires_at, .. } => expires_at.min(self.ends_at),
            Stage::Tokens { .. } => self.ends_at,
        }
    }

    /// Whether tokens were given for it.
    pub fn is_in_use(&self) -> bool {
        matches!(self.stage, Stage::Tokens { .. })
    }

    /// The grant as a session of whoever `facts` are about: what ends a session ends it too.
    pub fn session(&self, facts: &Facts) -> Session {
        let mut session =
            Session::begin(self.id, NO_LOGIN, self.created_at, facts.identity.clone());
        session.identity.authentication = Authentication {
            at: self.authenticated_at,
            acr: self.acr.as_deref().map(Text::from),
        };
        session.provider_fingerprint = facts.provider_fingerprint;
        session.provider_session = self.provider_session.as_deref().map(Text::from);
        session.ends_at = Some(self.ends_at);
        session
    }

    /// What has become of a genuine refresh token; none where none was ever given.
    pub(super) fn judge(&self, token: &Presented, now: Timestamp) -> Option<Refresh> {
        let Stage::Tokens {
            generation,
            rotated_at,
            ..
        } = self.stage
        else {
            return None;
        };
        if token.generation == generation {
            return Some(Refresh::Rotate);
        }
        let is_last = token.generation.checked_add(1) == Some(generation);
        // The clock of the replica that rotated it may be ahead of this one. One that was put back leaves nothing good for longer.
        let is_late = is_last && rotated_at <= now.after(LEEWAY) && now.since(rotated_at) < GRACE;
        Some(if is_late {
            Refresh::Again
        } else {
            Refresh::Reused
        })
    }
}

/// How many grants of one user may begin in ten minutes by consent, and as many by exchange.
pub const MOST_BEGUN: usize = 100;
/// How long it is remembered that a grant began: a form of consent is good for no longer.
pub(super) const LATELY: Duration = Duration::from_mins(10);
/// How long a code is good for (RFC 6749 §4.1.2 allows ten minutes).
pub const CODE_LASTS: Duration = Duration::from_mins(1);
/// For how long a refresh token that was replaced brings its successor once more: to whoever asked at the same time, and to
/// whose answer got lost.
pub const GRACE: Duration = Duration::from_mins(1);
const VERSION: u8 = 3;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        identity::Identity,
        issuer::token::{self, GrantName},
        random,
    };

    pub(crate) fn agreement() -> Agreement {
        Agreement {
            client: "app".to_owned(),
            name: "App".to_owned(),
            redirect_uri: "https://app.example/cb".to_owned(),
            leads_to: "app.example".to_owned(),
            challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".to_owned(),
            resource: "https://h/mcp".to_owned(),
            scopes: vec!["mcp".to_owned()],
            nonce: None,
            form: Some(random::bytes()),
        }
    }

    pub(crate) fn session() -> Session {
        let mut session =
            Session::begin([1; 16], [2; 16], Timestamp(50), Identity::of("corp", "1"));
        session.provider_session = Some("sid".into());
        session.identity.authentication = Authentication::by_login(Timestamp(40));
        session
    }

    fn kept(id: u8, used_at: u64) -> Kept {
        let mut kept = Kept::begin(
            &agreement(),
            &session(),
            ([id; 16], [id; 32]),
            (Timestamp(100), Timestamp(9_000)),
        );
        kept.used_at = Timestamp(used_at);
        kept
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_ends_with_its_grants() {
        let facts = Facts::of(session());
        let mut record = Record::of(&facts, Timestamp(60));
        assert_eq!(record.end(), None);
        record.grants.push(kept(1, 100));
        assert_eq!(record.end(), Some(Timestamp(160)));
        assert_eq!(Record::decode(&record.encode()).as_ref(), Some(&record));
        assert_eq!(Record::decode(b"\x03"), None);
        let as_session = record.grants[0].session(&record.facts().unwrap());
        assert_eq!(as_session.id, [1; 16]);
        assert_eq!(as_session.created_at, Timestamp(100));
        assert_eq!(as_session.provider_session.as_deref(), Some("sid"));
        assert_eq!(as_session.identity.authentication.at, Some(Timestamp(40)));
        record.forget_expired(Timestamp(160));
        assert!(record.grants.is_empty());
    }

    #[test]
    fn a_form_begins_one_grant_and_a_user_so_many_in_a_while() {
        let (now, facts) = (Timestamp(1_000), Facts::of(session()));
        let mut record = Record::of(&facts, now);
        let form = |number: usize| Some([u8::try_from(number).unwrap(); 16]);
        assert_eq!(record.begin([1; 16], form(0), now), Ok(()));
        let again = record.begin([2; 16], form(0), now);
        assert_eq!(again, Err(TooLate::Used([1; 16])));
        for number in 1..MOST_BEGUN {
            assert_eq!(record.begin([1; 16], form(number), now), Ok(()));
        }
        let one_more = record.begin([1; 16], form(MOST_BEGUN), now.after(LATELY / 2));
        assert_eq!(one_more, Err(TooLate::TooMany(LATELY / 2)));
        // Exchanges are counted apart, and need no form.
        for _ in 0..MOST_BEGUN {
            assert_eq!(record.begin([1; 16], None, now), Ok(()));
        }
        assert!(record.begin([1; 16], None, now).is_err());
        assert_eq!(record.end(), Some(now.after(LATELY)));
        record.forget_expired(now.after(LATELY));
        assert_eq!(record.begin([1; 16], form(0), now.after(LATELY)), Ok(()));
        assert_eq!(record.begin([1; 16], None, now.after(LATELY)), Ok(()));
    }

    #[test]
    fn the_one_unused_for_longest_makes_room() {
        let mut record = Record::of(&Facts::of(session()), Timestamp(60));
        record.grants = vec![kept(1, 30), kept(2, 10), kept(3, 20)];
        let gone = record.make_room(2, "another");
        assert_eq!(
            gone.iter().map(|grant| grant.id[0]).collect::<Vec<_>>(),
            [2, 3]
        );
        assert!(record.make_room(5, "another").is_empty());
    }

    #[test]
    fn a_client_drives_out_its_own_grants_first() {
        let mut record = Record::of(&Facts::of(session()), Timestamp(60));
        record.grants = vec![kept(1, 10), kept(2, 20), kept(3, 30)];
        record.grants[2].client = "wiki".to_owned();
        let gone = record.make_room(3, "wiki");
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].id[0], 3);
    }

    #[test]
    fn m16_a_replaced_token_is_good_for_its_successor_a_while_and_then_a_theft() {
        let mut grant = kept(1, 100);
        let name = GrantName {
            owner: [9; 16],
            id: [1; 16],
        };
        let token =
            |generation| Presented::refresh(&token::refresh(name, generation, &grant.key)).unwrap();
        let tokens: Vec<_> = (0..5).map(token).collect();
        assert_eq!(grant.judge(&tokens[0], Timestamp(100)), None);
        grant.stage = Stage::Tokens {
            generation: 3,
            rotated_at: Timestamp(200),
            challenge: String::new(),
        };
        for (generation, at, expected) in [
            (3, 200, Refresh::Rotate),
            (3, 9_999, Refresh::Rotate),
            (2, 200, Refresh::Again),
            (2, 259, Refresh::Again),
            (2, 260, Refresh::Reused),
            (2, 199, Refresh::Again),
            (2, 140, Refresh::Again),
            (2, 139, Refresh::Reused),
            (1, 200, Refresh::Reused),
            (4, 200, Refresh::Reused),
        ] {
            assert_eq!(
                grant.judge(&tokens[generation], Timestamp(at)),
                Some(expected),
                "{generation} at {at}"
            );
        }
    }
}
