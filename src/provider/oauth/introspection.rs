//! Asks a provider about a token that somebody else brought (RFC 7662 §2.1).

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::ACCEPT};
use url::form_urlencoded;

use super::{OAuthClient, TokenEndpoint, authenticated_form};
use crate::provider::{Call, HttpClient, ProviderError, http::HttpError};

const CALL: Call = Call::Introspection;
/// The type of an answer that is not signed.
pub(in crate::provider) const PLAIN: &str = "application/json";

impl OAuthClient {
    /// The answer about `token`, of status 200; one that is of the type `accept`, if the provider has it.
    ///
    /// # Errors
    /// That there is none. The token is not to blame for that.
    pub(in crate::provider) async fn introspect(
        &self,
        http: &HttpClient,
        endpoint: &TokenEndpoint<'_>,
        token: &str,
        accept: &'static str,
    ) -> Result<Response<Bytes>, ProviderError> {
        let first = self.working.load(Ordering::Relaxed);
        let mut answer = self
            .introspect_as(first, http, endpoint, token, accept)
            .await;
        for other in (0..self.secrets.len()).filter(|&other| other != first) {
            if !matches!(&answer, Err(error) if is_refused(error)) {
                break;
            }
            answer = self
                .introspect_as(other, http, endpoint, token, accept)
                .await;
            if answer.is_ok() {
                self.working.store(other, Ordering::Relaxed);
            }
        }
        answer
    }

    async fn introspect_as(
        &self,
        secret: usize,
        http: &HttpClient,
        endpoint: &TokenEndpoint<'_>,
        token: &str,
        accept: &'static str,
    ) -> Result<Response<Bytes>, ProviderError> {
        let secret = self.secrets.get(secret);
        let secret = secret.map(|secret| secret.secret().as_str());
        let request = about(&self.id, secret, endpoint, token);
        let mut request = request.map_err(|_| http_error(HttpError::ForbiddenUrl))?;
        let accept = HeaderValue::from_static(accept);
        request.headers_mut().insert(ACCEPT, accept);
        let response = http.send(request).await.map_err(http_error)?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => Err(http_error(HttpError::Status(status))),
        }
    }
}

fn about(
    id: &str,
    secret: Option<&str>,
    endpoint: &TokenEndpoint<'_>,
    token: &str,
) -> http::Result<Request<Bytes>> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("token", token)
        .append_pair("token_type_hint", "access_token");
    authenticated_form(id, secret, endpoint, form)
}

fn http_error(error: HttpError) -> ProviderError {
    ProviderError::Http { call: CALL, error }
}

/// Whether the client's secret may be the reason: django-oauth-toolkit answers a wrong one with 403.
fn is_refused(error: &ProviderError) -> bool {
    matches!(
        error,
        ProviderError::Http {
            error: HttpError::Status(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
            ..
        }
    )
}
