//! Session cookies, minted by sidegate's own code under the configuration of the sidegate that is
//! measured, so that it opens them as its own.

use std::{error::Error, path::Path, sync::Arc};

use sidegate::{
    clock,
    config::{self, Environment},
    session::{
        Identity, Lifetimes, Session, Sessions, Tokens,
        cookie::{Cookies, SessionCookies},
        seal::KeyRing,
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
    sessions: Sessions,
}

impl Mint {
    /// For the sidegate that `file` configures.
    pub fn new(file: &Path) -> Result<Self, Box<dyn Error>> {
        let config = config::load(Some(file), &Environment::new())
            .map_err(|report| report.render(false))?
            .config;
        let host = config.public_url.authority();
        Ok(Self {
            sessions: Sessions::new(
                Arc::new(KeyRing::new(&config.session.secrets, host)),
                Cookies::new(&config.session, &config.public_url, &config.prefix),
                Lifetimes {
                    lifetime: config.session.lifetime,
                    idle_timeout: config.session.idle_timeout,
                },
            ),
        })
    }

    /// A thousand cookies (`NAME=VALUE`), each of a session of its own.
    pub fn cookies(&self, size: Size) -> Result<Vec<String>, Box<dyn Error>> {
        (0..COUNT)
            .map(|number| self.cookie(&session(number, size)))
            .collect()
    }

    fn cookie(&self, session: &Session) -> Result<String, Box<dyn Error>> {
        let written = self
            .sessions
            .write(session, SessionCookies::default(), clock::now())
            .map_err(|_| "the session does not fit into cookies")?;
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

fn session(number: u32, size: Size) -> Session {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    let now = clock::now();
    let mut groups = vec!["engineering".into(), "operations".into(), "everyone".into()];
    if let Size::Long = size {
        groups.extend(
            (0..57).map(|group| format!("{group:08x}-4f0b-4c55-9a2f-{number:012x}").into()),
        );
    }
    Session {
        id,
        login_id: id,
        created_at: now,
        seen_at: now,
        identity: Identity {
            provider: "corp".into(),
            subject: format!("{number:08x}-6d0e-4f0b-9c55-0a2f4b1f7d11").into(),
            login: Some(USER.into()),
            email: Some("ada.lovelace@example.com".into()),
            name: Some("Ada Lovelace".into()),
            picture: None,
            groups,
            memberships: Vec::new(),
            claims: Vec::new(),
        },
        tokens: Tokens::default(),
    }
}

const COUNT: u32 = 1000;
