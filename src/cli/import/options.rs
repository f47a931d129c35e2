//! Every option of oauth2-proxy 7.15, and its translation. A test checks that none is ignored silently.

use Kind::{Duration, Flag, Number, Secret, Text, Texts};

/// What a value is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// A list; commas part it in variables and flags.
    Texts,
    Flag,
    Number,
    /// As Go writes them: `1h30m`.
    Duration,
    /// Text that no message repeats.
    Secret,
}

/// What becomes of an option.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// The other files of this folder write something for it, or say why not.
    Translated,
    /// What it asks for is so here without a key, or cannot be otherwise; why.
    Needless(&'static str),
    /// Nothing here does it; what to do instead. No value, false, zero or this value asks for nothing.
    Absent {
        harmless: &'static str,
        instead: &'static str,
    },
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// Its name in a file; with `OAUTH2_PROXY_` before it, in upper case, that of its variable.
    pub key: &'static str,
    /// Its name as a flag, without dashes.
    pub flag: &'static str,
    pub kind: Kind,
    pub rule: Rule,
    /// Whether an alpha configuration has it in place of the file, the flags and the variables.
    pub alpha: bool,
}

const fn translated(key: &'static str, flag: &'static str, kind: Kind) -> Peer {
    Peer {
        key,
        flag,
        kind,
        rule: Rule::Translated,
        alpha: false,
    }
}

const fn needless(key: &'static str, flag: &'static str, kind: Kind, why: &'static str) -> Peer {
    Peer {
        rule: Rule::Needless(why),
        ..translated(key, flag, kind)
    }
}

const fn absent(key: &'static str, flag: &'static str, kind: Kind, instead: &'static str) -> Peer {
    unless(key, flag, kind, "", instead)
}

const fn unless(
    key: &'static str,
    flag: &'static str,
    kind: Kind,
    harmless: &'static str,
    instead: &'static str,
) -> Peer {
    Peer {
        rule: Rule::Absent { harmless, instead },
        ..translated(key, flag, kind)
    }
}

/// One that an alpha configuration replaces.
const fn moved(peer: Peer) -> Peer {
    Peer {
        alpha: true,
        ..peer
    }
}

/// The option that a name in a file means.
pub(super) fn by_key(key: &str) -> Option<&'static Peer> {
    OPTIONS.iter().find(|peer| peer.key == key)
}

/// The option that a flag means.
pub(super) fn by_flag(flag: &str) -> Option<&'static Peer> {
    // Two keys have one flag, and the second is today's.
    OPTIONS.iter().rev().find(|peer| peer.flag == flag)
}

/// What is only in an alpha configuration has no flag.
pub(super) const ALPHA_ONLY: &str = "";

const LOG: &str = "lines go to standard error, as text at a terminal and as JSON elsewhere; what runs the gate keeps them";
const PAGES: &str = "the pages have your `label` and `deny_message`s, and nothing else of yours";
const CSRF: &str =
    "one small cookie serves any number of tabs that sign in at once, for as long as a login takes";
const METRICS_TLS: &str =
    "`admin_listen` speaks plain HTTP, for this machine or a network of operators";

