//! What the user is asked to agree to, while it is on the consent page. Pure.
//!
//! It is sealed and bound to the session of the page. So another site cannot make one up, another browser cannot send it, and what the
//! page showed is what the user agrees to, even if the client's document has changed since.

use serde::{Deserialize, Serialize};

use super::{
    pushed::RequestName,
    record::{Agreement, LATELY},
};
use crate::{
    clock::Timestamp,
    session::{
        Session,
        seal::{KeyRing, Purpose},
    },
};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Consent {
    /// What is agreed upon, if it is.
    pub agreement: Agreement,
    /// Handed back to the client as it came.
    pub state: Option<String>,
    /// The pushed request that this answers, once.
    pub pushed: Option<RequestName>,
}

#[derive(Serialize, Deserialize)]
struct Written<'a> {
    expires_at: u64,
    client: &'a str,
    name: &'a str,
    redirect_uri: &'a str,
    leads_to: &'a str,
    challenge: &'a str,
    resource: &'a str,
    scopes: Vec<&'a str>,
    nonce: Option<&'a str>,
    state: Option<&'a str>,
    pushed: Option<RequestName>,
    form: Option<[u8; 16]>,
}

impl Consent {
    /// What the form of a page of this session carries.
    pub fn seal(
        &self,
        session: &Session,
        keys: &KeyRing,
        nonce: [u8; 12],
        now: Timestamp,
    ) -> String {
        let agreement = &self.agreement;
        let written = Written {
            expires_at: now.after(LASTS).0,
            client: &agreement.client,
            name: &agreement.name,
            redirect_uri: &agreement.redirect_uri,
            leads_to: &agreement.leads_to,
            challenge: &agreement.challenge,
            resource: &agreement.resource,
            scopes: agreement.scopes.iter().map(String::as_str).collect(),
            nonce: agreement.nonce.as_deref(),
            state: self.state.as_deref(),
            pushed: self.pushed,
            form: agreement.form,
        };
        let plain = postcard::to_extend(&written, vec![VERSION]).expect("a vector takes all of it");
        keys.seal(Purpose::Consent, &session.id, &plain, nonce)
    }

    /// What was asked on a page of this session, lately.
    pub fn open(text: &str, session: &Session, keys: &KeyRing, now: Timestamp) -> Option<Self> {
        let plain = keys.open(Purpose::Consent, &session.id, text)?;
        let written: Written<'_> = postcard::from_bytes(plain.strip_prefix(&[VERSION])?).ok()?;
        if now.0 >= written.expires_at {
            return None;
        }
        let agreement = Agreement {
            client: written.client.to_owned(),
            name: written.name.to_owned(),
            redirect_uri: written.redirect_uri.to_owned(),
            leads_to: written.leads_to.to_owned(),
            challenge: written.challenge.to_owned(),
            resource: written.resource.to_owned(),
            scopes: written.scopes.into_iter().map(str::to_owned).collect(),
            nonce: written.nonce.map(str::to_owned),
            form: written.form,
        };
        Some(Self {
            agreement,
            state: written.state.map(str::to_owned),
            pushed: written.pushed,
        })
    }
}

/// How long somebody may think about it.
const LASTS: std::time::Duration = LATELY;
const VERSION: u8 = 3;

#[cfg(test)]
mod tests {
    use super::{
        super::record::tests::{agreement, session},
        *,
    };
    use crate::secret::Secret;

    #[test]
    fn m7_what_is_asked_is_of_one_session_and_of_now() {
        let keys = KeyRing::new(&[Secret::new("one".to_owned())], "app.example gate");
        let consent = Consent {
            agreement: agreement(),
            state: Some("s".to_owned()),
            pushed: Some([7; 16]),
        };
        let now = Timestamp(1_000);
        let text = consent.seal(&session(), &keys, [1; 12], now);
        let opened = Consent::open(&text, &session(), &keys, now).unwrap();
        assert_eq!(opened.agreement.challenge, consent.agreement.challenge);
        assert_eq!(opened.state.as_deref(), Some("s"));
        assert_eq!(opened.pushed, consent.pushed);
        assert_eq!(opened.agreement.form, consent.agreement.form);
        let other = Session {
            id: [9; 16],
            ..session()
        };
        assert!(Consent::open(&text, &other, &keys, now).is_none());
        assert!(Consent::open(&text, &session(), &keys, now.after(LASTS)).is_none());
        assert!(Consent::open(&text[1..], &session(), &keys, now).is_none());
    }
}
