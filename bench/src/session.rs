//! Session cookies, minted by sidegate's own code under the configuration of the sidegate that is
//! measured, so that it opens them as its own.

use std::{error::Error, path::Path, time::Duration};

use sidegate::{
    clock,
    config::{self, Environment},
    identity::Identity,
    random,
    session::{
        Session, codec,
        cookie::{Cookies, SessionCookies},
        seal::{KeyRing, Purpose},
    },
};

/// How much a session says.
#[derive(Clone, Copy)]
pub enum Size {
    /// Login, address, name and three groups: about 300 characters.
    Usual,
    /// The same with sixty groups named by identifiers: about 3,000 characters.
    Long,
}

/// The login of every session.
pub const USER: &str = "ada.lovelace";

/// Makes session cookies.
pub struct Mint {
    keys: KeyRing,
    cookies: Cookies,
    max_age: Duration,
    provider_fingerprint: [u8; 8],
}

impl Mint {
    /// For the sidegate that `file` configures.
    pub fn new(file: &Path) -> Result<Self, Box<dyn Error>> {
        let config = config::load(Some(file), &Environment::new())
            .map_err(|report| report.render(false))?
            .config;
        let provider = config
            .providers
            .first()
            .ok_or("no provider is configured")?;
        Ok(Self {
            provider_fingerprint: provider.fingerprint(),
            keys: KeyRing::new(&config.session.secrets, &config.gate_name()),
            cookies: Cookies::new(&config.session, &config.public_url, &config.prefix),
            max_age: config.session.idle_timeout,
        })
    }

    /// A thousand cookies (`NAME=VALUE`), each of a session of its own.
    pub fn cookies(&self, size: Size) -> Result<Vec<String>, Box<dyn Error>> {
        (0..COUNT)
            .map(|number| self.cookie(&session(number, size, self.provider_fingerprint)))
            .collect()
    }

    fn cookie(&self, session: &Session) -> Result<String, Box<dyn Error>> {
        let plain = codec::encode(session);
        let sealed = self
            .keys
            .seal(Purpose::Session, b"", &plain, random::bytes());
        let written = self
            .cookies
            .write_session(&sealed, self.max_age, SessionCookies::default())
            .ok_or("the session does not fit into cookies")?;
        let pairs: Result<Vec<&str>, _> = written
            .iter()
            .map(|value| {
                value
                    .to_str()
                    .map(|value| value.split(';').next().unwrap_or(value))
            })
            .collect();
        Ok(pairs?.join("; "))
    }
}

fn session(number: u32, size: Size, provider_fingerprint: [u8; 8]) -> Session {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    let now = clock::now();
    let mut groups = vec!["engineering".into(), "operations".into(), "everyone".into()];
    if let Size::Long = size {
        groups.extend(
            (0..57).map(|group| format!("{group:08x}-4f0b-4c55-9a2f-{number:012x}").into()),
        );
    }
    let identity = Identity {
        login: Some(USER.into()),
        email: Some("ada.lovelace@example.com".into()),
        name: Some("Ada Lovelace".into()),
        groups,
        ..Identity::of("corp", &format!("{number:08x}-6d0e-4f0b-9c55-0a2f4b1f7d11"))
    };
    Session {
        provider_fingerprint,
        ..Session::begin(id, id, now, identity)
    }
}

const COUNT: u32 = 1000;
