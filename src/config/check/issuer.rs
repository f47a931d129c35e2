//! `[issuer]`, and what routes have to do with it.

use std::time::Duration;

use super::{
    super::{
        problem::{Origin, Problem},
        schema::Kind,
        tree::{Node, Value},
    },
    Reader, Reported, Table,
};
use crate::{
    issuer::{
        authorize::scopes,
        settings::{CLIENT, IssuerSettings, TokenFormat},
    },
    jose::sign::SigningKey,
    kv::settings::StateSettings,
    mcp::{ToolPattern, ToolRules},
    provider::settings::ProviderSettings,
    route::{Access, Resource, Route},
    secret::Secret,
    session::settings::{SessionSettings, StoreSettings},
};

impl Reader<'_> {
    pub(super) fn issuer(&mut self, root: &Table<'_>) -> Result<Option<IssuerSettings>, Reported> {
        let table = &root.table("issuer");
        let allow_client_domains = self.narrowing_texts(table, "allow_client_domains", domain);
        let allow_loopback_clients = self.flag(table, "allow_loopback_clients", false);
        let device_flow = self.flag(table, "device_flow", true);
        let token_format = self.token_format(table);
        let signing_keys = self.signing_keys(table);
        let signing_key_lifetime = self.key_lifetime(table);
        let scopes = self.texts(table, "scopes", issuer_scope);
        let must_push = self.flag(table, "require_pushed_authorization_requests", false);
        let clients = self.issuer_clients(table);
        if root.node.get("issuer").is_none() {
            return Ok(None);
        }
        if allow_loopback_clients == Some(true) {
            self.warnings.push(
                "issuer.allow_loopback_clients is set: anybody can have the gate connect to ports of its own machine; it is for \
                 development"
                    .to_owned(),
            );
        }
        let settings = || {
            Some(IssuerSettings {
                allow_client_domains: allow_client_domains?,
                allow_loopback_clients: allow_loopback_clients?,
                device_flow: device_flow?,
                token_format: token_format.ok().flatten()?,
                signing_keys: signing_keys?,
                signing_key_lifetime: signing_key_lifetime?,
                scopes: scopes?,
                require_pushed_authorization_requests: must_push?,
                clients: clients?,
            })
        };
        settings().map(Some).ok_or(Reported)
    }

    /// A key is published before and after it signs, for as long as it signs: verifiers hold key sets for minutes, and tokens last for ten.
    fn key_lifetime(&mut self, table: &Table<'_>) -> Option<Duration> {
        let lifetime = self.duration(table, "signing_key_lifetime", "90d")?;
        if lifetime >= SHORTEST_KEY {
            return Some(lifetime);
        }
        let origin = table.origin("signing_key_lifetime");
        let message = "a key that signs for less than an hour is gone before all know it";
        self.problem(Problem::new(&origin, message).hint("write \"1h\" or more"));
        None
    }

    fn token_format(&mut self, table: &Table<'_>) -> Result<Option<TokenFormat>, Reported> {
        let meanings = [("opaque", TokenFormat::Opaque), ("jwt", TokenFormat::Jwt)];
        self.word(table, "token_format", &meanings, Some("opaque"), |text| {
            let message = format!("`{text}` is no form of an access token");
            (
                message,
                "\"opaque\", which the gate alone can read, or \"jwt\"",
            )
        })
    }

    /// The operator's own keys in PEM.
    fn signing_keys(&mut self, table: &Table<'_>) -> Option<Vec<Secret>> {
        let Some(node) = table.get("signing_keys", Kind::Secrets) else {
            return Some(Vec::new());
        };
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        if items.len() > MOST_KEYS {
            let message = format!("there are more than {MOST_KEYS} keys");
            self.problem(
                Problem::new(&node.origin, message)
                    .hint("the one that signs, the next and the previous one are enough"),
            );
            return None;
        }
        let read: Vec<_> = items
            .iter()
            .map(|item| self.signing_key(item, table))
            .collect();
        read.into_iter().collect()
    }

    fn signing_key(&mut self, item: &Node, table: &Table<'_>) -> Option<Secret> {
        let secret = self.secret(item, table, "signing_keys")?;
        if self.stands_in(&secret) {
            return Some(secret);
        }
        // Not the text: it is a private key.
        let read = SigningKey::from_pem(secret.expose()).map_err(|why| {
            Problem::new(
                &item.origin,
                format!("`signing_keys` holds no key that signs: {why}"),
            )
            .hint("openssl ecparam -name prime256v1 -genkey -noout -out key.pem")
        });
        self.found(read).map(|_| secret)
    }

    /// `mcp` and `tokens` of a route.
    pub(super) fn resource(
        &mut self,
        table: &Table<'_>,
        number: usize,
        access: Option<Access>,
    ) -> Result<Option<Resource>, Reported> {
        let mcp = self.flag(table, "mcp", false);
        let tokens = self.flag(table, "tokens", false);
        let (mcp, tokens) = (mcp.ok_or(Reported)?, tokens.ok_or(Reported)?);
        if mcp && tokens {
            self.warnings.push(format!(
                "routes[{number}] has mcp = true and tokens = true: mcp counts, so sessions are not accepted there; write one of the two"
            ));
        }
        let (key, resource) = match (mcp, tokens) {
            (true, _) => ("mcp", Resource::Mcp),
            (false, true) => ("tokens", Resource::Tokens),
            (false, false) => return Ok(None),
        };
        match access.ok_or(Reported)? {
            Access::Login | Access::Api => Ok(Some(resource)),
            access => {
                let message = format!(
                    "`{key}` asks for somebody, and access = \"{}\" does not",
                    access.word()
                );
                self.problem(
                    Problem::new(&table.origin(key), message)
                        .hint("take access out, or write \"api\""),
                );
                Err(Reported)
            }
        }
    }

    /// `tools` of a route.
    pub(super) fn tools(
        &mut self,
        table: &Table<'_>,
        resource: &Result<Option<Resource>, Reported>,
    ) -> Result<Option<ToolRules>, Reported> {
        let tools = &table.table("tools");
        let allow = self.texts(tools, "allow", tool);
        let deny = self.texts(tools, "deny", tool);
        let older_versions = self.flag(tools, "older_versions", false);
        if !tools.is_written() {
            return Ok(None);
        }
        let rules = ToolRules {
            allow: allow.ok_or(Reported)?,
            deny: deny.ok_or(Reported)?,
            older_versions: older_versions.ok_or(Reported)?,
        };
        let is_empty_list =
            |key: &str, list: &[ToolPattern]| list.is_empty() && tools.node.get(key).is_some();
        let has_none = rules.allow.is_empty() && rules.deny.is_empty();
        let (message, hint) = if !matches!(resource, Ok(Some(Resource::Mcp)) | Err(_)) {
            (
                "`tools` are those of a server of the Model Context Protocol",
                "write mcp = true beside it, or take it out",
            )
        } else if has_none
            || is_empty_list("allow", &rules.allow)
            || is_empty_list("deny", &rules.deny)
        {
            (
                "`tools` names none, or has an empty list",
                "write { allow = [\"read_*\"] } or { deny = [\"delete_*\"] }, or take it out",
            )
        } else {
            return Ok(Some(rules));
        };
        let origin = table.origin("tools");
        self.problem(Problem::new(&origin, message).hint(hint));
        Err(Reported)
    }

    /// Tokens that nobody can get open nothing; and nobody should log in anew each time that the gate starts.
    pub(super) fn check_issuer(
        &mut self,
        root: &Table<'_>,
        settings: Option<&IssuerSettings>,
        (session, state): (
            Option<&SessionSettings>,
            &Result<Option<StateSettings>, Reported>,
        ),
        (routes, providers): (Option<&[Route]>, Option<&[ProviderSettings]>),
    ) {
        let is_kept = matches!(state, Ok(Some(StateSettings::File(_))));
        if settings.is_some() && is_kept && session.is_some_and(|session| session.ephemeral) {
            self.warnings.push(
                "session.secret is not set: after a restart nobody can open the grants in `state`, and clients must log in again"
                    .to_owned(),
            );
        }
        let marked = routes
            .unwrap_or_default()
            .iter()
            .find(|route| route.resource.is_some());
        match (settings, marked) {
            (None, Some(route)) if root.node.get("issuer").is_none() => {
                let message = format!(
                    "{} accepts tokens of [issuer], and there is no [issuer]",
                    route.name
                );
                let origin = root.origin("routes");
                self.problem(
                    Problem::new(&origin, message).hint("write [issuer], which may be empty"),
                );
            }
            (Some(_), None) if routes.is_some() => {
                self.warnings.push(
                    "[issuer] gives tokens, and no route takes them: write mcp = true or tokens = true on a route".to_owned(),
                );
            }
            _ => {}
        }
        let has_own = settings.is_some_and(|settings| {
            let mut clients = settings.clients.iter();
            clients.any(|client| client.machine.is_some())
        });
        let mut names = providers.unwrap_or_default().iter();
        if has_own && names.any(|provider| provider.name == CLIENT) {
            let origin = root.origin("issuer");
            self.problem(
                Problem::new(
                    &origin,
                    "a provider is named as clients that act for themselves are: \"client\"",
                )
                .hint("give [providers.client] another name"),
            );
        }
        let (Some(_), Some(session), Ok(state)) = (settings, session, state) else {
            return;
        };
        let is_in_redis =
            matches!(session.store, StoreSettings::Redis(_)) || session.shared.is_some();
        if state.is_none() && !is_in_redis {
            self.warnings.push(
                "what people let clients do is forgotten when the gate stops, and every client has to log in anew then: write \
                 state = \"file:/var/lib/sidegate/state.redb\""
                    .to_owned(),
            );
        }
    }
}

