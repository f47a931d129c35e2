//! Checks whether the token endpoint accepts the client secret, with a code that does not exist. An endpoint that accepts the client
//! refuses the code. One that does not refuses the client (RFC 6749 §5.2), before it looks at the code.

use url::Url;

use super::{ClientAuthentication, OAuthClient, Spent, TokenEndpoint};
use crate::{
    clock,
    hex::hex,
    provider::{ClientTrial, CodeGrant, HttpClient, ProviderError},
    random,
};

impl OAuthClient {
    /// One trial for each secret, or one without. Nothing is spent, and no secret is remembered as the working one.
    pub(in crate::provider) async fn try_secrets(
        &self,
        http: &HttpClient,
        endpoint: &TokenEndpoint<'_>,
        redirect_uri: &Url,
    ) -> Vec<ClientTrial> {
        let mut trials = Vec::new();
        for secret in 0..self.secrets.len().max(1) {
            let outcome = self.try_secret(secret, http, endpoint, redirect_uri).await;
            let is_refused = outcome
                .as_ref()
                .is_err_and(ProviderError::is_invalid_client);
            let mut other_way = None;
            if is_refused && !self.secrets.is_empty() {
                let other = match endpoint.authentication {
                    ClientAuthentication::Basic => ClientAuthentication::Post,
                    ClientAuthentication::Post => ClientAuthentication::Basic,
                };
                let endpoint = TokenEndpoint {
                    authentication: other,
                    ..*endpoint
                };
                let second = self.try_secret(secret, http, &endpoint, redirect_uri).await;
                other_way = second.is_ok().then_some(other);
            }
            trials.push(ClientTrial { outcome, other_way });
        }
        trials
    }

    async fn try_secret(
        &self,
        secret: usize,
        http: &HttpClient,
        endpoint: &TokenEndpoint<'_>,
        redirect_uri: &Url,
    ) -> Result<(), ProviderError> {
        // Made anew each time, and of a kind that no provider makes.
        let made_up = hex(&random::bytes::<16>());
        let now = clock::now();
        let grant = CodeGrant {
            code: &format!("sidegate-check-{made_up}"),
            redirect_uri,
            // RFC 7636 §4.1: 43 characters at least.
            pkce_verifier: &format!("sidegate-check-{made_up}"),
            nonce: "",
            now,
        };
        let spent = Spent::Code(&grant);
        match self.spend_as(secret, http, endpoint, &spent, now).await {
            Err(error) if !error.is_invalid_grant() => Err(error),
            _ => Ok(()),
        }
    }
}
