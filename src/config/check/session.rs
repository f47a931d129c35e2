//! `[session]`

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    super::{
        problem::{Origin, Problem},
        schema::Kind,
        tree::Node,
    },
    Reader, Reported, Table,
    cookie_domain::cookie_domain,
};
use crate::{
    redis::{address as redis_address, address::RedisAddress},
    secret::Secret,
    session::{
        LONGEST_LIFETIME,
        settings::{SessionSettings, StoreSettings},
    },
    spelling,
};

impl Reader<'_> {
    pub(super) fn session(
        &mut self,
        root: &Table<'_>,
        fresh_secret: &[u8; 32],
    ) -> Option<SessionSettings> {
        let table = &root.table("session");
        let written = table.get("secret", Kind::Secrets);
        let secrets = match written {
            Some(node) => self.session_secrets(node, table),
            None => Some(vec![Secret::new(URL_SAFE_NO_PAD.encode(fresh_secret))]),
        };
        let ephemeral = written.is_none();
        if ephemeral {
            self.warnings.push(
                "session.secret is not set: sessions end with this process, and no replica shares them"
                    .to_owned(),
            );
        }
        let store = self.store(table);
        let lifetime = self.lifetime(table);
        let idle_timeout = self.idle_timeout(table, lifetime);
        let cookie_name = self.read(table, "cookie_name", "sidegate", cookie_name);
        let cookie_domain = self.optional(table, "cookie_domain", cookie_domain);
        let shared = self.shared(table, store.as_ref());
        let why = "each takes a kilobyte or two; leave it out for 100000";
        let max_sessions = self.number(table, "max_sessions", 1..=i64::MAX, 100_000_u64, why);
        let provider_grace = self.duration(table, "provider_grace", "1h");
        Some(SessionSettings {
            secrets: secrets?,
            ephemeral,
            lifetime: lifetime?,
            idle_timeout: idle_timeout?,
            cookie_name: cookie_name?,
            cookie_domain: cookie_domain.ok()?,
            store: store?,
            shared: shared.ok()?,
            max_sessions: max_sessions?,
            provider_grace: provider_grace?,
        })
    }

    fn store(&mut self, table: &Table<'_>) -> Option<StoreSettings> {
        let Some(node) = table.get("store", Kind::Address.or("cookie")) else {
            return Some(StoreSettings::Cookie);
        };
        let text = self.sourced(node, table, "store", STORES)?;
        if self.stands_in(&text) {
            return Some(StoreSettings::Cookie);
        }
        match text.expose().trim() {
            "cookie" => return Some(StoreSettings::Cookie),
            "memory" => return Some(StoreSettings::Memory),
            text => {
                if let Some(address) = redis_address::parse(text) {
                    return self.redis(node, address).map(StoreSettings::Redis);
                }
            }
        }
        let near = spelling::nearest(text.expose(), ["cookie", "memory"]);
        let hint = match (near, redis_address::nearest_scheme(text.expose())) {
            (Some(near), _) => format!("did you mean \"{near}\"?"),
            (None, Some(scheme)) => did_you_mean_scheme(scheme),
            (None, None) => STORES.to_owned(),
        };
        // Not the text itself: it may hold a password.
        self.problem(Problem::new(&node.origin, "unknown session store").hint(hint));
        None
    }

    fn shared(
        &mut self,
        table: &Table<'_>,
        store: Option<&StoreSettings>,
    ) -> Result<Option<RedisAddress>, Reported> {
        let Some(node) = table.get("shared", Kind::Address) else {
            return Ok(None);
        };
        let example = "write shared = \"redis://cache:6379\"";
        let text = self
            .sourced(node, table, "shared", example)
            .ok_or(Reported)?;
        if self.stands_in(&text) {
            return Ok(None);
        }
        let problem = match (store.ok_or(Reported)?, redis_address::parse(text.expose())) {
            (StoreSettings::Cookie, Some(address)) => {
                return self.redis(node, address).map(Some).ok_or(Reported);
            }
            (StoreSettings::Cookie, None) => {
                let scheme = redis_address::nearest_scheme(text.expose());
                Problem::new(&node.origin, "`shared` is an address of Redis")
                    .hint(scheme.map_or_else(|| example.to_owned(), did_you_mean_scheme))
            }
            (StoreSettings::Redis(_), _) => {
                Problem::new(&node.origin, "`shared` has nothing to add")
                    .hint("the store is shared already; leave `shared` out")
            }
            (StoreSettings::Memory, _) => {
                Problem::new(&node.origin, "`shared` does not go with this store").hint(
                    "sessions in memory are of one process; choose the store \"cookie\" or Redis",
                )
            }
        };
        self.problem(problem);
        Err(Reported)
    }

    fn redis(
        &mut self,
        node: &Node,
        address: Result<RedisAddress, redis_address::Fault>,
    ) -> Option<RedisAddress> {
        let address =
            address.map_err(|(message, hint)| Problem::new(&node.origin, message).hint(hint));
        self.found(address)
    }

    fn lifetime(&mut self, table: &Table<'_>) -> Option<Duration> {
        let lifetime = self.duration(table, "lifetime", "7d")?;
        if lifetime <= LONGEST_LIFETIME {
            return Some(lifetime);
        }
        let origin = table.origin("lifetime");
        self.problem(
            Problem::new(&origin, "`lifetime` is too long")
                .hint("browsers keep a cookie for 400 days at most: \"400d\""),
        );
        None
    }

    fn idle_timeout(&mut self, table: &Table<'_>, lifetime: Option<Duration>) -> Option<Duration> {
        let idle_timeout = self.duration(table, "idle_timeout", "12h")?;
        let Some(lifetime) = lifetime else {
            return Some(idle_timeout);
        };
        match table.origin("idle_timeout") {
            origin @ (Origin::File(_) | Origin::Variable(_)) if idle_timeout > lifetime => {
                self.problem(
                    Problem::new(&origin, "`idle_timeout` is longer than `lifetime`").hint(
                        "a session ends at its lifetime however busy it is; make one longer or the \
                         other shorter",
                    ),
                );
                None
            }
            // Whoever asks for a short lifetime need not say it twice.
            _ => Some(idle_timeout.min(lifetime)),
        }
    }
}

fn cookie_name(text: &str, origin: &Origin) -> Result<String, Problem> {
    let prefixed = ["__host-", "__secure-"]
        .into_iter()
        .any(|prefix| text.to_ascii_lowercase().starts_with(prefix));
    if prefixed {
        Err(Problem::new(origin, "`cookie_name` has a prefix")
            .hint("leave it out; the gate puts __Host- before it wherever it can"))
    } else if !is_token(text) || text.len() > 64 {
        Err(
            Problem::new(origin, format!("`{text}` is no cookie's name"))
                .hint("letters, digits, - and _ are safe; at most 64"),
        )
    } else {
        Ok(text.to_owned())
    }
}

/// What `store` can be.
const STORES: &str = "\"cookie\", \"memory\" or an address such as \"redis://cache:6379\"";

/// The scheme alone: what stands behind it may hold a password.
fn did_you_mean_scheme(scheme: &str) -> String {
    format!("did you mean \"{scheme}://…\"?")
}

/// RFC 9110 §5.6.2; what a cookie's name is made of (RFC 6265 §4.1.1).
fn is_token(text: &str) -> bool {
    let is_token_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_byte)
}
