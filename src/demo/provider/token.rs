//! The token, revocation and userinfo endpoints: what applications call, not browsers.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq;

use super::{
    Provider,
    key::access_token_hash,
    vault::{Denied, Fresh, Issued, TOKEN_LIFETIME},
};
use crate::{
    clock::{self, Timestamp},
    demo::{
        page,
        server::{Response, empty},
    },
    issuer::parameters::{Parameters, Repeated},
    random,
};

/// An error of RFC 6749 §5.2.
#[derive(Debug, PartialEq, Eq)]
struct TokenError {
    status: StatusCode,
    error: &'static str,
    description: &'static str,
}

impl TokenError {
    const fn new(error: &'static str, description: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error,
            description,
        }
    }

    const CLIENT: Self = Self {
        status: StatusCode::UNAUTHORIZED,
        error: "invalid_client",
        description: "the client is unknown or its secret is wrong",
    };

    fn answer(&self) -> Response {
        let body = json!({ "error": self.error, "error_description": self.description });
        let mut response = page::json(self.status, &body);
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"demo provider\""),
            );
        }
        response
    }
}

impl From<Denied> for TokenError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Grant => Self::new(
                "invalid_grant",
                "the code or token is not good, or not any more",
            ),
            Denied::Scope => Self::new("invalid_scope", "more was asked for than was granted"),
        }
    }
}

impl Provider {
    /// `POST /token`
    pub(super) fn token(
        &self,
        form: Result<Parameters, Repeated>,
        headers: &HeaderMap,
    ) -> Response {
        self.exchange(form, headers, clock::now())
            .unwrap_or_else(|error| error.answer())
    }

