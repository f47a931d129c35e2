//! Verifies tokens that the provider signs with its keys, and fetches newer keys after a rotation.

use aws_lc_rs::digest;
use serde_json::{Map, Value};

use super::{
    Oidc, access_token,
    id_token::{self, Expected},
    logout_token,
    metadata::Metadata,
    signer::{MAX_AGE, Signer},
};
use crate::{
    clock::Timestamp,
    jose::{Algorithm, Audience, Caller, JwtError, KeySet, LEEWAY, Rotation},
    provider::{Call, Logout, ProviderError, http::HttpError, token_error::LogoutTokenError},
    tokens::GrantTokens,
};

impl Oidc {
    /// The claims of the ID token among `tokens`, all checks passed.
    pub(super) async fn id_token_claims(
        &self,
        metadata: &Metadata,
        tokens: &GrantTokens,
        nonce: Option<&str>,
        now: Timestamp,
    ) -> Result<Map<String, Value>, ProviderError> {
        let token = tokens.id.as_deref().ok_or(JwtError::Missing)?;
        let expected = Expected {
            signer: self.signer(metadata, now),
            audience: Audience::Client(self.client.id()),
            nonce,
            access_token: Some(&tokens.access),
        };
        self.with_keys(metadata, Caller::Login, |keys| {
            let verified = id_token::verify(token, keys, &expected);
            verified.map_err(|error| (error.into(), error.rotation()))
        })
        .await
    }

    /// The claims of an access token of this provider's, all checks passed.
    pub(super) async fn access_token_claims(
        &self,
        metadata: &Metadata,
        token: &str,
        now: Timestamp,
    ) -> Result<Map<String, Value>, ProviderError> {
        let signer = self.signer(metadata, now);
        self.with_keys(metadata, Caller::Login, |keys| {
            let verified = access_token::verify(token, keys, &signer);
            verified.map_err(|error| {
                let rotation = error.rotation();
                (ProviderError::AccessToken(error), rotation)
            })
        })
        .await
    }

    /// Whose logout `token` tells of, by the keys at hand; none where newer ones may say otherwise.
    pub(super) fn logout_at_hand(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Option<Result<Logout, ProviderError>> {
        let known = self.discovery.current();
        // What is no logout token for us has nobody asked for anything.
        let signer = match &known {
            Some(metadata) => self.signer(metadata, now),
            None => Signer {
                issuer: "",
                issues: |_, _| true,
                client_id: self.client.id(),
                algorithms: &Algorithm::ALL,
                now,
            },
        };
        if let Err(error) = logout_token::look(token, &signer, self.has_sub_for_subject()) {
            return Some(Err(error.into()));
        }
        let keys = self.keys.fresh(&known.as_ref()?.jwks_uri)?;
        match self.verify_logout(token, &keys, &signer) {
            Err((_, Rotation::Possible | Rotation::KeyMissing)) => None,
            verified => Some(verified.map_err(|(error, _)| error)),
        }
    }

    /// The same, by keys that may have to be fetched.
    pub(super) async fn logout_claim(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Logout, ProviderError> {
        let crowded = |_| ProviderError::Http {
            call: Call::Keys,
            error: HttpError::Crowded,
        };
        let _place = self.strangers.try_acquire().map_err(crowded)?;
        let metadata = self.discovery.obtain().await?;
        let signer = self.signer(&metadata, now);
        self.with_keys(&metadata, Caller::Stranger, |keys| {
            self.verify_logout(token, keys, &signer)
        })
        .await
    }

    fn verify_logout(
        &self,
        token: &str,
        keys: &KeySet,
        signer: &Signer<'_>,
    ) -> Result<Logout, (ProviderError, Rotation)> {
        let verified = logout_token::verify(token, keys, signer, self.has_sub_for_subject());
        let verified = verified.map_err(|error| {
            let rotation = match error {
                LogoutTokenError::Token(error) => error.rotation(),
                _ => Rotation::None,
            };
            (error.into(), rotation)
        })?;
        let name = [self.profile.name.as_bytes(), &[0], verified.id.as_bytes()].concat();
        let id = digest::digest(&digest::SHA256, &name);
        Ok(Logout {
            claim: verified.claim,
            // Here the provider's clock counts, which may be behind by so much.
            not_before: verified.issued_at.after(LEEWAY).min(signer.now),
            id: *id.as_ref().first_chunk().expect("SHA-256 has 32 bytes"),
            until: signer.now.after(MAX_AGE + LEEWAY * 2),
        })
    }

    pub(super) fn signer<'m>(&'m self, metadata: &'m Metadata, now: Timestamp) -> Signer<'m> {
        Signer {
            issuer: &metadata.issuer,
            issues: self.vendor_profile.issues,
            client_id: self.client.id(),
            algorithms: &metadata.algorithms,
            now,
        }
    }

    /// Verifies with the provider's keys; once more with newer ones where the error says that they may help. Where the key is missing and
    /// newer ones cannot be had now, that is the error: of the token nobody can say anything.
    pub(super) async fn with_keys<T>(
        &self,
        metadata: &Metadata,
        caller: Caller,
        verify: impl Fn(&KeySet) -> Result<T, (ProviderError, Rotation)> + Send + Sync,
    ) -> Result<T, ProviderError> {
        let keys = self.keys.keys(&metadata.jwks_uri, caller).await?;
        let (error, rotation) = match verify(&keys) {
            Ok(verified) => return Ok(verified),
            Err((error, Rotation::None)) => return Err(error),
            Err(failed) => failed,
        };
        match self.keys.newer(&metadata.jwks_uri, &keys, caller).await {
            Ok(Some(keys)) => verify(&keys).map_err(|(error, _)| error),
            Err(unavailable) if rotation == Rotation::KeyMissing => Err(unavailable),
            Ok(None) | Err(_) => Err(error),
        }
    }
}

/// Logout tokens that wait for keys at the same time. With the keys cached nobody waits. If they must be fetched, so many cannot
/// delay a login, and a provider that sends more at once is asked to repeat them.
pub(super) const STRANGERS: usize = 16;
