//! Bearer tokens of the issuer: checked with its keys (RFC 9068 §4), and then read like the ID token of a login.

use bytes::Bytes;
use http::Response;
use serde_json::{Map, Value};

use super::{Oidc, identity::Completed, metadata::Metadata};
use crate::{
    clock::Timestamp,
    credential::{Proof, Verified, Voucher},
    identity::Identity,
    jose::{self, Audience, Caller, Expected, JwtError, time},
    provider::{
        BearerMatch, Call, ProviderError,
        bearer::{self, BearerSettings, SignedFlaw, TokenFlaw},
        error::printable,
        http::HttpError,
        introspection,
        oauth::{PLAIN, TokenEndpoint},
        token_info::Question,
    },
    tokens::Tokens,
};

impl Oidc {
    /// Whether a token of the issuer `iss` is one of ours to judge; one of no known issuer where there is none.
    pub(super) fn bearer_match(&self, token: &str, iss: Option<&str>) -> BearerMatch {
        let Some(bearer) = &self.bearer else {
            return BearerMatch::None;
        };
        let known = self.discovery.current();
        let issuer = known
            .as_ref()
            .map_or_else(|| self.discovery.issuer(), |metadata| &metadata.issuer);
        match iss {
            Some(iss) if (self.vendor_profile.bearer_issues)(issuer, iss) => BearerMatch::Certain,
            None if bearer.introspect => match self.vendor_profile.token_info {
                Some(way) if (way.recognises)(token) => BearerMatch::Certain,
                _ => BearerMatch::Possible,
            },
            _ => BearerMatch::None,
        }
    }

