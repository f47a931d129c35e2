//! Which tokens of a provider are accepted as bearer tokens, and what they contain beside the identity. Pure.
//!
//! Each vendor writes access tokens differently, and nearly all sign ID tokens with the same keys and the same header. So a token must
//! show that it is an access token: by its type (RFC 9068 §2.1), or by claims that only access tokens have.

use std::time::Duration;

use serde_json::{Map, Value};

use super::BearerTerms;
use crate::{
    jose::{self, Algorithm, Audience, JwtError, Verified, text},
    text::Text,
};

/// `bearer` of a provider's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerSettings {
    /// What `aud` must name one of. Empty only where the provider is asked for each token.
    pub audience: Vec<String>,
    /// The clients whose tokens count; those of any where it is empty.
    pub clients: Vec<String>,
    /// What tokens may be signed with; what the issuer says that it signs with where it is empty.
    pub algorithms: Vec<Algorithm>,
    /// Whether an ID token counts, too.
    pub accept_id_tokens: bool,
    /// Whether the provider is asked for each token (RFC 7662), and none is judged by its signature.
    pub introspect: bool,
    /// Whether it has to sign what it says then (RFC 9701).
    pub signed_answers: bool,
    /// How long what is known of a token stands.
    pub token_cache: Duration,
    /// Whether the issuer is the Kubernetes cluster in which the gate runs.
    pub kubernetes: bool,
}

/// Why a token is refused for which the provider was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFlaw {
    /// The provider does not know it, or not any more; or it does not say that it does.
    #[error("the provider does not call it active")]
    Inactive,
    /// It is a refresh token.
    #[error("it is not an access token")]
    Kind,
    /// It was made for somebody else.
    #[error("its audience is another one")]
    Audience,
    /// Another client got it.
    #[error("it was given to another client")]
    Client,
    /// It is a client's own, and nobody's.
    #[error("it is a client's own")]
    Nobody,
    /// Another issuer made it.
    #[error("its issuer is another one")]
    Issuer,
    /// It is over, or has not begun.
    #[error("it is over, or has not begun")]
    Expired,
    /// The provider's answer says nothing that can be read.
    #[error("the provider's answer about it cannot be read")]
    Unreadable,
}

/// Why a token is refused that the provider has signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedFlaw {
    /// As any signed token is checked.
    #[error("{0}")]
    Jwt(#[from] JwtError),
    /// It was made for somebody else: for whom.
    #[error("aud is {0}, and bearer.audience does not have it")]
    Audience(String),
    /// Another client got it.
    #[error("its client is none of bearer.clients")]
    Client,
    /// It says whose it is, and not what it is for.
    #[error("this is an ID token, not an access token; accept_id_tokens = true accepts it")]
    IdToken,
}

/// The values of `typ` that access tokens have: RFC 9068 §2.1, and the general one, which most issuers write. `JOSE` is
/// among ID tokens'.
pub const TYPES: [&str; 5] = [
    "at+jwt",
    "application/at+jwt",
    "JWT",
    "application/jwt",
    "JOSE",
];

/// Bytes of a bearer token. Tokens with many groups have some 10 KiB, and servers accept 16 KiB of headers or less.
pub const LONGEST: usize = 16 * 1024;

#[cfg(test)]
impl BearerSettings {
    /// Of signed tokens for `api`.
    pub(super) fn for_test() -> Self {
        Self {
            audience: vec!["api".to_owned()],
            clients: Vec::new(),
            algorithms: Vec::new(),
            accept_id_tokens: false,
            introspect: false,
            signed_answers: false,
            token_cache: Duration::from_mins(1),
            kubernetes: false,
        }
    }
}

impl BearerSettings {
    /// How tokens are judged.
    pub(super) fn terms(&self) -> BearerTerms {
        BearerTerms {
            cache: self.token_cache,
            is_asked: self.introspect,
        }
    }

