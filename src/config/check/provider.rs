//! `[providers.NAME]`

use super::{
    super::{
        Allow, AllowList, ClaimPaths, ProviderConfig,
        raw::{Node, Origin, Value},
        report::Problem,
    },
    Checker,
    address::{is_loopback, web_url},
};
use crate::provider::kind::{self, Kind};

impl Checker<'_> {
    pub(super) fn providers(&mut self, root: &Node, prefix: &str) -> Option<Vec<ProviderConfig>> {
        let tables = root.get("providers");
        let is_table = tables.is_none_or(|node| matches!(node.value, Value::Table(_)));
        let entries = tables.map_or(&[][..], Node::entries);
        if entries.is_empty() && is_table {
            let origin = tables.map_or(Origin::Nowhere, |node| node.key_origin.clone());
            self.problem(Problem::new(&origin, "no provider is configured").hint(
                "begin a table such as [providers.corp] with type = \"oidc\", issuer, client_id, \
                 client_secret and allow",
            ));
        }
        let mut providers = Vec::new();
        let mut complete = !entries.is_empty();
        for (index, (name, table)) in entries.iter().enumerate() {
            let folded = name.replace('-', "_");
            if entries[..index]
                .iter()
                .any(|(other, _)| other.replace('-', "_") == folded)
            {
                complete = false;
                self.problem(
                    Problem::new(
                        &table.key_origin,
                        "two providers' names differ by - and _ alone",
                    )
                    .hint("their environment names would be the same; rename one"),
                );
            }
            match self.provider(name, table, prefix) {
                Some(provider) => providers.push(provider),
                None => complete = false,
            }
        }
        complete.then_some(providers)
    }

    fn provider(&mut self, name: &str, table: &Node, prefix: &str) -> Option<ProviderConfig> {
        if !matches!(table.value, Value::Table(_)) {
            return None;
        }
        let named = self.provider_name(name, table);
        let kind = self.provider_type(name, table);
        let label = self.label(name, table);
        let issuer = self.issuer(table);
        let client_id = self.client_id(table);
        let client_secret = match table.get("client_secret") {
            Some(node) => self.secret(node, "client_secret").map(Some),
            None => Some(None),
        };
        let scopes = self.scopes(table);
        let allow = self.allow(table);
        let groups_claim = self.groups_claim(table);
        named?;
        Some(ProviderConfig {
            name: name.to_owned(),
            label: label?,
            kind: kind?,
            endpoints: [("issuer", issuer?)].into(),
            client_id: client_id?,
            client_secrets: client_secret?.into_iter().collect(),
            client_authentication: None,
            scopes: scopes?,
            authorize_params: Vec::new(),
            callback_path: format!("{prefix}/callback/{name}"),
            claims: ClaimPaths {
                groups: groups_claim?,
                ..ClaimPaths::default()
            },
            allow: allow?,
            deny_message: None,
        })
    }

    fn provider_name(&mut self, name: &str, table: &Node) -> Option<()> {
        let is_name = (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
        if is_name {
            return Some(());
        }
        self.problem(
            Problem::new(
                &table.key_origin,
                format!("`{name}` cannot be a provider's name"),
            )
            .hint("lower-case letters, digits, - and _: it is part of the callback's address"),
        );
        None
    }

    fn provider_type(&mut self, name: &str, table: &Node) -> Option<&'static Kind> {
        let (kind, origin) = match table.get("type") {
            Some(node) => (self.text(node, "type")?, &node.origin),
            None => (name, &table.key_origin),
        };
        if let Some(kind) = kind::find(kind) {
            return Some(kind);
        }
        let problem = if PROMISED_TYPES.contains(&kind) {
            Problem::new(
                origin,
                format!("providers of type \"{kind}\" are not available in this version"),
            )
        } else if table.get("type").is_none() {
            Problem::new(origin, format!("`type` is missing, and \"{name}\" is none"))
        } else {
            Problem::new(origin, format!("there is no provider type \"{kind}\""))
        };
        let hint = match OPENID_ISSUERS.iter().find(|(known, _)| *known == kind) {
            Some((_, issuer)) => {
                format!("it speaks OpenID Connect: type = \"oidc\" and issuer = \"{issuer}\"")
            }
            None => "write type = \"oidc\"; it is the one type there is, for any OpenID Connect provider"
                .to_owned(),
        };
        self.problem(problem.hint(hint));
        None
    }

    fn label(&mut self, name: &str, table: &Node) -> Option<String> {
        let Some(node) = table.get("label") else {
            return Some(capitalised(name));
        };
        let text = self.text(node, "label")?;
        if text.chars().count() <= 64 && !text.chars().any(char::is_control) {
            return Some(text.to_owned());
        }
        self.problem(
            Problem::new(&node.origin, "`label` does not fit on a button")
                .hint("one line of at most 64 characters"),
        );
        None
    }

    /// Kept exactly as written: a provider's own documents must repeat it letter by letter (OpenID
    /// Connect Discovery §4.3).
    fn issuer(&mut self, table: &Node) -> Option<String> {
        let example =
            "issuer = \"https://login.example.com\", as the provider's documentation has it";
        let node = self.required(table, "issuer", example)?;
        let text = self.text(node, "issuer")?;
        let url = self.found(web_url(text, &node.origin, "issuer"))?;
        let problem = if url.scheme() == "http" && !is_loopback(url.host().as_ref()) {
            Problem::new(&node.origin, "`issuer` must begin with https://")
                .hint("whoever is on the way could sign in as anybody; http is for localhost alone")
        } else if let Some((issuer, _)) = text.split_once("/.well-known/") {
            Problem::new(&node.origin, "`issuer` is the address before /.well-known").hint(format!(
                "write issuer = \"{issuer}\", or with a slash at its end"
            ))
        } else {
            return Some(text.to_owned());
        };
        self.problem(problem);
        None
    }

    fn client_id(&mut self, table: &Node) -> Option<String> {
        let example = "client_id = \"…\", which the provider gave when the app was registered";
        let node = self.required(table, "client_id", example)?;
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

    fn scopes(&mut self, table: &Node) -> Option<Vec<String>> {
        let Some(node) = table.get("scopes") else {
            return Some(["openid", "profile", "email"].map(str::to_owned).to_vec());
        };
        let mut scopes = Vec::new();
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
                        .hint("write each as its own text: [\"openid\", \"email\"]"),
                );
                return None;
            }
            if !scopes.iter().any(|scope| scope == item.text) {
                scopes.push(item.text.to_owned());
            }
        }
        // Without it there is no ID token (OpenID Connect Core §3.1.2.1).
        if !scopes.iter().any(|scope| scope == "openid") {
            scopes.insert(0, "openid".to_owned());
        }
        Some(scopes)
    }

    fn allow(&mut self, table: &Node) -> Option<Allow> {
        let example =
            "allow = { domains = [\"example.com\"] }: say who may pass, or allow = \"anyone\"";
        let node = self.required(table, "allow", example)?;
        let say = "emails, domains or groups; or allow = \"anyone\" for whoever can sign in there";
        match &node.value {
            Value::Text(text) if text.as_str() == "anyone" => return Some(Allow::Anyone),
            Value::Table(_) => {}
            Value::Text(_) | Value::Integer(_) | Value::Other(_) | Value::List(_) => {
                self.problem(
                    Problem::new(&node.origin, "`allow` does not say who may pass")
                        .hint(format!("write a table with {say}")),
                );
                return None;
            }
        }
        let emails = self.allow_list(node, "emails", email);
        let domains = self.allow_list(node, "domains", domain);
        let groups = self.allow_list(node, "groups", |text| Ok(text.to_owned()));
        let lists: Vec<AllowList> = [
            ("emails", emails?),
            ("domains", domains?),
            ("groups", groups?),
        ]
        .into_iter()
        .filter(|(_, entries)| !entries.is_empty())
        .map(|(key, entries)| AllowList {
            key: key.to_owned(),
            entries,
        })
        .collect();
        let is_told = node
            .entries()
            .iter()
            .any(|(_, entry)| self.problems.point_at(&entry.key_origin));
        if lists.is_empty() {
            if !is_told {
                self.problem(
                    Problem::new(&node.origin, "`allow` is empty: nobody could pass")
                        .hint(format!("give it {say}")),
                );
            }
            return None;
        }
        Some(Allow::Lists(lists))
    }

    /// One list of `allow`; empty where it is not written.
    fn allow_list(
        &mut self,
        allow: &Node,
        key: &str,
        read: fn(&str) -> Result<String, String>,
    ) -> Option<Vec<String>> {
        let Some(node) = allow.get(key) else {
            return Some(Vec::new());
        };
        let items = self.list(node, key)?;
        if items.is_empty() {
            // Left in, it would not count, and what was meant to narrow would not.
            self.problem(
                Problem::new(&node.origin, format!("`{key}` is an empty list"))
                    .hint("fill it, or take the key out"),
            );
            return None;
        }
        let mut entries = Vec::new();
        for item in &items {
            let entry = read(item.text).map_err(|hint| {
                Problem::new(
                    &item.origin,
                    format!("`{}` does not fit in `{key}`", item.text),
                )
                .hint(hint)
            });
            entries.push(self.found(entry));
        }
        entries.into_iter().collect()
    }

    fn groups_claim(&mut self, table: &Node) -> Option<Option<String>> {
        let Some(node) = table.get("groups_claim") else {
            return Some(None);
        };
        let text = self.text(node, "groups_claim")?;
        if is_claim_path(text) {
            return Some(Some(text.to_owned()));
        }
        self.problem(
            Problem::new(&node.origin, format!("`{text}` is no path to a claim"))
                .hint("names joined by dots, as in \"realm_access.roles\""),
        );
        None
    }
}

