//! `[providers.NAME]`: its kind, its name, and the client's credentials. Everything that depends on the kind comes from [`Kind`]; no kind is
//! named here.

use super::{
    super::{
        problem::{Origin, Problem},
        schema::Kind as Form,
        tree::Value,
    },
    OwnPaths, Reader, Reported, Table,
    bearer::Purpose,
    provider_type::{foreign, type_names},
};
use crate::{
    provider::{
        self,
        catalog::{self, KINDS},
        kind::{ClientType, Kind},
        settings::{ClientAuthentication, ProviderSettings, Room},
    },
    secret::Secret,
    spelling,
};

impl Reader<'_> {
    pub(super) fn providers(
        &mut self,
        root: &Table<'_>,
        own: OwnPaths<'_>,
    ) -> Option<Vec<ProviderSettings>> {
        let tables = self.named(root, "providers");
        let written = root.node.get("providers");
        let is_table = written.is_none_or(|node| matches!(node.value, Value::Table(_)));
        if tables.is_empty() && is_table && written.is_none_or(|node| node.entries().is_empty()) {
            let origin = written.map_or(Origin::Nowhere, |node| node.key_origin.clone());
            self.problem(Problem::new(&origin, "no provider is configured").hint(
                "begin a table such as [providers.corp] with type, client_id, client_secret and allow",
            ));
        }
        let mut providers = Vec::new();
        let mut complete = !tables.is_empty();
        for (index, (name, table)) in tables.iter().enumerate() {
            let folded = name.replace('-', "_");
            if tables[..index]
                .iter()
                .any(|(other, _)| other.replace('-', "_") == folded)
            {
                complete = false;
                self.problem(
                    Problem::new(
                        &table.node.key_origin,
                        "two providers' names differ by - and _ alone",
                    )
                    .hint("their environment names would be the same; rename one"),
                );
            }
            match self.provider(name, table, own) {
                Some(provider) => {
                    self.check_beside(table, &provider, &providers);
                    providers.push(provider);
                }
                None => complete = false,
            }
        }
        complete.then_some(providers)
    }

    fn provider(
        &mut self,
        name: &str,
        table: &Table<'_>,
        own: OwnPaths<'_>,
    ) -> Option<ProviderSettings> {
        let named = self.provider_name(name, table);
        let kind = self.provider_type(name, table);
        let label = self.optional(table, "label", label);
        let insecure_http = self.insecure_http(name, table);
        let purpose = self.purpose(name, table, kind);
        let says_no_login = || {
            let login = table.node.get("login").map(|node| &node.value);
            matches!(login, Some(Value::Boolean(false)))
        };
        let is_client = purpose
            .as_ref()
            .map_or_else(|| !says_no_login(), Purpose::is_client);
        let cluster = purpose.as_ref().is_some_and(Purpose::is_cluster);
        let endpoints = self.endpoints(table, kind, insecure_http.unwrap_or(false), cluster);
        let internal_url = self.internal_url(table, kind, insecure_http.unwrap_or(false));
        let authorities = self.authorities(table, cluster);
        let client_id = self.client_id(table, is_client);
        let client_secrets = self.client_secrets(name, table, kind.filter(|_| is_client));
        let client_authentication = self.client_authentication(table);
        let scopes = self.scopes(table, kind);
        let authorize_params = self.authorize_params(table);
        let callback_path = self.callback_path(name, table, own);
        let claims = self.claims(table, kind);
        let sources = self.claim_sources(table, kind);
        let allow = self.allow(table, kind);
        let deny_message = self.optional(table, "deny_message", deny_message);
        let refresh = self.flag(table, "refresh", true);
        let revoke = self.flag(table, "revoke", kind.is_some_and(|kind| kind.revokes));
        let frontchannel_logout = self.flag(table, "frontchannel_logout", false);
        named?;
        Some(ProviderSettings {
            name: name.to_owned(),
            label: label.ok()?.unwrap_or_else(|| default_label(name, kind)),
            kind: kind?,
            endpoints: endpoints?,
            internal_url: internal_url.ok()?,
            insecure_http: insecure_http?,
            authorities: authorities?,
            client_id: client_id?,
            client_secrets: client_secrets?,
            client_authentication: client_authentication.ok()?,
            scopes: scopes?,
            authorize_params: authorize_params?,
            callback_path: callback_path?,
            claims: claims?,
            userinfo: sources.as_ref()?.userinfo,
            claims_from_access_token: sources?.access_token,
            // Known when the whole file is.
            room: Room::default(),
            allow: allow?,
            // Known when the whole file is.
            route_lists: Vec::new(),
            deny_message: deny_message.ok()?,
            refresh: refresh?,
            revoke: revoke?,
            frontchannel_logout: frontchannel_logout?,
            login: purpose.as_ref()?.login,
            bearer: purpose?.bearer,
        })
    }

    /// What is right by itself, but not with its kind, or beside another provider.
    fn check_beside(
        &mut self,
        table: &Table<'_>,
        provider: &ProviderSettings,
        others: &[ProviderSettings],
    ) {
        for objection in provider::check(provider) {
            let origin = table.node.get(objection.key);
            let origin = origin.map_or(&table.node.key_origin, |node| &node.origin);
            self.problem(Problem::new(origin, objection.problem).hint(objection.hint));
        }
        self.check_callback_beside(table, provider, others);
        self.warn_of_addresses_for_users(provider);
        if let Some(other) = others.iter().find(|other| other.label == provider.label) {
            self.warnings.push(format!(
                "the sign-in buttons of {} and {} both say {}: give one a label",
                other.name, provider.name, provider.label
            ));
        }
    }

    /// Login names are what people chose at many providers, and somebody may have chosen another's address.
    fn warn_of_addresses_for_users(&mut self, provider: &ProviderSettings) {
        let mut lists = provider.allow.lists().iter();
        let users = lists.find(|list| list.key == "users");
        let address = users.and_then(|list| list.entries.iter().find(|entry| entry.contains('@')));
        if let Some(address) = address
            && provider.claims.user.is_none()
            && provider.kind.label.is_empty()
        {
            self.warnings.push(format!(
                "providers.{}: `users` names login names, and nobody vouches that the address \"{address}\" is that \
                 person's where people choose them; `emails` names verified addresses",
                provider.name
            ));
        }
    }

    /// A slash at the end is no difference: proxies and providers add and drop one, and the answer would
    /// come to the other.
    fn check_callback_beside(
        &mut self,
        table: &Table<'_>,
        provider: &ProviderSettings,
        others: &[ProviderSettings],
    ) {
        let bare = |path: &str| path.trim_end_matches('/').to_owned();
        let path = &provider.callback_path;
        let Some(other) = others
            .iter()
            .find(|other| bare(&other.callback_path) == bare(path))
        else {
            return;
        };
        let origin = table.node.get("callback_path");
        let origin = origin.map_or(&table.node.key_origin, |node| &node.origin);
        let message = if other.callback_path == *path {
            format!("`callback_path` is also that of `{}`", other.name)
        } else {
            let name = &other.name;
            format!("`callback_path` differs from that of `{name}` by a slash at the end alone")
        };
        self.problem(Problem::new(origin, message).hint(
            "each provider comes back to a path of its own, so that none can pass its answer \
             for another's",
        ));
    }

    fn provider_name(&mut self, name: &str, table: &Table<'_>) -> Option<()> {
        let is_name = (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
        if is_name {
            return Some(());
        }
        self.problem(
            Problem::new(
                &table.node.key_origin,
                format!("`{name}` cannot be a provider's name"),
            )
            .hint("lower-case letters, digits, - and _: it is part of the callback's address"),
        );
        None
    }

    fn provider_type(&mut self, name: &str, table: &Table<'_>) -> Option<&'static Kind> {
        let written = table.get(
            "type",
            Form::Word(KINDS.iter().map(|kind| kind.name).collect()),
        );
        let (kind, origin) = match written {
            Some(node) => (self.text(node, "type")?, &node.origin),
            None => (name, &table.node.key_origin),
        };
        if let Some(kind) = catalog::find(kind) {
            return Some(kind);
        }
        let is_written = written.is_some();
        let problem = if is_written {
            Problem::new(origin, format!("there is no provider type \"{kind}\""))
        } else if self.is_mistyped(table, "type") {
            return None;
        } else {
            Problem::new(origin, format!("`type` is missing, and \"{name}\" is none"))
        };
        let known = KINDS.iter().map(|kind| kind.name);
        let nearest = other_name(kind).or_else(|| spelling::nearest(kind, known));
        let hint = match nearest {
            Some(nearest) if is_written => format!("did you mean \"{nearest}\"?"),
            Some(nearest) => format!("did you mean type = \"{nearest}\"?"),
            None => format!(
                "the types are {}; {} serve any other provider",
                type_names(|_| true),
                type_names(|kind| kind.label.is_empty())
            ),
        };
        self.problem(problem.hint(hint));
        None
    }

    /// An issuer that gives tokens alone has no client here.
    fn client_id(&mut self, table: &Table<'_>, is_needed: bool) -> Option<String> {
        let example = "client_id = \"…\", which the provider gave when the app was registered";
        let node = match table.get("client_id", Form::Text) {
            None if !is_needed => return Some(String::new()),
            _ => self.required(table, "client_id", Form::Text, example)?,
        };
        let text = self.text(node, "client_id")?;
        // RFC 6749 appendix A.1.
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Some(text.to_owned());
        }
        self.problem(
            Problem::new(
                &node.origin,
                "`client_id` has a character that none can have",
            )
            .hint("it is printable ASCII; copy it once more"),
        );
        None
    }

    /// None, one, or two while one takes over from the other. The environment's text is one secret: it
    /// may have commas.
    fn client_secrets(
        &mut self,
        name: &str,
        table: &Table<'_>,
        kind: Option<&'static Kind>,
    ) -> Option<Vec<Secret>> {
        let Some(node) = table.get("client_secret", Form::Secrets) else {
            return self.without_secret(name, table, kind);
        };
        let Value::List(items) = &node.value else {
            return self
                .secret(node, table, "client_secret")
                .map(|secret| vec![secret]);
        };
        if items.is_empty() || items.len() > 2 {
            self.problem(
                Problem::new(
                    &node.origin,
                    "`client_secret` is one secret, or a list of two",
                )
                .hint(
                    "the current one and the next, tried in this order; leave the key out for none",
                ),
            );
            return None;
        }
        let secrets: Vec<_> = items
            .iter()
            .map(|item| self.secret(item, table, "client_secret"))
            .collect();
        secrets.into_iter().collect()
    }

    /// No secret at all: of no use where every login needs one, and seldom meant where most apps have one.
    fn without_secret(
        &mut self,
        name: &str,
        table: &Table<'_>,
        kind: Option<&'static Kind>,
    ) -> Option<Vec<Secret>> {
        let (label, secrecy) =
            kind.map_or(("", ClientType::Optional), |kind| (kind.label, kind.secret));
        let label = if label.is_empty() {
            "the server"
        } else {
            label
        };
        match secrecy {
            ClientType::Always => {
                let example = format!(
                    "client_secret = {{ file = \"…\" }} or {{ env = \"…\" }}: {label} gives one to every app, and refuses \
                     each login without it"
                );
                self.missing(table, "client_secret", &example);
                return None;
            }
            ClientType::Usually => self.warnings.push(format!(
                "providers.{name} has no client_secret: {label} will refuse each login, unless the app is a public \
                 client there"
            )),
            ClientType::Optional => {}
        }
        Some(Vec::new())
    }

    fn client_authentication(
        &mut self,
        table: &Table<'_>,
    ) -> Result<Option<ClientAuthentication>, Reported> {
        let meanings = [
            ("basic", ClientAuthentication::Basic),
            ("post", ClientAuthentication::Post),
        ];
        self.word(table, "client_auth", &meanings, None, |other| {
            let message = format!("\"{other}\" is no way for a client to prove itself");
            let hint =
                "\"basic\" sends the secret in the Authorization header, \"post\" in the body";
            (message, hint)
        })
    }

    /// Where claims come from, beside the ID token: for the types whose provider signs one.
    fn claim_sources(
        &mut self,
        table: &Table<'_>,
        kind: Option<&'static Kind>,
    ) -> Option<ClaimSources> {
        let userinfo = self.flag(table, "userinfo", true)?;
        let default = ClaimSources {
            userinfo,
            access_token: false,
        };
        let signs = |kind: &Kind| kind.endpoints.iter().any(|end| end.key == "issuer");
        let written = table.get("claims_from", Form::Texts);
        let userinfo_written = table.node.get("userinfo");
        for (key, node) in [("userinfo", userinfo_written), ("claims_from", written)] {
            if let (Some(node), Some(kind)) = (node, kind)
                && !signs(kind)
            {
                self.problem(foreign(key, node, kind, signs));
                return None;
            }
        }
        let Some(node) = written else {
            return Some(default);
        };
        let items = self.list(node, "claims_from")?;
        for item in &items {
            if !CLAIM_SOURCES.contains(&item.text) {
                let problem =
                    Problem::new(&item.origin, format!("no claims come from `{}`", item.text));
                let hint = match spelling::nearest(item.text, CLAIM_SOURCES) {
                    Some(nearest) => format!("did you mean \"{nearest}\"?"),
                    None => format!("some of {}", CLAIM_SOURCES.join(", ")),
                };
                self.problem(problem.hint(hint));
                return None;
            }
        }
        let names = |source: &str| items.iter().any(|item| item.text == source);
        let sources = ClaimSources {
            userinfo: names("userinfo"),
            access_token: names("access_token"),
        };
        let problem = if !names("id_token") {
            Problem::new(&node.origin, "`claims_from` leaves out the ID token")
                .hint("who somebody is stands there; begin the list with \"id_token\"")
        } else if userinfo_written.is_some() && sources.userinfo != userinfo {
            Problem::new(
                &node.origin,
                "`claims_from` and `userinfo` contradict each other",
            )
            .hint("take one of them out")
        } else {
            return Some(sources);
        };
        self.problem(problem);
        None
    }
}

