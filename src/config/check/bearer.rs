//! `bearer`, `login` and `kubernetes` of a provider's table: which of its tokens are accepted as bearer tokens.

use std::{collections::BTreeMap, fs, time::Duration};

use super::{
    super::{
        problem::{Origin, Problem},
        tree::Node,
    },
    Reader, Reported, Table,
    provider_type::foreign,
};
use crate::{
    jose::{self, Algorithm},
    provider::{
        bearer::{BearerSettings, SERVICE_ACCOUNT_TOKEN},
        kind::{Id, Kind},
    },
    spelling,
};

/// What a provider's table is for, beside what it says of the provider.
pub(super) struct Purpose {
    /// Whether people sign in by it.
    pub(super) login: bool,
    /// Which of its tokens open the gate by themselves.
    pub(super) bearer: Option<BearerSettings>,
}

impl Purpose {
    /// Whether the gate is a client of the provider: it sends people there, or asks about tokens.
    pub(super) fn is_client(&self) -> bool {
        let asks = |bearer: &BearerSettings| bearer.introspect;
        self.login || self.bearer.as_ref().is_some_and(asks)
    }

    /// Whether the issuer is the Kubernetes cluster in which the gate runs.
    pub(super) fn is_cluster(&self) -> bool {
        let of_cluster = |bearer: &BearerSettings| bearer.kubernetes;
        self.bearer.as_ref().is_some_and(of_cluster)
    }
}

impl Reader<'_> {
    pub(super) fn purpose(
        &mut self,
        name: &str,
        table: &Table<'_>,
        kind: Option<&'static Kind>,
    ) -> Option<Purpose> {
        let login = self.flag(table, "login", true);
        let bearer = self.bearer(name, table, kind);
        let (login, bearer) = (login?, bearer.ok()?);
        if !login && bearer.is_none() {
            // A `bearer` that is no table was told.
            if table.node.get("bearer").is_none() {
                // Where the table begins: it comes before all that is missing in it.
                self.problem(
                    Problem::new(
                        &table.node.key_origin,
                        "with login = false nobody signs in at this provider, and without `bearer` none of its tokens is accepted",
                    )
                    .hint("write bearer = { audience = [\"…\"] }, or take the provider out"),
                );
            }
            return None;
        }
        Some(Purpose { login, bearer })
    }

    fn bearer(
        &mut self,
        name: &str,
        table: &Table<'_>,
        kind: Option<&'static Kind>,
    ) -> Result<Option<BearerSettings>, Reported> {
        let kubernetes = self.flag(table, "kubernetes", false);
        let inner = table.table("bearer");
        let audience = self.texts(&inner, "audience", name_of("audience"));
        let clients = self.narrowing_texts(&inner, "clients", name_of("clients"));
        let algorithms = self.narrowing_texts(&inner, "algorithms", algorithm);
        let accept_id_tokens = self.flag(&inner, "accept_id_tokens", false);
        let introspect = self.flag(&inner, "introspect", false);
        let signed_answers = self.flag(&inner, "signed_answers", false);
        let token_cache = self.duration(&inner, "token_cache", "60s");
        if !inner.is_written() {
            if kubernetes == Some(true) {
                let origin = table.origin("kubernetes");
                self.problem(
                    Problem::new(&origin, "`kubernetes` is for tokens, and none counts").hint(
                        "write bearer = { audience = [\"…\"] }, the audience of the tokens that pods mount",
                    ),
                );
                return Err(Reported);
            }
            return Ok(None);
        }
        let read = || {
            Some(BearerSettings {
                audience: audience?,
                clients: clients?,
                algorithms: algorithms?,
                accept_id_tokens: accept_id_tokens?,
                introspect: introspect?,
                signed_answers: signed_answers?,
                token_cache: token_cache?,
                kubernetes: kubernetes?,
            })
        };
        let bearer = read().ok_or(Reported)?;
        let kind = kind.ok_or(Reported)?;
        if let Some(problem) = objection(&bearer, kind, table.node.get("bearer"), &inner) {
            self.problem(problem);
            return Err(Reported);
        }
        self.warn_of_any_client(name, &bearer, kind);
        Ok(Some(bearer))
    }

    fn warn_of_any_client(&mut self, name: &str, bearer: &BearerSettings, kind: &Kind) {
        let is_open = bearer.introspect
            && bearer.audience.is_empty()
            && bearer.clients.is_empty()
            && !asks_its_own_way(kind);
        if is_open {
            self.warnings.push(format!(
                "providers.{name}.bearer names neither audience nor clients: a token that the provider gave to any app for \
                 anything opens this one, unless its answer names another audience than this client"
            ));
        }
    }

    /// Where the cluster in which the gate runs has its keys, and its issuer, as the gate's own token names it.
    pub(super) fn cluster_endpoints(
        &mut self,
        table: &Table<'_>,
        issuer: Option<&Node>,
    ) -> Option<BTreeMap<&'static str, String>> {
        let issuer = match issuer {
            Some(node) => self.text(node, "issuer")?.to_owned(),
            None => self.cluster_issuer(&table.origin("kubernetes"))?,
        };
        let keys = format!("{}/openid/v1/jwks", issuer.trim_end_matches('/'));
        Some([("issuer", issuer), ("jwks_url", keys)].into())
    }

    fn cluster_issuer(&mut self, origin: &Origin) -> Option<String> {
        let token = fs::read_to_string(SERVICE_ACCOUNT_TOKEN).ok();
        let issuer = token.and_then(|token| issuer_of(token.trim()));
        if issuer.is_some() || self.stand_in.is_some() {
            return issuer.or_else(|| Some("https://kubernetes.default.svc".to_owned()));
        }
        let message = format!("there is no service account's token at {SERVICE_ACCOUNT_TOKEN}");
        self.problem(
            Problem::new(origin, message)
                .hint("it is there in a pod; elsewhere write issuer, jwks_url and ca"),
        );
        None
    }
}

