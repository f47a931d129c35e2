//! Revokes tokens (RFC 7009).

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use serde_json::Value;
use url::form_urlencoded;

use super::{OAuthClient, TokenEndpoint, authenticated_form};
use crate::{
    provider::{Call, HttpClient, ProviderError, http::HttpError},
    tokens::Tokens,
};

impl OAuthClient {
    /// Takes tokens back (RFC 7009 §2.1): the refresh token, with which the others go, or else the access token. (The
    /// crate's own request is for https alone, which loopback is not.)
    pub(in crate::provider) async fn revoke(
        &self,
        http: &HttpClient,
        endpoint: &TokenEndpoint<'_>,
        tokens: &Tokens,
    ) -> Result<(), ProviderError> {
        let (hint, token) = match (&tokens.refresh, &tokens.access) {
            (Some(token), _) => ("refresh_token", token),
            (None, Some(token)) => ("access_token", token),
            (None, None) => return Ok(()),
        };
        send_revocation(http, self.revocation(endpoint, token, hint)).await
    }

    fn revocation(
        &self,
        endpoint: &TokenEndpoint<'_>,
        token: &str,
        hint: &str,
    ) -> http::Result<Request<Bytes>> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("token", token)
            .append_pair("token_type_hint", hint);
        authenticated_form(&self.id, self.secret(), endpoint, form)
    }
}

/// Sends a request that takes a token back. One that is not known any more is as good as taken back (RFC 7009 §2.2);
/// Google and GitHub say so by an error.
pub(in crate::provider) async fn send_revocation(
    http: &HttpClient,
    request: http::Result<Request<Bytes>>,
) -> Result<(), ProviderError> {
    let failed = |error| ProviderError::Http {
        call: Call::Revocation,
        error,
    };
    let request = request.map_err(|_| failed(HttpError::ForbiddenUrl))?;
    let response = http.send(request).await.map_err(failed)?;
    let is_unknown = || {
        let error = serde_json::from_slice::<Value>(response.body()).ok();
        error.is_some_and(|error| error.get("error") == Some(&Value::from("invalid_token")))
    };
    match response.status() {
        status if status.is_success() => Ok(()),
        StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY => Ok(()),
        StatusCode::BAD_REQUEST if is_unknown() => Ok(()),
        status => Err(failed(HttpError::Status(status))),
    }
}

/// RFC 6749 §2.3.1: both are encoded as in a form first.
pub(in crate::provider) fn basic(id: &str, secret: &str) -> HeaderValue {
    let encode =
        |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let pair = STANDARD.encode(format!("{}:{}", encode(id), encode(secret)));
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).expect("base64 is header text");
    value.set_sensitive(true);
    value
}
