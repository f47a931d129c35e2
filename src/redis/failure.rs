//! Why Redis cannot be used now, in words without secrets. Of a server's message only the code is repeated, because a server may quote what
//! it was sent.

use std::fmt;

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why Redis is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisFailure {
    /// Nothing came within the time it has.
    NoAnswer,
    /// Nobody listens there.
    NobodyThere,
    /// The connection did not come about, or broke.
    Lost,
    /// It does not know this user, or this is not the password.
    WrongPassword,
    /// It wants a password and got none.
    NoPassword,
    /// This user may not do what sessions need.
    NotPermitted,
    /// Its answer was an error with this code.
    Says(String),
    /// Asked as a cluster, and it is a server by itself.
    NoCluster,
    /// Asked as a server by itself, and it is a node of a cluster.
    Cluster,
    /// The sentinels know no master of the name they were asked for.
    UnknownMaster,
    /// No sentinel was of use; this is the last one's trouble.
    Sentinel(Box<Self>),
    /// What came back is not what a Redis says.
    NoRedis,
    /// The name of the host leads nowhere.
    UnknownHost,
    /// Anything else.
    Other(String),
}

impl RedisFailure {
    /// Whether Redis is there and refuses who asks, or what is asked: that does not pass by itself.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::WrongPassword | Self::NoPassword | Self::NotPermitted => true,
            Self::Sentinel(redis_failure) => redis_failure.is_refusal(),
            _ => false,
        }
    }

    /// What to look at first.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NobodyThere => "see whether it runs, and whether host and port are its own",
            Self::NoAnswer => {
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
            Self::NoPassword => "write redis://:PASSWORD@HOST, or redis://USER:PASSWORD@HOST",
            Self::NotPermitted => {
                "the user needs ~sidegate:* &sidegate:* +@read +@write +@scripting +@pubsub +@connection +role +time +info"
            }
            Self::Says(code) => match code.as_str() {
                "READONLY" => {
                    "this is a replica, which takes no writes: name the server it follows, or the sentinels"
                }
                "LOADING" => "it still reads its data: ask again in a while",
                "MOVED" => IS_CLUSTER,
                "OOM" => "it is full and throws nothing away: see its maxmemory",
                "ERR" => {
                    "see whether it has a database of the number that ends the address; its own log may say more"
                }
                "CLUSTERDOWN" => "see `redis-cli cluster info`",
                _ => "its own log says more",
            },
            Self::NoCluster => {
                "write redis:// (with TLS rediss://) in the place of redis-cluster://"
            }
            Self::Cluster => IS_CLUSTER,
            Self::UnknownMaster => {
                "the name stands after the slash in redis-sentinel://S1,S2/MASTER; `redis-cli sentinel masters` tells it"
            }
            Self::Sentinel(redis_failure) => match &**redis_failure {
                Self::Says(_) => {
                    "see whether it is a sentinel: they listen on 26379 as a rule, servers on 6379"
                }
                redis_failure => redis_failure.hint(),
            },
            Self::NoRedis => "see host and port: something else listens there",
            Self::UnknownHost => {
                "see whether the host's name is right, and whether it is known here"
            }
            Self::Other(_) => {
                "see host, user and password in the address, and the server's own log"
            }
        }
    }
}

impl fmt::Display for RedisFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => formatter.write_str("no answer in time"),
            Self::NobodyThere => formatter.write_str("connection refused"),
            Self::Lost => formatter.write_str("connection lost"),
            Self::WrongPassword => {
                formatter.write_str("Redis does not take the user or password (WRONGPASS)")
            }
            Self::NoPassword => formatter.write_str("Redis wants a password (NOAUTH)"),
            Self::NotPermitted => {
                formatter.write_str("the user may not do in Redis what is needed (NOPERM)")
            }
            Self::Says(code) => write!(formatter, "Redis says {code}"),
            Self::NoCluster => formatter.write_str("this Redis is no cluster"),
            Self::Cluster => formatter.write_str("this Redis is a node of a cluster"),
            Self::UnknownMaster => formatter.write_str("knows no master of this name"),
            Self::Sentinel(redis_failure) => write!(formatter, "sentinel: {redis_failure}"),
            Self::NoRedis => formatter.write_str("what answers is no Redis"),
            Self::UnknownHost => formatter.write_str("the host's name does not resolve"),
            Self::Other(why) => formatter.write_str(why),
        }
    }
}

const IS_CLUSTER: &str =
    "for a cluster write redis-cluster:// (with TLS rediss-cluster://) in the place of redis://";

impl From<RedisError> for RedisFailure {
    fn from(error: RedisError) -> Self {
        Self::from(&error)
    }
}

impl From<&RedisError> for RedisFailure {
    fn from(error: &RedisError) -> Self {
        let code = error.code().filter(|code| {
            code.len() <= 20
                && code
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        });
        match (error.kind(), code) {
            (_, Some("NOAUTH")) => Self::NoPassword,
            (_, Some("NOPERM")) | (ErrorKind::Server(ServerErrorKind::NoPerm), _) => {
                Self::NotPermitted
            }
            (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS")) => Self::WrongPassword,
            _ if error.is_timeout() => Self::NoAnswer,
            _ if error.is_connection_refusal() => Self::NobodyThere,
            (ErrorKind::Parse, _) => Self::NoRedis,
            (ErrorKind::Io, _) => Self::Lost,
            (_, Some(code)) => Self::Says(code.to_owned()),
            _ => Self::Other(error.category().to_owned()),
        }
    }
}
