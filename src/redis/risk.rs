//! Settings of Redis that can lose data. A lost session is a user logged out. A lost sign-out is a user let in again, if no running replica
//! knows better.

use std::fmt;

use redis::{Cmd, Value};

use super::{dial::Connection, failure::RedisFailure};

/// A setting to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Risk {
    /// When it is full, it makes room among our keys, by this policy.
    Evicts(String),
    /// What it was told since its last snapshot goes with it.
    KeepsNoLog,
    /// The user may not ask for its settings.
    Unknown,
}

impl fmt::Display for Risk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evicts(policy) => write!(
                formatter,
                "when Redis is full it throws sessions away, and who was signed out with them (maxmemory-policy \
                 {policy}); set maxmemory-policy noeviction; where Redis is somebody's cache as well, use another one"
            ),
            Self::KeepsNoLog => formatter.write_str(
                "a crash of Redis loses the sessions and sign-outs since its last snapshot (appendonly no); set \
                 appendonly yes",
            ),
            Self::Unknown => formatter.write_str(
                "whether Redis throws sessions away, or loses them in a crash, cannot be asked by this user; give it +info",
            ),
        }
    }
}

/// What `connection` says of itself. Where it cannot be asked for another reason than the user's rights, nothing is said.
pub(crate) async fn risks(connection: &mut Connection) -> Vec<Risk> {
    let mut risks = Vec::new();
    for (section, find) in [
        ("memory", evicts as fn(&str) -> Option<Risk>),
        ("persistence", keeps_no_log),
    ] {
        let mut question = Cmd::new();
        question.arg("INFO").arg(section);
        match connection.send(&question).await {
            Ok(answer) => risks.extend(texts(&answer).into_iter().find_map(find)),
            Err(error) if RedisFailure::from(&error) == RedisFailure::NotPermitted => {
                return vec![Risk::Unknown];
            }
            Err(_) => {}
        }
    }
    risks
}

/// What each server that was asked says: a cluster's answer is one of several.
fn texts(answer: &Value) -> Vec<&str> {
    match answer {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).into_iter().collect(),
        Value::VerbatimString { text, .. } => vec![text],
        Value::Array(answers) => answers.iter().flat_map(texts).collect(),
        Value::Map(answers) => answers.iter().flat_map(|(_, text)| texts(text)).collect(),
        _ => Vec::new(),
    }
}

fn evicts(info: &str) -> Option<Risk> {
    let is_bounded = value(info, "maxmemory")?.parse() != Ok(0_u64);
    let policy = value(info, "maxmemory_policy")?;
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    let is_said = policy != "noeviction" && policy.len() <= 20 && policy.bytes().all(is_name);
    (is_bounded && is_said).then(|| Risk::Evicts(policy.to_owned()))
}

fn keeps_no_log(info: &str) -> Option<Risk> {
    (value(info, "aof_enabled")? == "0").then_some(Risk::KeepsNoLog)
}

fn value<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    let mut lines = info.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_throws_away_is_told() {
        for (maxmemory, policy, is_told) in [
            ("0", "allkeys-lru", false),
            ("104857600", "noeviction", false),
            ("104857600", "allkeys-lru", true),
            ("104857600", "volatile-ttl", true),
            ("104857600", "canary secret", false),
            ("", "allkeys-lru", true),
        ] {
            let info = format!(
                "# Memory\r\nused_memory:9\r\nmaxmemory:{maxmemory}\r\nmaxmemory_human:0B\r\nmaxmemory_policy:{policy}\r\n"
            );
            let expected = is_told.then(|| Risk::Evicts(policy.to_owned()));
            assert_eq!(evicts(&info), expected, "{maxmemory} {policy}");
        }
        assert_eq!(evicts(""), None);
        assert_eq!(evicts("maxmemory:1\r\n"), None);
        let log = |line: &str| keeps_no_log(&format!("# Persistence\r\n{line}\r\n"));
        assert_eq!(log("aof_enabled:0"), Some(Risk::KeepsNoLog));
        assert_eq!(log("aof_enabled:1"), None);
        assert_eq!(log("loading:0"), None);
    }

    #[test]
    fn a_cluster_says_it_of_each_server() {
        let info = |policy: &str| {
            let text = format!("maxmemory:1\r\nmaxmemory_policy:{policy}\r\n");
            Value::BulkString(text.into_bytes())
        };
        let name = || Value::SimpleString("127.0.0.1:7000".to_owned());
        let map = Value::Map(vec![
            (name(), info("noeviction")),
            (name(), info("allkeys-lfu")),
        ]);
        let found = texts(&map).into_iter().find_map(evicts);
        assert_eq!(found, Some(Risk::Evicts("allkeys-lfu".to_owned())));
        assert!(texts(&Value::Nil).is_empty());
    }
}