fn label(text: &str, origin: &Origin) -> Result<String, Problem> {
    if text.chars().count() <= 64 && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(Problem::new(origin, "`label` does not fit on a button")
        .hint("one line of at most 64 characters"))
}

fn default_label(name: &str, kind: Option<&Kind>) -> String {
    match kind {
        Some(kind) if !kind.label.is_empty() => kind.label.to_owned(),
        _ => capitalised(name),
    }
}

/// Characters of a `deny_message`.
const LONGEST_DENY_MESSAGE: usize = 500;

pub(super) fn deny_message(text: &str, origin: &Origin) -> Result<String, Problem> {
    let is_strange = |letter: char| letter.is_control() && letter != '\n';
    let text = text.trim();
    if text.chars().count() <= LONGEST_DENY_MESSAGE && !text.contains(is_strange) {
        return Ok(text.to_owned());
    }
    Err(
        Problem::new(origin, "`deny_message` does not fit on the page")
            .hint("plain text of at most 500 characters"),
    )
}

/// Where claims come from beside the ID token.
struct ClaimSources {
    userinfo: bool,
    access_token: bool,
}

const CLAIM_SOURCES: [&str; 3] = ["id_token", "userinfo", "access_token"];

fn capitalised(name: &str) -> String {
    let spaced = name.replace(['-', '_'], " ");
    let mut characters = spaced.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => spaced,
    }
}

/// The type that serves a product of this name.
fn other_name(name: &str) -> Option<&'static str> {
    match name.to_ascii_lowercase().as_str() {
        "openid" | "openid-connect" | "keycloak" | "keycloak-oidc" | "okta" | "auth0"
        | "authentik" | "authelia" | "zitadel" | "dex" | "cognito" => Some("oidc"),
        "azure" | "azuread" | "entra" | "entra-id" | "office365" => Some("microsoft"),
        "oauth" => Some("oauth2"),
        _ => None,
    }
}
