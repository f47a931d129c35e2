//! oauth2-proxy's alpha configuration: YAML with apps, headers, servers and providers. Pure.

mod headers;

use super::{
    duration,
    given::{Given, Place, Raw},
    model::{App, Header},
    notes::Notes,
    options::{self, Kind},
    variables::{substitute, whole_variable},
    yaml::{self, Node},
};
use crate::{config::Environment, spelling};

/// What is in it beside the options that have a name elsewhere, too.
#[derive(Debug, Default)]
pub(super) struct Alpha {
    pub(super) apps: Vec<App>,
    pub(super) request_headers: Vec<Header>,
    pub(super) answer_headers: Vec<Header>,
    /// Parameters of the login's address, and their values.
    pub(super) login_parameters: Vec<(String, String)>,
    pub(super) raw_path: bool,
}

/// Reads it; what has a name as an option goes into `given`.
pub(super) fn read(
    name: &str,
    content: &str,
    environment: &Environment,
    given: &mut Given,
    notes: &mut Notes,
    errors: &mut Vec<String>,
) -> Alpha {
    let mut reader = Reader {
        name,
        environment,
        given,
        notes,
        errors,
    };
    let mut alpha = Alpha::default();
    match yaml::read(content) {
        Ok(root) => reader.root(&root, &mut alpha),
        Err(error) => errors.push(format!("{name}:{error}")),
    }
    alpha
}

/// Where the options of a provider stand in its table.
const PROVIDER: &[(&str, &str)] = &[
    ("clientID", "client_id"),
    ("clientSecret", "client_secret"),
    ("clientSecretFile", "client_secret_file"),
    ("provider", "provider"),
    ("name", "provider_display_name"),
    ("caFiles", "provider_ca_files"),
    ("useSystemTrustStore", "use_system_trust_store"),
    ("loginURL", "login_url"),
    ("redeemURL", "redeem_url"),
    ("profileURL", "profile_url"),
    ("validateURL", "validate_url"),
    ("backendLogoutURL", "backend_logout_url"),
    ("skipClaimsFromProfileURL", "skip_claims_from_profile_url"),
    ("authRequestResponseMode", "auth_request_response_mode"),
    ("resource", "resource"),
    ("scope", "scope"),
    ("allowedGroups", "allowed_groups"),
    ("code_challenge_method", "code_challenge_method"),
    ("keycloakConfig.groups", "keycloak_groups"),
    ("keycloakConfig.roles", "allowed_roles"),
    ("azureConfig.tenant", "azure_tenant"),
    ("azureConfig.graphGroupField", "azure_graph_group_field"),
    (
        "microsoftEntraIDConfig.allowedTenants",
        "entra_id_allowed_tenants",
    ),
    (
        "microsoftEntraIDConfig.federatedTokenAuth",
        "entra_id_federated_token_auth",
    ),
    ("ADFSConfig.skipScope", "adfs_skip_scope"),
    ("bitbucketConfig.team", "bitbucket_team"),
    ("bitbucketConfig.repository", "bitbucket_repository"),
    ("githubConfig.org", "github_org"),
    ("githubConfig.team", "github_team"),
    ("githubConfig.repo", "github_repo"),
    ("githubConfig.token", "github_token"),
    ("githubConfig.users", "github_users"),
    ("gitlabConfig.group", "gitlab_groups"),
    ("gitlabConfig.projects", "gitlab_projects"),
    ("googleConfig.group", "google_groups"),
    ("googleConfig.adminEmail", "google_admin_email"),
    (
        "googleConfig.serviceAccountJson",
        "google_service_account_json",
    ),
    (
        "googleConfig.useApplicationDefaultCredentials",
        "google_use_application_default_credentials",
    ),
    ("googleConfig.targetPrincipal", "google_target_principal"),
    (
        "googleConfig.useOrganizationID",
        "google_use_organization_id",
    ),
    (
        "googleConfig.adminAPIUserScope",
        "google_admin_api_user_scope",
    ),
    ("oidcConfig.issuerURL", "oidc_issuer_url"),
    (
        "oidcConfig.insecureAllowUnverifiedEmail",
        "insecure_oidc_allow_unverified_email",
    ),
    (
        "oidcConfig.insecureSkipIssuerVerification",
        "insecure_oidc_skip_issuer_verification",
    ),
    ("oidcConfig.insecureSkipNonce", "insecure_oidc_skip_nonce"),
    ("oidcConfig.skipDiscovery", "skip_oidc_discovery"),
    ("oidcConfig.jwksURL", "oidc_jwks_url"),
    ("oidcConfig.publicKeyFiles", "oidc_public_key_files"),
    ("oidcConfig.emailClaim", "oidc_email_claim"),
    ("oidcConfig.groupsClaim", "oidc_groups_claim"),
    ("oidcConfig.userIDClaim", "user_id_claim"),
    ("oidcConfig.audienceClaims", "oidc_audience_claims"),
    ("oidcConfig.extraAudiences", "oidc_extra_audiences"),
    ("oidcConfig.enabledSigningAlgs", "oidc_enabled_signing_algs"),
    ("loginGovConfig.jwtKey", "jwt_key"),
    ("loginGovConfig.jwtKeyFile", "jwt_key_file"),
    ("loginGovConfig.pubjwkURL", "pubjwk_url"),
];

