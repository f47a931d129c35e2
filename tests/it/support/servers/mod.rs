//! Scripted providers that speak plain OAuth 2.0, one for each kind that has an API of its own. What they share is
//! here: codes, PKCE, how a client proves itself, tokens and their scopes, pages of lists, and faults on command.
//! They are strict where the real ones are: a request that the real one would refuse is refused.

pub mod discord;
pub mod facebook;
pub mod forty_two;
pub mod github;
mod oauth;
pub mod openid;
pub mod plain;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use http::{
    Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, LINK, USER_AGENT},
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};

pub use self::oauth::consent;
use super::{
    provider::{Call, lay_over, pairs},
    server::{self, Answer, Server},
};

/// The secret that every client has; a canary that no log may show.
pub const SECRET: &str = "canary-client-secret";

/// What a kind of provider does in its own way.
pub struct Script {
    /// Where browsers are sent.
    pub authorize: &'static [&'static str],
    /// Where codes are spent.
    pub token: &'static [&'static str],
    /// Whether a client may prove itself by the `Authorization` header.
    pub takes_basic: bool,
    /// Whether a request without `User-Agent` is turned away.
    pub needs_user_agent: bool,
    /// Whether token answers are form-encoded for whoever does not ask for JSON.
    pub answers_form: bool,
    /// What separates scopes in a token answer.
    pub scope_separator: &'static str,
    /// What a token answer says beside the token and its scope.
    pub token_extras: fn() -> Value,
    /// A token endpoint's refusal; the error is RFC 6749's.
    pub refusal: fn(&'static str) -> Answer,
    /// What is said to a refresh token that is good no more.
    pub spent: fn() -> Answer,
    /// The pages that the API has at first: path, and what stands there.
    pub pages: fn() -> Vec<(&'static str, Value)>,
    /// What a page becomes for whoever asks: cut to the granted scopes, or refused.
    pub view: fn(&Asking<'_>, Value) -> Result<Value, Box<Answer>>,
}

/// Somebody asks the API, with a token that is good.
pub struct Asking<'a> {
    /// The request.
    pub call: &'a Call,
    /// The path, without the prefix of a self-managed server.
    pub path: &'a str,
    /// The token.
    pub token: &'a str,
    /// What was granted.
    pub scopes: &'a [String],
}

impl Asking<'_> {
    /// Whether `scope` was granted.
    pub fn may(&self, scope: &str) -> bool {
        self.scopes.iter().any(|granted| granted == scope)
    }
}

/// An answer instead of the right one.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, `content-type` among them.
    pub headers: Vec<(&'static str, String)>,
    /// Its body.
    pub body: String,
}

impl Fault {
    /// Plain text.
    pub fn text(status: StatusCode, body: &str) -> Self {
        Self {
            status,
            headers: vec![("content-type", "text/plain".to_owned())],
            body: body.to_owned(),
        }
    }

    /// JSON.
    pub fn json(status: StatusCode, body: &Value) -> Self {
        Self {
            status,
            headers: vec![("content-type", "application/json".to_owned())],
            body: body.to_string(),
        }
    }

    /// With a header more.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn answer(&self) -> Answer {
        let mut answer = server::full(self.status, "", self.body.clone());
        answer.headers_mut().remove(CONTENT_TYPE);
        for (name, value) in &self.headers {
            let value = value.parse().expect("a header value");
            answer.headers_mut().insert(*name, value);
        }
        answer
    }
}

