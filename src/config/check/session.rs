//! `[session]`

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    super::{
        raw::{Node, Origin},
        report::Problem,
    },
    Checker, Reported,
};
use crate::{
    redis::{address as redis_address, address::RedisAddress},
    secret::Secret,
    session::settings::{SessionSettings, StoreSettings},
    spelling,
};

impl Checker<'_> {
    pub(super) fn session(
        &mut self,
        root: &Node,
        fresh_secret: &[u8; 32],
    ) -> Option<SessionSettings> {
        let nothing = Node::empty_table(Origin::Nowhere);
        let table = root.get("session").unwrap_or(&nothing);
        let secrets = match table.get("secret") {
            Some(node) => self.session_secrets(node),
            None => Some(vec![Secret::new(URL_SAFE_NO_PAD.encode(fresh_secret))]),
        };
        let ephemeral = table.get("secret").is_none();
        if ephemeral {
            self.warnings.push(
                "session.secret is not set: sessions end with this process, and no replica shares them"
                    .to_owned(),
            );
        }
        let store = self.store(table);
        let lifetime = self.lifetime(table);
        let idle_timeout = self.idle_timeout(table, lifetime);
        let cookie_name = self.cookie_name(table);
        let shared = self.shared(table, store.as_ref());
        let max_sessions = self.max_sessions(table);
        let provider_grace = self.duration(table, "provider_grace", "1h");
        Some(SessionSettings {
            secrets: secrets?,
            ephemeral,
            lifetime: lifetime?,
            idle_timeout: idle_timeout?,
            cookie_name: cookie_name?,
            store: store?,
            shared: shared.ok()?,
            max_sessions: max_sessions?,
            provider_grace: provider_grace?,
        })
    }

    fn store(&mut self, table: &Node) -> Option<StoreSettings> {
        let Some(node) = table.get("store") else {
            return Some(StoreSettings::Cookie);
        };
        let text = self.sourced(node, "session", "store", STORES)?;
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
        table: &Node,
        store: Option<&StoreSettings>,
    ) -> Result<Option<RedisAddress>, Reported> {
        let Some(node) = table.get("shared") else {
            return Ok(None);
        };
        let example = "write shared = \"redis://cache:6379\"";
        let text = self
            .sourced(node, "session", "shared", example)
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

    fn max_sessions(&mut self, table: &Node) -> Option<u64> {
        let Some(node) = table.get("max_sessions") else {
            return Some(100_000);
        };
        let number = self.integer(node, "max_sessions")?;
        let number = u64::try_from(number).ok().filter(|number| *number > 0);
        if number.is_none() {
            self.problem(
                Problem::new(&node.origin, "`max_sessions` is at least 1")
                    .hint("each takes a kilobyte or two; leave it out for 100000"),
            );
        }
        number
    }

    fn lifetime(&mut self, table: &Node) -> Option<Duration> {
        let lifetime = self.duration(table, "lifetime", "7d")?;
        if lifetime <= LONGEST_COOKIE {
            return Some(lifetime);
        }
        let origin = table
            .get("lifetime")
            .map_or(Origin::Nowhere, |node| node.origin.clone());
        self.problem(
            Problem::new(&origin, "`lifetime` is too long")
                .hint("browsers keep a cookie for 400 days at most: \"400d\""),
        );
        None
    }

    fn idle_timeout(&mut self, table: &Node, lifetime: Option<Duration>) -> Option<Duration> {
        let idle_timeout = self.duration(table, "idle_timeout", "12h")?;
        let Some(lifetime) = lifetime else {
            return Some(idle_timeout);
        };
        match table.get("idle_timeout") {
            Some(node) if idle_timeout > lifetime => {
                self.problem(
                    Problem::new(&node.origin, "`idle_timeout` is longer than `lifetime`").hint(
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

    fn cookie_name(&mut self, table: &Node) -> Option<String> {
        let Some(node) = table.get("cookie_name") else {
            return Some("sidegate".to_owned());
        };
        let text = self.text(node, "cookie_name")?;
        let prefixed = ["__host-", "__secure-"]
            .into_iter()
            .any(|prefix| text.to_ascii_lowercase().starts_with(prefix));
        let problem = if prefixed {
            Problem::new(&node.origin, "`cookie_name` has a prefix")
                .hint("leave it out; the gate puts __Host- before it wherever it can")
        } else if !is_token(text) || text.len() > 64 {
            Problem::new(&node.origin, format!("`{text}` is no cookie's name"))
                .hint("letters, digits, - and _ are safe; at most 64")
        } else {
            return Some(text.to_owned());
        };
        self.problem(problem);
        None
    }
}

/// What `store` can be.
const STORES: &str = "\"cookie\", \"memory\" or an address such as \"redis://cache:6379\"";

/// The scheme alone: what stands behind it may hold a password.
fn did_you_mean_scheme(scheme: &str) -> String {
    format!("did you mean \"{scheme}://…\"?")
}

/// RFC 6265bis §5.6 lets browsers cut longer lifetimes.
const LONGEST_COOKIE: Duration = Duration::from_hours(400 * 24);

/// RFC 9110 §5.6.2; what a cookie's name is made of (RFC 6265 §4.1.1).
fn is_token(text: &str) -> bool {
    let is_token_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_byte)
}
