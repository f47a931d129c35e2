//! The authorization server (OAuth 2.1): clients, consent, codes and tokens.
//!
//! A login at the gate proves the user of a token. Data that passes through browsers and clients is not stored here: a registration is
//! sealed into the client's id, the consent request is sealed into its page, and an access token is sealed as a whole. Only grants are
//! stored ([`Grants`]), because they rotate and end.
//!
//! | what | where |
//! |---|---|
//! | a client that registered | its `client_id` ([`registration`]) |
//! | a client with a metadata document | that document, and a cached copy ([`fetch`]) |
//! | a consent request | its page, bound to the session ([`consent`]) |
//! | a grant: its code, and the generation of its refresh token | the state's store ([`Grants`]) |
//! | an access token | itself ([`token`]) |
//! | a device that waits for its user | memory for ten minutes, or Redis ([`device`]) |

mod access_jwt;
mod authenticator;
pub mod authorize;
mod begins;
pub mod client;
pub mod client_assertion;
pub mod consent;
pub mod device;
pub mod document;
mod ends;
pub mod error;
pub mod fetch;
mod grants;
pub mod guard;
pub mod id_token;
pub mod metadata;
pub mod parameters;
mod places;
pub mod pushed;
mod record;
pub mod redirect;
pub mod registration;
pub mod resource;
pub mod settings;
pub mod signing;
mod strangers;
pub mod token;
pub mod token_exchange;
mod used_assertions;
mod withheld;

pub use self::{
    authenticator::{AccessTokens, machine_identity},
    begins::{Begun, NotBegun},
    grants::{Found, Grants, Issued, Refused},
    record::{Agreement, CODE_LASTS, GRACE, Kept},
    token::GrantId,
    used_assertions::UsedAssertions,
};

use std::{sync::Arc, time::Duration};

use self::{
    client::{Authentication, Client},
    device::Devices,
    document::DocumentUrl,
    fetch::{Asking, Documents, NoDocument},
    pushed::PushedRequests,
    resource::Resource,
    settings::{IssuerSettings, TokenFormat},
    signing::Signing,
    token::AccessToken,
};
use crate::{
    clock::Timestamp,
    jose::{KeySet, LEEWAY},
    kv,
    login::{LoginClient, throttle::Throttle},
    random, rate_limit,
    route::Route,
    session::{Session, seal::KeyRing},
};

pub use crate::session::revocation::ACCESS_LASTS;

/// The authorization server under one configuration.
pub struct Issuer {
    /// `public_url` without a slash at its end: the name that metadata, answers and tokens have in common.
    pub name: String,
    /// What the addresses of its endpoints begin with, up to their names.
    pub endpoints: String,
    /// What the configuration says.
    pub settings: IssuerSettings,
    /// The scopes that anybody may ask for.
    pub scopes: Vec<String>,
    /// How long a grant lasts at most.
    pub lasts: Duration,
    /// Everybody's grants.
    pub grants: Arc<Grants>,
    /// What it knows whatever the configuration becomes.
    pub state: Arc<IssuerState>,
    /// What signs.
    pub signing: Arc<Signing>,
    /// Who may learn who somebody is: it is behind no route.
    pub userinfo_route: Route,
    clients: Vec<Client>,
}

/// What is known whatever the configuration becomes.
pub struct IssuerState {
    /// Documents of clients.
    pub documents: Documents,
    /// Programs without a browser that wait for their users.
    pub devices: Devices,
    /// Requests that clients have pushed ahead.
    pub pushed: PushedRequests,
    /// By what clients have proven themselves before.
    pub assertions: UsedAssertions,
    /// How many tokens clients get for themselves, each for itself.
    pub machines: rate_limit::Table,
    /// How often one address may do what costs, or what guesses.
    pub throttles: Throttles,
}

/// The buckets of one address, one for each thing that it may do: who floods one endpoint holds up nobody at another. That documents
/// are fetched is counted beside, wherever they are named ([`Documents`]).
#[derive(Default)]
pub struct Throttles {
    /// Registrations.
    pub register: Throttle,
    /// Authorization requests of clients that are not known.
    pub authorize: Throttle,
    /// Requests without success for or about tokens: to exchange, revoke or introspect one.
    pub token: Throttle,
    /// Programs that begin to wait for their user.
    pub device: Throttle,
    /// Requests that are pushed ahead.
    pub par: Throttle,
}