/// The issuer that a token names. It is the gate's own, from a file that is the cluster's to write.
fn issuer_of(token: &str) -> Option<String> {
    let claims: serde_json::Value = jose::claimed(token)?;
    Some(claims.get("iss")?.as_str()?.to_owned())
}

/// What does not go together.
fn objection(
    bearer: &BearerSettings,
    kind: &'static Kind,
    node: Option<&Node>,
    inner: &Table<'_>,
) -> Option<Problem> {
    let node = node?;
    if matches!(kind.id, Id::Facebook | Id::Discord) {
        return Some(foreign("bearer", node, kind, |kind| {
            !matches!(kind.id, Id::Facebook | Id::Discord)
        }));
    }
    let signs = kind.endpoints.iter().any(|end| end.key == "issuer");
    if !bearer.introspect && !signs {
        return Some(
            Problem::new(
                &node.origin,
                "tokens of this provider can be asked about, and not read",
            )
            .hint("write introspect = true, and the provider is asked about each"),
        );
    }
    if bearer.kubernetes && kind.id != Id::Oidc {
        return Some(
            Problem::new(&node.origin, "`kubernetes` is an issuer of its own")
                .hint("write type = \"oidc\" beside it"),
        );
    }
    if bearer.kubernetes && bearer.introspect {
        return Some(
            Problem::new(
                &inner.origin("introspect"),
                "a cluster signs its tokens, and answers no questions of RFC 7662",
            )
            .hint("take `introspect` out"),
        );
    }
    if bearer.signed_answers && (!bearer.introspect || !signs || asks_its_own_way(kind)) {
        let hint = if signs && !asks_its_own_way(kind) {
            "write introspect = true beside it"
        } else {
            "take `signed_answers` out: it is for providers with an issuer, whose keys show who has signed"
        };
        return Some(
            Problem::new(
                &inner.origin("signed_answers"),
                "there are no answers that this provider could sign (RFC 9701)",
            )
            .hint(hint),
        );
    }
    if !bearer.introspect && bearer.audience.is_empty() {
        return Some(
            Problem::new(&node.origin, "`bearer` does not say for whom tokens must be made").hint(
                "write audience = [\"…\"], what the provider writes into `aud` of tokens for this app; \
                 with Cognito the app client's id. Opaque tokens are asked about with introspect = true",
            ),
        );
    }
    if bearer.audience.iter().any(|name| name == "account") && bearer.clients.is_empty() {
        return Some(
            Problem::new(
                &inner.origin("audience"),
                "\"account\" is the audience of nearly every token of a Keycloak realm",
            )
            .hint(
                "add an audience mapper for this app and name that; or name the clients whose tokens count by clients = [\"…\"]",
            ),
        );
    }
    if bearer.token_cache > LONGEST_CACHE {
        return Some(
            Problem::new(&inner.origin("token_cache"), "`token_cache` is at most 1h").hint(
                "for that time a token is still accepted after the provider has revoked it; \"60s\" is the default",
            ),
        );
    }
    None
}

/// Whether tokens are asked about in the provider's own way, which tells whose app's they are.
fn asks_its_own_way(kind: &Kind) -> bool {
    matches!(kind.id, Id::GitHub | Id::Google | Id::FortyTwo)
}

fn name_of(key: &'static str) -> impl Fn(&str, &Origin) -> Result<String, Problem> {
    move |text, origin| {
        if text.len() <= LONGEST_NAME && !text.chars().any(char::is_control) {
            Ok(text.to_owned())
        } else {
            Err(
                Problem::new(origin, format!("`{key}` has an entry that no token has"))
                    .hint("it is compared letter by letter with what the token says"),
            )
        }
    }
}

fn algorithm(text: &str, origin: &Origin) -> Result<Algorithm, Problem> {
    Algorithm::named(text).ok_or_else(|| {
        let problem = Problem::new(origin, format!("\"{text}\" is not accepted"));
        let known = Algorithm::ALL.map(|known| format!("{known:?}"));
        match spelling::nearest(text, known.iter().map(String::as_str)) {
            Some(nearest) => problem.hint(format!("did you mean \"{nearest}\"?")),
            None => problem.hint(format!("some of {}", known.join(", "))),
        }
    })
}

/// For that time a token may be accepted after the provider has revoked it.
const LONGEST_CACHE: Duration = Duration::from_hours(1);

/// Bytes of an audience or of a client's id.
const LONGEST_NAME: usize = 255;
