//! `[issuer]`, and what routes have to do with it.

use super::{
    super::problem::{Origin, Problem},
    Reader, Reported, Table,
};
use crate::{
    api_token::format,
    issuer::{
        authorize::scopes,
        redirect::RedirectUri,
        settings::{ClientSettings, IssuerSettings},
    },
    kv::settings::StateSettings,
    mcp::{ToolPattern, ToolRules},
    route::{Access, Resource, Route},
    session::settings::{SessionSettings, StoreSettings},
};

impl Reader<'_> {
    pub(super) fn issuer(&mut self, root: &Table<'_>) -> Result<Option<IssuerSettings>, Reported> {
        let table = &root.table("issuer");
        let allow_client_domains = self.texts(table, "allow_client_domains", domain);
        let allow_loopback_clients = self.flag(table, "allow_loopback_clients", false);
        let device_flow = self.flag(table, "device_flow", true);
        let scopes = self.texts(table, "scopes", issuer_scope);
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
                scopes: scopes?,
                clients: clients?,
            })
        };
        settings().map(Some).ok_or(Reported)
    }

    fn issuer_clients(&mut self, table: &Table<'_>) -> Option<Vec<ClientSettings>> {
        let mut clients: Vec<ClientSettings> = Vec::new();
        let mut complete = true;
        for table in &self.tables(table, "clients") {
            let Some(client) = self.issuer_client(table) else {
                complete = false;
                continue;
            };
            if clients.iter().any(|earlier| earlier.id == client.id) {
                let message = format!("another client has the id \"{}\"", client.id);
                let origin = table.origin("id");
                self.problem(Problem::new(&origin, message).hint("an id is one client's"));
                complete = false;
            }
            clients.push(client);
        }
        complete.then_some(clients)
    }

    fn issuer_client(&mut self, table: &Table<'_>) -> Option<ClientSettings> {
        let id = self.optional(table, "id", client_id);
        let name = self.optional(table, "name", |text, _| Ok(text.to_owned()));
        let secrets = self.texts(table, "secret_hash", secret_hash);
        let redirect_uris = self.texts(table, "redirect_uris", redirect_uri);
        let first_party = self.flag(table, "first_party", false);
        let device_flow = self.flag(table, "device_flow", false);
        if self.describes {
            return None;
        }
        if matches!(id, Ok(None)) {
            self.missing(table, "id", "id = \"my-app\"");
        }
        if redirect_uris.as_ref().is_some_and(Vec::is_empty) && device_flow == Some(false) {
            self.missing(
                table,
                "redirect_uris",
                "redirect_uris = [\"https://app.example.com/callback\"]",
            );
            return None;
        }
        let id = id.ok().flatten()?;
        Some(ClientSettings {
            name: name.ok()?.unwrap_or_else(|| id.clone()),
            id,
            secrets: secrets?,
            redirect_uris: redirect_uris?,
            first_party: first_party?,
            device_flow: device_flow?,
        })
    }

    /// `mcp` and `tokens` of a route.
    pub(super) fn resource(
        &mut self,
        table: &Table<'_>,
        access: Option<Access>,
    ) -> Result<Option<Resource>, Reported> {
        let mcp = self.flag(table, "mcp", false);
        let tokens = self.flag(table, "tokens", false);
        let (mcp, tokens) = (mcp.ok_or(Reported)?, tokens.ok_or(Reported)?);
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
        routes: Option<&[Route]>,
    ) {
        let marked = routes
            .unwrap_or_default()
            .iter()
            .find(|route| route.resource.is_some());
        match (settings, marked) {
            (None, Some(route)) if root.node.get("issuer").is_none() => {
                let message = format!(
                    "{} takes tokens of the gate's, and the gate gives none",
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

fn client_id(text: &str, origin: &Origin) -> Result<String, Problem> {
    let is_id_byte = |byte: u8| byte.is_ascii_graphic() && !b"\"\\:".contains(&byte);
    if text.len() <= 100 && text.bytes().all(is_id_byte) && !text.starts_with("sgi_") {
        return Ok(text.to_owned());
    }
    Err(Problem::new(origin, format!("`{text}` is no client id"))
        .hint("printable ASCII without spaces, quotes and colons, at most 100 bytes, as in \"my-app\""))
}

fn redirect_uri(text: &str, origin: &Origin) -> Result<String, Problem> {
    match RedirectUri::parse(text) {
        Ok(uri) => Ok(uri.as_str().to_owned()),
        Err(why) => Err(
            Problem::new(origin, format!("codes are not sent to `{text}`")).hint(why.to_string()),
        ),
    }
}

fn secret_hash(text: &str, origin: &Origin) -> Result<format::Hash, Problem> {
    // Not the text itself: somebody may have written the secret.
    format::read_hash(text).ok_or_else(|| {
        Problem::new(origin, "`secret_hash` is no SHA-256").hint(
            "write \"sha256:…\", with 64 digits of 0-9 and a-f: printf %s SECRET | sha256sum; `sidegate secret` prints a secret",
        )
    })
}

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