    /// For whom a token must have been made.
    pub fn expected_audience(&self) -> Audience<'_> {
        Audience::ResourceOrClient(&self.audience)
    }

    /// Whether a token names one of those for whom it must have been made; of any where none is named.
    pub(super) fn names_us(&self, claims: &Map<String, Value>) -> bool {
        let mut named = jose::audience(claims);
        if named.is_empty() {
            named.push(text(claims, "client_id"));
        }
        let mut ours = self.audience.iter();
        self.audience.is_empty() || ours.any(|name| named.contains(&Some(name)))
    }

    /// Checks what no other signed token must agree with: that it is an access token, and whose client got it.
    ///
    /// # Errors
    /// That it is another sort of token, or another client's.
    pub fn check(&self, token: &Verified) -> Result<(), JwtError> {
        let claims = &token.claims;
        if is_other(claims) {
            return Err(JwtError::Type);
        }
        let is_id_token = self.accept_id_tokens && may_be_id_token(token);
        if !is_access_token(token) && !is_id_token {
            return Err(JwtError::Type);
        }
        if !self.is_of_our_clients(claims) {
            return Err(JwtError::AuthorizedParty);
        }
        Ok(())
    }

    /// Whether one of the named clients got the token, by every name that it has for that.
    pub(super) fn is_of_our_clients(&self, claims: &Map<String, Value>) -> bool {
        if self.clients.is_empty() {
            return true;
        }
        let mut named = CLIENTS
            .iter()
            .filter_map(|name| claims.get(*name))
            .peekable();
        named.peek().is_some()
            && named.all(|client| {
                let mut ours = self.clients.iter();
                ours.any(|ours| client.as_str() == Some(ours))
            })
    }
}

/// Whether it is a token that opens nothing anywhere by itself: a refresh or logout token; or one that is bound to a key
/// (RFC 9449 §6, RFC 8705 §3), which whoever brings it alone has not shown to hold.
pub(super) fn is_other(claims: &Map<String, Value>) -> bool {
    let says = |name: &str, known: &[&str]| {
        claims.get(name).is_none_or(|value| {
            let is = |word: &str| known.iter().any(|known| word.eq_ignore_ascii_case(known));
            value.as_str().is_some_and(is)
        })
    };
    // Keycloak's and Cognito's.
    !says("typ", &["Bearer", "ID", "JWT", "at+jwt"])
        || !says("token_use", &["access", "id", "access_token", "id_token"])
        || claims.contains_key("events")
        || claims.contains_key("cnf")
}

/// Whether `aud` names the client itself, as that of each ID token does.
pub(super) fn is_for_client(token: &Verified, client_id: &str) -> bool {
    jose::audience(&token.claims).contains(&Some(client_id))
}

/// Whether what is brought as an ID token of `client_id`'s shows no sign of another client, or of an access token. An access token whose
/// `aud` is our id may be another app's: its client is named beside, by a name that ID tokens do not have. `azp` they do have, and where an
/// audience is `lent_to` other clients of the same owner's, it names one of those.
pub(super) fn may_be_id_token_of(
    token: &Verified,
    client_id: &str,
    lent_to: Option<fn(&str) -> bool>,
) -> bool {
    let claims = &token.claims;
    let is = |name: &str, word: &str| {
        text(claims, name).is_some_and(|value| value.eq_ignore_ascii_case(word))
    };
    let is_access =
        is("typ", "Bearer") || is("token_use", "access") || is("token_use", "access_token");
    let is_ours = |name: &&str| {
        claims.get(*name).is_none_or(|client| {
            let is_lent = |client| *name == "azp" && lent_to.is_some_and(|lent_to| lent_to(client));
            let client = client.as_str();
            client.is_some_and(|client| client == client_id || is_lent(client))
        })
    };
    let mut signs = ONLY_OF_ACCESS_TOKENS
        .into_iter()
        .filter(|name| *name != "client_id");
    may_be_id_token(token)
        && !is_access
        && CLIENTS.iter().all(is_ours)
        && !signs.any(|name| claims.contains_key(name))
}

/// Whether a token shows that it is an access token.
fn is_access_token(token: &Verified) -> bool {
    let claims = &token.claims;
    let has = |name: &str| claims.contains_key(name);
    let is = |name: &str, word: &str| {
        text(claims, name).is_some_and(|value| value.eq_ignore_ascii_case(word))
    };
    if is("typ", "ID") || is("token_use", "id") {
        return false;
    }
    let kind = token.kind.as_deref().unwrap_or_default();
    if kind.to_ascii_lowercase().ends_with("at+jwt") {
        return true;
    }
    // OpenID Connect Core §3.1.3.6 and §3.3.2.11: what ties an ID token to what came with it.
    if ["at_hash", "c_hash", "s_hash"].into_iter().any(has) {
        return false;
    }
    // Keycloak's; its older versions have a nonce in there, too.
    if is("typ", "Bearer") {
        return true;
    }
    !has("nonce") && (is("token_use", "access") || ONLY_OF_ACCESS_TOKENS.into_iter().any(has))
}

/// Whether it may be an ID token, for whoever takes those: access tokens are told by their type.
fn may_be_id_token(token: &Verified) -> bool {
    let kind = token.kind.as_deref().unwrap_or_default();
    !kind.to_ascii_lowercase().ends_with("at+jwt")
}