/// How long a key signs at least.
const SHORTEST_KEY: Duration = Duration::from_hours(1);
/// Private keys of an operator's own.
const MOST_KEYS: usize = 8;

/// What a client can ask for, and no more of it than it may ask for at once.
fn issuer_scope(text: &str, origin: &Origin) -> Result<String, Problem> {
    match scopes(text).as_deref() {
        Ok([scope]) if scope == text => Ok(text.to_owned()),
        _ => Err(Problem::new(origin, format!("`{text}` is no scope"))
            .hint("printable ASCII without spaces, quotes and backslashes, as in \"files:read\"")),
    }
}

fn tool(text: &str, origin: &Origin) -> Result<ToolPattern, Problem> {
    ToolPattern::parse(text).ok_or_else(|| {
        Problem::new(origin, format!("`{text}` names no tool"))
            .hint("a tool's name, as in \"read_file\", or how names begin and a star behind it, as in \"read_*\"")
    })
}

fn domain(text: &str, origin: &Origin) -> Result<String, Problem> {
    let name = text.strip_prefix('.').unwrap_or(text);
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if name.len() <= 253 && name.split('.').all(is_label) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Problem::new(origin, format!("`{text}` is no domain"))
        .hint("as in \"claude.ai\", or \".example.com\" for every name below it; other letters in their xn-- form"))
}
