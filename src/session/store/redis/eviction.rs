//! Whether Redis, when it is full, would throw away what it must keep. A session that it drops is a person logged out;
//! a sign-out that it drops is one let in again by a replica that starts afterwards.

use redis::{Cmd, Value};

use super::dial::Connection;

/// The policy by which a full Redis makes room among our keys, where it says that it has a bound and one of those.
/// A user that may not ask is told nothing.
pub(super) async fn policy(connection: &mut Connection) -> Option<String> {
    let mut question = Cmd::new();
    question.arg("INFO").arg("memory");
    let answer = connection.send(&question).await.ok()?;
    texts(&answer).into_iter().find_map(policy_in)
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

fn policy_in(info: &str) -> Option<String> {
    let value = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    let is_bounded = value("maxmemory")?.parse() != Ok(0_u64);
    let policy = value("maxmemory_policy")?;
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    let is_said = policy != "noeviction" && policy.len() <= 20 && policy.bytes().all(is_name);
    (is_bounded && is_said).then(|| policy.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_throws_away_is_told() {
        for (maxmemory, policy, expected) in [
            ("0", "allkeys-lru", None),
            ("104857600", "noeviction", None),
            ("104857600", "allkeys-lru", Some("allkeys-lru")),
            ("104857600", "volatile-ttl", Some("volatile-ttl")),
            ("104857600", "canary secret", None),
            ("", "allkeys-lru", Some("allkeys-lru")),
        ] {
            let info = format!(
                "# Memory\r\nused_memory:9\r\nmaxmemory:{maxmemory}\r\nmaxmemory_human:0B\r\nmaxmemory_policy:{policy}\r\n"
            );
            assert_eq!(
                policy_in(&info).as_deref(),
                expected,
                "{maxmemory} {policy}"
            );
        }
        assert_eq!(policy_in(""), None);
        assert_eq!(policy_in("maxmemory:1\r\n"), None);
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
        let found = texts(&map).into_iter().find_map(policy_in);
        assert_eq!(found.as_deref(), Some("allkeys-lfu"));
        assert!(texts(&Value::Nil).is_empty());
    }
}
