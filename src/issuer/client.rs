//! An OAuth client: its id, how it authenticates, and its redirect URIs.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq as _;

use super::{
    redirect::RedirectUri,
    settings::{ClientSettings, MachineSettings},
};
use crate::{jose::KeySet, text::Text};

/// A client that is known.
#[derive(Clone, Debug)]
pub struct Client {
    /// The `client_id`.
    pub id: String,
    /// What it calls itself; nobody vouches for that but where the operator has written it.
    pub name: String,
    /// How it is known.
    pub kind: Kind,
    /// How it authenticates.
    pub authentication: Authentication,
    /// Whether it is the operator's own: see [`Self::skips_consent`].
    pub first_party: bool,
    /// Whether codes go to programs on its user's machine alone, of which nobody knows which one listens.
    pub only_loopback: bool,
    /// What it is where it acts for itself; none where it may not.
    pub machine: Option<MachineSettings>,
    /// Where browsers may be sent after a sign-out.
    pub post_logout_redirect_uris: Vec<String>,
    /// Whether it said that it uses the device flow (RFC 8628). No other may: whoever could would phish in the name of any app.
    pub uses_device_flow: bool,
    /// Whether it may ask what tokens of other clients are worth.
    pub introspects: bool,
    /// Whether it may bring tokens in exchange for others.
    pub exchanges: bool,
    /// Whether it has to push its authorization requests ahead.
    pub must_push: bool,
    redirects: Redirects,
}

/// How a client is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From the configuration.
    Configured,
    /// It registered itself (RFC 7591).
    Registered,
    /// By its client ID metadata document.
    Document,
}

/// How a client authenticates at the token endpoint.
#[derive(Clone, Debug)]
pub enum Authentication {
    /// Not at all (RFC 6749 §2.1, a public client).
    None,
    /// By a secret of one of these hashes, in either way.
    Secrets(Vec<[u8; 32]>),
    /// By a JWT that one of these verifies (RFC 7523 §2.2).
    Keys(Arc<KeySet>),
    /// The same, by keys that its document says the address of (`jwks_uri`).
    KeysAt(String),
    /// By a secret of this hash, in this way alone.
    Registered(Method, [u8; 32]),
}

/// The ways to authenticate (OpenID Connect Core §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `none`
    None,
    /// `client_secret_basic`
    Basic,
    /// `client_secret_post`
    Post,
}

impl Method {
    /// As metadata has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
        }
    }
}

#[derive(Clone, Debug)]
enum Redirects {
    /// The comparable texts.
    Listed(Vec<String>),
    /// Their hashes.
    Hashed(Vec<UriHash>),
}

/// The first half of SHA-256 of a redirect URI's comparable text.
pub type UriHash = [u8; 16];

impl Client {
    /// One of the configuration.
    pub fn configured(settings: &ClientSettings) -> Self {
        let uris = settings.redirect_uris.iter();
        let uris: Vec<_> = uris
            .filter_map(|uri| RedirectUri::parse(uri).ok())
            .collect();
        let authentication = match &settings.keys {
            Some(keys) => Authentication::Keys(Arc::clone(keys)),
            None if settings.secrets.is_empty() => Authentication::None,
            None => Authentication::Secrets(settings.secrets.clone()),
        };
        Self {
            id: settings.id.clone(),
            name: settings.name.clone(),
            kind: Kind::Configured,
            authentication,
            first_party: settings.first_party,
            machine: settings.machine.clone(),
            post_logout_redirect_uris: settings.post_logout_redirect_uris.clone(),
            uses_device_flow: settings.device_flow,
            introspects: settings.introspect,
            exchanges: settings.token_exchange,
            must_push: settings.require_pushed_authorization_requests,
            ..Self::listed(
                settings.id.clone(),
                settings.name.clone(),
                Kind::Configured,
                &uris,
            )
        }
    }

    /// Whether the operator knows it and it proves itself. A secret alone says nothing: anybody can register for one.
    pub fn is_vouched_for(&self) -> bool {
        self.kind == Kind::Configured && !self.is_public()
    }

    /// A public client with these addresses.
    pub fn listed(id: String, name: String, kind: Kind, uris: &[RedirectUri]) -> Self {
        Self {
            id,
            name,
            kind,
            authentication: Authentication::None,
            first_party: false,
            only_loopback: uris.iter().all(RedirectUri::is_loopback),
            machine: None,
            post_logout_redirect_uris: Vec::new(),
            uses_device_flow: false,
            introspects: false,
            exchanges: false,
            must_push: false,
            redirects: Redirects::Listed(
                uris.iter().map(|uri| uri.comparable().to_owned()).collect(),
            ),
        }
    }

    /// A client that registered itself.
    pub fn registered(
        id: String,
        name: String,
        authentication: Authentication,
        (only_loopback, uses_device_flow): (bool, bool),
        uris: Vec<UriHash>,
    ) -> Self {
        Self {
            id,
            name,
            kind: Kind::Registered,
            authentication,
            first_party: false,
            only_loopback,
            machine: None,
            post_logout_redirect_uris: Vec::new(),
            uses_device_flow,
            introspects: false,
            exchanges: false,
            must_push: false,
            redirects: Redirects::Hashed(uris),
        }
    }

    /// The address that codes may go to, if `text` is one of the client's.
    pub fn redirect_uri(&self, text: &str) -> Option<RedirectUri> {
        let uri = RedirectUri::parse(text).ok()?;
        let is_known = match &self.redirects {
            Redirects::Listed(known) => known.iter().any(|known| known == uri.comparable()),
            Redirects::Hashed(known) => known.contains(&uri_hash(&uri)),
        };
        is_known.then_some(uri)
    }

