//! The authorization request, the callback, and where claims are in the answer.

use super::{
    super::{
        problem::Problem,
        schema::{Kind as Form, Names},
        tree::{Node, Value},
    },
    OwnPaths, Reader, Table,
};
use crate::{
    canonical_path::CanonicalPath,
    provider::{kind::Kind, settings::ClaimPaths},
};

impl Reader<'_> {
    pub(super) fn scopes(&mut self, table: &Table<'_>, kind: Option<&Kind>) -> Option<Vec<String>> {
        let mut scopes = Vec::new();
        match table.get("scopes", Form::Texts) {
            None => scopes.extend(kind?.scopes.iter().map(ToString::to_string)),
            Some(node) => {
                for item in self.list(node, "scopes")? {
                    // RFC 6749 §3.3.
                    let is_scope = !item.text.is_empty()
                        && item
                            .text
                            .bytes()
                            .all(|byte| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~'));
                    if !is_scope {
                        self.problem(
                            Problem::new(&item.origin, format!("`{}` is no scope", item.text))
                                .hint("write each as its own text: [\"profile\", \"email\"]"),
                        );
                        return None;
                    }
                    if !scopes.iter().any(|scope| scope == item.text) {
                        scopes.push(item.text.to_owned());
                    }
                }
            }
        }
        if let Some(required) = kind?.required_scope
            && !scopes.iter().any(|scope| scope == required)
        {
            scopes.insert(0, required.to_owned());
        }
        Some(scopes)
    }

    pub(super) fn authorize_params(&mut self, table: &Table<'_>) -> Option<Vec<(String, String)>> {
        let entries = table.map("authorize_params", Names::Plain, Form::Scalar);
        let mut params = Vec::new();
        let mut complete = true;
        for (name, entry) in entries {
            let problem = if OWN_PARAMS.contains(&name.as_str()) {
                Problem::new(&entry.key_origin, format!("`{name}` is the gate's to say"))
                    .hint("the login depends on it; take it out")
            } else if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                Problem::new(
                    &entry.key_origin,
                    format!("`{name}` is no parameter's name"),
                )
                .hint("as in authorize_params = { prompt = \"select_account\" }")
            } else {
                match self.parameter(name, entry) {
                    Some(value) => params.push((name.clone(), value)),
                    None => complete = false,
                }
                continue;
            };
            complete = false;
            self.problem(problem);
        }
        complete.then_some(params)
    }

    /// Text, or a number or truth that somebody wrote without quotes.
    fn parameter(&mut self, name: &str, node: &Node) -> Option<String> {
        match node.value {
            Value::Integer(number) => Some(number.to_string()),
            Value::Boolean(truth) => Some(truth.to_string()),
            _ => self.text(node, name).map(str::to_owned),
        }
    }

    pub(super) fn callback_path(
        &mut self,
        name: &str,
        table: &Table<'_>,
        own: OwnPaths<'_>,
    ) -> Option<String> {
        let prefix = own.prefix.unwrap_or_default();
        let default = format!("{prefix}/callback/{name}");
        let Some(node) = table.get("callback_path", Form::Text) else {
            return Some(default);
        };
        let text = self.text(node, "callback_path")?;
        let problem = if text == default {
            return Some(default);
        } else if !is_callback_path(text) {
            Problem::new(
                &node.origin,
                format!("`{text}` cannot be a callback's path"),
            )
            .hint(
                "the path alone as it is registered, without host and query: \"/oauth/callback/\"",
            )
        } else if own.find(text).is_some() {
            Problem::new(&node.origin, format!("`{text}` belongs to the gate itself")).hint(
                format!("under {prefix} a provider's callback is {default}; register that, or leave the prefix"),
            )
        } else {
            return Some(text.to_owned());
        };
        self.problem(problem);
        None
    }

    /// Where the provider's answer has things.
    pub(super) fn claims(&mut self, table: &Table<'_>, kind: Option<&Kind>) -> Option<ClaimPaths> {
        let claims = table.table("claims");
        let mut complete = true;
        let mut path = |key: &'static str| {
            let node = claims.get(key, Form::Text)?;
            let path = self.claim_path(node, key);
            complete &= path.is_some();
            path
        };
        let paths = ClaimPaths {
            subject: path("subject"),
            user: path("user"),
            email: path("email"),
            email_verified: path("email_verified"),
            name: path("name"),
            picture: path("picture"),
            groups: path("groups"),
        };
        if kind?.claims_by_hand
            && claims.node.get("subject").is_none()
            && !self.is_mistyped(&claims, "subject")
        {
            complete = false;
            let place = if claims.is_written() { &claims } else { table };
            self.problem(
                Problem::new(&place.node.key_origin, "`claims.subject` is missing").hint(
                    "say where the answer has an id that stays the same, as in \
                     claims = { subject = \"id\", user = \"login\" }",
                ),
            );
        }
        complete.then_some(paths)
    }

    fn claim_path(&mut self, node: &Node, key: &str) -> Option<String> {
        let text = self.text(node, key)?;
        if is_claim_path(text) {
            return Some(text.to_owned());
        }
        self.problem(
            Problem::new(&node.origin, format!("`{text}` is no path to a claim"))
                .hint("names and numbers joined by dots, as in \"realm_access.roles\""),
        );
        None
    }
}

/// Parameters of the authorization request that the login makes (RFC 6749 §4.1.1, RFC 7636 §4.3, OpenID
/// Connect Core §3.1.2.1). Another `response_mode` would bring the answer by a way that nobody waits at.
const OWN_PARAMS: [&str; 9] = [
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

/// A path that has one reading alone, so that what comes back to it is judged as it is configured.
fn is_callback_path(text: &str) -> bool {
    text.len() <= 256
        && text != "/"
        && CanonicalPath::parse(text).is_ok_and(|path| path.deep.is_none() && path.surface == text)
}

/// Keys and indices joined by dots, none of them empty.
pub(super) fn is_claim_path(text: &str) -> bool {
    text.split('.')
        .all(|key| !key.is_empty() && key.trim() == key)
}