/// Types that later versions will know.
const PROMISED_TYPES: [&str; 10] = [
    "google", "github", "gitlab", "entra", "okta", "keycloak", "apple", "discord", "42", "oauth2",
];

/// Well-known providers that the plain type serves already.
const OPENID_ISSUERS: [(&str, &str); 7] = [
    ("google", "https://accounts.google.com"),
    ("gitlab", "https://gitlab.com"),
    ("entra", "https://login.microsoftonline.com/TENANT_ID/v2.0"),
    (
        "microsoft",
        "https://login.microsoftonline.com/TENANT_ID/v2.0",
    ),
    ("okta", "https://YOUR_ORG.okta.com"),
    ("keycloak", "https://KEYCLOAK_HOST/realms/REALM"),
    ("auth0", "https://YOUR_TENANT.auth0.com/"),
];

/// Keys and indices joined by dots, none of them empty.
pub(super) fn is_claim_path(text: &str) -> bool {
    text.split('.')
        .all(|key| !key.is_empty() && key.trim() == key)
}

fn capitalised(name: &str) -> String {
    let spaced = name.replace(['-', '_'], " ");
    let mut characters = spaced.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => spaced,
    }
}

fn email(text: &str) -> Result<String, String> {
    match text.rsplit_once('@') {
        Some(("" | "*", domain)) => {
            Err(format!("for a whole domain write domains = [\"{domain}\"]"))
        }
        Some((_, domain)) if !domain.is_empty() && !text.contains(char::is_whitespace) => {
            Ok(text.to_owned())
        }
        _ => Err("write a whole address, as in \"ann@example.com\"".to_owned()),
    }
}

fn domain(text: &str) -> Result<String, String> {
    if let Some((_, domain)) = text.rsplit_once('@') {
        return Err(format!("write the domain alone: \"{domain}\""));
    }
    if let Some(domain) = text.strip_prefix('*') {
        return Err(format!("a leading dot means subdomains: \"{domain}\""));
    }
    let name = text.strip_prefix('.').unwrap_or(text);
    let is_domain = name.split('.').all(|label| {
        !label.is_empty()
            && !label.contains(|c: char| c.is_whitespace() || c.is_control() || "/:?#,".contains(c))
    });
    if is_domain {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("as in \"example.com\", or \".example.com\" for what is below it".to_owned())
    }
}
