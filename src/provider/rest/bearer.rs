//! Bearer tokens of providers of plain OAuth 2.0: the provider is asked whether one is good and whose app's it is, and then
//! who holds it, as after a login.

use serde_json::{Map, Value};

use super::{Rest, UserLookup};
use crate::{
    clock::Timestamp,
    credential::{Proof, Verified, Voucher},
    identity::Identity,
    jose::{text, time},
    provider::{
        BearerMatch, Call, ProviderError, Subject, SubjectToken,
        bearer::{self, BearerSettings, Nameless, TokenFlaw},
        http::HttpError,
        introspection,
        oauth::{PLAIN, TokenEndpoint},
        subject_token,
        token_info::Question,
    },
    text::Text,
    tokens::Tokens,
};

impl<D: UserLookup> Rest<D> {
    /// Whether a token of the issuer `iss` is one of ours to judge; one of no known issuer where there is none.
    pub(super) fn bearer_match(&self, token: &str, iss: Option<&str>) -> BearerMatch {
        match (&self.bearer, self.token_info) {
            (None, _) => BearerMatch::None,
            (Some(_), Some(way)) if (way.recognises)(token) => BearerMatch::Certain,
            // Theirs are opaque.
            (Some(_), Some(_)) if iss.is_some() => BearerMatch::None,
            (Some(_), _) => BearerMatch::Possible,
        }
    }

    /// Whom `token` proves.
    pub(super) async fn proven_bearer(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Verified, ProviderError> {
        let bearer = self.bearer.as_ref().ok_or(TokenFlaw::Issuer)?;
        let crowded = |_| ProviderError::Http {
            call: Call::Introspection,
            error: HttpError::Crowded,
        };
        let _place = self.bringers.try_acquire().map_err(crowded)?;
        let mut answer = self.introspected(token, now).await?;
        self.check_answer(bearer, &answer, now)?;
        let (scopes, client) = (bearer::scopes(&answer), bearer::client(&answer));
        let expires_at = time(&answer, "exp");
        let is_client = bearer::settle_subject(&mut answer, Nameless::Client);
        let subject = text(&answer, "sub").map(str::to_owned);
        let identity = match (is_client, subject) {
            (true, Some(subject)) => self.client_identity(answer, &subject)?,
            (_, subject) => self.person(token, subject.as_deref(), now).await?,
        };
        Ok(Verified {
            identity,
            tokens: Tokens::default(),
            proof: Proof::Bearer,
            scopes: Some(scopes),
            client,
            expires_at,
            voucher: Voucher::of(Proof::Bearer),
            routes: None,
            grant: None,
            opener: None,
        })
    }

    /// Whom an access token proves that the gate's own client has got.
    pub(super) async fn proven_subject(
        &self,
        token: SubjectToken<'_>,
        now: Timestamp,
    ) -> Result<Subject, ProviderError> {
        let SubjectToken::Access(token) = token else {
            return Err(TokenFlaw::Kind.into());
        };
        if token.len() > bearer::LONGEST {
            return Err(TokenFlaw::Unreadable.into());
        }
        let crowded = |_| ProviderError::Http {
            call: Call::Introspection,
            error: HttpError::Crowded,
        };
        let _place = self.bringers.try_acquire().map_err(crowded)?;
        let mut answer = self.introspected(token, now).await?;
        // That names what the client wanted it for; who got it is what counts.
        answer.remove("aud");
        self.check_answer(&subject_token::terms(self.client.id()), &answer, now)?;
        if bearer::settle_subject(&mut answer, Nameless::Client) {
            return Err(TokenFlaw::Nobody.into());
        }
        let subject = text(&answer, "sub").map(str::to_owned);
        Ok(Subject {
            identity: self.person(token, subject.as_deref(), now).await?,
            issued_at: time(&answer, "iat"),
            known_at: now,
            provider_session: None,
        })
    }

    async fn introspected(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Map<String, Value>, ProviderError> {
        let url = self.introspection_url.as_ref().ok_or(TokenFlaw::Issuer)?;
        if let Some(way) = self.token_info {
            let question = Question {
                url,
                token,
                client_id: self.client.id(),
                client_secret: self.client.secret(),
            };
            way.ask(&self.introspection_http, &question, now).await
        } else {
            let endpoint = TokenEndpoint {
                url,
                ..self.token_endpoint()
            };
            let response =
                self.client
                    .introspect(&self.introspection_http, &endpoint, token, PLAIN);
            Ok(introspection::read(response.await?.body())?)
        }
    }

    fn check_answer(
        &self,
        bearer: &BearerSettings,
        answer: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<(), TokenFlaw> {
        let expected = introspection::Expected {
            bearer,
            client_id: self.client.id(),
            // Such a server has no name that the configuration could know.
            issues: &|_| true,
            now,
        };
        expected.check(answer)
    }

    /// Who holds the token, as after a login. Where the provider's own word on the token names somebody, it is them.
    async fn person(
        &self,
        token: &str,
        subject: Option<&str>,
        now: Timestamp,
    ) -> Result<Identity, ProviderError> {
        let (identity, _) = self.holder(token, now).await?;
        let is_them = |subject: &str| self.token_info.is_none() || *identity.subject == *subject;
        if subject.is_none_or(is_them) {
            Ok(identity)
        } else {
            Err(TokenFlaw::Unreadable.into())
        }
    }

    /// A client that stands there for itself. Claims of the answer may let it pass.
    fn client_identity(
        &self,
        mut answer: Map<String, Value>,
        subject: &str,
    ) -> Result<Identity, ProviderError> {
        let path = &self.rules.names().subject;
        let mut parts = path.rsplit('.');
        let last = parts.next().unwrap_or_default();
        let mut value = Value::from(subject);
        let mut name = last;
        for part in parts {
            value = Value::Object([(name.to_owned(), value)].into_iter().collect());
            name = part;
        }
        answer.insert(name.to_owned(), value);
        let mut identity = self.rules.client_with(&answer, Vec::new())?;
        identity.subject = Text::from(subject);
        Ok(identity)
    }
}

#[cfg(test)]
mod tests;
