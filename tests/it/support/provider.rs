//! A scripted OpenID provider: correct until told otherwise. It asks nobody anything: whoever comes is `user`.

mod login;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{Method, Request, StatusCode, header::AUTHORIZATION};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{
    behaviour::{Behaviour, ResponseIssuer},
    keys,
    server::{self, Answer, Server},
};

/// The client that the provider knows.
pub const CLIENT_ID: &str = "sidegate";
/// Its secret; also a canary that no log may show.
pub const CLIENT_SECRET: &str = "canary-client-secret";

/// One request to the provider.
#[derive(Clone, Debug)]
pub struct Call {
    /// The path.
    pub path: String,
    /// Query and form, later ones win.
    pub fields: HashMap<String, String>,
    /// The headers.
    pub headers: http::HeaderMap,
}

impl Call {
    /// The header of that name; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Whom it was for.
    pub fn host(&self) -> &str {
        self.header("host")
    }
}

struct Code {
    nonce: Option<String>,
    challenge: String,
    redirect_uri: String,
}

#[derive(Default)]
struct State {
    behaviour: Behaviour,
    calls: Vec<Call>,
    codes: HashMap<String, Code>,
    /// Those that are good.
    refresh_tokens: Vec<String>,
    issued: usize,
}

impl State {
    fn new_refresh_token(&mut self) -> String {
        self.issued += 1;
        let length = self.behaviour.refresh_token_length;
        let token = format!("canary-refresh-token-{:x<length$}", self.issued);
        self.refresh_tokens.push(token.clone());
        token
    }
}

/// A running provider.
pub struct ScriptedProvider {
    /// Where it listens.
    pub address: SocketAddr,
    /// To take it down and up.
    pub server: Server,
    state: Arc<Mutex<State>>,
}

impl ScriptedProvider {
    /// Starts one.
    pub async fn start() -> Self {
        let provider = Self::start_down();
        provider.server.up().await;
        provider
    }

    /// One that does not listen yet.
    pub fn start_down() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server =
            Server::prepare(move |request: Request<Incoming>| dated(Arc::clone(&shared), request));
        Self {
            address: server.address,
            server,
            state,
        }
    }

    /// Its issuer.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its table in a configuration, without `allow`.
    pub fn table(&self) -> String {
        format!(
            "type = \"oidc\"\nissuer = \"{}\"\nclient_id = \"{CLIENT_ID}\"\n\
             client_secret = \"{CLIENT_SECRET}\"\n",
            self.issuer()
        )
    }

    /// Changes the behaviour.
    pub fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.state().behaviour);
    }

    /// How it behaves now.
    pub fn behaviour(&self) -> Behaviour {
        self.state().behaviour.clone()
    }

    /// Changes one claim of the user.
    pub fn user(&self, claim: &str, value: Value) {
        self.state().behaviour.user[claim] = value;
    }

    /// Every request to `path` so far.
    pub fn calls(&self, path: &str) -> Vec<Call> {
        let state = self.state();
        let calls = state.calls.iter().filter(|call| call.path == path);
        calls.cloned().collect()
    }

    /// How often the token endpoint was asked.
    pub fn token_requests(&self) -> usize {
        self.calls("/token").len()
    }

    /// How often tokens were asked for with a refresh token.
    pub fn renewals(&self) -> usize {
        let calls = self.calls("/token");
        let renews = |call: &&Call| {
            call.fields
                .get("grant_type")
                .is_some_and(|is| is == "refresh_token")
        };
        calls.iter().filter(renews).count()
    }

    /// No refresh token of before is good any more.
    pub fn revoke(&self) {
        self.state().refresh_tokens.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic inside")
    }
}