    fn exchange(
        &self,
        form: Result<Parameters, Repeated>,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Response, TokenError> {
        let form = self.authenticated(form, headers)?;
        let need = |name| {
            form.get(name)
                .ok_or(TokenError::new("invalid_request", "a parameter is missing"))
        };
        let fresh = Fresh {
            grant: random::bytes(),
            refresh: random::bytes(),
            access: random::bytes(),
        };
        let (issued, nonce) = match need("grant_type")? {
            "authorization_code" => {
                let (code, redirect_uri) = (need("code")?, need("redirect_uri")?);
                let verifier = need("code_verifier")?;
                let issued = self
                    .vault()
                    .redeem(code, redirect_uri, verifier, now, &fresh)?;
                let nonce = issued.agreement.nonce.clone();
                (issued, nonce)
            }
            "refresh_token" => {
                let token = need("refresh_token")?;
                // A refreshed ID token should carry no nonce (OpenID Connect Core §12.2).
                let issued = self
                    .vault()
                    .refresh(token, form.get("scope"), now, &fresh)?;
                (issued, None)
            }
            _ => {
                let error = "unsupported_grant_type";
                return Err(TokenError::new(
                    error,
                    "only authorization_code and refresh_token",
                ));
            }
        };
        let body = json!({
            "access_token": issued.access_token,
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFETIME.as_secs(),
            "refresh_token": issued.refresh_token,
            "scope": issued.scope,
            "id_token": self.key.sign(&self.id_token(&issued, nonce, now)),
        });
        Ok(page::json(StatusCode::OK, &body))
    }

    /// The ID token's claims (OpenID Connect Core §2).
    fn id_token(
        &self,
        issued: &Issued,
        nonce: Option<String>,
        now: Timestamp,
    ) -> Map<String, Value> {
        let agreement = &issued.agreement;
        let mut claims = agreement.user.claims(&issued.scope);
        claims.extend([
            ("iss".to_owned(), json!(self.config.issuer)),
            ("aud".to_owned(), json!(self.config.client_id)),
            ("iat".to_owned(), json!(now)),
            ("exp".to_owned(), json!(now.after(TOKEN_LIFETIME))),
            ("auth_time".to_owned(), json!(agreement.signed_in_at)),
            (
                "at_hash".to_owned(),
                json!(access_token_hash(&issued.access_token)),
            ),
        ]);
        claims.extend(nonce.map(|nonce| ("nonce".to_owned(), json!(nonce))));
        claims
    }

    /// `POST /revoke`: 200 also for a token that nobody knows (RFC 7009 §2.2).
    pub(super) fn revoke(
        &self,
        form: Result<Parameters, Repeated>,
        headers: &HeaderMap,
    ) -> Response {
        let form = match self.authenticated(form, headers) {
            Ok(form) => form,
            Err(error) => return error.answer(),
        };
        let Some(token) = form.get("token") else {
            return TokenError::new("invalid_request", "token is missing").answer();
        };
        self.vault().revoke(token);
        let mut response = http::Response::new(empty());
        page::harden(&mut response);
        response
    }

    /// `GET` or `POST /userinfo` (OpenID Connect Core §5.3).
    pub(super) fn userinfo(&self, headers: &HeaderMap) -> Response {
        let vault = self.vault();
        let bearer = credentials(headers, "Bearer");
        match bearer.and_then(|token| vault.bearer(token, clock::now())) {
            Some((user, scope)) => page::json(StatusCode::OK, &user.claims(scope)),
            None => bearer_required(bearer.is_some()),
        }
    }

    /// The form, once the client proved to be the one that is registered (RFC 6749 §2.3.1): by Basic
    /// or by the form, and never by both.
    fn authenticated(
        &self,
        form: Result<Parameters, Repeated>,
        headers: &HeaderMap,
    ) -> Result<Parameters, TokenError> {
        let form = form.map_err(|Repeated| {
            TokenError::new("invalid_request", "a parameter was given twice")
        })?;
        let in_form = form.get("client_secret");
        let (id, secret) = match (headers.contains_key(AUTHORIZATION), in_form) {
            (true, Some(_)) => {
                return Err(TokenError::new(
                    "invalid_request",
                    "two ways of authentication at once",
                ));
            }
            (true, None) => basic(headers).ok_or(TokenError::CLIENT)?,
            (false, Some(secret)) => {
                let id = form.get("client_id").ok_or(TokenError::CLIENT)?;
                (id.to_owned(), secret.to_owned())
            }
            (false, None) => return Err(TokenError::CLIENT),
        };
        let expected = self.config.client_secret.expose();
        let known =
            id == self.config.client_id && bool::from(secret.as_bytes().ct_eq(expected.as_bytes()));
        if known {
            Ok(form)
        } else {
            Err(TokenError::CLIENT)
        }
    }
}

/// The credentials after a scheme's name (RFC 9110 §11.4).
fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let (name, credentials) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    name.eq_ignore_ascii_case(scheme)
        .then(|| credentials.trim())
}

/// Client id and secret; both were form-encoded before they were joined (RFC 6749 §2.3.1).
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let joined = BASE64_STANDARD
        .decode(credentials(headers, "Basic")?)
        .ok()?;
    let joined = String::from_utf8(joined).ok()?;
    let (id, secret) = joined.split_once(':')?;
    let decode = |part: &str| {
        let spaced = part.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
        Some(decoded.into_owned())
    };
    Some((decode(id)?, decode(secret)?))
}

/// RFC 6750 §3: no error code where no token was given.
fn bearer_required(given: bool) -> Response {
    let mut response = http::Response::new(empty());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    page::harden(&mut response);
    let challenge = if given {
        "Bearer realm=\"demo provider\", error=\"invalid_token\""
    } else {
        "Bearer realm=\"demo provider\""
    };
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_form_encoded() {
        let mut headers = HeaderMap::new();
        let joined = BASE64_STANDARD.encode("my%3Aid:a+b%25");
        let value = HeaderValue::try_from(format!("basic {joined}")).unwrap();
        headers.insert(AUTHORIZATION, value);
        assert_eq!(basic(&headers), Some(("my:id".into(), "a b%".into())));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic !"));
        assert_eq!(basic(&headers), None);
    }
}