    /// Whether nobody is asked before a code goes there: the client is the operator's own, and it is sure that nobody else gets tokens
    /// for the code. At a loopback address or a private-use scheme any program of a machine may wait for it, by the client's name (RFC
    /// 8252 §8.6). So the client has to prove itself, or be at home at an https address.
    pub fn skips_consent(&self, redirect_uri: &RedirectUri) -> bool {
        self.first_party && (redirect_uri.is_owned() || !self.is_public())
    }

    /// What the app, the log and lists know it by: of one that registered itself the id is long and says nothing.
    pub fn handle(&self) -> Text {
        match self.kind {
            Kind::Registered => {
                let hash = sha256(self.id.as_bytes());
                format!("registered:{}", URL_SAFE_NO_PAD.encode(&hash[..12])).into()
            }
            Kind::Configured | Kind::Document => self.id.as_str().into(),
        }
    }

    /// What metrics call it. Whoever may become known without the operator has no name of its own there.
    pub fn label(&self) -> &str {
        match self.kind {
            Kind::Configured => &self.id,
            Kind::Registered => "registered",
            Kind::Document => "document",
        }
    }

    /// Whether a token endpoint may give it anything without a proof of who it is.
    pub fn is_public(&self) -> bool {
        matches!(self.authentication, Authentication::None)
    }

    /// The host that vouches for its document.
    pub fn proven_host(&self) -> Option<String> {
        let url = url::Url::parse(&self.id)
            .ok()
            .filter(|_| self.kind == Kind::Document)?;
        url.host_str().map(str::to_owned)
    }

    /// Whether it authenticates by this secret, sent in this way.
    pub fn has_secret(&self, secret: &str, method: Method) -> bool {
        let given = sha256(secret.as_bytes());
        let fits = |known: &[u8; 32]| bool::from(known.ct_eq(&given));
        match &self.authentication {
            Authentication::Secrets(known) => {
                known.iter().fold(false, |any, known| any | fits(known))
            }
            Authentication::Registered(only, known) => *only == method && fits(known),
            Authentication::None | Authentication::Keys(_) | Authentication::KeysAt(_) => false,
        }
    }
}

/// What is kept of a redirect URI.
pub fn uri_hash(uri: &RedirectUri) -> UriHash {
    let hash = sha256(uri.comparable().as_bytes());
    *hash.first_chunk().expect("SHA-256 has 32 bytes")
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest(&SHA256, bytes);
    *digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(uris: &[&str]) -> Client {
        let uris: Vec<_> = uris
            .iter()
            .map(|uri| RedirectUri::parse(uri).unwrap())
            .collect();
        Client::listed("app".to_owned(), "App".to_owned(), Kind::Configured, &uris)
    }

    /// T21
    #[test]
    fn a_changed_redirect_uri_is_not_the_clients() {
        let client = client(&["https://app.example/cb?x=1", "http://127.0.0.1/cb"]);
        for text in [
            "https://app.example/cb?x=1",
            "http://127.0.0.1/cb",
            "http://127.0.0.1:9/cb",
        ] {
            assert_eq!(client.redirect_uri(text).unwrap().as_str(), text);
        }
        for text in [
            "",
            "https://app.example/cb",
            "https://app.example/cb?x=1&y=2",
            "https://app.example/cb?x=1/",
            "https://app.example/CB?x=1",
            "https://APP.example/cb?x=1",
            "http://app.example/cb?x=1",
            "https://app.example:444/cb?x=1",
            "https://app.example./cb?x=1",
            "https://app.example.evil/cb?x=1",
            "https://app.example@evil/cb?x=1",
            "https://app.example/cb?x=1#",
            "https://app.example//cb?x=1",
            "https://app.example/./cb?x=1",
            "http://127.0.0.1:9/cb/..",
            "http://localhost/cb",
            "http://127.0.0.2/cb",
            "https://127.0.0.1/cb",
        ] {
            assert!(client.redirect_uri(text).is_none(), "{text}");
        }
        assert!(!client.only_loopback);
    }

    #[test]
    fn a_name_that_any_program_may_use_is_no_proof() {
        let uris = [
            "https://a.example/cb",
            "http://127.0.0.1/cb",
            "com.example.app:/cb",
        ];
        let mut client = client(&uris);
        let skipped = |client: &Client| {
            uris.map(|uri| client.skips_consent(&client.redirect_uri(uri).unwrap()))
        };
        assert_eq!(skipped(&client), [false, false, false]);
        client.first_party = true;
        assert_eq!(skipped(&client), [true, false, false]);
        client.authentication = Authentication::Secrets(vec![sha256(b"s")]);
        assert_eq!(skipped(&client), [true, true, true]);
        client.first_party = false;
        assert_eq!(skipped(&client), [false, false, false]);
    }

    #[test]
    fn a_secret_counts_in_its_own_way_alone() {
        let mut client = client(&["https://app.example/cb"]);
        assert!(client.is_public() && !client.has_secret("", Method::Post));
        client.authentication = Authentication::Registered(Method::Basic, sha256(b"s"));
        assert!(client.has_secret("s", Method::Basic));
        assert!(!client.has_secret("s", Method::Post));
        assert!(!client.has_secret("t", Method::Basic));
        client.authentication = Authentication::Secrets(vec![sha256(b"s"), sha256(b"t")]);
        assert!(client.has_secret("s", Method::Post) && client.has_secret("t", Method::Basic));
    }
}
