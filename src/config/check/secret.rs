//! Secrets: written out, from the environment, or from a file. No message repeats one.

use std::{collections::BTreeSet, fs};

use zeroize::Zeroizing;

use super::{
    super::{
        mask::is_variable_name,
        problem::{Origin, Problem},
        tree::{Node, Value},
    },
    Reader, Table,
};
use crate::secret::Secret;

impl Reader<'_> {
    /// One secret that is not empty.
    pub(super) fn secret(&mut self, node: &Node, table: &Table<'_>, key: &str) -> Option<Secret> {
        self.sourced(node, table, key, "a secret must have a value")
    }

    /// What a secret is or holds, wherever it comes from. `example` says what to write where it is empty.
    pub(super) fn sourced(
        &mut self,
        node: &Node,
        table: &Table<'_>,
        key: &str,
        example: &str,
    ) -> Option<Secret> {
        let secret = match &node.value {
            Value::Text(text) => Secret::new(text.to_string()),
            Value::Table(_) => match (node.get("env"), node.get("file")) {
                (Some(name), None) => self.secret_in_environment(name, &table.whole(key))?,
                (None, Some(path)) => self.secret_in_file(path, &table.whole(key))?,
                _ => {
                    self.problem(
                        Problem::new(&node.origin, format!("`{key}` has not exactly one source"))
                            .hint("write { env = \"NAME\" } or { file = \"/path\" }"),
                    );
                    return None;
                }
            },
            _ => {
                let message = format!("`{key}` is text or a table, and this is {}", node.kind());
                self.problem(Problem::new(&node.origin, message).hint(format!(
                    "write {key} = {{ env = \"NAME\" }}, {{ file = \"/path\" }} or the text itself"
                )));
                return None;
            }
        };
        if secret.expose().trim().is_empty() {
            self.problem(Problem::new(&node.origin, format!("`{key}` is empty")).hint(example));
            return None;
        }
        if is_placeholder(secret.expose()) {
            // Not which: it may be a secret all the same.
            self.warnings.push(format!(
                "{} looks like a variable of a shell, and is taken as it stands: write {{ env = \"NAME\" }} for what the \
                 environment has",
                table.whole(key)
            ));
        }
        Some(secret)
    }

    /// One or several secrets that sessions can be sealed with. `None` also where a list is empty.
    pub(super) fn session_secrets(
        &mut self,
        node: &Node,
        table: &Table<'_>,
    ) -> Option<Vec<Secret>> {
        let mut secrets = Vec::new();
        let mut complete = true;
        let from_environment = matches!(node.origin, Origin::Variable(_));
        match &node.value {
            Value::List(items) => {
                for item in items {
                    let secret = self.secret(item, table, "secret");
                    complete &= secret.is_some();
                    secrets.extend(secret.map(|secret| (secret, item.origin.clone())));
                }
            }
            Value::Text(text) if from_environment => {
                let parts = text
                    .split(',')
                    .map(str::trim)
                    .filter(|part| !part.is_empty());
                secrets
                    .extend(parts.map(|part| (Secret::new(part.to_owned()), node.origin.clone())));
            }
            _ => {
                let secret = self.secret(node, table, "secret")?;
                secrets.push((secret, node.origin.clone()));
            }
        }
        if secrets.is_empty() && complete {
            self.problem(
                Problem::new(&node.origin, "`secret` is an empty list")
                    .hint("`sidegate secret` prints a fresh one"),
            );
            return None;
        }
        for (secret, origin) in &secrets {
            if let Some(weakness) = weakness(secret.expose()) {
                complete = false;
                self.problem(
                    Problem::new(origin, format!("this session secret is weak: {weakness}"))
                        .hint("`sidegate secret` prints a fresh one"),
                );
            }
        }
        complete.then(|| secrets.into_iter().map(|(secret, _)| secret).collect())
    }

    fn secret_in_environment(&mut self, node: &Node, whole_key: &str) -> Option<Secret> {
        let name = self.text(node, "env")?;
        if !is_variable_name(name) {
            self.problem(
                Problem::new(&node.origin, "`env` is no variable's name")
                    .hint("write the name alone, as in { env = \"CLIENT_SECRET\" }"),
            );
            return None;
        }
        if let Some(value) = self.environment.get(name) {
            return Some(Secret::new(value.trim().to_owned()));
        }
        let message = format!("the environment has no {name}");
        if let Some(stand_in) = self.stand_in {
            self.absent
                .push(format!("{whole_key} is not checked: {message}"));
            return Some(stand_in.clone());
        }
        self.problem(
            Problem::new(&node.origin, message)
                .hint("set it for this process, or name another variable"),
        );
        None
    }

    fn secret_in_file(&mut self, node: &Node, whole_key: &str) -> Option<Secret> {
        let path = self.text(node, "file")?;
        let path = self.resolve(path, &node.origin);
        match fs::read_to_string(&path).map(Zeroizing::new) {
            Ok(content) => Some(Secret::new(content.trim().to_owned())),
            Err(error) => {
                self.unreadable(node, whole_key, &path, &error);
                self.stand_in.cloned()
            }
        }
    }

    /// Whether this is not the secret itself, because that is not on this machine.
    pub(super) fn stands_in(&self, secret: &Secret) -> bool {
        self.stand_in
            .is_some_and(|stand_in| stand_in.expose() == secret.expose())
    }
}