/// The switches.
#[derive(Clone)]
pub struct Quirks {
    /// Laid over the token answer; null takes a field away.
    pub token: Value,
    /// A renewal gives no new refresh token, and the old one stays good.
    pub keeps_refresh_token: bool,
    /// Token answers are form-encoded whatever is asked for.
    pub form_encoded: bool,
    /// The client secrets that are good.
    pub secrets: Vec<String>,
    /// Scopes are granted that were not asked for, or not all that were.
    pub grants: Option<Vec<String>>,
    /// Sent back instead of a code: parameters.
    pub denial: Option<Vec<(&'static str, &'static str)>>,
    /// Added to the authorization response.
    pub response: Vec<(&'static str, String)>,
    /// Where the next page of a list is, whichever page was asked for; none for the truth.
    pub next_page: Option<String>,
    /// API requests that may come within one second; the others are answered as too many.
    pub rate: Option<usize>,
    /// Whether a page with a button comes before the browser is sent back.
    pub asks_first: bool,
}

struct Code {
    challenge: Option<String>,
    redirect_uri: String,
    client_id: String,
    scopes: Vec<String>,
}

/// What a refresh token is good for.
struct Refreshing {
    client_id: String,
    access: String,
    scopes: Vec<String>,
}

struct State {
    quirks: Quirks,
    calls: Vec<Call>,
    codes: HashMap<String, Code>,
    tokens: HashMap<String, Vec<String>>,
    refresh_tokens: HashMap<String, Refreshing>,
    pages: BTreeMap<String, Vec<Value>>,
    faults: Vec<(String, usize, Fault)>,
    arrivals: Vec<Instant>,
    turned_away: usize,
    issued: usize,
}

/// A running provider.
pub struct OAuthServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// To take it down and up.
    pub server: Server,
    state: Arc<Mutex<State>>,
}

impl OAuthServer {
    /// Starts one that follows `script`.
    pub async fn start(script: &'static Script) -> Self {
        let pages = (script.pages)();
        let state = State {
            quirks: Quirks {
                token: json!({}),
                keeps_refresh_token: false,
                form_encoded: false,
                secrets: vec![SECRET.to_owned()],
                grants: None,
                denial: None,
                response: Vec::new(),
                next_page: None,
                rate: None,
                asks_first: false,
            },
            calls: Vec::new(),
            codes: HashMap::new(),
            tokens: HashMap::new(),
            refresh_tokens: HashMap::new(),
            pages: pages
                .into_iter()
                .map(|(path, page)| (path.to_owned(), vec![page]))
                .collect(),
            faults: Vec::new(),
            arrivals: Vec::new(),
            turned_away: 0,
            issued: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let answer = move |request| answer(script, Arc::clone(&shared), request);
        let server = Server::start(answer).await;
        Self {
            address: server.address,
            server,
            state,
        }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes the switches.
    pub fn set(&self, change: impl FnOnce(&mut Quirks)) {
        change(&mut self.state().quirks);
    }

    /// What stands at `path` of the API, in one page.
    pub fn page(&self, path: &str, page: Value) {
        self.pages(path, vec![page]);
    }

    /// What stands at `path` of the API, page after page.
    pub fn pages(&self, path: &str, pages: Vec<Value>) {
        self.state().pages.insert(path.to_owned(), pages);
    }

    /// Changes what stands at `path`: fields laid over; null takes one away.
    pub fn change(&self, path: &str, overlay: &Value) {
        let mut state = self.state();
        let pages = state.pages.get_mut(path).expect("a page of the API");
        lay_over(&mut pages[0], overlay);
    }

    /// All pages as they stand, to be put back.
    pub fn all_pages(&self) -> BTreeMap<String, Vec<Value>> {
        self.state().pages.clone()
    }

    /// Puts them back.
    pub fn put_back(&self, pages: BTreeMap<String, Vec<Value>>) {
        self.state().pages = pages;
    }

    /// No refresh token of before is good any more.
    pub fn revoke(&self) {
        self.state().refresh_tokens.clear();
    }

    /// Answers the next `times` requests to `path` so.
    pub fn fault(&self, path: &str, times: usize, fault: Fault) {
        self.state().faults.push((path.to_owned(), times, fault));
    }

    /// Every request to `path` so far.
    pub fn calls(&self, path: &str) -> Vec<Call> {
        let state = self.state();
        let calls = state.calls.iter().filter(|call| call.path == path);
        calls.cloned().collect()
    }

    /// Every request so far.
    pub fn all_calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// How many requests were turned away because the API was asked too often.
    pub fn turned_away(&self) -> usize {
        self.state().turned_away
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic inside")
    }
}

async fn answer(
    script: &'static Script,
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Answer {
    let (parts, body) = request.into_parts();
    let body = body.collect().await;
    let body = body
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let query = parts.uri.query().unwrap_or_default();
    let mut fields = pairs(query.as_bytes());
    fields.extend(pairs(&body));
    let call = Call {
        path: parts.uri.path().to_owned(),
        fields,
        headers: parts.headers,
    };
    let mut state = state.lock().expect("no panic inside");
    state.calls.push(call.clone());
    let fault = state
        .faults
        .iter_mut()
        .find(|(path, times, _)| *path == call.path && *times > 0);
    if let Some((_, times, fault)) = fault {
        *times -= 1;
        return fault.answer();
    }
    if script.authorize.contains(&call.path.as_str()) {
        return oauth::authorize(&mut state, &call);
    }
    if script.needs_user_agent && header(&call, USER_AGENT.as_str()).is_empty() {
        return server::full(StatusCode::FORBIDDEN, "text/html", "<h1>Forbidden</h1>");
    }
    if script.token.contains(&call.path.as_str()) {
        return oauth::token(script, &mut state, &call, &parts.method);
    }
    api(script, &mut state, &call, query)
}

/// A header's value; empty where there is none.
pub fn header<'a>(call: &'a Call, name: &str) -> &'a str {
    let value = call.headers.get(name);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn field<'a>(call: &'a Call, name: &str) -> &'a str {
    call.fields.get(name).map_or("", String::as_str)
}

