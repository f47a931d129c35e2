//! `state`, `[api_tokens]` and `[[service_tokens]]`.

use std::path::Path;

use super::{
    super::problem::{Origin, Problem},
    Reader, Reported, Table,
};
use crate::{
    api_token::{
        format,
        settings::{ApiTokenSettings, MOST_DAYS, SERVICE, ServiceToken},
    },
    kv::settings::StateSettings,
    provider::settings::ProviderSettings,
    session::settings::{SessionSettings, StoreSettings},
};

impl Reader<'_> {
    /// Where what has to be remembered is kept: none where it is in this process, or with the sessions in Redis.
    pub(super) fn state(&mut self, root: &Table<'_>) -> Result<Option<StateSettings>, Reported> {
        let folder = self.folder;
        self.optional(root, "state", |text, origin| state(text, origin, folder))
    }

    /// What the three have to do with each other and with the rest.
    pub(super) fn check_tokens(
        &mut self,
        root: &Table<'_>,
        (session, state): (
            Option<&SessionSettings>,
            &Result<Option<StateSettings>, Reported>,
        ),
        has_api_tokens: bool,
        (providers, service_tokens): (Option<&[ProviderSettings]>, Option<&[ServiceToken]>),
    ) {
        if let (Some(session), Ok(state)) = (session, state) {
            self.check_state(root, state.as_ref(), session);
            if has_api_tokens {
                self.check_api_tokens(root, state.as_ref(), session);
            }
        }
        if let (Some(providers), Some(tokens)) = (providers, service_tokens) {
            self.check_service_name(root, providers, tokens);
        }
    }

    /// A file is one process's. `session.shared` says that there are several; a store in Redis says that there may be.
    fn check_state(
        &mut self,
        root: &Table<'_>,
        state: Option<&StateSettings>,
        session: &SessionSettings,
    ) {
        if state.is_none() {
            return;
        }
        if session.shared.is_some() {
            let origin = root.origin("state");
            self.problem(
                Problem::new(
                    &origin,
                    "`state` is of one process, and `session.shared` is for several",
                )
                .hint("leave `state` out: it is kept in that Redis then"),
            );
        } else if is_in_redis(session) {
            self.warnings.push(
                "state is of this process alone, although sessions are in Redis: another replica will not know what is made \
                 here; leave `state` out to keep it in Redis"
                    .to_owned(),
            );
        }
    }

    pub(super) fn api_tokens(
        &mut self,
        root: &Table<'_>,
    ) -> Result<Option<ApiTokenSettings>, Reported> {
        let table = &root.table("api_tokens");
        let owner_idle = self.duration(table, "owner_idle", "30d");
        let why = "from 1 to 3660; leave it out for 365";
        let max_days = self.number(table, "max_days", 1..=i64::from(MOST_DAYS), 365_u32, why);
        let why = "from 1 to 500; leave it out for 20";
        let max_per_user = self.number(table, "max_per_user", 1..=500, 20_u32, why);
        let max_login_age = self.duration(table, "max_login_age", "15m");
        let scopes = self.texts(table, "scopes", scope);
        if root.node.get("api_tokens").is_none() {
            return Ok(None);
        }
        let settings = || {
            Some(ApiTokenSettings {
                owner_idle: owner_idle?,
                max_days: max_days?,
                max_per_user: max_per_user? as usize,
                max_login_age: max_login_age?,
                scopes: scopes?,
            })
        };
        settings().map(Some).ok_or(Reported)
    }

    /// API tokens outlast sessions and processes: so does what is known of them.
    fn check_api_tokens(
        &mut self,
        root: &Table<'_>,
        state: Option<&StateSettings>,
        session: &SessionSettings,
    ) {
        let origin = root.origin("api_tokens");
        if state.is_none() && !is_in_redis(session) {
            self.problem(
                Problem::new(&origin, "API tokens have to be kept somewhere").hint(
                    "write state = \"file:/var/lib/sidegate/state.redb\", or keep sessions in Redis; state = \"memory\" forgets \
                     them with the process",
                ),
            );
        }
        if session.ephemeral && state != Some(&StateSettings::Memory) {
            self.problem(
                Problem::new(&origin, "API tokens need session.secret")
                    .hint("tokens are stored encrypted with it. `sidegate secret` prints one"),
            );
        }
    }

    pub(super) fn service_tokens(&mut self, root: &Table<'_>) -> Option<Vec<ServiceToken>> {
        let mut tokens: Vec<ServiceToken> = Vec::new();
        let mut complete = true;
        for table in &self.tables(root, "service_tokens") {
            let Some(token) = self.service_token(table) else {
                complete = false;
                continue;
            };
            let is_same_name = |earlier: &ServiceToken| earlier.name == token.name;
            let problem =
                if let Some(earlier) = tokens.iter().find(|earlier| earlier.hash == token.hash) {
                    let name = &earlier.name;
                    let message = format!("this is the hash of \"{name}\" already");
                    Some(Problem::new(&table.origin("hash"), message).hint(
                    "a token is one machine's; `sidegate token` prints a fresh one and its hash",
                ))
                } else if tokens.iter().filter(|one| is_same_name(one)).count() >= HASHES {
                    let name = &token.name;
                    let message = format!("\"{name}\" has two tokens already");
                    Some(
                        Problem::new(&table.origin("name"), message)
                            .hint("two are enough to go from one to the next; take the oldest out"),
                    )
                } else {
                    None
                };
            if let Some(problem) = problem {
                self.problem(problem);
                complete = false;
            }
            tokens.push(token);
        }
        if tokens.len() > MOST {
            let message = format!("there are more than {MOST} service tokens");
            let origin = root.origin("service_tokens");
            self.problem(
                Problem::new(&origin, message).hint(
                    "give machines that do the same one token, or let people make API tokens",
                ),
            );
            complete = false;
        }
        complete.then_some(tokens)
    }

    fn service_token(&mut self, table: &Table<'_>) -> Option<ServiceToken> {
        let name = self.optional(table, "name", service_name);
        let hash = self.optional(table, "hash", service_hash);
        let scopes = self.texts(table, "scopes", scope);
        let groups = self.texts(table, "groups", |text, _| Ok(text.to_owned()));
        if self.describes {
            return None;
        }
        if matches!(name, Ok(None)) {
            self.missing(table, "name", "name = \"ci\"");
        }
        if matches!(hash, Ok(None)) {
            self.missing(
                table,
                "hash",
                "hash = \"sha256:…\", as `sidegate token` prints it",
            );
        }
        Some(ServiceToken {
            name: name.ok().flatten()?,
            hash: hash.ok().flatten()?,
            scopes: scopes?,
            groups: groups?,
        })
    }

    /// Service tokens are of no provider, and are named `service` where providers are.
    fn check_service_name(
        &mut self,
        root: &Table<'_>,
        providers: &[ProviderSettings],
        tokens: &[ServiceToken],
    ) {
        if !tokens.is_empty() && providers.iter().any(|provider| provider.name == SERVICE) {
            let origin = root.origin("service_tokens");
            self.problem(
                Problem::new(
                    &origin,
                    "a provider is named as service tokens are: \"service\"",
                )
                .hint("give [providers.service] another name"),
            );
        }
    }
}