/// Why nobody is known by a `client_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownClient {
    /// There is none.
    #[error("{0}")]
    Unknown(&'static str),
    /// The server of its document does not answer as one.
    #[error("{0}")]
    Unreachable(&'static str),
    /// It cannot be found out now.
    #[error("{0}")]
    Unavailable(&'static str),
}

impl Issuer {
    /// Of these parts; `name` is `public_url` without a slash at its end, and `prefix` the path that own endpoints lie below.
    pub fn new(
        (name, prefix): (String, &str),
        settings: IssuerSettings,
        scopes: Vec<String>,
        lasts: Duration,
        (grants, state, signing): (Arc<Grants>, Arc<IssuerState>, Arc<Signing>),
    ) -> Self {
        let clients = settings.clients.iter().map(Client::configured).collect();
        Self {
            endpoints: format!("{name}{prefix}/"),
            name,
            settings,
            scopes,
            lasts,
            grants,
            state,
            signing,
            userinfo_route: Route {
                name: "userinfo".to_owned(),
                ..Route::login()
            },
            clients,
        }
    }

    /// When what somebody grants in `session` ends: no later than the session would. So a stolen session begins nothing that
    /// outlasts it.
    pub fn end_of_grants(&self, session: &Session) -> Timestamp {
        session.created_at.after(self.lasts)
    }

    /// What tokens are for that tell a client who somebody is, and nothing else.
    pub fn userinfo(&self) -> Resource {
        let endpoints = self.endpoints.strip_prefix(&self.name).unwrap_or_default();
        Resource::new(&self.name, &format!("{endpoints}userinfo"))
    }

    /// An access token's text, in the form that the configuration says.
    ///
    /// # Errors
    /// When it is to be signed, and the keys cannot be had.
    pub async fn write(&self, token: &AccessToken, keys: &KeyRing) -> Result<String, kv::Error> {
        match self.settings.token_format {
            TokenFormat::Opaque => Ok(token.seal(keys, random::bytes())),
            TokenFormat::Jwt => {
                let signing = self.signing.keys().await?;
                let fresh = (random::bytes(), random::bytes());
                Ok(access_jwt::write(token, &self.name, &signing, keys, fresh))
            }
        }
    }

    /// What the text of an access token says, in either form.
    ///
    /// # Errors
    /// When it is signed, and the keys cannot be had.
    pub async fn open(
        &self,
        text: &str,
        keys: &KeyRing,
        now: Timestamp,
    ) -> Result<Option<AccessToken>, kv::Error> {
        if !access_jwt::claims_to_be(text, &self.name) {
            return Ok(AccessToken::open(text, keys));
        }
        let signing = self.signing.keys().await?;
        Ok(access_jwt::open(text, &self.name, &signing, keys, now))
    }

    /// What the text of an access token says that may still be taken somewhere, for whoever ends it. The keys that signed it may be gone.
    pub fn open_to_end(&self, text: &str, keys: &KeyRing, now: Timestamp) -> Option<AccessToken> {
        let token = if access_jwt::claims_to_be(text, &self.name) {
            access_jwt::open_sealed(text, keys)
        } else {
            AccessToken::open(text, keys)
        };
        token.filter(|token| now < token.expires_at.after(LEEWAY))
    }

    /// Whether a text says that it is an access token of this issuer. Nothing proves that yet.
    pub fn claims_as_own(&self, text: &str) -> bool {
        text.starts_with(token::ACCESS) || access_jwt::claims_to_be(text, &self.name)
    }

    /// The client of the configuration of an id.
    pub fn configured_client(&self, id: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.id == id)
    }

    /// The client of an id that is known without asking anybody; none where a document has to be looked at.
    ///
    /// # Errors
    /// Where there is none.
    pub fn client_at_hand(
        &self,
        id: &str,
        keys: &KeyRing,
    ) -> Result<Option<Client>, UnknownClient> {
        if let Some(client) = self.configured_client(id) {
            return Ok(Some(client.clone()));
        }
        if registration::looks_like_one(id) {
            let client = registration::open(id, keys);
            return client.map(Some).ok_or(UnknownClient::Unknown(
                "this client is not registered here, or no longer",
            ));
        }
        if id.starts_with("https://") || id.starts_with("http://") {
            return Ok(None);
        }
        Err(UnknownClient::Unknown("no client of this id is known here"))
    }

    /// The client that has a document at `id`; for `sender`, who may get an older copy of it where it `takes_stale`.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn client_of_document(
        &self,
        id: &str,
        sender: &LoginClient,
        takes_stale: bool,
    ) -> Result<Client, UnknownClient> {
        let asking = self.asking(sender, takes_stale);
        let at = DocumentUrl::parse(id, asking.loopback).map_err(UnknownClient::Unknown)?;
        if !at.is_among(&self.settings.allow_client_domains) {
            return Err(UnknownClient::Unknown(
                "clients of its host are not admitted here",
            ));
        }
        let client = self.state.documents.client(&at, asking).await;
        client.map_err(UnknownClient::from)
    }

    /// What a client proves itself by, where that is keys; of those at an address the newest where the ones at hand `are_doubtful`.
    ///
    /// # Errors
    /// Where there are none.
    pub async fn keys_of(
        &self,
        client: &Client,
        sender: &LoginClient,
        are_doubtful: bool,
    ) -> Result<Arc<KeySet>, UnknownClient> {
        match &client.authentication {
            Authentication::Keys(keys) => Ok(Arc::clone(keys)),
            Authentication::KeysAt(at) => {
                let asking = self.asking(sender, false);
                let at = DocumentUrl::parse(at, asking.loopback).map_err(UnknownClient::Unknown)?;
                let keys = self.state.documents.keys(&at, asking, are_doubtful).await;
                keys.map_err(UnknownClient::from)
            }
            Authentication::None | Authentication::Secrets(_) | Authentication::Registered(..) => {
                Err(UnknownClient::Unknown("no client of this id has keys here"))
            }
        }
    }

    fn asking<'a>(&self, sender: &'a LoginClient, takes_stale: bool) -> Asking<'a> {
        Asking {
            sender,
            takes_stale,
            loopback: self.settings.allow_loopback_clients,
        }
    }
}

impl From<NoDocument> for UnknownClient {
    fn from(error: NoDocument) -> Self {
        match error {
            NoDocument::Bad(why) => Self::Unknown(why),
            NoDocument::Unreachable(why) => Self::Unreachable(why),
            NoDocument::Unavailable(why) => Self::Unavailable(why),
        }
    }
}
