//! A small OpenID provider on loopback, for the demo and for nothing else: two made-up users, no
//! password, all memory gone with the process. To the gate in front it is a provider like any other:
//! discovery, authorization code with PKCE, refresh with rotation, userinfo, revocation, logout.
//!
//! [`vault`] holds the state and [`request`] the checks, both pure; the other files are one endpoint
//! each.

mod authorize;
mod bounded_map;
mod browser;
mod key;
mod logout;
mod request;
#[cfg(test)]
mod tests;
mod token;
mod user;
mod vault;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ALLOW, CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::{Origin, Url};

use self::{
    key::{Hint, SigningKey},
    vault::Vault,
};
use super::{
    page::{self, Message},
    server::{self, Request, Response},
};
use crate::{
    issuer::parameters::{Parameters, Repeated},
    secret::Secret,
};

/// What the provider knows of itself and of the one application that it serves.
#[derive(Debug)]
pub struct DemoProviderConfig {
    /// Its own address, `http://127.0.0.1:PORT`; no path, no trailing slash.
    pub issuer: String,
    /// The application's name.
    pub client_id: String,
    /// The application's secret.
    pub client_secret: Secret,
    /// Where codes may go; compared exactly.
    pub redirect_uris: Vec<String>,
    /// Where a logout may lead; compared exactly.
    pub post_logout_redirect_uris: Vec<String>,
}

/// Serves the provider until `shutdown`. The error names a registered address that is no URL.
pub async fn serve(
    listener: TcpListener,
    config: DemoProviderConfig,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let provider = Arc::new(Provider::new(config)?);
    server::serve(listener, shutdown, move |request| {
        let provider = Arc::clone(&provider);
        async move { provider.answer(request).await }
    })
    .await;
    Ok(())
}

struct Provider {
    config: DemoProviderConfig,
    /// `HOST:PORT` of the issuer.
    authority: String,
    key: SigningKey,
    vault: Mutex<Vault>,
}

impl Provider {
    fn new(config: DemoProviderConfig) -> io::Result<Self> {
        let no_url = |_| io::Error::new(io::ErrorKind::InvalidInput, "a demo address is no URL");
        let authority = Url::parse(&config.issuer)
            .map_err(no_url)?
            .authority()
            .to_owned();
        for address in config
            .redirect_uris
            .iter()
            .chain(&config.post_logout_redirect_uris)
        {
            Url::parse(address).map_err(no_url)?;
        }
        Ok(Self {
            config,
            authority,
            key: SigningKey::generate(),
            vault: Mutex::new(Vault::new()),
        })
    }

    async fn answer(&self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let headers = &head.headers;
        // A name that a hostile site lets point here must not pass for us (DNS rebinding).
        if headers
            .get(HOST)
            .is_none_or(|host| host != &*self.authority)
        {
            return page::text(
                StatusCode::MISDIRECTED_REQUEST,
                "not the host you look for\n",
            );
        }
        let query = || Parameters::parse(head.uri.query().unwrap_or_default().as_bytes());
        let post = head.method == Method::POST;
        let allowed = match head.uri.path() {
            "/token" | "/revoke" | "/login" | "/logout/confirm" => "POST",
            "/authorize" | "/logout" | "/userinfo" => "GET, HEAD, POST",
            "/" | DISCOVERY | "/jwks" => "GET, HEAD",
            _ => {
                let text = "The demo provider has no page at this address.";
                return say(StatusCode::NOT_FOUND, "Nothing here", text);
            }
        };
        if !allowed.split(", ").any(|method| head.method == *method) {
            return method_not_allowed(allowed);
        }
        let form = if post {
            match read_form(headers, body).await {
                Ok(form) => form,
                Err((status, why)) => return page::text(status, why),
            }
        } else {
            query()
        };
        match head.uri.path() {
            "/authorize" => self.authorize(form, headers),
            "/login" => self.log_in(query(), form, headers),
            "/token" => self.token(form, headers),
            "/revoke" => self.revoke(form, headers),
            "/userinfo" => self.userinfo(headers),
            "/logout" => self.log_out(form, headers, false),
            "/logout/confirm" => self.log_out(query(), headers, true),
            "/jwks" => page::json(StatusCode::OK, &self.key.key_set()),
            DISCOVERY => page::json(StatusCode::OK, &self.metadata()),
            _ => say(
                StatusCode::OK,
                "A provider for the demo",
                "It signs people in for the sidegate demo: two made-up users, no password. There is \
                 nothing to do here; open the address that the demo printed.",
            ),
        }
    }

