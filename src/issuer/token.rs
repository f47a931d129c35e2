//! The format of codes, refresh tokens and access tokens. Pure.
//!
//! A code or refresh token names its grant, and has a MAC under a key of that grant: `sgc_` or `sgr_`, and base64url of owner (16) ‖
//! grant (16) ‖ generation (4) ‖ HMAC-SHA256 (16). So all who ask at once get the same successor of a refresh token, and a forged
//! token cannot end a grant.
//!
//! An access token is sealed as a whole: `sga_`, and what the gate needs to know. Nobody else can read or make one.

use std::fmt;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use crate::{
    clock::Timestamp,
    session::{
        Session, codec,
        directory::UserKey,
        seal::{KeyRing, Purpose},
    },
};

/// What an access token begins with.
pub const ACCESS: &str = "sga_";
/// What a refresh token begins with.
pub const REFRESH: &str = "sgr_";
/// What a code begins with.
pub const CODE: &str = "sgc_";

/// Names a grant: whose, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GrantName {
    /// The owner's hash.
    pub owner: [u8; 16],
    /// The grant's id.
    pub id: [u8; 16],
}

/// Names a grant to its owner and to operators: no credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantId(GrantName);

impl GrantId {
    /// Of the grant of this id, which is one of `user`'s.
    pub fn of(user: &UserKey, id: [u8; 16]) -> Self {
        Self(GrantName {
            owner: *user.bytes(),
            id,
        })
    }

    /// What [`Display`](fmt::Display) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 32] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (owner, id) = bytes.split_first_chunk()?;
        Some(Self(GrantName {
            owner: *owner,
            id: id.try_into().ok()?,
        }))
    }

    /// The grant.
    pub fn name(&self) -> GrantName {
        self.0
    }

    /// Whether it is one of that user's.
    pub fn is_of(&self, user: &UserKey) -> bool {
        self.0.owner == *user.bytes()
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.0.owner, self.0.id].concat();
        formatter.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// A code or a refresh token that is well-formed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Presented {
    /// The grant that it says it was given for.
    pub grant: GrantName,
    /// The how manieth of that grant it says it is; zero for a code.
    pub generation: u32,
    mac: [u8; 16],
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Refresh,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Code => CODE,
            Self::Refresh => REFRESH,
        }
    }
}

impl Presented {
    /// Reads a code.
    pub fn code(text: &str) -> Option<Self> {
        Self::read(text, Kind::Code)
    }

    /// Reads a refresh token.
    pub fn refresh(text: &str) -> Option<Self> {
        Self::read(text, Kind::Refresh)
    }

    fn read(text: &str, kind: Kind) -> Option<Self> {
        let encoded = text.strip_prefix(kind.prefix())?;
        if encoded.len() != 70 {
            return None;
        }
        let bytes: [u8; 52] = URL_SAFE_NO_PAD.decode(encoded).ok()?.try_into().ok()?;
        let (owner, rest) = bytes.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (generation, mac) = rest.split_first_chunk()?;
        Some(Self {
            grant: GrantName {
                owner: *owner,
                id: *id,
            },
            generation: u32::from_be_bytes(*generation),
            mac: mac.try_into().ok()?,
            kind,
        })
    }

    /// Whether it was given for the grant that has this key.
    pub fn is_genuine(&self, key: &[u8; 32]) -> bool {
        let expected = mac(key, self.grant, self.generation, self.kind);
        self.mac.ct_eq(&expected).into()
    }
}

/// The code of a grant.
pub fn code(grant: GrantName, key: &[u8; 32]) -> String {
    write(grant, 0, key, Kind::Code)
}

/// The refresh token of a grant's generation.
pub fn refresh(grant: GrantName, generation: u32, key: &[u8; 32]) -> String {
    write(grant, generation, key, Kind::Refresh)
}

fn write(grant: GrantName, generation: u32, key: &[u8; 32], kind: Kind) -> String {
    let mac = mac(key, grant, generation, kind);
    let bytes = [&grant.owner[..], &grant.id, &generation.to_be_bytes(), &mac].concat();
    format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(bytes))
}

fn mac(key: &[u8; 32], grant: GrantName, generation: u32, kind: Kind) -> [u8; 16] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let said = [
        kind.prefix().as_bytes(),
        &grant.owner,
        &grant.id,
        &generation.to_be_bytes(),
    ]
    .concat();
    let tag = hmac::sign(&key, &said);
    *tag.as_ref()
        .first_chunk()
        .expect("HMAC-SHA256 has 32 bytes")
}

/// What an access token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// The grant as a session: whom it proves, since when, until when, and by what it ends before.
    pub session: Session,
    /// The client that it was given to, as apps and the log know it.
    pub client: String,
    /// The one address that it is for.
    pub resource: String,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// When it was given.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Whether it is the client's own, and nobody's whom a provider knows.
    pub is_clients_own: bool,
    /// Whether the client is one of the configuration: it ends with that.
    pub is_of_configured_client: bool,
}

/// How an access token is written.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// Sealed as a whole.
    Opaque,
    /// As RFC 9068 has it; for the gate the same is sealed in there.
    Jwt,
}

