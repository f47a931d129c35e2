//! `[[issuer.clients]]`

use std::{fs, sync::Arc};

use serde_json::Value;

use super::{
    super::problem::{Origin, Problem},
    Reader, Reported, Table, token,
};
use crate::{
    api_token::format,
    issuer::{
        redirect::RedirectUri,
        settings::{ClientSettings, MachineSettings},
    },
    jose::KeySet,
};

impl Reader<'_> {
    pub(super) fn issuer_clients(&mut self, table: &Table<'_>) -> Option<Vec<ClientSettings>> {
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
        let keys = self.client_keys(table);
        let redirect_uris = self.texts(table, "redirect_uris", redirect_uri);
        let post_logout = self.texts(table, "post_logout_redirect_uris", redirect_uri);
        let first_party = self.flag(table, "first_party", false);
        let machine = self.machine(table);
        let device_flow = self.flag(table, "device_flow", false);
        let exchange = self.flag(table, "token_exchange", false);
        let introspect = self.optional_flag(table, "introspect");
        let must_push = self.flag(table, "require_pushed_authorization_requests", false);
        if self.describes {
            return None;
        }
        if matches!(id, Ok(None)) {
            self.missing(table, "id", "id = \"my-app\"");
        }
        let (secrets, keys) = (secrets?, keys.ok()?);
        let redirect_uris = redirect_uris?;
        let is_public = secrets.is_empty() && keys.is_none();
        if !secrets.is_empty() && keys.is_some() {
            let problem = Problem::new(
                &table.origin("secret_hash"),
                "a client proves itself by a secret or by its keys, and this one has both",
            );
            self.problem(problem.hint("keep the keys: nobody can read them off the wire"));
            return None;
        }
        let (scopes_and_groups, may) = machine?;
        if may == Some(true) && is_public {
            let problem = Problem::new(
                &table.origin("client_credentials"),
                "a client that acts for itself needs `secret_hash` or `jwks_file`",
            );
            self.problem(problem.hint(
                "write secret_hash = \"sha256:…\": printf %s SECRET | sha256sum prints the digits; `sidegate secret` prints a secret",
            ));
            return None;
        }
        let has_other_way = device_flow != Some(false) || exchange != Some(false);
        if redirect_uris.is_empty() && is_public && !has_other_way {
            self.missing(
                table,
                "redirect_uris",
                "redirect_uris = [\"https://app.example.com/callback\"]",
            );
            return None;
        }
        let has_no_redirect = redirect_uris.is_empty();
        // Who can do nothing else acts for itself without a word. One that proves nothing, as a terminal with the device flow, is not what
        // everybody would be who names it.
        let may = may.unwrap_or(has_no_redirect && !is_public);
        let machine = self.judge_machine(table, scopes_and_groups, may);
        let machine = machine.ok()?;
        let id = id.ok().flatten()?;
        if first_party == Some(true) && is_public && leads_to_programs(&redirect_uris) {
            self.warnings.push(format!(
                "issuer.clients \"{id}\": first_party skips no consent page, because any program on a user's machine may be at the \
                 client's redirect_uris: use an https address, or take first_party out"
            ));
        }
        Some(ClientSettings {
            name: name.ok()?.unwrap_or_else(|| id.clone()),
            id,
            secrets,
            keys,
            redirect_uris,
            post_logout_redirect_uris: post_logout?,
            first_party: first_party?,
            machine,
            device_flow: device_flow?,
            token_exchange: exchange?,
            introspect: introspect.ok()?.unwrap_or(has_no_redirect),
            require_pushed_authorization_requests: must_push?,
        })
    }

    /// What a client is when it acts for itself, and whether it may; none where nothing is said of that.
    fn machine(&mut self, table: &Table<'_>) -> Option<(MachineSettings, Option<bool>)> {
        let may = self.optional_flag(table, "client_credentials");
        let scopes = self.texts(table, "scopes", token::scope);
        let groups = self.texts(table, "groups", |text, _| Ok(text.to_owned()));
        let machine = MachineSettings {
            scopes: scopes?,
            groups: groups?,
        };
        Some((machine, may.ok()?))
    }

    /// Scopes and groups are of a client that may act for itself.
    fn judge_machine(
        &mut self,
        table: &Table<'_>,
        machine: MachineSettings,
        may: bool,
    ) -> Result<Option<MachineSettings>, Reported> {
        for (key, values) in [("scopes", &machine.scopes), ("groups", &machine.groups)] {
            if !may && !values.is_empty() {
                let message = format!(
                    "`{key}` is what the client has where it acts for itself, and it may not"
                );
                self.problem(Problem::new(&table.origin(key), message).hint(format!(
                    "write client_credentials = true, or leave {key} out"
                )));
                return Err(Reported);
            }
        }
        Ok(may.then_some(machine))
    }

    /// The public keys that verify a client's assertions (RFC 7523), written out or in a file.
    fn client_keys(&mut self, table: &Table<'_>) -> Result<Option<Arc<KeySet>>, Reported> {
        let written = self.optional(table, "jwks", |text, origin| {
            key_set(text).map_err(|why| flawed("`jwks`", why, origin))
        });
        let file = self.optional(table, "jwks_file", |text, origin| {
            Ok((text.to_owned(), origin.clone()))
        });
        let (written, file) = (written?, file?);
        let Some((path, origin)) = file else {
            return Ok(written);
        };
        if written.is_some() {
            let problem = Problem::new(&origin, "`jwks` and `jwks_file` say the same twice");
            self.problem(problem.hint("leave one of them out"));
            return Err(Reported);
        }
        let path = self.resolve(&path, &origin);
        let text = match fs::metadata(&path) {
            Ok(file) if file.len() > LARGEST_KEYS => {
                Err(format!("it has more than {LARGEST_KEYS} bytes"))
            }
            _ => fs::read_to_string(&path).map_err(|error| error.to_string()),
        };
        let read = text.and_then(|text| key_set(&text).map_err(str::to_owned));
        let read = read.map_err(|why| flawed(&path.display().to_string(), &why, &origin));
        self.found(read).map(Some).ok_or(Reported)
    }
}