fn is_in_redis(session: &SessionSettings) -> bool {
    matches!(session.store, StoreSettings::Redis(_)) || session.shared.is_some()
}

fn state(text: &str, origin: &Origin, folder: &Path) -> Result<StateSettings, Problem> {
    if text == "memory" {
        return Ok(StateSettings::Memory);
    }
    let path = text.strip_prefix("file:").map(|path| {
        let path = path
            .strip_prefix("//")
            .filter(|path| path.starts_with('/'))
            .unwrap_or(path);
        path.trim()
    });
    match path {
        Some(path) if !path.is_empty() && !path.ends_with('/') => {
            Ok(StateSettings::File(folder.join(path)))
        }
        _ => Err(Problem::new(origin, format!("`{text}` is no place for the state"))
            .hint("write state = \"file:/var/lib/sidegate/state.redb\"; with sessions in Redis leave `state` out")),
    }
}

/// RFC 6749 §3.3.
pub(super) fn scope(text: &str, origin: &Origin) -> Result<String, Problem> {
    let is_scope_char = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    if !text.is_empty() && text.len() <= 100 && text.bytes().all(is_scope_char) {
        return Ok(text.to_owned());
    }
    Err(Problem::new(
        origin,
        format!("`{text}` is no scope (RFC 6749, section 3.3)"),
    )
    .hint("one word each, as in [\"read\", \"write\"]"))
}

fn service_name(text: &str, origin: &Origin) -> Result<String, Problem> {
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(is_name_byte) {
        return Ok(text.to_owned());
    }
    Err(
        Problem::new(origin, format!("`{text}` is no name of a machine"))
            .hint("letters, digits, - . and _, at most 64: the app is told it as the user"),
    )
}

fn service_hash(text: &str, origin: &Origin) -> Result<format::Hash, Problem> {
    // Not the text itself: somebody may have written the token.
    let is_token = format::looks_like_one(text);
    let hash = format::read_hash(text).ok_or_else(|| {
        let message = if is_token {
            "this is a token, and not the hash of one"
        } else {
            "`hash` is no SHA-256"
        };
        Problem::new(origin, message)
            .hint("`sidegate token` prints a token and its hash; write hash = \"sha256:…\", with 64 digits of 0-9 and a-f")
    })?;
    refuse_example(hash, origin)
}

/// What pages about SHA-256 show is copied, and anybody knows the text of it. That of nothing comes from a variable that is not set.
pub(super) fn refuse_example(hash: format::Hash, origin: &Origin) -> Result<format::Hash, Problem> {
    if ["", "abc"].iter().all(|text| format::hash(text) != hash) {
        return Ok(hash);
    }
    Err(
        Problem::new(origin, "this is the hash of an example").hint(
            "write your own: `sidegate token` prints a token and its hash, `sidegate secret` a secret, and printf %s SECRET | sha256sum \
             the hash of a secret",
        ),
    )
}

/// So many service tokens may there be.
const MOST: usize = 1_000;
/// Tokens of one machine, so that one takes the place of the other without a gap.
const HASHES: usize = 2;