/// The answer, dated by the provider's own clock.
async fn dated(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Answer {
    let mut answer = answer(Arc::clone(&state), request).await;
    let offset = state
        .lock()
        .expect("no panic inside")
        .behaviour
        .clock_offset;
    let date = UNIX_EPOCH + Duration::from_secs(now().saturating_add_signed(offset));
    let date = httpdate::fmt_http_date(date);
    let date = date.parse().expect("a date is a header value");
    answer.headers_mut().insert("date", date);
    answer
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let mut fields: HashMap<String, String> =
        pairs(parts.uri.query().unwrap_or_default().as_bytes());
    fields.extend(pairs(&body));
    let call = Call {
        path: path.clone(),
        fields,
        headers: parts.headers,
    };
    let behaviour = {
        let mut state = state.lock().expect("no panic inside");
        state.calls.push(call.clone());
        state.behaviour.clone()
    };
    let root = format!("{}://{}", behaviour.scheme, call.host());
    let issuer = format!("{root}{}", behaviour.issuer_path);
    if let Some(page) = behaviour.pages.get(&path) {
        return page_of(page, &call);
    }
    if path.ends_with("/.well-known/openid-configuration") {
        return discovery(&root, &issuer, &behaviour);
    }
    match path.as_str() {
        "/jwks" if behaviour.keys_hang => std::future::pending().await,
        "/jwks" => jwks(&behaviour),
        "/authorize" => login::authorize(&state, &issuer, &behaviour, &call),
        "/token" if parts.method == Method::POST => {
            login::token(&state, &issuer, &behaviour, &call).await
        }
        "/userinfo" if behaviour.userinfo_is_down => {
            server::full(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not now")
        }
        "/userinfo" if behaviour.userinfo_refuses.is_some() => {
            let status = behaviour.userinfo_refuses.unwrap_or_default();
            let status = StatusCode::from_u16(status).expect("a status");
            server::full(status, "text/plain", "not for you")
        }
        "/userinfo" => {
            let mut claims = behaviour.user.clone();
            lay_over(&mut claims, &behaviour.userinfo);
            server::json(StatusCode::OK, &claims)
        }
        "/introspect" => introspection(&behaviour, &call).await,
        "/tokeninfo" if parts.method == Method::POST => token_info(&behaviour, &call),
        "/revoke" => {
            let status = {
                let mut state = state.lock().expect("no panic inside");
                let statuses = state.behaviour.revocation.as_mut();
                let statuses = statuses.expect("it is offered");
                if statuses.len() > 1 {
                    statuses.remove(0)
                } else {
                    statuses[0]
                }
            };
            if status == 0 {
                return std::future::pending().await;
            }
            let status = StatusCode::from_u16(status).expect("a status");
            server::full(status, "application/json", "{}")
        }
        "/logout" => match call.fields.get("post_logout_redirect_uri") {
            Some(next) => server::redirect(next),
            None => server::full(StatusCode::OK, "text/html", "signed out at the provider"),
        },
        _ => server::full(StatusCode::NOT_FOUND, "text/plain", "no such page"),
    }
}

/// What it says of a token (RFC 7662).
async fn introspection(behaviour: &Behaviour, call: &Call) -> Answer {
    tokio::time::sleep(behaviour.introspection_takes).await;
    if let Some((status, body)) = &behaviour.introspection_says {
        let status = StatusCode::from_u16(*status).expect("a status");
        return server::full(status, "text/html", body.clone());
    }
    let token = call.fields.get("token");
    let known = token.and_then(|token| behaviour.introspection.get(token));
    let unknown = json!({ "active": false });
    server::json(StatusCode::OK, known.unwrap_or(&unknown))
}

/// What Google says of an access token, to anybody.
fn token_info(behaviour: &Behaviour, call: &Call) -> Answer {
    let token = call.fields.get("access_token");
    if let Some(known) = token.and_then(|token| behaviour.token_info.get(token)) {
        return server::json(StatusCode::OK, known);
    }
    let invalid = json!({ "error": "invalid_token", "error_description": "Invalid Value" });
    server::json(StatusCode::BAD_REQUEST, &invalid)
}

/// The fields of a form or a query.
pub fn pairs(form: &[u8]) -> HashMap<String, String> {
    url::form_urlencoded::parse(form).into_owned().collect()
}

/// Lays fields over an object's; null takes one away.
pub fn lay_over(claims: &mut Value, overlay: &Value) {
    for (name, value) in overlay.as_object().expect("an overlay is an object") {
        if value.is_null() {
            claims
                .as_object_mut()
                .expect("claims are an object")
                .remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
}

/// A page of an API beside OpenID Connect: each for whoever has a token.
fn page_of(page: &Value, call: &Call) -> Answer {
    let bearer = call.headers.get(AUTHORIZATION);
    if bearer.is_none_or(|value| !value.as_bytes().starts_with(b"Bearer canary-access-token")) {
        return server::json(StatusCode::UNAUTHORIZED, &json!({ "error": "no token" }));
    }
    server::json(StatusCode::OK, page)
}

fn discovery(root: &str, issuer: &str, behaviour: &Behaviour) -> Answer {
    let mut document = json!({
        "issuer": behaviour.discovered_issuer.as_deref().unwrap_or(issuer),
        "authorization_endpoint": format!("{root}/authorize"),
        "token_endpoint": format!("{root}/token"),
        "jwks_uri": format!("{root}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256", "ES512"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": ["openid", "profile", "email", "groups"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "authorization_response_iss_parameter_supported":
            behaviour.response_issuer != ResponseIssuer::Unsupported,
    });
    if !behaviour.claims_supported.is_null() {
        document["claims_supported"] = behaviour.claims_supported.clone();
    }
    if behaviour.offers_userinfo {
        document["userinfo_endpoint"] = json!(format!("{root}/userinfo"));
    }
    document["introspection_endpoint"] = json!(format!("{root}/introspect"));
    if behaviour.revocation.is_some() {
        document["revocation_endpoint"] = json!(format!("{root}/revoke"));
    }
    if behaviour.offers_logout {
        document["end_session_endpoint"] = json!(format!("{root}/logout"));
    }
    lay_over(&mut document, &behaviour.discovery);
    server::json(StatusCode::OK, &document)
}

fn jwks(behaviour: &Behaviour) -> Answer {
    let mut keys = if behaviour.publishes_second_key_only {
        json!([keys::SECOND.jwk()])
    } else {
        json!([keys::FIRST.jwk(), keys::ELLIPTIC.jwk(), keys::p521_jwk()])
    };
    let list = keys.as_array_mut().expect("a list");
    list.extend(behaviour.further_keys.iter().cloned());
    server::json(StatusCode::OK, &json!({ "keys": keys }))
}

/// Seconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "a provider has a clock of its own"
)]
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}
