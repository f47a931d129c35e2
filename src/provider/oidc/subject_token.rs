//! Tokens of the issuer that a client brings for one of the gate's own: ID tokens like those of a login, and access tokens of the gate's
//! client.

use serde_json::{Map, Value};

use super::{
    Oidc,
    id_token::{self, Expected, TYPES},
    metadata::Metadata,
};
use crate::{
    clock::Timestamp,
    jose::{self, Audience, Caller, JwtError, LEEWAY, text, time},
    provider::{
        Call, FRESH, ProviderError, Subject, SubjectToken,
        bearer::{self, SignedFlaw, TokenFlaw},
        http::HttpError,
        subject_token,
    },
    text::Text,
};

impl Oidc {
    /// Whom a token proves that the gate's own client has got.
    pub(super) async fn proven_subject(
        &self,
        token: SubjectToken<'_>,
        now: Timestamp,
    ) -> Result<Subject, ProviderError> {
        let (SubjectToken::Access(token_text) | SubjectToken::Id(token_text)) = token;
        if token_text.len() > bearer::LONGEST {
            return Err(JwtError::TooLarge.into());
        }
        let metadata = self.discovery.obtain().await?;
        match token {
            SubjectToken::Id(token) => self.subject_of_id_token(&metadata, token, now).await,
            SubjectToken::Access(token) => {
                self.subject_of_access_token(&metadata, token, now).await
            }
        }
    }

    /// As at a login, but nobody knows with which `nonce` and access token it came. So it has to be fresh.
    async fn subject_of_id_token(
        &self,
        metadata: &Metadata,
        token: &str,
        now: Timestamp,
    ) -> Result<Subject, ProviderError> {
        let (client_id, lent_to) = (self.client.id(), self.vendor_profile.lends_audience);
        let audience = if lent_to.is_some() {
            Audience::OnlyClient(client_id)
        } else {
            Audience::Client(client_id)
        };
        let expected = Expected {
            signer: self.signer(metadata, now),
            audience,
            nonce: None,
            access_token: None,
        };
        // What is no token for us has nobody asked for keys.
        let look = jose::unverified(token, &expected.signer.expects(&TYPES, audience))?;
        let issued_at = time(&look.claims, "iat").ok_or(JwtError::IssuedAt)?;
        if now > issued_at.after(FRESH).after(LEEWAY) || bearer::is_other(&look.claims) {
            return Err(JwtError::IssuedAt.into());
        }
        if !bearer::may_be_id_token_of(&look, client_id, lent_to) {
            return Err(JwtError::Type.into());
        }
        let claims = {
            let _place = self
                .bringers
                .try_acquire()
                .map_err(|_| crowded(Call::Keys))?;
            self.with_keys(metadata, Caller::Stranger, |keys| {
                let verified = id_token::verify(token, keys, &expected);
                verified.map_err(|error| (error.into(), error.rotation()))
            })
            .await?
        };
        check_nobody_acts(&claims)?;
        let authentication = id_token::authentication(&claims);
        let provider_session = session_of(&claims);
        let mut identity = self
            .bearer_identity(metadata, claims, token, (false, false))
            .await?;
        identity.authentication = authentication.no_later_than(now);
        Ok(Subject {
            identity,
            issued_at: Some(issued_at),
            known_at: issued_at.min(now),
            provider_session,
        })
    }

    /// One that is signed names its client; of any other the provider says which that is.
    async fn subject_of_access_token(
        &self,
        metadata: &Metadata,
        token: &str,
        now: Timestamp,
    ) -> Result<Subject, ProviderError> {
        let client_id = self.client.id();
        let terms = subject_token::terms(client_id);
        let is_signed = self.vendor_profile.token_info.is_none()
            && token.starts_with("ey")
            && token.split('.').count() == 3;
        let mut claims = if is_signed {
            let audience = Audience::Party(client_id);
            let signed = self.signed_bearer(&terms, audience, metadata, token, now);
            let signed = signed.await?;
            // An ID token that names its client is bound to be fresh, and to come once: it is to be brought as what it is.
            if bearer::is_for_client(&signed, client_id)
                && bearer::may_be_id_token_of(
                    &signed,
                    client_id,
                    self.vendor_profile.lends_audience,
                )
            {
                return Err(SignedFlaw::Jwt(JwtError::Type).into());
            }
            signed.claims
        } else {
            let mut answer = self.introspected(metadata, token, now).await?;
            // That names what the client wanted it for; who got it is what counts.
            answer.remove("aud");
            self.check_answer(&terms, metadata, &answer, now)?;
            answer
        };
        if bearer::settle_subject(&mut claims, self.vendor_profile.nameless) {
            return Err(TokenFlaw::Nobody.into());
        }
        let (provider_session, issued_at) = (session_of(&claims), time(&claims, "iat"));
        check_nobody_acts(&claims)?;
        let mut scopes = bearer::scopes(&claims).into_iter();
        let asks = scopes.any(|scope| *scope == *"openid");
        // What is signed says what was so then; only what the provider is asked says what is so now.
        let known_at = issued_at.filter(|at| is_signed && !asks && *at < now);
        let identity = self
            .bearer_identity(metadata, claims, token, (false, asks))
            .await?;
        Ok(Subject {
            identity,
            issued_at,
            known_at: known_at.unwrap_or(now),
            provider_session,
        })
    }
}

/// Somebody for whom another acts (RFC 8693 §4.1) has brought nothing themselves.
fn check_nobody_acts(claims: &Map<String, Value>) -> Result<(), ProviderError> {
    if claims.contains_key("act") {
        return Err(TokenFlaw::Kind.into());
    }
    Ok(())
}

fn session_of(claims: &Map<String, Value>) -> Option<Text> {
    text(claims, "sid").map(Text::from)
}

fn crowded(call: Call) -> ProviderError {
    let error = HttpError::Crowded;
    ProviderError::Http { call, error }
}
