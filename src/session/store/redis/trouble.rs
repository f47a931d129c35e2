//! Why Redis is of no use right now, in words that hold no secret: nothing that the server said but its code is
//! repeated, because a server may quote what it was sent.

use std::fmt;

use redis::{ErrorKind, RedisError};

/// Why Redis is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing came within the time it has.
    Silent,
    /// Nobody listens there.
    Refused,
    /// The connection did not come about, or broke.
    Lost,
    /// It does not know this user, or this is not the password.
    WrongPassword,
    /// Its answer was an error with this code.
    Says(String),
    /// The sentinels know no master of the name they were asked for.
    UnknownMaster,
    /// No sentinel was of use; this is the last one's trouble.
    Sentinel(Box<Self>),
    /// What the client library calls it.
    Other(String),
}

impl Trouble {
    /// What to look at first.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Refused => "see whether it runs, and whether host and port are its own",
            Self::Silent => {
                "see host and port, whether a firewall stands between, and whether it speaks TLS: rediss:// is with TLS, \
                 redis:// is without"
            }
            Self::Lost => {
                "see whether the host's name is right, and whether it speaks TLS: rediss:// is with TLS and a \
                 certificate that is trusted here, redis:// is without"
            }
            Self::WrongPassword => {
                "see user and password in redis://USER:PASSWORD@HOST; what is neither letter nor digit is written \
                 as in an address, @ as %40"
            }
            Self::Says(code) => match code.as_str() {
                "NOAUTH" => "it asks for a password: redis://:PASSWORD@HOST",
                "NOPERM" => "its ACL does not let this user do what sessions need",
                "READONLY" => {
                    "this is a replica, which takes no writes: name the server it follows, or the sentinels"
                }
                "LOADING" => "it still reads its data: ask again in a while",
                "CLUSTERDOWN" | "MOVED" => "see `redis-cli cluster info`",
                _ => "its own log says more",
            },
            Self::UnknownMaster => {
                "the name stands after the slash in redis-sentinel://S1,S2/MASTER; `redis-cli sentinel masters` tells it"
            }
            Self::Sentinel(trouble) => trouble.hint(),
            Self::Other(_) => {
                "see host, user and password in the address, and the server's own log"
            }
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => formatter.write_str(NO_ANSWER),
            Self::Refused => formatter.write_str("connection refused"),
            Self::Lost => formatter.write_str("connection lost"),
            Self::WrongPassword => formatter.write_str("wrong user or password"),
            Self::Says(code) => write!(formatter, "Redis says {code}"),
            Self::UnknownMaster => formatter.write_str("knows no master of this name"),
            Self::Sentinel(trouble) => write!(formatter, "sentinel: {trouble}"),
            Self::Other(category) => formatter.write_str(category),
        }
    }
}

/// What is said of a server that is silent.
pub(super) const NO_ANSWER: &str = "no answer in time";

/// What went wrong, for the log.
pub(super) fn describe(error: &RedisError) -> String {
    Trouble::from(error).to_string()
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        Self::from(&error)
    }
}

impl From<&RedisError> for Trouble {
    fn from(error: &RedisError) -> Self {
        if error.is_timeout() {
            return Self::Silent;
        }
        if error.is_connection_refusal() {
            return Self::Refused;
        }
        let code = error.code().filter(|code| {
            code.len() <= 20
                && code
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        });
        match (error.kind(), code) {
            (ErrorKind::AuthenticationFailed, _) => Self::WrongPassword,
            (ErrorKind::Io, _) => Self::Lost,
            (_, Some(code)) => Self::Says(code.to_owned()),
            _ => Self::Other(error.category().to_owned()),
        }
    }
}