    /// Whom `token` proves.
    pub(super) async fn proven_bearer(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Verified, ProviderError> {
        let bearer = self.bearer.as_ref().ok_or(TokenFlaw::Issuer)?;
        if token.len() > bearer::LONGEST {
            return Err(SignedFlaw::Jwt(JwtError::TooLarge).into());
        }
        let metadata = self.discovery.obtain().await?;
        // What asks in its own way takes no signed tokens; where they count, they are ID tokens.
        let is_signed = self.vendor_profile.token_info.is_some()
            && token.contains('.')
            && token.starts_with("eyJ");
        let claims = if bearer.introspect && !is_signed {
            let answer = self.introspected(&metadata, token, now).await?;
            self.check_answer(bearer, &metadata, &answer, now)?;
            answer
        } else {
            let audience = bearer.expected_audience();
            let signed = self.signed_bearer(bearer, audience, &metadata, token, now);
            let signed = signed.await.map_err(|error| match error {
                ProviderError::Bearer(SignedFlaw::Jwt(flaw)) => {
                    explained(bearer, flaw, token).into()
                }
                error => error,
            });
            signed?.claims
        };
        self.proven(&metadata, claims, token).await
    }

    /// What `token` says, all checks passed.
    pub(super) async fn signed_bearer(
        &self,
        bearer: &BearerSettings,
        audience: Audience<'_>,
        metadata: &Metadata,
        token: &str,
        now: Timestamp,
    ) -> Result<jose::Verified, ProviderError> {
        let expected = Expected {
            issuer: &metadata.issuer,
            issues: self.vendor_profile.bearer_issues,
            algorithms: if bearer.algorithms.is_empty() {
                &metadata.algorithms
            } else {
                &bearer.algorithms
            },
            types: &bearer::TYPES,
            audience,
            max_age: None,
            may_lack_exp: false,
            now,
        };
        // What is no token for us has nobody asked for keys.
        let look = jose::unverified(token, &expected);
        look.and_then(|token| bearer.check(&token))
            .map_err(SignedFlaw::Jwt)?;
        let crowded = |_| ProviderError::Http {
            call: Call::Keys,
            error: HttpError::Crowded,
        };
        let _place = self.bringers.try_acquire().map_err(crowded)?;
        let verified = self.with_keys(metadata, Caller::Stranger, |keys| {
            let verified = jose::verify(token, keys, &expected);
            verified.map_err(|error| (SignedFlaw::Jwt(error).into(), error.rotation()))
        });
        let verified = verified.await?;
        bearer.check(&verified).map_err(SignedFlaw::Jwt)?;
        Ok(verified)
    }

    /// What the provider says of `token`, whatever it is.
    pub(super) async fn introspected(
        &self,
        metadata: &Metadata,
        token: &str,
        now: Timestamp,
    ) -> Result<Map<String, Value>, ProviderError> {
        let call = Call::Introspection;
        let crowded = |_| ProviderError::Http {
            call,
            error: HttpError::Crowded,
        };
        let _place = self.bringers.try_acquire().map_err(crowded)?;
        let own = self.vendor_profile.token_info.zip(self.token_info.as_ref());
        if let Some((way, url)) = own {
            let question = Question {
                url,
                token,
                client_id: self.client.id(),
                client_secret: self.client.secret(),
            };
            way.ask(&self.introspection_http, &question, now).await
        } else {
            let problem = "the provider's document has no introspection_endpoint; introspection_url may say where it is";
            let nowhere = || ProviderError::Answer { call, problem };
            let endpoint = TokenEndpoint {
                url: metadata
                    .introspection_endpoint
                    .as_ref()
                    .ok_or_else(nowhere)?,
                ..self.token_endpoint(metadata)
            };
            let has_to_sign = self.bearer.as_ref().filter(|bearer| bearer.signed_answers);
            let accept = has_to_sign.map_or(PLAIN, |_| introspection::SIGNED);
            let http = &self.introspection_http;
            let response = self.client.introspect(http, &endpoint, token, accept);
            let response = response.await?;
            match has_to_sign {
                None => Ok(introspection::read(response.body())?),
                Some(_) if !introspection::is_signed(response.headers()) => {
                    let problem = "the answer is not signed (RFC 9701), and signed_answers asks for that; see that the provider knows \
                                   introspection_signed_response_alg of this client, or take signed_answers out";
                    Err(ProviderError::Answer { call, problem })
                }
                Some(bearer) => self.signed_answer(bearer, metadata, &response, now).await,
            }
        }
    }

    /// What the provider has signed of a token. If the signature does not hold, the token is not to blame.
    async fn signed_answer(
        &self,
        bearer: &BearerSettings,
        metadata: &Metadata,
        response: &Response<Bytes>,
        now: Timestamp,
    ) -> Result<Map<String, Value>, ProviderError> {
        let audience = [self.client.id().to_owned()];
        let expected = Expected {
            issuer: &metadata.issuer,
            issues: self.vendor_profile.issues,
            algorithms: if bearer.algorithms.is_empty() {
                &metadata.answer_algorithms
            } else {
                &bearer.algorithms
            },
            types: &introspection::SIGNED_TYPES,
            audience: Audience::Resource(&audience),
            max_age: Some(introspection::ANSWER_AGE),
            may_lack_exp: true,
            now,
        };
        self.with_keys(metadata, Caller::Login, |keys| {
            let answer = introspection::read_signed(response.body(), keys, &expected);
            answer.map_err(|error| {
                let rotation = error.rotation();
                (ProviderError::SignedAnswer(error), rotation)
            })
        })
        .await
    }

    /// Whether what the provider says of a token is enough.
    pub(super) fn check_answer(
        &self,
        bearer: &BearerSettings,
        metadata: &Metadata,
        answer: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<(), TokenFlaw> {
        let expected = introspection::Expected {
            bearer,
            client_id: self.client.id(),
            issues: &|iss| (self.vendor_profile.bearer_issues)(&metadata.issuer, iss),
            now,
        };
        expected.check(answer)
    }

    /// Whom checked `claims` of `token` prove.
    async fn proven(
        &self,
        metadata: &Metadata,
        mut claims: Map<String, Value>,
        token: &str,
    ) -> Result<Verified, ProviderError> {
        let (scopes, client) = (bearer::scopes(&claims), bearer::client(&claims));
        let expires_at = time(&claims, "exp");
        let is_client = bearer::settle_subject(&mut claims, self.vendor_profile.nameless);
        let asks = !is_client && scopes.iter().any(|scope| **scope == *"openid");
        let identity = self
            .bearer_identity(metadata, claims, token, (is_client, asks))
            .await?;
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

    /// Who it is, as a login would have it: by the token, and by userinfo where the token is for that (OpenID Connect Core
    /// §5.3) and something is missing.
    pub(super) async fn bearer_identity(
        &self,
        metadata: &Metadata,
        mut claims: Map<String, Value>,
        token: &str,
        (is_client, asks_userinfo): (bool, bool),
    ) -> Result<Identity, ProviderError> {
        let is_nameless = !claims.contains_key("sub");
        if is_nameless {
            claims = self.with_subject(metadata, claims, token).await?;
        }
        let reported = (self.vendor_profile.read)(&mut claims)?;
        let token_subject = self.token_subject(&claims);
        if asks_userinfo && !is_nameless {
            let Completed { claims: whole, .. } =
                self.completed(metadata, claims, token, None).await?;
            claims = whole;
        }
        if self.bearer.as_ref().is_some_and(|bearer| bearer.introspect) {
            introspection::settle_name(&mut claims);
        }
        self.check_whole(&claims)?;
        let mut identity = if is_client {
            self.rules.client_with(&claims, reported)?
        } else {
            self.rules.identity_with(&claims, reported)?
        };
        identity.notes.token_subject = token_subject;
        Ok(identity)
    }
}

/// A flaw of `token` in the words of the settings that would accept it.
fn explained(bearer: &BearerSettings, flaw: JwtError, token: &str) -> SignedFlaw {
    let claims: Map<String, Value> = jose::claimed(token).unwrap_or_default();
    match flaw {
        JwtError::Audience => {
            let named = jose::audience(&claims).into_iter().flatten();
            let named = named.filter_map(|name| printable(name, LONGEST_TOLD));
            let named: Vec<String> = named.take(MOST_TOLD).collect();
            SignedFlaw::Audience(match &named[..] {
                [] => "missing".to_owned(),
                named => format!("\"{}\"", named.join("\", \"")),
            })
        }
        JwtError::Type if !bearer.accept_id_tokens && !bearer::is_other(&claims) => {
            SignedFlaw::IdToken
        }
        JwtError::AuthorizedParty if !bearer.clients.is_empty() => SignedFlaw::Client,
        flaw => flaw.into(),
    }
}

/// Audiences of a token that are told.
const MOST_TOLD: usize = 5;
/// Letters of each.
const LONGEST_TOLD: usize = 200;

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;

    /// Whoever reads the log learns what the token has in the place of what is wanted.
    #[test]
    fn a_refusal_names_the_key_that_would_accept_the_token() {
        let settings = |clients: &[&str]| BearerSettings {
            clients: clients.iter().map(ToString::to_string).collect(),
            ..BearerSettings::for_test()
        };
        let told = |clients: &[&str], flaw, claims: Value| {
            let token = format!("e30.{}.", URL_SAFE_NO_PAD.encode(claims.to_string()));
            explained(&settings(clients), flaw, &token).to_string()
        };
        for (claims, expected) in [
            (
                json!({ "aud": "wrong\n" }),
                "aud is \"wrong\", and bearer.audience does not have it",
            ),
            (
                json!({ "aud": ["a", "b"] }),
                "aud is \"a\", \"b\", and bearer.audience does not have it",
            ),
            (
                json!({}),
                "aud is missing, and bearer.audience does not have it",
            ),
        ] {
            assert_eq!(told(&[], JwtError::Audience, claims), expected);
        }
        let id_token = told(&[], JwtError::Type, json!({}));
        assert!(id_token.contains("accept_id_tokens = true"), "{id_token}");
        let bound = told(&[], JwtError::Type, json!({ "cnf": {} }));
        assert_eq!(bound, JwtError::Type.to_string());
        let other = told(&["cli"], JwtError::AuthorizedParty, json!({ "azp": "x" }));
        assert!(other.contains("bearer.clients"), "{other}");
        let over = told(&[], JwtError::Expired, json!({}));
        assert_eq!(over, JwtError::Expired.to_string());
    }
}
