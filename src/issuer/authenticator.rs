//! Checks the gate's own access tokens under one configuration. This needs no lookup: the token has all the data, and this process knows
//! which grants have ended since.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use moka::sync::Cache;

use super::{
    access_jwt,
    settings::{CLIENT, ClientSettings, MachineSettings},
    signing::{IssuerKeys, Signing},
    token::{ACCESS, AccessToken},
    withheld,
};
use crate::{
    clock::Timestamp,
    credential::{
        Answer, Authenticator, Caller, Grant, Presented, Proof, Refused, Schemes, Verified, Voucher,
    },
    identity::Identity,
    provider::Providers,
    route::Resource,
    session::{Session, revocation::Revocations, seal::KeyRing},
    text::Text,
    tokens::Tokens,
};

/// Opens access tokens.
pub struct AccessTokens {
    keys: Arc<KeyRing>,
    providers: Arc<Providers>,
    revocations: Arc<Revocations>,
    /// Who signs those that are JWTs, and the name it goes by.
    signing: Arc<Signing>,
    issuer: String,
    /// The clients of the configuration.
    clients: HashSet<String>,
    /// Those that may act for themselves.
    machines: HashMap<String, MachineSettings>,
    /// Those that were opened lately, by what was presented.
    opened: Cache<[u8; 32], Arc<Opened>>,
}

/// A token that opened.
struct Opened {
    verified: Arc<Verified>,
    session: Session,
    issued_at: Timestamp,
}

impl AccessTokens {
    /// Those sealed under `keys` for users of `providers`, and for such of `clients` as act for themselves; ended through
    /// `revocations`. Those that are JWTs `signing` has signed, in the name of `issuer`.
    pub fn new(
        keys: Arc<KeyRing>,
        providers: Arc<Providers>,
        revocations: Arc<Revocations>,
        (signing, issuer): (Arc<Signing>, String),
        clients: &[ClientSettings],
    ) -> Self {
        let machines = clients.iter().filter_map(|client| {
            let machine = client.machine.clone()?;
            Some((client.id.clone(), machine))
        });
        let opened = Cache::builder()
            .max_capacity(OPENED)
            .time_to_live(KEPT_OPEN)
            .build();
        Self {
            keys,
            providers,
            revocations,
            signing,
            issuer,
            clients: clients.iter().map(|client| client.id.clone()).collect(),
            machines: machines.collect(),
            opened,
        }
    }

    /// Opens a token; one that is a JWT by the keys that sign such.
    fn open(
        &self,
        text: &str,
        signing: Option<&IssuerKeys>,
        caller: Caller,
    ) -> Option<AccessToken> {
        match signing {
            None => AccessToken::open(text, &self.keys),
            Some(signing) => access_jwt::open(text, &self.issuer, signing, &self.keys, caller.now),
        }
    }

    async fn verify_signed(&self, text: &str, caller: Caller) -> Result<Arc<Verified>, Refused> {
        let signing = self.signing.keys().await;
        let signing = signing.map_err(|error| Refused::Unavailable(error.to_string()))?;
        self.verify(text, Some(&signing), caller)
    }

    fn verify(
        &self,
        text: &str,
        signing: Option<&IssuerKeys>,
        caller: Caller,
    ) -> Result<Arc<Verified>, Refused> {
        let name = super::client::sha256(text.as_bytes());
        let opened = if let Some(opened) = self.opened.get(&name) {
            opened
        } else {
            let token = self.open(text, signing, caller);
            let token = token.ok_or_else(|| invalid("an access token that is not of this gate"))?;
            let token = self.within_settings(token)?;
            let opened = Arc::new(Opened::of(token));
            self.opened.insert(name, Arc::clone(&opened));
            opened
        };
        let Opened {
            verified,
            session,
            issued_at,
        } = &*opened;
        if verified.expires_at.is_none_or(|end| caller.now >= end) {
            return Err(invalid("an access token that has expired"));
        }
        if !self.revocations.is_known() {
            return Err(Refused::Unavailable(
                "what has ended is not known yet".to_owned(),
            ));
        }
        if self.revocations.has_revoked(session)
            || self.revocations.has_revoked_tokens_of(*issued_at)
        {
            return Err(invalid("an access token whose grant has ended"));
        }
        if verified.voucher == Voucher::Provider {
            let known = self.providers.find(&session.identity.provider);
            // The same name may mean another server since, and its subjects other people.
            if known.is_none_or(|known| known.profile().fingerprint != session.provider_fingerprint)
            {
                return Err(invalid(
                    "an access token of somebody whose provider is not configured any more",
                ));
            }
        }
        Ok(Arc::clone(verified))
    }

