//! What the scripted provider can be told to do, correct by default.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{keys::Signing, provider::CLIENT_SECRET};

/// What the token endpoint does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TokenEndpoint {
    /// Answers as RFC 6749 §5.1 says.
    #[default]
    Good,
    /// Accepts the request and says nothing.
    Hangs,
    /// 200 with an OAuth error (as GitHub does).
    ErrorInside200,
    /// 400 `invalid_grant`.
    InvalidGrant,
    /// 503 with HTML.
    Unavailable,
    /// 429 in plain text.
    TooMany,
    /// Does what it was asked for, and the connection ends before it could say so.
    BreaksOff,
    /// The connection ends, and nothing was done.
    BreaksOffUndone,
    /// 502 of a proxy in front, when all was done.
    BadGateway,
    /// 200 with HTML.
    Html,
    /// 200 without an ID token.
    NoIdToken,
    /// 200 and a body without end.
    Endless,
    /// A redirect to itself.
    Redirects,
}

/// What a renewal gives beside the access token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Renewal {
    /// A new refresh token, and the old one is good no more; a second use ends everything.
    #[default]
    Rotates,
    /// No new refresh token; the old one stays good.
    OmitsRefreshToken,
}

/// What `iss` stands in the authorization response (RFC 9207).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ResponseIssuer {
    /// Advertised and right.
    #[default]
    Right,
    /// Advertised, but another's.
    Wrong,
    /// Advertised, but not there.
    Missing,
    /// Neither advertised nor there.
    Unsupported,
}

/// The switches.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Claims about the user, in the ID token and at userinfo.
    pub user: Value,
    /// Laid over the ID token's claims; null takes a claim away.
    pub id_token: Value,
    /// Laid over userinfo's claims; null takes a claim away.
    pub userinfo: Value,
    /// Whether userinfo is offered at all.
    pub offers_userinfo: bool,
    /// Whether userinfo answers 503.
    pub userinfo_is_down: bool,
    /// What userinfo refuses with.
    pub userinfo_refuses: Option<u16>,
    /// What the document says of claims; null leaves it unsaid.
    pub claims_supported: Value,
    /// The claims of access tokens that are JWTs; null makes them opaque. Standard ones are laid under.
    pub access_token: Value,
    /// What `token_type` says; null leaves it unsaid.
    pub token_type: Value,
    /// Whether the user's claims stand in the ID token, not only at userinfo.
    pub claims_in_id_token: bool,
    /// How ID tokens are signed.
    pub signing: Signing,
    /// The published keys, by number.
    pub publishes_second_key_only: bool,
    /// What the token endpoint does.
    pub token: TokenEndpoint,
    /// What `iss` says.
    pub response_issuer: ResponseIssuer,
    /// Sent back instead of a code: error and description.
    pub error: Option<(String, String)>,
    /// The issuer that discovery names, where not the provider's own.
    pub discovered_issuer: Option<String>,
    /// Whether tokens can be revoked, and what that answers in turn; the last one ever after.
    pub revocation: Option<Vec<u16>>,
    /// Whether logout at the provider is offered.
    pub offers_logout: bool,
    /// What is said of tokens that are asked about; of all others, that they are not active.
    pub introspection: BTreeMap<String, Value>,
    /// Said instead: status and body.
    pub introspection_says: Option<(u16, String)>,
    /// How long that takes.
    pub introspection_takes: Duration,
    /// What Google's `tokeninfo` says of access tokens; of all others, that the value is invalid.
    pub token_info: BTreeMap<String, Value>,
    /// How long the access token is.
    pub access_token_length: usize,
    /// How long refresh tokens are at least.
    pub refresh_token_length: usize,
    /// What the issuer has behind the host.
    pub issuer_path: String,
    /// The client secret that is good.
    pub client_secret: String,
    /// Pages of an API beside, by their paths.
    pub pages: BTreeMap<String, Value>,
    /// Whether a page with a button comes before the browser is sent back.
    pub asks_first: bool,
    /// How long access tokens last; null leaves it unsaid.
    pub expires_in: Value,
    /// What a renewal gives.
    pub renewal: Renewal,
    /// Whether a renewal gives an ID token.
    pub renews_id_token: bool,
    /// How long the token endpoint thinks.
    pub token_takes: Duration,
    /// How long an answer of the token endpoint is held back when all is done, whether or not it is waited for.
    pub token_held_back: Duration,
    /// Seconds by which the clock of its `Date` is ahead.
    pub clock_offset: i64,
    /// The scheme of its own addresses.
    pub scheme: &'static str,
    /// Laid over the discovery document; null takes a member away.
    pub discovery: Value,
    /// Published beside the keys that sign.
    pub further_keys: Vec<Value>,
    /// Where alone it takes the client's secret: `basic` or `post`; one of both where nothing is said.
    pub client_auth: Option<&'static str>,
    /// Whether the key set hangs.
    pub keys_hang: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            user: json!({
                "sub": "ada-1815", "preferred_username": "ada", "name": "Ada Lovelace",
                "email": "ada@example.com", "email_verified": true, "groups": ["engineers"],
            }),
            id_token: json!({}),
            userinfo: json!({}),
            offers_userinfo: true,
            userinfo_is_down: false,
            userinfo_refuses: None,
            claims_supported: Value::Null,
            access_token: Value::Null,
            token_type: json!("Bearer"),
            claims_in_id_token: true,
            signing: Signing::First,
            publishes_second_key_only: false,
            token: TokenEndpoint::Good,
            response_issuer: ResponseIssuer::Right,
            error: None,
            discovered_issuer: None,
            revocation: None,
            introspection: BTreeMap::new(),
            introspection_says: None,
            token_info: BTreeMap::new(),
            introspection_takes: Duration::ZERO,
            offers_logout: true,
            access_token_length: 40,
            refresh_token_length: 0,
            issuer_path: String::new(),
            client_secret: CLIENT_SECRET.to_owned(),
            pages: BTreeMap::new(),
            asks_first: false,
            expires_in: json!(300),
            renewal: Renewal::Rotates,
            renews_id_token: true,
            token_takes: Duration::ZERO,
            token_held_back: Duration::ZERO,
            clock_offset: 0,
            scheme: "http",
            discovery: json!({}),
            further_keys: Vec::new(),
            client_auth: None,
            keys_hang: false,
        }
    }
}