fn key_set(text: &str) -> Result<Arc<KeySet>, &'static str> {
    let document: Value = serde_json::from_str(text).map_err(|_| "it is no JSON")?;
    if document.to_string().contains("\"d\":") {
        return Err("it holds a private key, which is the client's alone");
    }
    let keys = KeySet::read(&document)?;
    if keys.is_empty() {
        return Err("no key in it verifies signatures");
    }
    Ok(Arc::new(keys))
}

fn flawed(what: &str, why: &str, origin: &Origin) -> Problem {
    Problem::new(origin, format!("{what} is no key set (RFC 7517): {why}"))
        .hint("write the public keys as JSON: {\"keys\": [{\"kty\": \"EC\", …}]}")
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

/// Whether codes go to programs on their user's machine alone.
fn leads_to_programs(redirect_uris: &[String]) -> bool {
    let is_owned = |uri: &String| RedirectUri::parse(uri).is_ok_and(|uri| uri.is_owned());
    !redirect_uris.is_empty() && !redirect_uris.iter().any(is_owned)
}

fn secret_hash(text: &str, origin: &Origin) -> Result<format::Hash, Problem> {
    // Not the text itself: somebody may have written the secret.
    let hash = format::read_hash(text).ok_or_else(|| {
        Problem::new(origin, "`secret_hash` is no SHA-256").hint(
            "write \"sha256:…\", with 64 digits of 0-9 and a-f: printf %s SECRET | sha256sum; `sidegate secret` prints a secret",
        )
    })?;
    token::refuse_example(hash, origin)
}

/// The bytes of the largest file of a client's keys.
const LARGEST_KEYS: u64 = 64 * 1024;