fn scopes(text: &str) -> Vec<String> {
    let scopes = text.split([' ', ',']).filter(|scope| !scope.is_empty());
    scopes.map(str::to_owned).collect()
}

fn api(script: &Script, state: &mut State, call: &Call, query: &str) -> Answer {
    // A token in a query ends in logs; no client may put it there.
    if query.contains("canary-access-token") {
        return server::full(
            StatusCode::BAD_REQUEST,
            "text/plain",
            "a token in the query",
        );
    }
    let now = Instant::now();
    // A second, less what a busy machine may bring requests closer together on their way.
    let second = Duration::from_millis(800);
    state
        .arrivals
        .retain(|arrival| now.duration_since(*arrival) < second);
    state.arrivals.push(now);
    if state
        .quirks
        .rate
        .is_some_and(|rate| state.arrivals.len() > rate)
    {
        state.turned_away += 1;
        return forty_two::too_many().answer();
    }
    let token = header(call, AUTHORIZATION.as_str());
    let token = token.strip_prefix("Bearer ").unwrap_or_default();
    let Some(scopes) = state.tokens.get(token) else {
        let body = json!({ "message": "Bad credentials" });
        return server::json(StatusCode::UNAUTHORIZED, &body);
    };
    let path = call.path.strip_prefix("/api/v3").unwrap_or(&call.path);
    let Some(pages) = state.pages.get(path) else {
        return server::json(StatusCode::NOT_FOUND, &json!({ "message": "Not Found" }));
    };
    let number = field(call, "page").parse::<usize>().unwrap_or(1).max(1);
    let page = pages.get(number - 1).unwrap_or(&pages[pages.len() - 1]);
    let asking = Asking {
        call,
        path,
        token,
        scopes,
    };
    match (script.view)(&asking, page.clone()) {
        Err(refusal) => *refusal,
        Ok(page) => {
            let more = number < pages.len();
            with_link(call, &state.quirks, number + 1, more, &page)
        }
    }
}

fn with_link(call: &Call, quirks: &Quirks, next: usize, more: bool, page: &Value) -> Answer {
    let mut answer = server::json(StatusCode::OK, page);
    let host = header(call, HOST.as_str());
    let target = match &quirks.next_page {
        Some(target) if page.is_array() => target.replace("{page}", &next.to_string()),
        _ if more => format!("http://{host}{}?per_page=100&page={next}", call.path),
        _ => return answer,
    };
    let link = format!("<{target}>; rel=\"next\", <http://{host}/last>; rel=\"last\"");
    let link = link.parse().expect("a header value");
    answer.headers_mut().insert(LINK, link);
    answer
}

/// As most servers have it.
pub fn standard_spent() -> Answer {
    standard_refusal("invalid_grant")
}

/// RFC 6749 §5.2, as most servers have it.
pub fn standard_refusal(error: &'static str) -> Answer {
    let status = if error == "invalid_client" {
        StatusCode::UNAUTHORIZED
    } else {
        StatusCode::BAD_REQUEST
    };
    let body = json!({ "error": error, "error_description": "The request was refused." });
    server::json(status, &body)
}