impl Form {
    /// What it is sealed with.
    fn binding(self) -> &'static [u8] {
        match self {
            Self::Opaque => b"",
            Self::Jwt => b"at+jwt",
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Written<'a> {
    session: &'a [u8],
    client: &'a str,
    resource: &'a str,
    scopes: Vec<&'a str>,
    issued_at: u64,
    lasts: u64,
    is_clients_own: bool,
    is_of_configured_client: bool,
}

impl AccessToken {
    /// The token's text.
    pub fn seal(&self, keys: &KeyRing, nonce: [u8; 12]) -> String {
        format!("{ACCESS}{}", self.seal_into(Form::Opaque, keys, nonce))
    }

    /// What a token of that form holds for the gate. Nobody can make a token of another form of it.
    pub(super) fn seal_into(&self, form: Form, keys: &KeyRing, nonce: [u8; 12]) -> String {
        let session = codec::encode(&self.session);
        let written = Written {
            session: &session,
            client: &self.client,
            resource: &self.resource,
            scopes: self.scopes.iter().map(String::as_str).collect(),
            issued_at: self.issued_at.0,
            lasts: self.expires_at.since(self.issued_at).as_secs(),
            is_clients_own: self.is_clients_own,
            is_of_configured_client: self.is_of_configured_client,
        };
        let plain = postcard::to_extend(&written, vec![VERSION]).expect("a vector takes all of it");
        keys.seal(Purpose::AccessToken, form.binding(), &plain, nonce)
    }

    /// What a text says that [`seal`](Self::seal) has written, whatever became of it since.
    pub fn open(text: &str, keys: &KeyRing) -> Option<Self> {
        Self::open_from(Form::Opaque, text.strip_prefix(ACCESS)?, keys)
    }

    /// What [`seal_into`](Self::seal_into) has put into a token of that form.
    pub(super) fn open_from(form: Form, sealed: &str, keys: &KeyRing) -> Option<Self> {
        let plain = keys.open(Purpose::AccessToken, form.binding(), sealed)?;
        let written: Written<'_> = postcard::from_bytes(plain.strip_prefix(&[VERSION])?).ok()?;
        let issued_at = Timestamp(written.issued_at);
        Some(Self {
            session: codec::decode(&Bytes::copy_from_slice(written.session))?,
            client: written.client.to_owned(),
            resource: written.resource.to_owned(),
            scopes: written.scopes.into_iter().map(str::to_owned).collect(),
            issued_at,
            expires_at: Timestamp(written.issued_at.saturating_add(written.lasts)),
            is_clients_own: written.is_clients_own,
            is_of_configured_client: written.is_of_configured_client,
        })
    }
}

const VERSION: u8 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{identity::Identity, secret::Secret};

    const GRANT: GrantName = GrantName {
        owner: [1; 16],
        id: [2; 16],
    };

    fn ring(secret: &str) -> KeyRing {
        KeyRing::new(&[Secret::new(secret.to_owned())], "app.example gate")
    }

    #[test]
    fn a_token_proves_its_grant_its_generation_and_its_kind() {
        let key = [7; 32];
        let text = refresh(GRANT, 3, &key);
        let token = Presented::refresh(&text).unwrap();
        assert_eq!((token.grant, token.generation), (GRANT, 3));
        assert!(token.is_genuine(&key) && !token.is_genuine(&[8; 32]));
        assert!(Presented::code(&text).is_none());
        let code = code(GRANT, &key);
        assert!(Presented::code(&code).unwrap().is_genuine(&key));
        let as_refresh = code.replace(CODE, REFRESH);
        assert!(!Presented::refresh(&as_refresh).unwrap().is_genuine(&key));
        let forged = Presented {
            generation: 4,
            ..token
        };
        assert!(!forged.is_genuine(&key));
        for bad in [
            "",
            REFRESH,
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}A"),
            &text.replace("sgr_", "sgr_="),
        ] {
            assert!(Presented::refresh(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_access_token_opens_where_it_was_sealed_and_nowhere_else() {
        let token = AccessToken {
            session: Session::begin([3; 16], [0; 16], Timestamp(5), Identity::of("corp", "1")),
            client: "app".to_owned(),
            resource: "https://h/mcp".to_owned(),
            scopes: vec!["mcp".to_owned()],
            issued_at: Timestamp(10),
            expires_at: Timestamp(610),
            is_clients_own: false,
            is_of_configured_client: true,
        };
        let text = token.seal(&ring("one"), [1; 12]);
        assert_eq!(AccessToken::open(&text, &ring("one")), Some(token));
        assert_eq!(AccessToken::open(&text, &ring("two")), None);
        assert_eq!(AccessToken::open(&text[4..], &ring("one")), None);
        assert_eq!(AccessToken::open("sga_AAAA", &ring("one")), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(sga_|sgr_|sgc_)?[A-Za-z0-9_-]{0,80}") {
            let _ = Presented::code(&text);
            let _ = Presented::refresh(&text);
            prop_assert!(AccessToken::open(&text, &ring("one")).is_none());
        }
    }
}
