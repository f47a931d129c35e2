//! `[[service_tokens]]`: machines that the configuration names.

use std::{collections::HashMap, sync::Arc, time::Instant};

use super::{
    Guesses,
    format::{Hash, Token},
    is_one, presented,
    settings::{SERVICE, ServiceToken},
};
use crate::{
    credential::{
        Answer, Authenticator, Caller, Presented, Proof, Refused, Schemes, Verified, Voucher,
    },
    identity::Identity,
    text::Text,
    tokens::Tokens,
};

/// The service tokens of one configuration. Whoever finds nothing here asks on where there are API tokens, and is
/// refused where there are none.
pub struct ServiceTokens {
    /// By the hash. A look-up takes more or less time by what is hashed alike, which tells nothing of any token.
    known: HashMap<Hash, Arc<Verified>>,
    guesses: Arc<Guesses>,
    is_last: bool,
}

impl ServiceTokens {
    /// Of these. `is_last` is whether nobody else knows tokens of ours.
    pub fn new(tokens: &[ServiceToken], guesses: Arc<Guesses>, is_last: bool) -> Self {
        let known = |token: &ServiceToken| (token.hash, Arc::new(verified(token)));
        Self {
            known: tokens.iter().map(known).collect(),
            guesses,
            is_last,
        }
    }
}

fn verified(token: &ServiceToken) -> Verified {
    let texts = |list: &[String]| list.iter().map(|text| Text::from(text.as_str())).collect();
    Verified {
        identity: Identity {
            login: Some(token.name.as_str().into()),
            groups: texts(&token.groups),
            ..Identity::of(SERVICE, &token.name)
        },
        tokens: Tokens::default(),
        proof: Proof::ServiceToken,
        scopes: Some(texts(&token.scopes)),
        client: Some(token.name.as_str().into()),
        expires_at: None,
        voucher: Voucher::of(Proof::ServiceToken),
        routes: None,
        grant: None,
        opener: Some(token.opener()),
    }
}

impl Authenticator for ServiceTokens {
    fn schemes(&self) -> Schemes {
        Schemes {
            bearer: true,
            basic: true,
        }
    }

    fn is_of_own_tokens(&self) -> bool {
        true
    }

    fn recognises(&self, presented: &Presented<'_>) -> bool {
        is_one(presented)
    }

    fn authenticate<'a>(&'a self, credential: &'a Presented<'_>, caller: Caller) -> Answer<'a> {
        let Some(text) = presented(credential) else {
            return Answer::NotMine;
        };
        let token = Token::parse(text);
        if let Some(known) = token.and_then(|token| self.known.get(&token.hash())) {
            return Answer::Known(Ok(Arc::clone(known)));
        }
        if !self.is_last {
            return Answer::NotMine;
        }
        let why = match token {
            Some(token) => format!("no service token {}…", token.start()),
            None => "a token with a wrong checksum".to_owned(),
        };
        let counted = self.guesses.count(caller, Instant::now());
        Answer::Known(counted.and(Err(Refused::Invalid(why))))
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

    use super::{super::format, *};
    use crate::clock::Timestamp;

    fn ask(tokens: &ServiceTokens, authorization: &str) -> Option<Result<String, Refused>> {
        let value = HeaderValue::from_str(authorization).unwrap();
        let headers: HeaderMap = [(AUTHORIZATION, value)].into_iter().collect();
        let presented = Presented::read(&headers, tokens.schemes()).ok().unwrap();
        let caller = Caller {
            address: None,
            now: Timestamp(0),
        };
        match tokens.authenticate(&presented, caller) {
            Answer::Known(known) => Some(known.map(|known| known.identity.subject.to_string())),
            _ => None,
        }
    }

    #[test]
    fn a_machine_is_known_by_its_token_alone() {
        use base64::{Engine as _, engine::general_purpose::STANDARD};

        let text = format::generate([1; 32]);
        let service = ServiceToken {
            name: "ci".to_owned(),
            hash: format::hash(&text),
            scopes: vec!["read".to_owned()],
            groups: vec!["builders".to_owned()],
        };
        let tokens =
            |is_last| ServiceTokens::new(std::slice::from_ref(&service), Arc::default(), is_last);
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        let (first, last) = (tokens(false), tokens(true));
        let ci = Some(Ok("ci".to_owned()));
        assert_eq!(ask(&first, &format!("Bearer {}", &*text)), ci);
        assert_eq!(ask(&first, &basic(&format!("git:{}", &*text))), ci);
        assert_eq!(ask(&first, &basic(&format!("{}:", &*text))), ci);
        assert_eq!(
            ask(&first, &basic(&format!("{}:x-oauth-basic", &*text))),
            ci
        );
        assert_eq!(ask(&last, "Bearer eyJhbGciOiJub25lIn0.e30."), None);
        assert_eq!(ask(&last, &basic("ada:password")), None);

        let other = format::generate([2; 32]);
        for wrong in [format!("Bearer {}", &*other), format!("Bearer {}0", &*text)] {
            assert_eq!(ask(&first, &wrong), None, "{wrong}");
            let refused = ask(&last, &wrong).unwrap().unwrap_err();
            let Refused::Invalid(why) = refused else {
                panic!("{refused:?}");
            };
            assert!(!why.contains(&text[10..]), "{why}");
        }
    }
}