    /// A token of a client of the configuration ends with that client. One of its own says who it was given to; what that client is, and
    /// may have, today's configuration says. This is looked at once: another configuration has another list of those that were opened.
    fn within_settings(&self, mut token: AccessToken) -> Result<AccessToken, Refused> {
        if token.is_of_configured_client && !self.clients.contains(&token.client) {
            return Err(invalid(
                "an access token of a client that is not configured any more",
            ));
        }
        if !token.is_clients_own {
            return Ok(token);
        }
        let machine = self.machines.get(&token.client);
        let machine = machine.ok_or_else(|| {
            invalid("an access token of a client that may not act for itself any more")
        })?;
        token.session.identity = machine_identity(&token.client, machine);
        let is_base = |scope: &str| Resource::ALL.iter().any(|kind| kind.scope() == scope);
        token
            .scopes
            .retain(|scope| is_base(scope) || machine.scopes.contains(scope));
        Ok(token)
    }
}

/// Who a client is where it acts for itself: nobody whom a provider knows.
pub fn machine_identity(id: &str, machine: &MachineSettings) -> Identity {
    Identity {
        login: Some(id.into()),
        groups: machine
            .groups
            .iter()
            .map(|group| Text::from(group.as_str()))
            .collect(),
        ..Identity::of(CLIENT, id)
    }
}

impl Opened {
    fn of(token: AccessToken) -> Self {
        let session = token.session;
        let grant = Grant {
            id: session.id,
            created_at: session.created_at,
            ends_at: session.ends_at,
            provider_session: session.provider_session.clone(),
            resource: token.resource.into(),
        };
        let verified = Verified {
            identity: session.identity.clone(),
            tokens: Tokens::default(),
            proof: Proof::AccessToken,
            scopes: Some(token.scopes.into_iter().map(Text::from).collect()),
            client: Some(token.client.into()),
            expires_at: Some(token.expires_at),
            voucher: if token.is_clients_own {
                Voucher::Configuration
            } else {
                Voucher::Provider
            },
            routes: None,
            grant: Some(Box::new(grant)),
            opener: None,
        };
        Self {
            verified: Arc::new(verified),
            session,
            issued_at: token.issued_at,
        }
    }
}

fn invalid(why: &str) -> Refused {
    Refused::Invalid(why.to_owned())
}

impl Authenticator for AccessTokens {
    fn schemes(&self) -> Schemes {
        Schemes {
            bearer: true,
            basic: false,
        }
    }

    fn is_of_own_tokens(&self) -> bool {
        true
    }

    fn recognises(&self, presented: &Presented<'_>) -> bool {
        withheld::is_one(presented, &self.issuer)
    }

    fn authenticate<'a>(&'a self, presented: &'a Presented<'_>, caller: Caller) -> Answer<'a> {
        match presented {
            Presented::Bearer(text) if text.starts_with(ACCESS) => {
                Answer::Known(self.verify(text, None, caller))
            }
            Presented::Bearer(text) if access_jwt::claims_to_be(text, &self.issuer) => {
                match self.signing.at_hand() {
                    Some(signing) => Answer::Known(self.verify(text, Some(&signing), caller)),
                    None => Answer::Pending(Box::pin(self.verify_signed(text, caller))),
                }
            }
            _ => Answer::NotMine,
        }
    }
}

/// Access tokens that are kept open, about a kilobyte each.
const OPENED: u64 = 10_000;
/// For how long.
const KEPT_OPEN: Duration = Duration::from_mins(5);