/// What access tokens say, and ID tokens do not: what the token is for, and whose client got it, in the words of RFC 9068,
/// Okta, Entra (1.0 and 2.0), Auth0 and Kubernetes. `azp` is not among them: it is an ID token's as well.
const ONLY_OF_ACCESS_TOKENS: [&str; 8] = [
    "scope",
    "scp",
    "client_id",
    "cid",
    "appid",
    "azpacr",
    "gty",
    "kubernetes.io",
];

/// Where a token names the client that got it: Keycloak, Auth0 and Entra 2.0; RFC 9068 and Cognito; Okta; Entra 1.0.
const CLIENTS: [&str; 4] = ["azp", "client_id", "cid", "appid"];

/// The client that got a token.
pub(super) fn client(claims: &Map<String, Value>) -> Option<Text> {
    let mut names = CLIENTS.iter();
    let named = names.find_map(|name| text(claims, name));
    named.filter(|client| is_plain(client)).map(Text::from)
}

/// What a token is for: `scope` is text (RFC 9068 §2.2.3), `scp` Okta's list and Entra's text. What is no scope (RFC 6749
/// §3.3) is left out.
pub fn scopes(claims: &Map<String, Value>) -> Vec<Text> {
    let mut scopes = Vec::new();
    for name in ["scope", "scp"] {
        let texts: Vec<&str> = match claims.get(name) {
            Some(Value::String(text)) => text.split(' ').collect(),
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            _ => continue,
        };
        for scope in texts.into_iter().filter(|scope| is_scope(scope)) {
            if scopes.len() < MOST_SCOPES && !scopes.iter().any(|known: &Text| **known == *scope) {
                scopes.push(Text::from(scope));
            }
        }
    }
    scopes
}

/// `scope-token` of RFC 6749 §3.3.
pub fn is_scope(text: &str) -> bool {
    let is_char = |byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(is_char)
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST_NAME && !text.chars().any(char::is_control)
}

/// Whose a token is that names neither a subject nor a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nameless {
    /// Its client's, which stands there for itself.
    Client,
    /// Nobody knows: its provider names no users in such answers, either (Doorkeeper, and so GitLab).
    Unsaid,
}

/// What the subject of a client begins with that acts for itself; behind it stands its id.
pub const CLIENT_SUBJECT: &str = "client:";

/// Puts the subject where a login has it, and says whether it is a client that stands there for itself.
///
/// Okta's access tokens have the login name for their subject and the id, which is an ID token's subject, beside it. A
/// token without a user has its client for the subject, or nobody (RFC 9068 §5): such a subject is written `client:ID`,
/// so that no client can be registered by the id of a user.
pub fn settle_subject(claims: &mut Map<String, Value>, nameless: Nameless) -> bool {
    // Its answers to introspection have `client_id` in the place of `cid`.
    let is_okta = text(claims, "jti").is_some_and(|id| id.starts_with("AT."))
        && ["cid", "client_id"]
            .iter()
            .any(|name| claims.contains_key(*name));
    if let (true, Some(user)) = (is_okta, text(claims, "uid").map(str::to_owned)) {
        claims.insert("sub".to_owned(), Value::String(user));
        return false;
    }
    let subject = text(claims, "sub").filter(|subject| !subject.is_empty());
    let mut clients = CLIENTS
        .iter()
        .filter_map(|name| text(claims, name))
        .peekable();
    let client = match subject {
        // What RFC 7662 §2.2 has beside it of a person.
        None if claims.contains_key("username") => None,
        // A subject of another type is not missing.
        None if claims
            .get("sub")
            .is_some_and(|sub| !sub.is_null() && sub != "") =>
        {
            None
        }
        None if nameless == Nameless::Unsaid => None,
        None => clients.next().map(str::to_owned),
        Some(subject) => clients.find(|client| *client == subject).map(str::to_owned),
    };
    let Some(client) = client else { return false };
    claims.insert(
        "sub".to_owned(),
        Value::String(format!("{CLIENT_SUBJECT}{client}")),
    );
    true
}

/// Where a pod has the authorities of its cluster, and its own token, which names the cluster's issuer.
pub const SERVICE_ACCOUNT_CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
/// See [`SERVICE_ACCOUNT_CA`].
pub const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Requests that wait at the same time for keys, or for an answer of the provider, to check a new bearer token.
pub(super) const BRINGERS: usize = 256;

/// Scopes that are read of one token.
const MOST_SCOPES: usize = 200;

/// Bytes of a scope, or of a client's id.
const LONGEST_NAME: usize = 255;

#[cfg(test)]
mod tests;