const SERVER: &[(&str, &str)] = &[
    ("bindAddress", "http_address"),
    ("secureBindAddress", "https_address"),
    ("tls.key.fromFile", "tls_key_file"),
    ("tls.cert.fromFile", "tls_cert_file"),
    ("tls.minVersion", "tls_min_version"),
    ("tls.cipherSuites", "tls_cipher_suites"),
];

const METRICS_SERVER: &[(&str, &str)] = &[
    ("bindAddress", "metrics_address"),
    ("secureBindAddress", "metrics_secure_address"),
    ("tls.key.fromFile", "metrics_tls_key_file"),
    ("tls.cert.fromFile", "metrics_tls_cert_file"),
];

struct Reader<'a> {
    name: &'a str,
    environment: &'a Environment,
    given: &'a mut Given,
    notes: &'a mut Notes,
    errors: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn error(&mut self, path: &str, words: &str) {
        self.errors.push(format!("{}: {path} {words}", self.name));
    }

    /// The entries of a table; none where there is none.
    fn entries<'n>(&mut self, node: &'n Node, path: &str) -> &'n [(String, Node)] {
        match node {
            Node::Map(entries) => entries,
            Node::Null => &[],
            Node::Text(_) | Node::List(_) => {
                self.error(path, "is no table");
                &[]
            }
        }
    }

    fn items<'n>(&mut self, node: &'n Node, path: &str) -> &'n [Node] {
        match node {
            Node::List(items) => items,
            Node::Null => &[],
            Node::Text(_) | Node::Map(_) => {
                self.error(path, "is no list");
                &[]
            }
        }
    }

    fn unknown<'k>(&mut self, path: &str, key: &str, known: impl IntoIterator<Item = &'k str>) {
        let path = if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        };
        let near = spelling::nearest(key, known).map(|near| format!("; did you mean {near}?"));
        let near = near.unwrap_or_default();
        let words = format!("is nothing that oauth2-proxy 7.15 knows{near}");
        self.error(&path, &words);
    }

    fn root(&mut self, root: &Node, alpha: &mut Alpha) {
        for (key, node) in self.entries(root, "the document") {
            match &*key.to_ascii_lowercase() {
                "upstreamconfig" => self.upstream_config(node, alpha),
                "injectrequestheaders" => alpha.request_headers = self.headers(node, key),
                "injectresponseheaders" => alpha.answer_headers = self.headers(node, key),
                "server" => self.options(node, key, SERVER, &mut |_, _, _| false),
                "metricsserver" => self.options(node, key, METRICS_SERVER, &mut |_, _, _| false),
                "providers" => self.providers(node, alpha),
                _ => self.unknown(
                    "",
                    key,
                    [
                        "upstreamConfig",
                        "injectRequestHeaders",
                        "injectResponseHeaders",
                        "server",
                        "metricsServer",
                        "providers",
                    ],
                ),
            }
        }
    }

    fn providers(&mut self, node: &Node, alpha: &mut Alpha) {
        for (number, provider) in self.items(node, "providers").iter().enumerate() {
            let path = format!("providers[{number}]");
            if number > 0 {
                self.notes.needless(
                    &path,
                    "oauth2-proxy reads the first provider alone; here each is a table of its own",
                );
                continue;
            }
            let mut parameters = Vec::new();
            self.options(provider, &path, PROVIDER, &mut |reader, key, node| {
                let path = format!("{path}.{key}");
                match key {
                    "id" => reader
                        .notes
                        .needless(&path, "a provider goes by its table's name"),
                    "additionalClaims" => reader.notes.needless(
                        &path,
                        "a header takes any claim, by its path: X-Team = \"claims.team\"",
                    ),
                    "loginURLParameters" => parameters = reader.login_parameters(node, &path),
                    _ => return false,
                }
                true
            });
            alpha.login_parameters = parameters;
        }
    }

    /// A table whose keys are options elsewhere; `other` takes what is not.
    fn options(
        &mut self,
        node: &Node,
        path: &str,
        known: &[(&str, &'static str)],
        other: &mut dyn FnMut(&mut Self, &str, &Node) -> bool,
    ) {
        self.options_below(node, path, "", known, other);
    }

    fn options_below(
        &mut self,
        node: &Node,
        path: &str,
        below: &str,
        known: &[(&str, &'static str)],
        other: &mut dyn FnMut(&mut Self, &str, &Node) -> bool,
    ) {
        for (key, node) in self.entries(node, path) {
            let place = format!("{path}.{key}");
            let relative = if below.is_empty() {
                key.clone()
            } else {
                format!("{below}.{key}")
            };
            let lower = relative.to_ascii_lowercase();
            let option = known
                .iter()
                .find(|(name, _)| name.to_ascii_lowercase() == lower);
            if let Some((_, option)) = option {
                self.option(option, node, place);
            } else if matches!(node, Node::Map(_))
                && known
                    .iter()
                    .any(|(name, _)| name.to_ascii_lowercase().starts_with(&format!("{lower}.")))
            {
                self.options_below(node, &place, &relative, known, other);
            } else if matches!(key.as_str(), "value" | "fromEnv") && below.starts_with("tls.") {
                self.notes.absent(
                    &place,
                    "`tls` takes files: write certificate and key into some, and name them",
                );
            } else if !other(self, &relative, node) {
                let names = known.iter().map(|(name, _)| *name);
                self.unknown(path, key, names);
            }
        }
    }

    fn option(&mut self, key: &'static str, node: &Node, path: String) {
        let Some(peer) = options::by_key(key) else {
            return;
        };
        let raw = match node {
            Node::Null => return,
            Node::Text(text) => {
                if peer.kind == Kind::Secret
                    && let Some(variable) = whole_variable(text)
                {
                    let raw = Raw::Text(format!("${{{variable}}}"));
                    let place = Place::Variable(variable.to_owned());
                    self.put(peer, raw, place);
                    return;
                }
                Raw::Text(self.substituted(text, &path))
            }
            Node::List(items) => {
                let mut texts = Vec::new();
                for item in items {
                    if let Node::Text(text) = item {
                        texts.push(self.substituted(text, &path));
                    } else {
                        self.error(&path, "has an entry that is no text");
                    }
                }
                Raw::Texts(texts)
            }
            Node::Map(_) => {
                self.error(&path, "is a table, and should be a value");
                return;
            }
        };
        self.put(peer, raw, Place::Alpha(path));
    }

    fn put(&mut self, peer: &'static options::Peer, raw: Raw, place: Place) {
        if let Err(error) = self.given.put(peer, raw, place) {
            self.errors.push(format!("{}: {error}", self.name));
        }
    }

    /// A text with the environment's values in it, as oauth2-proxy puts them there.
    fn substituted(&mut self, text: &str, path: &str) -> String {
        match substitute(text, self.environment) {
            Ok(text) => text,
            Err(words) => {
                self.error(path, &words);
                String::new()
            }
        }
    }

    fn text(&mut self, node: &Node, path: &str) -> Option<String> {
        match node {
            Node::Text(text) => Some(self.substituted(text, path)),
            Node::Null => None,
            Node::List(_) | Node::Map(_) => {
                self.error(path, "is no text");
                None
            }
        }
    }

    fn flag(&mut self, node: &Node, path: &str, default: bool) -> bool {
        match self.text(node, path).as_deref() {
            None => default,
            Some("true" | "True" | "TRUE") => true,
            Some("false" | "False" | "FALSE") => false,
            Some(_) => {
                self.error(path, "is true or false");
                default
            }
        }
    }

    fn login_parameters(&mut self, node: &Node, path: &str) -> Vec<(String, String)> {
        let mut parameters = Vec::new();
        for (number, node) in self.items(node, path).iter().enumerate() {
            let path = format!("{path}[{number}]");
            let (mut name, mut defaults) = (None, Vec::new());
            for (key, node) in self.entries(node, &path) {
                let place = format!("{path}.{key}");
                match key.as_str() {
                    "name" => name = self.text(node, &place),
                    "default" => {
                        for item in self.items(node, &place) {
                            defaults.extend(self.text(item, &place));
                        }
                    }
                    "allow" => self.notes.absent(
                        &place,
                        "visitors cannot choose parameters of the login's address: the value is always the default",
                    ),
                    _ => self.unknown(&path, key, ["name", "default", "allow"]),
                }
            }
            match (name, &mut defaults[..]) {
                (Some(name), [value]) => parameters.push((name, std::mem::take(value))),
                (Some(_), []) => self
                    .notes
                    .needless(&path, "without a default nothing is sent"),
                (Some(_), _) => self
                    .notes
                    .absent(&path, "a parameter has one value in `authorize_params`"),
                (None, _) => self.error(&path, "has no name"),
            }
        }
        parameters
    }

    fn upstream_config(&mut self, node: &Node, alpha: &mut Alpha) {
        for (key, node) in self.entries(node, "upstreamConfig") {
            let path = format!("upstreamConfig.{key}");
            match &*key.to_ascii_lowercase() {
                "proxyrawpath" => alpha.raw_path = self.flag(node, &path, false),
                "upstreams" => {
                    for (number, node) in self.items(node, &path).iter().enumerate() {
                        let path = format!("upstreamConfig.upstreams[{number}]");
                        alpha.apps.extend(self.app(node, &path));
                    }
                }
                _ => self.unknown("upstreamConfig", key, ["proxyRawPath", "upstreams"]),
            }
        }
    }

    fn app(&mut self, node: &Node, path: &str) -> Option<App> {
        let mut app = App {
            label: path.to_owned(),
            path: String::new(),
            rewrite: None,
            uri: None,
            skip_tls_verification: false,
            pass_host: true,
            websockets: true,
            timeout: None,
            keep_alive: true,
        };
        let mut is_static = false;
        for (key, node) in self.entries(node, path) {
            let place = format!("{path}.{key}");
            match &*key.to_ascii_lowercase() {
                "id" => {
                    if let Some(id) = self.text(node, &place) {
                        app.label = format!("{path} ({id})");
                    }
                }
                "path" => app.path = self.text(node, &place).unwrap_or_default(),
                "rewritetarget" => app.rewrite = self.text(node, &place),
                "uri" => app.uri = self.text(node, &place),
                "insecureskiptlsverify" => {
                    app.skip_tls_verification = self.flag(node, &place, false);
                }
                "static" => is_static = self.flag(node, &place, false),
                "staticcode" => {
                    self.notes.needless(&place, "no answer is made up here");
                }
                "flushinterval" => self.notes.needless(&place, "bytes pass as they come"),
                "passhostheader" => app.pass_host = self.flag(node, &place, true),
                "proxywebsockets" => app.websockets = self.flag(node, &place, true),
                "timeout" => {
                    let text = self.text(node, &place);
                    let seconds = text.as_deref().and_then(|text| {
                        // A bare number counts nanoseconds.
                        duration::seconds(text).or_else(|| duration::seconds(&format!("{text}ns")))
                    });
                    if seconds.is_none() && text.is_some() {
                        self.error(&place, "is a duration such as 30s");
                    }
                    app.timeout = seconds;
                }
                "disablekeepalives" => app.keep_alive = !self.flag(node, &place, false),
                _ => self.unknown(
                    path,
                    key,
                    [
                        "id",
                        "path",
                        "rewriteTarget",
                        "uri",
                        "insecureSkipTLSVerify",
                        "static",
                        "staticCode",
                        "flushInterval",
                        "passHostHeader",
                        "proxyWebSockets",
                        "timeout",
                        "disableKeepAlives",
                    ],
                ),
            }
        }
        if is_static {
            app.uri = None;
        } else if app.uri.is_none() {
            self.error(path, "has no uri");
            return None;
        }
        if app.path.is_empty() {
            self.error(path, "has no path");
            return None;
        }
        Some(app)
    }
}