    /// OpenID Connect Discovery 1.0 §3, RFC 8414 §2.
    fn metadata(&self) -> Value {
        let issuer = &self.config.issuer;
        json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "userinfo_endpoint": format!("{issuer}/userinfo"),
            "jwks_uri": format!("{issuer}/jwks"),
            "end_session_endpoint": format!("{issuer}/logout"),
            "revocation_endpoint": format!("{issuer}/revoke"),
            "scopes_supported": request::SCOPES,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "prompt_values_supported": ["none", "login", "select_account"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "claims_supported": [
                "sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "name",
                "preferred_username", "email", "email_verified", "groups"
            ],
            "authorization_response_iss_parameter_supported": true,
            "request_parameter_supported": false,
            "request_uri_parameter_supported": false,
            "claims_parameter_supported": false,
        })
    }

    fn vault(&self) -> MutexGuard<'_, Vault> {
        // Nothing panics half-way through a change, so what a panic elsewhere left is whole.
        self.vault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_hint(&self, token: &str) -> Option<Hint> {
        let config = &self.config;
        self.key.read_hint(token, &config.issuer, &config.client_id)
    }

    /// The origins that a form's redirect may lead to.
    fn form_targets(&self) -> Vec<String> {
        let config = &self.config;
        let addresses = config
            .redirect_uris
            .iter()
            .chain(&config.post_logout_redirect_uris);
        let mut origins: Vec<_> = addresses
            .filter_map(|address| Url::parse(address).ok())
            .map(|url| url.origin())
            .filter(Origin::is_tuple)
            .map(|origin| origin.ascii_serialization())
            .collect();
        origins.sort_unstable();
        origins.dedup();
        origins
    }
}

/// The browser is told what went wrong, and goes nowhere.
fn refuse(why: &str) -> Response {
    say(StatusCode::BAD_REQUEST, "That did not work", why)
}

fn say(status: StatusCode, title: &str, text: &str) -> Response {
    let nonce = page::nonce();
    let message = Message {
        nonce: &nonce,
        place: "Demo provider",
        title,
        text,
        bad: status.is_client_error(),
        link: None,
        footer: FOOTER,
    };
    page::html(status, &message, &nonce, &[])
}

/// A form body: small, soon, and of the type that RFC 6749 §4.1.3 asks for. No body is an empty form.
async fn read_form(
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Result<Parameters, Repeated>, (StatusCode, &'static str)> {
    let read = tokio::time::timeout(FORM_TIME, Limited::new(body, LARGEST_FORM).collect()).await;
    let Ok(Ok(body)) = read else {
        let why = "the form is too large or too slow\n";
        return Err((StatusCode::BAD_REQUEST, why));
    };
    let body = body.to_bytes();
    let is_form = headers.get(CONTENT_TYPE).is_some_and(|value| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next();
        essence.is_some_and(|essence| essence.trim_ascii().eq_ignore_ascii_case(FORM_TYPE))
    });
    if body.is_empty() || is_form {
        Ok(Parameters::parse(&body))
    } else {
        Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "send a form\n"))
    }
}

fn method_not_allowed(allowed: &'static str) -> Response {
    let mut response = page::text(StatusCode::METHOD_NOT_ALLOWED, "not with this method\n");
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

const DISCOVERY: &str = "/.well-known/openid-configuration";

const FORM_TYPE: &[u8] = b"application/x-www-form-urlencoded";

const LARGEST_FORM: usize = 16 * 1024;

const FORM_TIME: Duration = Duration::from_secs(10);

const FOOTER: &str = "Demo provider: two made-up users, no password. Nothing leaves this machine.";