pub(super) const OPTIONS: &[Peer] = &[
    // The app.
    moved(translated("upstreams", "upstream", Texts)),
    moved(translated("upstream_timeout", "upstream-timeout", Duration)),
    moved(translated("pass_host_header", "pass-host-header", Flag)),
    moved(translated(
        "disable_keep_alives",
        "disable-keep-alives",
        Flag,
    )),
    moved(needless(
        "flush_interval",
        "flush-interval",
        Duration,
        "bytes pass as they come",
    )),
    moved(translated("proxy_websockets", "proxy-websockets", Flag)),
    moved(translated(
        "ssl_upstream_insecure_skip_verify",
        "ssl-upstream-insecure-skip-verify",
        Flag,
    )),
    needless(
        "allow_query_semicolons",
        "allow-query-semicolons",
        Flag,
        "a query is forwarded as it came",
    ),
    // Headers.
    moved(translated("pass_basic_auth", "pass-basic-auth", Flag)),
    moved(translated("pass_access_token", "pass-access-token", Flag)),
    moved(translated("pass_user_headers", "pass-user-headers", Flag)),
    moved(translated(
        "pass_authorization_header",
        "pass-authorization-header",
        Flag,
    )),
    moved(translated("set_basic_auth", "set-basic-auth", Flag)),
    moved(translated("set_xauthrequest", "set-xauthrequest", Flag)),
    moved(translated(
        "set_authorization_header",
        "set-authorization-header",
        Flag,
    )),
    moved(translated(
        "prefer_email_to_user",
        "prefer-email-to-user",
        Flag,
    )),
    moved(translated(
        "basic_auth_password",
        "basic-auth-password",
        Secret,
    )),
    moved(unless(
        "skip_auth_strip_headers",
        "skip-auth-strip-headers",
        Flag,
        "true",
        "identity headers of a client are always removed",
    )),
    absent(
        "signature_key",
        "signature-key",
        Secret,
        "keep everybody but the gate from the app, or give it a secret: [headers] set = { X-Gate = { file = … } }",
    ),
    // Listening.
    moved(translated("http_address", "http-address", Text)),
    moved(translated("https_address", "https-address", Text)),
    moved(translated("tls_cert_file", "tls-cert-file", Text)),
    moved(translated("tls_key_file", "tls-key-file", Text)),
    moved(unless(
        "tls_min_version",
        "tls-min-version",
        Text,
        "TLS1.2",
        "the gate speaks TLS 1.2 and 1.3",
    )),
    moved(absent(
        "tls_cipher_suites",
        "tls-cipher-suite",
        Texts,
        "the gate uses modern ciphers only",
    )),
    moved(translated("metrics_address", "metrics-address", Text)),
    moved(absent(
        "metrics_secure_address",
        "metrics-secure-address",
        Text,
        METRICS_TLS,
    )),
    moved(absent(
        "metrics_tls_cert_file",
        "metrics-tls-cert-file",
        Text,
        METRICS_TLS,
    )),
    moved(absent(
        "metrics_tls_key_file",
        "metrics-tls-key-file",
        Text,
        METRICS_TLS,
    )),
    absent(
        "force_https",
        "force-https",
        Flag,
        "let the server in front redirect. With `tls` the gate does not speak plain HTTP",
    ),
    translated("reverse_proxy", "reverse-proxy", Flag),
    translated("trusted_proxy_ips", "trusted-proxy-ip", Texts),
    translated("real_client_ip_header", "real-client-ip-header", Text),
    translated("proxy_prefix", "proxy-prefix", Text),
    translated("ping_path", "ping-path", Text),
    translated("ready_path", "ready-path", Text),
    absent(
        "ping_user_agent",
        "ping-user-agent",
        Text,
        "let the probe ask for ping below `prefix` (/oauth2/ping), which answers everybody: a User-Agent proves nothing",
    ),
    absent(
        "gcp_healthchecks",
        "gcp-healthchecks",
        Flag,
        "let the load balancer ask for /oauth2/ready (in GKE spec.healthCheck.requestPath of a BackendConfig)",
    ),
    // The way back.
    translated("redirect_url", "redirect-url", Text),
    absent(
        "relative_redirect_url",
        "relative-redirect-url",
        Flag,
        "the callback is always below `public_url`, never taken from a request",
    ),
    translated("whitelist_domains", "whitelist-domain", Texts),
    // Who may pass.
    translated("email_domains", "email-domain", Texts),
    translated(
        "authenticated_emails_file",
        "authenticated-emails-file",
        Text,
    ),
    absent(
        "trusted_ips",
        "trusted-ip",
        Texts,
        "an address does not prove who somebody is: let such clients reach the app in another way, or make a path public for them: \
         [[routes]] with access = \"public\" and allow = { networks = […] }",
    ),
    absent(
        "htpasswd_file",
        "htpasswd-file",
        Text,
        "people sign in at a provider; programs can use names and passwords: [users] htpasswd, docs/passwords.md",
    ),
    absent(
        "htpasswd_user_groups",
        "htpasswd-user-group",
        Texts,
        "[users.groups] names the groups of htpasswd users: docs/passwords.md",
    ),
    needless(
        "display_htpasswd_form",
        "display-htpasswd-form",
        Flag,
        "passwords are for programs only, and there is no form for them",
    ),
    translated("skip_auth_routes", "skip-auth-route", Texts),
    translated("skip_auth_regex", "skip-auth-regex", Texts),
    translated("skip_auth_preflight", "skip-auth-preflight", Flag),
    translated("api_routes", "api-route", Texts),
    translated("force_json_errors", "force-json-errors", Flag),
    absent(
        "skip_jwt_bearer_tokens",
        "skip-jwt-bearer-tokens",
        Flag,
        "bearer = { audience = […] } in the provider's table accepts its access tokens, and with accept_id_tokens its ID tokens: docs/bearer.md",
    ),
    needless(
        "bearer_token_login_fallback",
        "bearer-token-login-fallback",
        Flag,
        "a bearer token that does not count gets 401, never a login",
    ),
    absent(
        "extra_jwt_issuers",
        "extra-jwt-issuers",
        Texts,
        "give each issuer a provider's table with login = false and bearer: docs/bearer.md",
    ),
    // The login.
    needless(
        "skip_provider_button",
        "skip-provider-button",
        Flag,
        "with one provider there is no page in between",
    ),
    needless(
        "encode_state",
        "encode-state",
        Flag,
        "the state is encrypted",
    ),
    translated("ssl_insecure_skip_verify", "ssl-insecure-skip-verify", Flag),
    moved(translated("provider", "provider", Text)),
    moved(translated(
        "provider_display_name",
        "provider-display-name",
        Text,
    )),
    moved(translated("client_id", "client-id", Text)),
    moved(translated("client_secret", "client-secret", Secret)),
    moved(translated("client_secret_file", "client-secret-file", Text)),
    moved(translated("scope", "scope", Text)),
    moved(translated("oidc_issuer_url", "oidc-issuer-url", Text)),
    moved(translated(
        "skip_oidc_discovery",
        "skip-oidc-discovery",
        Flag,
    )),
    moved(translated("login_url", "login-url", Text)),
    moved(translated("redeem_url", "redeem-url", Text)),
    moved(translated("profile_url", "profile-url", Text)),
    moved(translated("validate_url", "validate-url", Text)),
    moved(translated("oidc_jwks_url", "oidc-jwks-url", Text)),
    moved(translated("backend_logout_url", "backend-logout-url", Text)),
    moved(translated(
        "skip_claims_from_profile_url",
        "skip-claims-from-profile-url",
        Flag,
    )),
    moved(translated("oidc_email_claim", "oidc-email-claim", Text)),
    moved(translated("oidc_groups_claim", "oidc-groups-claim", Text)),
    moved(translated("user_id_claim", "user-id-claim", Text)),
    moved(unless(
        "oidc_audience_claims",
        "oidc-audience-claim",
        Texts,
        "aud",
        "an ID token is for the `client_id`, by its `aud` (OpenID Connect Core §3.1.3.7)",
    )),
    moved(absent(
        "oidc_extra_audiences",
        "oidc-extra-audience",
        Texts,
        "an ID token is for the `client_id` alone (OpenID Connect Core §3.1.3.7)",
    )),
    moved(absent(
        "oidc_public_key_files",
        "oidc-public-key-file",
        Texts,
        "keys are those that the provider publishes: give it a `jwks_url`",
    )),
    moved(needless(
        "oidc_enabled_signing_algs",
        "oidc-enabled-signing-alg",
        Texts,
        "a signature counts by the kind of the provider's published key; `none` and symmetric ones never do",
    )),
    moved(absent(
        "insecure_oidc_allow_unverified_email",
        "insecure-oidc-allow-unverified-email",
        Flag,
        "an unverified address counts for nothing: docs/providers/README.md says what to do where \
         `email_verified` is absent",
    )),
    moved(absent(
        "insecure_oidc_skip_issuer_verification",
        "insecure-oidc-skip-issuer-verification",
        Flag,
        "the issuer is always checked: write it letter by letter as the provider calls itself, and its address within \
         your network as `internal_url`",
    )),
    moved(needless(
        "insecure_oidc_skip_nonce",
        "insecure-oidc-skip-nonce",
        Flag,
        "the nonce is always checked",
    )),
    moved(translated("prompt", "prompt", Text)),
    moved(translated("approval_prompt", "approval-prompt", Text)),
    moved(translated("acr_values", "acr-values", Text)),
    moved(translated("resource", "resource", Text)),
    moved(unless(
        "auth_request_response_mode",
        "auth-request-response-mode",
        Text,
        "query",
        "answers come by query: form_post needs cookies that other sites may send",
    )),
    moved(needless(
        "code_challenge_method",
        "code-challenge-method",
        Text,
        "each login has PKCE with S256",
    )),
    moved(needless(
        "force_code_challenge_method",
        "force-code-challenge-method",
        Text,
        "each login has PKCE with S256",
    )),
    moved(translated("provider_ca_files", "provider-ca-file", Texts)),
    moved(needless(
        "use_system_trust_store",
        "use-system-trust-store",
        Flag,
        "the system's authorities are always believed, and `ca` beside them",
    )),
    // What single providers have.
    moved(translated("allowed_groups", "allowed-group", Texts)),
    moved(translated("allowed_roles", "allowed-role", Texts)),
    moved(translated("keycloak_groups", "keycloak-group", Texts)),
    moved(translated("azure_tenant", "azure-tenant", Text)),
    moved(unless(
        "azure_graph_group_field",
        "azure-graph-group-field",
        Text,
        "id",
        "groups are object ids, never display names, which two groups may share: write their ids",
    )),
    moved(translated(
        "entra_id_allowed_tenants",
        "entra-id-allowed-tenant",
        Texts,
    )),
    moved(absent(
        "entra_id_federated_token_auth",
        "entra-id-federated-token-auth",
        Flag,
        "a client proves itself by a secret: make one in the app registration, and write `client_secret`",
    )),
    moved(absent(
        "adfs_skip_scope",
        ALPHA_ONLY,
        Flag,
        "scopes are always asked for; see `scopes`",
    )),
    moved(translated("bitbucket_team", "bitbucket-team", Text)),
    moved(translated(
        "bitbucket_repository",
        "bitbucket-repository",
        Text,
    )),
    moved(translated("github_org", "github-org", Text)),
    moved(translated("github_team", "github-team", Text)),
    moved(translated("github_repo", "github-repo", Text)),
    moved(translated("github_users", "github-user", Texts)),
    moved(absent(
        "github_token",
        "github-token",
        Secret,
        "repositories are not asked for",
    )),
    moved(translated("gitlab_groups", "gitlab-group", Texts)),
    moved(translated("gitlab_projects", "gitlab-project", Texts)),
    moved(translated("google_group", "google-group", Texts)),
    moved(translated("google_groups", "google-group", Texts)),
    moved(needless(
        "google_admin_email",
        "google-admin-email",
        Text,
        "each user's own token asks for their groups",
    )),
    moved(needless(
        "google_service_account_json",
        "google-service-account-json",
        Text,
        "each user's own token asks for their groups, and no service account has to be trusted with the directory",
    )),
    moved(needless(
        "google_use_application_default_credentials",
        "google-use-application-default-credentials",
        Flag,
        "each user's own token asks for their groups",
    )),
    moved(needless(
        "google_target_principal",
        "google-target-principal",
        Text,
        "each user's own token asks for their groups",
    )),
    moved(needless(
        "google_admin_api_user_scope",
        "google-admin-api-user-scope",
        Text,
        "each user's own token asks for their groups",
    )),
    moved(absent(
        "google_use_organization_id",
        "google-use-organization-id",
        Flag,
        "X-User is the login name or the address, and X-User-Id the id that stays the same",
    )),
    moved(absent(
        "jwt_key",
        "jwt-key",
        Secret,
        "a client proves itself by a secret (`client_auth`), not by a signed token",
    )),
    moved(absent(
        "jwt_key_file",
        "jwt-key-file",
        Text,
        "a client proves itself by a secret (`client_auth`), not by a signed token",
    )),
    moved(absent(
        "pubjwk_url",
        "pubjwk-url",
        Text,
        "a client proves itself by a secret (`client_auth`), not by a signed token",
    )),
    // Sessions.
    translated("cookie_name", "cookie-name", Text),
    translated("cookie_secret", "cookie-secret", Secret),
    translated("cookie_secret_file", "cookie-secret-file", Text),
    translated("cookie_domains", "cookie-domain", Texts),
    unless(
        "cookie_path",
        "cookie-path",
        Text,
        "/",
        "the session's cookie is for all paths of its host",
    ),
    translated("cookie_expire", "cookie-expire", Duration),
    needless(
        "cookie_refresh",
        "cookie-refresh",
        Duration,
        "sessions are refreshed before the access token ends; `refresh = false` for none",
    ),
    translated("cookie_secure", "cookie-secure", Flag),
    unless(
        "cookie_httponly",
        "cookie-httponly",
        Flag,
        "true",
        "no script reads the cookie: /oauth2/userinfo tells scripts who is signed in",
    ),
    unless(
        "cookie_samesite",
        "cookie-samesite",
        Text,
        "lax",
        "the cookie is always SameSite=Lax: links from elsewhere work, and other sites' forms and frames do not",
    ),
    needless(
        "cookie_csrf_per_request",
        "cookie-csrf-per-request",
        Flag,
        CSRF,
    ),
    needless(
        "cookie_csrf_per_request_limit",
        "cookie-csrf-per-request-limit",
        Number,
        CSRF,
    ),
    needless("cookie_csrf_expire", "cookie-csrf-expire", Duration, CSRF),
    unless(
        "cookie_csrf_samesite",
        "cookie-csrf-samesite",
        Text,
        "lax",
        "the cookie of a login is always SameSite=Lax",
    ),
    translated("session_store_type", "session-store-type", Text),
    needless(
        "session_cookie_minimal",
        "session-cookie-minimal",
        Flag,
        "a token is kept only if a header or a refresh needs it",
    ),
    translated("redis_connection_url", "redis-connection-url", Secret),
    translated("redis_username", "redis-username", Text),
    translated("redis_password", "redis-password", Secret),
    translated("redis_use_sentinel", "redis-use-sentinel", Flag),
    translated("redis_sentinel_password", "redis-sentinel-password", Secret),
    translated(
        "redis_sentinel_master_name",
        "redis-sentinel-master-name",
        Text,
    ),
    translated(
        "redis_sentinel_connection_urls",
        "redis-sentinel-connection-urls",
        Texts,
    ),
    translated("redis_use_cluster", "redis-use-cluster", Flag),
    translated(
        "redis_cluster_connection_urls",
        "redis-cluster-connection-urls",
        Texts,
    ),
    absent(
        "redis_ca_path",
        "redis-ca-path",
        Text,
        "add the authority to the system's, or name a file of all that are believed in SSL_CERT_FILE",
    ),
    absent(
        "redis_insecure_skip_tls_verify",
        "redis-insecure-skip-tls-verify",
        Flag,
        "Redis' certificate must be good for its name: add its authority to the system's, or to SSL_CERT_FILE",
    ),
    needless(
        "redis_connection_idle_timeout",
        "redis-connection-idle-timeout",
        Number,
        "the connection is checked each second",
    ),
    // Logs and pages.
    translated("request_logging", "request-logging", Flag),
    unless(
        "auth_logging",
        "auth-logging",
        Flag,
        "true",
        "logins are in the same log; `log` says how much is logged",
    ),
    unless(
        "standard_logging",
        "standard-logging",
        Flag,
        "true",
        "the gate writes one log; `log` says how much",
    ),
    absent("auth_logging_format", "auth-logging-format", Text, LOG),
    absent(
        "request_logging_format",
        "request-logging-format",
        Text,
        LOG,
    ),
    absent(
        "standard_logging_format",
        "standard-logging-format",
        Text,
        LOG,
    ),
    needless("errors_to_info_log", "errors-to-info-log", Flag, LOG),
    absent(
        "exclude_logging_paths",
        "exclude-logging-path",
        Texts,
        "filter by the line's `path`",
    ),
    absent(
        "logging_local_time",
        "logging-local-time",
        Flag,
        "times are UTC, as their `Z` says",
    ),
    needless(
        "silence_ping_logging",
        "silence-ping-logging",
        Flag,
        "probes are logged with their `path`: filter the log by it",
    ),
    unless(
        "request_id_header",
        "request-id-header",
        Text,
        "X-Request-Id",
        "the header is always X-Request-Id, and is believed from `trusted_proxies` only",
    ),
    absent("logging_filename", "logging-filename", Text, LOG),
    needless("logging_max_size", "logging-max-size", Number, LOG),
    needless("logging_max_age", "logging-max-age", Number, LOG),
    needless("logging_max_backups", "logging-max-backups", Number, LOG),
    needless("logging_compress", "logging-compress", Flag, LOG),
    absent("custom_templates_dir", "custom-templates-dir", Text, PAGES),
    unless(
        "custom_sign_in_logo",
        "custom-sign-in-logo",
        Text,
        "-",
        PAGES,
    ),
    unless("banner", "banner", Text, "-", PAGES),
    unless("footer", "footer", Text, "-", PAGES),
    absent(
        "show_debug_on_error",
        "show-debug-on-error",
        Flag,
        "pages name a request id, and the log has the rest under it",
    ),
];