/// Why somebody could guess the secret, if they could. A random one of the length asked for passes but
/// once in many millions.
pub(in crate::config) fn weakness(secret: &str) -> Option<&'static str> {
    const OBVIOUS: [&str; 12] = [
        "changeme",
        "changethis",
        "replaceme",
        "replacethis",
        "password",
        "placeholder",
        "yoursecret",
        "mysecret",
        "verysecret",
        "example",
        "0123456789",
        "abcdefgh",
    ];
    if secret.chars().count() < SHORTEST {
        return Some("it has fewer than 32 characters");
    }
    let distinct: BTreeSet<char> = secret.chars().collect();
    if distinct.len() < 6 {
        return Some("it repeats a few characters");
    }
    let characters: Vec<char> = secret.chars().collect();
    let repeats = |period: usize| {
        characters
            .iter()
            .zip(&characters[period..])
            .all(|(a, b)| a == b)
    };
    if (1..=characters.len() / 2).any(repeats) {
        return Some("it repeats itself");
    }
    let plain: String = secret
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|character| character.to_ascii_lowercase())
        .collect();
    if OBVIOUS.iter().any(|word| plain.contains(word)) {
        return Some("it is an example that anybody could try");
    }
    None
}

/// Characters; as base64 or hexadecimal they carry 128 bits at least.
const SHORTEST: usize = 32;

/// `$NAME` and `${NAME}`, which other programs replace and this one does not.
fn is_placeholder(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('$') else {
        return false;
    };
    let braced = rest
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    is_variable_name(braced.unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_secrets_are_found() {
        for secret in [
            "short",
            "0000000000000000000000000000000000000000",
            "abababababababababababababababababababab",
            "Tr0ub4dor&3Tr0ub4dor&3Tr0ub4dor&3",
            "change-me-please-before-going-live-now",
            "CHANGE_ME_PLEASE_BEFORE_GOING_LIVE_NOW",
            "0123456789012345678901234567890123456789",
            "my-secret-that-nobody-will-ever-guess",
        ] {
            assert!(weakness(secret).is_some(), "{secret}");
        }
        for secret in [
            "pV1m0o7d6ZkU2a0aJm0S6e9m3b5bFv8hY1xQwC4rT7k",
            "9f86d081884c7d659a2feaa0c55ad015",
            "correct horse battery staple and some more",
        ] {
            assert_eq!(weakness(secret), None, "{secret}");
        }
    }
}
